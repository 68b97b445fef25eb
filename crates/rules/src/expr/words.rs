//! The words of expressions: keywords, protocols that qualify, and names that stand for numbers.

pub(super) use crate::wording::nearest;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A protocol that a primitive may begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    Link,
    Ip,
    Arp,
    Rarp,
    Sctp,
    Tcp,
    Udp,
    Icmp,
    Igmp,
    Igrp,
    Pim,
    Vrrp,
    Carp,
    Ip6,
    Icmp6,
    Ah,
    Esp,
    Atalk,
    Aarp,
    Decnet,
    Lat,
    Sca,
    Moprc,
    Mopdl,
    Iso,
    Esis,
    Isis,
    IsisL1,
    IsisL2,
    IsisHello,
    IsisLsp,
    IsisSnp,
    IsisCsnp,
    IsisPsnp,
    Clnp,
    Stp,
    Ipx,
    Netbeui,
    Radio,
}

/// Every protocol and the words for it, the usual one first.
const PROTOCOLS: &[(Protocol, &[&str])] = &[
    (Protocol::Link, &["ether", "link", "wlan", "ppp", "slip", "fddi", "tr"]),
    (Protocol::Ip, &["ip"]),
    (Protocol::Arp, &["arp"]),
    (Protocol::Rarp, &["rarp"]),
    (Protocol::Sctp, &["sctp"]),
    (Protocol::Tcp, &["tcp"]),
    (Protocol::Udp, &["udp"]),
    (Protocol::Icmp, &["icmp"]),
    (Protocol::Igmp, &["igmp"]),
    (Protocol::Igrp, &["igrp"]),
    (Protocol::Pim, &["pim"]),
    (Protocol::Vrrp, &["vrrp"]),
    (Protocol::Carp, &["carp"]),
    (Protocol::Ip6, &["ip6"]),
    (Protocol::Icmp6, &["icmp6"]),
    (Protocol::Ah, &["ah"]),
    (Protocol::Esp, &["esp"]),
    (Protocol::Atalk, &["atalk"]),
    (Protocol::Aarp, &["aarp"]),
    (Protocol::Decnet, &["decnet"]),
    (Protocol::Lat, &["lat"]),
    (Protocol::Sca, &["sca"]),
    (Protocol::Moprc, &["moprc"]),
    (Protocol::Mopdl, &["mopdl"]),
    (Protocol::Iso, &["iso"]),
    (Protocol::Esis, &["esis", "es-is"]),
    (Protocol::Isis, &["isis", "is-is"]),
    (Protocol::IsisL1, &["l1"]),
    (Protocol::IsisL2, &["l2"]),
    (Protocol::IsisHello, &["iih"]),
    (Protocol::IsisLsp, &["lsp"]),
    (Protocol::IsisSnp, &["snp"]),
    (Protocol::IsisCsnp, &["csnp"]),
    (Protocol::IsisPsnp, &["psnp"]),
    (Protocol::Clnp, &["clnp"]),
    (Protocol::Stp, &["stp"]),
    (Protocol::Ipx, &["ipx"]),
    (Protocol::Netbeui, &["netbeui"]),
    (Protocol::Radio, &["radio"]),
];

impl Protocol {
    /// The protocol that a word names.
    pub(super) fn of(word: &str) -> Option<Self> {
        static ALL: LazyLock<HashMap<&str, Protocol>> = LazyLock::new(|| {
            let words = |(protocol, words): &(Protocol, &'static [&'static str])| {
                let protocol = *protocol;
                words.iter().map(move |word| (*word, protocol))
            };
            PROTOCOLS.iter().flat_map(words).collect()
        });
        ALL.get(word).copied()
    }

    /// The usual word for it.
    pub(super) fn word(self) -> &'static str {
        PROTOCOLS.iter().find(|(protocol, _)| *protocol == self).map_or("", |(_, words)| words[0])
    }
}

/// Words of the grammar that are no protocols.
const OTHERS: &[&str] = &[
    "src",
    "dst",
    "host",
    "net",
    "mask",
    "port",
    "portrange",
    "proto",
    "protochain",
    "gateway",
    "type",
    "subtype",
    "direction",
    "dir",
    "address1",
    "addr1",
    "address2",
    "addr2",
    "address3",
    "addr3",
    "address4",
    "addr4",
    "ra",
    "ta",
    "less",
    "greater",
    "byte",
    "broadcast",
    "multicast",
    "and",
    "or",
    "not",
    "len",
    "length",
    "inbound",
    "outbound",
    "ifindex",
    "vlan",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "llc",
];

