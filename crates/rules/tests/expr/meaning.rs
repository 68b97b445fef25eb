//! What expressions mean for frames, where a slip would be easy and the other tests might not look.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use rules::expr::{self, LEVELS_MAX, TEXT_MAX};
use rules::form::{Number, Test};
use wire::{Frame, LinkType};

fn passes(expression: &str, data: &[u8]) -> bool {
    let test =
        expr::parse(expression, LinkType::ETHERNET).unwrap_or_else(|flaws| panic!("{expression}: {flaws:?}"));
    test.holds(&Frame::ethernet(data).expect("a frame made by a test is short"))
}

/// An IPv4 packet: protocol, fragment offset in units of 8 octets, source, ports.
fn packet(protocol: u8, fragment: u8, source: Ipv4Addr, ports: (u16, u16)) -> Vec<u8> {
    let mut data = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    data.extend([0x45, 0, 0, 40, 0, 1, 0, fragment, 64, protocol, 0, 0]);
    data.extend(source.octets());
    data.extend([10, 0, 0, 6]);
    data.extend(ports.0.to_be_bytes());
    data.extend(ports.1.to_be_bytes());
    data.extend([0; 16]);
    data
}

fn tagged(tags: &[[u8; 4]], packet: &[u8]) -> Vec<u8> {
    let mut data = packet[..12].to_vec();
    data.extend(tags.iter().flatten());
    data.extend(&packet[12..]);
    data
}

const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

#[test]
fn of_fragments_only_the_first_has_ports() {
    assert!(passes("tcp port 80", &packet(6, 0, HERE, (80, 1024))));
    assert!(!passes("tcp port 80", &packet(6, 9, HERE, (80, 1024))));
    assert!(passes("tcp", &packet(6, 9, HERE, (80, 1024))));
    assert!(!passes("tcp[0:2] = 80", &packet(6, 9, HERE, (80, 1024))));
}

#[test]
fn ports_are_those_of_tcp_udp_and_sctp() {
    for (protocol, expected) in [(6, true), (17, true), (132, true), (1, false), (47, false)] {
        assert_eq!(passes("port 80", &packet(protocol, 0, HERE, (1024, 80))), expected, "{protocol}");
    }
    assert!(!passes("port tftp", &packet(6, 0, HERE, (69, 69))), "tftp is a service of UDP");
    assert!(passes("port tftp", &packet(17, 0, HERE, (69, 69))));
}

#[test]
fn vlan_moves_all_that_stands_behind_it() {
    let plain = packet(6, 0, HERE, (80, 1024));
    let inner = tagged(&[[0x81, 0, 0, 7]], &plain);
    let outer = tagged(&[[0x88, 0xa8, 0, 5], [0x81, 0, 0, 7]], &plain);
    assert!(!passes("tcp port 80", &inner) && passes("vlan and tcp port 80", &inner));
    assert!(passes("vlan 7 and ip", &inner) && !passes("vlan 5 and ip", &outer));
    assert!(passes("vlan 5 and vlan 7 and tcp port 80", &outer));
    // Also behind `or`, and in front of brackets: as libpcap reads it, not as one might wish.
    assert!(passes("ip or vlan", &plain) && !passes("vlan or ip", &plain));
    assert!(passes("tcp port 80 or (vlan and tcp port 80)", &inner));
}

#[test]
fn an_octet_that_is_not_there_ends_everything() {
    let whole = packet(6, 0, HERE, (80, 1024));
    let cut = &whole[..34];
    assert!(!passes("tcp port 80", cut) && !passes("not tcp port 80", cut));
    assert!(passes("ip or tcp port 80", cut) && !passes("tcp port 80 or ip", cut));
    assert!(!passes("ip[0] / (ip[1] & 0) = 1 or ip", &whole), "so does a division by 0");
}

