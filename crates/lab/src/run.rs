//! One scenario from the empty machine to a verdict.
//!
//! Build the enterprise, bring the plans up, open the captures, give the hosts their addresses, let traffic
//! cross, wait until every count stands still, and compare: what each sensor saw with what the ends of the
//! cables sent, and the ledger with both.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine::Status;
use plan::plan::Plan;
use sys::Linux;

use crate::capture::{Capture, Captured};
use crate::checks::{self, Check, Side};
use crate::enterprise::End;
use crate::network::{LabError, Network};
use crate::scenario::{BoxPlan, Layout, Options, Passing, Scenario, Sensor, Way};
use crate::traffic::{self, Exchange};
use crate::{segment, virtual_ends};

/// The MTU of every interface of the enterprise.
const MTU: u32 = 1500;

/// How long counts may take to stand still and agree after the last client is done.
const SETTLE: Duration = Duration::from_secs(5);
/// How long they must stand still.
const STILL: Duration = Duration::from_millis(40);

/// What one box says.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The host that runs the plan.
    pub host: String,
    /// Its ledger.
    pub status: Status,
}

/// What one sensor saw.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The interface.
    pub end: End,
    /// The monitor that feeds it.
    pub monitor: String,
    /// In the order of arrival.
    pub frames: Vec<Captured>,
}

/// Everything about one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub scenario: &'static str,
    /// Where boxes and sensors stand.
    pub drawing: String,
    /// The boxes with their configs.
    pub boxes: Vec<BoxPlan>,
    /// What was done to the ends of cables beforehand.
    pub ends: Vec<String>,
    /// What `up` said on each box, in order.
    pub ups: Vec<(String, String)>,
    /// What the clients did.
    pub traffic: Vec<Exchange>,
    /// What the sensors saw.
    pub sensors: Vec<Observed>,
    /// What the boxes say.
    pub ledgers: Vec<Ledger>,
    /// What was compared.
    pub checks: Vec<Check>,
}

impl Report {
    /// The sum over all boxes: 0, or something was lost sight of.
    pub fn unaccounted(&self) -> i64 {
        self.ledgers.iter().map(|ledger| ledger.status.unaccounted).sum()
    }

    /// Whether every client was served, every check held and nothing is unaccounted for.
    pub fn ok(&self) -> bool {
        self.unaccounted() == 0
            && self.traffic.iter().all(|exchange| exchange.ok)
            && self.checks.iter().all(|check| check.ok)
    }
}

/// A scenario that was built and is up; its network lives as long as this.
#[derive(Debug)]
pub struct Lab {
    network: Network,
    layout: Layout,
    captures: BTreeMap<End, Capture>,
    ends: Vec<String>,
    ups: Vec<(String, String)>,
}

/// Runs a scenario. The network is still there afterwards, until [`Lab`] is dropped.
///
/// All of it happens on one CPU, so that frames have one order from end to end.
pub fn run(scenario: &Scenario, options: &Options) -> Result<(Lab, Report), LabError> {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            sys::cpu::pin_to_one().map_err(|error| LabError::new("cpu", error))?;
            run_here(scenario, options)
        });
        pinned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn run_here(scenario: &Scenario, options: &Options) -> Result<(Lab, Report), LabError> {
    let mut lab = Lab::build(scenario, options)?;
    let servers = traffic::serve(&lab.network)?;
    let traffic = traffic::run(&lab.network, lab.layout.traffic)?;
    drop(servers);
    let (ledgers, checks) = lab.settle()?;
    let report = Report {
        scenario: scenario.name,
        drawing: lab.layout.drawing.clone(),
        boxes: lab.layout.boxes.clone(),
        ends: lab.ends.clone(),
        ups: lab.ups.clone(),
        traffic,
        sensors: lab.observed(),
        ledgers,
        checks,
    };
    Ok((lab, report))
}

impl Lab {
    fn build(scenario: &Scenario, options: &Options) -> Result<Self, LabError> {
        let layout = (scenario.lay)(options);
        let plans = compile(&layout)?;
        let network = Network::enterprise(&layout, MTU)?;
        let mut lab = Self { network, layout, captures: BTreeMap::new(), ends: Vec::new(), ups: Vec::new() };
        if options.attach.as_deref() == Some("xdp") {
            lab.ends = virtual_ends::prepare(&lab.network, &lab.layout)?;
        }
        for (place, plan) in lab.layout.boxes.iter().zip(&plans) {
            let up = || engine::up(&mut Linux::new(), plan, &place.file);
            let said = lab.network.inside(&place.host, up)?;
            let said =
                said.map_err(|error| LabError::new(format!("{} on {}", place.file, place.host), error))?;
            lab.ups.push((place.host.clone(), said.to_string()));
        }
        lab.open_captures()?;
        lab.network.wake()?;
        Ok(lab)
    }

