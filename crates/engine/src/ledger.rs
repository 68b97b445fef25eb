//! The sums: from counters of programs, devices and queues to the ledger that users see.
//!
//! Pure: what was read from the machine is an argument. Differences that can be negative for a moment,
//! because frames are on their way, are cut at 0 for the parts and show in what the sums leave over.

use std::collections::{BTreeMap, BTreeSet};

use bpf::layout::{CopyError, Counter, View, Wiring};
use plan::ledger::{BlockStatus, CopyStatus, Dropped, MonitorStatus, PortStatus, Status};
use plan::plan::{Hook, HookId, Pass, Plan, PortId, Role, Sink, SinkId};
use plan::text::role_name;
use rules::form::CopyIndex;

/// What was read from the machine.
pub struct Readings<'a> {
    /// Sums over all CPUs of each counter of the programs; 0 for what nothing counts.
    pub counter: &'a dyn Fn(Counter) -> u64,
    /// For each port of the plan, in order.
    pub ports: Vec<PortReading>,
    /// Whether an interface that is down refuses copies before its egress sees them, and not behind it.
    pub before_egress: bool,
}

/// What is said of a port whose interface is not there any more.
pub const GONE: &str = "gone";

/// What was read about one port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortReading {
    /// How it is attached.
    pub attach: String,
    /// Why.
    pub why: String,
    /// Frames that the device sent since counting began.
    pub sent: u64,
    /// Frames that the device could not send.
    pub tx_lost: u64,
    /// Frames that the device missed on receipt, by its own reason.
    pub rx_lost: BTreeMap<String, u64>,
    /// By side of the monitor port in order: frames its buffer dropped.
    pub buffer_drops: Vec<u64>,
    /// Frames that wait in its buffers.
    pub queued: u64,
    /// Why frames handed to it may not have arrived (`gone`, `down`, ...).
    pub trouble: Option<&'static str>,
}

/// Does the sums.
pub fn ledger(plan: &Plan, wiring: &Wiring, readings: &Readings<'_>) -> Status {
    let book = Book { plan, wiring, readings, arrived: arrived(plan, wiring, readings) };
    let mut status = Status { backend: "kernel".into(), ..Status::default() };
    for (id, port) in plan.ports() {
        if matches!(port.role, Role::Network | Role::Span | Role::Watched) {
            status.ports.insert(port.name.clone(), book.port(id));
        }
    }
    for (id, hook) in plan.hooks() {
        status.copies.extend(book.copies(id, hook));
        status.blocked.extend(book.blocked(id, hook));
    }
    for (id, _) in plan.sinks() {
        status.monitors.insert(plan.sink_name(id).to_owned(), book.monitor(id));
    }
    for (_, port) in plan.ports().filter(|(id, port)| port.role != Role::Span && book.gone(*id)) {
        status.notes.push(format!(
            "{}: {} took its counts with it: what was seen leaving counts as sent",
            port.name, port.interface
        ));
    }
    status.notes.extend(book.of_hubs());
    let unmeasured: u64 = plan.hooks().map(|(id, _)| (readings.counter)(Counter::Unmeasured(id))).sum();
    if unmeasured > 0 {
        status.notes.push(format!(
            "{unmeasured} super-frames with headers that could not be measured: their bytes are counted without \
             the repeated headers"
        ));
    }
    status.balance();
    status
}

struct Book<'a> {
    plan: &'a Plan,
    wiring: &'a Wiring,
    readings: &'a Readings<'a>,
    arrived: Vec<Vec<u64>>,
}

/// For each hook and copy in the XDP view how many frames arrived at the monitor. Arrivals are counted by hook and
/// monitor there: where copies of several rules go to one monitor, those of the rule named first count first, and
/// what did not arrive is missed by the last.
fn arrived(plan: &Plan, wiring: &Wiring, readings: &Readings<'_>) -> Vec<Vec<u64>> {
    let of_hook = |(id, hook): (HookId, &Hook)| {
        if wiring.view(hook) != View::Xdp {
            return Vec::new();
        }
        let mut left: BTreeMap<PortId, u64> = BTreeMap::new();
        let arrive = |(index, copy): (u16, &plan::plan::Copy)| {
            let (index, Sink::Port(port)) = (CopyIndex(index), plan.sink(copy.sink));
            if wiring.by_hop(id, index) {
                return 0;
            }
            let left = left.entry(*port).or_insert_with(|| (readings.counter)(Counter::Seen(*port, id)));
            let arrived = (readings.counter)(Counter::Matched(id, index)).min(*left);
            *left -= arrived;
            arrived
        };
        (0u16..).zip(&hook.copies).map(arrive).collect()
    };
    plan.hooks().map(of_hook).collect()
}

