//! Expressions by the rules of the grammar, made of words and numbers that occur in the frames.

use wire::LinkType;

use super::random::Random;

/// Ethernet addresses that made frames bear too.
pub const MACS: [(&str, [u8; 6]); 2] = [
    ("08:00:27:19:2d:5c", [0x08, 0x00, 0x27, 0x19, 0x2d, 0x5c]),
    ("02:00:00:00:00:01", [0x02, 0, 0, 0, 0, 1]),
];

const ALONE: &[&str] = &[
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "igrp",
    "pim",
    "vrrp",
    "carp",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "ah",
    "esp",
    "atalk",
    "aarp",
    "decnet",
    "lat",
    "sca",
    "moprc",
    "mopdl",
    "iso",
    "esis",
    "es-is",
    "isis",
    "is-is",
    "l1",
    "l2",
    "iih",
    "lsp",
    "snp",
    "csnp",
    "psnp",
    "clnp",
    "stp",
    "ipx",
    "netbeui",
    "pppoed",
    "broadcast",
    "multicast",
    "ether broadcast",
    "ether multicast",
    "ip broadcast",
    "ip multicast",
    "ip6 multicast",
    "llc",
];

const COMMON: &[&str] = &["tcp", "udp", "ip", "ip6", "arp", "icmp", "not ip", "ip or ip6", "broadcast"];

/// Operands that may stand behind `and` and `or` without words of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    Host,
    Net,
    Port,
    PortRange,
    Number,
    Mac,
}

/// Makes expressions for one link type.
pub struct Generator<'r> {
    random: &'r mut Random,
    link_type: LinkType,
    /// The operand that the last words announced.
    last: Option<Operand>,
    tunnels: usize,
}

impl<'r> Generator<'r> {
    pub fn new(random: &'r mut Random, link_type: LinkType) -> Self {
        Self { random, link_type, last: None, tunnels: 0 }
    }

    /// One expression.
    pub fn expression(&mut self) -> String {
        self.joined(2)
    }

    fn is_wlan(&self) -> bool {
        matches!(self.link_type, LinkType::IEEE802_11 | LinkType::IEEE802_11_RADIOTAP)
    }

    fn joined(&mut self, depth: usize) -> String {
        let count = self.random.pick(&[1, 1, 2, 2, 3, 4]);
        let mut text = self.piece(depth);
        for _ in 1..count {
            text += self.random.pick(&[" and ", " or ", " && ", " || ", " and ", " or "]);
            let operand = self.last.filter(|_| self.random.one_in(3));
            text += &match operand {
                Some(operand) => self.elided(operand),
                None => self.piece(depth),
            };
        }
        text
    }

    fn elided(&mut self, operand: Operand) -> String {
        let not = if self.random.one_in(6) { "not " } else { "" };
        not.to_owned() + &self.operand(operand)
    }

    fn piece(&mut self, depth: usize) -> String {
        match self.random.below(10) {
            0 => self.random.pick(&["not ", "!", "! not "]).to_owned() + &self.piece(depth),
            1 | 2 if depth > 0 => {
                let before = self.last;
                let text = format!("({})", self.joined(depth - 1));
                self.last = before;
                text
            }
            _ => {
                self.last = None;
                self.term()
            }
        }
    }

    fn term(&mut self) -> String {
        match self.random.below(30) {
            0..=3 => self.random.pick(COMMON).to_owned(),
            4 | 5 => self.random.pick(ALONE).to_owned(),
            6..=9 => self.addressed(),
            10..=12 => self.with_port(),
            13 | 14 => self.of_protocol(),
            15 => self.by_length(),
            16 | 17 => self.encapsulated(),
            18 => self.linked(),
            19 if self.is_wlan() => self.of_wlan(),
            20 if self.is_wlan() => self.of_wlan(),
            21 => self.of_llc(),
            22 if matches!(self.link_type, LinkType::LINUX_SLL | LinkType::LINUX_SLL2) => {
                self.random.pick(&["inbound", "outbound"]).to_owned()
            }
            _ => self.relation(),
        }
    }

    fn number(&mut self, of: &[&str]) -> String {
        self.random.pick(of).to_owned()
    }

    fn operand(&mut self, operand: Operand) -> String {
        if self.random.one_in(8) {
            let operator = self.random.pick(&[" or ", " and "]);
            let more = self.single(operand);
            return format!("({}{operator}{more})", self.single(operand));
        }
        self.single(operand)
    }

