//! What a replay did: the ledger that every backend shares, and what was read and written.
//!
//! Counts by index while frames run, and puts names to the numbers at the end.

use std::collections::BTreeMap;
use std::fmt;

use plan::ledger::{BlockStatus, CopyStatus, Count, Dropped, MonitorStatus, Status, Table};
use plan::plan::{Hook, Pass, Plan, PortId, Role, Sink, SinkId};
use plan::text::role_name;
use rules::form::RuleId;
use serde::Serialize;

/// What a replay did. As JSON, one object: the keys of the ledger, `inputs` and `outputs`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The ledger, of the backend `offline`.
    #[serde(flatten)]
    pub ledger: Status,
    /// The inputs, as they were named.
    pub inputs: Vec<InputReport>,
    /// The captures that were written, in plan order.
    pub outputs: Vec<OutputReport>,
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut inputs = Table::new(["INPUT", "SOURCE", "PACKETS", "BYTES", "OUT OF ORDER"], 2);
        for input in &self.inputs {
            let numbers = [input.packets, input.bytes, input.out_of_order].map(|number| number.to_string());
            inputs.row([input.file.clone(), input.source.clone()].into_iter().chain(numbers));
        }
        inputs.print(f)?;
        f.write_str("\n")?;
        if !self.outputs.is_empty() {
            let mut outputs = Table::new(["OUTPUT", "PORT", "PACKETS", "BYTES", "TIMES CLAMPED"], 2);
            for output in &self.outputs {
                let numbers = [output.packets, output.bytes, output.times_clamped];
                let numbers = numbers.map(|number| number.to_string());
                outputs.row([output.file.clone(), output.port.clone()].into_iter().chain(numbers));
            }
            outputs.print(f)?;
            f.write_str("\n")?;
        }
        self.ledger.fmt(f)
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
    /// By each rule that can block.
    pub(crate) blocked: BTreeMap<RuleId, u64>,
    pub(crate) consumed: u64,
    pub(crate) left: u64,
    /// By copy: matched, copied.
    pub(crate) copies: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SinkCounters {
    pub(crate) reached: u64,
    pub(crate) sent: u64,
}

impl Counters {
    pub(crate) fn new(plan: &Plan) -> Self {
        let hook = |hook: &Hook| HookCounters {
            copies: vec![(0, 0); hook.copies.len()],
            blocked: hook.program.blocking().into_iter().map(|rule| (rule, 0)).collect(),
            ..HookCounters::default()
        };
        Self {
            hooks: plan.hooks.iter().map(hook).collect(),
            sinks: vec![SinkCounters::default(); plan.sinks.len()],
        }
    }

    /// The ledger by name, with its sums worked out.
    pub(crate) fn ledger(&self, plan: &Plan) -> Status {
        let mut status = Status { backend: "offline".into(), ..Status::default() };
        for ((_, hook), counters) in plan.hooks().zip(&self.hooks) {
            let at = plan.port(hook.at.port);
            let port = status.ports.entry(at.name.clone()).or_default();
            (port.interface, port.role) = (at.interface.clone(), role_name(at.role).into());
            port.entered.frames += counters.entered.frames;
            port.entered.bytes += counters.entered.bytes;
            port.passed += counters.passed;
            let blocked = blocked(plan, hook, counters);
            blocked.iter().for_each(|rule| port.add_blocked(&rule.rule, rule.blocked));
            status.blocked.extend(blocked);
            port.consumed += counters.consumed;
            port.left += counters.left;
            for (copy, (matched, copied)) in hook.copies.iter().zip(&counters.copies) {
                status.copies.push(CopyStatus {
                    rule: plan.rule(copy.rule).label.clone(),
                    source: plan.source_name(hook),
                    monitor: plan.sink_name(copy.sink).to_owned(),
                    matched: *matched,
                    copied: *copied,
                    errors: BTreeMap::new(),
                });
            }
        }
        for ((id, sink), counters) in plan.sinks().zip(&self.sinks) {
            let monitor = self.monitor(plan, id, sink, counters);
            status.monitors.insert(plan.sink_name(id).to_owned(), monitor);
        }
        status.notes.extend(unlimited(plan));
        status.balance();
        status
    }

    fn monitor(&self, plan: &Plan, id: SinkId, sink: &Sink, counters: &SinkCounters) -> MonitorStatus {
        let Sink::Port(port) = sink;
        let copies =
            plan.hooks().zip(&self.hooks).flat_map(|((_, hook), it)| hook.copies.iter().zip(&it.copies));
        let copied = copies.filter(|(copy, _)| copy.sink == id).map(|(_, (_, copied))| copied).sum();
        let buffer = plan.sides(id).into_iter().map(|side| (side.name, 0)).collect();
        MonitorStatus {
            interface: plan.port(*port).interface.clone(),
            copied,
            reached: counters.reached,
            sent: counters.sent,
            dropped: Dropped { buffer, device: 0 },
            ..MonitorStatus::default()
        }
    }
}

/// What each rule stopped, the rules of one name together, in plan order. Where the host goes on with frames no
/// rule stops any.
fn blocked(plan: &Plan, hook: &Hook, counters: &HookCounters) -> Vec<BlockStatus> {
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

/// What to know of monitor ports that are slower in the plan than in a replay.
fn unlimited(plan: &Plan) -> Option<String> {
    let slow = plan.ports.iter().filter(|port| port.queue.is_some());
    let names: Vec<&str> = slow.map(|port| port.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let names = names.join(", ");
        format!("rate and buffer of {names} are not applied: a replay sends at once, and drops nothing")
    })
}

/// Whether frames leave by a port: then it may have an output.
pub(crate) fn sends(plan: &Plan, port: PortId) -> bool {
    matches!(plan.port(port).role, Role::Network | Role::Monitor | Role::Virtual)
}
