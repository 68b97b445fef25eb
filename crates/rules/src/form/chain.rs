//! The chain of headers behind an IP header, as `protochain` of pcap-filter(7) follows it.

use super::number::Number;

/// The most headers that are followed; a longer chain does not reach the protocol.
pub const CHAIN_MAX: usize = 16;

/// A protocol in the chain of headers behind an IP header.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Chain {
    /// Where the IP header begins. One that cannot be had ends the whole test.
    pub at: Number,
    /// 4 or 6.
    pub version: u8,
    /// What is looked for.
    pub protocol: u8,
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// Whether the chain behind the IP header at `at` holds the protocol; `None` where an octet that is asked for
/// is not there. The order of libpcap's `gen_protochain`: protocol found, no next header, extension headers
/// of IPv6, then the authentication header.
pub(super) fn reaches(data: &[u8], chain: &Chain, at: u32) -> Option<bool> {
    let octet = |at: usize| data.get(at).copied();
    let at = usize::try_from(at).ok()?;
    let (mut next, mut header) = match chain.version {
        4 => (octet(at + 9)?, at + usize::from(octet(at)? & 0x0f) * 4),
        _ => (octet(at + 6)?, at + 40),
    };
    for _ in 0..CHAIN_MAX {
        if next == chain.protocol {
            return Some(true);
        }
        let units = match next {
            NO_NEXT => return Some(false),
            HOP_BY_HOP | DESTINATION | ROUTING | FRAGMENT if chain.version == 6 => {
                (usize::from(octet(header + 1)?) + 1) * 8
            }
            AUTHENTICATION => (usize::from(octet(header + 1)?) + 2) * 4,
            _ => return Some(false),
        };
        next = octet(header)?;
        header += units;
    }
    Some(next == chain.protocol)
}
