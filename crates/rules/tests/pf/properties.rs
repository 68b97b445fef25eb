//! Whatever the parser is given, it does not panic, explains what it refuses, and reads back what it accepts.

use proptest::prelude::*;
use rules::pf::{REMARKS_MAX, parse};

/// Pieces of rules, sound and not.
const PIECES: &[&str] = &[
    "pass",
    "block",
    "match",
    "in",
    "out",
    "quick",
    "log",
    "on",
    "em0",
    "! em1",
    "{ em0, em1 }",
    "inet",
    "inet6",
    "proto",
    "tcp",
    "udp",
    "{ tcp udp }",
    "icmp",
    "from",
    "to",
    "any",
    "all",
    "10.0.0.1",
    "! 10.0.0.0/8",
    "::1",
    "<t>",
    "! <t>",
    "10.0.0.1 - 10.0.0.9",
    "{ 10.0.0.1, ::1 }",
    "port",
    "80",
    "= 80",
    "!= 80",
    "1:9",
    "1 >< 9",
    "9 <> 1",
    "{ 80, > 1023 }",
    "flags S/SA",
    "flags any",
    "icmp-type echoreq",
    "icmp6-type 135 code 0",
    "tos 8",
    "label \"$nr $if\"",
    "tag A",
    "tagged A",
    "! tagged A",
    "probability 33%",
    "keep state",
    "dup-to",
    "(em1 10.0.0.1)",
    "em1",
    "{ em1, em2 }",
    "round-robin",
    "random",
    "source-hash",
    "sticky-address",
    "a:1.2.3.4",
    "table <t> { 10.0.0.1 }",
    "x = \"em0\"",
    "y = \"{ $x $x }\"",
    "$x",
    "$y",
    "set skip on lo",
    "nat",
    "anchor {",
    "{",
    "}",
    "(",
    ")",
    ",",
    "!",
    "=",
    "\\\n",
    "\n",
    "\n ",
    "#",
    "\"",
    "'",
    "$",
    "\\",
    "é",
    "\u{0}",
    "  ",
    "\t",
];

fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(PIECES), 0..40)
}

/// Lines that mostly are rules.
fn line() -> impl Strategy<Value = String> {
    let any_of = |list: &'static [&'static str]| proptest::sample::select(list);
    (
        any_of(&["pass", "block", "match"]),
        any_of(&["", "in", "out"]),
        any_of(&["", "quick", "log quick"]),
        any_of(&["", "on em0", "on ! em0", "on { em0 \"x y\" }"]),
        any_of(&["", "inet", "inet6"]),
        any_of(&["", "proto tcp", "proto { tcp udp }", "proto 47", "proto icmp"]),
        any_of(&[
            "",
            "from 10.0.0.1",
            "from { 10/8 ::1 ! <t> }",
            "from any port 80",
            "from port { 1 2:3 != 4 }",
        ]),
        any_of(&["", "to <t>", "to 2001:db8::/32", "to ! 10.0.0.1 port 5 >< 9", "to 1.2.3.4 - 1.2.3.9"]),
        any_of(&[
            "",
            "flags S/SA",
            "tos 0x10",
            "label \"$srcaddr:$nr\"",
            "tag \"A B\" probability 0.25",
            "! tagged B",
        ]),
        any_of(&["", "", "dup-to em1", "dup-to { (em1 1.1.1.1) em2 } source-hash", "keep state (max 5)"]),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i, j)| [a, b, c, d, e, f, g, h, i, j].join(" "))
}

fn no_files(_: &str) -> Result<String, String> {
    Err("no files here".to_owned())
}

