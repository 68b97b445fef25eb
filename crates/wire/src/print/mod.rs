//! One line a frame, as `tcpdump -n` prints it, to any [`fmt::Write`].
//!
//! Serves the command line, the lab and failing tests alike. Never allocates for a frame, never
//! panics on one, never resolves a name. A [`Printer`] remembers connections so that TCP sequence
//! numbers count from 0, as tcpdump's do; it forgets them all when it knows [`FLOWS_MAX`].
//!
//! Where it differs from tcpdump 4.99, on purpose:
//! - VLAN tags are always shown (`vlan 7, p 3, `); tcpdump shows them with `-e` only;
//! - an unknown EtherType is one line without a dump of the payload;
//! - of what rides on UDP and TCP only DNS over UDP and the first line of HTTP are shown, the rest is
//!   a length; protocols other than TCP, UDP, ICMP and ICMPv6 are a number and a length;
//! - control characters never reach the terminal, wherever they come from;
//! - times of day are UTC.

mod dns;
mod ip;
mod tcp;

use std::fmt::{self, Write};

use crate::capture::Timestamp;
use crate::frame::{Frame, LinkType, MacAddress, Tag};
use crate::headers::{Headers, ether_type, u16_at, u32_at, walk};

pub use tcp::FLOWS_MAX;

/// Prints frames, and remembers what later lines need.
#[derive(Debug, Default)]
pub struct Printer {
    flows: tcp::Flows,
}

impl Printer {
    /// A printer that has seen no frame yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Prints one frame, without time and without a newline.
    ///
    /// # Errors
    /// Only where `out` fails.
    pub fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Write) -> fmt::Result {
        let headers = walk(frame);
        if headers.tags > 0 {
            print_tags(frame, &headers, out)?;
        }
        match headers.ether_type {
            Some(ether_type::IPV4 | ether_type::IPV6) => ip::print(frame, &headers, &mut self.flows, out),
            Some(ether_type::ARP) => arp(frame, &headers, out),
            Some(kind) if frame.link_type == LinkType::ETHERNET => ethernet(frame, &headers, kind, out),
            None if headers.tags > 0 => out.write_str("[|vlan]"),
            None if frame.link_type == LinkType::ETHERNET => out.write_str("[|ether]"),
            _ => write!(out, "link type {}, length {}", frame.link_type.0, frame.wire_len),
        }
    }
}

/// Prints the time of day in UTC: six digits behind the point, or nine.
///
/// # Errors
/// Only where `out` fails.
pub fn time_of_day(timestamp: Timestamp, nanoseconds: bool, out: &mut dyn Write) -> fmt::Result {
    let (seconds, fraction) = timestamp.split();
    let second = seconds.rem_euclid(86_400);
    write!(out, "{:02}:{:02}:{:02}.", second / 3600, second / 60 % 60, second % 60)?;
    if nanoseconds { write!(out, "{fraction:09}") } else { write!(out, "{:06}", fraction / 1000) }
}

fn print_tags(frame: &Frame<'_>, headers: &Headers, out: &mut dyn Write) -> fmt::Result {
    for tag in 0..headers.tags {
        // Of a tag that the walk counted the EtherType is there; its own 16 bits may be cut off.
        let Some(tci) = u16_at(frame.data, 14 + tag * Tag::LEN) else { break };
        let drop = if tci & 0x1000 == 0 { "" } else { ", DEI" };
        write!(out, "vlan {}, p {}{drop}, ", tci & 0x0fff, tci >> 13)?;
    }
    Ok(())
}

/// Octets of the link layer's payload, as it was on the wire.
fn payload_len(frame: &Frame<'_>, headers: &Headers) -> usize {
    usize::try_from(frame.wire_len).unwrap_or(usize::MAX).saturating_sub(headers.payload_at)
}

/// What is captured of the link layer's payload.
fn payload<'a>(frame: &Frame<'a>, headers: &Headers) -> &'a [u8] {
    frame.data.get(headers.payload_at..).unwrap_or_default()
}

