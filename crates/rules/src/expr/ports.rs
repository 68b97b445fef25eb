//! Ports and protocols above IP.

use super::link::carries;
use super::scope::{From, Scope, ethertype as types};
use super::words::Protocol;
use super::{Refusal, refusal};
use crate::form::{Chain, LoadSize, Number, Ranges, Test};

/// `src`, `dst` and their company.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Direction {
    /// None was said: either.
    #[default]
    Unsaid,
    Src,
    Dst,
    Either,
    Both,
    Address(u8),
    Receiver,
    Transmitter,
}

impl Direction {
    /// A test of one end or the other, in the order in which libpcap tries them.
    pub(super) fn apply(self, mut test: impl FnMut(bool) -> Result<Test, Refusal>) -> Result<Test, Refusal> {
        Ok(match self {
            Self::Src => test(true)?,
            Self::Dst => test(false)?,
            Self::Both => Test::All(vec![test(true)?, test(false)?]),
            Self::Unsaid | Self::Either => Test::Any(vec![test(true)?, test(false)?]),
            Self::Address(_) | Self::Receiver | Self::Transmitter => {
                let what = format!("`{}` is said of addresses of 802.11 alone", self.word());
                return Err(refusal(what, "say `src`, `dst`, or neither"));
            }
        })
    }

    fn word(self) -> String {
        match self {
            Self::Unsaid => String::new(),
            Self::Src => "src".into(),
            Self::Dst => "dst".into(),
            Self::Either => "src or dst".into(),
            Self::Both => "src and dst".into(),
            Self::Address(number) => format!("addr{number}"),
            Self::Receiver => "ra".into(),
            Self::Transmitter => "ta".into(),
        }
    }
}

/// Ports, first and last included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) first: u16,
    pub(super) last: u16,
}

/// What libpcap takes for a protocol with ports, in the order in which it tries them.
const WITH_PORTS: [u32; 3] = [132, 6, 17];

/// `port` and `portrange`, over IPv6 and IPv4.
///
/// # Errors
/// A protocol without ports; a direction that ports have not.
pub(super) fn ports(
    scope: &mut Scope,
    span: Span,
    protocol: Option<Protocol>,
    direction: Direction,
) -> Result<Test, Refusal> {
    let six = of_version(scope, true, span, protocol, direction)?;
    Ok(Test::Any(vec![six, of_version(scope, false, span, protocol, direction)?]))
}

/// The same over one version of IP. IPv4: of fragments, only the first has ports. IPv6: where no extension
/// header is.
///
/// # Errors
/// As [`ports`].
pub(super) fn of_version(
    scope: &mut Scope,
    six: bool,
    span: Span,
    protocol: Option<Protocol>,
    direction: Direction,
) -> Result<Test, Refusal> {
    let protocols: &[u32] = match protocol {
        None => &WITH_PORTS,
        Some(Protocol::Tcp) => &[6],
        Some(Protocol::Udp) => &[17],
        Some(Protocol::Sctp) => &[132],
        Some(other) => {
            let what = format!("`{}` has no ports", other.word());
            return Err(refusal(what, "say `tcp`, `udp`, `sctp`, or none of them"));
        }
    };
    let (kind, field, transport) =
        if six { (types::IP6, 6, From::Transport6) } else { (types::IP, 9, From::Transport4) };
    let mut tests = vec![carries(scope, kind)?];
    let numbers = Ranges::new(protocols.iter().map(|number| (*number, *number)));
    tests.push(Test::Within(scope.load(From::Network, field, LoadSize::One), numbers));
    if !six {
        tests.push(is_no_later_fragment(scope));
    }
    let ports = Ranges::new([(u32::from(span.first.min(span.last)), u32::from(span.first.max(span.last)))]);
    tests.push(direction.apply(|source| {
        let at = if source { 0 } else { 2 };
        Ok(Test::Within(scope.load(transport, at, LoadSize::Two), ports.clone()))
    })?);
    Ok(Test::All(tests))
}

/// IPv4: the offset of the fragment is 0.
pub(super) fn is_no_later_fragment(scope: &mut Scope) -> Test {
    scope.equal_in(From::Network, 6, LoadSize::Two, 0, 0x1fff)
}

