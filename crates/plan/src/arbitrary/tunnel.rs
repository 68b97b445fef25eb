//! Packets carried in packets: what [`rules::form::Fields::inner`] looks through, and now and then not quite.

use std::net::IpAddr;

use super::{Random, pool};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const BRIDGED: u16 = 0x6558;
const MPLS: u16 = 0x8847;

/// What a frame of this EtherType carries, with the packet somewhere in it.
pub(super) fn around(random: &mut Random, packet: Vec<u8>) -> (u16, Vec<u8>) {
    let mut ether_type = version(&packet);
    let mut payload = packet;
    let layers = [1, 1, 1, 2, 2, 3, 4, 5][random.below(8)];
    for _ in 0..layers {
        // MPLS is only carried where a type says so.
        let kind = if ether_type == MPLS { 1 + random.below(2) } else { random.below(6) };
        payload = match kind {
            0 => labels(random, &payload),
            1 => gre(random, ether_type, &payload),
            2 => vxlan(random, ether_type, &payload),
            3 => gtp(random, &payload),
            _ => outer(random, if ether_type == IPV4 { 4 } else { 41 }, &payload),
        };
        ether_type = if kind == 0 { MPLS } else { version(&payload) };
    }
    (ether_type, payload)
}

fn version(packet: &[u8]) -> u16 {
    if packet.first().is_some_and(|octet| octet >> 4 == 6) { IPV6 } else { IPV4 }
}

/// A number that is right but for once in 20.
fn mostly(random: &mut Random, right: u8) -> u8 {
    if random.one_in(20) { random.octet() } else { right }
}

fn outer(random: &mut Random, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let protocol = mostly(random, protocol);
    let (source, destination) = match pool::address(random) {
        source @ IpAddr::V4(_) => (source, pool::address_of(random, 4)),
        source @ IpAddr::V6(_) => (source, pool::address_of(random, 6)),
    };
    let length = |header: usize| u16::try_from(header + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut data = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            data.extend([0x45, 0]);
            data.extend(length(20));
            let fragment = if random.one_in(20) { 0x20 } else { 0 };
            data.extend([0, 1, fragment, 0, 64, protocol, 0, 0]);
            data.extend(source.octets().into_iter().chain(destination.octets()));
        }
        (source, destination) => {
            data.extend([0x60, 0, 0, 0]);
            data.extend(length(0));
            data.extend([protocol, 64]);
            for address in [source, destination] {
                if let IpAddr::V6(address) = address {
                    data.extend(address.octets());
                }
            }
        }
    }
    data.extend(payload);
    data
}

fn udp(random: &mut Random, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut data = pool::port(random).to_be_bytes().to_vec();
    let port = if random.one_in(20) { pool::port(random) } else { port };
    data.extend([port, length, 0].map(u16::to_be_bytes).concat());
    data.extend(payload);
    outer(random, 17, &data)
}

/// 1 to 5 labels.
fn labels(random: &mut Random, packet: &[u8]) -> Vec<u8> {
    let count = 1 + random.below(5);
    let label = |at: usize| [0, 1, u8::from(at + 1 == count), 64];
    [&(0..count).map(label).collect::<Vec<_>>().concat(), packet].concat()
}

fn gre(random: &mut Random, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let flags = [0, 0, 0x20, 0x80, 0x10, 0xb0][random.below(6)];
    let flags = mostly(random, flags);
    let bridged = random.one_in(4);
    let carried = if bridged { BRIDGED } else { ether_type };
    let mut data = vec![flags, mostly(random, 0)];
    data.extend(carried.to_be_bytes());
    let optional = [0x80, 0x20, 0x10].into_iter().filter(|bit| flags & bit != 0).count();
    random.fill(&mut data, 4 * optional);
    data.extend(if bridged { ethernet(random, ether_type, payload) } else { payload.to_vec() });
    outer(random, 47, &data)
}

fn ethernet(random: &mut Random, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    random.fill(&mut data, 12);
    for _ in 0..random.below(3) {
        data.extend([0x81, 0x00, 0, random.octet()]);
    }
    data.extend(ether_type.to_be_bytes());
    data.extend(payload);
    data
}

fn vxlan(random: &mut Random, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![mostly(random, 0x08), 0, 0, 0, 0, 0, 9, 0];
    data.extend(ethernet(random, ether_type, payload));
    udp(random, 4789, &data)
}

fn gtp(random: &mut Random, packet: &[u8]) -> Vec<u8> {
    let flags = [0, 0, 0x02, 0x04, 0x07][random.below(5)];
    let mut data = vec![mostly(random, 0x30 | flags), mostly(random, 255), 0, 0, 0, 0, 0, 7];
    let extensions = if flags & 0x04 != 0 { random.below(4) } else { 0 };
    if flags != 0 {
        data.extend([0, 1, 0, if extensions > 0 { 0x85 } else { 0 }]);
    }
    for at in 0..extensions {
        let units = u8::try_from(1 + random.below(2)).unwrap_or(1);
        data.push(mostly(random, units));
        random.fill(&mut data, 4 * usize::from(units) - 2);
        data.push(if at + 1 < extensions { 0xc0 } else { 0 });
    }
    data.extend(packet);
    udp(random, 2152, &data)
}
