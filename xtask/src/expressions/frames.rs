//! Frames to try expressions on: those of captures, cut ones, and made ones with headers in headers.

use std::path::Path;

use wire::{Frame, LinkType, capture};

use super::random::Random;

/// One frame of its own.
#[derive(Clone, Debug)]
pub struct Owned {
    pub data: Vec<u8>,
    pub wire_len: u32,
    pub link_type: LinkType,
}

impl Owned {
    fn new(data: Vec<u8>, link_type: LinkType) -> Self {
        let wire_len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Self { data, wire_len, link_type }
    }

    pub fn frame(&self) -> Frame<'_> {
        Frame { data: &self.data, wire_len: self.wire_len, link_type: self.link_type }
    }
}

/// The frames of a capture file, at most so many: evenly spread over it.
///
/// # Errors
/// Files that cannot be read; what a broken one holds in front of its fault is given.
pub fn of_capture(path: &Path, most: usize) -> Result<Vec<Owned>, String> {
    let octets = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut frames = Vec::new();
    let _ = capture::read(&octets, |_, packet| {
        let frame = packet.frame;
        frames.push(Owned {
            data: frame.data.to_vec(),
            wire_len: frame.wire_len,
            link_type: frame.link_type,
        });
    });
    let step = frames.len().div_ceil(most.max(1)).max(1);
    Ok(frames.into_iter().step_by(step).collect())
}

/// A frame cut somewhere, as by a snapshot length.
pub fn cut(frame: &Owned, random: &mut Random) -> Owned {
    let mut frame = frame.clone();
    let most = frame.data.len().min(120);
    frame.data.truncate(random.below(most + 1));
    frame
}

/// A frame with some octets changed.
pub fn changed(frame: &Owned, random: &mut Random) -> Owned {
    let mut frame = frame.clone();
    let most = frame.data.len().min(100);
    for _ in 0..random.below(4) + 1 {
        if most > 0 {
            let at = random.below(most);
            frame.data[at] = random.octet();
        }
    }
    frame
}

