//! Simulations: the chapter's example by arithmetic, SPAN ports, hubs, lines, seeds.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of frames on paper")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use offline::{Look, Outputs, Report, Simulated, Target, simulate};
use plan::arbitrary::{self, Random};
use plan::ledger::PortStatus;
use plan::plan::Plan;
use plan::simulation::{Framing, Line, Simulation, port_spec, traffic_spec};
use wire::capture::Reader;

/// The example of the manual.
const EXAMPLE: &str = include_str!("../../../../examples/simulate.toml");

/// A stream into memory.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Time in nanoseconds and octets of each frame of a capture.
fn frames(capture: &[u8]) -> Vec<(i128, Vec<u8>)> {
    let mut reader = Reader::new();
    let mut input = capture;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next(&mut input).unwrap() {
        frames.push((packet.timestamp.unwrap().0, packet.frame.data.to_vec()));
    }
    frames
}

fn plan(config: &str) -> (Plan, Simulation) {
    let compiled = plan::compile_with("test.toml", config, &plan::no_files).unwrap();
    (compiled.plan, compiled.simulation)
}

/// What comes, to the ports of a plan.
fn traffic(plan: &Plan, told: &Simulation, duration_ns: u64, sources: &[&str]) -> Simulation {
    let traffic = sources.iter().map(|source| port_spec(plan, source).unwrap()).collect();
    Simulation { traffic, duration_ns: Some(duration_ns), ..told.clone() }
}

fn run(plan: &Plan, simulation: &Simulation) -> Simulated {
    let simulated = simulate(plan, simulation, Vec::new(), Outputs::default(), Look::All, |_| {}).unwrap();
    assert_eq!(simulated.report.ledger.unaccounted, 0);
    assert!(simulated.report.ledger.monitors.values().all(|monitor| monitor.queued == 0));
    simulated
}

