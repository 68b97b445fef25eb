//! What rules of pf and balanced copies look at: the fields of the IP and transport headers of a frame.

mod inner;

use std::net::IpAddr;

use wire::Frame;
use wire::headers::{Fragment, Headers, protocol, walk};

pub use inner::{EXTENSIONS_MAX, INNER_MAX, LABELS_MAX};

/// Octets from the start of a frame in which headers are looked for. A header that reaches beyond is not
/// whole: every backend stops there, so that all of them see the same.
pub const REACH: usize = 256;

/// The fields of one frame, found behind VLAN tags and IPv6 extension headers (see [`walk`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fields {
    /// The IP header; `None` where the frame carries none that is whole.
    pub ip: Option<IpFields>,
    /// Source and destination port, where a whole TCP or UDP header is there.
    pub ports: Option<(u16, u16)>,
    /// The flags of a whole TCP header: CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from bit 7 down.
    pub tcp_flags: Option<u8>,
    /// Type and code of a whole ICMP or ICMPv6 header.
    pub icmp: Option<(u8, u8)>,
}

/// The fields of an IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpFields {
    /// Where it came from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// What follows, behind extension headers.
    pub protocol: u8,
    /// Type of service, or traffic class: all eight bits.
    pub tos: u8,
    /// Set where the packet is a fragment.
    pub fragment: Option<Fragment>,
}

impl Fields {
    /// Finds the fields of a frame.
    pub fn of(frame: &Frame<'_>) -> Self {
        let data = &frame.data[..frame.data.len().min(REACH)];
        Self::found(data, &walk(&Frame { data, ..*frame }))
    }

    /// The fields in `data` whose headers were found.
    fn found(data: &[u8], headers: &Headers) -> Self {
        let Some(ip) = headers.ip else { return Self::default() };
        let mut fields = Self::default();
        let (source, destination, tos) = match ip.version {
            4 => {
                let address = |at| IpAddr::from(octets::<4>(data, ip.at + at));
                (address(12), address(16), octets::<1>(data, ip.at + 1)[0])
            }
            _ => {
                let address = |at| IpAddr::from(octets::<16>(data, ip.at + at));
                let word = u16::from_be_bytes(octets(data, ip.at));
                (address(8), address(24), u8::try_from(word >> 4 & 0xff).unwrap_or(0))
            }
        };
        fields.ip = Some(IpFields { source, destination, protocol: ip.protocol, tos, fragment: ip.fragment });
        let Some(transport) = headers.transport else { return fields };
        let at = transport.at;
        match transport.protocol {
            protocol::TCP | protocol::UDP => {
                let port = |at| u16::from_be_bytes(octets(data, at));
                fields.ports = Some((port(at), port(at + 2)));
                if transport.protocol == protocol::TCP {
                    fields.tcp_flags = Some(octets::<1>(data, at + 13)[0]);
                }
            }
            _ => {
                let [kind, code] = octets(data, at);
                fields.icmp = Some((kind, code));
            }
        }
        fields
    }
}

/// Octets of a header that the walk found whole.
fn octets<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    data.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
