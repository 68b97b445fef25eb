//! Whatever the parser is given, it does not panic and explains what it refuses; and what `simplify` makes of a
//! test decides as the test does, also about cut frames.

use proptest::prelude::*;
use rules::expr::{self, FLAWS_MAX};
use rules::form::{Chain, Field, LoadSize, Number, Operator, Ranges, Relation, Test, simplify};
use wire::{Frame, LinkType};

/// Pieces of expressions, sound and not.
const PIECES: &[&str] = &[
    "tcp",
    "udp",
    "ip",
    "ip6",
    "arp",
    "icmp",
    "ether",
    "wlan",
    "host",
    "net",
    "port",
    "portrange",
    "proto",
    "protochain",
    "src",
    "dst",
    "and",
    "or",
    "not",
    "(",
    ")",
    "[",
    "]",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "&",
    "|",
    "^",
    "<<",
    ">>",
    "=",
    "!=",
    "<",
    ">=",
    "80",
    "0",
    "443",
    "10.0.0.1",
    "10",
    "10.0.0.0/8",
    "::1",
    "2001:db8::/32",
    "00:11:22:33:44:55",
    "80-90",
    "http",
    "\\tcp",
    "vlan",
    "mpls",
    "pppoes",
    "geneve",
    "len",
    "less",
    "greater",
    "byte",
    "broadcast",
    "multicast",
    "gateway",
    "inbound",
    "type",
    "subtype",
    "dir",
    "mgt",
    "beacon",
    "tcpflags",
    "tcp-syn",
    "icmptype",
    "llc",
    "rnr",
    "mask",
    "255.0.0.0",
    "on",
    "eth0",
    "addr2",
    "$7",
    "4294967296",
    "0x",
    "09",
    "\u{e9}",
    "?",
    "ra",
];

const LINK_TYPES: [u16; 9] = [1, 9, 101, 105, 113, 127, 228, 229, 276];

fn link_type() -> impl Strategy<Value = LinkType> {
    prop::sample::select(&LINK_TYPES[..]).prop_map(LinkType)
}

/// What must hold for any text.
fn sane(text: &str, link_type: LinkType) -> Result<(), TestCaseError> {
    match expr::parse(text, link_type) {
        Ok(test) => {
            for data in [&[][..], &[0x45; 60], &[0; 200], text.as_bytes()] {
                let frame = Frame { data, wire_len: 64, link_type };
                prop_assert_eq!(test.holds(&frame), simplify(test.clone()).holds(&frame));
            }
        }
        Err(flaws) => {
            prop_assert!(!flaws.is_empty() && flaws.len() <= FLAWS_MAX);
            for flaw in flaws {
                prop_assert!(text.get(flaw.span.clone()).is_some(), "{:?} of {:?}", flaw, text);
                prop_assert!(
                    !flaw.what.is_empty() && flaw.help.as_ref().is_some_and(|help| !help.is_empty())
                );
                let shown = format!("{}{}", flaw.what, flaw.help.unwrap_or_default());
                prop_assert!(!shown.contains(char::is_control), "{:?}", shown);
            }
        }
    }
    Ok(())
}

fn number() -> impl Strategy<Value = Number> {
    let size = prop::sample::select(&[LoadSize::One, LoadSize::Two, LoadSize::Four][..]);
    let operator = prop::sample::select(
        &[
            Operator::Add,
            Operator::Subtract,
            Operator::Multiply,
            Operator::Divide,
            Operator::Remainder,
            Operator::And,
            Operator::Or,
            Operator::ExclusiveOr,
            Operator::ShiftLeft,
            Operator::ShiftRight,
        ][..],
    );
    let constant =
        prop_oneof![0u32..4, Just(0xff), Just(0xf), Just(31), Just(40), Just(u32::MAX), any::<u32>()];
    let leaf = prop_oneof![
        constant.clone().prop_map(Number::Constant),
        Just(Number::Length),
        (size.clone(), 0u32..12).prop_map(|(size, at)| Number::load(size, at)),
        prop::sample::select(&[Field::Protocol, Field::SourcePort][..]).prop_map(Number::Field),
    ];
    leaf.prop_recursive(3, 8, 2, move |inner| {
        prop_oneof![
            (size.clone(), inner.clone()).prop_map(|(size, at)| Number::Load { size, at: Box::new(at) }),
            (operator.clone(), inner.clone(), constant.clone())
                .prop_map(|(operator, left, right)| left.with(operator, Number::Constant(right))),
            (operator.clone(), inner.clone(), inner)
                .prop_map(|(operator, left, right)| left.with(operator, right)),
        ]
    })
}

