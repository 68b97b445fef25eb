//! TCP (RFC 9293): flags, relative sequence numbers, options, the first line of HTTP.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::net::IpAddr;

use super::ip::{Packet, field, ports};
use super::{u16_at, u32_at};

/// Connections that a printer remembers; when there are more it forgets all and counts anew.
pub const FLOWS_MAX: usize = 4096;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// The first sequence number that was seen of each direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// By the lower end first, so that both directions find one entry.
    starts: HashMap<(End, End), Starts>,
}

type End = (IpAddr, u16);

#[derive(Clone, Copy, Debug)]
struct Starts {
    lower: u32,
    upper: u32,
}

impl Flows {
    /// What to take off sequence and acknowledgement numbers of this segment. The first segment with
    /// an acknowledgement, and each SYN, is where the counting starts, and is shown as it is.
    fn bases(&mut self, source: End, destination: End, flags: u8, seq: u32, ack: u32) -> (u32, u32) {
        if flags & ACK == 0 {
            return (0, 0);
        }
        let reverse = source > destination;
        let key = if reverse { (destination, source) } else { (source, destination) };
        match self.starts.get(&key) {
            Some(starts) if flags & SYN == 0 && reverse => (starts.upper, starts.lower),
            Some(starts) if flags & SYN == 0 => (starts.lower, starts.upper),
            known => {
                if known.is_none() && self.starts.len() >= FLOWS_MAX {
                    self.starts.clear();
                }
                let other = ack.wrapping_sub(1);
                let starts = if reverse {
                    Starts { lower: other, upper: seq }
                } else {
                    Starts { lower: seq, upper: other }
                };
                self.starts.insert(key, starts);
                (0, 0)
            }
        }
    }
}

pub(super) fn print(packet: &Packet<'_>, flows: &mut Flows, out: &mut dyn Write) -> fmt::Result {
    let (Some(source), Some(destination)) = (u16_at(packet.body, 0), u16_at(packet.body, 2)) else {
        return write!(out, "{} > {}: [|tcp]", packet.source, packet.destination);
    };
    ports(packet, (source, destination), out)?;
    let Some(header) = packet.body.first_chunk::<20>() else { return out.write_str("[|tcp]") };
    let flags = header[13];
    let (seq, ack) = (field(packet, 4), field(packet, 8));
    let window = u16::from_be_bytes([header[14], header[15]]);
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < 20 || header_len > packet.body_len {
        return write!(out, "[bad hdr length {header_len}]");
    }
    let len = packet.body_len - header_len;
    let ends = ((packet.source, source), (packet.destination, destination));
    let (seq_base, ack_base) = flows.bases(ends.0, ends.1, flags, seq, ack);
    print_flags(flags, out)?;
    let seq = seq.wrapping_sub(seq_base);
    if len > 0 {
        write!(out, ", seq {seq}:{}", seq.wrapping_add(u32::try_from(len).unwrap_or(u32::MAX)))?;
    } else if flags & (SYN | FIN | RST) != 0 {
        write!(out, ", seq {seq}")?;
    }
    if flags & ACK != 0 {
        write!(out, ", ack {}", ack.wrapping_sub(ack_base))?;
    }
    write!(out, ", win {window}")?;
    if flags & URG != 0 {
        write!(out, ", urg {}", u16::from_be_bytes([header[18], header[19]]))?;
    }
    if header_len > 20 {
        match packet.body.get(20..header_len) {
            Some(octets) => options(octets, ack_base, out)?,
            None => out.write_str(", [|tcp]")?,
        }
    }
    write!(out, ", length {len}")?;
    let http = [source, destination].iter().any(|port| matches!(port, 80 | 8080));
    match packet.body.get(header_len..) {
        Some(body) if http && len > 0 => first_line(body, out),
        _ => Ok(()),
    }
}

