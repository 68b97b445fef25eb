//! Reads the machine for `status`: what the actions of our filters counted, devices and queues, and what is
//! missing.
//!
//! An action counts wire frames, also of those that come in one buffer. Its bytes are those of the buffer without
//! the Ethernet header at ingress, and without the tag beside it on both sides; at an egress the kernel adds the
//! headers that a super-frame will have more when it is cut.

use std::collections::BTreeMap;

use bpf::layout::{CopyError, Counter, View, Wiring};
use plan::ledger::Status;
use plan::plan::{Direction, Hook, HookId, Pass, Plan, PortId, Sink};
use rules::form::CopyIndex;
use sys::{ActStats, Sys};

use super::design::{self, Meaning, Part, Planned};
use super::found::{Found, State};
use crate::ledger::{GONE, PortReading, Readings, ledger};
use crate::machine::counts;
use crate::machine::report::Error;
use crate::machine::saved::Phase;

/// Octets of an Ethernet header, which ingress does not count.
const ETHERNET: u64 = 14;
/// Octets of a tag beside the data.
const TAG: u64 = 4;

/// Reads the ledger.
///
/// # Errors
/// [`Error::NothingUp`], [`Error::Foreign`], or a system call that failed.
pub fn status(sys: &mut impl Sys, found: &Found) -> Result<Status, Error> {
    let Some(state) = &found.state else {
        return Err(match &found.unreadable {
            Some(why) => Error::Foreign(why.clone()),
            None => Error::Foreign("its text is missing".into()),
        });
    };
    let plan =
        plan::text::parse(&state.saved.plan).map_err(|problems| Error::Foreign(problems.to_string()))?;
    let lowered = bpf::classic::lower(&plan)
        .map_err(|_| Error::Foreign("its plan cannot be made of classic filters".into()))?;
    let filters = design::design(&plan, &lowered);
    if state.saved.choices.len() != plan.ports.len() {
        return Err(Error::Foreign("its choices do not fit its plan".into()));
    }
    let mut ports = Vec::new();
    for ((id, _), choice) in plan.ports().zip(&state.saved.choices) {
        let (mut reading, link) = counts::port(&plan, &found.links, &state.saved.interfaces, choice, id);
        if let Some(link) = link {
            counts::queues(sys, &plan, &state.saved.interfaces, id, link, &mut reading)?;
        }
        ports.push(reading);
    }
    let values = Counts { plan: &plan, stats: stats(&filters, found), ports: &ports }.counters();
    let counter = |counter| values.get(&counter).copied().unwrap_or(0);
    let readings = Readings { counter: &counter, ports, before_egress: true };
    let mut status = ledger(&plan, &Wiring::all(&plan, View::Tc), &readings);
    match state.saved.phase {
        Phase::Live => status.notes.extend(missing(sys, &plan, &filters, found, state)?),
        Phase::Applying => {
            status.notes.push("`up` did not finish: run `tapwright up` or `tapwright down`".into())
        }
        Phase::Removing => status.notes.push("`down` did not finish: run `tapwright down` again".into()),
    }
    Ok(status)
}

/// What was counted, by meaning.
fn stats(filters: &[Planned], found: &Found) -> BTreeMap<Meaning, ActStats> {
    let mut stats: BTreeMap<Meaning, ActStats> = BTreeMap::new();
    for planned in filters {
        let here = found.attachments.iter().find(|it| {
            it.interface == planned.interface && it.parent == planned.parent && planned.is_at(&it.filter)
        });
        let Some(here) = here else { continue };
        for (meaning, act) in planned.meanings().zip(&here.filter.acts) {
            let sum = stats.entry(meaning).or_default();
            sum.bytes += act.stats.bytes;
            sum.packets += act.stats.packets;
            sum.overlimits += act.stats.overlimits;
        }
    }
    stats
}

struct Counts<'a> {
    plan: &'a Plan,
    stats: BTreeMap<Meaning, ActStats>,
    ports: &'a [PortReading],
}

