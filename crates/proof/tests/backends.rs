//! The backends agree: every case of the corpus through the kernel (tcx), classic filters and the user-space backend,
//! live in one rig, and offline. Every port is sent the same frames in the same order, and the ledgers say the same.
//!
//! Frames go in one at a time, each when all that became of its predecessor has arrived, and all from one CPU: what
//! is remembered between frames is kept by CPU, and order across ports is promised only while nothing waits. What
//! chance decides is drawn from the same number everywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Cursor, Write};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use corpus::{Case, Golden, Input};
use engine::userspace::{Event, Options, Stop, run};
use engine::{Error, Status};
use lab::capture::Capture;
use lab::enterprise::{End, TAP};
use offline::{Outputs, Source, Target};
use plan::plan::{Attach, Direction, Plan, Point, Port, Role};
use proof::rig::Rig;
use proof::wait;
use sys::Sys;
use wire::LinkType;
use wire::capture::{PcapWriter, Timestamp};

/// Cables as long as the longest frames of the corpus need.
const MTU: u32 = 9000;

/// What every port was sent, in order.
type Sent = BTreeMap<String, Vec<Vec<u8>>>;

/// What one backend did with a case.
struct Column {
    sent: Sent,
    ledger: String,
}

/// The frames of a case that can be sent by a packet socket and come through a virtual cable: an Ethernet header at
/// least, and behind a tag an EtherType and two octets more, without which the kernel drops it on arrival
/// (`skb_vlan_untag`).
fn sendable(case: &Case) -> Vec<&Input> {
    let whole = |data: &[u8]| match data.get(12..14) {
        Some([0x81, 0x00] | [0x88, 0xa8]) => data.len() >= 20,
        Some(_) => data.len() >= 14,
        None => false,
    };
    let judged = |input: &&Input| case.plan.hook_at(input.at).is_some() && whole(&input.data);
    case.frames.iter().filter(judged).collect()
}

/// The ports whose frames are compared: what leaves a watched interface is the host's.
fn sends(port: &Port) -> bool {
    !matches!(port.role, Role::Span | Role::Watched)
}

/// A stream into memory.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The offline column, and by port when each frame was sent.
fn offline(plan: &Plan, frames: &[&Input]) -> (Column, BTreeMap<String, Vec<u64>>) {
    // Live, nothing ever waits: every frame has arrived before the next is sent.
    let mut plan = plan.clone();
    plan.ports.iter_mut().for_each(|port| port.queue = None);
    let mut captures: BTreeMap<Point, (PcapWriter, Vec<u8>)> = BTreeMap::new();
    for input in frames {
        let (writer, out) = captures.entry(input.at).or_insert_with(|| {
            let mut out = Vec::new();
            (PcapWriter::new(LinkType::ETHERNET, true, &mut out), out)
        });
        let time = Timestamp(i128::from(input.time.0));
        writer.packet(time, &input.frame(), out).expect("a frame of a case can be written");
    }
    let source = |capture| Source::Stream("memory".to_owned(), Box::new(Cursor::new(capture)));
    let inputs =
        captures.into_iter().map(|(at, (_, capture))| offline::Input { at, source: source(capture) });
    let (mut outputs, mut streams) = (Outputs::default(), BTreeMap::new());
    for (id, port) in plan.ports().filter(|(_, port)| sends(port)) {
        let shared = Shared::default();
        outputs.ports.insert(id, Target::Stream(port.name.clone(), Box::new(shared.clone())));
        streams.insert(port.name.clone(), shared);
    }
    let report = offline::replay(&plan, inputs.collect(), outputs, |_| {})
        .unwrap_or_else(|error| panic!("offline: {error}"));
    let (mut sent, mut times) = (Sent::new(), BTreeMap::new());
    for (name, stream) in streams {
        let (frames, at): (&mut Vec<Vec<u8>>, &mut Vec<u64>) =
            (sent.entry(name.clone()).or_default(), times.entry(name).or_default());
        let capture = stream.0.lock().unwrap_or_else(PoisonError::into_inner);
        if capture.is_empty() {
            continue;
        }
        let read = wire::capture::read(&capture, |_, packet| {
            frames.push(packet.frame.data.to_vec());
            let time = packet.timestamp.expect("a pcap has times").0;
            at.push(u64::try_from(time).expect("cases are of no time before 0"));
        });
        read.expect("what a replay writes can be read");
    }
    (Column { sent, ledger: ledger(&report.ledger) }, times)
}

