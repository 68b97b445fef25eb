//! IPv4, IPv6, ICMP, ICMPv6 and UDP.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

use super::{dns, payload, tcp, u16_at, u32_at};
use crate::frame::Frame;
use crate::headers::{Fragment, Headers, Ip, ether_type, protocol};

/// One packet, taken out of its frame.
pub(super) struct Packet<'a> {
    /// From the IP header to the end of the packet, or of what was captured.
    data: &'a [u8],
    /// What the IP header says; offsets are into the frame.
    ip: Ip,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// The payload of IP, as far as it was captured.
    pub(super) body: &'a [u8],
    /// How long that is by the packet's own account.
    pub(super) body_len: usize,
}

impl<'a> Packet<'a> {
    /// Takes the packet that a walk found. A walk only finds whole headers.
    fn new(data: &'a [u8], ip: Ip) -> Option<Self> {
        let packet = data.get(ip.at..ip.end.min(data.len()))?;
        let (source, destination) = match ip.version {
            4 => (v4(packet, 12)?, v4(packet, 16)?),
            _ => (v6(packet, 8)?, v6(packet, 24)?),
        };
        let body = packet.get(ip.header_len..)?;
        let body_len = ip.end.saturating_sub(ip.at + ip.header_len);
        Some(Self { data: packet, ip, source, destination, body, body_len })
    }
}

fn v4(data: &[u8], at: usize) -> Option<IpAddr> {
    data.get(at..)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets))
}

fn v6(data: &[u8], at: usize) -> Option<IpAddr> {
    data.get(at..)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets))
}

/// Prints the IP packet of a frame whose EtherType says that it is one.
pub(super) fn print(
    frame: &Frame<'_>,
    headers: &Headers,
    flows: &mut tcp::Flows,
    out: &mut dyn Write,
) -> fmt::Result {
    let Some(packet) = headers.ip.and_then(|ip| Packet::new(frame.data, ip)) else {
        return bad_header(frame, headers, out);
    };
    out.write_str(if packet.ip.version == 4 { "IP " } else { "IP6 " })?;
    let wire_len = usize::try_from(frame.wire_len).unwrap_or(usize::MAX);
    if packet.ip.end > wire_len {
        write!(out, "truncated-ip - {} bytes missing! ", packet.ip.end - wire_len)?;
    }
    let Packet { source, destination, .. } = &packet;
    match (packet.ip.fragment, packet.ip.protocol) {
        (Some(fragment), number) if fragment.offset != 0 => {
            write!(out, "{source} > {destination}: ")?;
            later_fragment(&packet, fragment, number, out)
        }
        (_, protocol::TCP) => tcp::print(&packet, flows, out),
        (_, protocol::UDP) => udp(&packet, out),
        (_, protocol::ICMP) if packet.ip.version == 4 => {
            write!(out, "{source} > {destination}: ")?;
            icmp(&packet, out)
        }
        (_, number) => {
            write!(out, "{source} > {destination}: ")?;
            extensions(&packet, out)?;
            match number {
                protocol::ICMPV6 if packet.ip.version == 6 => icmp6(&packet, out),
                59 if packet.ip.version == 6 => out.write_str("no next header"),
                other => write!(out, " ip-proto-{other} {}", packet.body_len),
            }
        }
    }
}

fn bad_header(frame: &Frame<'_>, headers: &Headers, out: &mut dyn Write) -> fmt::Result {
    let (name, version, least) = match headers.ether_type {
        Some(ether_type::IPV4) => ("IP", 4, 20),
        _ => ("IP6", 6, 40),
    };
    match payload(frame, headers) {
        [first, ..] if first >> 4 != version => write!(out, "{name}{} (invalid)", first >> 4),
        data if data.len() < least => write!(out, "[|{}]", if version == 4 { "ip" } else { "ip6" }),
        data => write!(out, "{name} bad-len {}", u16_at(data, 2).unwrap_or_default()),
    }
}

fn later_fragment(packet: &Packet<'_>, fragment: Fragment, number: u8, out: &mut dyn Write) -> fmt::Result {
    match packet.ip.version {
        4 => write!(out, "ip-proto-{number}"),
        _ => write!(out, "frag ({}|{})", fragment.offset, packet.body_len),
    }
}

/// What tcpdump puts in front where IPv6 has extension headers.
fn extensions(packet: &Packet<'_>, out: &mut dyn Write) -> fmt::Result {
    if packet.ip.version == 6 && packet.data.get(6) == Some(&protocol::HOP_BY_HOP) {
        out.write_str("HBH ")?;
    }
    if let Some(fragment) = packet.ip.fragment.filter(|_| packet.ip.version == 6) {
        write!(out, "frag ({}|{}) ", fragment.offset, packet.body_len)?;
    }
    Ok(())
}

/// `source.port > destination.port: `
pub(super) fn ports(packet: &Packet<'_>, ports: (u16, u16), out: &mut dyn Write) -> fmt::Result {
    write!(out, "{}.{} > {}.{}: ", packet.source, ports.0, packet.destination, ports.1)?;
    extensions(packet, out)
}

