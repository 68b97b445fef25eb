//! What a replay did: the ledger in the names that every backend shares, and what was read and written.

use std::collections::BTreeMap;

use plan::plan::{Plan, PortId, Role, Sink, SinkId};
use serde::Serialize;

/// Frames, and their octets with tags and without FCS, as they were on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// Octets.
    pub bytes: u64,
}

/// What a replay did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// Always `offline`.
    pub backend: &'static str,
    /// By the user's name: ports that frames enter by.
    pub ports: BTreeMap<String, PortLedger>,
    /// Each copy of each source, in plan order.
    pub copies: Vec<CopyLedger>,
    /// By the user's name: ports that copies go to.
    pub monitors: BTreeMap<String, MonitorLedger>,
    /// What the sums leave over, in frames; anything but 0 is a defect.
    pub unaccounted: i64,
    /// The inputs, as they were named.
    pub inputs: Vec<InputReport>,
    /// The captures that were written, in plan order.
    pub outputs: Vec<OutputReport>,
}

/// One port that frames enter by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PortLedger {
    /// Frames judged.
    #[serde(rename = "in")]
    pub entered: Count,
    /// Frames passed on.
    pub passed: u64,
    /// Frames that a rule stopped.
    pub blocked: u64,
    /// Frames that end here: a SPAN port passes nothing on.
    pub consumed: u64,
    /// Frames of a watched interface, left to the host.
    pub left: u64,
    /// Frames lost on the way, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Frames that a capture lacks cannot be counted: always 0 here.
    pub lost_before: u64,
}

/// One copy rule from one source to one monitor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CopyLedger {
    /// The rule's stable identity.
    pub rule: String,
    /// The side that frames came from.
    pub source: String,
    /// The monitor that they go to.
    pub monitor: String,
    /// Frames that the rule chose.
    pub matched: u64,
    /// Frames handed to the monitor.
    pub copied: u64,
    /// Frames that could not be handed over, by reason.
    pub errors: BTreeMap<String, u64>,
}

/// One port that copies go to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct MonitorLedger {
    /// Frames that copies handed to it.
    pub copied: u64,
    /// Frames that it sent.
    pub sent: u64,
    /// Frames lost here.
    pub dropped: Dropped,
    /// Frames that wait in its buffers.
    pub queued: u64,
}

/// Frames lost at a monitor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Dropped {
    /// By side: its buffer was full.
    pub buffer: BTreeMap<String, u64>,
    /// By the device.
    pub device: u64,
}

/// One input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InputReport {
    /// The file.
    pub file: String,
    /// The source its frames belong to: `a`, or `eth0:rx`.
    pub source: String,
    /// Packets read.
    pub packets: u64,
    /// Octets of those packets, as captured.
    pub bytes: u64,
    /// Octets of the file that were read as whole records.
    pub offset: u64,
    /// Packets whose time lies before that of their predecessor in the file; they keep their place.
    pub out_of_order: u64,
    /// What broke, where something did: the packets before it were replayed.
    pub broken: Option<String>,
}

/// One output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OutputReport {
    /// The port that sent the frames.
    pub port: String,
    /// The file.
    pub file: String,
    /// Packets written.
    pub packets: u64,
    /// Octets of those packets, as captured.
    pub bytes: u64,
    /// Packets whose time the format cannot hold, written with the nearest that it can.
    pub times_clamped: u64,
    /// Whether whoever read it hung up; what came later was not written.
    pub closed: bool,
}

impl Report {
    /// Whether every input was read to its end.
    pub fn is_whole(&self) -> bool {
        self.inputs.iter().all(|input| input.broken.is_none())
    }
}