/// RFC 826, for Ethernet and IPv4.
fn arp(frame: &Frame<'_>, headers: &Headers, out: &mut dyn Write) -> fmt::Result {
    let len = payload_len(frame, headers);
    let Some(packet) = payload(frame, headers).first_chunk::<28>() else {
        return write!(out, "ARP, length {len}, [|arp]");
    };
    let [0, 1, 8, 0, 6, 4, _, operation, rest @ ..] = packet else {
        return write!(out, "ARP, Unknown Hardware or Protocol, length {len}");
    };
    let [sa, sb, sc, sd, se, sf, s @ .., ha, hb, hc, hd, he, hf, ta, tb, tc, td] = rest;
    let asked = MacAddress([*ha, *hb, *hc, *hd, *he, *hf]);
    let sender_mac = MacAddress([*sa, *sb, *sc, *sd, *se, *sf]);
    let [sender, target] = [*s, [*ta, *tb, *tc, *td]].map(std::net::Ipv4Addr::from);
    match operation {
        1 if asked != MacAddress([0; 6]) => {
            write!(out, "ARP, Request who-has {target} ({asked}) tell {sender}, length {len}")
        }
        1 => write!(out, "ARP, Request who-has {target} tell {sender}, length {len}"),
        2 => write!(out, "ARP, Reply {sender} is-at {sender_mac}, length {len}"),
        other => write!(out, "ARP, Unknown ({other}), length {len}"),
    }
}

/// What is neither IP nor ARP.
fn ethernet(frame: &Frame<'_>, headers: &Headers, kind: u16, out: &mut dyn Write) -> fmt::Result {
    let (data, len) = (payload(frame, headers), payload_len(frame, headers));
    match kind {
        ether_type::LLDP => lldp(data, len, out),
        ether_type::SLOW => match data {
            [1, version, ..] => write!(out, "LACPv{version}, length {len}"),
            [2, ..] => write!(out, "MARKER, length {len}"),
            _ => write!(out, "Slow Protocols, length {len}"),
        },
        ether_type::MAC_CONTROL => match u16_at(data, 0) {
            Some(1) => write!(out, "MPCP, Opcode Pause, length {len}"),
            Some(0x0101) => write!(out, "MPCP, Opcode Priority Pause, length {len}"),
            _ => write!(out, "MPCP, length {len}"),
        },
        ether_type::EAPOL => match (data, u16_at(data, 2)) {
            ([version, kind, ..], Some(body)) => {
                let name = match kind {
                    0 => "EAP packet",
                    1 => "EAPOL start",
                    2 => "EAPOL logoff",
                    3 => "EAPOL key",
                    _ => "EAPOL",
                };
                write!(out, "{name} ({kind}) v{version}, len {body}")
            }
            _ => out.write_str("[|EAPOL]"),
        },
        0..=ether_type::LENGTH_MAX => llc(frame, data, kind, out),
        _ => unknown(frame, kind, out),
    }
}

fn unknown(frame: &Frame<'_>, kind: u16, out: &mut dyn Write) -> fmt::Result {
    addresses(frame, out)?;
    write!(out, "ethertype Unknown ({kind:#06x}), length {}", frame.wire_len)
}

fn addresses(frame: &Frame<'_>, out: &mut dyn Write) -> fmt::Result {
    let Some([da, db, dc, dd, de, df, sa, sb, sc, sd, se, sf]) = frame.data.first_chunk::<12>() else {
        return Ok(());
    };
    let source = MacAddress([*sa, *sb, *sc, *sd, *se, *sf]);
    let destination = MacAddress([*da, *db, *dc, *dd, *de, *df]);
    write!(out, "{source} > {destination}, ")
}