/// The part of the ledger that every backend has.
fn ledger(status: &Status) -> String {
    let mut text = String::new();
    for (name, port) in &status.ports {
        let (frames, bytes) = (port.entered.frames, port.entered.bytes);
        let _ = writeln!(
            text,
            "{name}: in {frames} ({bytes} B) = passed {} + blocked {} {:?} + consumed {} + left {} + errors {:?}",
            port.passed, port.blocked, port.blocked_by, port.consumed, port.left, port.errors
        );
    }
    for copy in &status.copies {
        let _ = writeln!(
            text,
            "{}: {} to {}: matched {} copied {} errors {:?}",
            copy.rule, copy.source, copy.monitor, copy.matched, copy.copied, copy.errors
        );
    }
    for rule in &status.blocked {
        let _ = writeln!(text, "{} blocks {} of {}", rule.rule, rule.blocked, rule.source);
    }
    for (name, monitor) in &status.monitors {
        let dropped: u64 = monitor.dropped.buffer.values().sum::<u64>() + monitor.dropped.device;
        let _ = writeln!(
            text,
            "{name}: copied {} sent {} dropped {dropped} queued {}",
            monitor.copied, monitor.sent, monitor.queued
        );
    }
    let _ = writeln!(text, "unaccounted {}", status.unaccounted);
    text
}

/// A tap box with a cable to every port of a plan that is not made by the plan itself.
fn rig(plan: &Plan) -> Rig {
    let cabled = plan.ports.iter().filter(|port| port.role != Role::Virtual);
    let rig = Rig::new(&cabled.map(|port| port.interface.as_str()).collect::<Vec<_>>(), MTU);
    for port in plan.ports.iter().filter(|port| port.role == Role::Watched) {
        // The host would speak IPv6 by itself, and be copied.
        let path = format!("ipv6/conf/{}/disable_ipv6", port.interface);
        rig.at(&rig.near(&port.interface), |sys, _| sys.sysctl_write(&path, "1"));
    }
    rig
}

/// Where what a port is sent can be seen.
fn seen_at(rig: &Rig, port: &Port) -> End {
    match port.role {
        Role::Virtual => End::new(TAP, &port.interface),
        _ => rig.far(&port.interface).clone(),
    }
}

/// Sends the frames of a case into a tap that is up, and gives what every port was sent.
fn carry(rig: &Rig, plan: &Plan, frames: &[&Input], times: &BTreeMap<String, Vec<u64>>) -> Sent {
    let ports = plan.ports.iter().filter(|port| sends(port));
    let mut captures: Vec<(&str, Capture)> =
        ports.map(|port| (port.name.as_str(), rig.capture(&seen_at(rig, port)))).collect();
    for input in frames {
        let interface = &plan.port(input.at.port).interface;
        let from = match input.at.direction {
            Direction::In => rig.far(interface).clone(),
            Direction::Out => rig.near(interface),
        };
        rig.send(&from, &[&input.data]);
        let due = |name: &str| times[name].iter().filter(|time| **time <= input.time.0).count();
        let look = || -> Vec<(String, usize, usize)> {
            let count = |(name, capture): &mut (&str, Capture)| {
                capture.drain().expect("a capture can be drained");
                let came = capture.frames().iter().filter(|frame| !frame.outgoing).count();
                ((*name).to_owned(), came, due(name))
            };
            captures.iter_mut().map(count).collect()
        };
        let what = format!("what becomes of the frame of {} ns arrives (port, seen, due)", input.time.0);
        wait::until(&what, look, |seen| seen.iter().all(|(_, came, due)| came >= due));
    }
    let taken = captures.into_iter().map(|(name, mut capture)| {
        capture.drain().expect("a capture can be drained");
        assert_eq!(capture.lost(), 0, "the test's own buffer is too small");
        let came = capture.take().into_iter().filter(|frame| !frame.outgoing);
        (name.to_owned(), came.map(|frame| frame.bytes).collect())
    });
    taken.collect()
}

/// The plan with all of its ports attached one way.
fn attached(plan: &Plan, attach: Attach) -> Plan {
    let mut plan = plan.clone();
    plan.ports.iter_mut().for_each(|port| port.attach = attach);
    plan
}

