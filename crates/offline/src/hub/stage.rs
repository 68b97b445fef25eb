//! A hub as the stage that its ports' traffic passes through before the plan sees it.

use plan::plan::{Direction, HookId, Plan, Point};
use plan::simulation::Hub;

use super::counts::HubCounts;
use super::domain::{Cause, Domain, Outcome};
use crate::timed::{Arrival, Emerged, Stage};

/// A hub of a plan.
#[derive(Debug)]
pub(crate) struct HubStage {
    domain: Domain<Arrival>,
    /// The hooks of its ports, in their order.
    hooks: Vec<HookId>,
    outcomes: Vec<Outcome<Arrival>>,
}

impl HubStage {
    /// The stage of a hub. Its ports have hooks in every plan that was made of its config.
    pub(crate) fn new(plan: &Plan, hub: &Hub, seed: u64) -> Self {
        let of_port = |port| {
            let (hook, _) = plan.hook_at(Point { port, direction: Direction::In })?;
            Some((hook, (plan.port(port).name.clone(), hub.taps.contains(&port))))
        };
        let (hooks, ports): (Vec<_>, Vec<_>) = hub.ports.iter().copied().filter_map(of_port).unzip();
        Self { domain: Domain::new(&hub.name, hub.speed_bits, &ports, seed), hooks, outcomes: Vec::new() }
    }

    /// The hooks whose frames pass through it.
    pub(crate) fn hooks(&self) -> &[HookId] {
        &self.hooks
    }

    /// What it counted.
    pub(crate) fn counts(&self) -> HubCounts {
        self.domain.counts()
    }

    fn emerge(&mut self, out: &mut Vec<Emerged>) {
        for outcome in self.outcomes.drain(..) {
            out.push(match outcome {
                Outcome::Delivered { token, at_ns } => Emerged::Through(Arrival { time_ns: at_ns, ..token }),
                Outcome::Lost { token, cause } => Emerged::Lost(token, cause.reason()),
            });
        }
    }
}

impl Cause {
    /// What frames are counted under that are lost for it.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Overflow => "hub-queue",
            Self::Excessive => "excessive-collisions",
            Self::OfTap => "collided",
            Self::Unheard => "collided-unheard",
        }
    }
}

impl Stage for HubStage {
    fn offer(&mut self, arrival: Arrival, out: &mut Vec<Emerged>) {
        let port = self.hooks.iter().position(|hook| *hook == arrival.hook);
        let port = port.expect("a stage is offered what enters at its hooks");
        self.domain.offer(port, arrival.time_ns, arrival.frame_bytes, arrival, &mut self.outcomes);
        self.emerge(out);
    }

    fn next_ns(&self) -> Option<u64> {
        self.domain.next_ns()
    }

    fn advance(&mut self, now_ns: u64, out: &mut Vec<Emerged>) {
        self.domain.poll(now_ns, &mut self.outcomes);
        self.emerge(out);
    }
}
