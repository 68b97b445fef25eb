//! Where headers are, at one point of an expression: `vlan`, `mpls`, `pppoes` and `geneve` move what is read by
//! all that stands behind them, whatever words are between (pcap-filter(7)).
//!
//! Offsets that only the frame knows (behind a radiotap header, an 802.11 header, a Geneve header) are numbers
//! computed without a branch: a choice is a product with 0 or 1. Each load in them is one that libpcap's code
//! has tried before, so that a cut frame ends the test at the same place.

use wire::LinkType;

use crate::form::{LoadSize, Number, Operator, Ranges, Test};

/// EtherTypes, and the service access points of 802.2 that stand for a type below 1,501.
pub(super) mod ethertype {
    pub const IP: u32 = 0x0800;
    pub const ARP: u32 = 0x0806;
    pub const MOPDL: u32 = 0x6001;
    pub const MOPRC: u32 = 0x6002;
    pub const DECNET: u32 = 0x6003;
    pub const LAT: u32 = 0x6004;
    pub const SCA: u32 = 0x6007;
    pub const BRIDGED: u32 = 0x6558;
    pub const RARP: u32 = 0x8035;
    pub const ATALK: u32 = 0x809b;
    pub const AARP: u32 = 0x80f3;
    pub const IPX: u32 = 0x8137;
    pub const IP6: u32 = 0x86dd;
    pub const MPLS: u32 = 0x8847;
    pub const PPPOE_DISCOVERY: u32 = 0x8863;
    pub const PPPOE_SESSION: u32 = 0x8864;
    pub const LOOPBACK: u32 = 0x9000;
    /// Customer, service and old outer VLAN tag.
    pub const TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
    pub const XEROX_NS: u32 = 0x0600;
    pub const SAP_IP: u32 = 0x06;
    pub const SAP_BRIDGE: u32 = 0x42;
    pub const SAP_SNAP: u32 = 0xaa;
    pub const SAP_IPX: u32 = 0xe0;
    pub const SAP_NETBEUI: u32 = 0xf0;
    pub const SAP_ISO: u32 = 0xfe;
    /// Up to here the field is a length.
    pub const LENGTH_MAX: u32 = 1500;
}

/// How the headers of the link layer are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    Ethernet,
    Ppp,
    Raw,
    OnlyIp,
    OnlyIp6,
    Wlan { radiotap: bool },
    Cooked,
    Cooked2,
}

impl Link {
    pub(super) fn is_wlan(self) -> bool {
        matches!(self, Self::Wlan { .. })
    }

    /// As in "no VLAN tags on ...".
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "Ethernet",
            Self::Ppp => "PPP",
            Self::Raw | Self::OnlyIp | Self::OnlyIp6 => "raw IP",
            Self::Wlan { .. } => "802.11",
            Self::Cooked | Self::Cooked2 => "a Linux cooked capture",
        }
    }
}

/// What an offset counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum From {
    /// The header of the link layer.
    LinkHeader,
    /// The field that says what the link layer carries.
    LinkType,
    /// What the link layer carries, an LLC header included.
    Llc,
    /// The network header.
    Network,
    /// The network header, where no SNAP header stands in front of it.
    NetworkNoSnap,
    /// The label in front of the network header.
    Label,
    /// The header behind an IPv4 header.
    Transport4,
    /// The header behind an IPv6 header without extensions.
    Transport6,
}

/// A number whose computation needs something of the frame that cannot be taken for granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    Nothing,
    /// The length in the radiotap header.
    RadioLength,
    /// What the length of the 802.11 header depends on.
    WlanLength,
}

/// An offset: a constant, and perhaps something that only the frame knows.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    constant: u32,
    variable: Option<Number>,
    needs: Needs,
}

impl Place {
    fn fixed(constant: u32) -> Self {
        Self { constant, variable: None, needs: Needs::Nothing }
    }
}

/// Where headers are.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) link: Link,
    link_header: Place,
    link_type: Place,
    payload: Place,
    /// From the payload of the link layer to the network header.
    network: u32,
    network_no_snap: u32,
    /// MPLS labels passed.
    pub(super) labels: u32,
    /// 1 where an Ethernet header stands behind the Geneve header, else 0; `None` outside of Geneve.
    bridged: Option<Number>,
    /// Geneve headers passed.
    pub(super) tunnels: u32,
    /// Whether the frame begins with a radiotap header.
    radiotap: bool,
    /// Whether the length of the radiotap header was asked for, and that of the 802.11 header.
    asked: [bool; 2],
}

