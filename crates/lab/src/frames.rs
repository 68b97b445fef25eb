//! The odd-frame set: what a tap must pass untouched, and what bridges, switches and sockets like to
//! eat, mend or reorder.
//!
//! Every frame is different from every other, so that a comparison can tell which one is missing.
//! Never does I/O; the bytes are the same at every call.

use wire::MacAddress;
use wire::checksum::{internet, pseudo_header};
use wire::headers::protocol;

/// A frame with a name for reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OddFrame {
    /// What it is, in a few words.
    pub name: String,
    /// Octets without FCS, as they stand on the wire.
    pub bytes: Vec<u8>,
}

impl OddFrame {
    /// Whether the frame fits through interfaces of this MTU: one tag is not counted against it, as
    /// Linux and switches do not.
    pub fn fits(&self, mtu: u32) -> bool {
        u32::try_from(payload_len(&self.bytes)).is_ok_and(|len| len <= mtu)
    }
}

/// Octets behind the addresses, the outer tag and the EtherType.
fn payload_len(bytes: &[u8]) -> usize {
    let tag = bytes.get(12..14).is_some_and(|f| wire::Tag::announces(u16::from_be_bytes([f[0], f[1]])));
    bytes.len().saturating_sub(if tag { 14 + wire::Tag::LEN } else { 14 })
}

const SOURCE: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x0a]);
const DESTINATION: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x0b]);
const BROADCAST: MacAddress = MacAddress([0xff; 6]);

/// EtherType for local experiments (IEEE 802, clause 9.2.3): stacks that receive it do nothing.
const EXPERIMENT: u16 = 0x88b5;

/// The one frame of the set that no Linux receiver sees: it ends with the EtherType behind its tag. Taking the tag
/// off needs two octets more (`skb_vlan_untag`), and where they are not there the kernel frees the frame before
/// any program or socket has seen it.
pub const CUT_AT_TAG: &str = "802.1Q, tag and EtherType only";

/// The whole set, about 330 frames: 14 to 1518 octets and jumbo ones of up to 9000 of payload.
pub fn odd() -> Vec<OddFrame> {
    let mut frames = Vec::new();
    sizes(&mut frames);
    tagged(&mut frames);
    control(&mut frames);
    addresses(&mut frames);
    addressed(&mut frames);
    wrong(&mut frames);
    random(&mut frames);
    jumbo(&mut frames);
    frames
}

fn push(frames: &mut Vec<OddFrame>, name: impl Into<String>, bytes: Vec<u8>) {
    frames.push(OddFrame { name: name.into(), bytes });
}

/// `len` octets that tell their frame from others: a running pattern that begins with `seed`.
fn filler(seed: u8, len: usize) -> Vec<u8> {
    (0u8..=250).cycle().map(|step| step.wrapping_mul(7).wrapping_add(seed)).take(len).collect()
}