    fn single(&mut self, operand: Operand) -> String {
        let host4 = ["10.0.0.6", "10.0.0.1", "192.168.1.2", "224.0.0.5", "212.199.202.9", "10.1.0.3", "10.0"];
        let host6 = ["fe80::1", "2001:db8::1", "ff02::1", "::"];
        match operand {
            Operand::Host if self.random.one_in(4) => self.number(&host6),
            Operand::Host => self.number(&host4),
            Operand::Net if self.random.one_in(4) => {
                self.number(&["fe80::/10", "2001:db8::/32", "::/0", "ff00::/8"])
            }
            Operand::Net => self.number(&[
                "10",
                "10.0.0.0/8",
                "10.1.0.0/16",
                "192.168",
                "0.0.0.0/0",
                "10.0.0.0 mask 255.0.0.0",
                "10.0.0.6/32",
                "224.0.0.0/4",
                "10.0.0.0/30",
            ]),
            Operand::Port => {
                self.number(&["80", "443", "53", "http", "domain", "22", "65535", "0", "syslog", "4789"])
            }
            Operand::PortRange => self.number(&["1-1023", "80-443", "443-80", "0-65535", "2000", "ftp-http"]),
            Operand::Number => {
                self.number(&["6", "17", "1", "58", "0", "44", "51", "132", "\\tcp", "\\udp", "255"])
            }
            Operand::Mac => {
                self.random.pick(&[MACS[0].0, MACS[1].0, "ff:ff:ff:ff:ff:ff", "0200.0000.0002"]).to_owned()
            }
        }
    }

