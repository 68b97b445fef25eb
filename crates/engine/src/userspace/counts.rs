//! What devices, queues and guards add to the ledger that was counted while frames ran.

use std::time::Duration;

use plan::ledger::Status;
use plan::plan::{Pass, Plan, PortId, Role, Sink};
use sys::{Link, Result, Sys};

use super::fit::Fitted;
use crate::ledger::PortReading;
use crate::machine::counts;
use crate::machine::saved::{Choice, SavedInterface};

/// How long a buffer may take to be empty beyond what its rate says.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);
/// And never longer than this.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What was handed to the device of a port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outputs {
    /// Frames that the kernel took.
    pub handed: u64,
    /// How often it did not take one, which the device may have counted as its own losses.
    pub refused: u64,
}

/// What devices had counted when the run began.
pub struct Ground {
    saved: Vec<SavedInterface>,
    /// By port: frames that its device had received.
    received: Vec<u64>,
    notes: Vec<String>,
}

impl Ground {
    /// Notes what devices count now.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn of(sys: &mut impl Sys, plan: &Plan, links: &[Link], fitted: &Fitted) -> Result<Self> {
        let mut saved = Vec::new();
        let received = plan.ports.iter().map(|port| received(links, &port.interface)).collect();
        for port in plan.ports.iter().filter(|port| port.role != Role::Virtual) {
            let Some(link) = links.iter().find(|link| link.name == port.interface) else { continue };
            let mut baseline = counts::baseline(&link.stats);
            baseline.root_drops = counts::root(sys, link.index)?.0;
            saved.push(SavedInterface {
                name: link.name.clone(),
                index: link.index,
                up: true,
                promiscuous: false,
                features: Vec::new(),
                sysctls: Vec::new(),
                addresses: Vec::new(),
                pause: None,
                root_qdisc: false,
                clsact: false,
                baseline,
            });
        }
        Ok(Self { saved, received, notes: fitted.notes().to_vec() })
    }

    /// Frames that wait in the buffers of monitors.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn queued(&self, sys: &mut impl Sys, plan: &Plan) -> Result<u64> {
        if plan.ports.iter().all(|port| port.queue.is_none()) {
            return Ok(0);
        }
        let links = sys.links()?;
        let mut queued = 0;
        for (id, _) in plan.ports().filter(|(_, port)| port.queue.is_some()) {
            queued += self.reading(sys, plan, &links, id)?.queued;
        }
        Ok(queued)
    }

    /// How long the fullest buffers of a plan take until they are empty.
    pub fn drain_time(&self, plan: &Plan) -> Duration {
        let of_sink = |(sink, Sink::Port(id)): (plan::plan::SinkId, &Sink)| {
            let queue = plan.port(*id).queue?;
            let sides = u64::try_from(plan.sides(sink).len()).unwrap_or(u64::MAX);
            let bits = queue.buffer_bytes.saturating_mul(sides).saturating_mul(8);
            // Small frames take more on the wire than in the buffer.
            Some(Duration::from_millis(bits.saturating_mul(1500) / queue.rate_bits.max(1)) + DRAIN_MARGIN)
        };
        plan.sinks().filter_map(of_sink).max().unwrap_or_default().min(DRAIN_MAX)
    }

    fn reading(&self, sys: &mut impl Sys, plan: &Plan, links: &[Link], id: PortId) -> Result<PortReading> {
        let choice = Choice { attach: "packet".into(), why: "a process carries frames, without eBPF".into() };
        let (mut reading, link) = counts::port(plan, links, &self.saved, &choice, id);
        // What the stack drops behind the tap is in `rx_dropped` too, and here that is every frame.
        reading.rx_lost.remove("dropped");
        if let Some(link) = link.filter(|_| plan.port(id).queue.is_some()) {
            counts::queues(sys, plan, &self.saved, id, link, &mut reading)?;
        }
        Ok(reading)
    }

    /// Adds to a ledger what this process could not count: what devices lost behind it and missed before it, what waits
    /// in buffers.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn complete(
        &self,
        sys: &mut impl Sys,
        plan: &Plan,
        mut status: Status,
        outputs: &[Outputs],
    ) -> Result<Status> {
        let links = sys.links()?;
        for (id, port) in plan.ports() {
            let reading = self.reading(sys, plan, &links, id)?;
            if let Some(port) = status.ports.get_mut(&port.name) {
                (port.attach, port.why) = (reading.attach.clone(), reading.why.clone());
                for (reason, frames) in reading.rx_lost.iter().filter(|(_, frames)| **frames > 0) {
                    port.lost_before += frames;
                    *port.lost_before_by.entry(reason.clone()).or_default() += frames;
                }
            }
            if let Some(trouble) = reading.trouble {
                status.notes.push(format!("port {}: {} is {trouble}", port.name, port.interface));
            }
            if let Some(monitor) = status.monitors.get_mut(&port.name)
                && port.role == Role::Monitor
            {
                let before = self.received[usize::from(id.0)];
                monitor.sensor_sent = received(&links, &port.interface).saturating_sub(before);
            }
            lost_behind(plan, id, &reading, outputs[usize::from(id.0)], &mut status);
        }
        status.notes.extend(self.notes.iter().cloned());
        status.balance();
        Ok(status)
    }
}

/// Frames that an interface has received; 0 where it is gone.
fn received(links: &[Link], name: &str) -> u64 {
    links.iter().find(|link| link.name == name).map_or(0, |link| link.stats.rx_packets)
}

/// Moves frames that the device of a port lost, or that wait at it, from what counts as sent.
fn lost_behind(plan: &Plan, id: PortId, reading: &PortReading, handed: Outputs, status: &mut Status) {
    // A device may count among its losses what it has already refused to take.
    let lost = reading.tx_lost.saturating_sub(handed.refused).min(handed.handed);
    let port = plan.port(id);
    if let Some(monitor) = status.monitors.get_mut(&port.name) {
        let queued = reading.queued.min(monitor.sent);
        monitor.queued += queued;
        monitor.sent -= queued;
        let lost = if port.queue.is_some() { reading.tx_lost } else { lost }.min(monitor.sent);
        monitor.dropped.device += lost;
        monitor.sent -= lost;
        return;
    }
    let mut lost = lost;
    for hook in &plan.hooks {
        if !matches!(&hook.pass, Pass::To(ports) if ports.contains(&id)) {
            continue;
        }
        let Some(from) = status.ports.get_mut(&plan.port(hook.at.port).name) else { continue };
        let part = lost.min(from.passed);
        if part > 0 {
            from.passed -= part;
            *from.errors.entry("device".into()).or_default() += part;
            lost -= part;
        }
    }
}
