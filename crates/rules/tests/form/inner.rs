//! Packets that are carried in packets, laid out by hand after the RFCs.

use plan::arbitrary::Random;
use rules::form::{EXTENSIONS_MAX, Fields, INNER_MAX, LABELS_MAX};
use wire::{Frame, LinkType};

use crate::frames::{Flow, ethernet, fragment, ip};

fn inner(data: &[u8]) -> Fields {
    Fields::inner(&Frame::ethernet(data).unwrap())
}

fn of(data: &[u8]) -> Fields {
    Fields::of(&Frame::ethernet(data).unwrap())
}

fn carried() -> Flow {
    Flow::new("10.9.0.1", "10.9.0.2", 6, (40_000, 443))
}

fn carried_v6() -> Flow {
    Flow::new("2001:db8:9::1", "2001:db8:9::2", 17, (40_000, 53))
}

/// A packet of protocol `protocol` between the ends of a tunnel.
fn outer(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap(), protocol, payload)
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let header = [50_000, port, length, 0].map(u16::to_be_bytes).concat();
    outer(17, &[&header, payload].concat())
}

fn labels(count: usize, packet: &[u8]) -> Vec<u8> {
    let label = |at: usize| [0, 1, u8::from(at + 1 == count), 64];
    [&(0..count).map(label).collect::<Vec<_>>().concat(), packet].concat()
}

fn mpls(count: usize, packet: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &[0x88, 0x47], &labels(count, packet)[..]].concat()
}

fn gre(flags: u16, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let optional = (flags & 0xb000).count_ones();
    let mut header = [flags, protocol].map(u16::to_be_bytes).concat();
    header.resize(4 + 4 * usize::try_from(optional).unwrap(), 0xee);
    outer(47, &[&header, payload].concat())
}

fn vxlan(frame: &[u8]) -> Vec<u8> {
    udp(4789, &[&[0x08, 0, 0, 0, 0, 0, 9, 0], frame].concat())
}

/// `extensions`: the type and the octets of each, 4 octets or a multiple.
fn gtp(flags: u8, extensions: &[usize], packet: &[u8]) -> Vec<u8> {
    let mut header = vec![0x30 | flags, 255, 0, 0, 0, 0, 0, 7];
    if flags & 0x07 != 0 {
        // What stands for the first extension's type counts with the flag for extensions alone.
        header.extend([
            0,
            1,
            0,
            if flags & 0x04 == 0 { 0x85 } else { u8::from(!extensions.is_empty()) * 0x85 },
        ]);
    }
    for (at, octets) in extensions.iter().enumerate() {
        let start = header.len();
        header.push(u8::try_from(octets / 4).unwrap());
        header.resize(start + octets - 1, 0xee);
        header.push(u8::from(at + 1 < extensions.len()) * 0xc0);
    }
    udp(2152, &[&header, packet].concat())
}

#[test]
fn each_way_to_carry_a_packet_is_looked_through() {
    for flow in [carried(), carried_v6()] {
        let (packet, frame) = (flow.packet(), flow.frame());
        let qinq = [&frame[..12], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], &frame[12..]].concat();
        let ether_type = if flow.source.is_ipv4() { 0x0800 } else { 0x86dd };
        let cases = [
            ("nothing", frame.clone()),
            ("QinQ", qinq.clone()),
            ("a label", mpls(1, &packet)),
            ("four labels", mpls(4, &packet)),
            ("MPLS behind a tag", [&frame[..12], &[0x81, 0, 0, 5], &mpls(2, &packet)[12..]].concat()),
            ("MPLS multicast", [&frame[..12], &[0x88, 0x48], &labels(1, &packet)[..]].concat()),
            ("IP in IP", ethernet(&outer(4, &packet))),
            ("6in4", ethernet(&outer(41, &packet))),
            ("GRE", ethernet(&gre(0, ether_type, &packet))),
            ("GRE with all options", ethernet(&gre(0xb000, ether_type, &packet))),
            ("GRE with a key", ethernet(&gre(0x2000, ether_type, &packet))),
            ("GRE with Ethernet", ethernet(&gre(0, 0x6558, &qinq))),
            ("GRE with MPLS", ethernet(&gre(0x1000, 0x8847, &labels(3, &packet)))),
            ("VXLAN", ethernet(&vxlan(&frame))),
            ("VXLAN with tags", ethernet(&vxlan(&qinq))),
            ("VXLAN with MPLS", ethernet(&vxlan(&mpls(2, &packet)))),
            ("GTP-U", ethernet(&gtp(0, &[], &packet))),
            ("GTP-U with a sequence number", ethernet(&gtp(0x02, &[], &packet))),
            ("GTP-U with the flag of extensions and none", ethernet(&gtp(0x04, &[], &packet))),
            ("GTP-U with an extension", ethernet(&gtp(0x04, &[4], &packet))),
            ("GTP-U with two extensions", ethernet(&gtp(0x07, &[8, 4], &packet))),
        ];
        for (name, data) in cases {
            assert_eq!(inner(&data), of(&flow.frame()), "{name}");
            let raw = &data[14..];
            if matches!(data[12..14], [0x08, 0x00] | [0x86, 0xdd]) {
                let raw = Frame { data: raw, wire_len: 60, link_type: LinkType::RAW };
                assert_eq!(Fields::inner(&raw), of(&flow.frame()), "{name}, raw IP");
            }
        }
    }
}

