//! Sets of rules, of which one decides.

use rules::form::{
    Addresses, CopyIndex, Decision, End, Field, Handed, Memory, Number, Program, Ranges, RuleId, RuleSet,
    Ruled, Ruling, TagIndex, Test,
};
use wire::Frame;

use crate::frames::Flow;

const RULE: Ruling = Ruling {
    rule: RuleId(0),
    when: Test::Always,
    tagged: None,
    chance: None,
    quick: false,
    verdict: Ruled::Match,
    tag: None,
};

fn to(copy: u16) -> Ruled {
    Ruled::Pass(Handed::Copy(CopyIndex(copy)))
}

fn port(port: u32) -> Test {
    Test::Within(Number::Field(Field::DestinationPort), Ranges::one(port))
}

fn from(network: &str) -> Test {
    Test::Address(End::Source, Addresses::Network(network.parse().unwrap()))
}

/// The rules are counted as they stand.
fn set(rulings: impl IntoIterator<Item = Ruling>, tags: &[&str]) -> Program {
    let rulings = rulings.into_iter().zip(0..).map(|(ruling, at)| Ruling { rule: RuleId(at), ..ruling });
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Program { rule_sets: vec![RuleSet::new(rulings.collect(), tags)], ..Program::default() }
}

fn run(program: &Program, data: &[u8]) -> Decision {
    program.run(&Frame::ethernet(data).unwrap())
}

fn web() -> Vec<u8> {
    Flow::new("10.0.0.6", "192.0.2.80", 6, (40_000, 80)).frame()
}

fn dns() -> Vec<u8> {
    Flow::new("10.0.0.6", "192.0.2.53", 17, (40_000, 53)).frame()
}

fn copies(copies: &[u16]) -> Decision {
    Decision { copies: copies.iter().map(|copy| CopyIndex(*copy)).collect(), blocked_by: None }
}

#[test]
fn the_last_rule_that_matches_decides() {
    let rules = [
        Ruling { verdict: to(0), ..RULE },
        Ruling { when: port(80), verdict: to(1), ..RULE },
        Ruling { when: port(25), verdict: Ruled::Block, ..RULE },
    ];
    let program = set(rules, &[]);
    assert_eq!(run(&program, &web()), copies(&[1]));
    assert_eq!(run(&program, &dns()), copies(&[0]));
}

#[test]
fn a_quick_rule_that_matches_is_the_last_one_tried() {
    let rules = [
        Ruling { when: port(80), quick: true, verdict: to(0), ..RULE },
        Ruling { when: port(53), quick: true, verdict: Ruled::Pass(Handed::Nobody), ..RULE },
        Ruling { verdict: Ruled::Block, ..RULE },
    ];
    let program = set(rules, &[]);
    assert_eq!(run(&program, &web()), copies(&[0]));
    assert_eq!(run(&program, &dns()), copies(&[]));
    let other = Flow::new("10.0.0.6", "192.0.2.25", 6, (40_000, 25)).frame();
    assert_eq!(run(&program, &other), Decision { copies: vec![], blocked_by: Some(RuleId(2)) });
}

#[test]
fn a_match_rule_decides_nothing_and_a_quick_one_ends_the_set() {
    let rules = [
        Ruling { verdict: to(0), ..RULE },
        Ruling { when: port(80), quick: true, ..RULE },
        Ruling { verdict: Ruled::Block, ..RULE },
    ];
    let program = set(rules, &[]);
    assert_eq!(run(&program, &web()), copies(&[0]));
    assert_eq!(run(&program, &dns()).blocked_by, Some(RuleId(2)));
    assert_eq!(run(&set([RULE], &[]), &web()), copies(&[]));
}

#[test]
fn tags_stay_whichever_rule_decides_and_the_last_one_counts() {
    let [one, other] = [TagIndex(0), TagIndex(1)];
    let rules = [
        // Sets its tag even though it does not decide.
        Ruling { when: from("10.0.0.0/8"), verdict: to(0), tag: Some(one), ..RULE },
        Ruling { when: port(80), tag: Some(other), ..RULE },
        Ruling { tagged: Some((one, false)), verdict: to(1), ..RULE },
        Ruling { tagged: Some((other, false)), verdict: to(2), ..RULE },
        Ruling { tagged: Some((one, true)), when: port(25), verdict: to(3), ..RULE },
    ];
    let program = set(rules, &["one", "other"]);
    assert_eq!(run(&program, &dns()), copies(&[1]), "tagged one");
    assert_eq!(run(&program, &web()), copies(&[2]), "tagged other, in place of one");
    let untagged = Flow::new("172.16.0.1", "192.0.2.25", 6, (40_000, 25)).frame();
    assert_eq!(run(&program, &untagged), copies(&[3]), "a frame without a tag does not bear one");
}

