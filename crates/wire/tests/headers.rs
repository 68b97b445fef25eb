//! The walker and the checksums, held against etherparse.
#![allow(clippy::unwrap_used)]

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use wire::checksum::{Check, verify};
use wire::headers::{Headers, protocol, walk};
use wire::{Frame, LinkType};

/// What etherparse finds: tags, offset of IP, octets of its header, protocol, offset of the transport header.
type Found = (usize, Option<(usize, usize, u8)>, Option<(u8, usize, usize)>);

fn ours(headers: &Headers) -> Found {
    let ip = headers.ip.map(|ip| (ip.at, ip.header_len, ip.protocol));
    (headers.tags, ip, headers.transport.map(|t| (t.protocol, t.at, t.header_len)))
}

fn theirs(data: &[u8]) -> Option<Found> {
    let sliced = SlicedPacket::from_ethernet(data).ok()?;
    let at = |part: &[u8]| part.as_ptr() as usize - data.as_ptr() as usize;
    let ip = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let payload = ip.payload();
            Some((at(ip.header().slice()), at(payload.payload), payload.ip_number.0))
        }
        Some(NetSlice::Ipv6(ip)) => {
            let payload = ip.payload();
            Some((at(ip.header().slice()), at(payload.payload), payload.ip_number.0))
        }
        _ => None,
    };
    let transport = sliced.transport.as_ref().and_then(|transport| match transport {
        TransportSlice::Tcp(tcp) => Some((protocol::TCP, at(tcp.slice()), tcp.header_slice().len())),
        TransportSlice::Udp(udp) => Some((protocol::UDP, at(udp.slice()), 8)),
        TransportSlice::Icmpv4(icmp) => Some((protocol::ICMP, at(icmp.slice()), 8)),
        TransportSlice::Icmpv6(icmp) => Some((protocol::ICMPV6, at(icmp.slice()), 8)),
        TransportSlice::Igmp(_) => None,
    });
    Some((sliced.vlan_ids().len(), ip.map(|(start, end, number)| (start, end - start, number)), transport))
}

#[derive(Clone, Debug)]
struct Shape {
    tags: u8,
    v6: bool,
    transport: u8,
    payload: Vec<u8>,
}

prop_compose! {
    fn shape()(tags in 0..3u8, v6 in any::<bool>(), transport in 0..3u8,
               payload in prop::collection::vec(any::<u8>(), 0..200)) -> Shape {
        Shape { tags, v6, transport, payload }
    }
}

fn build(shape: &Shape) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let vlan = |id| etherparse::VlanId::try_new(id).unwrap();
    let ip_header = if shape.v6 {
        let header = etherparse::Ipv6Header {
            hop_limit: 64,
            source: [1; 16],
            destination: [2; 16],
            ..Default::default()
        };
        etherparse::IpHeaders::Ipv6(header, Default::default())
    } else {
        let mut header =
            etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2])
                .unwrap();
        if shape.payload.len() % 2 == 1 {
            header.options = [1, 1, 1, 0].into();
        }
        etherparse::IpHeaders::Ipv4(header, Default::default())
    };
    let ip = match shape.tags {
        0 => link.ip(ip_header),
        1 => link.single_vlan(vlan(7)).ip(ip_header),
        _ => link.double_vlan(vlan(100), vlan(10)).ip(ip_header),
    };
    let mut out = Vec::new();
    match (shape.transport, shape.v6) {
        (0, _) => ip.udp(53, 4000).write(&mut out, &shape.payload).unwrap(),
        (1, _) => {
            let mut tcp = etherparse::TcpHeader::new(80, 4000, 1, 1000);
            tcp.set_options_raw(&[1; 12][..shape.payload.len() % 4 * 4]).unwrap();
            ip.tcp_header(tcp).write(&mut out, &shape.payload).unwrap();
        }
        (_, false) => ip.icmpv4_echo_request(1, 2).write(&mut out, &shape.payload).unwrap(),
        (_, true) => ip.icmpv6_echo_request(1, 2).write(&mut out, &shape.payload).unwrap(),
    }
    out
}

