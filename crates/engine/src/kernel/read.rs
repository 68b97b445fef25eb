//! Reads the machine for `status`: counters of programs, devices and queues, and what is missing.

use std::collections::BTreeMap;

use bpf::asm::MapRef;
use bpf::layout::{Counter, Layout, View, Wiring};
use plan::ledger::Status;
use plan::plan::{Direction, Plan, PortId, Role, Sink};
use sys::{Hook, Link, Sys};

use super::choose::{self, Engine};
use super::found::{Found, Place, State};
use crate::ledger::{GONE, PortReading, Readings, ledger};
use crate::machine::counts;
use crate::machine::pairs::egress_name;
use crate::machine::report::Error;
use crate::machine::saved::Phase;

/// Reads the ledger.
///
/// # Errors
/// [`Error::NothingUp`], [`Error::Foreign`], or a system call that failed.
pub fn status(sys: &mut impl Sys, found: &Found) -> Result<Status, Error> {
    let Some(state) = &found.state else {
        return Err(match &found.unreadable {
            Some(why) => Error::Foreign(why.clone()),
            None => Error::NothingUp,
        });
    };
    let plan =
        plan::text::parse(&state.saved.plan).map_err(|problems| Error::Foreign(problems.to_string()))?;
    let engines: Vec<Engine> = state
        .saved
        .choices
        .iter()
        .map(|choice| Engine::parse(&choice.attach))
        .collect::<Option<_>>()
        .filter(|engines: &Vec<Engine>| engines.len() == plan.ports.len())
        .ok_or_else(|| Error::Foreign("its choices do not fit its plan".into()))?;
    let wiring = choose::wiring(&plan, &engines);
    let layout = Layout::of(&plan, &wiring).map_err(|error| Error::Foreign(error.to_string()))?;
    // Devices before programs: a frame is counted by the program first.
    let mut ports = Vec::new();
    for (id, _) in plan.ports() {
        ports.push(read_port(sys, &plan, found, state, &wiring, id)?);
    }
    let values = counters(sys, state, &layout)?;
    let readings = Readings {
        counter: &|counter| values.get(&counter).copied().unwrap_or(0),
        ports,
        before_egress: false,
    };
    let mut status = ledger(&plan, &wiring, &readings);
    match state.saved.phase {
        Phase::Live => {}
        Phase::Applying => {
            status.notes.push("`up` did not finish: run `tapwright up` or `tapwright down`".into())
        }
        Phase::Removing => status.notes.push("`down` did not finish: run `tapwright down` again".into()),
    }
    status.notes.extend(missing(&plan, found, state));
    Ok(status)
}

/// Sums each counter over all CPUs.
fn counters(sys: &mut impl Sys, state: &State, layout: &Layout) -> Result<BTreeMap<Counter, u64>, Error> {
    let maps = [
        (MapRef::Counters, state.counters, layout.blocks()),
        (MapRef::Tallies, state.tallies, layout.tallies()),
    ];
    let mut blocks: BTreeMap<(MapRef, u32), Vec<u64>> = BTreeMap::new();
    for (name, map, entries) in maps {
        // Where no program holds the map any more nothing is counted.
        let Some(map) = map else { continue };
        for block in 0..entries {
            let values = sys.map_lookup_percpu(map, &block.to_ne_bytes())?.unwrap_or_default();
            blocks.insert((name, block), sums(&values));
        }
    }
    let value = |(counter, place): (Counter, bpf::layout::Place)| {
        let slots = blocks.get(&(place.map, place.block));
        (counter, slots.and_then(|slots| slots.get(usize::from(place.slot))).copied().unwrap_or(0))
    };
    Ok(layout.counters().map(value).collect())
}

/// The slots of 64 bits of a value, summed over all CPUs.
fn sums(values: &[Vec<u8>]) -> Vec<u64> {
    let slots = values.first().map_or(0, |value| value.len() / 8);
    let of_slot = |slot: usize| {
        let octets = values.iter().filter_map(|value| value[slot * 8..].first_chunk());
        octets.map(|octets| u64::from_ne_bytes(*octets)).sum()
    };
    (0..slots).map(of_slot).collect()
}