/// `left + right`.
pub(super) fn sum(left: Number, right: Number) -> Number {
    left.with(Operator::Add, right)
}

fn plus(left: Number, right: u32) -> Number {
    if right == 0 { left } else { sum(left, Number::Constant(right)) }
}

fn times(left: Number, right: u32) -> Number {
    left.with(Operator::Multiply, Number::Constant(right))
}

fn masked(left: Number, mask: u32) -> Number {
    left.with(Operator::And, Number::Constant(mask))
}

fn shifted_right(left: Number, bits: u32) -> Number {
    left.with(Operator::ShiftRight, Number::Constant(bits))
}

/// 1 where a number below 2^31 is this one, else 0.
fn is(number: Number, value: u32) -> Number {
    let other = number.with(Operator::ExclusiveOr, Number::Constant(value));
    shifted_right(other.with(Operator::Subtract, Number::Constant(1)), 31)
}

fn octet(at: Number) -> Number {
    Number::Load { size: LoadSize::One, at: Box::new(at) }
}

/// Holds wherever the number can be had; where it cannot, the whole test ends.
pub(super) fn can_be_had(number: Number) -> Test {
    Test::Within(number, Ranges::new([(0, u32::MAX)]))
}

/// Never holds.
pub(super) fn never() -> Test {
    Test::Any(Vec::new())
}

impl Scope {
    /// The start of a frame; `None` for link types that expressions know nothing of.
    pub(super) fn new(link_type: LinkType) -> Option<Self> {
        let (link, type_at, payload_at, network, network_no_snap) = match link_type {
            LinkType::ETHERNET => (Link::Ethernet, 12, 14, 0, 3),
            LinkType(9) => (Link::Ppp, 2, 4, 0, 0),
            LinkType::RAW => (Link::Raw, 0, 0, 0, 0),
            LinkType(228) => (Link::OnlyIp, 0, 0, 0, 0),
            LinkType(229) => (Link::OnlyIp6, 0, 0, 0, 0),
            LinkType::LINUX_SLL => (Link::Cooked, 14, 16, 0, 0),
            LinkType::LINUX_SLL2 => (Link::Cooked2, 0, 20, 0, 0),
            LinkType::IEEE802_11 => (Link::Wlan { radiotap: false }, 24, 0, 8, 3),
            LinkType::IEEE802_11_RADIOTAP => (Link::Wlan { radiotap: true }, 24, 0, 8, 3),
            _ => return None,
        };
        let mut scope = Self {
            link,
            link_header: Place::fixed(0),
            link_type: Place::fixed(type_at),
            payload: Place::fixed(payload_at),
            network,
            network_no_snap,
            labels: 0,
            bridged: None,
            tunnels: 0,
            radiotap: link == Link::Wlan { radiotap: true },
            asked: [false; 2],
        };
        if let Link::Wlan { radiotap } = link {
            if radiotap {
                let variable = Some(radio_length());
                scope.link_header = Place { constant: 0, variable, needs: Needs::RadioLength };
            }
            let variable = Some(wlan_length(radiotap));
            scope.payload = Place { constant: 0, variable, needs: Needs::WlanLength };
        }
        Some(scope)
    }

    /// The offset of a place as a number.
    pub(super) fn offset(&mut self, from: From, add: u32) -> Number {
        let (place, constant) = match from {
            From::LinkHeader => (&self.link_header, 0),
            From::LinkType => (&self.link_type, 0),
            From::Llc => (&self.payload, 0),
            From::Network | From::Transport4 => (&self.payload, self.network),
            From::NetworkNoSnap => (&self.payload, self.network_no_snap),
            From::Label => (&self.payload, self.network.wrapping_sub(4)),
            From::Transport6 => (&self.payload, self.network.wrapping_add(40)),
        };
        match place.needs {
            Needs::Nothing => {}
            Needs::RadioLength => self.asked[0] = true,
            Needs::WlanLength => self.asked[1] = true,
        }
        let constant = place.constant.wrapping_add(constant);
        let start = match &place.variable {
            None => Number::Constant(constant.wrapping_add(add)),
            Some(variable) => plus(variable.clone(), constant.wrapping_add(add)),
        };
        if from != From::Transport4 {
            return start;
        }
        // The header length of IPv4 in octets, as BPF_MSH of bpf(4) loads it.
        let header = self.load(From::Network, 0, LoadSize::One);
        let header = masked(header, 0x0f).with(Operator::ShiftLeft, Number::Constant(2));
        match start {
            Number::Operation(Operator::Add, variable, constant) => sum(sum(header, *variable), *constant),
            start => sum(header, start),
        }
    }

