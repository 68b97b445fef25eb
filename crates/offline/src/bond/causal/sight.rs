//! What a frame tells about order: a TCP segment, a request, or a reply. Never looks at time.
//!
//! Only what binds a reply to one request is taken: what may be said unasked (ARP, most of UDP, resets) is not.

use wire::Frame;
use wire::headers::{self, Headers, Transport, protocol};

/// One end of a conversation. An IPv4 address stands as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Endpoint {
    address: [u8; 16],
    port: u16,
}

/// A TCP conversation, the same for both directions: the lower end first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Conversation {
    low: Endpoint,
    high: Endpoint,
}

/// The time stamps option (RFC 7323, section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamps {
    /// What the sender's clock shows.
    pub value: u32,
    /// What the other end's clock showed in the segment that this one answers.
    pub echo: u32,
}

/// A segment of TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    pub conversation: Conversation,
    /// 0 from the lower end, 1 from the higher.
    pub direction: usize,
    /// The number of its first octet.
    pub sequence: u32,
    /// What it takes of the sequence space: payload, SYN and FIN.
    pub len: u32,
    pub syn: bool,
    /// The number of the next octet that its sender waits for.
    pub acknowledged: Option<u32>,
    pub stamps: Option<Stamps>,
}

/// What a request and its reply have in common, and no other request has for a while.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Exchange {
    pub kind: Asking,
    client: Endpoint,
    server: Endpoint,
    /// Identification, and the first octets of what a reply repeats; 0 where there are none.
    token: [u8; 20],
}

/// Protocols in which a reply names its request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Asking {
    Dns,
    Echo,
    Ntp,
}

/// What a frame tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sight {
    Segment(Segment),
    Request(Exchange),
    Reply(Exchange),
}

/// Reads a frame. `None` where it tells nothing about order.
pub(super) fn see(frame: &Frame<'_>) -> Option<Sight> {
    let headers = headers::walk(frame);
    let (ip, transport) = (headers.ip?, headers.transport?);
    if ip.fragment.is_some() {
        return None;
    }
    match transport.protocol {
        protocol::TCP => segment(frame, &headers, &transport),
        protocol::UDP => udp(frame, &headers, &transport),
        protocol::ICMP | protocol::ICMPV6 => echo(frame, &headers, &transport),
        _ => None,
    }
}

/// Source and destination with these ports.
fn ends(frame: &Frame<'_>, headers: &Headers, ports: (u16, u16)) -> Option<(Endpoint, Endpoint)> {
    let ip = headers.ip?;
    let rest = frame.data.get(ip.at..)?;
    let address = |v4_at: usize, v6_at: usize| -> Option<[u8; 16]> {
        if ip.version == 6 {
            return rest.get(v6_at..)?.first_chunk().copied();
        }
        let [a, b, c, d] = *rest.get(v4_at..)?.first_chunk()?;
        Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    };
    let source = Endpoint { address: address(12, 8)?, port: ports.0 };
    Some((source, Endpoint { address: address(16, 24)?, port: ports.1 }))
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|field| u32::from_be_bytes(*field))
}

/// Flags of TCP (RFC 9293, section 3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

fn segment(frame: &Frame<'_>, headers: &Headers, transport: &Transport) -> Option<Sight> {
    let data = frame.data;
    let at = transport.at;
    let end = headers.ip?.end;
    // A packet without a length of its own ends with the frame, and of a cut frame that end is not known.
    if end == data.len() && data.len() < usize::try_from(frame.wire_len).ok()? {
        return None;
    }
    let flags = *data.get(at + 13)?;
    if flags & RST != 0 {
        return None;
    }
    let ports = (u16_at(data, at)?, u16_at(data, at + 2)?);
    let (source, destination) = ends(frame, headers, ports)?;
    let payload = u32::try_from(end.checked_sub(at + transport.header_len)?).ok()?;
    let options = data.get(at + 20..at + transport.header_len)?;
    let forward = source <= destination;
    let (low, high) = if forward { (source, destination) } else { (destination, source) };
    Some(Sight::Segment(Segment {
        conversation: Conversation { low, high },
        direction: usize::from(!forward),
        sequence: u32_at(data, at + 4)?,
        len: payload + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0),
        syn: flags & SYN != 0,
        acknowledged: if flags & ACK != 0 { u32_at(data, at + 8) } else { None },
        stamps: stamps(options),
    }))
}