    fn direction(&mut self) -> &'static str {
        self.random.pick(&["", "src ", "dst ", "src or dst ", "dst and src ", "src and dst "])
    }

    fn addressed(&mut self) -> String {
        let protocol = self.random.pick(&["", "", "", "ip ", "arp ", "rarp ", "ip6 "]);
        let direction = self.direction();
        let is_net = self.random.one_in(3);
        let kind = match (is_net, direction.is_empty() || self.random.one_in(2)) {
            (true, _) => "net ",
            (false, true) => "host ",
            (false, false) => "",
        };
        let operand = if is_net { Operand::Net } else { Operand::Host };
        let text = match (protocol, is_net) {
            ("ip6 ", true) => self.number(&["fe80::/10", "::/0"]),
            ("ip6 ", false) => self.number(&["fe80::1", "ff02::1"]),
            ("", _) => self.operand(operand),
            (_, true) => self.number(&["10", "10.0.0.0/8", "192.168"]),
            (_, false) => self.number(&["10.0.0.6", "10.0.0.1", "192.168.1.2"]),
        };
        self.last = protocol.is_empty().then_some(operand);
        format!("{protocol}{direction}{kind}{text}")
    }

    fn with_port(&mut self) -> String {
        let protocol = self.random.pick(&["", "", "tcp ", "udp ", "sctp "]);
        let direction = self.direction();
        let is_range = self.random.one_in(3);
        let operand = if is_range { Operand::PortRange } else { Operand::Port };
        let kind = if is_range { "portrange" } else { "port" };
        self.last = Some(operand);
        format!("{protocol}{direction}{kind} {}", self.operand(operand))
    }

    fn of_protocol(&mut self) -> String {
        let word = self.random.pick(&[
            "proto",
            "ip proto",
            "ip6 proto",
            "protochain",
            "ip protochain",
            "ip6 protochain",
        ]);
        self.last = Some(Operand::Number);
        format!("{word} {}", self.operand(Operand::Number))
    }

    fn by_length(&mut self) -> String {
        let length = self.number(&["0", "60", "64", "100", "1400", "0x40"]);
        match self.random.below(3) {
            0 => format!("less {length}"),
            1 => format!("greater {length}"),
            _ => format!("{} {} {length}", self.random.pick(&["len", "length"]), self.relative()),
        }
    }

    fn relative(&mut self) -> &'static str {
        self.random.pick(&["=", "==", "!=", "<", "<=", ">", ">="])
    }

    fn encapsulated(&mut self) -> String {
        let word = self.random.pick(&["vlan", "vlan", "vlan", "mpls", "pppoes", "geneve"]);
        if word == "geneve" {
            self.tunnels += 1;
            if self.tunnels > 2 {
                return "udp".into();
            }
        }
        match self.random.below(3) {
            0 => format!("{word} {}", self.number(&["1", "7", "100", "(7)", "0"])),
            _ => word.to_owned(),
        }
    }

    fn linked(&mut self) -> String {
        match self.random.below(3) {
            0 => {
                let kinds = [
                    "0x0800",
                    "0x86dd",
                    "0x8100",
                    "\\ip",
                    "\\arp",
                    "\\ip6",
                    "\\stp",
                    "\\ipx",
                    "\\iso",
                    "\\netbeui",
                    "\\atalk",
                    "\\aarp",
                    "6",
                    "0xaa",
                    "1500",
                    "1501",
                    "0x6558",
                    "\\decnet",
                    "\\lat",
                ];
                format!("ether proto {}", self.number(&kinds))
            }
            1 => {
                let word = self.random.pick(&[
                    "iso proto \\clnp",
                    "iso proto 0x83",
                    "isis proto 15",
                    "iso proto \\esis",
                ]);
                word.to_owned()
            }
            _ => {
                self.last = Some(Operand::Mac);
                let direction = self.direction();
                let kind = if direction.is_empty() { "host " } else { "" };
                format!("ether {direction}{kind}{}", self.operand(Operand::Mac))
            }
        }
    }

    fn of_llc(&mut self) -> String {
        let kind = self.random.pick(&[
            "i", "s", "u", "rr", "rnr", "rej", "ui", "ua", "xid", "disc", "dm", "sabme", "test", "frmr",
        ]);
        format!("llc {kind}")
    }

    fn of_wlan(&mut self) -> String {
        match self.random.below(5) {
            0 => format!("type {}", self.random.pick(&["mgt", "ctl", "data", "0", "4", "8"])),
            1 => format!("type mgt subtype {}", self.random.pick(&["beacon", "probe-req", "auth", "0x80"])),
            2 => format!(
                "subtype {}",
                self.random.pick(&["ack", "cts", "rts", "qos-data", "null", "beacon", "data"])
            ),
            3 => format!("dir {}", self.random.pick(&["nods", "tods", "fromds", "dstods", "1"])),
            _ => {
                let place = self
                    .random
                    .pick(&["addr1", "addr2", "addr3", "addr4", "ra", "ta", "src", "dst", "address1"]);
                self.last = Some(Operand::Mac);
                format!("wlan {place} {}", self.operand(Operand::Mac))
            }
        }
    }

    fn relation(&mut self) -> String {
        const FIXED: &[&str] = &[
            "tcp[tcpflags] & tcp-syn != 0",
            "tcp[13] & (tcp-syn|tcp-fin) != 0",
            "tcp[(tcp[12]>>2):4] = 0x47455420",
            "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
            "icmp[icmptype] = icmp-echo",
            "icmp6[icmp6type] = icmp6-routeradvert",
            "ip[2:2] - ((ip[0]&0xf)<<2) - ((tcp[12]&0xf0)>>2) != 0",
            "ip[6:2] & 0x1fff = 0",
            "ether[0] & 1 != 0",
            "ip[0] & 0xf != 5",
            "1 = 1",
            "udp[10] & 0x80 = 0",
        ];
        if self.random.one_in(4) {
            return self.random.pick(FIXED).to_owned();
        }
        let right = if self.random.one_in(4) { self.computed(1) } else { self.constant() };
        format!("{} {} {right}", self.computed(2), self.relative())
    }

    fn constant(&mut self) -> String {
        self.number(&[
            "0",
            "1",
            "2",
            "4",
            "5",
            "6",
            "10",
            "16",
            "64",
            "80",
            "255",
            "0x800",
            "0x0a000006",
            "0xffff",
            "0x45",
        ])
    }

    fn computed(&mut self, depth: usize) -> String {
        match self.random.below(9) {
            0 | 1 if depth > 0 => {
                let operator =
                    self.random.pick(&["+", "-", "*", "&", "|", "^", "%", "/", "<<", ">>", "&", "-"]);
                let constant = match operator {
                    "/" | "%" => self.number(&["1", "2", "4", "7", "256"]),
                    "<<" | ">>" => self.number(&["0", "1", "4", "8", "31"]),
                    _ => self.constant(),
                };
                let right = if self.random.one_in(2) { constant } else { self.computed(depth - 1) };
                let left = self.computed(depth - 1);
                let space = self.random.pick(&["", " "]);
                format!("{left}{space}{operator}{space}{right}")
            }
            2 if depth > 0 => {
                // A lone number in brackets is no number to libpcap where it begins a term.
                let inner = self.computed(depth - 1);
                format!("({inner} + 0)")
            }
            3 if depth > 0 && self.random.one_in(4) => format!("(-{})", self.octets(0)),
            4 if self.random.one_in(3) => "len".into(),
            _ => self.octets(depth),
        }
    }

    fn octets(&mut self, depth: usize) -> String {
        let mut protocols =
            vec!["ip", "tcp", "udp", "ip6", "ether", "icmp", "arp", "icmp6", "sctp", "link", "rarp", "igmp"];
        if self.is_wlan() {
            protocols.push("wlan");
        }
        if self.link_type == LinkType::IEEE802_11_RADIOTAP {
            protocols.push("radio");
        }
        let protocol = self.random.pick(&protocols);
        let index = match self.random.below(6) {
            0 if depth > 0 => self.computed(depth - 1),
            1 => self.number(&["20", "24", "30", "40", "60", "100", "2000", "0xfffffffe", "4294967295"]),
            _ => self.number(&["0", "1", "2", "4", "6", "8", "9", "12", "13", "16"]),
        };
        let size = self.random.pick(&["", "", ":1", ":2", ":4", ":2"]);
        format!("{protocol}[{index}{size}]")
    }
}
