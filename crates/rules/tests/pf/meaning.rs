//! What rules mean for frames, made by hand.

use rules::form::{Addresses, Ranges, Test};
use rules::pf::{Parsed, PortMatch, Rule, parse};
use wire::Frame;

fn read(text: &str) -> Parsed {
    parse("pf.conf", text, &super::files).unwrap_or_else(|refused| panic!("{text}\n{refused}"))
}

/// The one rule of a text.
fn rule(text: &str) -> Rule {
    let rules = read(text).rules;
    assert_eq!(rules.len(), 1, "{text}");
    rules.into_iter().next().unwrap()
}

fn holds(rule: &Rule, frame: &[u8]) -> bool {
    rule.test().holds(&Frame::ethernet(frame).unwrap())
}

/// Ethernet with these tags (EtherType, VLAN) and this payload.
fn ethernet(tags: &[(u16, u16)], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for (ether_type, vlan) in tags {
        frame.extend(ether_type.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

struct Packet {
    source: &'static str,
    destination: &'static str,
    protocol: u8,
    tos: u8,
    /// In octets of eight; above 0 a later fragment.
    offset: u16,
    payload: Vec<u8>,
}

impl Packet {
    fn new(protocol: u8, payload: Vec<u8>) -> Self {
        Self { source: "10.0.0.1", destination: "10.0.0.2", protocol, tos: 0, offset: 0, payload }
    }

    fn v6(protocol: u8, payload: Vec<u8>) -> Self {
        Self { source: "2001:db8::1", destination: "2001:db8::2", ..Self::new(protocol, payload) }
    }

    fn packet(&self) -> (u16, Vec<u8>) {
        let length = u16::try_from(self.payload.len()).unwrap();
        if let (Ok(source), Ok(destination)) =
            (self.source.parse::<std::net::Ipv4Addr>(), self.destination.parse::<std::net::Ipv4Addr>())
        {
            let mut packet = vec![0x45, self.tos];
            packet.extend((length + 20).to_be_bytes());
            packet.extend([0, 1]);
            packet.extend(self.offset.to_be_bytes());
            packet.extend([64, self.protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(&self.payload);
            return (0x0800, packet);
        }
        let source: std::net::Ipv6Addr = self.source.parse().unwrap();
        let destination: std::net::Ipv6Addr = self.destination.parse().unwrap();
        let mut packet = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([self.protocol, 64]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(&self.payload);
        (0x86dd, packet)
    }

    fn frame(&self) -> Vec<u8> {
        let (ether_type, packet) = self.packet();
        ethernet(&[], ether_type, &packet)
    }
}

fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    segment
}

fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(source.to_be_bytes());
    datagram.extend(destination.to_be_bytes());
    datagram.extend([0, 8, 0, 0]);
    datagram
}

fn icmp(kind: u8, code: u8) -> Vec<u8> {
    vec![kind, code, 0, 0, 0, 0, 0, 0]
}

const TCP: u8 = 6;
const UDP: u8 = 17;

#[test]
fn the_chapter_splits_port_80_from_the_rest() {
    let text = std::fs::read_to_string(corpus::root().join("../examples/pf.conf.dup-to")).unwrap();
    let parsed = read(&text);
    // The sensors that get a frame: the last rule that matches decides.
    let sensor = |frame: &[u8], entering: &str, leaving: &str| {
        let matching = parsed
            .rules
            .iter()
            .rev()
            .find(|rule| rule.applies(entering, Some(leaving)) && holds(rule, frame));
        matching.and_then(|rule| rule.dup_to.as_ref()).map(|pool| pool.targets[0].interface.clone())
    };
    let request = Packet::new(TCP, tcp(1025, 80, 2)).frame();
    let reply = Packet::new(TCP, tcp(80, 1025, 0x12)).frame();
    let other = Packet::new(TCP, tcp(1025, 443, 2)).frame();
    let query = Packet::new(UDP, udp(1025, 53)).frame();
    let echo = Packet::new(1, icmp(8, 0)).frame();
    assert_eq!(sensor(&request, "sf0", "sf1").as_deref(), Some("sf2"));
    assert_eq!(sensor(&reply, "sf1", "sf0").as_deref(), Some("sf2"));
    // A server inside: the rules speak of clients on sf0 alone.
    assert_eq!(sensor(&request, "sf1", "sf0").as_deref(), Some("sf3"));
    assert_eq!(sensor(&other, "sf0", "sf1").as_deref(), Some("sf3"));
    assert_eq!(sensor(&query, "sf0", "sf1").as_deref(), Some("sf3"));
    assert_eq!(sensor(&query, "sf1", "sf0").as_deref(), Some("sf3"));
    assert_eq!(sensor(&echo, "sf0", "sf1").as_deref(), Some("sf3"));
    // The addresses of the targets are IPv4: so are the rules.
    assert_eq!(sensor(&Packet::v6(TCP, tcp(1025, 80, 2)).frame(), "sf0", "sf1"), None);
    assert_eq!(sensor(&Packet::new(47, vec![0; 8]).frame(), "sf0", "sf1"), None);
}

#[test]
fn port_operators_compare_ports() {
    let samples = [0, 1, 79, 80, 81, 85, 89, 90, 91, 1023, 1024, 65534, 65535];
    type Meant = fn(u16) -> bool;
    let operators: [(&str, Meant); 9] = [
        ("80", |port| port == 80),
        ("!= 80", |port| port != 80),
        ("< 80", |port| port < 80),
        ("<= 80", |port| port <= 80),
        ("> 80", |port| port > 80),
        (">= 80", |port| port >= 80),
        ("80 >< 90", |port| port > 80 && port < 90),
        ("80 <> 90", |port| !(80..=90).contains(&port)),
        ("80:90", |port| (80..=90).contains(&port)),
    ];
    for (operator, meant) in operators {
        let to = rule(&format!("pass proto tcp to port {operator}"));
        let from = rule(&format!("pass proto udp from port {operator}"));
        for port in samples {
            let frame = Packet::new(TCP, tcp(7, port, 0)).frame();
            assert_eq!(holds(&to, &frame), meant(port), "to {operator}: {port}");
            assert!(!holds(&from, &frame), "{operator}: TCP is not UDP");
            let frame = Packet::new(UDP, udp(port, 7)).frame();
            assert_eq!(holds(&from, &frame), meant(port), "from {operator}: {port}");
        }
    }
}

#[test]
fn ports_at_the_edges() {
    let full = Ranges::new([(0, 0xffff)]);
    assert_eq!(PortMatch::AtLeast(0).ranges(), full);
    assert_eq!(PortMatch::AtMost(0xffff).ranges(), full);
    assert_eq!(PortMatch::Less(0).ranges(), Ranges::default());
    assert_eq!(PortMatch::Greater(0xffff).ranges(), Ranges::default());
    assert_eq!(PortMatch::Between(0, 0).ranges(), Ranges::default());
    assert_eq!(PortMatch::Outside(0, 0xffff).ranges(), Ranges::default());
    assert_eq!(PortMatch::Outside(1, 0xfffe).ranges(), Ranges::new([(0, 0), (0xffff, 0xffff)]));
    assert_eq!(PortMatch::NotEqual(0).ranges(), Ranges::new([(1, 0xffff)]));
}

#[test]
fn a_frame_without_ports_is_at_no_port() {
    let is_80 = rule("pass proto tcp to port 80");
    let not_80 = rule("pass proto tcp to port != 80");
    let any = rule("pass proto tcp");
    let fragment = Packet { offset: 100, ..Packet::new(TCP, tcp(80, 80, 0)) }.frame();
    let cut = Packet::new(TCP, vec![0, 80, 0]).frame();
    for frame in [fragment, cut] {
        assert!(!holds(&is_80, &frame) && !holds(&not_80, &frame));
        assert!(holds(&any, &frame));
    }
}

#[test]
fn flags_are_those_of_the_mask() {
    let syn = rule("pass proto tcp flags S/SA");
    let none = rule("pass proto tcp flags /SFRA");
    let any = rule("pass proto tcp flags any");
    for flags in 0..=u8::MAX {
        let frame = Packet::new(TCP, tcp(1, 2, flags)).frame();
        assert_eq!(holds(&syn, &frame), flags & 0x12 == 0x02, "{flags:#x}");
        assert_eq!(holds(&none, &frame), flags & 0x17 == 0, "{flags:#x}");
        assert!(holds(&any, &frame));
    }
}

#[test]
fn types_and_codes_of_icmp() {
    let unreachable = rule("pass inet proto icmp icmp-type unreach");
    let big = rule("pass inet proto icmp icmp-type unreach code needfrag");
    let solicit = rule("pass inet6 proto icmp6 icmp6-type neighbrsol");
    let frame = |kind, code| Packet::new(1, icmp(kind, code)).frame();
    assert!(holds(&unreachable, &frame(3, 1)) && holds(&unreachable, &frame(3, 4)));
    assert!(!holds(&unreachable, &frame(8, 0)));
    assert!(holds(&big, &frame(3, 4)) && !holds(&big, &frame(3, 1)) && !holds(&big, &frame(5, 4)));
    assert!(holds(&solicit, &Packet::v6(58, icmp(135, 0)).frame()));
    assert!(!holds(&solicit, &Packet::v6(58, icmp(136, 0)).frame()));
    assert!(!holds(&solicit, &Packet::new(1, icmp(135, 0)).frame()));
}

#[test]
fn types_of_service_are_whole_octets_in_both_families() {
    let low = rule("pass tos lowdelay");
    let zero = rule("pass tos 0");
    for tos in [0, 0x10, 0x11, 0x12, 0xb8] {
        for packet in [Packet::new(TCP, tcp(1, 2, 0)), Packet::v6(TCP, tcp(1, 2, 0))] {
            let frame = Packet { tos, ..packet }.frame();
            assert_eq!(holds(&low, &frame), tos == 0x10, "{tos:#x}");
            assert_eq!(holds(&zero, &frame), tos == 0, "{tos:#x}");
        }
    }
}

#[test]
fn addresses_networks_and_ranges() {
    let from = |source, text: &str| {
        let frame = Packet { source, ..Packet::new(TCP, tcp(1, 2, 0)) }.frame();
        holds(&rule(text), &frame)
    };
    assert!(from("10.0.0.1", "pass from 10.0.0.1") && !from("10.0.0.2", "pass from 10.0.0.1"));
    assert!(from("10.9.9.9", "pass from 10/8") && !from("11.0.0.0", "pass from 10/8"));
    assert!(from("10.0.0.2", "pass from ! 10.0.0.1") && !from("10.0.0.1", "pass from ! 10.0.0.1"));
    let range = "pass from 10.0.0.5 - 10.0.0.7";
    assert!(from("10.0.0.5", range) && from("10.0.0.7", range) && !from("10.0.0.8", range));
    assert!(!from("10.0.0.4", range));
    // What is negated stays within its family.
    let v6 = Packet::v6(TCP, tcp(1, 2, 0)).frame();
    assert!(!holds(&rule("pass from ! 10.0.0.1"), &v6));
    assert!(!holds(&rule("pass from 0.0.0.0/0"), &v6) && holds(&rule("pass from ::/0"), &v6));
}

#[test]
fn tables_hold_both_families() {
    let parsed = read(
        "table <t> { 10.0.0.0/8, !10.0.0.0/24, 2001:db8::/32 }\npass from <t>\npass from ! <t>\npass \
         inet from ! <t>",
    );
    let frame = |source| Packet { source, ..Packet::new(TCP, tcp(1, 2, 0)) }.frame();
    let v6 = Packet::v6(TCP, tcp(1, 2, 0)).frame();
    let all = |frame: &[u8]| parsed.rules.iter().map(|rule| holds(rule, frame)).collect::<Vec<_>>();
    assert_eq!(all(&frame("10.1.0.1")), [true, false, false]);
    assert_eq!(all(&frame("10.0.0.1")), [false, true, true]);
    assert_eq!(all(&v6), [true, false, false]);
    let other = Packet { source: "fe80::1", ..Packet::v6(TCP, tcp(1, 2, 0)) }.frame();
    assert_eq!(all(&other), [false, true, false]);
}

#[test]
fn frames_without_ip_match_nothing() {
    let texts = [
        "pass all",
        "pass inet",
        "pass from ! 10.0.0.1",
        "table <t> { 10.0.0.1 }\npass from ! <t>",
        "pass proto tcp",
        "pass proto tcp to port != 80",
        "pass tos 0",
    ];
    let arp = ethernet(&[], 0x0806, &[0; 28]);
    let stp = ethernet(&[], 38, &[0x42; 38]);
    let cut = ethernet(&[], 0x0800, &[0x45, 0, 0]);
    for text in texts {
        for frame in [&arp, &stp, &cut] {
            assert!(!holds(&rule(text), frame), "{text}");
        }
    }
}

#[test]
fn rules_look_through_vlan_tags() {
    let (ether_type, packet) = Packet::new(TCP, tcp(1025, 80, 2)).packet();
    let to_80 = rule("pass inet proto tcp from 10.0.0.1 to any port 80");
    for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
        assert!(holds(&to_80, &ethernet(tags, ether_type, &packet)), "{tags:?}");
    }
}

#[test]
fn tests_are_all_of_leaves() {
    let text = std::fs::read_to_string(corpus::root().join("pf/048-all-options-in-any-order.in")).unwrap();
    for rule in read(&text).rules {
        let Test::All(tests) = rule.test() else { panic!("{rule}") };
        assert!(tests.iter().all(|test| matches!(test, Test::Within(..) | Test::Address(..))), "{rule}");
    }
    let negated = rule("pass from ! 10.0.0.1 to 10.0.0.2");
    let Test::All(tests) = negated.test() else { panic!("{negated}") };
    let is_negated_address = |test: &Test| match test {
        Test::Not(inner) => matches!(**inner, Test::Address(_, Addresses::Network(_))),
        _ => false,
    };
    assert_eq!(tests.iter().filter(|test| is_negated_address(test)).count(), 1);
}

#[test]
fn rules_apply_where_frames_enter_and_leave() {
    let cases = [
        ("pass in on a", [true, false, false, true]),
        ("pass out on a", [false, true, false, false]),
        ("pass on a", [true, true, false, true]),
        ("pass in on ! a", [false, true, true, false]),
        ("pass out on ! a", [true, false, true, false]),
        ("pass on ! a", [true, true, true, false]),
        ("pass in", [true, true, true, true]),
        ("pass out", [true, true, true, false]),
        ("pass", [true, true, true, true]),
    ];
    let ways = [("a", Some("b")), ("b", Some("a")), ("b", Some("c")), ("a", None)];
    for (text, expected) in cases {
        let rule = rule(text);
        assert_eq!(ways.map(|(entering, leaving)| rule.applies(entering, leaving)), expected, "{text}");
    }
}

#[test]
fn places_are_those_of_the_statement() {
    let text = "x = \"em0\"\n\n  pass in on $x proto { tcp, udp } \\\n to any\nblock\n";
    let parsed = read(text);
    let places: Vec<_> =
        parsed.rules.iter().map(|rule| (rule.line, rule.column, &text[rule.origin.clone()])).collect();
    let first = "pass in on $x proto { tcp, udp } \\\n to any";
    assert_eq!(places, [(3, 3, first), (3, 3, first), (5, 1, "block")]);
}