fn print_flags(flags: u8, out: &mut dyn Write) -> fmt::Result {
    out.write_str("Flags [")?;
    if flags == 0 {
        out.write_str("none")?;
    }
    for (bit, letter) in "FSRP.UEW".chars().enumerate() {
        if flags & (1 << bit) != 0 {
            out.write_char(letter)?;
        }
    }
    out.write_char(']')
}

fn options(mut octets: &[u8], ack_base: u32, out: &mut dyn Write) -> fmt::Result {
    out.write_str(", options [")?;
    let mut comma = "";
    // Each turn takes one octet at least.
    while let [kind, rest @ ..] = octets {
        out.write_str(comma)?;
        comma = ",";
        match kind {
            0 => {
                out.write_str("eol")?;
                break;
            }
            1 => {
                out.write_str("nop")?;
                octets = rest;
                continue;
            }
            _ => {}
        }
        let value_len = rest.first().map_or(0, |len| usize::from(*len));
        let Some(value) = octets.get(2..value_len) else {
            out.write_str("[bad opt]")?;
            break;
        };
        option(*kind, value, ack_base, out)?;
        octets = octets.get(value_len..).unwrap_or_default();
    }
    out.write_char(']')
}

fn option(kind: u8, value: &[u8], ack_base: u32, out: &mut dyn Write) -> fmt::Result {
    match (kind, value) {
        (2, [a, b]) => write!(out, "mss {}", u16::from_be_bytes([*a, *b])),
        (3, [shift]) => write!(out, "wscale {shift}"),
        (4, []) => out.write_str("sackOK"),
        (5, blocks) if blocks.len().is_multiple_of(8) => {
            write!(out, "sack {} ", blocks.len() / 8)?;
            for block in blocks.chunks_exact(8) {
                // The other end's octets are acknowledged, so they count from its start.
                let [from, to] =
                    [0, 4].map(|at| u32_at(block, at).unwrap_or_default().wrapping_sub(ack_base));
                write!(out, "{{{from}:{to}}}")?;
            }
            Ok(())
        }
        (8, [_, _, _, _, _, _, _, _]) => {
            let [value, echo] = [0, 4].map(|at| u32_at(value, at).unwrap_or_default());
            write!(out, "TS val {value} ecr {echo}")
        }
        (kind, value) => {
            write!(out, "unknown-{kind} 0x")?;
            value.iter().try_for_each(|octet| write!(out, "{octet:02x}"))
        }
    }
}

/// Methods by which tcpdump knows a request (RFC 9110, RFC 4918 and older ones).
const METHODS: [&[u8]; 20] = [
    b"GET",
    b"PUT",
    b"COPY",
    b"HEAD",
    b"LOCK",
    b"MOVE",
    b"POLL",
    b"POST",
    b"MKCOL",
    b"TRACE",
    b"MERGE",
    b"DELETE",
    b"SEARCH",
    b"UNLOCK",
    b"REPORT",
    b"NOTIFY",
    b"CONNECT",
    b"OPTIONS",
    b"PROPFIND",
    b"SUBSCRIBE",
];

/// `: HTTP`, and the first line where this segment begins a request or a response.
fn first_line(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    out.write_str(": HTTP")?;
    let mut words = body.split(|octet| octet.is_ascii_whitespace());
    let first = words.next().unwrap_or_default();
    let status = words.next().unwrap_or_default();
    let response = status.len() == 3 && status.iter().all(u8::is_ascii_digit);
    if !response && !METHODS.contains(&first) {
        return Ok(());
    }
    let end = body.iter().position(|octet| *octet != b'\t' && !matches!(octet, 0x20..=0x7e));
    let line = body.get(..end.unwrap_or(body.len())).unwrap_or_default();
    match body.get(line.len()..).unwrap_or_default() {
        [] => {
            out.write_str(": ")?;
            super::text(line, out)?;
            out.write_str(" [|http]")
        }
        [b'\n', ..] | [b'\r', b'\n', ..] => {
            out.write_str(": ")?;
            super::text(line, out)
        }
        _ => Ok(()),
    }
}