    /// The network, for those who want to keep it.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// How the scenario is laid out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn open_captures(&mut self) -> Result<(), LabError> {
        let sensors = self.layout.sensors.iter();
        let seen = sensors.clone().flat_map(|sensor| &sensor.sees);
        let ports = self.layout.boxes.iter().flat_map(|plan| &plan.ports);
        let entered = ports.clone().flat_map(|port| &port.entered);
        let mut ends: Vec<End> = seen.chain(entered).map(|passing| passing.end.clone()).collect();
        ends.extend(ports.filter_map(|port| port.passed_to.clone()));
        ends.extend(sensors.map(|sensor| sensor.end.clone()));
        for end in ends {
            if !self.captures.contains_key(&end) {
                let capture = Capture::open(&self.network, &end)?;
                self.captures.insert(end, capture);
            }
        }
        Ok(())
    }

    /// Waits until the counts agree and stand still, or until [`SETTLE`] is over; gives the last look.
    fn settle(&mut self) -> Result<(Vec<Ledger>, Vec<Check>), LabError> {
        let deadline = Instant::now() + SETTLE;
        let mut last = 0;
        loop {
            for capture in self.captures.values_mut() {
                capture.drain()?;
            }
            let total: usize = self.captures.values().map(|capture| capture.frames().len()).sum();
            if total == last || Instant::now() > deadline {
                let ledgers = self.ledgers()?;
                let mut checks = self.compare(&ledgers)?;
                checks.extend(self.end_counters()?);
                if checks.iter().all(|check| check.ok) || Instant::now() > deadline {
                    return Ok((ledgers, checks));
                }
            }
            last = total;
            std::thread::park_timeout(STILL);
        }
    }

    fn ledgers(&self) -> Result<Vec<Ledger>, LabError> {
        let ledger = |plan: &BoxPlan| {
            let status = self.network.inside(&plan.host, || engine::status(&mut Linux::new()))?;
            let status = status.map_err(|error| LabError::new(format!("status of {}", plan.host), error))?;
            Ok(Ledger { host: plan.host.clone(), status })
        };
        self.layout.boxes.iter().map(ledger).collect()
    }

    fn observed(&self) -> Vec<Observed> {
        let observe = |sensor: &Sensor| Observed {
            end: sensor.end.clone(),
            monitor: sensor.fed_by.1.clone(),
            frames: self.received_at(sensor).cloned().collect(),
        };
        self.layout.sensors.iter().map(observe).collect()
    }

    fn capture(&self, end: &End) -> &Capture {
        self.captures.get(end).expect("a capture is open on every end that the layout names")
    }

    /// What came to a sensor; on an interface that a plan made, whatever passed it.
    fn received_at<'a>(&'a self, sensor: &'a Sensor) -> impl Iterator<Item = &'a Captured> {
        let frames = self.capture(&sensor.end).frames().iter();
        frames.filter(|frame| !(sensor.silent && frame.outgoing))
    }

    /// The wire frames that passed an end.
    fn side(&self, passing: &Passing) -> Result<Side, LabError> {
        let mtu = usize::try_from(MTU).expect("an MTU fits in memory");
        let mut frames = Vec::new();
        for frame in self.capture(&passing.end).frames() {
            let read = wire::Frame::ethernet(&frame.bytes);
            let kept = passing.only.is_none_or(|only| read.is_some_and(|frame| only.keeps(&frame)));
            if frame.outgoing == (passing.way == Way::Sent) && kept {
                let cut = segment::wire_frames(&frame.bytes, frame.checksum_partial, mtu);
                frames.extend(cut.ok_or_else(|| {
                    LabError::new(
                        passing.to_string(),
                        format!("a frame of {} octets that is not TCP", frame.bytes.len()),
                    )
                })?);
            }
        }
        Ok(Side { name: passing.to_string(), frames })
    }

    fn sides(&self, passings: &[Passing]) -> Result<Vec<Side>, LabError> {
        passings.iter().map(|passing| self.side(passing)).collect()
    }

    fn compare(&self, ledgers: &[Ledger]) -> Result<Vec<Check>, LabError> {
        let mut checks = Vec::new();
        for sensor in &self.layout.sensors {
            let ledger = ledgers.iter().find(|ledger| ledger.host == sensor.fed_by.0);
            checks.extend(self.compare_sensor(sensor, ledger)?);
        }
        for (plan, ledger) in self.layout.boxes.iter().zip(ledgers) {
            checks.extend(self.compare_ports(plan, ledger)?);
            checks.push(Check::equal(
                format!("{}: ledger balances", plan.host),
                ("unaccounted", u64::try_from(ledger.status.unaccounted.abs()).unwrap_or(u64::MAX)),
                ("a balanced ledger", 0),
            ));
        }
        Ok(checks)
    }

    fn compare_sensor(&self, sensor: &Sensor, ledger: Option<&Ledger>) -> Result<Vec<Check>, LabError> {
        let name = sensor.end.to_string();
        let frames: Vec<&[u8]> = self.received_at(sensor).map(|frame| frame.bytes.as_slice()).collect();
        let mut checks =
            checks::seen(&name, &frames, &self.sides(&sensor.sees)?, MTU, &crate::report::describe);
        let partial = self.received_at(sensor).filter(|frame| frame.checksum_partial).count();
        if partial > 0 {
            let problem = format!("{partial} frames whose checksum was left to hardware that is not there");
            checks.push(Check::new(format!("{name}: finished frames"), Some(problem)));
        }
        let monitor = &sensor.fed_by.1;
        let Some(status) = ledger.and_then(|ledger| ledger.status.monitors.get(monitor)) else {
            checks.push(Check::new(
                format!("{name}: fed by {monitor}"),
                Some("the ledger does not know it".into()),
            ));
            return Ok(checks);
        };
        checks.push(Check::equal(
            format!("{name}: {monitor} sent {} frames", status.sent),
            ("the ledger", status.sent),
            ("the sensor", to_u64(frames.len())),
        ));
        if sensor.silent {
            let sent = self.capture(&sensor.end).frames().iter().filter(|frame| frame.outgoing).count();
            checks.push(Check::equal(
                format!("{name}: is silent"),
                ("the capture", to_u64(sent)),
                ("silence", 0),
            ));
        }
        Ok(checks)
    }

    fn compare_ports(&self, plan: &BoxPlan, ledger: &Ledger) -> Result<Vec<Check>, LabError> {
        let mut checks = Vec::new();
        for truth in &plan.ports {
            let name = format!("{} port {}", plan.host, truth.port);
            let Some(status) = ledger.status.ports.get(&truth.port) else {
                checks.push(Check::new(name, Some("the ledger does not know it".into())));
                continue;
            };
            let sides = self.sides(&truth.entered)?;
            let frames: u64 = sides.iter().map(|side| to_u64(side.frames.len())).sum();
            let bytes: u64 =
                sides.iter().flat_map(|side| &side.frames).map(|frame| to_u64(frame.len())).sum();
            let from: Vec<&str> = sides.iter().map(|side| side.name.as_str()).collect();
            let (from, entered) = (from.join(" + "), status.entered);
            checks.push(Check::equal(
                format!("{name}: {} frames in, as {from} says", entered.frames),
                ("the ledger", entered.frames),
                (&from, frames),
            ));
            checks.push(Check::equal(
                format!("{name}: {} octets in", entered.bytes),
                ("the ledger", entered.bytes),
                (&from, bytes),
            ));
            if let Some(far) = &truth.passed_to {
                checks.extend(self.compare_far_end(&name, status.passed, &sides, far)?);
            }
        }
        Ok(checks)
    }

    /// What reached the far end of a link: the same frames, byte for byte, in the same order.
    fn compare_far_end(
        &self,
        name: &str,
        passed: u64,
        sides: &[Side],
        far: &End,
    ) -> Result<Vec<Check>, LabError> {
        let arrived = self.side(&Passing { end: far.clone(), way: Way::Received, only: None })?;
        let came: Vec<&[u8]> = arrived.frames.iter().map(Vec::as_slice).collect();
        let sent: usize = sides.iter().map(|side| side.frames.len()).sum();
        let what = format!("{name}: {sent} frames reached {far}, byte for byte, in order");
        Ok(vec![
            checks::arrived(what, &came, sides, &crate::report::describe),
            Check::equal(
                format!("{name}: {passed} frames passed"),
                ("the ledger", passed),
                (&far.to_string(), to_u64(came.len())),
            ),
        ])
    }

    /// The interface's own counters against the captures: nothing escaped them.
    fn end_counters(&self) -> Result<Vec<Check>, LabError> {
        let mut checks = Vec::new();
        for (end, capture) in &self.captures {
            let lost = capture.lost();
            if lost > 0 {
                let problem = format!("{lost} frames did not fit in the socket's buffer");
                checks.push(Check::new(format!("{end}: capture complete"), Some(problem)));
            }
        }
        let ports = self.layout.boxes.iter().flat_map(|plan| &plan.ports).flat_map(|port| &port.entered);
        let mut ends: Vec<&End> =
            ports.filter(|passing| passing.way == Way::Sent).map(|passing| &passing.end).collect();
        ends.sort();
        ends.dedup();
        for end in ends {
            let counted = self.network.link(end)?.stats.tx_packets;
            let capture = self.capture(end);
            let captured = capture.frames().iter().filter(|frame| frame.outgoing).count();
            checks.push(Check::equal(
                format!(
                    "{end}: interface sent {counted} (a super-frame counts as one), all of them captured"
                ),
                ("the interface", counted.saturating_sub(capture.sent_before())),
                ("the capture", to_u64(captured)),
            ));
        }
        Ok(checks)
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The plans of all boxes. The configs are the lab's own, so that a problem in one is a defect; it is told as
/// any user would be told.
fn compile(layout: &Layout) -> Result<Vec<Plan>, LabError> {
    let compile = |place: &BoxPlan| {
        let compiled = place.compile();
        compiled.map(|compiled| compiled.plan).map_err(|problems| LabError::new(&place.file, problems))
    };
    layout.boxes.iter().map(compile).collect()
}
