//! Rule files in the manner of OpenBSD's regress/sbin/pfctl: `NNN-name.in`, and what becomes of it.
//!
//! `.ok` is the canonical text, `.advice` the advice that goes with it, `.fail` the exact messages.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use corpus::Golden;
use rules::pf::{Parsed, parse};

use super::{files, folder};

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "in")).collect();
    cases.sort();
    cases
}

fn advice(parsed: &Parsed) -> String {
    parsed.advice.iter().map(ToString::to_string).collect()
}

/// The text reads back to itself, and to rules that mean the same.
fn assert_reads_back(name: &str, parsed: &Parsed) {
    let text = parsed.to_string();
    let again = parse(name, &text, &files).unwrap_or_else(|refused| panic!("{name}\n{text}\n{refused}"));
    assert_eq!(again.to_string(), text, "{name}");
    assert_eq!(again.tables, parsed.tables, "{name}");
    assert_eq!(again.tags, parsed.tags, "{name}");
    assert_eq!(again.rules.len(), parsed.rules.len(), "{name}");
    for (again, rule) in again.rules.iter().zip(&parsed.rules) {
        assert_eq!(again.test(), rule.test(), "{name}: {rule}");
        assert_eq!(
            (again.action, again.direction, again.quick, &again.on, again.chance),
            (rule.action, rule.direction, rule.quick, &rule.on, rule.chance),
            "{name}: {rule}"
        );
    }
}

#[test]
fn golden_files() {
    let mut golden = Golden::from_environment();
    let (mut accepted, mut refused) = (0, 0);
    for path in cases() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let (ok, advice, fail) = match parse(&name, &text, &files) {
            Ok(parsed) => {
                assert_reads_back(&name, &parsed);
                accepted += 1;
                (parsed.to_string(), advice(&parsed), String::new())
            }
            Err(problems) => {
                refused += 1;
                (String::new(), String::new(), problems.to_string())
            }
        };
        golden.check(&path.with_extension("ok"), &ok);
        golden.check(&path.with_extension("advice"), &advice);
        golden.check(&path.with_extension("fail"), &fail);
    }
    golden.finish();
    assert!(accepted >= 85, "{accepted} accepted");
    assert!(refused >= 45, "{refused} refused");
}

#[test]
fn cases_have_numbers_of_their_own() {
    let numbers: Vec<String> = cases()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().split('-').next().unwrap().to_owned())
        .collect();
    let unique: BTreeSet<&String> = numbers.iter().collect();
    assert_eq!(unique.len(), numbers.len());
    assert!(numbers.iter().all(|number| number.len() == 3));
}

#[test]
fn every_result_has_its_case() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let is_result = path.extension().is_some_and(|end| end == "ok" || end == "advice" || end == "fail");
        assert!(!is_result || path.with_extension("in").exists(), "{}", path.display());
    }
}

#[test]
fn the_file_of_the_chapter_works_as_printed() {
    let text = fs::read_to_string(corpus::root().join("../examples/pf.conf.dup-to")).unwrap();
    let parsed = parse("pf.conf.dup-to", &text, &files).unwrap();
    assert_eq!(advice(&parsed), "");
    let rules: Vec<String> = parsed.rules.iter().map(ToString::to_string).collect();
    let expected = [
        "pass out on sf0 dup-to (sf2 1.1.1.80) inet proto tcp from any port = 80 to any",
        "pass in on sf0 dup-to (sf2 1.1.1.80) inet proto tcp from any to any port = 80",
        "pass out on sf0 dup-to (sf3 2.2.2.2) inet proto tcp from any port != 80 to any",
        "pass in on sf0 dup-to (sf3 2.2.2.2) inet proto tcp from any to any port != 80",
        "pass out on sf0 dup-to (sf3 2.2.2.2) inet proto udp all",
        "pass in on sf0 dup-to (sf3 2.2.2.2) inet proto udp all",
        "pass out on sf0 dup-to (sf3 2.2.2.2) inet proto icmp all",
        "pass in on sf0 dup-to (sf3 2.2.2.2) inet proto icmp all",
    ];
    assert_eq!(rules, expected);
    let lines: Vec<u32> = parsed.rules.iter().map(|rule| rule.line).collect();
    assert_eq!(lines, [8, 10, 13, 15, 18, 20, 23, 25]);
}