fn ethernet(destination: MacAddress, source: MacAddress, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(14 + payload.len());
    bytes.extend(destination.0);
    bytes.extend(source.0);
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The same frame with one more tag, outermost.
fn with_tag(frame: &[u8], protocol: u16, tci: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let mut bytes = addresses.to_vec();
    bytes.extend(protocol.to_be_bytes());
    bytes.extend(tci.to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// Every length that padding, headers and drivers treat specially, and many between.
fn sizes(frames: &mut Vec<OddFrame>) {
    let every = (14..=130).chain((131..1490).step_by(17)).chain(1490..=1514);
    for len in every {
        let seed = u8::try_from(len % 251).expect("a rest modulo 251 fits in 8 bits");
        let payload = filler(seed, len - 14);
        push(frames, format!("{len} octets"), ethernet(DESTINATION, SOURCE, EXPERIMENT, &payload));
    }
}

/// 802.1Q, 802.1ad, QinQ, three tags, priority tags, the reserved VLAN, and tags that are cut off.
fn tagged(frames: &mut Vec<OddFrame>) {
    let plain = |seed: u8, len: usize| ethernet(DESTINATION, SOURCE, EXPERIMENT, &filler(seed, len));
    for (seed, vlan) in (1u8..).zip([0u16, 1, 2, 20, 100, 1024, 4094, 4095]) {
        push(frames, format!("802.1Q vlan {vlan}"), with_tag(&plain(seed, 100), 0x8100, vlan));
    }
    for (seed, tci) in (11u8..).zip([0x2014u16, 0x7064, 0xe064, 0x1064, 0xffff]) {
        push(frames, format!("802.1Q tci {tci:#06x}"), with_tag(&plain(seed, 90), 0x8100, tci));
    }
    push(frames, "802.1Q full size", with_tag(&plain(21, 1500), 0x8100, 20));
    push(frames, "802.1ad alone", with_tag(&plain(22, 80), 0x88a8, 300));
    let inner = with_tag(&plain(23, 80), 0x8100, 20);
    push(frames, "QinQ 88a8/8100", with_tag(&inner, 0x88a8, 300));
    push(frames, "QinQ 8100/8100", with_tag(&inner, 0x8100, 301));
    push(frames, "QinQ 9100/8100", with_tag(&inner, 0x9100, 302));
    let twice = with_tag(&inner, 0x88a8, 303);
    push(frames, "three tags", with_tag(&twice, 0x88a8, 304));
    // Linux counts the inner tag as payload: 1496 behind it fill an MTU of 1500. Packet sockets send such a frame
    // only where the outer tag is 802.1Q.
    let wide = with_tag(&plain(24, 1496), 0x8100, 20);
    push(frames, "QinQ full size", with_tag(&wide, 0x8100, 305));
    push(frames, "802.1Q, 60 octets", with_tag(&plain(25, 42), 0x8100, 21));
    push(frames, CUT_AT_TAG, with_tag(&plain(26, 0), 0x8100, 22));
}

/// What bridges keep for themselves: 01:80:c2:00:00:0x, and neighbours of it.
fn control(frames: &mut Vec<OddFrame>) {
    let group = |last: u8| MacAddress([0x01, 0x80, 0xc2, 0, 0, last]);
    let mut stp = vec![0, 38, 0x42, 0x42, 0x03, 0, 0, 0, 0, 0, 0x80, 0];
    stp.extend(filler(1, 33));
    let mut bytes = ethernet(group(0), SOURCE, 38, &stp[2..]);
    bytes.resize(60, 0);
    push(frames, "STP", bytes);
    push(frames, "PAUSE", padded(ethernet(group(1), SOURCE, 0x8808, &[0, 1, 0xff, 0xff])));
    push(frames, "PFC", padded(ethernet(group(1), SOURCE, 0x8808, &[1, 1, 0, 0xff, 0xff, 0xff])));
    push(frames, "LACP", ethernet(group(2), SOURCE, 0x8809, &[&[1, 1][..], &filler(2, 108)].concat()));
    push(frames, "marker", ethernet(group(2), SOURCE, 0x8809, &[&[2, 1][..], &filler(3, 108)].concat()));
    push(frames, "OAM", padded(ethernet(group(2), SOURCE, 0x8809, &[3, 0, 0x50, 0])));
    push(frames, "EAPOL start", padded(ethernet(group(3), SOURCE, 0x888e, &[1, 1, 0, 0])));
    push(
        frames,
        "EAPOL key",
        ethernet(group(3), SOURCE, 0x888e, &[&[2, 3, 0, 95][..], &filler(4, 95)].concat()),
    );
    push(frames, "LLDP", ethernet(group(0x0e), SOURCE, 0x88cc, &lldp()));
    push(frames, "MVRP", padded(ethernet(group(0x21), SOURCE, 0x88f5, &[0, 1, 1])));
    for last in 4..=0x0d {
        let bytes = ethernet(group(last), SOURCE, EXPERIMENT, &filler(last, 60));
        push(frames, format!("reserved group ..{last:02x}"), bytes);
    }
    let cisco = MacAddress([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc]);
    let snap = [&[0xaa, 0xaa, 0x03, 0, 0, 0x0c, 0x20, 0][..], &filler(5, 60)].concat();
    push(frames, "CDP (SNAP)", ethernet(cisco, SOURCE, 68, &snap));
}

/// Chassis, port and time to live, then the end (IEEE 802.1AB, 8.4).
fn lldp() -> Vec<u8> {
    let mut payload = vec![0x02, 7, 4];
    payload.extend(SOURCE.0);
    payload.extend([0x04, 3, 7, b'g', b'1', 0x06, 2, 0, 120, 0, 0]);
    payload.resize(46, 0);
    payload
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// Addresses that a stack looks at twice.
fn addresses(frames: &mut Vec<OddFrame>) {
    let zero = MacAddress([0; 6]);
    let multicast = MacAddress([0x01, 0, 0x5e, 0, 0, 0xfb]);
    for (seed, (name, destination, source)) in (31u8..).zip([
        ("to broadcast", BROADCAST, SOURCE),
        ("to multicast", multicast, SOURCE),
        ("to itself", SOURCE, SOURCE),
        ("from zero", DESTINATION, zero),
        ("to zero", zero, SOURCE),
        ("from broadcast", DESTINATION, BROADCAST),
        ("from multicast", DESTINATION, multicast),
    ]) {
        push(frames, name, ethernet(destination, source, EXPERIMENT, &filler(seed, 50)));
    }
    for (seed, ether_type) in (41u8..)
        .zip([0x0000u16, 0x0001, 0x05dc, 0x05dd, 0x05ff, 0x0600, 0x0842, 0x8035, 0x8863, 0x8847, 0xfffe])
    {
        let bytes = ethernet(DESTINATION, SOURCE, ether_type, &filler(seed, 64));
        push(frames, format!("EtherType {ether_type:#06x}"), bytes);
    }
}

/// ARP, IPv4 and IPv6 as they should be. Addresses are those of documentation (RFC 5737, RFC 3849).
fn addressed(frames: &mut Vec<OddFrame>) {
    for (name, operation, destination) in
        [("ARP request", 1u8, BROADCAST), ("ARP reply", 2, DESTINATION), ("gratuitous ARP", 3, BROADCAST)]
    {
        let mut payload = vec![0, 1, 8, 0, 6, 4, 0, operation.min(2)];
        payload.extend(SOURCE.0);
        payload.extend([192, 0, 2, 10]);
        payload.extend([0; 6]);
        payload.extend([192, 0, 2, if operation == 3 { 10 } else { 11 }]);
        push(frames, name, padded(ethernet(destination, SOURCE, 0x0806, &payload)));
    }
    push(frames, "IPv4 UDP", ethernet(DESTINATION, SOURCE, 0x0800, &udp4(&filler(1, 200), 0)));
    push(frames, "IPv4 UDP, no data", padded(ethernet(DESTINATION, SOURCE, 0x0800, &udp4(&[], 0))));
    push(frames, "IPv4 UDP full size", ethernet(DESTINATION, SOURCE, 0x0800, &udp4(&filler(2, 1472), 0)));
    push(frames, "IPv4 first fragment", ethernet(DESTINATION, SOURCE, 0x0800, &udp4(&filler(3, 72), 0x2000)));
    push(frames, "IPv4 last fragment", ethernet(DESTINATION, SOURCE, 0x0800, &udp4(&filler(4, 72), 0x000a)));
    push(frames, "IPv6 UDP", ethernet(DESTINATION, SOURCE, 0x86dd, &udp6(&filler(5, 120))));
    push(frames, "IPv6 UDP full size", ethernet(DESTINATION, SOURCE, 0x86dd, &udp6(&filler(6, 1452))));
    let tagged = with_tag(&ethernet(DESTINATION, SOURCE, 0x0800, &udp4(&filler(7, 300), 0)), 0x8100, 20);
    push(frames, "IPv4 UDP in vlan 20", tagged);
}

/// An IPv4 packet with a UDP datagram in it; `fragment` is the flags-and-offset field.
fn udp4(data: &[u8], fragment: u16) -> Vec<u8> {
    let udp_len = u16::try_from(8 + data.len()).expect("the set has no datagram above 9000 octets");
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_len).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, 17, 0, 0, 192, 0, 2, 10, 192, 0, 2, 11]);
    let sum = internet(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let datagram = udp(&packet, udp_len, data);
    packet.extend(datagram);
    packet
}

/// An IPv6 packet with a UDP datagram in it.
fn udp6(data: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(8 + data.len()).expect("the set has no datagram above 9000 octets");
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(udp_len.to_be_bytes());
    packet.extend([17, 64]);
    for last in [10, 11] {
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    let datagram = udp(&packet, udp_len, data);
    packet.extend(datagram);
    packet
}

/// A UDP datagram (RFC 768) that stands behind this IP header.
fn udp(header: &[u8], len: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x30, 0x39, 0x00, 0x35];
    datagram.extend(len.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    let pseudo = pseudo_header(header, protocol::UDP, len.into()).expect("the header is whole");
    let sum = match pseudo.with(&datagram).checksum() {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// A frame of TCP as a stack hands it to a device that will cut it and finish its checksums: 12 octets of options,
/// the sum of the pseudo-header where the checksum will stand, and these flags (octet 13 of its header).
pub fn unfinished_tcp(v6: bool, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 1, 0x80, flags, 1, 0, 0, 0, 0, 0];
    tcp.extend([1; 12]);
    tcp.extend(data);
    let len = u16::try_from(tcp.len()).expect("a super-frame has less than 64 KiB");
    let mut packet = if v6 {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(len.to_be_bytes());
        header.extend([protocol::TCP, 64]);
        header.extend([0x20; 32]);
        header
    } else {
        let mut header = vec![0x45, 0];
        header.extend((len + 20).to_be_bytes());
        header.extend([0xff, 0xff, 0x40, 0, 64, protocol::TCP, 0, 0, 192, 0, 2, 10, 192, 0, 2, 11]);
        let sum = internet(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    };
    let pseudo = pseudo_header(&packet, protocol::TCP, len.into()).expect("the header is whole");
    tcp[16..18].copy_from_slice(&(!pseudo.checksum()).to_be_bytes());
    packet.extend(tcp);
    ethernet(DESTINATION, SOURCE, if v6 { 0x86dd } else { 0x0800 }, &packet)
}

/// Frames that are wrong, and must arrive as wrong as they were sent.
fn wrong(frames: &mut Vec<OddFrame>) {
    let mut broken = |name: &str, mut packet: Vec<u8>, ether_type: u16, at: usize| {
        packet[at] ^= 0x5a;
        push(frames, name, ethernet(DESTINATION, SOURCE, ether_type, &packet));
    };
    broken("IPv4, bad header checksum", udp4(&filler(11, 90), 0), 0x0800, 10);
    broken("IPv4, bad UDP checksum", udp4(&filler(12, 90), 0), 0x0800, 26);
    broken("IPv4, bad version", udp4(&filler(13, 90), 0), 0x0800, 0);
    broken("IPv4, wrong total length", udp4(&filler(14, 90), 0), 0x0800, 3);
    broken("IPv6, bad UDP checksum", udp6(&filler(15, 90)), 0x86dd, 46);
    broken("IPv6, bad version", udp6(&filler(16, 90)), 0x86dd, 0);
    let mut zero = udp4(&filler(17, 90), 0);
    zero[26..28].copy_from_slice(&[0, 0]);
    push(frames, "IPv4, no UDP checksum", ethernet(DESTINATION, SOURCE, 0x0800, &zero));
    for cut in [1, 10, 19, 21, 27] {
        let mut packet = udp4(&filler(18, 90), 0);
        packet.truncate(cut);
        push(frames, format!("IPv4, cut to {cut}"), ethernet(DESTINATION, SOURCE, 0x0800, &packet));
    }
    let land = ethernet(DESTINATION, SOURCE, 0x0800, &filler(19, 60));
    push(frames, "IPv4, nothing right", land);
}

/// Octets of a generator with a fixed start (xorshift64, Marsaglia 2003).
fn random(frames: &mut Vec<OddFrame>) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    for number in 0..40 {
        let [high, low, ..] = next();
        let len = 18 + usize::from(u16::from_be_bytes([high, low])) % 1496;
        let mut bytes: Vec<u8> = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(next());
        }
        bytes.truncate(len);
        if payload_len(&bytes) > 1500 || wire::Tag::announces(u16::from_be_bytes([bytes[12], bytes[13]])) {
            bytes[12] = 0x99;
        }
        push(frames, format!("random {number}, {len} octets"), bytes);
    }
}

/// Frames for links with an MTU of 9000.
fn jumbo(frames: &mut Vec<OddFrame>) {
    for (seed, len) in (51u8..).zip([1501usize, 1600, 2000, 3498, 3499, 4000, 4096, 8000, 8999, 9000]) {
        let bytes = ethernet(DESTINATION, SOURCE, EXPERIMENT, &filler(seed, len));
        push(frames, format!("jumbo, {len} of payload"), bytes);
    }
    let plain = ethernet(DESTINATION, SOURCE, 0x0800, &udp4(&filler(61, 8972), 0));
    push(frames, "jumbo IPv4 UDP in vlan 20", with_tag(&plain, 0x8100, 20));
    push(frames, "jumbo IPv4 UDP", plain);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wire::checksum::{Check, Checks, verify};

    use super::*;

    #[test]
    fn every_frame_and_every_name_is_different() {
        let frames = odd();
        let bytes: BTreeSet<&[u8]> = frames.iter().map(|frame| frame.bytes.as_slice()).collect();
        let names: BTreeSet<&str> = frames.iter().map(|frame| frame.name.as_str()).collect();
        assert_eq!((bytes.len(), names.len()), (frames.len(), frames.len()));
        assert!(frames.len() > 300, "{} frames", frames.len());
    }

    #[test]
    fn the_lengths_reach_from_14_octets_to_a_jumbo_payload_of_9000() {
        let frames = odd();
        let lens: Vec<usize> = frames.iter().map(|frame| frame.bytes.len()).collect();
        assert_eq!((lens.iter().min(), lens.iter().max()), (Some(&14), Some(&9018)));
        let small: Vec<&OddFrame> = frames.iter().filter(|frame| frame.fits(1500)).collect();
        assert_eq!(small.iter().map(|frame| frame.bytes.len()).max(), Some(1518));
        assert!(small.len() > 300);
    }

    #[test]
    fn what_should_be_right_is_right_and_what_should_be_wrong_is_wrong() {
        for frame in odd() {
            let checks = verify(&wire::Frame::ethernet(&frame.bytes).unwrap());
            let bad = frame.name.contains("bad header checksum") || frame.name.contains("bad UDP checksum");
            match frame.name.as_str() {
                _ if bad => assert!(checks.any_wrong(), "{}", frame.name),
                "IPv4 UDP" | "IPv6 UDP" | "IPv4 UDP in vlan 20" | "jumbo IPv4 UDP" => {
                    let ip = if frame.name.contains("IPv6") { Check::Unknown } else { Check::Right };
                    assert_eq!(checks, Checks { ip, transport: Check::Right }, "{}", frame.name);
                }
                _ => {}
            }
        }
    }
}