/// A case by a backend of the kernel; what it refuses, in its words.
fn kernel(
    rig: &Rig,
    plan: &Plan,
    frames: &[&Input],
    times: &BTreeMap<String, Vec<u64>>,
) -> Result<Column, Vec<String>> {
    let up = rig.on_tap(|sys| {
        sys.set_random(0);
        engine::up(sys, plan, "case.toml")
    });
    match up {
        Ok(_) => {}
        Err(Error::Refused(refusals)) => return Err(refusals.into_iter().map(|it| it.what).collect()),
        Err(error) => panic!("up: {error}"),
    }
    let sent = carry(rig, plan, frames, times);
    let ledger = ledger(&rig.settled());
    rig.down();
    Ok(Column { sent, ledger })
}

/// A case by the user-space backend.
fn userspace(rig: &Rig, plan: &Plan, frames: &[&Input], times: &BTreeMap<String, Vec<u64>>) -> Column {
    let stop = Stop::new(false).expect("a pair of sockets");
    let (ready, is_ready) = mpsc::channel();
    std::thread::scope(|scope| {
        let handle = stop.clone();
        let running = scope.spawn(move || {
            rig.on_tap(|sys| {
                sys.set_random(0);
                let mut tell = |event: Event<'_>| {
                    if matches!(event, Event::Ready(_)) {
                        // Nobody listens where the test has failed.
                        let _ = ready.send(());
                    }
                };
                run(sys, plan, &Options::default(), &handle, &mut tell)
            })
        });
        let sent = is_ready.recv().ok().map(|()| {
            let carried =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| carry(rig, plan, frames, times)));
            stop.ask();
            carried.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let ended = running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let status = ended.unwrap_or_else(|error| panic!("userspace: {error}"));
        Column { sent: sent.expect("a run that ends well was ready"), ledger: ledger(&status) }
    })
}

fn agree(case: &str, backend: &str, expected: &Column, got: &Column) {
    for (port, frames) in &expected.sent {
        let (want, have) = (frames.len(), got.sent[port].len());
        assert_eq!(have, want, "{case}, {backend}: frames sent by {port}\n{}", got.ledger);
        for (at, (want, have)) in frames.iter().zip(&got.sent[port]).enumerate() {
            assert_eq!(have, want, "{case}, {backend}: frame {at} sent by {port}");
        }
    }
    assert_eq!(got.ledger, expected.ledger, "{case}, {backend}: the ledger, and that of offline");
}

#[test]
fn privileged_every_backend_does_the_same_with_every_case() {
    let _alone = proof::alone();
    let mut refused = String::new();
    let (mut carried, mut left_out, mut classic) = (0, 0, 0);
    let cases = corpus::cases().expect("the corpus can be read");
    for case in &cases {
        let frames = sendable(case);
        let (expected, times) = offline(&case.plan, &frames);
        // Said where the test fails.
        println!("{}", case.name);
        let rig = rig(&case.plan);
        let tcx = kernel(&rig, &attached(&case.plan, Attach::Tcx), &frames, &times);
        let tcx = tcx.unwrap_or_else(|why| panic!("{}: tcx refuses: {why:?}", case.name));
        agree(&case.name, "tcx", &expected, &tcx);
        match kernel(&rig, &attached(&case.plan, Attach::Classic), &frames, &times) {
            Ok(column) => {
                agree(&case.name, "classic", &expected, &column);
                classic += 1;
            }
            Err(reasons) => {
                for reason in reasons {
                    let _ = writeln!(refused, "{}: {reason}", case.name);
                }
            }
        }
        let userspace = userspace(&rig, &attached(&case.plan, Attach::Auto), &frames, &times);
        agree(&case.name, "userspace", &expected, &userspace);
        carried += frames.len();
        left_out += case.frames.len() - frames.len();
    }
    println!(
        "{} cases, {carried} frames ({left_out} left out: runts, and those of places where none are judged), \
         {classic} cases by classic filters; these refuse:\n{refused}",
        cases.len()
    );
    assert!(carried > 500 && left_out < 50 && classic > 50, "{carried} frames, {left_out}, {classic} cases");
    let mut golden = Golden::from_environment();
    golden.check(&corpus::root().join("classic-refused.txt"), &refused);
    golden.finish();
}