/// The counters of a running replay, by index: no name is looked up for a frame.
#[derive(Debug)]
pub(crate) struct Counters {
    /// By hook.
    pub(crate) hooks: Vec<HookCounters>,
    /// By sink.
    pub(crate) sinks: Vec<SinkCounters>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct HookCounters {
    pub(crate) entered: Count,
    pub(crate) passed: u64,
    pub(crate) blocked: u64,
    pub(crate) consumed: u64,
    pub(crate) left: u64,
    /// By copy: matched, copied.
    pub(crate) copies: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SinkCounters {
    pub(crate) copied: u64,
    pub(crate) sent: u64,
}

impl Counters {
    pub(crate) fn new(plan: &Plan) -> Self {
        let hook = |copies| HookCounters { copies: vec![(0, 0); copies], ..HookCounters::default() };
        Self {
            hooks: plan.hooks.iter().map(|it| hook(it.copies.len())).collect(),
            sinks: vec![SinkCounters::default(); plan.sinks.len()],
        }
    }

    /// The ledger by name, with its sums worked out.
    pub(crate) fn report(&self, plan: &Plan) -> Report {
        let mut report = Report {
            backend: "offline",
            ports: BTreeMap::new(),
            copies: Vec::new(),
            monitors: self.monitors(plan),
            unaccounted: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        for ((_, hook), counters) in plan.hooks().zip(&self.hooks) {
            let port = report.ports.entry(plan.port(hook.at.port).name.clone()).or_default();
            port.entered.frames += counters.entered.frames;
            port.entered.bytes += counters.entered.bytes;
            port.passed += counters.passed;
            port.blocked += counters.blocked;
            port.consumed += counters.consumed;
            port.left += counters.left;
            for (copy, (matched, copied)) in hook.copies.iter().zip(&counters.copies) {
                report.copies.push(CopyLedger {
                    rule: plan.rule(copy.rule).label.clone(),
                    source: plan.source_name(hook),
                    monitor: plan.sink_name(copy.sink).to_owned(),
                    matched: *matched,
                    copied: *copied,
                    errors: BTreeMap::new(),
                });
            }
        }
        report.unaccounted = unaccounted(&report);
        report
    }

    fn monitors(&self, plan: &Plan) -> BTreeMap<String, MonitorLedger> {
        let monitor = |((id, _), counters): ((SinkId, &Sink), &SinkCounters)| {
            let buffer = plan.sides(id).into_iter().map(|side| (side.name, 0)).collect();
            let dropped = Dropped { buffer, device: 0 };
            let ledger = MonitorLedger { copied: counters.copied, sent: counters.sent, dropped, queued: 0 };
            (plan.sink_name(id).to_owned(), ledger)
        };
        plan.sinks().zip(&self.sinks).map(monitor).collect()
    }
}

/// What all sums leave over, as sizes, so that two errors cannot cancel out.
fn unaccounted(report: &Report) -> i64 {
    let rest =
        |whole: u64, parts: &[u64]| i128::from(whole) - parts.iter().copied().map(i128::from).sum::<i128>();
    let errors = |by: &BTreeMap<String, u64>| by.values().sum::<u64>();
    let ports = report.ports.values().map(|port| {
        let parts = [port.passed, port.blocked, port.consumed, port.left, errors(&port.errors)];
        rest(port.entered.frames, &parts)
    });
    let copies = report.copies.iter().map(|copy| rest(copy.matched, &[copy.copied, errors(&copy.errors)]));
    let handed = report.monitors.iter().map(|(name, monitor)| {
        let copies = report.copies.iter().filter(|copy| copy.monitor == *name);
        rest(monitor.copied, &copies.map(|copy| copy.copied).collect::<Vec<_>>())
    });
    let monitors = report.monitors.values().map(|monitor| {
        let dropped = errors(&monitor.dropped.buffer);
        rest(monitor.copied, &[monitor.sent, dropped, monitor.dropped.device, monitor.queued])
    });
    let sum: i128 = ports.chain(copies).chain(handed).chain(monitors).map(i128::abs).sum();
    i64::try_from(sum).unwrap_or(i64::MAX)
}

/// Whether frames leave by a port: then it may have an output.
pub(crate) fn sends(plan: &Plan, port: PortId) -> bool {
    matches!(plan.port(port).role, Role::Network | Role::Monitor | Role::Virtual)
}
