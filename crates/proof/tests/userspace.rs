//! The user-space backend: the same promises as in the kernel, against counts and captures that are not its own, and what
//! is its alone: rings that overflow, and an end that comes while frames flow.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use engine::Status;
use engine::userspace::{self, Event, Options, Stop};
use lab::capture::Capture;
use lab::enterprise::{End, TAP};
use lab::frames::{OddFrame, odd};
use plan::plan::Plan;
use proof::binary::{self, ConfigFile};
use proof::device::{Attach, DEVICES, Device, From, PORT_AGGREGATOR, Way};
use proof::rig::{Rig, Shown};
use proof::sender::{Stream, numbered, send_in_window, uniform};
use proof::sniffer::Sniffer;
use proof::{stacks, steer, wait};
use sys::{Linux, Sys};

/// Frames by each way.
const FRAMES: u64 = 3000;
/// How long nothing may come after the last expected frame.
const SILENCE: Duration = Duration::from_millis(200);
/// SIGTERM.
const TERMINATE: i32 = 15;

/// Asks a run to end, however the test ends.
struct Ends<'s>(&'s Stop);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// Runs a plan on the tap box while something is done; gives the ledger of the end. Before the first frame is taken,
/// `ready` is called by the run itself.
fn while_running<T>(
    rig: &Rig,
    plan: &Plan,
    options: &Options,
    ready: impl FnMut() + Send,
    work: impl FnOnce() -> T,
) -> (Status, T) {
    let stop = Stop::new(false).expect("a pair of sockets");
    let (said, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let mut ready = ready;
        let running = scope.spawn({
            let stop = &stop;
            move || {
                let mut tell = |event: Event<'_>| {
                    if matches!(event, Event::Ready(_)) {
                        // Where nobody listens the test has failed already.
                        let _ = said.send(());
                        ready();
                    }
                };
                rig.on_tap(|sys| userspace::run(sys, plan, options, stop, &mut tell))
            }
        });
        if heard.recv().is_err() {
            let ended = running.join().expect("a run ends without panic");
            panic!("it is not ready: {}", ended.expect_err("it has not been ready"));
        }
        let done = work();
        stop.ask();
        let status = running.join().expect("a run ends without panic");
        (status.unwrap_or_else(|error| panic!("run: {error}")), done)
    })
}

fn plan_of(config: &str) -> Plan {
    plan::compile("proof.toml", config).unwrap_or_else(|problems| panic!("{problems}")).0
}

/// The config of a device, for a backend that attaches nothing.
fn plan_of_device(device: &Device) -> Plan {
    let mut plan = plan_of(&device.config(Attach::Tcx));
    plan.ports.iter_mut().for_each(|port| port.attach = plan::plan::Attach::Auto);
    plan
}

fn rig_of(device: &Device, mtu: u32) -> Rig {
    let rig = Rig::new(&device.cables(), mtu);
    quiet(&rig);
    rig
}

/// The host speaks IPv6 by itself otherwise: on a watched interface, which the tap would rightly copy, and on ports
/// before and after a run, which the far ends would count.
fn quiet(rig: &Rig) {
    for port in rig.ports() {
        let path = format!("ipv6/conf/{port}/disable_ipv6");
        rig.at(&rig.near(port), |sys, _| sys.sysctl_write(&path, "1"));
    }
}

fn observer(rig: &Rig, device: &Device, monitor: &str) -> End {
    if device.makes == Some(monitor) { rig.near(monitor) } else { rig.far(monitor).clone() }
}

fn begins(rig: &Rig, way: &Way) -> End {
    if way.from == From::Far { rig.far(way.port).clone() } else { rig.near(way.port) }
}

/// An 802.1Q tag and an EtherType, and no octet behind them: the kernel drops it before packet sockets see it.
const RUNT: &str = "802.1Q, tag and EtherType only";

/// See `odd_frames.rs`: what a packet socket of the host's own takes.
fn host_can_send(frame: &OddFrame, mtu: u32) -> bool {
    let payload = u32::try_from(frame.bytes.len() - 14).expect("a frame is short");
    payload <= mtu || frame.bytes[12..14] == [0x81, 0x00]
}

