//! A machine in memory as text, line by line, to be compared: before `up` and after `down` it must be the same.

use super::network::Network;
use super::programs::Programs;
use crate::object::XdpMode;
use std::fmt;

/// What anybody can see of a machine, except what only counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    lines: Vec<String>,
}

impl Snapshot {
    pub(super) fn of(network: &Network, programs: &Programs, expedited: bool) -> Self {
        let mut lines = vec![format!("expedited grace periods {expedited}")];
        for (link, card) in network.cards() {
            let name = &link.name;
            lines.push(format!(
                "link {} {name} flags {:x} mtu {} qdisc {} master {:?} promiscuity {} addr_gen_mode {:?}",
                link.index,
                link.flags,
                link.mtu,
                link.qdisc,
                link.master,
                link.promiscuity,
                link.addr_gen_mode,
            ));
            if let Some(xdp) = link.xdp {
                let mode = if xdp.mode == XdpMode::Native { "native" } else { "generic" };
                lines.push(format!("{name} xdp {mode} program {}", xdp.prog_id));
            }
            if let Some(pause) = card.pause {
                lines.push(format!("{name} pause autoneg {} rx {} tx {}", pause.autoneg, pause.rx, pause.tx));
            }
            for feature in &card.features {
                let (name_of, active, wanted) = (&feature.name, feature.active, feature.wanted);
                lines.push(format!("{name} feature {name_of} active {active} wanted {wanted}"));
            }
        }
        lines.extend(
            network.addresses.iter().map(|address| format!("address {address} flags {:x}", address.flags)),
        );
        lines.extend(network.routes.iter().map(|route| format!("route {route:?}")));
        lines.extend(network.sysctls.iter().map(|(path, value)| format!("sysctl {path} = {value}")));
        for qdisc in &network.queues {
            let options = String::from_utf8_lossy(&qdisc.options);
            lines.push(format!(
                "qdisc {:x} at {:x} of {}: {options}",
                qdisc.handle, qdisc.parent, qdisc.ifindex
            ));
        }
        for class in &network.classes {
            let options = String::from_utf8_lossy(&class.options);
            lines.push(format!(
                "class {:x} at {:x} of {}: {options}",
                class.handle, class.parent, class.ifindex
            ));
        }
        for ((ifindex, hook), filters) in &network.filters {
            lines.extend(filters.iter().map(|filter| format!("filter {hook} of {ifindex}: {filter:?}")));
        }
        for ((ifindex, parent), filters) in &network.classic {
            lines.extend(filters.iter().map(|filter| {
                let acts: Vec<_> = filter.acts.iter().map(|found| &found.act).collect();
                let (chain, priority, handle) = (filter.chain, filter.priority, filter.handle);
                let matcher = &filter.matcher;
                format!(
                    "classic {chain}/{priority}/{handle} at {parent:x} of {ifindex}: {matcher:?} {:x} {acts:?}",
                    filter.class
                )
            }));
        }
        for ((ifindex, hook), ids) in &network.tcx {
            lines.extend(ids.iter().map(|id| format!("tcx {hook} of {ifindex}: program {id}")));
        }
        lines.extend(programs.progs.values().map(|prog| format!("program {} {}", prog.id, prog.name)));
        for map in programs.maps.values() {
            lines.push(format!("map {} {} with {} entries", map.info.id, map.info.name, map.entries.len()));
        }
        Self { lines }
    }

    /// Lines that only one of the two has: `-` those of `self`, `+` those of `after`. Empty if they are equal.
    #[must_use]
    pub fn difference(&self, after: &Self) -> String {
        let only = |mark: char, one: &[String], other: &[String]| -> String {
            one.iter().filter(|line| !other.contains(line)).map(|line| format!("{mark} {line}\n")).collect()
        };
        only('-', &self.lines, &after.lines) + &only('+', &after.lines, &self.lines)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