impl Book<'_> {
    fn count(&self, counter: Counter) -> u64 {
        (self.readings.counter)(counter)
    }

    fn reading(&self, port: PortId) -> &PortReading {
        &self.readings.ports[usize::from(port.0)]
    }

    fn port(&self, id: PortId) -> PortStatus {
        let (port, reading) = (self.plan.port(id), self.reading(id));
        let mut status = PortStatus {
            interface: port.interface.clone(),
            role: role_name(port.role).into(),
            attach: reading.attach.clone(),
            why: reading.why.clone(),
            lost_before: reading.rx_lost.values().sum(),
            lost_before_by: reading
                .rx_lost
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(k, n)| (k.clone(), *n))
                .collect(),
            guarded: self.count(Counter::Guarded(id)),
            ..PortStatus::default()
        };
        for (hook_id, hook) in self.plan.hooks().filter(|(_, hook)| hook.at.port == id) {
            self.add_hook(hook_id, hook, &mut status);
        }
        status
    }

    fn add_hook(&self, id: HookId, hook: &Hook, status: &mut PortStatus) {
        status.entered.frames += self.count(Counter::In(id));
        status.entered.bytes += self.count(Counter::InBytes(id));
        for rule in self.blocked(id, hook) {
            status.add_blocked(&rule.rule, rule.blocked);
        }
        match &hook.pass {
            Pass::Leave => status.left += self.count(Counter::Left(id)),
            Pass::To(ports) if ports.is_empty() => status.consumed += self.count(Counter::Consumed(id)),
            Pass::To(ports) => self.add_passes(id, ports, status),
        }
    }

    /// What was passed. Where a frame goes to several ports, it is passed where all of them took it; which of the
    /// frames one of them lost another lost too is not known, so that the port which lost the most speaks for all.
    /// [`Self::of_hubs`] tells the rest.
    fn add_passes(&self, id: HookId, ports: &BTreeSet<PortId>, status: &mut PortStatus) {
        let losses = ports.iter().map(|target| self.lost_on_the_way(id, *target));
        let worst = losses.max_by_key(|lost| lost.values().sum::<u64>()).unwrap_or_default();
        let handed = ports.iter().map(|target| self.count(Counter::Handed(id, *target))).max().unwrap_or(0);
        status.passed += handed.saturating_sub(worst.values().sum());
        for (reason, frames) in worst {
            *status.errors.entry(reason.to_owned()).or_default() += frames;
        }
    }

    /// For each port of a hub that lost frames, how many and why.
    fn of_hubs(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (id, hook) in self.plan.hooks() {
            let Pass::To(ports) = &hook.pass else { continue };
            for target in ports.iter().filter(|_| ports.len() > 1) {
                let (from, to) = (&self.plan.port(hook.at.port).name, &self.plan.port(*target).name);
                for (reason, frames) in self.lost_on_the_way(id, *target) {
                    notes.push(format!("{from}: not passed to {to}: {frames} ({reason})"));
                }
            }
        }
        notes
    }

    /// What each rule stopped, the rules of one name together, in plan order. Where the host goes on with frames no
    /// rule stops any.
    fn blocked(&self, id: HookId, hook: &Hook) -> Vec<BlockStatus> {
        if hook.pass == Pass::Leave {
            return Vec::new();
        }
        let source = self.plan.source_name(hook);
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let mut rules: Vec<BlockStatus> = Vec::new();
        for rule in hook.program.blocking() {
            let label = self.plan.rule(rule).label.as_str();
            let at = *known.entry(label).or_insert(rules.len());
            if at == rules.len() {
                rules.push(BlockStatus { rule: label.to_owned(), source: source.clone(), blocked: 0 });
            }
            rules[at].blocked += self.count(Counter::Blocked(id, rule));
        }
        rules
    }

    /// Frames of a hook that were handed over to a port and did not leave by it, by reason.
    fn lost_on_the_way(&self, id: HookId, target: PortId) -> BTreeMap<&'static str, u64> {
        let handed = self.count(Counter::Handed(id, target));
        let seen = self.count(Counter::Seen(target, id)).min(handed);
        let reading = self.reading(target);
        let lost = self.allotted(target, id, reading.tx_lost).min(seen);
        let unsent = self.allotted(target, id, self.unsent(target)).min(seen - lost);
        let mut errors = BTreeMap::new();
        for (reason, frames) in [
            (reading.trouble.unwrap_or("in-flight"), handed - seen),
            ("device", lost),
            (reading.trouble.unwrap_or("not-sent"), unsent),
        ] {
            if frames > 0 {
                *errors.entry(reason).or_default() += frames;
            }
        }
        errors
    }

    /// Of what a port lost the part of one hook. The device does not tell whose frames it lost: where several hooks
    /// pass to one port (a hub), those that come first in the plan bear it first.
    fn allotted(&self, port: PortId, of: HookId, lost: u64) -> u64 {
        let mut left = lost;
        for (id, hook) in self.plan.hooks() {
            if !matches!(&hook.pass, Pass::To(ports) if ports.contains(&port)) {
                continue;
            }
            let part = left.min(self.count(Counter::Seen(port, id)));
            if id == of {
                return part;
            }
            left -= part;
        }
        0
    }

    /// Whether the interface of a port is gone, and with it what it counted.
    fn gone(&self, port: PortId) -> bool {
        self.reading(port).trouble == Some(GONE)
    }

    /// Buffers that were seen leaving by a port and that its device neither sent nor lost: what it was given
    /// while it had no carrier. A device that cuts super-frames sends more than it was given; then none can
    /// be told.
    fn unsent(&self, port: PortId) -> u64 {
        if self.gone(port) {
            return 0;
        }
        let seen: u64 = self.plan.hooks().map(|(id, _)| self.count(Counter::Seen(port, id))).sum();
        let reading = self.reading(port);
        let merged = self.count(Counter::Merged(port));
        seen.saturating_sub(merged).saturating_sub(reading.sent + reading.tx_lost + reading.queued)
    }

    fn copies(&self, id: HookId, hook: &Hook) -> Vec<CopyStatus> {
        (0u16..)
            .zip(&hook.copies)
            .map(|(index, copy)| {
                let index = CopyIndex(index);
                let matched = self.count(Counter::Matched(id, index));
                let (copied, errors) = self.hand_over(id, hook, index, copy.sink, matched);
                CopyStatus {
                    rule: self.plan.rule(copy.rule).label.clone(),
                    source: self.plan.source_name(hook),
                    monitor: self.plan.sink_name(copy.sink).to_owned(),
                    matched,
                    copied,
                    errors,
                }
            })
            .collect()
    }

    /// How many of the matched frames the monitor got, and why the others did not arrive.
    fn hand_over(
        &self,
        id: HookId,
        hook: &Hook,
        index: CopyIndex,
        sink: SinkId,
        matched: u64,
    ) -> (u64, BTreeMap<String, u64>) {
        let mut errors = BTreeMap::new();
        let Sink::Port(port) = self.plan.sink(sink);
        if self.wiring.view(hook) == View::Xdp && !self.wiring.by_hop(id, index) {
            let copied = self.arrived[usize::from(id.0)][usize::from(index.0)];
            if matched > copied {
                errors
                    .insert(self.reading(*port).trouble.unwrap_or("in-flight").to_owned(), matched - copied);
            }
            return (copied, errors);
        }
        let copied = self.count(Counter::Copied(id, index));
        for (reason, name) in [(CopyError::Down, "down"), (CopyError::Gone, "gone")] {
            let failed = self.count(Counter::Failed(id, index, reason));
            if failed > 0 {
                errors.insert(name.to_owned(), failed);
            }
        }
        if self.wiring.by_hop(id, index) {
            let lost = matched.saturating_sub(copied + errors.values().sum::<u64>());
            if lost > 0 {
                errors.insert("hop".into(), lost);
            }
        }
        (copied, errors)
    }

    fn monitor(&self, sink: SinkId) -> MonitorStatus {
        let Sink::Port(id) = self.plan.sink(sink);
        let (port, reading) = (self.plan.port(*id), self.reading(*id));
        let mut status = MonitorStatus {
            interface: port.interface.clone(),
            sent: reading.sent,
            queued: reading.queued,
            sensor_sent: self.count(Counter::SensorSent(*id)),
            guarded: self.count(Counter::Guarded(*id)),
            dropped: Dropped { buffer: BTreeMap::new(), device: reading.tx_lost },
            ..MonitorStatus::default()
        };
        for (hook_id, hook) in self.plan.hooks() {
            let mut seen = false;
            for (index, copy) in (0u16..).zip(&hook.copies).filter(|(_, copy)| copy.sink == sink) {
                let index = CopyIndex(index);
                let matched = self.count(Counter::Matched(hook_id, index));
                status.copied += self.hand_over(hook_id, hook, index, copy.sink, matched).0;
                // Only the tc view counts these; what XDP cannot send never reaches the egress.
                if !self.readings.before_egress {
                    status.refused += self.count(Counter::Failed(hook_id, index, CopyError::Down));
                }
                seen = true;
            }
            if seen {
                status.reached += self.count(Counter::Seen(*id, hook_id));
            }
        }
        let sides = self.plan.sides(sink);
        let drops = sides.into_iter().zip(&reading.buffer_drops);
        status.dropped.buffer = drops.map(|(side, drops)| (side.name, *drops)).collect();
        if self.gone(*id) {
            status.sent = status.copied;
        }
        // A port that is down refuses frames, which are errors of their copies. Some kernels count them among the
        // device's drops, too.
        let buffered = status.queued + status.dropped.buffer.values().sum::<u64>();
        let twice = (status.sent + status.dropped.device + buffered).saturating_sub(status.copied);
        status.dropped.device -= twice.min(status.refused).min(status.dropped.device);
        status
    }
}

