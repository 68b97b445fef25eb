//! From a verdict to outputs, and the counts of it: the one function by which every backend that carries frames
//! itself (`offline`, the user-space engine) makes copies.
//!
//! Counts by index while frames run, and puts names to the numbers at the end. Never holds a frame: the backend
//! says of each output what became of it.

use std::collections::BTreeMap;

use rules::form::{CopyIndex, RuleId};

use crate::eval::{Fate, Verdict};
use crate::ledger::{BlockStatus, CopyStatus, Count, Dropped, MonitorStatus, Status};
use crate::plan::{Hook, HookId, Pass, Plan, PortId, Sink, SinkId};
use crate::text::role_name;

/// Where a frame is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outlet {
    /// A copy, to a sink, on the buffer of a side (an index into [`Plan::sides`] of that sink).
    Copy {
        /// The sink.
        sink: SinkId,
        /// The port that feeds it.
        port: PortId,
        /// The side that the frame came from.
        side: u16,
    },
    /// The frame itself, passed to this port.
    Pass(PortId),
}

impl Outlet {
    /// The port that the frame leaves by.
    pub const fn port(self) -> PortId {
        match self {
            Self::Copy { port, .. } | Self::Pass(port) => port,
        }
    }
}

/// What became of a frame at an outlet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given {
    /// It left.
    Sent,
    /// It waits in the buffer of its side: [`Tally::left`] says when it left. Only copies wait.
    Queued,
    /// The buffer of its side was full. Only copies are dropped so.
    Dropped,
    /// The device behind the outlet lost it.
    Lost,
    /// It could not be handed over, for this reason (`gone`, `down`, `too-long`, ...).
    Failed(&'static str),
}

/// The counters of one plan, by index.
#[derive(Clone, Debug)]
pub struct Tally {
    /// By hook.
    pub hooks: Vec<HookTally>,
    /// By sink.
    pub sinks: Vec<SinkTally>,
}

/// What was counted at one hook.
#[derive(Clone, Debug, Default)]
pub struct HookTally {
    /// Frames that entered.
    pub entered: Count,
    /// Frames that every port passed to took over.
    pub passed: u64,
    /// By each rule that can block.
    pub blocked: BTreeMap<RuleId, u64>,
    /// Frames that end here.
    pub consumed: u64,
    /// Frames left to the host.
    pub left: u64,
    /// Frames that were to be passed and could not be, by reason.
    pub errors: BTreeMap<&'static str, u64>,
    /// Frames lost before they could be judged, by reason: `overrun` of a socket, `runt` at a SPAN port.
    pub lost_before: BTreeMap<&'static str, u64>,
    /// By copy.
    pub copies: Vec<CopyTally>,
}

/// What was counted of one copy of a hook.
#[derive(Clone, Debug, Default)]
pub struct CopyTally {
    /// Frames that its rule chose.
    pub matched: u64,
    /// Frames handed to the monitor.
    pub copied: u64,
    /// Frames that could not be handed over, by reason.
    pub errors: BTreeMap<&'static str, u64>,
}

/// What was counted at one sink.
#[derive(Clone, Debug, Default)]
pub struct SinkTally {
    /// Frames that copies handed to it.
    pub reached: u64,
    /// Frames that left.
    pub sent: u64,
    /// Frames that wait now.
    pub queued: u64,
    /// By side: frames that its buffer had no room for.
    pub dropped: Vec<u64>,
    /// Frames that its device lost.
    pub device: u64,
    /// Frames that the sensor sent; none of them went anywhere.
    pub sensor_sent: u64,
    /// By hook: the side that its frames come from.
    sides: Vec<u16>,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(plan: &Plan) -> Self {
        let hook = |hook: &Hook| HookTally {
            copies: vec![CopyTally::default(); hook.copies.len()],
            blocked: hook.program.blocking().into_iter().map(|rule| (rule, 0)).collect(),
            ..HookTally::default()
        };
        let sink = |(id, _): (SinkId, &Sink)| {
            let known = plan.sides(id);
            let mut sides = vec![0; plan.hooks.len()];
            for (side, index) in known.iter().zip(0u16..) {
                side.hooks.iter().for_each(|hook| sides[usize::from(hook.0)] = index);
            }
            SinkTally { dropped: vec![0; known.len()], sides, ..SinkTally::default() }
        };
        Self { hooks: plan.hooks.iter().map(hook).collect(), sinks: plan.sinks().map(sink).collect() }
    }

