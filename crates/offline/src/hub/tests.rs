//! The wire against what is known of it: arithmetic, the literature, and what must hold whatever comes.

use std::collections::BTreeMap;

use plan::arbitrary::Random;

use super::counts::HubCounts;
use super::domain::{Cause, Domain, Outcome};
use super::{ATTEMPTS_MAX, GAP_BITS, PROPAGATION_BITS, QUEUE_FRAMES, SLOT_BITS};

/// Nanoseconds of a bit at 100 Mbit/s.
const BIT_NS: u64 = 10;
const SPEED: u64 = 100_000_000;

/// A wire of so many stations, and then so many taps.
fn wire(stations: usize, taps: usize, seed: u64) -> Domain<usize> {
    let port = |index: usize| (format!("p{index}"), index >= stations);
    Domain::new("h", SPEED, &(0..stations + taps).map(port).collect::<Vec<_>>(), seed)
}

/// Bits of a frame on the wire, without its gap.
fn bits(frame_bytes: u32) -> u64 {
    (u64::from(frame_bytes) + 12) * 8
}

/// Every port always has something to send; the ports of the frames that arrived, in order.
fn saturate(domain: &mut Domain<usize>, ports: usize, frame_bytes: u32, frames: usize) -> Vec<usize> {
    let (mut out, mut arrived) = (Vec::new(), Vec::new());
    for port in 0..ports {
        for _ in 0..4 {
            domain.offer(port, 0, frame_bytes, port, &mut out);
        }
    }
    while arrived.len() < frames {
        let now = domain.next_ns().expect("somebody has something to send");
        domain.poll(now, &mut out);
        let done: Vec<Outcome<usize>> = std::mem::take(&mut out);
        for outcome in done {
            let (Outcome::Delivered { token, .. } | Outcome::Lost { token, .. }) = outcome;
            if matches!(outcome, Outcome::Delivered { .. }) {
                arrived.push(token);
            }
            domain.offer(token, now, frame_bytes, token, &mut out);
        }
    }
    arrived
}

