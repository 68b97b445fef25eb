//! Random plans, with rules and without, frames and times: a replay says of each frame what `eval` says, in merged
//! order, with what rules remember carried along.

use std::collections::BTreeMap;

use plan::arbitrary::{self, Random};
use plan::eval::{Fate, State, Time, Verdict, eval};
use plan::ledger::{MonitorStatus, PortStatus};
use plan::plan::{Plan, Sink};
use wire::Frame;

use super::scratch::{Packet, pcap, replay_all, stream};

/// The captures, and what must come out, worked out the slow way: all frames sorted by time, stably.
struct Expected {
    ports: BTreeMap<String, Vec<Packet>>,
    entered: u64,
    matched: u64,
    fates: [u64; 4],
}

type Sent = (i128, usize, Vec<u8>);

fn expected(plan: &Plan, points: &[plan::plan::Point], mut frames: Vec<Sent>) -> Expected {
    frames.sort_by_key(|(us, input, _)| (*us, *input));
    let mut expected = Expected { ports: BTreeMap::new(), entered: 0, matched: 0, fates: [0; 4] };
    let mut state = State::default();
    for (us, input, data) in frames {
        let frame = Frame::ethernet(&data).unwrap();
        let Verdict { hook, fate, copies } =
            eval(plan, &mut state, Time(0), 0, points[input], &frame).unwrap();
        expected.entered += 1;
        expected.matched += copies.len() as u64;
        let mut to = Vec::new();
        let fate = match fate {
            Fate::Left => 0,
            Fate::Consumed => 1,
            Fate::Blocked(_) => 2,
            Fate::Passed(ports) => {
                to.extend(ports);
                3
            }
        };
        expected.fates[fate] += 1;
        to.extend(copies.iter().map(|index| match plan.sink(Plan::copy(plan.hook(hook), *index).sink) {
            Sink::Port(port) => *port,
        }));
        for port in to {
            let packet = (us * 1000, 1, frame.wire_len, data.clone());
            expected.ports.entry(plan.port(port).name.clone()).or_default().push(packet);
        }
    }
    expected
}

/// Pairs of a plan and a frame that a run compares, at least, of plans with rules and as many of plans without.
const PAIRS: u64 = 100_000;

#[test]
fn a_replay_says_what_eval_says() {
    let (mut steered, mut plain) = (0, 0);
    let first = corpus::seed();
    for seed in (0..).map(|number| first.wrapping_add(number)) {
        let steers = seed.is_multiple_of(2);
        *if steers { &mut steered } else { &mut plain } += compare(seed, steers);
        if steered.min(plain) >= PAIRS {
            break;
        }
    }
}

/// Replays random frames through a random plan; one that steers has rules, and packets that they often hold for. How
/// many frames were judged.
fn compare(seed: u64, steers: bool) -> u64 {
    let random = &mut Random::new(seed);
    let mut plan = if steers { arbitrary::steering_plan(random) } else { arbitrary::plan(random) };
    if random.one_in(2) {
        // Without rates frames leave at once, and every time is known.
        plan.ports.iter_mut().for_each(|port| port.queue = None);
    }
    let points: Vec<_> = (0..=random.below(4)).filter_map(|_| arbitrary::point(random, &plan)).collect();
    let mut inputs = Vec::new();
    let mut frames = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let mut us = 0;
        let mut mine = Vec::new();
        for _ in 0..random.below(60) {
            // Often the same moment as before, so that ties are met.
            us += i128::try_from(random.below(3)).unwrap();
            let data = match steers {
                true => arbitrary::packet(random, &plan),
                false => arbitrary::frame(random, &plan),
            };
            mine.push((us, index, data));
        }
        let packets: Vec<(i128, &[u8])> = mine.iter().map(|(us, _, data)| (*us, &data[..])).collect();
        inputs.push(stream(*point, pcap(&packets)));
        frames.extend(mine);
    }
    let expected = expected(&plan, &points, frames);
    let (report, written) = replay_all(&plan, inputs);
    let none = Vec::new();
    let ledger = &report.ledger;
    for port in &plan.ports {
        let [written, expected] =
            [written.get(&port.name), expected.ports.get(&port.name)].map(|packets| packets.unwrap_or(&none));
        if port.queue.is_none() {
            assert_eq!(written, expected, "seed {seed}, {}", port.name);
        } else {
            queued(&ledger.monitors[&port.name], written, expected);
        }
    }
    let sum = |of: fn(&PortStatus) -> u64| ledger.ports.values().map(of).sum::<u64>();
    let fates = [sum(|p| p.left), sum(|p| p.consumed), sum(|p| p.blocked), sum(|p| p.passed)];
    assert_eq!((sum(|p| p.entered.frames), fates), (expected.entered, expected.fates), "seed {seed}");
    let matched: u64 = ledger.copies.iter().map(|copy| copy.matched).sum();
    assert_eq!((matched, ledger.unaccounted), (expected.matched, 0), "seed {seed}");
    expected.entered
}

/// What a port with a rate sent is what came, later, but for what it dropped. When, is what its own tests hold.
fn queued(monitor: &MonitorStatus, written: &[Packet], expected: &[Packet]) {
    let dropped: u64 = monitor.dropped.buffer.values().sum();
    assert_eq!((monitor.sent, monitor.queued), (written.len() as u64, 0));
    assert_eq!(monitor.sent + dropped, expected.len() as u64);
    assert!(written.windows(2).all(|pair| pair[0].0 <= pair[1].0), "departures in order");
    // Each frame was one that had come by then and has not been sent before.
    let mut left: Vec<&Packet> = expected.iter().collect();
    for packet in written {
        let came = |known: &&Packet| (known.1, known.2, &known.3) == (packet.1, packet.2, &packet.3);
        let at = left.iter().position(|known| came(known) && known.0 <= packet.0);
        left.remove(at.unwrap_or_else(|| panic!("{packet:?} never came")));
    }
}
