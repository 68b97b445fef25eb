//! What a single operand means under the qualifiers in front of it: `80` after `port`, `10.0.0.1` after `host`.

use std::net::Ipv6Addr;

use super::ports::{Direction, Span};
use super::scope::Scope;
use super::words::{self, Protocol};
use super::{Refusal, hosts, ports, refusal};
use crate::form::Test;
use crate::services::{self, Transport};

/// What kind of thing an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Kind {
    /// None was said: a host.
    #[default]
    Unsaid,
    Host,
    Net,
    Port,
    PortRange,
    Proto,
    ProtoChain,
    Gateway,
}

/// The words in front of an operand. What follows behind `and` and `or` takes them over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Qualifier {
    pub(super) protocol: Option<Protocol>,
    pub(super) direction: Direction,
    pub(super) kind: Kind,
}

impl Qualifier {
    fn is_address(self) -> bool {
        matches!(self.kind, Kind::Unsaid | Kind::Host)
    }
}

fn port_number(value: u32) -> Result<u16, Refusal> {
    u16::try_from(value).map_err(|_| refusal(format!("no port {value}"), "ports are 0 to 65535"))
}

/// A plain number.
///
/// # Errors
/// Numbers that the kind has not; all of what comes of it.
pub(super) fn number(scope: &mut Scope, value: u32, by: Qualifier) -> Result<Test, Refusal> {
    match by.kind {
        Kind::Unsaid | Kind::Host | Kind::Net if by.protocol == Some(Protocol::Link) => Err(refusal(
            format!("{value} is no Ethernet address"),
            "write six octets, as in 00:11:22:33:44:55",
        )),
        Kind::Unsaid | Kind::Host => hosts::ip4(scope, (value, u32::MAX), by.protocol, by.direction),
        Kind::Net => hosts::ip4(scope, promoted(value), by.protocol, by.direction),
        Kind::Port | Kind::PortRange => {
            let port = port_number(value)?;
            ports::ports(scope, Span { first: port, last: port }, by.protocol, by.direction)
        }
        Kind::Proto => {
            no_direction(by)?;
            ports::followed_by(scope, by.protocol, value)
        }
        Kind::ProtoChain => ports::chain(scope, by.protocol, value),
        Kind::Gateway => Err(no_gateway()),
    }
}

/// `net 10` is 10.0.0.0/8: a number is moved up to the first octet.
fn promoted(value: u32) -> (u32, u32) {
    let (mut value, mut mask) = (value, u32::MAX);
    while value != 0 && value & 0xff00_0000 == 0 {
        value <<= 8;
        mask <<= 8;
    }
    (value, mask)
}

fn no_direction(by: Qualifier) -> Result<(), Refusal> {
    match by.direction {
        Direction::Unsaid => Ok(()),
        _ => Err(refusal("a protocol has no direction", "leave `src` and `dst` out")),
    }
}

fn no_gateway() -> Refusal {
    let help = "write `ether host MAC and not host ADDRESS`, which is what it stands for";
    refusal(
        "`gateway` needs a host's name and Ethernet address looked up, and nothing is looked up here",
        help,
    )
}

/// The octets of `10.1.2`, as the high ones of an address, and how many bits they are.
fn quad(text: &str) -> Result<(u32, u32), Refusal> {
    let mut value = 0;
    let mut bits = 0;
    for part in text.split('.') {
        // As libpcap: decimal, whatever it begins with.
        let octet = part.parse().ok().filter(|octet: &u32| *octet < 256);
        let Some(octet) = octet else {
            return Err(refusal(format!("{text} is no IPv4 address"), "each of its parts is 0 to 255"));
        };
        value = value << 8 | octet;
        bits += 8;
    }
    Ok((value << (32 - bits), bits))
}

fn high_bits(count: u32) -> u32 {
    u32::MAX.checked_shl(32 - count).unwrap_or(0)
}

/// `10.1.2.3`, `10.1`.
///
/// # Errors
/// As [`number`].
pub(super) fn dotted(scope: &mut Scope, text: &str, by: Qualifier) -> Result<Test, Refusal> {
    let word = match by.kind {
        Kind::Unsaid | Kind::Host | Kind::Net => {
            if by.protocol == Some(Protocol::Decnet) {
                return hosts::ip4(scope, (decnet(text)?, u32::MAX), by.protocol, by.direction);
            }
            if by.protocol == Some(Protocol::Link) {
                let help = "write six octets, as in 00:11:22:33:44:55";
                return Err(refusal(format!("{text} is no Ethernet address"), help));
            }
            let (value, bits) = quad(text)?;
            return hosts::ip4(scope, (value, high_bits(bits)), by.protocol, by.direction);
        }
        Kind::Gateway => return Err(no_gateway()),
        Kind::Port => "port",
        Kind::PortRange => "portrange",
        Kind::Proto => "proto",
        Kind::ProtoChain => "protochain",
    };
    Err(refusal(format!("`{word}` is followed by an address"), "say `host` or `net` before the address"))
}

