//! Names of protocols, ports, ICMP types and codes, and types of service. Where a number has several names,
//! the first is the one that is printed.
//!
//! The lists are those of pf.conf(5), and what OpenBSD's protocols(5) and services(5) have beside
//! [`crate::services`]. They are built in: what a rule means must not depend on the machine that reads it.

use super::Family;
use crate::services;

/// Names of protocols that are printed, beside those that everybody has.
const PROTOCOLS_PRINTED: &[(&str, u8)] = &[("mobile", 55), ("iso-ip", 80), ("carp", 112), ("pfsync", 240)];

/// Names of protocols that are read, beside those that everybody has.
#[rustfmt::skip]
const PROTOCOLS_READ: &[(&str, u8)] = &[
    ("ip-in-ip", 4), ("st2", 5), ("igrp", 9), ("icmp6", 58), ("icmpv6", 58), ("ospfigp", 89), ("mpls", 137),
];

/// Names of ports beside those that everybody has: OpenBSD's own, and what is common by now.
#[rustfmt::skip]
const SERVICES: &[(&str, u16)] = &[
    ("dns", 53), ("dhcps", 67), ("dhcpc", 68), ("pop2", 109), ("rpcbind", 111), ("portmap", 111),
    ("irc", 194), ("imap3", 220), ("rip", 520), ("ripng", 521), ("netconf-ssh", 830), ("oracle", 1521),
    ("pptp", 1723), ("mqtt", 1883), ("ssdp", 1900), ("nfsd", 2049), ("netflow", 2055),
    ("gtp-user", 2152), ("squid", 3128), ("rdp", 3389), ("stun", 3478), ("bfd-control", 3784),
    ("ipsec-msft", 4500), ("ipfix", 4739), ("vxlan", 4789), ("jabber", 5222), ("llmnr", 5355),
    ("vnc", 5900), ("geneve", 6081), ("sflow", 6343), ("bittorrent", 6881), ("https-alt", 8443),
    ("secure-mqtt", 8883), ("memcache", 11211), ("wireguard", 51820),
];

#[rustfmt::skip]
const TYPES_4: &[(&str, u8)] = &[
    ("echoreq", 8), ("echorep", 0), ("unreach", 3), ("squench", 4), ("redir", 5), ("althost", 6),
    ("routeradv", 9), ("routersol", 10), ("timex", 11), ("paramprob", 12), ("timereq", 13), ("timerep", 14),
    ("inforeq", 15), ("inforep", 16), ("maskreq", 17), ("maskrep", 18), ("trace", 30), ("dataconv", 31),
    ("mobredir", 32), ("ipv6-where", 33), ("ipv6-here", 34), ("mobregreq", 35), ("mobregrep", 36),
    ("skip", 39), ("photuris", 40),
];

#[rustfmt::skip]
const TYPES_6: &[(&str, u8)] = &[
    ("unreach", 1), ("toobig", 2), ("timex", 3), ("paramprob", 4), ("echoreq", 128), ("echorep", 129),
    ("listqry", 130), ("groupqry", 130), ("listenrep", 131), ("grouprep", 131), ("listendone", 132),
    ("groupterm", 132), ("routersol", 133), ("routeradv", 134), ("neighbrsol", 135), ("neighbradv", 136),
    ("redir", 137), ("routrrenum", 138), ("niqry", 139), ("wrureq", 139), ("fqdnreq", 139), ("nirep", 140),
    ("wrurep", 140), ("fqdnrep", 140), ("mtraceresp", 200), ("mtrace", 201),
];

/// Name, type, code.
#[rustfmt::skip]
const CODES_4: &[(&str, u8, u8)] = &[
    ("net-unr", 3, 0), ("host-unr", 3, 1), ("proto-unr", 3, 2), ("port-unr", 3, 3), ("needfrag", 3, 4),
    ("srcfail", 3, 5), ("net-unk", 3, 6), ("host-unk", 3, 7), ("isolate", 3, 8), ("net-prohib", 3, 9),
    ("host-prohib", 3, 10), ("net-tos", 3, 11), ("host-tos", 3, 12), ("filter-prohib", 3, 13),
    ("host-preced", 3, 14), ("cutoff-preced", 3, 15), ("redir-net", 5, 0), ("redir-host", 5, 1),
    ("redir-tos-net", 5, 2), ("redir-tos-host", 5, 3), ("normal-adv", 9, 0), ("common-adv", 9, 16),
    ("transit", 11, 0), ("reassemb", 11, 1), ("badhead", 12, 0), ("optmiss", 12, 1), ("badlen", 12, 2),
    ("unknown-ind", 40, 1), ("auth-fail", 40, 2), ("decrypt-fail", 40, 3),
];

#[rustfmt::skip]
const CODES_6: &[(&str, u8, u8)] = &[
    ("noroute-unr", 1, 0), ("admin-unr", 1, 1), ("beyond-unr", 1, 2), ("notnbr-unr", 1, 2),
    ("addr-unr", 1, 3), ("port-unr", 1, 4), ("transit", 3, 0), ("reassemb", 3, 1), ("badhead", 4, 0),
    ("nxthdr", 4, 1), ("redironlink", 137, 0), ("redirrouter", 137, 1),
];

#[rustfmt::skip]
const TYPES_OF_SERVICE: &[(&str, u8)] = &[
    ("lowdelay", 16), ("throughput", 8), ("reliability", 4), ("critical", 160), ("inetcontrol", 192),
    ("netcontrol", 224), ("ef", 184), ("va", 176), ("af11", 40), ("af12", 48), ("af13", 56), ("af21", 72),
    ("af22", 80), ("af23", 88), ("af31", 104), ("af32", 112), ("af33", 120), ("af41", 136), ("af42", 144),
    ("af43", 152), ("cs0", 0), ("cs1", 32), ("cs2", 64), ("cs3", 96), ("cs4", 128), ("cs5", 160),
    ("cs6", 192), ("cs7", 224),
];