    /// Octets at an offset from a place.
    pub(super) fn load(&mut self, from: From, at: u32, size: LoadSize) -> Number {
        Number::Load { size, at: Box::new(self.offset(from, at)) }
    }

    /// Octets at an offset that is itself computed. One that would be behind what 32 bits can count is not
    /// there, however far around the sum goes; a constant one is subtracted where it is meant so (`ip[-2]`).
    pub(super) fn load_at(&mut self, from: From, index: Number, size: LoadSize) -> Number {
        let (variable, constant) = match self.offset(from, 0) {
            Number::Constant(constant) => (None, constant),
            Number::Operation(Operator::Add, variable, constant) => match *constant {
                Number::Constant(constant) => (Some(*variable), constant),
                other => (Some(sum(*variable, other)), 0),
            },
            other => (Some(other), 0),
        };
        let moved = match variable {
            None => index,
            Some(variable) => sum(variable, index),
        };
        if matches!(moved, Number::Constant(_)) || moved.most() < 1 << 31 {
            return Number::Load { size, at: Box::new(plus(moved, constant)) };
        }
        let far = Number::Constant(0).with(Operator::Subtract, shifted_right(moved.clone(), 31));
        Number::Load { size, at: Box::new(plus(moved, constant).with(Operator::Or, far)) }
    }

    /// Whether octets are this number.
    pub(super) fn equal(&mut self, from: From, at: u32, size: LoadSize, value: u32) -> Test {
        Test::Within(self.load(from, at, size), Ranges::one(value))
    }

    /// Whether octets are this number in the bits of a mask.
    pub(super) fn equal_in(&mut self, from: From, at: u32, size: LoadSize, value: u32, mask: u32) -> Test {
        let number = self.load(from, at, size);
        let number = if mask == u32::MAX { number } else { masked(number, mask) };
        Test::Within(number, Ranges::one(value))
    }

    /// Whether any of these bits of an octet is set.
    pub(super) fn any_bit(&mut self, from: From, at: u32, size: LoadSize, mask: u32) -> Test {
        Test::Not(Box::new(self.equal_in(from, at, size, 0, mask)))
    }

    /// Whether octets are exactly these, the last ones first as libpcap compares them.
    pub(super) fn octets(&mut self, from: From, at: u32, value: &[u8]) -> Test {
        let mut tests = Vec::new();
        let mut rest = value;
        while !rest.is_empty() {
            let (size, count) = match rest.len() {
                4.. => (LoadSize::Four, 4),
                2 | 3 => (LoadSize::Two, 2),
                _ => (LoadSize::One, 1),
            };
            let (front, last) = rest.split_at(rest.len() - count);
            let value = last.iter().fold(0, |value: u32, octet| value << 8 | u32::from(*octet));
            let behind = u32::try_from(front.len()).unwrap_or(u32::MAX);
            tests.push(self.equal(from, at.wrapping_add(behind), size, value));
            rest = front;
        }
        Test::All(tests)
    }

    /// What must be there for the offsets that were asked for to be computed: libpcap's programs begin with it.
    pub(super) fn prelude(&self) -> Vec<Test> {
        match self.asked {
            [_, true] => vec![can_be_had(wlan_length(self.radiotap))],
            [true, false] => vec![can_be_had(radio_length())],
            [false, false] => Vec::new(),
        }
    }

    /// A VLAN tag was passed.
    pub(super) fn pass_tag(&mut self) {
        self.payload.constant = self.payload.constant.wrapping_add(4);
        self.link_type.constant = self.link_type.constant.wrapping_add(4);
    }

    /// An MPLS label was passed.
    pub(super) fn pass_label(&mut self) {
        self.network += 4;
        self.network_no_snap += 4;
        self.labels += 1;
    }

    /// A PPPoE header was passed: what follows is PPP.
    pub(super) fn pass_pppoe(&mut self) {
        self.link = Link::Ppp;
        self.bridged = None;
        self.link_header = self.payload.clone();
        self.link_header.constant = self.payload.constant.wrapping_add(self.network).wrapping_add(6);
        self.link_type = self.link_header.clone();
        self.payload.constant = self.link_header.constant.wrapping_add(2);
        (self.network, self.network_no_snap) = (0, 0);
    }