/// A made frame of a link type.
pub fn made(link_type: LinkType, random: &mut Random) -> Owned {
    let mut data = Vec::new();
    match link_type {
        LinkType::ETHERNET => ethernet(&mut data, random, 3),
        LinkType::LINUX_SLL => {
            data.extend([0, random.octet() % 5, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
            typed(&mut data, random, 2);
        }
        LinkType::LINUX_SLL2 => {
            let mut payload = Vec::new();
            typed(&mut payload, random, 2);
            let (kind, rest) = payload.split_at(payload.len().min(2));
            data.extend(kind);
            data.extend([
                0,
                0,
                0,
                0,
                0,
                random.octet() % 4,
                0,
                1,
                random.octet() % 5,
                6,
                2,
                0,
                0,
                0,
                0,
                1,
                0,
                0,
            ]);
            data.extend(rest);
        }
        LinkType::IEEE802_11 => wlan(&mut data, random),
        LinkType::IEEE802_11_RADIOTAP => radiotap(&mut data, random),
        LinkType(9) => {
            data.extend([0xff, 0x03]);
            ppp(&mut data, random);
        }
        _ => ip(&mut data, random, 2),
    }
    data.extend((0..random.below(40)).map(|_| random.octet()));
    Owned::new(data, link_type)
}

fn mac(data: &mut Vec<u8>, random: &mut Random) {
    match random.below(6) {
        0 => data.extend([0xff; 6]),
        1 => data.extend([0x01, 0, 0x5e, 0, 0, random.octet()]),
        2 => data.extend(super::generate::MACS[0].1),
        3 => data.extend(super::generate::MACS[1].1),
        _ => data.extend([2, 0, 0, 0, 0, random.octet() % 4]),
    }
}

fn ethernet(data: &mut Vec<u8>, random: &mut Random, depth: usize) {
    mac(data, random);
    mac(data, random);
    typed(data, random, depth);
}

/// An EtherType and what it says, or an LLC header.
fn typed(data: &mut Vec<u8>, random: &mut Random, depth: usize) {
    let choice = if depth == 0 { 6 + random.below(10) } else { random.below(16) };
    match choice {
        0..=2 => {
            data.extend(random.pick(&[[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]]));
            data.extend([random.octet() & 0xe0, random.pick(&[1, 7, 100, 0])]);
            typed(data, random, depth - 1);
        }
        3 | 4 => {
            data.extend([0x88, 0x47]);
            labels(data, random, depth);
        }
        5 => {
            data.extend(random.pick(&[[0x88, 0x63], [0x88, 0x64], [0x88, 0x64]]));
            data.extend([0x11, 0, 0, random.pick(&[1, 7, 100]), 0, 40]);
            ppp(data, random);
        }
        6 => {
            data.extend(random.pick(&[[0x08, 0x06], [0x80, 0x35]]));
            data.extend([0, 1, 8, 0, 6, 4, 0, 1]);
            mac(data, random);
            address4(data, random);
            mac(data, random);
            address4(data, random);
        }
        7 => llc(data, random),
        8 => {
            data.extend(random.pick(&[
                [0x60, 0x01],
                [0x60, 0x02],
                [0x60, 0x03],
                [0x60, 0x04],
                [0x60, 0x07],
                [0x80, 0x9b],
                [0x80, 0xf3],
                [0x81, 0x37],
                [0x00, 0x01],
                [0x00, 0x04],
            ]));
            data.extend([0, 1, random.pick(&[0x81, 0x02, 0x06]), random.pick(&[2, 6, 0x2a]), 4, 0x2a, 4]);
        }
        _ => {
            let before = data.len();
            data.extend([0x08, 0x00]);
            ip(data, random, depth);
            if data.get(before + 2).is_some_and(|octet| octet >> 4 == 6) && random.below(20) > 0 {
                data[before..before + 2].copy_from_slice(&[0x86, 0xdd]);
            }
        }
    }
}

fn labels(data: &mut Vec<u8>, random: &mut Random, depth: usize) {
    let count = random.below(3) + 1;
    for label in 0..count {
        let bottom = u8::from(label + 1 == count);
        data.extend([0, random.pick(&[0, 6]), random.pick(&[0x40, 0x70]) | bottom, 64]);
    }
    ip(data, random, depth.saturating_sub(1));
}

fn ppp(data: &mut Vec<u8>, random: &mut Random) {
    let before = data.len();
    data.extend(random.pick(&[[0x00, 0x21], [0x00, 0x57], [0x00, 0x23], [0x02, 0x81], [0x00, 0x2b]]));
    if data[before..] == [0x02, 0x81] { labels(data, random, 1) } else { ip(data, random, 1) }
}

fn llc(data: &mut Vec<u8>, random: &mut Random) {
    data.extend([random.octet() % 6, random.octet()]);
    llc_header(data, random);
}

fn llc_header(data: &mut Vec<u8>, random: &mut Random) {
    match random.below(4) {
        0 | 1 => {
            data.extend([0xaa, 0xaa, 3]);
            data.extend(random.pick(&[[0, 0, 0], [8, 0, 7]]));
            typed(data, random, 0);
        }
        2 => {
            let sap = random.pick(&[0xfe, 0x42, 0xe0, 0xf0, 0x06, 0xff]);
            data.extend([sap, sap, random.pick(&[3, 0x81, 1, 5, 9, 0x63, 0xaf])]);
            data.extend([
                random.pick(&[0x81, 0x82, 0x83]),
                27,
                1,
                0,
                random.pick(&[15, 16, 17, 18, 20, 24, 25, 26, 27]),
            ]);
        }
        _ => data.extend((0..12).map(|_| random.octet())),
    }
}

fn address4(data: &mut Vec<u8>, random: &mut Random) {
    match random.below(4) {
        0 => data.extend([10, 0, 0, 6]),
        1 => data.extend([192, 168, 1, random.octet() % 4]),
        2 => data.extend(random.pick(&[[0xff; 4], [0; 4], [224, 0, 0, 5]])),
        _ => data.extend([10, random.octet() % 2, 0, random.octet() % 8]),
    }
}

fn address6(data: &mut Vec<u8>, random: &mut Random) {
    match random.below(3) {
        0 => data.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, random.octet() % 3]),
        1 => data.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, random.octet() % 3]),
        _ => data.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    }
}

const PROTOCOLS: [u8; 14] = [6, 6, 6, 17, 17, 17, 132, 1, 2, 58, 47, 51, 112, 103];