/// `proto`: what a header says that it is followed by.
///
/// # Errors
/// Protocols that carry no other, or do not say which.
pub(super) fn followed_by(
    scope: &mut Scope,
    protocol: Option<Protocol>,
    number: u32,
) -> Result<Test, Refusal> {
    Ok(match protocol {
        None => {
            let four = followed_by(scope, Some(Protocol::Ip), number)?;
            Test::Any(vec![four, followed_by(scope, Some(Protocol::Ip6), number)?])
        }
        Some(Protocol::Link) => carries(scope, number)?,
        Some(Protocol::Ip) => {
            let ip = carries(scope, types::IP)?;
            Test::All(vec![ip, scope.equal(From::Network, 9, LoadSize::One, number)])
        }
        Some(Protocol::Ip6) => {
            // Also behind a fragment header.
            let ip = carries(scope, types::IP6)?;
            let directly = scope.equal(From::Network, 6, LoadSize::One, number);
            let fragment = scope.equal(From::Network, 6, LoadSize::One, 44);
            let behind = scope.equal(From::Network, 40, LoadSize::One, number);
            Test::All(vec![ip, Test::Any(vec![directly, Test::All(vec![fragment, behind])])])
        }
        Some(Protocol::Iso) => {
            let iso = carries(scope, types::SAP_ISO)?;
            Test::All(vec![iso, scope.equal(From::NetworkNoSnap, 0, LoadSize::One, number)])
        }
        Some(Protocol::Isis) => {
            let isis = followed_by(scope, Some(Protocol::Iso), 0x83)?;
            Test::All(vec![isis, scope.equal(From::NetworkNoSnap, 4, LoadSize::One, number)])
        }
        Some(other) => {
            let what = format!("`{}` does not say which protocol follows", other.word());
            return Err(refusal(
                what,
                "say `ip`, `ip6`, `ether`, `iso` or `isis` before `proto`, or nothing",
            ));
        }
    })
}

/// `protochain`: a protocol anywhere in the chain of headers.
///
/// # Errors
/// Other protocols than IP; numbers above 255; links whose headers vary in length, as libpcap.
pub(super) fn chain(scope: &mut Scope, protocol: Option<Protocol>, number: u32) -> Result<Test, Refusal> {
    let version = match protocol {
        None => {
            let four = chain(scope, Some(Protocol::Ip), number)?;
            return Ok(Test::Any(vec![four, chain(scope, Some(Protocol::Ip6), number)?]));
        }
        Some(Protocol::Ip) => 4,
        Some(Protocol::Ip6) => 6,
        Some(other) => {
            let what = format!("`{}` has no chain of headers", other.word());
            return Err(refusal(what, "say `ip` or `ip6` before `protochain`, or nothing"));
        }
    };
    let Ok(protocol) = u8::try_from(number) else {
        return Err(refusal(format!("no protocol {number}"), "protocols are 0 to 255"));
    };
    let carried = carries(scope, if version == 4 { types::IP } else { types::IP6 })?;
    let at = scope.offset(From::Network, 0);
    if !matches!(at, Number::Constant(_)) {
        let what = "`protochain` does not work behind headers of variable length";
        return Err(refusal(what, "use `proto`, or test `ip6[6]`"));
    }
    Ok(Test::All(vec![carried, Test::Chain(Chain { at, version, protocol })]))
}

/// IS-IS packets of any of these types.
fn isis(scope: &mut Scope, kinds: &[u32]) -> Result<Test, Refusal> {
    kinds
        .iter()
        .map(|kind| followed_by(scope, Some(Protocol::Isis), *kind))
        .collect::<Result<_, _>>()
        .map(Test::Any)
}