fn udp(packet: &Packet<'_>, out: &mut dyn Write) -> fmt::Result {
    let Some([a, b, c, d, e, f, _, _]) = packet.body.first_chunk::<8>() else {
        return write!(out, "{} > {}: [|udp]", packet.source, packet.destination);
    };
    let [source, destination, len] = [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_be_bytes);
    ports(packet, (source, destination), out)?;
    let body = packet.body.get(8..).unwrap_or_default();
    let room = packet.body_len.saturating_sub(8);
    let len = match usize::from(len) {
        // A super-frame too long for the field.
        0 => room,
        short @ 1..8 => return write!(out, "truncated-udplength {short}"),
        len => len - 8,
    };
    if [source, destination].iter().any(|port| matches!(port, 53 | 5353)) {
        return dns::print(body.get(..len).unwrap_or(body), len, out);
    }
    match len {
        len if len > room => write!(out, "UDP, bad length {len} > {room}"),
        len => write!(out, "UDP, length {len}"),
    }
}

/// RFC 792.
fn icmp(packet: &Packet<'_>, out: &mut dyn Write) -> fmt::Result {
    let Some([kind, code, _, _, a, b, c, d]) = packet.body.first_chunk::<8>() else {
        return out.write_str("[|icmp]");
    };
    let (first, second) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
    let quoted = quoted(packet);
    let target = quoted.as_ref().map_or(packet.source, |quoted| quoted.destination);
    out.write_str("ICMP ")?;
    match (kind, code) {
        (0, _) => write!(out, "echo reply, id {first}, seq {second}")?,
        (8, _) => write!(out, "echo request, id {first}, seq {second}")?,
        (3, 0) => write!(out, "net {target} unreachable")?,
        (3, 1) => write!(out, "host {target} unreachable")?,
        (3, 2) => {
            write!(out, "{target} protocol {} unreachable", quoted.map_or(0, |quoted| quoted.protocol))?;
        }
        (3, 3) => {
            write!(out, "{target} ")?;
            quoted_port(quoted.as_ref(), out)?;
            out.write_str(" unreachable")?;
        }
        (3, 4) => {
            write!(out, "{target} unreachable - need to frag")?;
            if second != 0 {
                write!(out, " (mtu {second})")?;
            }
        }
        (3, 9 | 10 | 13) => write!(out, "host {target} unreachable - admin prohibited")?,
        (5, 1) => {
            let gateway = std::net::Ipv4Addr::from([*a, *b, *c, *d]);
            write!(out, "redirect {target} to host {gateway}")?;
        }
        (11, 0) => out.write_str("time exceeded in-transit")?,
        (11, 1) => out.write_str("ip reassembly time exceeded")?,
        (kind, code) => write!(out, "type {kind} code {code}")?,
    }
    write!(out, ", length {}", packet.body_len)
}

/// RFC 4443, RFC 4861, RFC 3810.
fn icmp6(packet: &Packet<'_>, out: &mut dyn Write) -> fmt::Result {
    let Some([kind, code, _, _, a, b, c, d]) = packet.body.first_chunk::<8>() else {
        return out.write_str("[|icmp6]");
    };
    let (first, second) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
    let target = v6(packet.body, 8).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    out.write_str("ICMP6, ")?;
    match (kind, code) {
        (1, 4) => {
            let quoted = quoted(packet);
            let target = quoted.as_ref().map_or(packet.source, |quoted| quoted.destination);
            write!(out, "destination unreachable, unreachable port, {target} ")?;
            quoted_port(quoted.as_ref(), out)?;
        }
        (1, code) => write!(out, "destination unreachable, code {code}")?,
        (2, _) => write!(out, "packet too big, mtu {}", u32::from_be_bytes([*a, *b, *c, *d]))?,
        (3, _) => write!(out, "time exceeded in-transit")?,
        (128, _) => write!(out, "echo request, id {first}, seq {second}")?,
        (129, _) => write!(out, "echo reply, id {first}, seq {second}")?,
        (133, _) => out.write_str("router solicitation")?,
        (134, _) => out.write_str("router advertisement")?,
        (135, _) => write!(out, "neighbor solicitation, who has {target}")?,
        (136, _) => write!(out, "neighbor advertisement, tgt is {target}")?,
        (143, _) => write!(out, "multicast listener report v2, {second} group record(s)")?,
        (kind, code) => write!(out, "type {kind} code {code}")?,
    }
    write!(out, ", length {}", packet.body_len)
}

/// What an ICMP error quotes of the packet it is about.
struct Quoted {
    destination: IpAddr,
    protocol: u8,
    port: Option<u16>,
}

fn quoted(packet: &Packet<'_>) -> Option<Quoted> {
    let inner = packet.body.get(8..)?;
    let (destination, protocol, header_len) = match inner.first()? >> 4 {
        4 => (v4(inner, 16)?, *inner.get(9)?, usize::from(inner.first()? & 0x0f) * 4),
        6 => (v6(inner, 24)?, *inner.get(6)?, 40),
        _ => return None,
    };
    Some(Quoted { destination, protocol, port: u16_at(inner, header_len + 2) })
}

fn quoted_port(quoted: Option<&Quoted>, out: &mut dyn Write) -> fmt::Result {
    match quoted {
        Some(Quoted { protocol: protocol::UDP, port: Some(port), .. }) => write!(out, "udp port {port}"),
        Some(Quoted { protocol: protocol::TCP, port: Some(port), .. }) => write!(out, "tcp port {port}"),
        Some(Quoted { protocol, .. }) => write!(out, "protocol {protocol} port"),
        None => out.write_str("port"),
    }
}

/// A 32-bit field of the packet's payload.
pub(super) fn field(packet: &Packet<'_>, at: usize) -> u32 {
    u32_at(packet.body, at).unwrap_or_default()
}
