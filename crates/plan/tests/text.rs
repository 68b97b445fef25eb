//! Plan text of programs that steer: what it looks like, that it reads back, and that it stays short and quick.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use plan::arbitrary::Random;
use plan::text::parse;
use rules::form::{AddressTable, Addresses, End, Entry, RuleSet, Test};

/// Every construct once, in canonical form.
const EVERYTHING: &str = r#"plan 1

port  a    eth1  network
port  b    eth2  network
port  ids  eth3  monitor
port  to   eth4  monitor

sink  port ids
sink  port to

rule  perimeter  tap.toml:9:1
rule  pf.conf:3  pf.conf:3:1
rule  pf.conf:4  pf.conf:4:1
rule  twice      -
rule  twice      tap.toml:12:1

table  <web>
  holds  10.0.0.0/8  !10.1.0.0/16  10.1.2.3  192.0.2.0/24  198.51.100.0/24  203.0.113.0/24  ::1  2001:db8::/32
  holds  !2001:db8:1::/48
table  <a\u{20}table>

hook  a  in  pass b
  copy    ids    by perimeter
  copy    to     by #3                          when [12:2] in 2048 and ([23] = 6 or not vlan 10,20-29)
  balance  flow inner  by pf.conf:3  to ids  to to weight 3 key 7
  spread  #0     by pf.conf:3                   when length in 0-99,1514
  block   by #4  when protochain 58 of 6 at 14
  rules
    pass   by pf.conf:3
    pass   quick  copy ids  by pf.conf:3  when source in <web> and destination-port in 80,443
    pass   copy ids  by pf.conf:4  tag "a tag"  when source in <a\u{20}table>
    match  by pf.conf:4  tag web  when tcp-flags & 18 = 2
    pass   spread #0  by pf.conf:4  tagged web  chance 12.5%
    block  by pf.conf:3  not tagged "a tag"  when not ip-version in 4
hook  b  in  pass a
  copy  ids  by perimeter
  rules
    block  by pf.conf:4
    like  a in  1-3
    pass   by pf.conf:3
  rules
    tags  "a tag"  web
    match  by pf.conf:4  tag web  when tcp-flags & 18 = 2
    balance  round-robin  by pf.conf:3  to ids
    pass   spread #0  by pf.conf:4  tagged web  chance 12.5%
    block  by pf.conf:3  not tagged "a tag"  when not ip-version in 4
  entry  to  by perimeter
"#;

#[test]
fn everything_reads_back() {
    let plan = parse(EVERYTHING).unwrap_or_else(|problems| panic!("{problems}"));
    let printed = plan.to_string();
    assert_eq!(printed, EVERYTHING);
    let tables = |set: &RuleSet| match &set.rulings()[1].when {
        Test::All(tests) => match &tests[0] {
            Test::Address(_, Addresses::Table(table)) => Arc::clone(table),
            other => panic!("{other} names a table"),
        },
        other => panic!("{other} names a table"),
    };
    let [one, other] = [0, 1].map(|at| tables(&plan.hooks[at].program.rule_sets[0]));
    assert!(Arc::ptr_eq(&one, &other), "a table is held once");
}