    /// Carries out a verdict on a frame of `wire_len` octets: hands it to every outlet, copies in program order before
    /// the frame itself is passed, and counts what `give` says became of each.
    ///
    /// A frame that several ports are passed to counts as passed where all of them took it.
    ///
    /// # Errors
    /// The first error of `give`, which ends the delivery: a backend that cannot go on.
    #[inline]
    pub fn deliver<E>(
        &mut self,
        plan: &Plan,
        verdict: &Verdict,
        wire_len: u32,
        mut give: impl FnMut(Outlet) -> Result<Given, E>,
    ) -> Result<(), E> {
        let hook = plan.hook(verdict.hook);
        let count = &mut self.hooks[usize::from(verdict.hook.0)];
        count.entered.frames += 1;
        count.entered.bytes += u64::from(wire_len);
        for index in &verdict.copies {
            let copy = Plan::copy(hook, *index);
            let Sink::Port(port) = *plan.sink(copy.sink);
            let sink = &mut self.sinks[usize::from(copy.sink.0)];
            let side = sink.sides[usize::from(verdict.hook.0)];
            let given = give(Outlet::Copy { sink: copy.sink, port, side })?;
            count.copies[usize::from(index.0)].count(given);
            sink.count(given, side);
        }
        match &verdict.fate {
            Fate::Left => count.left += 1,
            Fate::Consumed => count.consumed += 1,
            Fate::Blocked(rule) => *count.blocked.entry(*rule).or_default() += 1,
            Fate::Passed(ports) => {
                let mut failed = None;
                for port in ports {
                    match give(Outlet::Pass(*port))? {
                        Given::Sent => {}
                        Given::Queued | Given::Dropped | Given::Lost => failed = Some("device"),
                        Given::Failed(reason) => failed = Some(reason),
                    }
                }
                match failed {
                    None => count.passed += 1,
                    Some(reason) => *count.errors.entry(reason).or_default() += 1,
                }
            }
        }
        Ok(())
    }

    /// A frame that waited at a sink has left.
    #[inline]
    pub fn left(&mut self, sink: SinkId) {
        let sink = &mut self.sinks[usize::from(sink.0)];
        sink.queued = sink.queued.saturating_sub(1);
        sink.sent += 1;
    }

    /// A copy that [`Tally::deliver`] was told to be sent was not: this is what became of it. For backends that send many
    /// frames at once, and learn only then.
    pub fn copy_became(&mut self, plan: &Plan, hook: HookId, index: CopyIndex, given: Given) {
        let id = Plan::copy(plan.hook(hook), index).sink;
        let copy = &mut self.hooks[usize::from(hook.0)].copies[usize::from(index.0)];
        copy.matched -= 1;
        copy.copied -= 1;
        copy.count(given);
        let sink = &mut self.sinks[usize::from(id.0)];
        sink.reached -= 1;
        sink.sent -= 1;
        sink.count(given, sink.sides[usize::from(hook.0)]);
    }

    /// A frame that counts as passed was not, for this reason.
    pub fn pass_failed(&mut self, hook: HookId, reason: &'static str) {
        let count = &mut self.hooks[usize::from(hook.0)];
        count.passed -= 1;
        *count.errors.entry(reason).or_default() += 1;
    }

    /// Frames that were lost before they could be judged.
    pub fn lost_before(&mut self, hook: HookId, reason: &'static str, frames: u64) {
        if frames > 0 {
            *self.hooks[usize::from(hook.0)].lost_before.entry(reason).or_default() += frames;
        }
    }