#[cfg(test)]
mod tests {
    use plan::plan::{Copy, Rule};
    use rules::form::{Handed, RuleId, RuleSet, Ruled, Ruling, Test};

    use super::*;

    /// A link whose rules copy to one monitor by two rules, and block by two others, one of which has two parts.
    fn steered() -> Plan {
        let text = "[ports]\na = \"a0\"\nb = \"b0\"\nids = \"m0\"\n[[device]]\nname = \"t\"\n\
                    kind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"ids\"]\n";
        let (mut plan, _) = plan::compile("t.toml", text).unwrap();
        let lines = [1, 2, 3, 4, 3];
        plan.rules = lines.map(|line| Rule { label: format!("pf.conf:{line}"), origin: None }).into();
        let ruling = |(rule, verdict)| Ruling {
            rule: RuleId(rule),
            when: Test::Always,
            tagged: None,
            chance: None,
            quick: false,
            verdict,
            tag: None,
        };
        let copy = |index| Ruled::Pass(Handed::Copy(CopyIndex(index)));
        let verdicts = [copy(0), copy(1), Ruled::Block, Ruled::Block, Ruled::Block];
        for hook in &mut plan.hooks {
            let sink = hook.copies[0].sink;
            hook.copies = [0, 1].map(|rule| Copy { rule: RuleId(rule), sink }).into();
            hook.program.steps.clear();
            let rulings = (0u32..).zip(verdicts).map(ruling).collect();
            hook.program.rule_sets = vec![RuleSet::new(rulings, Vec::new())];
        }
        plan
    }