/// Area and node of DECnet: 6 and 10 bits.
fn decnet(text: &str) -> Result<u32, Refusal> {
    let parts: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
    match parts[..] {
        [area, node, ..] => Ok(area << 10 & 0xfc00 | node & 0x03ff),
        _ => Err(refusal(format!("{text} is no DECnet address"), "write area and node, as in 1.42")),
    }
}

/// `10.0.0.0/8`, `10.0.0.0 mask 255.0.0.0`.
///
/// # Errors
/// Bits behind the mask; anything but a network.
pub(super) fn network(scope: &mut Scope, text: &str, mask: Mask<'_>, by: Qualifier) -> Result<Test, Refusal> {
    let (value, _) = quad(text)?;
    let (mask, said) = match mask {
        Mask::Bits(bits) if bits > 32 => {
            return Err(refusal(format!("a prefix of {bits} bits"), "IPv4 addresses have 32 bits"));
        }
        Mask::Bits(bits) => (high_bits(bits), format!("/{bits}")),
        Mask::Address(mask) => (quad(mask)?.0, format!(" mask {mask}")),
    };
    if value & !mask != 0 {
        let network = std::net::Ipv4Addr::from(value & mask);
        let help = format!("write {network}{said}, or the host alone");
        return Err(refusal(format!("{text}{said} has bits behind its mask"), help));
    }
    if by.kind != Kind::Net {
        return Err(refusal("only a network has a mask", "say `net` before the address"));
    }
    hosts::ip4(scope, (value, mask), by.protocol, by.direction)
}

/// What stands behind a network.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mask<'a> {
    Bits(u32),
    Address(&'a str),
}

/// An IPv6 address, and bits of a prefix.
///
/// # Errors
/// As [`network`].
pub(super) fn ip6(
    scope: &mut Scope,
    address: Ipv6Addr,
    bits: Option<u32>,
    by: Qualifier,
) -> Result<Test, Refusal> {
    let len = bits.unwrap_or(128);
    if len > 128 {
        return Err(refusal(format!("a prefix of {len} bits"), "IPv6 addresses have 128 bits"));
    }
    let kept = u128::from(address) & u128::MAX.checked_shl(128 - len).unwrap_or(0);
    if kept != u128::from(address) {
        let help = format!("write {}/{len}, or the host alone", Ipv6Addr::from(kept));
        return Err(refusal(format!("{address}/{len} has bits behind its mask"), help));
    }
    match by.kind {
        Kind::Net => {}
        Kind::Unsaid | Kind::Host if len == 128 => {}
        Kind::Unsaid | Kind::Host => {
            return Err(refusal("only a network has a mask", "say `net` before the address"));
        }
        Kind::Gateway => return Err(no_gateway()),
        _ => {
            return Err(refusal(
                "an IPv6 address does not fit here",
                "say `host` or `net` before the address",
            ));
        }
    }
    hosts::ip6(scope, (address, len), by.protocol, by.direction)
}

/// An Ethernet address.
///
/// # Errors
/// Where another kind of operand was announced.
pub(super) fn mac(scope: &mut Scope, mac: &[u8; 6], by: Qualifier) -> Result<Test, Refusal> {
    if !by.is_address() || by.protocol != Some(Protocol::Link) {
        return Err(refusal(
            "an Ethernet address does not fit here",
            "say `ether host`, `ether src` or `ether dst`",
        ));
    }
    hosts::mac(scope, mac, by.direction)
}

/// A name.
///
/// # Errors
/// Names that would have to be looked up; names that no table has.
pub(super) fn name(scope: &mut Scope, name: &str, by: Qualifier) -> Result<Test, Refusal> {
    match by.kind {
        Kind::Unsaid | Kind::Host if by.protocol == Some(Protocol::Link) => Err(refusal(
            format!("`{name}` is no Ethernet address"),
            "names are not looked up: write the address",
        )),
        Kind::Unsaid | Kind::Host => {
            let help = match words::nearest(name, words::keywords()) {
                Some(word) => {
                    format!("was `{word}` meant? Names of hosts are not looked up: give the address")
                }
                None => "names of hosts are not looked up: give the address".into(),
            };
            Err(refusal(format!("`{name}` is no address"), help))
        }
        Kind::Net => {
            Err(refusal(format!("`{name}` is no network"), "names are not looked up: write 10.0.0.0/8"))
        }
        Kind::Port => {
            let (port, transport) = service(name)?;
            let protocol = with_transport(by.protocol, name, transport)?;
            ports::ports(scope, Span { first: port, last: port }, protocol, by.direction)
        }
        Kind::PortRange => {
            let (first, last, transport) = range(name)?;
            let protocol = with_transport(by.protocol, name, transport)?;
            ports::ports(scope, Span { first, last }, protocol, by.direction)
        }
        Kind::Proto => {
            no_direction(by)?;
            let number = protocol(name, by.protocol)?;
            ports::followed_by(scope, by.protocol, number)
        }
        Kind::ProtoChain => {
            let number = protocol(name, by.protocol)?;
            ports::chain(scope, by.protocol, number)
        }
        Kind::Gateway => Err(no_gateway()),
    }
}