    /// The ledger by name, with its sums worked out.
    pub fn ledger(&self, plan: &Plan, backend: &str) -> Status {
        let mut status = Status { backend: backend.into(), ..Status::default() };
        for ((_, hook), count) in plan.hooks().zip(&self.hooks) {
            let at = plan.port(hook.at.port);
            let port = status.ports.entry(at.name.clone()).or_default();
            (port.interface, port.role) = (at.interface.clone(), role_name(at.role).into());
            port.entered.frames += count.entered.frames;
            port.entered.bytes += count.entered.bytes;
            port.passed += count.passed;
            let blocked = blocked(plan, hook, count);
            blocked.iter().for_each(|rule| port.add_blocked(&rule.rule, rule.blocked));
            status.blocked.extend(blocked);
            port.consumed += count.consumed;
            port.left += count.left;
            add(&mut port.errors, &count.errors);
            add(&mut port.lost_before_by, &count.lost_before);
            port.lost_before += count.lost_before.values().sum::<u64>();
            for (copy, counted) in hook.copies.iter().zip(&count.copies) {
                let mut errors = BTreeMap::new();
                add(&mut errors, &counted.errors);
                status.copies.push(CopyStatus {
                    rule: plan.rule(copy.rule).label.clone(),
                    source: plan.source_name(hook),
                    monitor: plan.sink_name(copy.sink).to_owned(),
                    matched: counted.matched,
                    copied: counted.copied,
                    errors,
                });
            }
        }
        for ((id, sink), counters) in plan.sinks().zip(&self.sinks) {
            let monitor = self.monitor(plan, id, sink, counters);
            status.monitors.insert(plan.sink_name(id).to_owned(), monitor);
        }
        status.balance();
        status
    }

    fn monitor(&self, plan: &Plan, id: SinkId, sink: &Sink, counters: &SinkTally) -> MonitorStatus {
        let Sink::Port(port) = sink;
        let copies =
            plan.hooks().zip(&self.hooks).flat_map(|((_, hook), it)| hook.copies.iter().zip(&it.copies));
        let copied = copies.filter(|(copy, _)| copy.sink == id).map(|(_, counted)| counted.copied).sum();
        let sides = plan.sides(id).into_iter().zip(&counters.dropped);
        MonitorStatus {
            interface: plan.port(*port).interface.clone(),
            copied,
            reached: counters.reached,
            sent: counters.sent,
            dropped: Dropped {
                buffer: sides.map(|(side, dropped)| (side.name, *dropped)).collect(),
                device: counters.device,
            },
            queued: counters.queued,
            sensor_sent: counters.sensor_sent,
            ..MonitorStatus::default()
        }
    }
}

impl CopyTally {
    #[inline]
    fn count(&mut self, given: Given) {
        self.matched += 1;
        match given {
            Given::Failed(reason) => *self.errors.entry(reason).or_default() += 1,
            Given::Sent | Given::Queued | Given::Dropped | Given::Lost => self.copied += 1,
        }
    }
}

impl SinkTally {
    #[inline]
    fn count(&mut self, given: Given, side: u16) {
        match given {
            Given::Failed(_) => return,
            Given::Sent => self.sent += 1,
            Given::Queued => self.queued += 1,
            Given::Dropped => self.dropped[usize::from(side)] += 1,
            Given::Lost => self.device += 1,
        }
        self.reached += 1;
    }
}

fn add(to: &mut BTreeMap<String, u64>, from: &BTreeMap<&'static str, u64>) {
    for (reason, frames) in from {
        *to.entry((*reason).to_owned()).or_default() += frames;
    }
}