/// A protocol's name alone.
///
/// # Errors
/// Words that are no test by themselves.
pub(super) fn abbreviation(scope: &mut Scope, protocol: Protocol) -> Result<Test, Refusal> {
    let ip = Some(Protocol::Ip);
    match protocol {
        Protocol::Ip => carries(scope, types::IP),
        Protocol::Ip6 => carries(scope, types::IP6),
        Protocol::Arp => carries(scope, types::ARP),
        Protocol::Rarp => carries(scope, types::RARP),
        Protocol::Atalk => carries(scope, types::ATALK),
        Protocol::Aarp => carries(scope, types::AARP),
        Protocol::Decnet => carries(scope, types::DECNET),
        Protocol::Sca => carries(scope, types::SCA),
        Protocol::Lat => carries(scope, types::LAT),
        Protocol::Mopdl => carries(scope, types::MOPDL),
        Protocol::Moprc => carries(scope, types::MOPRC),
        Protocol::Iso => carries(scope, types::SAP_ISO),
        Protocol::Stp => carries(scope, types::SAP_BRIDGE),
        Protocol::Ipx => carries(scope, types::SAP_IPX),
        Protocol::Netbeui => carries(scope, types::SAP_NETBEUI),
        Protocol::Tcp => followed_by(scope, None, 6),
        Protocol::Udp => followed_by(scope, None, 17),
        Protocol::Sctp => followed_by(scope, None, 132),
        Protocol::Pim => followed_by(scope, None, 103),
        Protocol::Ah => followed_by(scope, None, 51),
        Protocol::Esp => followed_by(scope, None, 50),
        Protocol::Icmp => followed_by(scope, ip, 1),
        Protocol::Igmp => followed_by(scope, ip, 2),
        Protocol::Igrp => followed_by(scope, ip, 9),
        Protocol::Vrrp | Protocol::Carp => followed_by(scope, ip, 112),
        Protocol::Icmp6 => followed_by(scope, Some(Protocol::Ip6), 58),
        Protocol::Clnp => followed_by(scope, Some(Protocol::Iso), 0x81),
        Protocol::Esis => followed_by(scope, Some(Protocol::Iso), 0x82),
        Protocol::Isis => followed_by(scope, Some(Protocol::Iso), 0x83),
        Protocol::IsisL1 => isis(scope, &[26, 24, 18, 15, 17]),
        Protocol::IsisL2 => isis(scope, &[27, 25, 20, 16, 17]),
        Protocol::IsisHello => isis(scope, &[17, 15, 16]),
        Protocol::IsisLsp => isis(scope, &[18, 20]),
        Protocol::IsisSnp => isis(scope, &[27, 26, 24, 25]),
        Protocol::IsisCsnp => isis(scope, &[24, 25]),
        Protocol::IsisPsnp => isis(scope, &[26, 27]),
        Protocol::Link => Err(refusal(
            "the link layer alone is no test",
            "say what of it, as in `ether host` or `ether[0]`",
        )),
        Protocol::Radio => {
            Err(refusal("`radio` alone is no test", "say which octet of it, as in `radio[2]`"))
        }
    }
}

/// Octets of a header at a computed place, and what must hold for there to be such a header.
///
/// # Errors
/// Protocols whose header has no known place.
pub(super) fn header_octets(
    scope: &mut Scope,
    protocol: Protocol,
    index: Number,
    mut checks: Vec<Test>,
    size: LoadSize,
) -> Result<(Number, Vec<Test>), Refusal> {
    use Protocol as P;
    match protocol {
        P::Radio => {
            if !scope.has_radio() {
                return Err(refusal(
                    "no radio header here",
                    "`radio` needs 802.11 frames with radiotap headers",
                ));
            }
            Ok((Number::Load { size, at: Box::new(index) }, checks))
        }
        P::Link => Ok((scope.load_at(From::LinkHeader, index, size), checks)),
        P::Ip | P::Arp | P::Rarp | P::Atalk | P::Decnet | P::Sca | P::Lat | P::Moprc | P::Mopdl | P::Ip6 => {
            let number = scope.load_at(From::Network, index, size);
            checks.push(abbreviation(scope, protocol)?);
            Ok((number, checks))
        }
        P::Sctp | P::Tcp | P::Udp | P::Icmp | P::Igmp | P::Igrp | P::Pim | P::Vrrp | P::Carp => {
            let number = scope.load_at(From::Transport4, index, size);
            checks.insert(0, carries(scope, types::IP)?);
            checks.push(abbreviation(scope, protocol)?);
            checks.push(is_no_later_fragment(scope));
            Ok((number, checks))
        }
        P::Icmp6 => {
            checks.push(carries(scope, types::IP6)?);
            checks.push(scope.equal(From::Network, 6, LoadSize::One, 58));
            Ok((scope.load_at(From::Transport6, index, size), checks))
        }
        other => {
            let what = format!("octets of `{}` cannot be asked for", other.word());
            Err(refusal(what, "ask for those of `ip`, `ip6` or `ether`, whose header has a known place"))
        }
    }
}