proptest! {
    #[test]
    fn built_frames_are_walked_as_etherparse_does(shape in shape(), padding in 0..20usize) {
        let mut data = build(&shape);
        data.resize(data.len() + padding, 0);
        let frame = Frame::ethernet(&data).unwrap();
        prop_assert_eq!(Some(ours(&walk(&frame))), theirs(&data));
        let checks = verify(&frame);
        prop_assert_eq!(checks.ip, if shape.v6 { Check::Unknown } else { Check::Right });
        prop_assert_eq!(checks.transport, Check::Right);
    }

    #[test]
    fn a_flipped_bit_behind_the_headers_is_seen(mut shape in shape(), at in any::<prop::sample::Index>()) {
        shape.payload.push(0);
        let mut data = build(&shape);
        let payload = data.len() - shape.payload.len();
        data[payload + at.index(shape.payload.len())] ^= 0x10;
        prop_assert_eq!(verify(&Frame::ethernet(&data).unwrap()).transport, Check::Wrong);
    }

    #[test]
    fn mutated_frames_never_panic_and_agree_where_etherparse_accepts_them(
        shape in shape(),
        changes in prop::collection::vec((12..80usize, any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        link_type in prop::sample::select(vec![1u16, 101, 113, 276, 127]),
    ) {
        let mut data = build(&shape);
        for (at, value) in changes {
            if let Some(octet) = data.get_mut(at) {
                *octet = value;
            }
        }
        data.truncate(cut.index(data.len() + 1));
        let frame = Frame { link_type: LinkType(link_type), ..Frame::ethernet(&data).unwrap() };
        let headers = walk(&frame);
        verify(&frame);
        if let Some(ip) = headers.ip {
            prop_assert!(ip.at + ip.header_len <= data.len());
        }
        if let Some(len) = headers.segment_header_len() {
            prop_assert!(len <= data.len());
        }
        // etherparse refuses what we walk as far as it goes; where it accepts, offsets are equal. It also
        // looks into MACsec, and gives no extension headers to IPv4.
        if link_type == 1
            && let Some(found) = theirs(&data)
            && data.get(12..14) != Some(&[0x88, 0xe5])
            && !headers.ip.is_some_and(|ip| ip.version == 4 && ip.protocol == protocol::AUTHENTICATION)
        {
            prop_assert_eq!(ours(&headers), found);
        }
    }
}

#[test]
fn extension_headers_are_looked_through_up_to_a_bound() {
    let mut data = vec![0; 12];
    data.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 0, 64]);
    data.extend([1; 32]);
    for _ in 0..20 {
        data.extend([0, 0, 1, 4, 0, 0, 0, 0]);
    }
    let ip = walk(&Frame::ethernet(&data).unwrap()).ip.unwrap();
    assert_eq!((ip.header_len, ip.protocol), (40 + 16 * 8, protocol::HOP_BY_HOP));
}

#[test]
fn a_later_fragment_has_no_transport_header() {
    let shape = Shape { tags: 0, v6: false, transport: 0, payload: vec![0; 64] };
    let mut data = build(&shape);
    data[20..22].copy_from_slice(&[0x20, 0xb9]);
    let headers = walk(&Frame::ethernet(&data).unwrap());
    let fragment = headers.ip.unwrap().fragment.unwrap();
    assert_eq!((fragment.offset, fragment.more, headers.transport), (0xb9 * 8, true, None));
}

#[test]
fn the_headers_that_segments_repeat() {
    let shape = Shape { tags: 2, v6: false, transport: 1, payload: vec![0; 4] };
    let frame = build(&shape);
    let len = walk(&Frame::ethernet(&frame).unwrap()).segment_header_len();
    assert_eq!(len, Some(14 + 8 + 20 + 20));
    let shape = Shape { transport: 2, ..shape };
    assert_eq!(walk(&Frame::ethernet(&build(&shape)).unwrap()).segment_header_len(), None);
}
