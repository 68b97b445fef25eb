//! What became of a case's frames: what each port was sent, and the ledger.

use std::collections::BTreeMap;
use std::fmt::Write;

use plan::eval::{Fate, Verdict};
use plan::plan::{HookId, Pass, Plan, Role, Sink};

use crate::Input;

/// What became of the frames of a case. No queues: this is what was sent towards each port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// For each port that can be sent to, in the plan's order: its name, and the frames it was sent by number.
    pub sent: Vec<(String, Vec<usize>)>,
    /// For each hook, in the plan's order.
    pub hooks: Vec<HookCount>,
    /// For each rule, source and sink, in the plan's order: frames copied.
    pub copies: Vec<((String, String, String), u64)>,
    /// For each rule that can block and its source, in the plan's order: frames blocked.
    pub blocked: Vec<((String, String), u64)>,
    /// For each sink and side: frames copied to it.
    pub sides: Vec<(String, Vec<(String, u64)>)>,
    /// Frames at points where nothing is judged.
    pub not_judged: u64,
}

/// What passed one hook.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HookCount {
    /// `a`, `eth0:rx`.
    pub source: String,
    /// Frames that entered.
    pub frames: u64,
    /// Their octets, with tags, without FCS.
    pub bytes: u64,
    /// Frames by fate: `passed`, `blocked`, `consumed`, `left`.
    pub fates: BTreeMap<&'static str, u64>,
}

impl Outcome {
    /// Of no frames yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let sent = plan.ports.iter().filter(|port| !matches!(port.role, Role::Span | Role::Watched));
        let hook_count = |hook| HookCount { source: plan.source_name(hook), ..HookCount::default() };
        let mut outcome = Self {
            sent: sent.map(|port| (port.name.clone(), Vec::new())).collect(),
            hooks: plan.hooks.iter().map(hook_count).collect(),
            ..Self::default()
        };
        for hook in &plan.hooks {
            for copy in &hook.copies {
                let rule = plan.rule(copy.rule).label.clone();
                let key = (rule, plan.source_name(hook), plan.sink_name(copy.sink).to_owned());
                if outcome.copies.iter().all(|(known, _)| *known != key) {
                    outcome.copies.push((key, 0));
                }
            }
        }
        for hook in plan.hooks.iter().filter(|hook| hook.pass != Pass::Leave) {
            for rule in hook.program.blocking() {
                let key = (plan.rule(rule).label.clone(), plan.source_name(hook));
                if outcome.blocked.iter().all(|(known, _)| *known != key) {
                    outcome.blocked.push((key, 0));
                }
            }
        }
        for (id, _) in plan.sinks() {
            let sides = plan.sides(id).into_iter().map(|side| (side.name, 0)).collect();
            outcome.sides.push((plan.sink_name(id).to_owned(), sides));
        }
        outcome
    }

    pub(crate) fn book(&mut self, plan: &Plan, index: usize, input: &Input, verdict: Option<&Verdict>) {
        let Some(verdict) = verdict else {
            self.not_judged += 1;
            return;
        };
        let hook = plan.hook(verdict.hook);
        let count = &mut self.hooks[usize::from(verdict.hook.0)];
        count.frames += 1;
        count.bytes += u64::try_from(input.data.len()).unwrap_or(u64::MAX);
        let fate = match &verdict.fate {
            Fate::Left => "left",
            Fate::Passed(ports) => {
                ports.iter().for_each(|port| self.send(&plan.port(*port).name, index));
                "passed"
            }
            Fate::Consumed => "consumed",
            Fate::Blocked(rule) => {
                let key = (plan.rule(*rule).label.clone(), plan.source_name(hook));
                let same = self.blocked.iter_mut().filter(|(known, _)| *known == key);
                same.for_each(|(_, count)| *count += 1);
                "blocked"
            }
        };
        *self.hooks[usize::from(verdict.hook.0)].fates.entry(fate).or_default() += 1;
        for copy in verdict.copies.iter().map(|index| Plan::copy(hook, *index)) {
            let Sink::Port(port) = plan.sink(copy.sink);
            self.send(&plan.port(*port).name, index);
            let sink = plan.sink_name(copy.sink);
            let key = (plan.rule(copy.rule).label.as_str(), plan.source_name(hook), sink);
            let same = |(rule, source, to): &(String, String, String)| {
                (&**rule, source, &**to) == (key.0, &key.1, key.2)
            };
            self.copies.iter_mut().filter(|(known, _)| same(known)).for_each(|(_, count)| *count += 1);
            self.count_side(plan, verdict.hook, usize::from(copy.sink.0), copy.sink);
        }
    }

    fn send(&mut self, port: &str, index: usize) {
        self.sent.iter_mut().filter(|(name, _)| name == port).for_each(|(_, frames)| frames.push(index));
    }

    fn count_side(&mut self, plan: &Plan, hook: HookId, sink: usize, id: plan::plan::SinkId) {
        let side = plan.sides(id).iter().position(|side| side.hooks.contains(&hook));
        let side = side.expect("a hook that copies to a sink is in one of its sides");
        self.sides[sink].1[side].1 += 1;
    }

    /// `out.txt`.
    pub fn sent_text(&self) -> String {
        let mut out = String::new();
        for (port, frames) in &self.sent {
            let frames: Vec<String> = frames.iter().map(ToString::to_string).collect();
            let frames = if frames.is_empty() { "-".to_owned() } else { frames.join(" ") };
            let _ = writeln!(out, "{port}: {frames}");
        }
        out
    }

    /// `counters.txt`.
    pub fn counters_text(&self) -> String {
        let mut out = String::new();
        for HookCount { source, frames, bytes, fates } in &self.hooks {
            let fates: String = fates.iter().map(|(fate, count)| format!(", {fate} {count}")).collect();
            let _ = writeln!(out, "in {source}: {frames} frames, {bytes} bytes{fates}");
        }
        for ((rule, source, sink), copied) in &self.copies {
            let _ = writeln!(out, "copy {rule}: {source} to {sink}: {copied}");
        }
        for ((rule, source), blocked) in &self.blocked {
            let _ = writeln!(out, "blocked {rule}: {source}: {blocked}");
        }
        for (sink, sides) in &self.sides {
            let total: u64 = sides.iter().map(|(_, count)| count).sum();
            let sides: Vec<String> = sides.iter().map(|(side, count)| format!("{side} {count}")).collect();
            let _ = writeln!(out, "monitor {sink}: {total} ({})", sides.join(", "));
        }
        if self.not_judged > 0 {
            let _ = writeln!(out, "not judged: {}", self.not_judged);
        }
        out
    }
}