    fn status(plan: &Plan, view: View, counts: &[(Counter, u64)]) -> Status {
        let counts: BTreeMap<Counter, u64> = counts.iter().copied().collect();
        let counter = |counter| counts.get(&counter).copied().unwrap_or(0);
        let ports = vec![PortReading::default(); plan.ports.len()];
        ledger(plan, &Wiring::all(plan, view), &Readings { counter: &counter, ports, before_egress: false })
    }

    /// Seven frames from a and three from b; c lost two of all of them, and a was down for one.
    #[test]
    fn a_frame_of_a_hub_is_passed_where_every_port_took_it() {
        let text = "[ports]\na = \"a0\"\nb = \"b0\"\nc = \"c0\"\n\
                    [[device]]\nname = \"h\"\nkind = \"hub\"\nports = [\"a\", \"b\", \"c\"]\n";
        let (plan, _) = plan::compile("t.toml", text).unwrap();
        let [a, b, c] = [0, 1, 2].map(PortId);
        let handed = |hook, port, frames| (Counter::Handed(HookId(hook), port), frames);
        let seen = |hook, port, frames| (Counter::Seen(port, HookId(hook)), frames);
        let counts = BTreeMap::from([
            (Counter::In(HookId(0)), 7),
            (Counter::In(HookId(1)), 3),
            handed(0, b, 7),
            seen(0, b, 7),
            handed(0, c, 7),
            seen(0, c, 7),
            handed(1, a, 3),
            seen(1, a, 2),
            handed(1, c, 3),
            seen(1, c, 3),
        ]);
        let counter = |counter| counts.get(&counter).copied().unwrap_or(0);
        let reading =
            |sent, tx_lost, trouble| PortReading { sent, tx_lost, trouble, ..PortReading::default() };
        let ports = vec![reading(2, 0, Some("down")), reading(7, 0, None), reading(8, 2, None)];
        let readings = Readings { counter: &counter, ports, before_egress: false };
        let status = ledger(&plan, &Wiring::all(&plan, View::Tc), &readings);
        assert_eq!((status.ports["a"].passed, status.ports["b"].passed), (5, 2), "{status}");
        assert_eq!(status.ports["a"].errors, BTreeMap::from([("device".to_owned(), 2)]));
        assert_eq!(status.ports["b"].errors, BTreeMap::from([("down".to_owned(), 1)]));
        let notes = ["a: not passed to c: 2 (device)", "b: not passed to a: 1 (down)"];
        assert_eq!(status.notes, notes);
        assert_eq!(status.unaccounted, 0, "{status}");
    }

