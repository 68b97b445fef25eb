//! The config file: text -> typed values, each with the octets it came from, every problem at once.
//!
//! Decoded by hand from the spanned table, so that each message has a place and no key is ignored.
//! Never looks at the machine: whether an interface exists is not its business.

mod decode;
mod device;
mod distributor;
mod keys;
pub(crate) mod simulate;

use std::collections::BTreeSet;
use std::ops::Range;

use rules::form::{Method, Test};
use wire::Vlan;

use crate::plan::{Attach, Queue, Role, devices};
use crate::problem::{Problems, Report};
use crate::rule_files::{self, Files};

/// The longest config, octets.
pub const TEXT_MAX: usize = 1 << 20;

/// The most devices of one config.
pub const DEVICES_MAX: usize = 2048;

/// A value and the octets it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Octets of the text.
    pub span: Range<usize>,
}

/// A name and where it stands.
pub type Name = At<String>;

/// A config that makes sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// `[ports]`, in the order of the file.
    pub ports: Vec<Port>,
    /// Each `[[device]]`, in the order of the file.
    pub devices: Vec<Device>,
    /// `[simulate]`.
    pub simulate: Option<Simulate>,
}

/// An entry of `[ports]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// The user's name.
    pub name: Name,
    /// The Linux interface.
    pub interface: Name,
    /// How programs are attached; [`Attach::Auto`] where nothing is said.
    pub attach: Attach,
    /// Rate and buffer, where a rate is given; its span is the rate's.
    pub queue: Option<At<Queue>>,
    /// Bits a second that the line carries, where that is said.
    pub speed: Option<At<u64>>,
    /// The host that listens at a monitor port, where that is said.
    pub sensor: Option<Name>,
}

/// A `[[device]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its name: what its copies are counted under.
    pub name: Name,
    /// Its `[[device]]`.
    pub header: Range<usize>,
    /// The VLANs it copies; `None`: every frame.
    pub vlans: Option<BTreeSet<Vlan>>,
    /// What it is.
    pub kind: Kind,
}

/// Two names that belong together: a link, or the monitors of its two directions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The first.
    pub first: Name,
    /// The second.
    pub second: Name,
}

/// A device, and what its kind needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `tap`: each direction to a monitor of its own.
    Tap {
        /// The link.
        link: Pair,
        /// For each pair: what enters at the first end, at the second.
        monitors: Vec<Pair>,
    },
    /// `port-aggregator`: both directions to one monitor.
    PortAggregator {
        /// The link.
        link: Pair,
        /// One.
        monitors: Vec<Name>,
    },
    /// `dual-port-aggregator`: both directions to each of two monitors.
    DualPortAggregator {
        /// The link.
        link: Pair,
        /// Two.
        monitors: Vec<Name>,
    },
    /// `regeneration`: each pair a complete set.
    Regeneration {
        /// The link.
        link: Pair,
        /// For each pair: what enters at the first end, at the second.
        monitors: Vec<Pair>,
    },
    /// `span-regeneration`: the first SPAN port to the first of each pair, the second to the second.
    SpanRegeneration {
        /// The SPAN ports.
        spans: Pair,
        /// The pairs.
        monitors: Vec<Pair>,
    },
    /// `link-aggregator`: every source to each monitor.
    LinkAggregator {
        /// What is aggregated.
        from: Inputs,
        /// Where to.
        monitors: Vec<Name>,
    },
    /// `bond`: SPAN ports become one virtual interface.
    Bond {
        /// The SPAN ports.
        spans: Vec<Name>,
        /// The interface that is made; a monitor of that name.
        interface: Name,
    },
    /// `watch`: interfaces of this host.
    Watch {
        /// Names of ports or of Linux interfaces.
        interfaces: Vec<Name>,
        /// Which way.
        direction: Ways,
        /// Where to.
        monitors: Vec<Name>,
    },
    /// `distributor`: rules choose the sensor.
    Distributor {
        /// What is looked at.
        from: Tapped,
        /// By which rules.
        by: Steering,
    },
    /// `hub`: what enters at one port leaves by all others.
    Hub {
        /// Its ports, 2 or more.
        ports: Vec<Name>,
        /// Those of them that the output of a tap or a SPAN port is plugged into.
        taps: Vec<Name>,
        /// Bits a second of its wire.
        speed_bits: u64,
    },
}

/// The speed of a hub that names none, bits a second: Fast Ethernet, half duplex.
pub const HUB_SPEED_DEFAULT: u64 = 100_000_000;
/// The most ports of one hub.
pub const HUB_PORTS_MAX: usize = 32;