/// Questions that repeat, as those of expressions do.
fn common() -> impl Strategy<Value = Test> {
    let ranges = prop::sample::select(&[(0u32, 0u32), (1, 1), (0, 1), (2, 255), (3, 3), (0, u32::MAX)][..]);
    (0u32..4, any::<bool>(), ranges).prop_map(|(at, wide, range)| {
        let size = if wide { LoadSize::Two } else { LoadSize::One };
        Test::Within(Number::load(size, at), Ranges::new([range]))
    })
}

fn test() -> impl Strategy<Value = Test> {
    let ranges = prop::collection::vec((0u32..6, 0u32..300), 0..3).prop_map(Ranges::new);
    let relation = prop::sample::select(&[Relation::Equal, Relation::Greater, Relation::AtLeast][..]);
    let chain = (0u32..4, prop::sample::select(&[4u8, 6][..]), 0u8..3).prop_map(|(at, version, protocol)| {
        Test::Chain(Chain { at: Number::Constant(at), version, protocol })
    });
    let leaf = prop_oneof![
        1 => Just(Test::Always),
        8 => common(),
        3 => (number(), ranges).prop_map(|(number, ranges)| Test::Within(number, ranges)),
        3 => (number(), relation, number()).prop_map(|(left, relation, right)| Test::Compare(left, relation, right)),
        1 => chain,
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            2 => inner.clone().prop_map(|test| Test::Not(Box::new(test))),
            3 => prop::collection::vec(inner.clone(), 0..5).prop_map(Test::All),
            4 => prop::collection::vec(inner, 0..6).prop_map(Test::Any),
        ]
    })
}

/// Frames of small numbers, so that questions are often answered with yes, and often cut.
fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(prop_oneof![4 => 0u8..4, 1 => any::<u8>()], 0..16), 12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_read_or_explained(text in ".{0,80}", link_type in link_type()) {
        sane(&text, link_type)?;
    }

    #[test]
    fn any_pieces_are_read_or_explained(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14),
        spaced in any::<bool>(),
        link_type in link_type(),
    ) {
        sane(&pieces.join(if spaced { " " } else { "" }), link_type)?;
    }

    #[test]
    fn a_smaller_test_decides_alike(test in test(), frames in frames()) {
        let smaller = simplify(test.clone());
        for data in &frames {
            let frame = Frame::ethernet(data).unwrap();
            prop_assert_eq!(test.holds(&frame), smaller.holds(&frame), "{:?} of {:?}", smaller, data);
        }
    }

    #[test]
    fn a_smaller_disjunction_decides_alike(
        tests in prop::collection::vec(prop::collection::vec(common(), 1..5), 1..12),
        negated in any::<bool>(),
        frames in frames(),
    ) {
        let mut test = Test::Any(tests.into_iter().map(Test::All).collect());
        if negated {
            test = Test::Not(Box::new(test));
        }
        let smaller = simplify(test.clone());
        for data in &frames {
            let frame = Frame::ethernet(data).unwrap();
            prop_assert_eq!(test.holds(&frame), smaller.holds(&frame), "{:?} of {:?}", smaller, data);
        }
    }
}

#[test]
fn texts_that_are_almost_expressions_are_read_or_explained() {
    let read = include_str!("read.txt").lines().chain(include_str!("refused.txt").lines());
    for line in read.filter_map(|line| line.strip_prefix("> ")) {
        for (at, letter) in line.char_indices() {
            let (front, back) = line.split_at(at);
            let rest = &back[letter.len_utf8()..];
            for text in [
                front.to_owned(),
                format!("{front}{rest}"),
                format!("{front}({rest}"),
                format!("{front} {back}"),
            ] {
                sane(&text, LinkType::ETHERNET).unwrap_or_else(|why| panic!("{text}: {why}"));
            }
        }
    }
}