impl Counts<'_> {
    fn of(&self, meaning: Meaning) -> ActStats {
        self.stats.get(&meaning).copied().unwrap_or_default()
    }

    /// The counters that the ledger is made of.
    fn counters(&self) -> BTreeMap<Counter, u64> {
        let mut values = BTreeMap::new();
        for (id, hook) in self.plan.hooks() {
            self.of_hook(id, hook, &mut values);
        }
        for (meaning, stats) in &self.stats {
            match *meaning {
                Meaning::Seen(port, hook) => {
                    *values.entry(Counter::Seen(port, hook)).or_default() += stats.packets;
                    // Whether a device cuts what it sends is not known: nothing is said of what it did not send.
                    *values.entry(Counter::Merged(port)).or_default() += stats.packets;
                }
                Meaning::Guarded(port) => *values.entry(Counter::Guarded(port)).or_default() += stats.packets,
                Meaning::SensorSent(port) => {
                    *values.entry(Counter::SensorSent(port)).or_default() += stats.packets;
                }
                _ => {}
            }
        }
        for (_, Sink::Port(port)) in self.plan.sinks() {
            self.of_copies(*port, &mut values);
        }
        values
    }

    /// What entered at a hook, and what became of it.
    fn of_hook(&self, id: HookId, hook: &Hook, values: &mut BTreeMap<Counter, u64>) {
        let mut entered = ActStats::default();
        let mut enter = |stats: ActStats| {
            entered.packets += stats.packets;
            entered.bytes += self.bytes(id, stats);
        };
        for (meaning, stats) in &self.stats {
            let counter = match *meaning {
                Meaning::Blocked(hook, rule) if hook == id => Counter::Blocked(hook, rule),
                Meaning::Consumed(hook) if hook == id => Counter::Consumed(hook),
                Meaning::Left(hook) if hook == id => Counter::Left(hook),
                _ => continue,
            };
            enter(*stats);
            values.insert(counter, stats.packets);
        }
        if let Pass::To(ports) = &hook.pass {
            for port in ports {
                values.insert(Counter::Handed(id, *port), self.of(Meaning::Handed(id, *port)).packets);
            }
            // Every port is handed every frame: one says how many there were.
            if let Some(port) = ports.last() {
                enter(self.of(Meaning::Handed(id, *port)));
            }
        }
        let tags = TAG * self.of(Meaning::Tagged(id)).packets;
        values.insert(Counter::In(id), entered.packets);
        values.insert(Counter::InBytes(id), entered.bytes + tags + self.repeated(id, hook, entered.packets));
    }

    /// The bytes of an action of a hook, with the Ethernet headers.
    fn bytes(&self, id: HookId, stats: ActStats) -> u64 {
        match self.plan.hook(id).at.direction {
            Direction::In => stats.bytes + ETHERNET * stats.packets,
            Direction::Out => stats.bytes,
        }
    }

    /// Octets of headers that super-frames stand for more than they hold, which ingress does not count: where the
    /// egress of another port saw all frames of a hook, it knows.
    fn repeated(&self, id: HookId, hook: &Hook, frames: u64) -> u64 {
        if hook.at.direction == Direction::Out {
            return 0;
        }
        let targets = self.plan.ports().filter_map(|(port, _)| {
            let (mut own, mut expected) = (Vec::new(), ActStats::default());
            for (other, meaning) in self.handed_to(hook.at.port, port) {
                let stats = self.of(meaning);
                expected.packets += stats.packets;
                expected.bytes += self.bytes(other, stats);
                own.extend((other == id && stats.packets > 0).then_some(stats.packets));
            }
            let seen = self.seen_from(hook.at.port, port);
            // Of some frames, or of frames handed over twice, it cannot be told whose headers are missing.
            let whole = own == [frames] && seen.packets == expected.packets;
            whole.then(|| seen.bytes.saturating_sub(expected.bytes))
        });
        targets.max().unwrap_or(0)
    }

    /// Everything that hooks of one port hand to another.
    fn handed_to(&self, from: PortId, to: PortId) -> impl Iterator<Item = (HookId, Meaning)> + '_ {
        let hooks = self.plan.hooks().filter(move |(_, hook)| hook.at.port == from);
        hooks.flat_map(move |(id, hook)| {
            let copies = (0u16..).zip(&hook.copies);
            let copies = copies.filter(move |(_, copy)| *self.plan.sink(copy.sink) == Sink::Port(to));
            let copies = copies.map(move |(index, _)| (id, Meaning::Copied(id, CopyIndex(index))));
            let passes = matches!(&hook.pass, Pass::To(ports) if ports.contains(&to));
            copies.chain(passes.then_some((id, Meaning::Handed(id, to))))
        })
    }

    /// What the egress of a port saw of frames that came by another.
    fn seen_from(&self, from: PortId, to: PortId) -> ActStats {
        let from = |hook: HookId| self.plan.hook(hook).at.port == from;
        let seen = self.stats.iter().find(|(meaning, _)| match meaning {
            Meaning::Seen(port, hook) => *port == to && from(*hook),
            _ => false,
        });
        seen.map(|(_, stats)| *stats).unwrap_or_default()
    }

    /// What copies to a port were asked for and how many of them never came to its egress. `mirred` counts those that
    /// it could not send with those that were dropped behind it, so that its count is the most that one copy can
    /// have lost.
    fn of_copies(&self, port: PortId, values: &mut BTreeMap<Counter, u64>) {
        let to_port = |id: HookId, index: u16| {
            let copy = Plan::copy(self.plan.hook(id), CopyIndex(index));
            *self.plan.sink(copy.sink) == Sink::Port(port)
        };
        let copies: Vec<(HookId, CopyIndex, ActStats)> = self
            .plan
            .hooks()
            .flat_map(|(id, hook)| (0u16..).zip(&hook.copies).map(move |(index, _)| (id, index)))
            .filter(|(id, index)| to_port(*id, *index))
            .map(|(id, index)| (id, CopyIndex(index), self.of(Meaning::Copied(id, CopyIndex(index)))))
            .collect();
        let asked: u64 = copies.iter().map(|(.., stats)| stats.packets).sum();
        let seen =
            self.stats.iter().filter(|(meaning, _)| matches!(meaning, Meaning::Seen(to, _) if *to == port));
        let mut short = asked.saturating_sub(seen.map(|(_, stats)| stats.packets).sum());
        let reason = match self.ports[usize::from(port.0)].trouble {
            Some(GONE) => CopyError::Gone,
            _ => CopyError::Down,
        };
        for (id, index, stats) in copies {
            let failed = short.min(stats.overlimits).min(stats.packets);
            short -= failed;
            values.insert(Counter::Matched(id, index), stats.packets);
            values.insert(Counter::Copied(id, index), stats.packets - failed);
            values.insert(Counter::Failed(id, index, reason), failed);
        }
    }
}

/// What the plan needs and the machine does not have any more.
///
/// # Errors
/// A system call that failed.
pub fn missing(
    sys: &mut impl Sys,
    plan: &Plan,
    filters: &[Planned],
    found: &Found,
    state: &State,
) -> sys::Result<Vec<String>> {
    let mut missing = counts::missing(&found.links, &state.saved);
    let index = |name: &str| found.index(name);
    for planned in filters {
        let Some(ifindex) = found.index(&planned.interface) else { continue };
        let is_there = if planned.part == Part::Side {
            let here = sys.classic_filters(ifindex, planned.parent)?;
            here.iter().any(|it| planned.is_at(it) && planned.is_as_planned(it, &index))
        } else {
            found.attachments.iter().any(|it| {
                it.ifindex == ifindex
                    && it.parent == planned.parent
                    && planned.is_at(&it.filter)
                    && planned.is_as_planned(&it.filter, &index)
            })
        };
        if !is_there {
            missing.push(format!("{} is not there any more, or another one", planned.describe(plan)));
        }
    }
    Ok(missing)
}
