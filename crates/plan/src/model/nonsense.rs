//! Why the model refuses something, and what to do instead.

use std::fmt;

use rules::form::WEIGHT_MAX;

use crate::plan::{Role, Rule};
use crate::problem::shown;

/// Something that makes no sense. Displayed: what is wrong; [`Nonsense::help`]: what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Nonsense {
    /// A name that cannot be.
    Name(&'static str),
    /// Two ports of one name.
    NameTaken(String),
    /// Two ports on one interface.
    InterfaceTaken {
        /// The interface.
        interface: String,
        /// The port that has it.
        by: String,
    },
    /// One too many.
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most there can be.
        most: usize,
    },
    /// A port that already is something else.
    Role {
        /// The port.
        port: String,
        /// What it is.
        has: Role,
        /// By which rule.
        by: Rule,
        /// What it was asked to be as well.
        wants: Role,
    },
    /// A capacity on a port that is no monitor port.
    RateOnOther {
        /// The port.
        port: String,
        /// What it is.
        has: Role,
        /// By which rule.
        by: Rule,
    },
    /// A link of a port to itself.
    LinkToItself,
    /// A port in two links, or in a link and a hub.
    TwoLinks {
        /// The port.
        port: String,
        /// The other end of the link that it has, or the other ports of its hub, as they are shown.
        has: String,
    },
    /// A weight that is none.
    Weight,
    /// A selector that no frame meets.
    SelectsNothing,
    /// The same frames of the same source to the same sink twice.
    SameCopy {
        /// The port they enter.
        from: String,
        /// The sink.
        to: String,
        /// The rule that has it already.
        by: Rule,
    },
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(flaw) => f.write_str(flaw),
            Self::NameTaken(name) => write!(f, "two ports are called {}", shown(name)),
            Self::InterfaceTaken { interface, by } => {
                write!(f, "interface {} already is port {}", shown(interface), shown(by))
            }
            Self::TooMany { what, most } => write!(f, "more than {most} {what}"),
            Self::Role { port, has, by, wants } => {
                write!(f, "port {} is {} in {}, and cannot be ", shown(port), a(*has), place(by))?;
                write!(f, "{} too", a(*wants))
            }
            Self::RateOnOther { port, has, by } => {
                write!(f, "port {} has a rate, but is {} in {}", shown(port), a(*has), place(by))
            }
            Self::LinkToItself => f.write_str("a link of a port to itself"),
            Self::TwoLinks { port, has } => {
                write!(f, "port {} already is linked with {has}", shown(port))
            }
            Self::Weight => write!(f, "a weight is 1 to {WEIGHT_MAX}"),
            Self::SelectsNothing => f.write_str("a list of no VLANs selects nothing"),
            Self::SameCopy { from, to, by } => {
                write!(f, "{} already has these frames of {}, from {}", shown(to), shown(from), place(by))
            }
        }
    }
}

impl Nonsense {
    /// What to do instead.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Name(_) => "choose another name",
            Self::NameTaken(_) => "give each port a name of its own",
            Self::InterfaceTaken { .. } => "use that port, which several devices may share",
            Self::TooMany { .. } => "divide the config between machines or network namespaces",
            Self::Role { wants: Role::Monitor, .. } => {
                "a monitor port only sends: choose a port that nothing is received from"
            }
            Self::Role { .. } => "a port has one role in all devices: choose another port here, or there",
            Self::RateOnOther { .. } => "only monitor ports have a rate and a buffer: remove them",
            Self::LinkToItself => "name two different ports",
            Self::TwoLinks { .. } => "a port is in one link or hub; several devices may share the same link",
            Self::Weight => "a monitor of weight 2 gets twice as much as one of weight 1",
            Self::SelectsNothing => "name a VLAN, or leave `vlans` out to copy every frame",
            Self::SameCopy { .. } => "a monitor gets each frame once: remove one of the two",
        }
    }
}

/// A role, as a phrase.
pub(crate) fn a(role: Role) -> &'static str {
    match role {
        Role::Network => "a network port",
        Role::Span => "a SPAN port",
        Role::Watched => "a watched interface",
        Role::Monitor => "a monitor port",
        Role::Virtual => "a virtual interface",
    }
}

fn place(rule: &Rule) -> String {
    match &rule.origin {
        // A rule that is called by its place, and not by the name of a device.
        Some(origin) if rule.label.ends_with(&format!(":{}", origin.line)) => shown(&rule.label),
        Some(origin) => format!("device {} (line {})", shown(&rule.label), origin.line),
        None => format!("rule {}", shown(&rule.label)),
    }
}
