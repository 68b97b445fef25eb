//! Frames that rules steer: each with what is to become of it, sent, and compared with what arrived where.

use std::collections::BTreeMap;
use std::fmt::Write;

use lab::capture::Capture;
use plan::eval::{Fate, State, Time, eval};
use plan::plan::{Direction, Plan, Point};
use wire::Frame;

use crate::device::Attach;
use crate::rig::Rig;
use crate::wait;

/// Frames on their way at most: far fewer than a virtual cable or a CPU's backlog holds.
const ON_THEIR_WAY: usize = 60;

/// A frame, and what is to become of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Steered {
    /// The frame.
    pub bytes: Vec<u8>,
    /// Whether it leaves by the far port of its link.
    pub passes: bool,
    /// The monitors that get a copy, each one.
    pub copied_to: Vec<String>,
}

impl Steered {
    /// A frame that passes, copied to these.
    pub fn passes(bytes: Vec<u8>, copied_to: &[&str]) -> Self {
        Self { bytes, passes: true, copied_to: copied_to.iter().map(|name| (*name).to_owned()).collect() }
    }

    /// A frame that is stopped, copied to nobody.
    pub fn is_stopped(bytes: Vec<u8>) -> Self {
        Self { bytes, passes: false, copied_to: Vec::new() }
    }
}

/// The plan of a config and of the rule files that it names.
///
/// # Panics
/// Where either is wrong: they are the test's own.
pub fn plan(config: &str, files: &[(&str, &str)]) -> Plan {
    let text = |name: &str| {
        let found = files.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| format!("no such file: {name}"))
    };
    let compiled = plan::compile_with("proof.toml", config, &text);
    compiled.unwrap_or_else(|problems| panic!("{problems}")).plan
}

/// A distributor on the link a - b that feeds these monitors; `rest` is what its `[[device]]` says beside.
pub fn link_config(attach: Attach, monitors: &[&str], rest: &str) -> String {
    let mut text = "[ports]\n".to_owned();
    let monitor_attach = if attach == Attach::Xdp { Attach::Tcx } else { attach };
    let ports = [("a", attach), ("b", attach)];
    for (port, attach) in ports.into_iter().chain(monitors.iter().map(|name| (*name, monitor_attach))) {
        let _ = writeln!(text, "{port} = {{ interface = \"{port}\", attach = \"{attach}\" }}");
    }
    format!("{text}\n[[device]]\nname = \"steer\"\nkind = \"distributor\"\nlink = [\"a\", \"b\"]\n{rest}")
}

/// A rig with a cable to each of these, ready for this way of attaching.
pub fn rig(ports: &[&str], attach: Attach) -> Rig {
    let rig = Rig::new(ports, 1500);
    if attach == Attach::Xdp {
        rig.prepare_for_xdp();
    }
    rig
}

/// What [`eval`] says of frames that enter at a port one after the other, the first with nothing remembered.
///
/// # Panics
/// Where nothing is judged at the port.
pub fn by_eval(plan: &Plan, port: &str, frames: Vec<Vec<u8>>) -> Vec<Steered> {
    let (id, _) = plan.ports().find(|(_, known)| known.name == port).expect("a port of the plan");
    let point = Point { port: id, direction: Direction::In };
    let mut state = State::default();
    let mut judge = |bytes: Vec<u8>| {
        let frame = Frame::ethernet(&bytes).expect("a frame of less than 4 GiB");
        let verdict = eval(plan, &mut state, Time(0), 0, point, &frame).expect("frames are judged here");
        let hook = plan.hook(verdict.hook);
        let sink = |copy| plan.sink_name(Plan::copy(hook, copy).sink).to_owned();
        let copied_to = verdict.copies.into_iter().map(sink).collect();
        Steered { passes: !matches!(verdict.fate, Fate::Blocked(_)), copied_to, bytes }
    };
    frames.into_iter().map(&mut judge).collect()
}

/// What arrives at far ends, in order.
struct Arrivals {
    captures: BTreeMap<String, (Capture, Vec<Vec<u8>>)>,
}

impl Arrivals {
    fn new(rig: &Rig, ports: impl IntoIterator<Item = String>) -> Self {
        let capture = |port: String| {
            let capture = rig.capture(rig.far(&port));
            (port, (capture, Vec::new()))
        };
        Self { captures: ports.into_iter().map(capture).collect() }
    }

    /// How many each has.
    fn look(&mut self) -> BTreeMap<String, usize> {
        for (capture, frames) in self.captures.values_mut() {
            capture.drain().expect("a capture can be drained");
            let received = capture.take().into_iter().filter(|frame| !frame.outgoing);
            frames.extend(received.map(|frame| frame.bytes));
            assert_eq!(capture.lost(), 0, "the capture has room");
        }
        self.captures.iter().map(|(port, (_, frames))| (port.clone(), frames.len())).collect()
    }
}

/// Sends frames from the far end of `from`, in order and from one CPU, and compares what arrives, byte for byte and in
/// order: at the far end of `to` what passes, and at those of the monitors the copies.
///
/// # Panics
/// Where anything else arrives, or something does not.
pub fn send(rig: &Rig, from: &str, to: &str, monitors: &[&str], frames: &[Steered]) {
    let ports = monitors.iter().chain([&to]).map(|port| (*port).to_owned());
    let mut arrivals = Arrivals::new(rig, ports);
    let mut expected: BTreeMap<String, Vec<&Vec<u8>>> =
        arrivals.captures.keys().map(|port| (port.clone(), Vec::new())).collect();
    for group in frames.chunks(ON_THEIR_WAY) {
        let sent: Vec<&[u8]> = group.iter().map(|frame| frame.bytes.as_slice()).collect();
        rig.send(rig.far(from), &sent);
        for frame in group {
            let passed = frame.passes.then(|| to.to_owned());
            for port in frame.copied_to.iter().chain(&passed) {
                expected.get_mut(port).unwrap_or_else(|| panic!("{port} is no far end")).push(&frame.bytes);
            }
        }
        let enough = |seen: &BTreeMap<String, usize>| seen.iter().all(|(port, n)| *n >= expected[port].len());
        wait::until("frames arrive", || arrivals.look(), enough);
    }
    // Everything has come to rest: what has not arrived by now never will.
    let status = rig.settled();
    arrivals.look();
    for (port, (_, got)) in &arrivals.captures {
        let wanted = &expected[port];
        let same = got.iter().zip(wanted).take_while(|(got, wanted)| got == *wanted).count();
        assert!(
            got.len() == wanted.len() && same == got.len(),
            "{port}: {} frames arrived of {}, and from frame {same} on others: {:02x?} in the place of {:02x?}\n{status}",
            got.len(),
            wanted.len(),
            got.get(same),
            wanted.get(same),
        );
    }
}