#[test]
fn operands_take_over_the_words_before() {
    let frame = packet(6, 0, HERE, (443, 1024));
    assert!(passes("tcp src port 80 or 443", &frame) && !passes("tcp dst port 80 or 443", &frame));
    assert!(passes("src host 192.0.2.7 or 192.0.2.1", &frame));
    assert!(passes("port 80 or (tcp) or 443", &frame), "brackets hand on what stood before them");
    assert!(!passes("not port 443 or 80", &frame));
}

#[test]
fn and_is_no_stronger_than_or() {
    let frame = packet(17, 0, HERE, (1, 2));
    // Read as (udp or tcp) and port 80.
    assert!(!passes("udp or tcp and port 80", &frame) && passes("udp or (tcp and port 80)", &frame));
}

/// Questions about octets, and the numbers that they hold against them.
fn questions(test: &Test, count: &mut (usize, usize)) {
    match test {
        Test::All(tests) | Test::Any(tests) => tests.iter().for_each(|test| questions(test, count)),
        Test::Not(test) => questions(test, count),
        Test::Within(Number::Load { .. }, ranges) => {
            count.0 += 1;
            count.1 += ranges.ranges().len();
        }
        _ => {}
    }
}

#[test]
fn ten_thousand_addresses_are_a_few_questions() {
    let address = |number: u32| Ipv4Addr::from(0x0a00_0000 + number * 7);
    let mut text = String::new();
    for number in 0..10_000 {
        let _ = write!(text, "{}host {}", if number == 0 { "" } else { " or " }, address(number));
    }
    let test = expr::parse(&text, LinkType::ETHERNET).unwrap();
    let mut count = (0, 0);
    questions(&test, &mut count);
    assert!(count.0 <= 12, "{count:?}");
    let holds = |source| test.holds(&Frame::ethernet(&packet(6, 0, source, (1, 2))).unwrap());
    assert!(holds(address(0)) && holds(address(1)) && holds(address(9_999)));
    assert!(!holds(Ipv4Addr::new(192, 0, 2, 1)));
    let ports: Vec<String> = (0..10_000).map(|port| (port * 3).to_string()).collect();
    let test = expr::parse(&format!("tcp port {}", ports.join(" or ")), LinkType::ETHERNET).unwrap();
    let mut count = (0, 0);
    questions(&test, &mut count);
    assert!(count.0 <= 14, "{count:?}");
}

#[test]
fn depth_and_length_are_bounded() {
    let refused = |text: &str| match expr::parse(text, LinkType::ETHERNET) {
        Ok(_) => panic!("{} octets are read", text.len()),
        Err(flaws) => flaws[0].what.clone(),
    };
    for (open, close) in [("(", ")"), ("not ", ""), ("(not ", ")")] {
        let deep = |count: usize| open.repeat(count) + "tcp" + &close.repeat(count);
        assert!(expr::parse(&deep(LEVELS_MAX / 3), LinkType::ETHERNET).is_ok());
        assert!(refused(&deep(100_000)).starts_with("deeper than 128 levels"));
    }
    assert!(refused(&"ip[".repeat(100_000)).starts_with("deeper than"));
    assert!(refused(&("-".repeat(100_000) + "1 = 1")).starts_with("an expression that begins with"));
    assert!(refused(&("1 = ".to_owned() + &"-".repeat(100_000) + "1")).starts_with("deeper than"));
    assert!(refused(&format!("1{} = 1", "+1".repeat(100_000))).starts_with("more than 64 operations"));
    assert!(refused(&format!("ip[0]{} = 1", "%3".repeat(100_000))).starts_with("deeper than"));
    assert!(refused(&"tcp and ip or ".repeat(1000)).starts_with("deeper than"));
    assert!(refused(&format!("vlan {}", "(".repeat(100_000))).starts_with("deeper than"));
    assert!(refused(&" ".repeat(TEXT_MAX + 1)).starts_with("the expression has"));
    assert!(expr::parse(&format!("tcp{}", " or udp".repeat(50_000)), LinkType::ETHERNET).is_ok());
    assert!(expr::parse(&format!("tcp{}", " and vlan".repeat(200)), LinkType::ETHERNET).is_ok());
}