/// What a distributor looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tapped {
    /// A link.
    Link(Pair),
    /// SPAN ports.
    Spans {
        /// Their names.
        spans: Vec<Name>,
        /// What pf rules call their frames.
        directions: Vec<Called>,
    },
    /// Interfaces of this host.
    Watched {
        /// Names of ports or of Linux interfaces.
        interfaces: Vec<Name>,
        /// Which way.
        direction: Ways,
    },
}

/// An entry of `directions`: SPAN ports that carry the two directions of one interface elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Called {
    /// What pf rules call that interface.
    pub name: Name,
    /// The SPAN port of the frames that enter by it.
    pub entering: Option<Name>,
    /// The SPAN port of the frames that leave by it.
    pub leaving: Option<Name>,
}

/// By which rules a distributor chooses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Steering {
    /// Those of a pf file.
    Rules(Name),
    /// Each `[[device.copy]]`, in the order of the file.
    Copies(Vec<CopyEntry>),
}

/// A `[[device.copy]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyEntry {
    /// Where it begins.
    pub header: Range<usize>,
    /// The expression, where one is given.
    pub expression: Option<Name>,
    /// What it means.
    pub test: Test,
    /// Where to.
    pub to: Vec<Name>,
    /// How one of them is chosen; `None`: all of them.
    pub balance: Option<Balanced>,
}

/// How one of several monitors is chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Balanced {
    /// By what.
    pub method: Method,
    /// For each monitor its share.
    pub weights: Vec<u8>,
    /// Whether the innermost addresses decide.
    pub inner: bool,
}

/// What a link aggregator aggregates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inputs {
    /// Both directions of each link.
    Links(Vec<Pair>),
    /// SPAN ports.
    Spans(Vec<Name>),
}

/// Which frames of a watched interface are copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ways {
    /// Those it receives.
    Rx,
    /// Those it sends.
    Tx,
    /// Both.
    Both,
}

/// A device as far as it could be read: names are looked up even where a key is missing.
pub(crate) struct Draft {
    /// Its name, or an invented one where that could not be read.
    pub(crate) name: Name,
    pub(crate) header: Range<usize>,
    /// Every port it names, and as what.
    pub(crate) uses: Vec<(Name, Role)>,
    /// The pf file that it names.
    pub(crate) rules: Option<Name>,
    /// The whole, where nothing is missing.
    pub(crate) device: Option<Device>,
}

/// An entry of `[ports]` as far as it could be read: a broken one still has its name.
pub(crate) struct PortDraft {
    pub(crate) name: Name,
    pub(crate) port: Option<Port>,
}

/// Everything as far as it could be read.
pub(crate) struct Drafts {
    pub(crate) ports: Vec<PortDraft>,
    pub(crate) devices: Vec<Draft>,
    pub(crate) simulate: Option<Simulate>,
}

/// The kinds of device of this release.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    keys::KINDS.iter().map(|(kind, _)| *kind)
}

/// Every key of a config, some more than once.
pub fn keys() -> impl Iterator<Item = &'static str> {
    let of_kinds = keys::KINDS.iter().flat_map(|(_, keys)| keys.iter());
    let nested = keys::COPY.iter().chain(&keys::WAYS);
    keys::TOP
        .iter()
        .chain(&keys::PORT)
        .chain(&keys::COMMON)
        .chain(of_kinds)
        .chain(nested)
        .chain(&keys::SIMULATE)
        .copied()
}

/// Reads a config, and the rule files that it names.
///
/// # Errors
/// Everything that is wrong with it: syntax, keys, types, names, rules, roles, copies, limits.
pub fn parse(file_name: &str, text: &str, files: &Files<'_>) -> Result<Config, Problems> {
    let mut report = Report::new(text);
    let drafts = decode::drafts(text, &mut report);
    let rule_files = rule_files::load(file_name, &drafts, files, &mut report);
    let expanded = devices::expand(file_name, &drafts, &rule_files, &mut report);
    simulate::check(&drafts, &expanded.model, report.is_empty(), &mut report);
    report.finish(file_name)?;
    Ok(Config {
        ports: drafts.ports.into_iter().filter_map(|draft| draft.port).collect(),
        devices: drafts.devices.into_iter().filter_map(|draft| draft.device).collect(),
        simulate: drafts.simulate,
    })
}

pub(crate) use decode::drafts;
pub use simulate::{SOURCES_MAX, Simulate, Source};
