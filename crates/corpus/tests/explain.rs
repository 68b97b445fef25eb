//! What `explain` says of each frame of the corpus is what `eval` decides, in the words of the rules.

use plan::eval::{Fate, State, eval};
use plan::explain::{Summary, explain};
use plan::plan::Plan;

#[test]
fn explanations_say_what_eval_decides() {
    let (mut frames, mut decided, mut unmatched) = (0, 0, 0);
    for case in corpus::cases().unwrap_or_else(|error| panic!("{error}")) {
        let compiled = corpus::compile(&case.dir, "config.toml", &case.config);
        let compiled = compiled.unwrap_or_else(|problems| panic!("{}\n{problems}", case.name));
        let plan = &compiled.plan;
        let (mut state, mut other) = (State::default(), State::default());
        let (mut summary, mut deciding) = (Summary::default(), 0);
        for input in &case.frames {
            let frame = input.frame();
            let Some(verdict) = eval(plan, &mut state, input.time, 0, input.at, &frame) else { continue };
            let said = explain(&compiled, &mut other, (input.time, 0), verdict.hook, &frame, true);
            let hook = plan.hook(verdict.hook);
            let copies = verdict.copies.iter().map(|index| Plan::copy(hook, *index));
            let copies: Vec<(&str, &str)> =
                copies.map(|copy| (plan.sink_name(copy.sink), plan.rule(copy.rule).label.as_str())).collect();
            let told: Vec<(&str, &str)> =
                said.copies.iter().map(|copy| (copy.to.as_str(), copy.rule.as_str())).collect();
            assert_eq!(told, copies, "{}\n{said}", case.name);
            let blocked = match &verdict.fate {
                Fate::Blocked(rule) => Some(plan.rule(*rule).label.clone()),
                _ => None,
            };
            assert_eq!(said.blocked_by, blocked, "{}\n{said}", case.name);
            assert!(said.tried.iter().all(|tried| tried.matched != tried.failed.is_some()), "{}", case.name);
            assert!(said.tried.iter().all(|tried| tried.matched || !tried.decided), "{}", case.name);
            for copy in &said.copies {
                assert!(
                    said.tried.iter().any(|tried| tried.decided && tried.rule == copy.rule),
                    "{}\n{said}",
                    case.name
                );
            }
            summary.add(&said);
            frames += 1;
            deciding += said.tried.iter().filter(|tried| tried.decided).count();
            unmatched += said.tried.iter().filter(|tried| !tried.matched).count();
        }
        assert_eq!(state, other, "{}", case.name);
        let of_rules: u64 = summary.rules().iter().map(|rule| rule.decided).sum();
        assert_eq!(usize::try_from(of_rules), Ok(deciding), "{}\n{summary}", case.name);
        decided += deciding;
    }
    assert!(frames > 300 && decided > 200 && unmatched > 200, "{frames} frames, {decided}, {unmatched}");
}
