//! Header fields, held against etherparse on random packets.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use plan::arbitrary::{Random, packet, steering_plan};
use rules::form::{Fields, IpFields, REACH};
use wire::Frame;
use wire::headers::Fragment;

/// What etherparse finds; `None` where it refuses the packet, where it does not look into what the form does,
/// and where there are two fragment headers, of which the last one counts for the form.
fn theirs(data: &[u8]) -> Option<Fields> {
    let sliced = SlicedPacket::from_ethernet(data).ok()?;
    let mut fields = Fields::default();
    let ip = match sliced.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let (offset, more) = (header.fragments_offset().value() * 8, header.more_fragments());
            let fragment = Fragment { id: header.identification().into(), offset, more };
            IpFields {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                protocol: header.protocol().0,
                tos: header.slice()[1],
                fragment: (offset != 0 || more).then_some(fragment),
            }
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let fragments = ip.extensions().clone().into_iter().filter_map(|extension| match extension {
                etherparse::Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment),
                _ => None,
            });
            let mut fragments: Vec<_> = fragments.collect();
            let fragment = fragments.pop();
            if !fragments.is_empty() {
                return None;
            }
            // Behind the header of a later fragment there are no further headers.
            let later = fragment.as_ref().filter(|fragment| fragment.fragment_offset().value() != 0);
            let protocol = later.map_or(ip.payload().ip_number, |fragment| fragment.next_header()).0;
            let fragment = fragment.map(|fragment| Fragment {
                id: fragment.identification(),
                offset: fragment.fragment_offset().value() * 8,
                more: fragment.more_fragments(),
            });
            let [first, second, ..] = *header.slice() else { return None };
            IpFields {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                protocol,
                tos: first << 4 | second >> 4,
                fragment: fragment.filter(|fragment| fragment.offset != 0 || fragment.more),
            }
        }
        NetSlice::Arp(_) => return None,
    };
    fields.ip = Some(ip);
    // Ports of a first fragment are not looked for there.
    let known = matches!(ip.protocol, 1 | 6 | 17 | 58) && ip.fragment.is_none();
    match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            fields.ports = Some((tcp.source_port(), tcp.destination_port()));
            fields.tcp_flags = Some(tcp.slice()[13]);
        }
        Some(TransportSlice::Udp(udp)) => fields.ports = Some((udp.source_port(), udp.destination_port())),
        Some(TransportSlice::Icmpv4(icmp)) => fields.icmp = Some((icmp.type_u8(), icmp.code_u8())),
        Some(TransportSlice::Icmpv6(icmp)) => fields.icmp = Some((icmp.type_u8(), icmp.code_u8())),
        Some(TransportSlice::Igmp(_)) | None if !known => {}
        _ => return None,
    }
    Some(fields)
}

#[test]
fn fields_are_those_that_etherparse_finds() {
    let (mut compared, mut with_ports, mut fragments, mut with_icmp) = (0, 0, 0, 0);
    let mut random = Random::new(corpus::seed());
    for _ in 0..60 {
        let plan = steering_plan(&mut random);
        for _ in 0..1_000 {
            let data = packet(&mut random, &plan);
            let Some(expected) = theirs(&data).filter(|_| data.len() <= REACH) else { continue };
            let mut fields = Fields::of(&Frame::ethernet(&data).unwrap());
            let ip = expected.ip.unwrap();
            let is_v4_protocol = |protocol: u8| protocol == ip.protocol && ip.source.is_ipv4();
            if is_v4_protocol(51) {
                continue;
            }
            if ip.fragment.is_some_and(|fragment| fragment.offset == 0) {
                (fields.ports, fields.tcp_flags, fields.icmp) = (None, None, None);
            }
            // A type of ICMP that the family does not have is no header to the form.
            let foreign = matches!((ip.protocol, ip.source.is_ipv4()), (1, false) | (58, true));
            let expected = if foreign { Fields { icmp: None, ..expected } } else { expected };
            assert_eq!(fields, expected, "{data:02x?}");
            compared += 1;
            with_ports += i32::from(fields.ports.is_some());
            with_icmp += i32::from(fields.icmp.is_some());
            fragments += i32::from(ip.fragment.is_some());
        }
    }
    println!("{compared} compared: {with_ports} with ports, {with_icmp} with ICMP, {fragments} fragments");
    assert!(compared > 20_000 && with_ports > 8_000 && with_icmp > 1_000 && fragments > 1_000);
}

#[test]
fn headers_beyond_the_reach_are_not_there() {
    let flow = crate::frames::Flow::new("2001:db8::1", "2001:db8::2", 6, (1, 2));
    for (extension, whole) in [(176, true), (184, false)] {
        // Destination options push TCP towards the bound: 14 + 40 + 176 + 20 = 250, 258.
        let mut options = vec![6, u8::try_from(extension / 8 - 1).unwrap()];
        options.resize(extension, 0);
        let payload = [&options[..], &flow.segment()].concat();
        let data = crate::frames::ethernet(&crate::frames::ip(flow.source, flow.destination, 60, &payload));
        let fields = Fields::of(&Frame::ethernet(&data).unwrap());
        assert_eq!(fields.ip.unwrap().protocol, 6);
        assert_eq!(fields.ports, whole.then_some((1, 2)));
    }
}