/// Finds the time stamps among the options.
fn stamps(mut options: &[u8]) -> Option<Stamps> {
    loop {
        options = match *options {
            [0, ..] | [] => return None,
            [1, ref rest @ ..] => rest,
            [8, 10, ref rest @ ..] => {
                return Some(Stamps { value: u32_at(rest, 0)?, echo: u32_at(rest, 4)? });
            }
            [_, len, ..] if len >= 2 => options.get(usize::from(len)..)?,
            _ => return None,
        };
    }
}

/// As much of `from` as a token holds, behind `id`.
fn token(id: &[u8], from: &[u8]) -> [u8; 20] {
    let mut token = [0; 20];
    for (to, octet) in token.iter_mut().zip(id.iter().chain(from)) {
        *to = *octet;
    }
    token
}

const DNS: u16 = 53;
const NTP: u16 = 123;

fn udp(frame: &Frame<'_>, headers: &Headers, transport: &Transport) -> Option<Sight> {
    let data = frame.data;
    let (from, to) = (u16_at(data, transport.at)?, u16_at(data, transport.at + 2)?);
    let end = headers.ip?.end.min(data.len());
    let payload = data.get(transport.at + transport.header_len..end)?;
    let (source, destination) = ends(frame, headers, (from, to))?;
    let asked = |kind, token| Sight::Request(Exchange { kind, client: source, server: destination, token });
    let answered = |kind, token| Sight::Reply(Exchange { kind, client: destination, server: source, token });
    if from == DNS || to == DNS {
        // RFC 1035, section 4.1.1: identification, then the bit QR; the question is repeated behind 12 octets.
        let header: &[u8; 12] = payload.first_chunk()?;
        let token = token(&header[..2], &payload[12..]);
        return match (header[2] & 0x80 != 0, from == DNS, to == DNS) {
            (false, _, true) => Some(asked(Asking::Dns, token)),
            (true, true, _) => Some(answered(Asking::Dns, token)),
            _ => None,
        };
    }
    if from == NTP || to == NTP {
        // RFC 5905, section 7.3: a server returns the transmit time stamp of its client as origin.
        let packet: &[u8; 48] = payload.first_chunk()?;
        let (origin, transmit) = (&packet[24..32], &packet[40..48]);
        return match packet[0] & 7 {
            3 if transmit != [0; 8] => Some(asked(Asking::Ntp, token(transmit, &[]))),
            4 if origin != [0; 8] => Some(answered(Asking::Ntp, token(origin, &[]))),
            _ => None,
        };
    }
    None
}

/// RFC 792 and RFC 4443, section 4: identifier, sequence number and data come back.
fn echo(frame: &Frame<'_>, headers: &Headers, transport: &Transport) -> Option<Sight> {
    let end = headers.ip?.end.min(frame.data.len());
    let message = frame.data.get(transport.at..end)?;
    let header: &[u8; 8] = message.first_chunk()?;
    let request = match (transport.protocol, header[0]) {
        (protocol::ICMP, 8) | (protocol::ICMPV6, 128) => true,
        (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => false,
        _ => return None,
    };
    let (source, destination) = ends(frame, headers, (0, 0))?;
    let token = token(&header[4..8], &message[8..]);
    let exchange = |client, server| Exchange { kind: Asking::Echo, client, server, token };
    Some(if request {
        Sight::Request(exchange(source, destination))
    } else {
        Sight::Reply(exchange(destination, source))
    })
}