/// Words of the grammar that make sense elsewhere alone, and where.
const ELSEWHERE: &[(&str, &str)] = &[
    ("lane", ATM),
    ("metac", ATM),
    ("bcc", ATM),
    ("oam", ATM),
    ("oamf4", ATM),
    ("oamf4ec", ATM),
    ("oamf4sc", ATM),
    ("sc", ATM),
    ("ilmic", ATM),
    ("vpi", ATM),
    ("vci", ATM),
    ("connectmsg", ATM),
    ("metaconnect", ATM),
    ("on", PFLOG),
    ("ifname", PFLOG),
    ("rset", PFLOG),
    ("ruleset", PFLOG),
    ("rnr", PFLOG),
    ("rulenum", PFLOG),
    ("srnr", PFLOG),
    ("subrulenum", PFLOG),
    ("reason", PFLOG),
    ("action", PFLOG),
    ("fisu", SS7),
    ("lssu", SS7),
    ("lsu", SS7),
    ("msu", SS7),
    ("hfisu", SS7),
    ("hlssu", SS7),
    ("hmsu", SS7),
    ("sio", SS7),
    ("opc", SS7),
    ("dpc", SS7),
    ("sls", SS7),
    ("hsio", SS7),
    ("hopc", SS7),
    ("hdpc", SS7),
    ("hsls", SS7),
];

/// Where the words of ATM circuits make sense.
const ATM: &str = "speaks of ATM circuits";
/// Where the words of the pf log make sense.
const PFLOG: &str = "speaks of what pf wrote into its own log";
/// Where the words of signalling links make sense.
const SS7: &str = "speaks of SS7 signalling links";

/// Where a word of the grammar makes sense, if not here.
pub(super) fn elsewhere(word: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(known, _)| *known == word).map(|(_, place)| *place)
}

/// The word as the grammar holds it; `None` for a name.
pub(super) fn keyword(word: &str) -> Option<&'static str> {
    static ALL: LazyLock<HashMap<&str, &str>> =
        LazyLock::new(|| keywords().map(|word| (word, word)).collect());
    ALL.get(word).copied()
}

/// All words of the grammar.
pub(super) fn keywords() -> impl Iterator<Item = &'static str> {
    let protocols = PROTOCOLS.iter().flat_map(|(_, words)| words.iter().copied());
    OTHERS.iter().copied().chain(protocols).chain(ELSEWHERE.iter().map(|(word, _)| *word))
}

/// Names that stand for an offset or a value.
const VALUES: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastrouterterm", 153),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

/// Words that one might expect, and what to write for them.
const UNKNOWN: &[(&str, &str)] = &[
    ("vxlan", "frames inside VXLAN cannot be looked into; the tunnel itself is `udp port 4789`"),
    ("gre", "packets inside GRE cannot be looked into; the tunnel itself is `ip proto 47`"),
    ("gtp", "packets inside GTP cannot be looked into; the tunnel itself is `udp port 2152`"),
    ("any", "leave it out: an empty expression holds for every frame"),
    ("all", "leave it out: an empty expression holds for every frame"),
    ("to", "say `dst`"),
    ("from", "say `src`"),
    ("in", "choose the side by the source of the copy, or by `in` of pf rules"),
    ("out", "choose the side by the source of the copy, or by `out` of pf rules"),
    ("ipv6", "say `ip6`"),
    ("ipv4", "say `ip`"),
    ("icmpv6", "say `icmp6`"),
    ("lldp", "say `ether proto 0x88cc`"),
    ("dns", "say `port 53`"),
];

/// What to write for a word that is none here.
pub(super) fn instead(word: &str) -> Option<&'static str> {
    UNKNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, help)| *help)
}

/// The number that a name stands for.
pub(super) fn value(word: &str) -> Option<u32> {
    static ALL: LazyLock<HashMap<&str, u32>> = LazyLock::new(|| VALUES.iter().copied().collect());
    ALL.get(word).copied()
}

/// All names that stand for a number.
pub(super) fn value_names() -> impl Iterator<Item = &'static str> {
    VALUES.iter().map(|(word, _)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_meant() {
        for (typed, meant) in [
            ("prot", Some("proto")),
            ("hsot", Some("host")),
            ("TCP", Some("tcp")),
            ("vlna", Some("vlan")),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, keywords()), meant, "{typed}");
        }
        assert_eq!(nearest("tcp-sin", value_names()), Some("tcp-fin"));
        assert_eq!(nearest(&"p".repeat(500), keywords()), None);
    }

    #[test]
    fn no_word_is_listed_twice() {
        let mut words: Vec<_> = keywords().chain(value_names()).collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
        for (protocol, words) in PROTOCOLS {
            assert_eq!((Protocol::of(words[0]), protocol.word()), (Some(*protocol), words[0]));
        }
    }
}