    #[test]
    fn what_rules_stopped_is_told_by_line() {
        let plan = steered();
        let stopped = |rule, frames| (Counter::Blocked(HookId(0), RuleId(rule)), frames);
        let counts = [stopped(2, 3), stopped(4, 4), (Counter::In(HookId(0)), 7)];
        let status = status(&plan, View::Tc, &counts);
        assert_eq!(status.ports["a"].blocked, 7);
        assert_eq!(status.ports["a"].blocked_by, BTreeMap::from([("pf.conf:3".to_owned(), 7)]));
        let rows: Vec<_> =
            status.blocked.iter().map(|row| (row.rule.as_str(), row.source.as_str(), row.blocked)).collect();
        let expected =
            [("pf.conf:3", "a", 7), ("pf.conf:4", "a", 0), ("pf.conf:3", "b", 0), ("pf.conf:4", "b", 0)];
        assert_eq!(rows, expected);
        assert_eq!(status.unaccounted, 0, "{status}");
    }

    #[test]
    fn what_arrived_at_a_monitor_by_several_rules_counts_once() {
        let plan = steered();
        let ids = plan.ports().find(|(_, port)| port.name == "ids").unwrap().0;
        let matched = |copy, frames| (Counter::Matched(HookId(0), CopyIndex(copy)), frames);
        let counts = [matched(0, 10), matched(1, 5), (Counter::Seen(ids, HookId(0)), 12)];
        let status = status(&plan, View::Xdp, &counts);
        let copied: Vec<_> = status.copies[..2].iter().map(|copy| (copy.matched, copy.copied)).collect();
        assert_eq!(copied, [(10, 10), (5, 2)]);
        assert_eq!(status.copies[1].errors["in-flight"], 3);
        assert_eq!((status.monitors["ids"].copied, status.monitors["ids"].reached), (12, 12));
    }
}