#[test]
fn what_is_not_as_the_table_says_is_not_looked_through() {
    let (packet, frame) = (carried().packet(), carried().frame());
    let changed = |mut data: Vec<u8>, at: usize, octet: u8| {
        data[at] = octet;
        data
    };
    let vxlan_frame = ethernet(&vxlan(&frame));
    let gtp_frame = ethernet(&gtp(0, &[], &packet));
    let cases = [
        ("five labels", mpls(LABELS_MAX + 1, &packet)),
        ("neither 4 nor 6 behind labels", mpls(1, &changed(packet.clone(), 0, 0x05))),
        ("GRE with routing", ethernet(&gre(0x4000, 0x0800, &packet))),
        ("GRE of version 1", ethernet(&gre(0x2001, 0x0800, &packet))),
        ("GRE with another protocol", ethernet(&gre(0, 0x88be, &packet))),
        ("another port", changed(vxlan_frame.clone(), 37, 0xb6)),
        ("VXLAN without the flag", changed(vxlan_frame, 42, 0)),
        ("GTP' of version 1", changed(gtp_frame.clone(), 42, 0x20)),
        ("GTP of version 2", changed(gtp_frame.clone(), 42, 0x50)),
        ("an echo request", changed(gtp_frame, 43, 1)),
        ("three extensions", ethernet(&gtp(0x04, &[4; EXTENSIONS_MAX + 1], &packet))),
        ("an extension of no octets", changed(ethernet(&gtp(0x04, &[4], &packet)), 54, 0)),
        ("a first fragment", fragment(ethernet(&outer(4, &packet)), 7, 0, true)),
        ("a later fragment", fragment(ethernet(&outer(4, &packet)), 7, 800, false)),
        ("TCP to the port", {
            let mut data = ethernet(&vxlan(&frame));
            data[23] = 6;
            data
        }),
    ];
    for (name, data) in cases {
        assert_eq!(inner(&data), of(&data), "{name}");
        assert!(of(&data).ip.is_some() || data[12] == 0x88, "{name}: {:?}", of(&data));
    }
}

#[test]
fn nesting_is_looked_through_so_often_and_no_more() {
    let mut packet = carried().packet();
    for depth in 1..=INNER_MAX + 2 {
        packet = outer(4, &packet);
        let data = ethernet(&packet);
        // All packets around the innermost one have the same fields.
        let expected = if depth <= INNER_MAX { of(&carried().frame()) } else { of(&data) };
        assert_eq!(inner(&data), expected, "{depth}");
    }
}

#[test]
fn a_packet_cut_anywhere_ends_at_the_last_header_that_is_whole() {
    let frame = ethernet(&vxlan(&ethernet(&gre(0x2000, 0x0800, &gtp(0x04, &[4], &carried_v6().packet())))));
    let layers = [
        of(&frame),
        of(&ethernet(&gre(0x2000, 0x0800, &gtp(0x04, &[4], &carried_v6().packet())))),
        of(&ethernet(&gtp(0x04, &[4], &carried_v6().packet()))),
        of(&carried_v6().frame()),
    ];
    let mut deepest = 0;
    for cut in 0..=frame.len() {
        let found = inner(&frame[..cut]).ip.map(|ip| (ip.source, ip.protocol));
        let Some(found) = found else { continue };
        let layer =
            layers.iter().position(|layer| layer.ip.map(|ip| (ip.source, ip.protocol)) == Some(found));
        let layer = layer.unwrap_or_else(|| panic!("{found:?} at {cut}"));
        // The ends of the tunnels are the same, and UDP is in two of them.
        deepest = deepest.max(layer);
    }
    assert_eq!(deepest, 3);
    assert_eq!(inner(&frame), layers[3]);
}

#[test]
fn any_octets_are_looked_through_without_harm() {
    let mut random = Random::new(corpus::seed());
    let frames = [
        ethernet(&vxlan(&mpls(2, &carried().packet()))),
        ethernet(&gtp(0x07, &[4, 8], &carried_v6().packet())),
        ethernet(&gre(0xb000, 0x8847, &labels(4, &outer(41, &carried_v6().packet())))),
    ];
    for _ in 0..30_000 {
        let mut data = random.pick(&frames).clone();
        for _ in 0..=random.below(4) {
            let at = random.below(data.len());
            data[at] = u8::try_from(random.below(256)).unwrap();
        }
        data.truncate(random.below(data.len() + 1));
        let (found, own) = (inner(&data), of(&data));
        assert!(found.ip.is_some() || own.ip.is_none(), "{data:02x?}");
    }
}
