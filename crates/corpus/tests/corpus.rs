//! Configs and `eval` against the golden files of `corpus/`. `TAPWRIGHT_BLESS=1` writes them.

use std::collections::BTreeSet;

use corpus::{Golden, bad_texts, cases, refusal, root};

#[test]
fn corpus_cases_mean_what_their_files_say() {
    let mut golden = Golden::from_environment();
    let cases = cases().unwrap_or_else(|error| panic!("{error}"));
    assert!(cases.len() >= 25, "{} cases", cases.len());
    for case in &cases {
        let outcome = case.evaluate();
        golden.check(&case.dir.join("plan.txt"), &case.plan.to_string());
        golden.check(&case.dir.join("advice.txt"), &case.advice);
        golden.check(&case.dir.join("out.txt"), &outcome.sent_text());
        golden.check(&case.dir.join("counters.txt"), &outcome.counters_text());
    }
    golden.finish();
}

#[test]
fn corpus_plans_read_back_and_print_the_same() {
    for case in cases().unwrap_or_else(|error| panic!("{error}")) {
        let printed = case.plan.to_string();
        let (read, _) =
            plan::compile("plan.txt", &printed).unwrap_or_else(|error| panic!("{}\n{error}", case.name));
        assert_eq!(read, case.plan, "{}", case.name);
        assert_eq!(read.to_string(), printed, "{}", case.name);
    }
}

#[test]
fn corpus_refusals_say_exactly_this() {
    let mut golden = Golden::from_environment();
    let texts = bad_texts().unwrap_or_else(|error| panic!("{error}"));
    assert!(texts.len() >= 40, "{} texts", texts.len());
    for text in &texts {
        let message = refusal(text).unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(message, "this text is not refused\n", "{}", text.display());
        golden.check(&text.with_extension("err"), &message);
    }
    golden.finish();
}

#[test]
fn corpus_folders_hold_nothing_else() {
    let known = ["config.toml", "frames.txt", "plan.txt", "advice.txt", "out.txt", "counters.txt"];
    let known: BTreeSet<&str> = known.into_iter().collect();
    for case in cases().unwrap_or_else(|error| panic!("{error}")) {
        for entry in std::fs::read_dir(&case.dir).unwrap() {
            let name = entry.unwrap().file_name();
            let word = name.to_str().unwrap();
            // Listings of what is emitted for a case are compared by the emitter's own tests.
            assert!(
                known.contains(word) || word.starts_with("listing") || word.ends_with(".conf"),
                "{}/{name:?} under {:?}",
                case.name,
                root()
            );
        }
    }
}