fn check(text: &str) {
    match parse("f", text, &no_files) {
        Ok(parsed) => {
            let canonical = parsed.to_string();
            let again = parse("f", &canonical, &no_files)
                .unwrap_or_else(|refused| panic!("{text}\n{canonical}\n{refused}"));
            assert_eq!(again.to_string(), canonical, "{text}");
            assert_eq!(again.rules.len(), parsed.rules.len());
            for (again, rule) in again.rules.iter().zip(&parsed.rules) {
                assert_eq!(again.test(), rule.test(), "{rule}");
                assert_eq!(
                    (again.action, again.direction, &again.on, again.quick, again.chance),
                    (rule.action, rule.direction, &rule.on, rule.quick, rule.chance)
                );
                let pool = |rule: &rules::pf::Rule| {
                    rule.dup_to.as_ref().map(|pool| {
                        let targets: Vec<_> = pool
                            .targets
                            .iter()
                            .map(|target| (target.interface.clone(), target.address))
                            .collect();
                        (pool.method.clone(), pool.sticky, targets)
                    })
                };
                assert_eq!(pool(again), pool(rule), "{rule}");
                assert!(text.get(rule.origin.clone()).is_some(), "{rule}");
            }
        }
        Err(refused) => {
            assert!(!refused.list.is_empty() && refused.list.len() <= REMARKS_MAX);
            for remark in &refused.list {
                assert!(text.get(remark.flaw.span.clone()).is_some(), "{remark:?}");
                assert!(remark.flaw.help.is_some(), "{remark}");
                assert_eq!(remark.to_string().lines().count(), 2, "{remark:?}");
                assert!(remark.to_string().chars().all(|c| c == '\n' || !c.is_control()), "{remark:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read(text in "\\PC{0,200}") {
        check(&text);
    }

    #[test]
    fn any_octets_of_text_are_read(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn pieces_in_any_order_are_read(pieces in pieces()) {
        check(&pieces.join(" "));
    }

    #[test]
    fn rules_read_back(lines in proptest::collection::vec(line(), 1..6)) {
        check(&format!("table <t> {{ 10.0.0.1 !::1 }}\n{}\n", lines.join("\n")));
    }

    #[test]
    fn one_rule_reads_back(line in line()) {
        check(&format!("table <t> {{ 10.0.0.1 !::1 }}\n{line}\n"));
    }
}

#[test]
fn golden_files_with_a_character_less_are_read() {
    for entry in std::fs::read_dir(super::folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "in") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, character) in text.char_indices().take(400).step_by(9) {
            check(&format!("{}{}", &text[..at], &text[at + character.len_utf8()..]));
        }
    }
}

#[test]
fn bounds_hold() {
    let refused = |text: &str, what: &str| {
        let refused = parse("f", text, &no_files).expect_err(what);
        assert!(refused.list.iter().any(|remark| remark.flaw.what.contains(what)), "{refused}");
    };
    refused(&"#".repeat(rules::pf::TEXT_MAX + 1), "octets");
    refused(&"pass\n".repeat(rules::pf::RULES_MAX + 9), "more than 65535 rules");
    refused(&format!("x = \"{}\"", "a".repeat(rules::pf::MACRO_MAX + 1)), "octets");
    // Each macro has the one before it twice: 2^40 octets if nothing stopped them.
    let mut doubling = "x0 = \"a\"\n".to_owned();
    for level in 1..40 {
        doubling.push_str(&format!("x{level} = \"$x{0} $x{0}\"\n", level - 1));
    }
    refused(&doubling, "octets");
    let big = format!("x = \"em0{}\"\n", " ".repeat(60_000));
    refused(&format!("{big}{}", "pass on $x\n".repeat(300)), "stand for more than");
    refused(&format!("pass from {}", "{".repeat(100_000)), "not closed");
    refused(&format!("pass from {} 10.0.0.1 {}", "{ ".repeat(5000), "} ".repeat(5000)), "in one another");
    let hosts = "10.0.0.1 ".repeat(3000);
    refused(&format!("pass from {{ {hosts} }} to {{ {hosts} }}"), "more than 65535 rules");
    let tags: String = (0..500).map(|number| format!("pass tagged t{number}\n")).collect();
    let advice = parse("f", &tags, &no_files).unwrap().advice;
    assert_eq!(advice.len(), REMARKS_MAX + 1);
    assert_eq!(advice[REMARKS_MAX].flaw.what, "300 more pieces of advice are not shown");
    let many = parse("f", &"pass frob\n".repeat(1000), &no_files).unwrap_err();
    assert_eq!((many.list.len(), many.more), (REMARKS_MAX, 1000 - REMARKS_MAX));
}

#[test]
fn tables_of_many_files_have_one_bound() {
    let entries = "10.0.0.1\n".repeat(rules::pf::ENTRIES_MAX / 2 + 1);
    let files = |_: &str| Ok(entries.clone());
    let refused =
        parse("f", "table <a> file \"a\"\ntable <b> file \"b\"\npass from <a>", &files).unwrap_err();
    assert!(refused.to_string().starts_with("f:2:11: more than 1000000 addresses"), "{refused}");
}