fn service(name: &str) -> Result<(u16, Transport), Refusal> {
    if let Ok(number) = name.parse::<u16>() {
        return Ok((number, Transport::Both));
    }
    services::service(name).ok_or_else(|| {
        let word = words::nearest(name, words::keywords()).map(|word| format!("was `{word}` meant?"));
        let service = words::nearest(name, services::service_names());
        let help = match (service, word) {
            (Some(known), _) => format!("was `{known}` meant? A number always works"),
            (None, Some(help)) => help,
            (None, None) => "write the number of the port".into(),
        };
        refusal(format!("no port is called `{name}`"), help)
    })
}

/// `80-90`, `ftp-data-http`: libpcap splits at the first `-`.
fn range(name: &str) -> Result<(u16, u16, Transport), Refusal> {
    let Some((first, last)) = name.split_once('-') else {
        let help = "write the first and the last, as in `portrange 6000-6008`";
        return Err(refusal(format!("`{name}` is no range of ports"), help));
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    if all_digits(first) && all_digits(last) {
        let number =
            |text: &str| text.parse().map_err(|_| refusal(format!("no port {text}"), "ports are 0 to 65535"));
        return Ok((number(first)?, number(last)?, Transport::Both));
    }
    let (first, last) = (service(first)?, service(last)?);
    let transport = if first.1 == last.1 { first.1 } else { Transport::Both };
    Ok((first.0, last.0, transport))
}

/// The protocol that was said, or else that the service is known under.
fn with_transport(
    said: Option<Protocol>,
    name: &str,
    transport: Transport,
) -> Result<Option<Protocol>, Refusal> {
    let known = match transport {
        Transport::Both => return Ok(said),
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    match said {
        Some(said @ (Protocol::Tcp | Protocol::Udp | Protocol::Sctp)) if said != known => {
            let what = format!("`{name}` is a port of {}, not of {}", known.word(), said.word());
            Err(refusal(what, format!("write `{} port {name}`, or the number", known.word())))
        }
        Some(said) => Ok(Some(said)),
        None => Ok(Some(known)),
    }
}

/// Names of what Ethernet carries.
const ETHER_PROTOCOLS: &[(&str, u32)] = {
    use super::scope::ethertype as types;
    &[
        ("aarp", types::AARP),
        ("arp", types::ARP),
        ("atalk", types::ATALK),
        ("decnet", types::DECNET),
        ("ip", types::IP),
        ("ip6", types::IP6),
        ("lat", types::LAT),
        ("loopback", types::LOOPBACK),
        ("mopdl", types::MOPDL),
        ("moprc", types::MOPRC),
        ("rarp", types::RARP),
        ("sca", types::SCA),
        ("iso", types::SAP_ISO),
        ("stp", types::SAP_BRIDGE),
        ("ipx", types::SAP_IPX),
        ("netbeui", types::SAP_NETBEUI),
    ]
};

const ISO_PROTOCOLS: &[(&str, u32)] = &[("esis", 0x82), ("isis", 0x83), ("clnp", 0x81)];

/// The number of a protocol as the one in front of `proto` knows it.
fn protocol(name: &str, above: Option<Protocol>) -> Result<u32, Refusal> {
    let table = match above {
        None | Some(Protocol::Ip | Protocol::Ip6) => {
            return services::protocol(name).map(u32::from).ok_or_else(|| {
                let help = match words::nearest(name, services::protocol_names()) {
                    Some(known) => format!("was `{known}` meant? A number always works"),
                    None => "write the number of the protocol".into(),
                };
                refusal(format!("no protocol above IP is called `{name}`"), help)
            });
        }
        Some(Protocol::Link) => ETHER_PROTOCOLS,
        Some(Protocol::Iso) => ISO_PROTOCOLS,
        Some(other) => {
            let what = format!("`{}` knows no protocols by name", other.word());
            return Err(refusal(what, "write the number of the protocol"));
        }
    };
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number).ok_or_else(|| {
        let names: Vec<_> = table.iter().map(|(known, _)| *known).collect();
        refusal(format!("`{name}` is not carried by this"), format!("{}, or a number", names.join(", ")))
    })
}