    /// A Geneve header was passed. Gives the test that its protocol field can be had.
    pub(super) fn pass_geneve(&mut self) -> Test {
        // Length of the IP header: 40 for version 6, else what IPv4 says of itself.
        let six = self.is_version_6();
        let four = masked(self.load(From::Network, 0, LoadSize::One), 0x0f);
        let four = four.with(Operator::ShiftLeft, Number::Constant(2));
        let difference = Number::Constant(40).with(Operator::Subtract, four.clone());
        let ip = sum(four, six.with(Operator::Multiply, difference));
        // Behind IP and UDP. RFC 8926, section 3.4: version and option length, flags, protocol, VNI.
        let start = plus(sum(self.offset(From::Network, 0), ip), 8);
        let protocol = Number::Load { size: LoadSize::Two, at: Box::new(plus(start.clone(), 2)) };
        let there = can_be_had(protocol.clone());
        let options = times(masked(octet(start.clone()), 0x3f), 4);
        let end = sum(plus(start.clone(), 8), options.clone());
        let bridged = is(protocol, ethertype::BRIDGED);
        let payload = sum(end.clone(), times(bridged.clone(), 14));
        // The type is 2 behind the start of the Geneve header, or 12 behind its end.
        let further = bridged.clone().with(Operator::Multiply, plus(options, 18));
        let link_type = sum(plus(start, 2), further);
        let place = |variable| Place { constant: 0, variable: Some(variable), needs: Needs::Nothing };
        self.link = Link::Ethernet;
        self.link_header = place(end);
        self.link_type = place(link_type);
        self.payload = place(payload);
        self.network = 0;
        self.bridged = Some(bridged);
        self.tunnels += 1;
        there
    }

    /// 1 where the network header is one of IPv6, 0 where it is one of IPv4.
    fn is_version_6(&mut self) -> Number {
        if self.labels > 0 {
            return masked(shifted_right(self.load(From::Network, 0, LoadSize::One), 5), 1);
        }
        match self.link {
            // 0x0800 and 0x86dd differ in the highest bit.
            Link::Ethernet | Link::Cooked | Link::Cooked2 => {
                shifted_right(self.load(From::LinkType, 0, LoadSize::Two), 15)
            }
            Link::Wlan { .. } => shifted_right(self.load(From::Llc, 6, LoadSize::Two), 15),
            // 0x0021 and 0x0057.
            Link::Ppp => masked(shifted_right(self.load(From::LinkType, 0, LoadSize::Two), 1), 1),
            Link::Raw => masked(shifted_right(self.load(From::LinkHeader, 0, LoadSize::One), 5), 1),
            Link::OnlyIp => Number::Constant(0),
            Link::OnlyIp6 => Number::Constant(1),
        }
    }

    /// Whether frames begin with a radio header.
    pub(super) fn has_radio(&self) -> bool {
        self.link == Link::Wlan { radiotap: true }
    }

    /// In Geneve: whether there is an Ethernet header.
    pub(super) fn has_ethernet(&self) -> Option<Test> {
        self.bridged.clone().map(|bridged| Test::Within(bridged, Ranges::one(1)))
    }
}

/// Octets of the radiotap header, which are little-endian (radiotap.org).
fn radio_length() -> Number {
    let high = Number::load(LoadSize::One, 3).with(Operator::ShiftLeft, Number::Constant(8));
    high.with(Operator::Or, Number::load(LoadSize::One, 2))
}

/// Octets in front of the LLC header of an 802.11 frame: 24, two more where there is a QoS field, and up to 3
/// more where the radiotap header says that the payload was aligned.
fn wlan_length(radiotap: bool) -> Number {
    let start = if radiotap { radio_length() } else { Number::Constant(0) };
    let control = octet(start.clone());
    let is_qos = is(masked(control.clone(), 0x8c), 0x88);
    let end = sum(plus(start, 24), times(is_qos, 2));
    if !radiotap {
        return end;
    }
    // What is present, of data frames alone. Other frames read the first octets again, which are there.
    let is_data = is(masked(control, 0x0c), 0x08);
    let present = Number::Load { size: LoadSize::Four, at: Box::new(times(is_data.clone(), 4)) };
    // Flags are present (bit 1), and no second word of what is present follows (bit 31).
    let alone = masked(present.clone(), 0x0200_0080);
    let has_flags = is(alone, 0x0200_0000).with(Operator::Multiply, is_data);
    // The flags stand behind a timestamp of 8 octets, where there is one (bit 0).
    let timestamp = masked(shifted_right(present, 24), 1);
    let flags = octet(has_flags.clone().with(Operator::Multiply, plus(times(timestamp, 8), 8)));
    let padded = masked(shifted_right(flags, 5), 1).with(Operator::Multiply, has_flags);
    let three = times(padded, 3);
    let keep = Number::Constant(u32::MAX).with(Operator::Subtract, three.clone());
    sum(end, three).with(Operator::And, keep)
}
