//! Where frames cross a plan, by the names that people write: `a`, `eth0:rx`, `eth0:tx`.
//!
//! The way back of [`Plan::source_name`]. Never guesses: what could mean two places is refused.

use super::{Direction, Plan, Point, PortId, Role};
use crate::problem::{Refusal, listed, nearest, shown};

impl Plan {
    /// The port of a name.
    ///
    /// # Errors
    /// That the plan has none, with the nearest that it has.
    pub fn port_named(&self, name: &str) -> Result<PortId, Refusal> {
        if let Some((id, _)) = self.ports().find(|(_, port)| port.name == name) {
            return Ok(id);
        }
        let names: Vec<&str> = self.ports.iter().map(|port| port.name.as_str()).collect();
        let help = if let Some(port) = self.ports.iter().find(|port| port.interface == name) {
            format!("{} is the interface of port {}", shown(name), shown(&port.name))
        } else if let Some(near) = nearest(name, names.iter().copied()) {
            format!("did you mean {}?", shown(near))
        } else {
            format!("the plan's ports are {}", listed(&names))
        };
        Err(Refusal::new(format!("{} is no port", shown(name)), help))
    }

    /// The place of a source's name: a port, with `:rx` or `:tx` where it is a watched interface. Whether frames
    /// are judged there is another question ([`Plan::hook_at`]).
    ///
    /// # Errors
    /// That the plan has no such port, or that a way is missing or too much.
    pub fn point(&self, source: &str) -> Result<Point, Refusal> {
        let (name, way) = source.split_once(':').map_or((source, None), |(name, way)| (name, Some(way)));
        let port = self.port_named(name)?;
        let shown_name = shown(name);
        let direction = match (self.port(port).role, way) {
            (Role::Watched, Some("rx")) => Direction::In,
            (Role::Watched, Some("tx")) => Direction::Out,
            (Role::Watched, _) => {
                let what = format!("{shown_name} is a watched interface: which way did its frames go?");
                return Err(Refusal::new(what, format!("write {name}:rx or {name}:tx")));
            }
            (_, None) => Direction::In,
            (_, Some(_)) => {
                let what = format!("{} names a way, and {shown_name} is no watched interface", shown(source));
                return Err(Refusal::new(what, format!("write {name}: frames enter there")));
            }
        };
        Ok(Point { port, direction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let config = "[ports]\nids = \"eth3\"\nsf = \"eth1\"\nwan = \"eth2\"\n[[device]]\nname = \"w\"\n\
                      kind = \"watch\"\ninterfaces = [\"wan\"]\ndirection = \"both\"\nmonitors = [\"ids\"]\n\
                      [[device]]\nname = \"s\"\nkind = \"link-aggregator\"\nspans = [\"sf\"]\nmonitors = [\"ids\"]\n";
        crate::compile("test.toml", config).unwrap_or_else(|problems| panic!("{problems}")).0
    }

    #[test]
    fn a_name_leads_back_to_the_hook_that_has_it() {
        let plan = plan();
        assert_eq!(plan.hooks.len(), 3);
        for hook in &plan.hooks {
            assert_eq!(plan.point(&plan.source_name(hook)), Ok(hook.at));
        }
    }

    #[test]
    fn names_that_lead_nowhere_are_refused_with_a_way_out() {
        let plan = plan();
        for (name, said) in [
            ("idz", "`idz` is no port\nhelp: did you mean `ids`?"),
            ("eth3", "`eth3` is no port\nhelp: `eth3` is the interface of port `ids`"),
            ("perimeter", "`perimeter` is no port\nhelp: the plan's ports are ids, sf and wan"),
            (
                "wan",
                "`wan` is a watched interface: which way did its frames go?\nhelp: write wan:rx or wan:tx",
            ),
            (
                "wan:in",
                "`wan` is a watched interface: which way did its frames go?\nhelp: write wan:rx or wan:tx",
            ),
            (
                "sf:rx",
                "`sf:rx` names a way, and `sf` is no watched interface\nhelp: write sf: frames enter there",
            ),
        ] {
            assert_eq!(plan.point(name).map_err(|refusal| refusal.to_string()), Err(said.to_owned()));
        }
    }
}