/// Looks until every capture has what it should, and then for a while longer: nothing more may come.
fn compare(what: &str, captures: &mut [(String, Capture, Vec<&OddFrame>)]) {
    let deadline = Instant::now() + wait::SOON;
    let mut quiet_since = Instant::now();
    loop {
        let mut complete = true;
        for (_, capture, expected) in &mut *captures {
            capture.drain().expect("a capture can be drained");
            complete &= capture.frames().iter().filter(|it| !it.outgoing).count() >= expected.len();
        }
        if !complete {
            quiet_since = Instant::now();
        }
        if complete && quiet_since.elapsed() > SILENCE || Instant::now() > deadline {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    for (name, capture, expected) in captures {
        assert_eq!(capture.lost(), 0, "{what}: the capture at {name} is not complete");
        let taken = capture.take();
        let seen: Vec<&[u8]> = taken.iter().filter(|it| !it.outgoing).map(|it| it.bytes.as_slice()).collect();
        let wanted: Vec<&[u8]> = expected.iter().map(|frame| frame.bytes.as_slice()).collect();
        let first = seen.iter().zip(&wanted).position(|(a, b)| a != b);
        if let Some(first) = first {
            panic!("{what}: {name}: number {first}, {:?}, is {:02x?}", expected[first].name, seen[first]);
        }
        assert_eq!(seen.len(), wanted.len(), "{what}: frames at {name}");
    }
}

fn odd_frames_through(device: &Device, mtu: u32) {
    let rig = rig_of(device, mtu);
    for port in device.cables() {
        rig.at(rig.far(port), |sys, index| sys.set_mtu(index, mtu + 4));
    }
    let frames: Vec<OddFrame> = odd().into_iter().filter(|frame| frame.fits(mtu)).collect();
    let plan = plan_of_device(device);
    let (status, _) = while_running(
        &rig,
        &plan,
        &Options::default(),
        || {},
        || {
            let mut captures = Vec::new();
            for name in device.cables().into_iter().chain(device.makes) {
                captures.push((name.to_owned(), rig.capture(&observer(&rig, device, name)), Vec::new()));
            }
            for way in device.ways {
                let goes = |frame: &&OddFrame| way.from == From::Far || host_can_send(frame, mtu);
                let bytes: Vec<&[u8]> = frames.iter().filter(goes).map(|it| it.bytes.as_slice()).collect();
                rig.send(&begins(&rig, way), &bytes);
                // On the far end of a watched interface the host's own frames arrive, tap or not.
                for (name, _, expected) in &mut captures {
                    if way.passes_to == Some(name) || way.copies_to.contains(&name.as_str()) {
                        expected.extend(frames.iter().filter(goes).filter(|frame| frame.name != RUNT));
                    }
                }
            }
            compare(device.name, &mut captures);
        },
    );
    assert_eq!(status.unaccounted, 0, "{status}");
    for (name, port) in &status.ports {
        assert!(port.errors.is_empty() && port.lost_before == 0, "{name} of {}\n{status}", device.name);
    }
}

#[test]
fn privileged_odd_frames_in_user_space() {
    let _alone = proof::alone();
    DEVICES.iter().for_each(|device| odd_frames_through(device, 1500));
}

#[test]
fn privileged_jumbo_in_user_space() {
    let _alone = proof::alone();
    odd_frames_through(&PORT_AGGREGATOR, 9000);
}

/// Every count of the ledger against those of the interfaces at the far ends, and against tcpdump.
fn balances(device: &Device) {
    let rig = rig_of(device, 1500);
    let monitors: Vec<&str> = device.monitors.iter().chain(&device.makes).copied().collect();
    let ends: Vec<End> = device.cables().iter().map(|port| rig.far(port).clone()).collect();
    let plan = plan_of_device(device);
    let (status, (before, written)) = while_running(
        &rig,
        &plan,
        &Options::default(),
        || {},
        || {
            let before: BTreeMap<End, _> = ends.iter().map(|end| (end.clone(), rig.counts(end))).collect();
            let sniffers: Vec<_> = monitors
                .iter()
                .map(|monitor| (*monitor, Sniffer::start(&rig, &observer(&rig, device, monitor))))
                .collect();
            for (way, sender) in device.ways.iter().zip(1u8..) {
                let passed = way.passes_to.iter().map(|port| rig.far(port).clone());
                let copied = way.copies_to.iter().map(|monitor| observer(&rig, device, monitor));
                let seen_at: Vec<(End, u64)> = passed.chain(copied).map(|end| (end, 1)).collect();
                let stream = Stream { from: begins(&rig, way), frame: &|number| numbered(sender, number) };
                send_in_window(&rig, &[stream], &seen_at, FRAMES);
            }
            let expected =
                |monitor: &str| FRAMES * u64::try_from(device.copies_to(monitor).count()).expect("few");
            let written: Vec<_> = sniffers
                .into_iter()
                .map(|(monitor, sniffer)| (monitor, sniffer.finish(expected(monitor))))
                .collect();
            (before, written)
        },
    );
    let what = format!("{}\n{status}", device.name);
    assert_eq!(status.unaccounted, 0, "{what}");
    for port in device.ports {
        let ways = u64::try_from(device.ways.iter().filter(|way| way.port == *port).count()).expect("few");
        let ledger = &status.ports[*port];
        assert_eq!(ledger.entered.frames, ways * FRAMES, "in of {port}: {what}");
        assert_eq!(ledger.lost_before, 0, "{port}: {what}");
        if !device.watches {
            let far = rig.far(port);
            let received = rig.counts(far).rx_packets - before[far].rx_packets;
            let passed: u64 = device.passes_to(port).map(|way| status.ports[way.port].passed).sum();
            assert_eq!(passed, received, "passed to {port}: {what}");
        }
    }
    for (monitor, written) in &written {
        let ledger = &status.monitors[*monitor];
        let seen = u64::try_from(written.frames.len()).expect("few");
        assert_eq!((ledger.copied, ledger.sent), (seen, seen), "{monitor}: {what}");
        for (way, sender) in device.ways.iter().zip(1u8..).filter(|(way, _)| way.copies_to.contains(monitor))
        {
            let mut of_way = written.frames.iter().filter(|frame| frame[11] == sender);
            for number in 0..FRAMES {
                assert_eq!(of_way.next(), Some(&numbered(sender, number)), "{} at {monitor}", way.side);
            }
        }
    }
}

#[test]
fn privileged_user_space_ledgers_are_what_others_count() {
    let _alone = proof::alone();
    DEVICES.iter().for_each(balances);
}

#[test]
fn privileged_rules_steer_in_user_space() {
    let _alone = proof::alone();
    let rig = Rig::new(&["a", "b", "web", "rest"], 1500);
    quiet(&rig);
    let config = "[ports]\na = \"a\"\nb = \"b\"\nweb = \"web\"\nrest = \"rest\"\n\n[[device]]\nname = \"d\"\n\
                  kind = \"distributor\"\nlink = [\"a\", \"b\"]\nrules = \"pf.conf\"\n";
    let rules = "block in on a proto udp from any to any port 53\n\
                 pass in on a dup-to web proto tcp from any to any port 80\n\
                 pass in on a dup-to rest proto udp from any to any port 123\n";
    let plan = steer::plan(config, &[("pf.conf", rules)]);
    let of = |protocol, port: u16| {
        let mut frame = uniform(1, 60);
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14..34]
            .copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        // Where TCP has the length of its header.
        frame[46] = 0x50;
        frame[34..38].copy_from_slice(&[0x10, 0, (port >> 8) as u8, (port & 255) as u8]);
        frame
    };
    let frames = [of(6, 80), of(17, 53), of(17, 123), of(6, 443)];
    let (status, _) = while_running(
        &rig,
        &plan,
        &Options::default(),
        || {},
        || {
            let before = rig.counts(rig.far("b")).rx_packets;
            for _ in 0..100 {
                rig.send(rig.far("a"), &frames.each_ref().map(Vec::as_slice));
            }
            let arrived = || rig.counts(rig.far("b")).rx_packets - before;
            wait::until("three of four pass", arrived, |arrived| *arrived >= 300);
        },
    );
    let a = &status.ports["a"];
    assert_eq!((a.entered.frames, a.passed, a.blocked), (400, 300, 100), "{status}");
    let sent = |monitor: &str| status.monitors[monitor].sent;
    assert_eq!((sent("web"), sent("rest"), status.unaccounted), (100, 100, 0), "{status}");
}

#[test]
fn privileged_what_a_full_ring_drops_is_counted() {
    let _alone = proof::alone();
    const SENT: u64 = 3000;
    let rig = rig_of(&PORT_AGGREGATOR, 1500);
    let plan = plan_of_device(&PORT_AGGREGATOR);
    // Two blocks of the least size: a thousand small frames, or fewer.
    let options = Options { ring_bytes: 1, ..Options::default() };
    let (release, held) = mpsc::channel::<()>();
    let far = rig.far("b").clone();
    let before = rig.counts(&far).rx_packets;
    // The sockets are open, and nobody takes frames out of the rings until the test lets go.
    let ready = move || held.recv().expect("the test lets go");
    let on = &rig;
    // Moved, so that the run goes on if this does not.
    let (status, ()) = while_running(&rig, &plan, &options, ready, move || {
        let rig = on;
        let (frame, socket) = (uniform(1, 200), rig.socket(rig.far("a")));
        let came = || rig.counts(&rig.near("a")).rx_packets;
        let start = came();
        for sent in (100..=SENT).step_by(100) {
            socket.send_all(&[frame.as_slice(); 100]).expect("a cable takes frames");
            wait::until("frames come", came, |now| now - start >= sent);
        }
        release.send(()).expect("the run waits");
    });
    let a = &status.ports["a"];
    assert_eq!(a.lost_before_by.get("overrun"), Some(&a.lost_before), "{status}");
    assert!(a.lost_before > 0 && a.entered.frames > 0, "{status}");
    assert_eq!(a.entered.frames + a.lost_before, SENT, "{status}");
    let arrived = rig.counts(&far).rx_packets - before;
    assert_eq!((a.passed, status.unaccounted), (arrived, 0), "{status}");
    assert_eq!(a.passed + a.errors.values().sum::<u64>(), a.entered.frames, "{status}");
}

#[test]
fn privileged_what_is_left_at_the_end_is_counted() {
    let _alone = proof::alone();
    const SENT: u64 = 300;
    let rig = rig_of(&PORT_AGGREGATOR, 1500);
    let plan = plan_of_device(&PORT_AGGREGATOR);
    let options = Options { frames_max: Some(100), ..Options::default() };
    let (release, held) = mpsc::channel::<()>();
    let ready = move || held.recv().expect("the test lets go");
    let on = &rig;
    let (status, ()) = while_running(&rig, &plan, &options, ready, move || {
        let (frame, socket) = (uniform(1, 200), on.socket(on.far("a")));
        let came = || on.counts(&on.near("a")).rx_packets;
        let start = came();
        for sent in (100..=SENT).step_by(100) {
            socket.send_all(&[frame.as_slice(); 100]).expect("a cable takes frames");
            wait::until("frames come", came, |now| now - start >= sent);
        }
        release.send(()).expect("the run waits");
    });
    let a = &status.ports["a"];
    assert_eq!((a.entered.frames, a.passed, a.lost_before), (100, 100, 200), "{status}");
    assert_eq!(a.lost_before_by.get("left"), Some(&200), "{status}");
    assert_eq!(status.unaccounted, 0, "{status}");
}

#[test]
fn privileged_super_frames_are_cut_in_user_space() {
    let _alone = proof::alone();
    const OCTETS: usize = 20_000_000;
    let ends = [End::new("left", "eth0"), End::new("right", "eth0")];
    for v6 in [false, true] {
        let outside = End::new("outside", "m1");
        let rig = Rig::with_ends(&[("a", ends[0].clone()), ("b", ends[1].clone()), ("m1", outside)], 1500);
        quiet(&rig);
        let plan = plan_of_device(&PORT_AGGREGATOR);
        let sniffer = Sniffer::start(&rig, rig.far("m1"));
        let (status, _) = while_running(
            &rig,
            &plan,
            &Options::default(),
            || {},
            || {
                stacks::address(&rig, &ends[0], 1, 1);
                stacks::address(&rig, &ends[1], 1, 2);
                let (four, six) = stacks::addresses(1, 2);
                stacks::transfer(&rig, "left", "right", if v6 { six } else { four }, OCTETS);
                stacks::silence(&rig, &ends);
            },
        );
        let written = sniffer.finish(status.monitors["m1"].sent);
        let (seen, sent) = (u64::try_from(written.frames.len()).expect("few"), status.monitors["m1"].sent);
        assert_eq!((seen, status.unaccounted), (sent, 0), "{status}");
        let handed = rig.counts(&ends[0]).tx_packets;
        assert!(handed * 2 < status.ports["a"].entered.frames, "no super-frames: {handed}\n{status}");
        for (number, (frame, checks)) in (1..).zip(written.checked()) {
            assert!(frame.len() <= 1514, "frame {number} has {} octets", frame.len());
            assert!(!checks.any_wrong(), "frame {number}: {checks:?} {frame:02x?}");
        }
    }
}

#[test]
fn privileged_a_rate_drops_by_side_in_user_space() {
    let _alone = proof::alone();
    const SENT: usize = 400;
    let rig = rig_of(&PORT_AGGREGATOR, 1500);
    let config = PORT_AGGREGATOR.config_with(Attach::Tcx, ", rate = \"64kbit\", buffer = \"20kB\"");
    let before = rig.counts(rig.far("m1")).rx_packets;
    let (status, _) = while_running(
        &rig,
        &plan_of(&config),
        &Options::default(),
        || {},
        || {
            let passed = rig.counts(rig.far("b")).rx_packets;
            let frame = uniform(1, 1000);
            let batch = vec![frame.as_slice(); SENT / 4];
            for sent in 1..=4u64 {
                rig.send(rig.far("a"), &batch);
                let arrived = || rig.counts(rig.far("b")).rx_packets - passed;
                wait::until("frames pass", arrived, |arrived| *arrived >= sent * 100);
            }
        },
    );
    let (a, m1) = (&status.ports["a"], &status.monitors["m1"]);
    // The wire is not hurt by what its monitor cannot take.
    assert_eq!((a.passed, m1.copied), (400, 400), "{status}");
    assert!(m1.dropped.buffer["a"] > 300 && m1.dropped.buffer["b"] == 0, "{status}");
    assert_eq!((m1.sent + m1.dropped.buffer["a"], m1.queued), (400, 0), "{status}");
    assert_eq!(rig.counts(rig.far("m1")).rx_packets - before, m1.sent, "{status}");
    assert_eq!(status.unaccounted, 0, "{status}");
}

/// What a run may change, of each interface on the tap box.
fn settings(rig: &Rig) -> Vec<String> {
    rig.on_tap(|sys: &mut Linux| {
        let mut said = Vec::new();
        for link in sys.links().expect("interfaces can be listed") {
            let features = sys.features(&link.name).expect("features can be read");
            let features: Vec<_> = features.into_iter().map(|it| (it.name, it.wanted)).collect();
            let path = format!("ipv6/conf/{}/disable_ipv6", link.name);
            let ipv6 = sys.sysctl_read(&path).expect("there is IPv6");
            let qdiscs: Vec<_> =
                sys.qdiscs(link.index).expect("they can be listed").into_iter().map(|it| it.kind).collect();
            said.push(format!(
                "{} {:x} {} {qdiscs:?} {ipv6} {features:?}",
                link.name, link.flags, link.promiscuity
            ));
        }
        said
    })
}

#[test]
fn privileged_a_run_is_silent_and_leaves_interfaces_as_they_were() {
    let _alone = proof::alone();
    let rig = Rig::new(&PORT_AGGREGATOR.cables(), 1500);
    let before = settings(&rig);
    let frame = uniform(9, 60);
    let (status, during) = while_running(
        &rig,
        &plan_of_device(&PORT_AGGREGATOR),
        &Options::default(),
        || {},
        || {
            for port in ["a", "b", "m1"] {
                rig.send_in_vain(&rig.near(port), &[&frame]);
            }
            rig.send(rig.far("m1"), &[&frame]);
            settings(&rig)
        },
    );
    assert_ne!(before, during);
    assert_eq!(before, settings(&rig));
    assert_eq!((status.monitors["m1"].sent, status.monitors["m1"].sensor_sent), (0, 1), "{status}");
    assert_eq!((status.ports["a"].entered.frames, status.ports["b"].entered.frames), (0, 0), "{status}");
}

#[test]
fn privileged_a_run_that_is_told_to_end_while_frames_flow_adds_up() {
    let _alone = proof::alone();
    /// Frames that are sent before it is told.
    const BEFORE: u64 = 20_000;
    let rig = rig_of(&PORT_AGGREGATOR, 1500);
    let config = ConfigFile::new(&PORT_AGGREGATOR.config(Attach::Tcx));
    let before = ["b", "m1"].map(|port| rig.counts(rig.far(port)).rx_packets);
    let mut child = binary::start(&rig, &["run", config.path(), "--json"]);
    let mut said = BufReader::new(child.stderr.take().expect("it was piped"));
    let mut line = String::new();
    while !line.contains("the wire stops with it") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("it speaks text"), 0, "it ended before it was ready");
    }
    let flowing = || {
        let socket = rig.socket(rig.far("a"));
        let mut sent = 0u64;
        while child.try_wait().expect("it is our child").is_none() {
            socket.send(&numbered(1, sent)).expect("a cable takes frames");
            sent += 1;
            if sent == BEFORE {
                sys::process::kill(child.id(), TERMINATE).expect("it runs");
            }
        }
        sent
    };
    let mut flowing = flowing;
    let sent = rig.network().inside(TAP, &mut flowing).expect("the tap box can be entered");
    let output = child.wait_with_output().expect("its output can be read");
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("it speaks text");
    assert_eq!(output.status.code(), Some(0), "{rest}");
    let status = binary::ledger(&output);
    let a = &status.ports["a"];
    assert_eq!(status.unaccounted, 0, "{rest}{}", status);
    // All that came while the doors were open, and nothing twice.
    let known = a.entered.frames + a.lost_before;
    assert!((BEFORE..=sent).contains(&known) && a.entered.frames > 1000, "{}", status);
    let now = ["b", "m1"].map(|port| rig.counts(rig.far(port)).rx_packets);
    assert_eq!(a.passed, now[0] - before[0], "{:?}", Shown(status.clone()));
    assert_eq!(status.monitors["m1"].sent, now[1] - before[1], "{:?}", Shown(status.clone()));
}