fn dropped(report: &Report) -> BTreeMap<String, u64> {
    report.ledger.monitors["ids"].dropped.buffer.clone()
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn thirty_and_fifty_need_no_memory() {
    let (plan, told) = plan(EXAMPLE);
    for framing in [Framing::NONE, Framing::ETHERNET] {
        let told = Simulation { framing, ..told.clone() };
        let simulation = traffic(&plan, &told, 10 * SECOND, &["a=cbr:30Mbit:1500", "b=cbr:50Mbit:1500"]);
        let report = run(&plan, &simulation).report;
        assert_eq!(report.ledger.monitors["ids"].dropped.buffer.values().sum::<u64>(), 0);
        // Nothing but the frame of the other side is ever in the way.
        let sides = &report.measured[0].sides;
        assert!(sides.iter().all(|side| side.measures.queue.deepest_bytes <= 1500));
        // Its own time on the wire, and at most that of one before it.
        let frame_ns = u64::from(framing.wire_bytes(1500)) * 80;
        let delay = report.measured[0].total.delay.unwrap();
        assert!(delay.max_ns <= 2 * frame_ns + frame_ns / 50, "{delay:?}");
    }
}

/// 90 + 50 on 100 Mbit/s: 40 Mbit/s of wire are too much. Gives when the first frame is lost, and how many are lost.
fn overflow(buffer_bytes: u64, framing: Framing, duration_s: u64) -> (u64, u64) {
    let (mut plan, told) = plan(EXAMPLE);
    plan.ports
        .iter_mut()
        .filter_map(|port| port.queue.as_mut())
        .for_each(|queue| queue.buffer_bytes = buffer_bytes);
    let told = Simulation { framing, ..told };
    let sources = ["a=cbr:90Mbit:1500", "b=cbr:50Mbit:1500"];
    let report = run(&plan, &traffic(&plan, &told, duration_s * SECOND, &sources)).report;
    let dropped = dropped(&report);
    assert_eq!(dropped["b"], 0, "the side that takes less than its share loses nothing");
    let total = &report.measured[0].total;
    assert_eq!(total.dropped.frames, dropped["a"]);
    (total.dropped.first_ns.unwrap(), dropped["a"])
}

#[test]
fn ninety_and_fifty_overflow_when_arithmetic_says_so_and_lose_the_surplus() {
    // Octets of the buffer, framing, and the time in which 40 Mbit/s fill it with frames: on paper 0.200 s and 0.210 s,
    // and a little later where each frame of 1500 takes 1524 of the line.
    let cases = [
        (1_000_000, Framing::NONE, 0.2),
        (1 << 20, Framing::NONE, 0.209_715_2),
        (1_000_000, Framing::ETHERNET, 0.203_2),
        (1 << 20, Framing::ETHERNET, 0.213_070_6),
    ];
    for (buffer, framing, paper_s) in cases {
        for duration_s in [1, 2, 30] {
            let (first_ns, lost) = overflow(buffer, framing, duration_s);
            // Frames come and go as a whole: the time is that on paper within about one frame of the surplus.
            let wire_bits = f64::from(framing.wire_bytes(1500)) * 8.0;
            let frame_s = wire_bits / 40e6;
            let first_s = first_ns as f64 / 1e9;
            assert!((paper_s - first_s).abs() <= 1.5 * frame_s, "{first_s}, on paper {paper_s}");
            // To the frame: what came, without what the line began and what waits in the end.
            let within = |rate_bits: f64| (duration_s as f64 * rate_bits / wire_bits).ceil() as u64;
            let (came, begun, waits) = (within(90e6) + within(50e6), within(100e6), buffer / 1500);
            let must = came - begun - waits;
            assert!(
                lost.abs_diff(must) <= 1,
                "{buffer}, {framing:?}, {duration_s} s: {lost}, arithmetic {must}"
            );
            let surplus = (duration_s as f64 - paper_s) * 40e6 / wire_bits;
            assert!((lost as f64 - surplus).abs() <= 2.0, "{lost}, surplus {surplus}");
        }
    }
}

#[test]
fn after_the_burst_the_buffer_drains_in_order() {
    let (plan, told) = plan(EXAMPLE);
    // Each frame is a flow of its own, by which it is known.
    let sources = ["a=cbr:90Mbit:1500:flows=1000000@0s-150ms", "b=cbr:50Mbit:1500:flows=1000000@0s-150ms"];
    let simulation = traffic(&plan, &told, SECOND, &sources);
    let written = Shared::default();
    let mut outputs = Outputs::default();
    outputs
        .ports
        .insert(plan.port_named("ids").unwrap(), Target::Stream("ids".into(), Box::new(written.clone())));
    let report = simulate(&plan, &simulation, Vec::new(), outputs, Look::Rated, |_| {}).unwrap().report;
    assert_eq!(report.ledger.monitors["ids"].dropped.buffer.values().sum::<u64>(), 0, "0.150 s fit");
    let frames = frames(&written.0.lock().unwrap());
    assert_eq!(frames.len(), 1125 + 625);
    // One frame each 120 us, from the first to the last, long after the burst: the line is never idle.
    for (number, (time, _)) in (0..).zip(&frames) {
        assert_eq!(*time, number * 120_000);
    }
    assert!(frames.last().unwrap().0 > 200_000_000);
    for side in [0, 1] {
        // 10.0.SIDE.HOST from port 1024 on: the flow, and so the number.
        let number = |frame: &[u8]| {
            let port = u64::from(u16::from_be_bytes([frame[34], frame[35]]));
            (port - 1024) * 254 + u64::from(frame[29]) - 1
        };
        let of_side: Vec<u64> = frames.iter().filter(|it| it.1[28] == side).map(|it| number(&it.1)).collect();
        let all = if side == 0 { 1125 } else { 625 };
        assert_eq!(of_side, (0..all).collect::<Vec<_>>(), "first in, first out");
    }
}

const SPAN: &str = r#"
[ports]
s = { interface = "eth1", speed = "100Mbit" }
ids = { interface = "eth3", rate = "1Gbit", buffer = "1MB" }

[[device]]
name = "mirror"
kind = "distributor"
spans = ["s"]

[[device.copy]]
to = ["ids"]
"#;

#[test]
fn a_span_port_loses_what_a_tap_carries() {
    let flawed = ["=cbr:1Mbit:50", "=cbr:2Mbit:1600", "=cbr:10Mbit:1000:errors=10%"];
    let (plan, told) = plan(SPAN);
    let sources: Vec<String> = flawed.iter().map(|spec| format!("s{spec}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let ledger = run(&plan, &traffic(&plan, &told, SECOND, &sources)).report.ledger;
    let lost = &ledger.ports["s"].lost_before_by;
    // 84 and 1624 octets of wire.
    assert_eq!(
        (lost["runt"], lost["giant"]),
        (1_000_000_u64.div_ceil(84 * 8), 2_000_000_u64.div_ceil(1624 * 8))
    );
    let frames = 10_000_000_u64.div_ceil(1024 * 8);
    assert!((frames / 20..frames / 5).contains(&lost["damaged"]), "{lost:?}");
    assert_eq!(ledger.ports["s"].consumed, frames - lost["damaged"]);
    assert_eq!(ledger.ports["s"].lost_before, lost.values().sum::<u64>());

    let (plan, told) = self::plan(EXAMPLE);
    let sources: Vec<String> = flawed.iter().map(|spec| format!("a{spec}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let ledger = run(&plan, &traffic(&plan, &told, SECOND, &sources)).report.ledger;
    assert_eq!(
        (ledger.ports["a"].lost_before, ledger.monitors["ids"].sent),
        (0, ledger.ports["a"].entered.frames)
    );
}

#[test]
fn a_span_port_that_is_oversubscribed_loses_the_surplus() {
    let (plan, told) = plan(SPAN);
    // Two directions of a full-duplex line of 100 Mbit/s, mirrored to one of 100 Mbit/s: 90 + 90.
    let sources = ["s=cbr:90Mbit:1000", "s=cbr:90Mbit:1000"];
    let ledger = run(&plan, &traffic(&plan, &told, 10 * SECOND, &sources)).report.ledger;
    let port = &ledger.ports["s"];
    let (came, carried) = (2 * 900_000_000_u64.div_ceil(1024 * 8), 1_000_000_000 / (1024 * 8));
    assert_eq!(port.entered.frames + port.lost_before, came);
    assert_eq!(port.lost_before_by.keys().collect::<Vec<_>>(), ["oversubscribed"]);
    // What the switch holds in the end still comes.
    assert!((carried..=carried + 132).contains(&port.entered.frames), "{}, {carried}", port.entered.frames);
}

#[test]
fn a_line_paces_its_sender() {
    let (plan, told) = plan(EXAMPLE);
    // Twice what the line of the port carries, for 20 ms: the sender's queue holds it.
    let simulation = traffic(&plan, &told, SECOND, &["a=cbr:200Mbit:1500@0ms-20ms"]);
    let report = run(&plan, &simulation).report;
    assert_eq!(report.ledger.ports["a"].lost_before, 0);
    // It comes as fast as the monitor port sends, and so nothing waits there.
    assert_eq!(report.measured[0].total.queue.deepest_bytes, 0);
    let simulation = traffic(&plan, &told, SECOND, &["a=cbr:200Mbit:1500"]);
    let port = &run(&plan, &simulation).report.ledger.ports["a"];
    assert_eq!(port.lost_before_by.keys().collect::<Vec<_>>(), ["sender"]);
    let carried = 100_000_000 / 12_000 + 1009 + 1;
    assert!(port.entered.frames.abs_diff(carried) <= 1, "{} {carried}", port.entered.frames);
}

#[test]
fn a_monitor_port_sends_no_faster_than_its_line() {
    let drops = |keys: &str| {
        let (plan, told) = plan(&EXAMPLE.replace("rate = \"100Mbit\", buffer = \"1MB\"", keys));
        let sources = ["a=cbr:90Mbit:1500", "b=cbr:50Mbit:1500"];
        let report = run(&plan, &traffic(&plan, &told, 2 * SECOND, &sources)).report;
        assert_eq!(report.measured[0].rate_bits, Some(100_000_000), "{keys}");
        dropped(&report)["a"]
    };
    let on_paper = drops("rate = \"100Mbit\", buffer = \"1514000B\"");
    assert!(on_paper > 5000);
    assert_eq!(drops("speed = \"100Mbit\""), on_paper);
    assert_eq!(drops("speed = \"100Mbit\", rate = \"1Gbit\", buffer = \"1514000B\""), on_paper);
    assert_eq!(drops("speed = \"1Gbit\", rate = \"100Mbit\", buffer = \"1514000B\""), on_paper);
}

const HUB: &str = include_str!("../../../../examples/hub.toml");

#[test]
fn what_collides_at_a_hub_is_lost_before_the_plan() {
    let (plan, told) = plan(&HUB.replace("# taps", "taps"));
    let report = run(&plan, &told).report;
    let ledger = &report.ledger;
    let hub = &report.hubs[0];
    assert!(hub.lost() > 0 && hub.delivered() > 0, "{hub:?}");
    let entered: u64 = ledger.ports.values().map(|port| port.entered.frames).sum();
    let lost: u64 = ledger.ports.values().map(|port| port.lost_before).sum();
    assert_eq!((entered, lost), (hub.delivered(), hub.lost()));
    assert!(ledger.ports["a"].lost_before_by.contains_key("collided"), "{ledger}");
    // Two stations in place of the taps try again.
    let (plan, told) = self::plan(HUB);
    let stations = run(&plan, &told).report;
    assert!(stations.hubs[0].lost() < hub.lost(), "{:?}", stations.hubs[0]);
}

#[test]
fn equal_seeds_give_equal_outcomes_and_others_do_not() {
    let (plan, told) = plan(EXAMPLE);
    let sources = ["a=poisson:80Mbit:mix:flows=20:errors=1%", "b=onoff:100Mbit:900:3ms:4ms"];
    let base = traffic(&plan, &told, 2 * SECOND, &sources);
    let json = |seed| {
        let simulated = run(&plan, &Simulation { seed, ..base.clone() });
        serde_json::to_string(&simulated.report).unwrap()
    };
    assert_eq!(json(1), json(1));
    assert_ne!(json(1), json(2));
}

#[test]
fn sources_send_what_they_say_in_the_long_run() {
    let (plan, told) = plan(EXAMPLE);
    let wire = |packets: u64, bytes: u64| packets * 24 + bytes;
    let told = Simulation { framing: Framing::ETHERNET, lines: Vec::new(), ..told };
    let sources = [
        ("a=cbr:40Mbit:mix", 40e6, 1e-4),
        ("a=poisson:40Mbit:mix", 40e6, 1e-2),
        // A frame that begins while it is on is sent whole: 21 in 3 ms, of 724 octets.
        ("a=onoff:40Mbit:700:3ms:1ms", 30e6, 1e-3),
        ("a=cbr:40Mbit:1514@2s-4s", 8e6, 1e-4),
    ];
    for (source, mean_bits, most) in sources {
        let report = run(&plan, &traffic(&plan, &told, 10 * SECOND, &[source])).report;
        let input = &report.inputs[0];
        let bits = wire(input.packets, input.bytes) as f64 * 0.8;
        assert!((bits / mean_bits - 1.0).abs() < most, "{source}: {bits}");
    }
}

/// Random plans, lines and traffic: every frame is accounted for, and what is lost before the plan is no part of it.
#[test]
fn every_frame_of_random_simulations_is_accounted_for() {
    let first = corpus::seed();
    let (mut entered, mut lost, mut dropped) = (0, 0, 0);
    for seed in (0..150).map(|number| first.wrapping_add(number)) {
        let random = &mut Random::new(seed);
        let plan = if random.one_in(2) { arbitrary::steering_plan(random) } else { arbitrary::plan(random) };
        let mut simulation = Simulation { duration_ns: Some(20_000_000), seed, ..Simulation::default() };
        for (port, _) in plan.ports() {
            let speed_bits = 1_000_000 * (1 + random.below(200)) as u64;
            if random.one_in(2) {
                simulation.lines.push(Line { port, speed_bits });
            }
        }
        for _ in 0..random.below(6) {
            let Some(at) = arbitrary::point(random, &plan) else { continue };
            let rate = 1_000_000 * (1 + random.below(300)) as u64;
            let size =
                if random.one_in(2) { "mix".to_owned() } else { (14 + random.below(2000)).to_string() };
            let pattern = match random.below(3) {
                0 => format!("cbr:{rate}bit:{size}"),
                1 => format!("poisson:{rate}bit:{size}"),
                _ => format!("onoff:{rate}bit:{size}:1ms:2ms"),
            };
            let options = format!("{pattern}:flows={}:errors=1%", 1 + random.below(40));
            simulation.traffic.push(traffic_spec(&options).unwrap().at(at));
        }
        let simulated =
            simulate(&plan, &simulation, Vec::new(), Outputs::default(), Look::All, |_| {}).unwrap();
        let report = &simulated.report;
        let ledger = &report.ledger;
        assert_eq!(ledger.unaccounted, 0, "seed {seed}: {ledger}");
        let made: u64 = report.inputs.iter().map(|input| input.packets).sum();
        let sum = |of: fn(&PortStatus) -> u64| ledger.ports.values().map(of).sum::<u64>();
        let (came, before) = (sum(|port| port.entered.frames), sum(|port| port.lost_before));
        assert_eq!(made, came + before, "seed {seed}");
        for measured in &report.measured {
            let monitor = &ledger.monitors[&measured.name];
            let drops: u64 = monitor.dropped.buffer.values().sum();
            let total = &measured.total;
            let told = (total.offered.frames, total.carried.frames, total.dropped.frames);
            assert_eq!((monitor.queued, told), (0, (monitor.copied, monitor.sent, drops)), "seed {seed}");
            dropped += drops;
        }
        (entered, lost) = (entered + came, lost + before);
    }
    assert!(entered > 10_000 && lost > 100 && dropped > 100, "{entered}, {lost}, {dropped}");
}

const BALANCE: &str = r#"
[ports]
s = "eth1"
x = "eth2"
y = "eth3"

[[device]]
name = "balance"
kind = "distributor"
spans = ["s"]

[[device.copy]]
to = ["x", "y"]
balance = "METHOD"
"#;

#[test]
fn verdicts_that_are_kept_are_those_that_would_be_given_again() {
    for method in ["flow", "round-robin"] {
        let (plan, told) = plan(&BALANCE.replace("METHOD", method));
        // Verdicts on so many flows are not kept; both send the first 5000 of them.
        let sent = |flows: u32| {
            let source = format!("s=cbr:60Mbit:1476:flows={flows}");
            let ledger = run(&plan, &traffic(&plan, &told, SECOND, &[&source])).report.ledger;
            assert_eq!(ledger.ports["s"].consumed, 5000);
            ["x", "y"].map(|port| ledger.monitors[port].sent)
        };
        assert_eq!(sent(6000), sent(1_000_000), "{method}");
        if method == "round-robin" {
            assert_eq!(sent(1), [2500, 2500], "frames of one flow take turns all the same");
        } else {
            let [x, y] = sent(1);
            assert_eq!((x.min(y), x.max(y)), (0, 5000));
        }
    }
}

#[test]
fn what_never_ends_and_what_leads_nowhere_is_refused() {
    let (plan, told) = plan(EXAMPLE);
    let traffic = |source: &str| Simulation {
        traffic: vec![port_spec(&plan, source).unwrap()],
        duration_ns: None,
        ..told.clone()
    };
    let refused = |simulation: &Simulation| {
        let result = simulate(&plan, simulation, Vec::new(), Outputs::default(), Look::All, |_| {});
        result.unwrap_err().to_string()
    };
    assert_eq!(
        refused(&traffic("a=cbr:1Mbit:60")),
        "what comes to a never ends\nhelp: say how long the simulation is, or when its traffic ends: @0s-10s"
    );
    assert!(refused(&traffic("a=/nowhere/x.pcap")).starts_with("/nowhere/x.pcap: cannot be opened"));
    run(&plan, &traffic("a=cbr:1Mbit:60@0s-10ms"));
}

/// Frames that come in a second, by the rate that they would have on paper.
#[test]
fn rates_are_kept_however_fast_and_however_short_the_bursts() {
    let (plan, told) = plan(EXAMPLE);
    let came = |source: &str, duration_ns| {
        let simulation = traffic(&plan, &told, duration_ns, &[source]);
        run(&plan, &simulation).report.inputs[0].packets
    };
    // The example counts octets of frames alone. 45 Mbit/s of frames of 1500.
    let onoff = came("a=onoff:90Mbit:1500:200us:200us", SECOND);
    assert!(onoff.abs_diff(3750) <= 1, "{onoff}");
    // 1 Tbit/s of 60 octets: 0.48 ns each, within 5 standard deviations.
    let poisson = came("a=poisson:1Tbit:60", 100_000);
    assert!(poisson.abs_diff(208_333) <= 2282, "{poisson}");
}