fn near(seen: f64, expected: f64, within: f64) {
    assert!((seen - expected).abs() <= within, "{seen:.5} is not within {within:.5} of {expected:.5}");
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// What standard deviation a share of so many independent trials has.
fn sigma(share: f64, trials: u64) -> f64 {
    (share * (1.0 - share) * ratio(1, trials)).sqrt()
}

#[test]
fn one_station_alone_fills_the_line_and_never_collides() {
    for frame_bytes in [60, 590, 1514] {
        let mut domain = wire(1, 0, 1);
        saturate(&mut domain, 1, frame_bytes, 1000);
        let counts = domain.counts();
        assert_eq!((counts.collisions, counts.wasted_ns, counts.ports[0].deferred), (0, 0, 0));
        // A thousand frames with their gaps; the last bit travels, the last gap is not waited for.
        let expected = (1000 * (bits(frame_bytes) + GAP_BITS) - GAP_BITS + PROPAGATION_BITS) * BIT_NS;
        assert_eq!(counts.elapsed_ns, expected, "{frame_bytes}");
        let only = counts.ports[0].attempts;
        assert_eq!((only[0], only.iter().sum::<u64>()), (1000, 1000), "each at once");
    }
}

#[test]
fn stations_that_take_turns_do_not_collide() {
    let mut domain = wire(3, 0, 1);
    let mut out = Vec::new();
    for (turn, port) in (0u64..300).zip((0..3).cycle()) {
        let now = turn * 200_000;
        domain.poll(now, &mut out);
        domain.offer(port, now, 1514, port, &mut out);
    }
    domain.poll(u64::MAX, &mut out);
    let counts = domain.counts();
    assert_eq!((counts.delivered(), counts.lost(), counts.collisions), (300, 0, 0));
}

#[test]
fn a_station_waits_while_it_hears_another() {
    let mut domain = wire(2, 0, 1);
    let mut out = Vec::new();
    domain.offer(0, 0, 1514, 0, &mut out);
    let later = (PROPAGATION_BITS + 1) * BIT_NS;
    domain.poll(later, &mut out);
    domain.offer(1, later, 60, 1, &mut out);
    domain.poll(u64::MAX, &mut out);
    let first = (bits(1514) + PROPAGATION_BITS) * BIT_NS;
    let second = first + (GAP_BITS + bits(60) + PROPAGATION_BITS) * BIT_NS;
    let expected = [(0, first), (1, second)].map(|(token, at_ns)| Outcome::Delivered { token, at_ns });
    assert_eq!(out, expected);
    assert_eq!(domain.counts().ports[1].deferred, 1);
}

/// How likely it is that the first of two stations gets through, when they draw from 2^a and from 2^b slots: the lower
/// draw wins, equal draws collide and both draw again from twice as many.
fn wins(a: i32, b: i32) -> f64 {
    if a > 12 {
        return 0.5;
    }
    let (n, m) = (2f64.powi(a), 2f64.powi(b));
    let mut win = 0.0;
    let mut draw = 0.0;
    while draw < n {
        win += (m - 1.0 - draw).max(0.0) / (n * m);
        draw += 1.0;
    }
    win + n.min(m) / (n * m) * wins(a + 1, b + 1)
}

/// The capture effect (Ramakrishnan and Yang, "The Ethernet capture effect", LCN 1994): of two stations that always have
/// something to send, the one that won draws from two slots again while the other draws from more, and so wins again
/// 5 times in 8 at once. The whole is a sum over how often they collided first.
#[test]
fn who_won_is_likely_to_win_again() {
    let (mut expected, mut equal_so_far) = (0.0, 1.0);
    for collisions in 1..12 {
        let apart = 1.0 - 0.5f64.powi(collisions);
        expected += equal_so_far * apart * wins(1, collisions + 1);
        equal_so_far *= 1.0 - apart;
    }
    near(wins(1, 2), 5.0 / 8.0 + 2.0 / 8.0 * wins(2, 3), 1e-12);
    let trials = 20_000;
    let again = |seed: u64| {
        let order = saturate(&mut wire(2, 0, seed), 2, 1514, 2);
        u64::from(order[0] == order[1])
    };
    let share = ratio((0..trials).map(again).sum(), trials);
    near(share, expected, 4.0 * sigma(expected, trials));
}

/// Metcalfe and Boggs ("Ethernet: distributed packet switching for local computer networks", CACM 1976): of Q stations
/// that always have something to send, each slot is acquired with A = (1 - 1/Q)^(Q-1), and W = (1 - A)/A slots are lost
/// before each frame.
fn metcalfe_boggs(stations: i32, frame_bytes: u32) -> f64 {
    let q = f64::from(stations);
    let acquired = (1.0 - 1.0 / q).powi(stations - 1);
    let lost = (1.0 - acquired) / acquired;
    let frame = ratio(bits(frame_bytes) + GAP_BITS, SLOT_BITS);
    frame / (frame + lost)
}

/// The formula takes each contention for a full slot and each chance to send for the best one. Between many stations
/// that is near. Between few, who won goes on winning while the others wait ever longer, and less is lost: the
/// shorter the frames, the more so.
#[test]
fn efficiency_is_what_metcalfe_and_boggs_say_of_many_and_better_for_few() {
    let seen = |stations: i32, frame_bytes| {
        let stations = usize::try_from(stations).expect("a few");
        let mut domain = wire(stations, 0, 7);
        saturate(&mut domain, stations, frame_bytes, 2000);
        domain.counts().utilisation()
    };
    for (stations, frame_bytes, within) in [(10, 1514, 0.03), (24, 1514, 0.01), (24, 590, 0.05)] {
        near(seen(stations, frame_bytes), metcalfe_boggs(stations, frame_bytes), within);
    }
    for (stations, frame_bytes) in [(2, 1514), (2, 60), (5, 590)] {
        assert!(seen(stations, frame_bytes) > metcalfe_boggs(stations, frame_bytes), "{stations}");
    }
}

/// Frames that come by chance, evenly over time.
fn poisson(random: &mut Random, mean_ns: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits of chance")]
    let unit = (random.bits() >> 11) as f64 / (1u64 << 53) as f64;
    let gap = -(1.0 - unit).ln() * mean_ns;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds at most")]
    let gap = gap as u64;
    gap
}

fn run(domain: &mut Domain<usize>, mut arrivals: Vec<(u64, usize, u32)>) -> HubCounts {
    arrivals.sort_unstable();
    let mut out = Vec::new();
    for (now, port, frame_bytes) in arrivals {
        domain.poll(now, &mut out);
        domain.offer(port, now, frame_bytes, port, &mut out);
    }
    domain.poll(u64::MAX, &mut out);
    domain.counts()
}

/// Two taps at load p: a frame arrives if the other tap is silent when it begins, and begins nothing while it lasts. The
/// other tap is a queue with a server: it sends for a share p of time, and frames come to it by chance.
#[test]
fn two_taps_lose_what_the_overlap_says() {
    let frame = ratio(bits(1514) * BIT_NS, 1);
    let gap = ratio(GAP_BITS * BIT_NS, 1);
    for load in [0.1, 0.3, 0.5] {
        let mean_ns = frame / load;
        let mut random = Random::new(42);
        let mut arrivals = Vec::new();
        for port in 0..2 {
            let mut now = 0;
            for _ in 0..100_000 {
                now += poisson(&mut random, mean_ns);
                arrivals.push((now, port, 1514));
            }
        }
        let counts = run(&mut wire(0, 2, 1), arrivals);
        let arrive = ratio(counts.delivered(), counts.offered());
        // In the gap after a frame the next one may be about to begin, or not: the truth is between the two.
        let quiet = (-load).exp();
        let (least, most) = ((1.0 - load * (1.0 + gap / frame)) * quiet, (1.0 - load) * quiet);
        let noise = 4.0 * sigma(most, counts.offered() / 2);
        assert!(
            arrive >= least - noise && arrive <= most + noise,
            "{arrive} at load {load}: {least} to {most}"
        );
        assert_eq!(counts.lost(), counts.ports.iter().map(|port| port.lost_of_tap).sum::<u64>());
    }
}

/// Two even streams with periods that have nothing in common: phases are evenly spread, and a frame is lost if the
/// other begins within the length of both.
#[test]
fn two_even_streams_of_taps_lose_their_share() {
    let periods = [400_009u64, 300_007];
    let of = |port: usize| (0..200_000u64).map(move |n| (n * periods[port], port, 1514));
    let end = 200_000 * periods[1];
    let arrivals = of(0).chain(of(1)).filter(|(at, ..)| *at < end).collect();
    let counts = run(&mut wire(0, 2, 1), arrivals);
    let frame = bits(1514) * BIT_NS;
    for (port, other) in [(0, 1), (1, 0)] {
        let lost = ratio(counts.ports[port].lost_of_tap, counts.ports[port].offered);
        near(lost, ratio(2 * frame, periods[other]), 0.001);
    }
}

/// A tap that never stops: its next frame begins before a station hears that the last one ended. All that the
/// station sends collides, and so does what it meets.
#[test]
fn a_station_beside_a_busy_tap_gives_up() {
    let mut domain = wire(1, 1, 3);
    let mut arrivals: Vec<(u64, usize, u32)> =
        (0..5000u64).map(|n| (n * (bits(1514) + GAP_BITS) * BIT_NS, 1, 1514)).collect();
    arrivals.extend([(1000, 0, 60), (1001, 0, 60)]);
    let counts = run(&mut domain, arrivals);
    assert_eq!((counts.ports[0].excessive, counts.ports[0].delivered), (2, 0));
    let tries = 2 * u64::try_from(ATTEMPTS_MAX).unwrap();
    assert_eq!(counts.ports[1].lost_of_tap, tries);
    assert_eq!(counts.collisions, 2 * tries);
}

/// A tap begins while the last bits of a station's frame are on their way: the station has done, and never knows.
#[test]
fn a_collision_that_nobody_hears() {
    let end = bits(60) * BIT_NS;
    let counts = run(&mut wire(1, 1, 1), vec![(0, 0, 60), (end - 1, 1, 60)]);
    assert_eq!((counts.ports[0].unheard, counts.ports[1].lost_of_tap, counts.delivered()), (1, 1, 0));
    let counts = run(&mut wire(1, 1, 1), vec![(0, 0, 60), (end, 1, 60)]);
    assert_eq!((counts.delivered(), counts.collisions), (2, 0));
}

#[test]
fn what_a_queue_has_no_room_for_is_counted() {
    let mut domain = wire(1, 0, 1);
    let mut out = Vec::new();
    for _ in 0..QUEUE_FRAMES + 3 {
        domain.offer(0, 5, 60, 0, &mut out);
    }
    assert_eq!(out, [Outcome::Lost { token: 0, cause: Cause::Overflow }; 3]);
    domain.poll(u64::MAX, &mut out);
    let counts = domain.counts();
    assert_eq!((counts.delivered(), counts.lost(), counts.offered()), (1000, 3, 1003));
}

/// Whatever comes: each frame is told of once, in order of time, frames that arrive never overlap, and equal seeds have
/// equal outcomes.
#[test]
fn every_frame_is_accounted_for_and_none_overlap() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let (stations, taps) = (random.below(6), random.below(4));
        let ports = stations + taps;
        if ports < 2 {
            continue;
        }
        let speed = *random.pick(&[10_000_000, 100_000_000, 1_000_000_000, 7_000_000]);
        let load = *random.pick(&[200_000.0, 50_000.0, 5_000_000.0]);
        let mut arrivals = Vec::new();
        for port in 0..ports {
            let mut now = 0;
            for _ in 0..400 {
                now += poisson(&mut random, load);
                arrivals.push((now, port, *random.pick(&[14, 60, 590, 1514, 9000])));
            }
        }
        arrivals.sort_unstable();
        let once = || {
            let port = |index: usize| (format!("p{index}"), index >= stations);
            let list: Vec<_> = (0..ports).map(port).collect();
            let mut domain = Domain::new("h", speed, &list, seed);
            let mut out = Vec::new();
            for (token, (now, port, frame_bytes)) in arrivals.iter().enumerate() {
                domain.poll(*now, &mut out);
                domain.offer(*port, *now, *frame_bytes, token, &mut out);
            }
            domain.poll(u64::MAX, &mut out);
            assert_eq!(domain.next_ns(), None, "seed {seed}");
            (out, domain.counts())
        };
        let (out, counts) = once();
        let again = once();
        assert_eq!((&out, &counts), (&again.0, &again.1), "seed {seed}");
        assert_eq!(counts.offered(), counts.delivered() + counts.lost(), "seed {seed}: {counts:?}");
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        let mut free_ns = 0;
        for outcome in &out {
            let (Outcome::Delivered { token, .. } | Outcome::Lost { token, .. }) = outcome;
            *seen.entry(*token).or_default() += 1;
            if let Outcome::Delivered { token, at_ns } = outcome {
                let on_wire =
                    u128::from(bits(arrivals[*token].2.max(60))) * 1_000_000_000 / u128::from(speed);
                let began = at_ns - u64::try_from(on_wire).unwrap();
                assert!(began + 1 >= free_ns, "seed {seed}: {token} began at {began}, before {free_ns}");
                free_ns = *at_ns;
            }
        }
        assert!(seen.len() == arrivals.len() && seen.values().all(|times| *times == 1), "seed {seed}");
        let busy = counts.busy_ns <= counts.elapsed_ns + 100_000;
        assert!(busy && counts.ports.iter().all(|port| port.waiting == 0), "seed {seed}: {counts:?}");
    }
}