#[test]
fn privileged_after_a_run_that_was_killed_another_one_runs_and_cleans_up() {
    let _alone = proof::alone();
    let rig = rig_of(&PORT_AGGREGATOR, 1500);
    let filters = || {
        rig.on_tap(|sys| {
            let index = sys.link_by_name("a").expect("links are listed").expect("it is there").index;
            let found = [sys::H_EGRESS, sys::H_INGRESS].map(|parent| sys.classic_filters(index, parent));
            found.map(|found| found.expect("filters are listed").len())
        })
    };
    let config = ConfigFile::new(&PORT_AGGREGATOR.config(Attach::Tcx));
    let mut child = binary::start(&rig, &["run", config.path()]);
    let mut said = BufReader::new(child.stderr.take().expect("it was piped"));
    let mut line = String::new();
    while !line.contains("the wire stops with it") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("it speaks text"), 0, "it ended before it was ready");
    }
    child.kill().expect("it runs");
    child.wait().expect("it is our child");
    assert_eq!(filters(), [1, 1]);
    let (status, ()) = while_running(
        &rig,
        &plan_of_device(&PORT_AGGREGATOR),
        &Options::default(),
        || {},
        || {
            assert_eq!(filters(), [1, 1]);
        },
    );
    assert_eq!((filters(), status.unaccounted), ([0, 0], 0));
    let qdiscs = rig.on_tap(|sys| {
        let index = sys.link_by_name("a").expect("links are listed").expect("it is there").index;
        sys.qdiscs(index).expect("they are listed")
    });
    assert!(qdiscs.iter().all(|qdisc| qdisc.kind != "clsact"), "{qdiscs:?}");
}
