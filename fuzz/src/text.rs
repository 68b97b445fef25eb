//! Configs and plans: what is accepted reads back to the same plan, what is refused is explained.

use bpf::emit::{Mode, emit};
use bpf::layout::{View, Wiring};
use plan::plan::Plan;
use plan::{PROBLEMS_MAX, Problems, compile, text, utf8};

/// A config as `check` and `up` read it.
pub fn config(octets: &[u8]) {
    let read = utf8("fuzz.toml", octets).and_then(|text| compile("fuzz.toml", text));
    match read {
        Ok((plan, advice)) => {
            for piece in advice {
                assert!(is_printable(&piece.to_string()), "{piece}");
            }
            accepted(&plan);
        }
        Err(problems) => refused(octets, &problems),
    }
}

/// A plan's own text.
pub fn plan_text(octets: &[u8]) {
    match utf8("fuzz.plan", octets).and_then(text::parse) {
        Ok(plan) => accepted(&plan),
        Err(problems) => refused(octets, &problems),
    }
}

/// The canonical text says all of a plan; and every plan is emitted or refused, without a panic.
fn accepted(plan: &Plan) {
    let canonical = plan.to_string();
    assert_eq!(text::parse(&canonical).as_ref(), Ok(plan), "{canonical}");
    if plan.hooks.len() > 8 {
        return; // More of the same, and slow.
    }
    for view in [View::Tc, View::Xdp] {
        if let Ok(emitted) = emit(plan, &Wiring::all(plan, view), Mode::Attach) {
            for unit in &emitted.units {
                bpf::check::check(&unit.program).expect("what is emitted passes the checks");
            }
        }
    }
}

/// Every problem has a place in the text, and words that a terminal can show.
fn refused(octets: &[u8], problems: &Problems) {
    assert!(!problems.list.is_empty() && problems.list.len() <= PROBLEMS_MAX);
    for problem in &problems.list {
        assert!(problem.span.start <= problem.span.end && problem.span.end <= octets.len(), "{problem:?}");
        assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
        assert!(!problem.what.is_empty() && !problem.help.is_empty(), "{problem:?}");
    }
    assert!(is_printable(&problems.to_string()), "{problems}");
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() && character != '\n')
}