fn ip(data: &mut Vec<u8>, random: &mut Random, depth: usize) {
    let protocol = random.pick(&PROTOCOLS);
    if random.below(3) > 0 {
        let options = random.below(5).saturating_sub(2);
        let words = u8::try_from(options).unwrap_or(0);
        let fragment = random.pick(&[[0u8, 0], [0, 0], [0x40, 0], [0x20, 0], [0x00, 0xb9]]);
        data.extend([0x45 + words, random.octet() & 0xfc, 0, 60, 0, random.octet()]);
        data.extend(fragment);
        data.extend([64, protocol, 0, 0]);
        address4(data, random);
        address4(data, random);
        data.extend(std::iter::repeat_n(1, options * 4));
        transport(data, random, protocol, depth);
    } else {
        let mut chain = Vec::new();
        for _ in 0..random.below(4).saturating_sub(1) {
            chain.push(random.pick(&[0, 43, 44, 51, 60]));
        }
        chain.push(protocol);
        data.extend([0x60, random.octet(), 0, 0, 0, 40, chain[0], 64]);
        address6(data, random);
        address6(data, random);
        for pair in chain.windows(2) {
            // Lengths count 8 octets, those of the authentication header 4.
            let len = if pair[0] == 51 { 4 } else { 0 };
            data.extend([pair[1], len, 0, 0, 0, 0, 0, random.octet()]);
            data.extend(std::iter::repeat_n(0, if pair[0] == 51 { 16 } else { 0 }));
        }
        transport(data, random, protocol, depth);
    }
}

fn transport(data: &mut Vec<u8>, random: &mut Random, protocol: u8, depth: usize) {
    if protocol == 17 && depth > 0 && random.below(3) == 0 {
        let words = random.octet() % 3;
        data.extend([0x30, 0x39, 0x17, 0xc1, 0, 60, 0, 0, words | random.pick(&[0, 0, 0, 0x40]), 0]);
        let is_bridged = random.below(3) > 0;
        data.extend(if is_bridged { [0x65, 0x58] } else { random.pick(&[[0x08, 0x00], [0x86, 0xdd]]) });
        data.extend([0, 0, random.pick(&[7, 11]), 0]);
        data.extend(std::iter::repeat_n(0, usize::from(words) * 4));
        if is_bridged {
            ethernet(data, random, depth - 1)
        } else {
            ip(data, random, depth - 1)
        }
        return;
    }
    let port =
        |random: &mut Random| random.pick(&[80u16, 443, 53, 22, 1024, 2000, 4789, 65535, 0]).to_be_bytes();
    data.extend(port(random));
    data.extend(port(random));
    data.extend((0..8).map(|_| random.octet()));
    data.extend([random.pick(&[0x50, 0x60, 0x80, 0xf0]), random.pick(&[2, 18, 16, 17, 24, 4]), 1, 0]);
    if random.below(2) == 0 {
        data.extend(b"GET / HTTP/1.0\r\n");
    }
}

fn wlan(data: &mut Vec<u8>, random: &mut Random) {
    let control =
        random.pick(&[0x08, 0x08, 0x08, 0x88, 0x88, 0x48, 0x80, 0x40, 0xb4, 0xc4, 0xd4, 0xa4, 0x00, 0xc8]);
    let flags = random.octet() & 0x03;
    data.extend([control, flags, 0, 0]);
    for _ in 0..3 {
        mac(data, random);
    }
    data.extend([0, 0]);
    if flags == 3 && random.below(2) == 0 {
        mac(data, random);
    }
    if control & 0x8c == 0x88 {
        data.extend([0, 0]);
    }
    if !data.len().is_multiple_of(4) && random.below(2) == 0 {
        data.extend([0, 0]);
    }
    llc_header(data, random);
}

fn radiotap(data: &mut Vec<u8>, random: &mut Random) {
    let len = random.pick(&[8u8, 9, 12, 18, 26, 25]);
    data.extend([0, 0, len, 0]);
    data.extend([random.pick(&[0, 1, 2, 3, 0x2f]), 0, 0, random.pick(&[0, 0, 0, 0x80])]);
    data.extend((8..len).map(|_| random.pick(&[0x00, 0x20, 0x10])));
    wlan(data, random);
}