/// The system name, as tcpdump shows it (IEEE 802.1AB, 8.5.7).
fn lldp(mut data: &[u8], len: usize, out: &mut dyn Write) -> fmt::Result {
    write!(out, "LLDP, length {len}")?;
    // Each turn takes two octets at least.
    while let Some((head, rest)) = data.split_first_chunk::<2>() {
        let head = u16::from_be_bytes(*head);
        let (kind, value_len) = (head >> 9, usize::from(head & 0x01ff));
        let Some((value, behind)) = rest.split_at_checked(value_len) else { break };
        match kind {
            0 => break,
            5 => {
                out.write_str(": ")?;
                return text(value, out);
            }
            _ => data = behind,
        }
    }
    Ok(())
}

/// A frame of IEEE 802.3 with a length: spanning tree, or what service it is for.
fn llc(frame: &Frame<'_>, data: &[u8], length: u16, out: &mut dyn Write) -> fmt::Result {
    match data {
        [0x42, 0x42, 0x03, bpdu @ ..] => stp(bpdu, usize::from(length).saturating_sub(3), out),
        [0xaa, 0xaa, 0x03, a, b, c, d, e, ..] => {
            addresses(frame, out)?;
            let protocol = u16::from_be_bytes([*d, *e]);
            write!(out, "SNAP, oui {a:02x}:{b:02x}:{c:02x}, pid {protocol:#06x}, length {length}")
        }
        [destination, source, ..] => {
            addresses(frame, out)?;
            write!(out, "LLC, dsap {destination:#04x}, ssap {source:#04x}, length {length}")
        }
        _ => {
            addresses(frame, out)?;
            write!(out, "LLC, length {length}")
        }
    }
}

/// IEEE 802.1D, clause 9; 802.1Q, clause 14.
fn stp(bpdu: &[u8], len: usize, out: &mut dyn Write) -> fmt::Result {
    let [_, _, version, kind, ..] = bpdu else { return out.write_str("STP [|stp]") };
    let name = match version {
        0 => "802.1d",
        2 => "802.1w",
        3 => "802.1s",
        _ => "Unknown version",
    };
    let kind = match kind {
        0x00 => "Config",
        0x02 => "Rapid STP",
        0x80 => return write!(out, "STP {name}, Topology Change, length {len}"),
        _ => return write!(out, "STP {name}, Unknown, length {len}"),
    };
    write!(out, "STP {name}, {kind}, Flags [")?;
    let flags = bpdu.get(4).copied().unwrap_or_default();
    let names = [
        (0x01, "Topology change"),
        (0x02, "Proposal"),
        (0x10, "Learn"),
        (0x20, "Forward"),
        (0x40, "Agreement"),
        (0x80, "Topology change ACK"),
    ];
    let mut set = names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    out.write_str(set.next().unwrap_or("none"))?;
    for name in set {
        write!(out, ", {name}")?;
    }
    let Some([pa, pb, a, b, c, d, e, f]) = bpdu.get(17..).and_then(<[u8]>::first_chunk) else {
        return out.write_str("] [|stp]");
    };
    let bridge = MacAddress([*a, *b, *c, *d, *e, *f]);
    write!(out, "], bridge-id {pa:02x}{pb:02x}.{bridge}")?;
    match u16_at(bpdu, 25) {
        Some(port) => write!(out, ".{port:04x}, length {len}"),
        None => out.write_str(" [|stp]"),
    }
}

/// Text from the wire, control characters made visible, as tcpdump does it.
fn text(octets: &[u8], out: &mut dyn Write) -> fmt::Result {
    octets.iter().try_for_each(|octet| character(*octet, out))
}

fn character(octet: u8, out: &mut dyn Write) -> fmt::Result {
    if octet & 0x80 != 0 {
        out.write_str("M-")?;
    }
    match octet & 0x7f {
        visible @ 0x20..=0x7e => out.write_char(char::from(visible)),
        control => {
            out.write_char('^')?;
            out.write_char(char::from(control ^ 0x40))
        }
    }
}
