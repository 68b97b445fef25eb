//! The eight devices as data: config, and where each frame that comes in should go.
//!
//! The expectation is written down here by hand, from what the devices are; no plan is asked.

use std::fmt;

/// How programs are attached to the ports that frames enter by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attach {
    /// tcx.
    Tcx,
    /// clsact.
    Clsact,
    /// Native XDP; monitors by tcx.
    Xdp,
    /// Classic filters.
    Classic,
}

impl Attach {
    /// All that run programs of eBPF.
    pub const ALL: [Self; 3] = [Self::Tcx, Self::Clsact, Self::Xdp];
    /// Classic filters too, which do not take every rule.
    pub const EVERY: [Self; 4] = [Self::Tcx, Self::Clsact, Self::Xdp, Self::Classic];

    /// The word in the config, and in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Xdp => "xdp",
            Self::Classic => "classic",
        }
    }
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where frames come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// They enter at a port, from its far end.
    Far,
    /// This host sends them (a watched interface).
    Host,
}

/// One way through a device.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The port.
    pub port: &'static str,
    /// Which end of its cable frames come from.
    pub from: From,
    /// The side at the monitors, as the ledger names it.
    pub side: &'static str,
    /// The port whose far end gets the frame itself.
    pub passes_to: Option<&'static str>,
    /// The monitors that get a copy each.
    pub copies_to: &'static [&'static str],
}

/// A device with its ports and ways.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// The name that failures carry.
    pub name: &'static str,
    /// Ports that frames enter by; each has a cable.
    pub ports: &'static [&'static str],
    /// Monitor ports; each has a cable.
    pub monitors: &'static [&'static str],
    /// A virtual interface that the device makes, as its only monitor.
    pub makes: Option<&'static str>,
    /// Whether the ports belong to the host, which goes on using them.
    pub watches: bool,
    /// The `[[device]]` of the config.
    text: &'static str,
    /// Every way.
    pub ways: &'static [Way],
}

impl Device {
    /// The config.
    pub fn config(&self, attach: Attach) -> String {
        self.config_with(attach, "")
    }

    /// The config, with more keys for each monitor port (`, rate = "..."`).
    pub fn config_with(&self, attach: Attach, monitor_keys: &str) -> String {
        let mut text = "[ports]\n".to_owned();
        for port in self.ports {
            text.push_str(&format!("{port} = {{ interface = \"{port}\", attach = \"{attach}\" }}\n"));
        }
        let monitor_attach = if attach == Attach::Xdp { Attach::Tcx } else { attach };
        for port in self.monitors {
            let keys = format!("interface = \"{port}\", attach = \"{monitor_attach}\"{monitor_keys}");
            text.push_str(&format!("{port} = {{ {keys} }}\n"));
        }
        format!("{text}\n[[device]]\n{}", self.text)
    }

    /// Every port with a cable.
    pub fn cables(&self) -> Vec<&'static str> {
        [self.ports, self.monitors].concat()
    }

    /// The ways whose frames leave by the far end of this port.
    pub fn passes_to(&self, port: &str) -> impl Iterator<Item = &Way> {
        self.ways.iter().filter(move |way| way.passes_to == Some(port))
    }

    /// The ways whose copies reach this monitor.
    pub fn copies_to(&self, monitor: &str) -> impl Iterator<Item = &Way> {
        self.ways.iter().filter(move |way| way.copies_to.contains(&monitor))
    }
}

const fn way(port: &'static str, passes_to: Option<&'static str>, copies_to: &'static [&'static str]) -> Way {
    Way { port, from: From::Far, side: port, passes_to, copies_to }
}