#[test]
fn a_rule_that_fails_by_tag_or_chance_sets_no_tag() {
    let tag = TagIndex(0);
    let rules = [
        Ruling { tagged: Some((tag, false)), tag: Some(tag), ..RULE },
        Ruling { chance: Some(0), tag: Some(tag), ..RULE },
        Ruling { tagged: Some((tag, false)), verdict: to(0), ..RULE },
    ];
    assert_eq!(run(&set(rules, &["t"]), &web()), copies(&[]));
}

#[test]
fn chance_is_as_often_as_it_says_and_rules_do_not_share_it() {
    let share = u32::MAX / 4;
    let rules = [
        Ruling { chance: Some(share), verdict: to(0), ..RULE },
        Ruling { chance: Some(share), verdict: to(1), ..RULE },
    ];
    let program = set(rules, &[]);
    let data = web();
    let frame = Frame::ethernet(&data).unwrap();
    for seed in 0..4 {
        let mut memory = Memory::default();
        let mut counts = [0i32; 3];
        for _ in 0..40_000 {
            let mut copies = Vec::new();
            program.run_into(&frame, &mut memory, seed, &mut copies);
            counts[copies.first().map_or(2, |copy| usize::from(copy.0))] += 1;
        }
        assert_eq!(memory.draws, 40_000);
        // 1/4 by the last rule; 3/4 * 1/4 by the first alone; 9/16 by none.
        for (count, expected) in counts.into_iter().zip([7_500, 10_000, 22_500]) {
            assert!((count - expected).abs() < 400, "seed {seed}: {counts:?}");
        }
    }
}

#[test]
fn a_chance_of_all_but_one_part_matches_and_of_none_does_not() {
    for (chance, expected) in [(0, vec![]), (u32::MAX, vec![CopyIndex(0)])] {
        let program = set([Ruling { chance: Some(chance), verdict: to(0), ..RULE }], &[]);
        let mut memory = Memory::default();
        for _ in 0..1_000 {
            let mut copies = Vec::new();
            program.run_into(&Frame::ethernet(&web()).unwrap(), &mut memory, 1, &mut copies);
            assert_eq!(copies, expected);
        }
    }
}

#[test]
fn frames_without_ip_match_no_rule() {
    let rules = [
        Ruling { verdict: Ruled::Block, ..RULE },
        Ruling { when: Test::Not(Box::new(port(1))), verdict: to(0), ..RULE },
    ];
    let program = set(rules, &[]);
    let mut arp = web();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut broken = web();
    broken[14] = 0x44;
    let cut = &web()[..33];
    for data in [&arp[..], &broken, cut, &[], &[0; 60]] {
        assert_eq!(run(&program, data), Decision::default(), "{data:02x?}");
    }
    let tagged = [&web()[..12], &[0x81, 0x00, 0, 7], &web()[12..]].concat();
    assert_eq!(run(&program, &tagged), copies(&[0]), "behind a tag there is IP");
}

#[test]
fn a_field_that_is_missing_makes_each_comparison_false() {
    let mut later = web();
    later[20..22].copy_from_slice(&[0, 100]);
    for when in [port(80), Test::Within(Number::Field(Field::SourcePort), Ranges::new([(0, 65_535)]))] {
        let positive = set([Ruling { when: when.clone(), verdict: to(0), ..RULE }], &[]);
        assert_eq!(run(&positive, &web()), copies(&[0]));
        assert_eq!(run(&positive, &later), copies(&[]), "a later fragment has no ports");
        let negative = set([Ruling { when: Test::Not(Box::new(when)), verdict: to(0), ..RULE }], &[]);
        assert_eq!(run(&negative, &later), copies(&[0]));
    }
}

#[test]
fn each_set_decides_for_itself_and_the_first_that_blocks_is_named() {
    let block =
        |rule| RuleSet::new(vec![Ruling { rule: RuleId(rule), verdict: Ruled::Block, ..RULE }], vec![]);
    let pass = RuleSet::new(vec![Ruling { verdict: to(4), ..RULE }], vec![]);
    let program = Program { rule_sets: vec![pass.clone(), block(7), block(8), pass], ..Program::default() };
    let decision = run(&program, &web());
    assert_eq!(decision, Decision { copies: vec![CopyIndex(4); 2], blocked_by: Some(RuleId(7)) });
    assert_eq!(program.blocking(), [RuleId(7), RuleId(8)]);
}