/// 10,000 rules of five fields, at both hooks of a link.
fn ten_thousand() -> String {
    let mut text = String::from(
        "plan 1\nport  a  eth1  network\nport  b  eth2  network\nport  m  eth3  monitor\nport  n  eth4  monitor\n\
         sink  port m\nsink  port n\n",
    );
    for line in 0..10_000 {
        writeln!(text, "rule  pf.conf:{line}  pf.conf:{}:1", line + 1).unwrap();
    }
    for (from, to) in [("a", "b"), ("b", "a")] {
        writeln!(text, "hook  {from}  in  pass {to}\n  rules").unwrap();
        for line in 0..10_000u32 {
            // One rule in 1,000 is of this hook alone.
            let port = if line % 1_000 == 0 { u32::from(from == "b") } else { 1024 + line };
            let [_, _, c, d] = line.to_be_bytes();
            writeln!(
                text,
                "    pass   quick  copy {}  by pf.conf:{line}  when protocol in 6 and source in 10.0.{c}.{d} and \
                 destination in 192.0.2.{d} and source-port in {port} and destination-port in 80",
                if line % 3 == 0 { "m" } else { "n" },
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn ten_thousand_rules_at_two_hooks_take_the_room_of_one() {
    let text = ten_thousand();
    let start = Instant::now();
    let plan = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let parsed = start.elapsed();
    let printed = plan.to_string();
    let shown = start.elapsed() - parsed;
    println!("{} octets parsed in {parsed:?}, {} printed in {shown:?}", text.len(), printed.len());
    assert_eq!(plan.hooks[1].program.rule_sets[0].rulings().len(), 10_000);
    assert!(printed.len() * 10 < text.len() * 6, "{} of {}", printed.len(), text.len());
    let start = Instant::now();
    let read = parse(&printed).unwrap_or_else(|problems| panic!("{problems}"));
    println!("{} octets parsed in {:?}", printed.len(), start.elapsed());
    assert!(read == plan);
    assert_eq!(read.to_string(), printed);
}

#[test]
fn tables_of_one_name_are_told_apart() {
    let mut plan = parse(EVERYTHING).unwrap_or_else(|problems| panic!("{problems}"));
    let other = AddressTable::new(
        "web",
        ["10.9.9.9".parse().map(|network| Entry { network, negated: true }).unwrap()],
    );
    let when = Test::Address(End::Destination, Addresses::Table(Arc::new(other)));
    plan.hooks[1].program.steps[0].when = when;
    let printed = plan.to_string();
    assert!(printed.contains("  copy  ids  by perimeter  when destination in <#2>\n"), "{printed}");
    assert!(printed.contains("source in <#0> and"), "{printed}");
    assert!(parse(&printed) == Ok(plan), "{printed}");
}

#[test]
fn what_reading_takes_is_bounded() {
    // One long rule, taken over again and again.
    let head = "plan 1\nport  s  e1  span\nport  t  e2  span\nrule  r  -\nhook  s  in  consume\n  rules\n";
    let ports: Vec<String> = (0..50_000).map(|port| (2 * port).to_string()).collect();
    let rule = format!("    pass   by r  when source-port in {}\n", ports.join(","));
    let like = "    like  s in  0-0\n".repeat(600);
    let text = format!("{head}{rule}hook  t  in  consume\n  rules\n{like}");
    let problems = parse(&text).expect_err("601 rules of 280,000 octets").to_string();
    assert!(problems.contains("the tests of this plan are too large\nhelp: divide the plan"), "{problems}");
    let text = format!("{head}{}", "    pass   by r\n".repeat(65_536));
    let problems = parse(&text).expect_err("65,536 rules in a set").to_string();
    assert!(problems.contains("more than 65535 rules in a set, or 1048576 in all"), "{problems}");
    let deep = format!("{head}    pass   by r  when {}all\n", "not ".repeat(100_000));
    let problems = parse(&deep).expect_err("nested 100,000 times").to_string();
    assert!(problems.contains("nested deeper than 200\nhelp: say it with less"), "{problems}");
}

/// Words that plan text is made of, and some that it is not.
const WORDS: [&str; 40] = [
    "when",
    "by",
    "copy",
    "#0",
    "#1",
    "entry",
    "rules",
    "like",
    "a in",
    "0-1",
    "pass",
    "block",
    "match",
    "quick",
    "tagged",
    "not",
    "tag",
    "chance",
    "50%",
    "balance",
    "flow",
    "to",
    "weight",
    "key",
    "7",
    "inner",
    "spread",
    "table",
    "<web>",
    "holds",
    "!10.0.0.0/8",
    "and",
    "or",
    "(",
    ")",
    "[12:2]",
    "in",
    "\"",
    "\n",
    "\u{e4}",
];

/// Another word, another digit, a line twice or not at all.
fn edit(random: &mut Random, text: &mut String) {
    let places = |sign: fn(char) -> bool| text.match_indices(sign).map(|(at, _)| at).collect::<Vec<usize>>();
    let lines = places(|c| c == '\n');
    let at = random.below(lines.len() - 1);
    let line = lines[at] + 1..lines[at + 1] + 1;
    match random.below(5) {
        0 => {
            let at = *random.pick(&places(|c| c == ' '));
            let end = text[at + 1..].find([' ', '\n']).map_or(at, |end| at + 1 + end);
            text.replace_range(at..end, &format!(" {}", random.pick(&WORDS)));
        }
        1 | 2 => {
            let at = *random.pick(&places(|c| c.is_ascii_digit()));
            text.replace_range(at..=at, &random.below(10).to_string());
        }
        3 => {
            let again = text[line.clone()].to_owned();
            text.insert_str(line.start, &again);
        }
        _ => text.replace_range(line, ""),
    }
}

#[test]
fn whatever_reads_prints_and_reads_back() {
    let (mut accepted, mut refused) = (0, 0);
    // A spread by chance needs no large table.
    let everything = EVERYTHING.replace("  flow inner", "  random inner");
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let mut text = everything.clone();
        for _ in 0..=random.below(2) {
            edit(&mut random, &mut text);
        }
        match parse(&text) {
            Ok(plan) => {
                accepted += 1;
                let printed = plan.to_string();
                assert!(parse(&printed).as_ref() == Ok(&plan), "seed {seed}\n{text}\n{printed}");
            }
            Err(problems) => {
                refused += 1;
                let spans =
                    problems.list.iter().all(|p| p.span.start <= p.span.end && p.span.end <= text.len());
                assert!(spans && !problems.list.is_empty(), "seed {seed}\n{text}\n{problems}");
            }
        }
    }
    assert!(accepted > 300 && refused > 300, "{accepted} accepted, {refused} refused");
}