/// TCP flags from bit 0 up.
const FLAGS: &str = "FSRPAUEW";

/// TCP.
pub(super) const TCP: u8 = 6;
/// UDP.
pub(super) const UDP: u8 = 17;
/// ICMP.
pub(super) const ICMP: u8 = 1;
/// ICMPv6.
pub(super) const ICMP6: u8 = 58;

fn by_name<N: Copy>(list: &[(&str, N)], name: &str) -> Option<N> {
    list.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn by_number<N: Copy + PartialEq>(list: &[(&'static str, N)], number: N) -> Option<&'static str> {
    list.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// The number of an IP protocol.
pub(super) fn protocol(name: &str) -> Option<u8> {
    let own = by_name(PROTOCOLS_PRINTED, name).or_else(|| by_name(PROTOCOLS_READ, name));
    own.or_else(|| services::protocol(name))
}

/// The name of an IP protocol.
pub(super) fn protocol_name(number: u8) -> Option<&'static str> {
    by_number(PROTOCOLS_PRINTED, number).or_else(|| services::protocol_name(number))
}

/// The names of IP protocols.
pub(super) fn protocols() -> impl Iterator<Item = &'static str> {
    let own = PROTOCOLS_PRINTED.iter().chain(PROTOCOLS_READ).map(|(name, _)| *name);
    services::protocol_names().chain(own)
}

/// The number of a port.
pub(super) fn service(name: &str) -> Option<u16> {
    services::service(name).map(|(port, _)| port).or_else(|| by_name(SERVICES, name))
}

/// The names of ports.
pub(super) fn service_names() -> impl Iterator<Item = &'static str> {
    services::service_names().chain(SERVICES.iter().map(|(name, _)| *name))
}

fn types(family: Family) -> &'static [(&'static str, u8)] {
    match family {
        Family::V4 => TYPES_4,
        Family::V6 => TYPES_6,
    }
}

fn codes(family: Family) -> &'static [(&'static str, u8, u8)] {
    match family {
        Family::V4 => CODES_4,
        Family::V6 => CODES_6,
    }
}

/// The number of an ICMP type.
pub(super) fn icmp_type(family: Family, name: &str) -> Option<u8> {
    by_name(types(family), name)
}

/// The name of an ICMP type.
pub(super) fn icmp_type_name(family: Family, number: u8) -> Option<&'static str> {
    by_number(types(family), number)
}

/// The names of ICMP types.
pub(super) fn icmp_types(family: Family) -> impl Iterator<Item = &'static str> {
    types(family).iter().map(|(name, _)| *name)
}

/// The number of an ICMP code of a type.
pub(super) fn icmp_code(family: Family, kind: u8, name: &str) -> Option<u8> {
    codes(family).iter().find(|(known, of, _)| *known == name && *of == kind).map(|(_, _, code)| *code)
}

/// The name of an ICMP code of a type.
pub(super) fn icmp_code_name(family: Family, kind: u8, code: u8) -> Option<&'static str> {
    codes(family).iter().find(|(_, of, known)| *known == code && *of == kind).map(|(name, _, _)| *name)
}

/// The names of the ICMP codes of a type.
pub(super) fn icmp_codes(family: Family, kind: u8) -> impl Iterator<Item = &'static str> {
    codes(family).iter().filter(move |(_, of, _)| *of == kind).map(|(name, _, _)| *name)
}

/// The octet of a type of service.
pub(super) fn type_of_service(name: &str) -> Option<u8> {
    by_name(TYPES_OF_SERVICE, name)
}

/// The names of types of service.
pub(super) fn types_of_service() -> impl Iterator<Item = &'static str> {
    TYPES_OF_SERVICE.iter().map(|(name, _)| *name)
}

/// The octet of TCP flags such as `SA`; none is 0.
pub(super) fn flags(letters: &str) -> Option<u8> {
    letters.chars().try_fold(0, |octet, letter| Some(octet | 1 << FLAGS.find(letter)?))
}

/// The letters of TCP flags.
pub(super) fn flag_letters(octet: u8) -> String {
    FLAGS.chars().enumerate().filter(|(bit, _)| octet & 1 << bit != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_is_read() {
        for number in 0..=u8::MAX {
            if let Some(name) = protocol_name(number) {
                assert_eq!(protocol(name), Some(number), "{name}");
            }
            assert_eq!(flags(&flag_letters(number)), Some(number));
            for family in [Family::V4, Family::V6] {
                if let Some(name) = icmp_type_name(family, number) {
                    assert_eq!(icmp_type(family, name), Some(number), "{name}");
                }
                for code in 0..=u8::MAX {
                    if let Some(name) = icmp_code_name(family, number, code) {
                        assert_eq!(icmp_code(family, number, name), Some(code), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_name_stands_for_one_number() {
        let own = [PROTOCOLS_PRINTED, PROTOCOLS_READ].concat();
        for list in [&own, TYPES_4, TYPES_6, TYPES_OF_SERVICE] {
            for (at, (name, _)) in list.iter().enumerate() {
                assert!(list[..at].iter().all(|(other, _)| other != name), "{name}");
            }
        }
        for (name, _) in &own {
            assert_eq!(services::protocol(name), None, "{name}");
        }
        for (at, (name, _)) in SERVICES.iter().enumerate() {
            assert!(SERVICES[..at].iter().all(|(other, _)| other != name), "{name}");
            assert_eq!(services::service(name), None, "{name}");
        }
    }
}
