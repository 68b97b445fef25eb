//! Advice: what is allowed, and probably not what was meant. Each with its reason and a cure.
//!
//! One file a subject. Never refuses anything, and never guesses: of a line whose speed the config does not say, of a
//! sensor that it does not name, of traffic that nobody described, nothing is said.

mod capacity;
mod hub;
mod meet;
mod names;
mod rules;
mod sensor;
mod span;
mod speed;
mod twice;

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{Device, Port};
use crate::plan::{Origin, Plan, PortId};
use crate::simulation::Simulation;

pub(crate) use names::{near_port, unused_ports};
pub(crate) use rules::advise as advise_rules;

/// A piece of advice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advice {
    /// Where, as far as that is known.
    pub at: Option<Origin>,
    /// What was found.
    pub what: String,
    /// Why it matters; empty where `what` says it.
    pub why: String,
    /// What to do about it.
    pub cure: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        write!(f, "advice: {}", self.what)?;
        match self.why.is_empty() {
            true => writeln!(f)?,
            false => writeln!(f, ": {}", self.why)?,
        }
        writeln!(f, "help: {}", self.cure)
    }
}

/// Everything worth saying about a plan. `places` tells where each port stands in the user's text.
pub fn advise(plan: &Plan, places: &BTreeMap<String, Origin>) -> Vec<Advice> {
    let mut advice = Vec::new();
    capacity::small_buffers(plan, places, &mut advice);
    capacity::folded_sides(plan, places, &mut advice);
    capacity::xdp_into_queues(plan, places, &mut advice);
    for (_, hook) in plan.hooks() {
        twice::overlaps(plan, hook, &mut advice);
    }
    advice
}

/// What a config says that its plan does not.
pub(crate) struct Told<'a> {
    /// The plan that was made of it.
    pub(crate) plan: &'a Plan,
    /// Where each port stands.
    pub(crate) places: &'a BTreeMap<String, Origin>,
    /// What virtual time is told: speeds of lines, hubs, traffic.
    pub(crate) simulation: &'a Simulation,
    /// The entries of `[ports]`.
    pub(crate) ports: Vec<&'a Port>,
    /// Each device, and where it stands.
    pub(crate) devices: Vec<(&'a Device, Origin)>,
}

impl Told<'_> {
    /// Bits a second of the line at a port, where that is said.
    fn speed_bits(&self, port: PortId) -> Option<u64> {
        let line = self.simulation.lines.iter().find(|line| line.port == port)?;
        Some(line.speed_bits)
    }

    fn place(&self, port: PortId) -> Option<Origin> {
        self.places.get(&self.plan.port(port).name).cloned()
    }
}

/// Everything worth saying about what a config tells beyond its plan.
pub(crate) fn advise_told(told: &Told<'_>) -> Vec<Advice> {
    let mut advice = Vec::new();
    speed::monitors(told, &mut advice);
    speed::links(told, &mut advice);
    hub::hubs(told, &mut advice);
    span::damaged(told, &mut advice);
    span::oversubscribed(told, &mut advice);
    sensor::many_interfaces(told, &mut advice);
    sensor::halves_apart(told, &mut advice);
    advice
}

#[cfg(test)]
pub(super) mod tests {
    use crate::compile;

    pub(super) fn advice(config: &str) -> String {
        let (_, advice) = compile("f", config).unwrap_or_else(|problems| panic!("{problems}"));
        advice.iter().map(ToString::to_string).collect()
    }

    pub(super) const TAP: &str =
        "[[device]]\nname = 't'\nkind = 'port-aggregator'\nlink = ['a', 'b']\nmonitors = ['m']\n";

    #[test]
    fn nothing_is_said_of_a_sound_config() {
        assert_eq!(advice(&format!("[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\n{TAP}")), "");
    }

    #[test]
    fn unused_ports_small_buffers_and_xdp_into_queues() {
        let ports = "[ports]\na = { interface = 'e1', attach = 'xdp' }\nb = 'e2'\nc = 'e4'\n\
                     m = { interface = 'e3', rate = '1Gbit', buffer = '1kB' }\n";
        assert_eq!(
            advice(&format!("{ports}{TAP}")),
            "f:2:1: advice: `a` asks for XDP, and `m` has a rate: XDP sends past queues, so that these copies \
             take a slower way through tc; frames that pass do not\n\
             help: remove the rate if the monitor need not be modelled, or leave it so\n\
             f:4:1: advice: no device uses port `c`: it is left out of the plan, and its interface alone\n\
             help: name it in a device, or remove it\n\
             f:5:1: advice: the buffer of `m` is 1kB: a full frame has 1514 octets, so that none can wait, \
             and all that should are lost\n\
             help: leave `buffer` out for 1MiB a side\n"
        );
    }

    #[test]
    fn seventeen_sides_fold() {
        let spans: Vec<String> = (0..17).map(|n| format!("s{n}")).collect();
        let ports: String = spans.iter().map(|name| format!("{name} = 'e-{name}'\n")).collect();
        let config = |count: usize| {
            let list = spans[..count].join("','");
            format!("[ports]\n{ports}[[device]]\nname='b'\nkind='bond'\nspans=['{list}']\ninterface='ng0'\n")
        };
        assert!(advice(&config(17)).contains("`ng0` is fed from 17 sides"));
        assert!(!advice(&config(16)).contains("sides"));
    }

    #[test]
    fn a_watched_interface_that_is_almost_a_port() {
        let watch = |name: &str| {
            let device = "[[device]]\nname='w'\nkind='watch'\nmonitors=['m']\n";
            advice(&format!("[ports]\nm='e0'\nuplink='e1'\n{device}interfaces=['{name}', 'uplink']\n"))
        };
        assert!(watch("uplnk").contains("help: write \"uplink\" if that is meant"));
        assert_eq!(watch("uplink2"), "");
        assert_eq!(watch("br-lan"), "");
    }
}