fn read_port(
    sys: &mut impl Sys,
    plan: &Plan,
    found: &Found,
    state: &State,
    wiring: &Wiring,
    id: PortId,
) -> Result<PortReading, Error> {
    let choice = &state.saved.choices[usize::from(id.0)];
    let (mut reading, link) = counts::port(plan, &found.links, &state.saved.interfaces, choice, id);
    let Some(link) = link else { return Ok(reading) };
    if reading.trouble.is_none() {
        reading.trouble = xdp_trouble(sys, plan, found, wiring, link, id)?;
    }
    counts::queues(sys, plan, &state.saved.interfaces, id, link, &mut reading)?;
    Ok(reading)
}

/// Why frames that XDP hands to this interface, which is up, may not arrive.
fn xdp_trouble(
    sys: &mut impl Sys,
    plan: &Plan,
    found: &Found,
    wiring: &Wiring,
    link: &Link,
    id: PortId,
) -> Result<Option<&'static str>, Error> {
    let reaches = |hook: &plan::plan::Hook| {
        let copies = hook.copies.iter().any(|copy| *plan.sink(copy.sink) == Sink::Port(id));
        let passes = matches!(&hook.pass, plan::plan::Pass::To(ports) if ports.contains(&id));
        wiring.view(hook) == View::Xdp && (copies || passes)
    };
    if plan.hooks.iter().any(reaches) {
        match sys.xdp_features(link.index) {
            Ok(Some(features)) if !features.redirect_target() => return Ok(Some("no-napi")),
            Err(error) if error.errno == 19 => return Ok(Some(GONE)),
            other => drop(other?),
        }
    }
    // XDP sends nothing that is larger than the target's MTU, and says nothing of it.
    let larger = |hook: &&plan::plan::Hook| {
        let name = &plan.port(hook.at.port).interface;
        found.links.iter().any(|from| from.name == *name && from.mtu > link.mtu)
    };
    if plan.hooks.iter().filter(|hook| reaches(hook)).any(|hook| larger(&hook)) {
        return Ok(Some("mtu"));
    }
    Ok(None)
}

/// What the plan needs and the machine does not have any more.
pub fn missing(plan: &Plan, found: &Found, state: &State) -> Vec<String> {
    let mut missing = counts::missing(&found.links, &state.saved);
    if state.saved.phase == Phase::Live {
        missing.extend(missing_guards(plan, found));
    }
    for hook in &plan.hooks {
        let port = plan.port(hook.at.port);
        let wanted = |place: &Place| match (place, hook.at.direction) {
            (Place::Xdp(_), Direction::In) => true,
            (Place::Tcx(side) | Place::Clsact { hook: side, .. }, Direction::In) => *side == Hook::Ingress,
            (Place::Tcx(side) | Place::Clsact { hook: side, .. }, Direction::Out) => *side == Hook::Egress,
            (Place::Xdp(_), Direction::Out) => false,
        };
        let name = match hook.at.direction {
            Direction::In => "tw_in",
            Direction::Out => "tw_out",
        };
        let there = found
            .attachments
            .iter()
            .any(|it| it.interface == port.interface && wanted(&it.place) && it.name.starts_with(name));
        if !there && state.saved.phase == Phase::Live {
            missing.push(format!(
                "the program of {} is not attached to {}",
                plan.source_name(hook),
                port.interface
            ));
        }
    }
    missing
}

/// Programs that keep a port silent and are not there any more, on interfaces that are.
fn missing_guards(plan: &Plan, found: &Found) -> Vec<String> {
    let mut missing = Vec::new();
    for (id, port) in plan.ports().filter(|(_, port)| port.role != Role::Watched) {
        let interface = egress_name(plan, id);
        if !found.links.iter().any(|link| link.name == interface) {
            continue;
        }
        let sends_only = matches!(port.role, Role::Monitor | Role::Virtual);
        let names = [("tw_guard", true), ("tw_sent", sends_only)];
        for (name, _) in names.iter().filter(|(_, wanted)| *wanted) {
            let name = format!("{name}_{}", id.0);
            if !found.attachments.iter().any(|it| it.interface == interface && it.name == name) {
                missing.push(format!("the program {name} is not attached to {interface} any more"));
            }
        }
    }
    missing
}