/// The devices of this release; the link aggregator in both of its forms.
pub const DEVICES: [Device; 9] = [
    Device {
        name: "tap",
        ports: &["a", "b"],
        monitors: &["m1", "m2"],
        makes: None,
        watches: false,
        text: "name = \"t\"\nkind = \"tap\"\nlink = [\"a\", \"b\"]\nmonitors = [[\"m1\", \"m2\"]]\n",
        ways: &[way("a", Some("b"), &["m1"]), way("b", Some("a"), &["m2"])],
    },
    PORT_AGGREGATOR,
    Device {
        name: "dual-port-aggregator",
        ports: &["a", "b"],
        monitors: &["m1", "m2"],
        makes: None,
        watches: false,
        text: "name = \"t\"\nkind = \"dual-port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"m1\", \"m2\"]\n",
        ways: &[way("a", Some("b"), &["m1", "m2"]), way("b", Some("a"), &["m1", "m2"])],
    },
    Device {
        name: "regeneration",
        ports: &["a", "b"],
        monitors: &["m1", "m2", "m3", "m4"],
        makes: None,
        watches: false,
        text: "name = \"t\"\nkind = \"regeneration\"\nlink = [\"a\", \"b\"]\n\
               monitors = [[\"m1\", \"m2\"], [\"m3\", \"m4\"]]\n",
        ways: &[way("a", Some("b"), &["m1", "m3"]), way("b", Some("a"), &["m2", "m4"])],
    },
    Device {
        name: "span-regeneration",
        ports: &["x", "y"],
        monitors: &["m1", "m2", "m3", "m4"],
        makes: None,
        watches: false,
        text: "name = \"t\"\nkind = \"span-regeneration\"\nspans = [\"x\", \"y\"]\n\
               monitors = [[\"m1\", \"m2\"], [\"m3\", \"m4\"]]\n",
        ways: &[way("x", None, &["m1", "m3"]), way("y", None, &["m2", "m4"])],
    },
    Device {
        name: "link-aggregator of links",
        ports: &["a", "b", "c", "d"],
        monitors: &["m1"],
        makes: None,
        watches: false,
        text: "name = \"t\"\nkind = \"link-aggregator\"\nlinks = [[\"a\", \"b\"], [\"c\", \"d\"]]\n\
               monitors = [\"m1\"]\n",
        ways: &[
            way("a", Some("b"), &["m1"]),
            way("b", Some("a"), &["m1"]),
            way("c", Some("d"), &["m1"]),
            way("d", Some("c"), &["m1"]),
        ],
    },
    Device {
        name: "link-aggregator of spans",
        ports: &["x", "y"],
        monitors: &["m1", "m2"],
        makes: None,
        watches: false,
        text: "name = \"t\"\nkind = \"link-aggregator\"\nspans = [\"x\", \"y\"]\nmonitors = [\"m1\", \"m2\"]\n",
        ways: &[way("x", None, &["m1", "m2"]), way("y", None, &["m1", "m2"])],
    },
    Device {
        name: "bond",
        ports: &["x", "y"],
        monitors: &[],
        makes: Some("ngeth0"),
        watches: false,
        text: "name = \"t\"\nkind = \"bond\"\nspans = [\"x\", \"y\"]\ninterface = \"ngeth0\"\n",
        ways: &[way("x", None, &["ngeth0"]), way("y", None, &["ngeth0"])],
    },
    Device {
        name: "watch",
        ports: &["w"],
        monitors: &["m1"],
        makes: None,
        watches: true,
        text: "name = \"t\"\nkind = \"watch\"\ninterfaces = [\"w\"]\ndirection = \"both\"\nmonitors = [\"m1\"]\n",
        ways: &[
            Way { port: "w", from: From::Far, side: "w:rx", passes_to: None, copies_to: &["m1"] },
            Way { port: "w", from: From::Host, side: "w:tx", passes_to: Some("w"), copies_to: &["m1"] },
        ],
    },
];

/// The device that most tests of one thing use: both directions of a link into one monitor.
pub const PORT_AGGREGATOR: Device = Device {
    name: "port-aggregator",
    ports: &["a", "b"],
    monitors: &["m1"],
    makes: None,
    watches: false,
    text: "name = \"t\"\nkind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"m1\"]\n",
    ways: &[way("a", Some("b"), &["m1"]), way("b", Some("a"), &["m1"])],
};