/// What each rule stopped, the rules of one name together, in plan order. Where the host goes on with frames no
/// rule stops any.
fn blocked(plan: &Plan, hook: &Hook, counters: &HookTally) -> Vec<BlockStatus> {
    if hook.pass == Pass::Leave {
        return Vec::new();
    }
    let source = plan.source_name(hook);
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rules: Vec<BlockStatus> = Vec::new();
    for id in hook.program.blocking() {
        let label = plan.rule(id).label.as_str();
        let at = *known.entry(label).or_insert(rules.len());
        if at == rules.len() {
            rules.push(BlockStatus { rule: label.to_owned(), source: source.clone(), blocked: 0 });
        }
        rules[at].blocked += counters.blocked.get(&id).copied().unwrap_or(0);
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::HookId;

    fn plan() -> Plan {
        let text = "[ports]\na = \"a0\"\nb = \"b0\"\nids = { interface = \"m0\", rate = \"1Mbit\" }\n\
                    [[device]]\nname = \"t\"\nkind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\n\
                    monitors = [\"ids\"]\n";
        crate::compile("t.toml", text).unwrap().0
    }

    fn verdict(hook: u16, to: u16) -> Verdict {
        Verdict { hook: HookId(hook), fate: Fate::Passed(vec![PortId(to)]), copies: vec![CopyIndex(0)] }
    }

    #[test]
    fn copies_go_out_before_the_frame_and_wait_on_their_side() {
        let plan = plan();
        let mut tally = Tally::new(&plan);
        let mut outlets = Vec::new();
        let given = [Given::Queued, Given::Sent, Given::Dropped, Given::Sent];
        let mut given = given.into_iter();
        for (hook, to) in [(0, 1), (1, 0)] {
            let give = |outlet| {
                outlets.push(outlet);
                Ok::<_, ()>(given.next().unwrap())
            };
            tally.deliver(&plan, &verdict(hook, to), 100, give).unwrap();
        }
        let copy = |side| Outlet::Copy { sink: SinkId(0), port: PortId(2), side };
        assert_eq!(outlets, [copy(0), Outlet::Pass(PortId(1)), copy(1), Outlet::Pass(PortId(0))]);
        let ledger = tally.ledger(&plan, "offline");
        let ids = &ledger.monitors["ids"];
        assert_eq!((ids.copied, ids.reached, ids.queued, ids.sent), (2, 2, 1, 0));
        assert_eq!(ids.dropped.buffer["b"], 1);
        assert_eq!(ledger.unaccounted, 0);
        tally.left(SinkId(0));
        let ids = &tally.ledger(&plan, "offline").monitors["ids"];
        assert_eq!((ids.queued, ids.sent), (0, 1));
    }

    #[test]
    fn what_is_learned_later_is_put_right() {
        let plan = plan();
        let mut tally = Tally::new(&plan);
        for _ in 0..4 {
            tally.deliver(&plan, &verdict(0, 1), 60, |_| Ok::<_, ()>(Given::Sent)).unwrap();
        }
        for given in [Given::Dropped, Given::Lost, Given::Failed("down")] {
            tally.copy_became(&plan, HookId(0), CopyIndex(0), given);
        }
        tally.pass_failed(HookId(0), "down");
        let ledger = tally.ledger(&plan, "userspace");
        let (copy, ids, a) = (&ledger.copies[0], &ledger.monitors["ids"], &ledger.ports["a"]);
        assert_eq!((copy.matched, copy.copied, copy.errors["down"]), (4, 3, 1));
        assert_eq!((ids.reached, ids.sent, ids.dropped.buffer["a"], ids.dropped.device), (3, 1, 1, 1));
        assert_eq!((a.passed, a.errors["down"], ledger.unaccounted), (3, 1, 0));
    }

    #[test]
    fn what_fails_is_told_by_reason() {
        let plan = plan();
        let mut tally = Tally::new(&plan);
        let failed = |_| Ok::<_, ()>(Given::Failed("gone"));
        tally.deliver(&plan, &verdict(0, 1), 60, failed).unwrap();
        tally.lost_before(HookId(0), "overrun", 3);
        let ledger = tally.ledger(&plan, "userspace");
        assert_eq!(ledger.ports["a"].errors["gone"], 1);
        assert_eq!((ledger.ports["a"].passed, ledger.ports["a"].lost_before), (0, 3));
        assert_eq!(ledger.copies[0].errors["gone"], 1);
        assert_eq!((ledger.monitors["ids"].copied, ledger.unaccounted), (0, 0));
    }
}
