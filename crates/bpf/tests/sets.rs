//! Sets of rules decide alike in the form, in the interpreter and in the kernel (`BPF_PROG_TEST_RUN`).
//!
//! Needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON): without them it fails and says so. Attaches nothing
//! and sends nothing. Each failure names the seed that it came from.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "sets/kernel.rs"]
mod kernel;
#[path = "sets/rows.rs"]
mod rows;
#[path = "sets/world.rs"]
mod world;

use bpf::interp::{Input, Machine};
use bpf::sets::{Lowered, lower};
use kernel::{Loaded, harness, packet};
use plan::arbitrary::Random;
use rules::form::{RuleSet, Subject};
use wire::Frame;
use world::World;

/// What a set decides about a frame: 0, or 1 + the index of the rule.
fn expected(set: &RuleSet, frame: &Frame<'_>, draw: u64) -> u32 {
    set.deciding(&Subject::new(*frame), draw).map_or(0, |at| u32::try_from(at + 1).unwrap())
}

fn lowered(set: &RuleSet) -> Lowered {
    lower(set, &mut 0).unwrap()
}

/// How many of the frames had a rule that decides.
fn compare(set: &RuleSet, world: &mut World, frames: usize, seed: u64) -> usize {
    let lowered = lowered(set);
    let program = harness(&lowered);
    bpf::check::check(&program).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let mut kernel = Loaded::new(&lowered, &program);
    let mut machine = Machine { step_limit: 10_000_000, ..Machine::default() };
    machine.hold(lowered.tables());
    let mut decided = 0;
    for number in 0..frames {
        let (data, draw) = (world.frame(), world.random.bits());
        let frame = Frame::ethernet(&data).unwrap();
        let want = expected(set, &frame, draw);
        let given = packet(&frame, draw);
        let ran = machine.run(&program, Input::Xdp(given.clone())).unwrap_or_else(|trap| {
            panic!("seed {seed}, frame {number}: {trap}");
        });
        let told = || {
            format!(
                "seed {seed}, frame {number}: {:?}\n{:?}",
                lowered.describe(),
                Subject::new(frame).fields()
            )
        };
        assert_eq!(ran.returned, u64::from(want), "the interpreter, {}", told());
        assert_eq!(kernel.run(&given), want, "the kernel, {}", told());
        decided += usize::from(want != 0);
    }
    decided
}

/// Random sets of one shape.
fn compare_many(shape: world::Shape, sizes: &[usize], rounds: u64, frames: usize) {
    let (mut decided, mut all) = (0, 0);
    for (round, size) in (0..rounds).flat_map(|round| sizes.iter().map(move |size| (round, *size))) {
        let seed = 0x5e7 + round * 1000 + u64::try_from(size).unwrap();
        let mut world = World::new(Random::new(seed));
        let set = world.set(shape, size);
        decided += compare(&set, &mut world, frames, seed);
        all += frames;
    }
    assert!(decided * 10 > all, "of {all} frames a rule decided about {decided} only");
}

#[test]
fn small_mixed_sets_decide_alike() {
    compare_many(world::Shape::Mixed, &[1, 2, 3, 5, 8, 13, 21, 34, 55], 12, 40);
}

#[test]
fn large_mixed_sets_decide_alike() {
    compare_many(world::Shape::Mixed, &[100, 300, 1000, 3000], 2, 150);
}

#[test]
fn sets_with_tags_decide_alike() {
    compare_many(world::Shape::Tagged, &[1, 2, 4, 9, 30, 200], 10, 40);
}

#[test]
fn exact_tuples_decide_alike() {
    compare_many(world::Shape::Tuples, &[3, 20, 200, 3000], 4, 150);
}

#[test]
fn networks_decide_alike() {
    compare_many(world::Shape::Networks, &[3, 20, 200, 3000], 4, 150);
}

/// What one kind and size costs, printed: `cargo test --release -p bpf --test sets -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement of time, which is read and not judged"]
fn what_a_set_costs() {
    use rows::Kind;
    println!(
        "{:<12} {:>6} {:>8} {:>8} {:>8} {:>8} {:>9} {:>6} {:>6}",
        "kind", "rules", "lower ms", "emit ms", "load ms", "slots", "KiB", "ns", "hits"
    );
    let empty = RuleSet::default();
    let base = row("none", &empty, 0);
    for kind in [Kind::FiveTuples, Kind::Networks, Kind::Arbitrary, Kind::Odd, Kind::Tagged] {
        for size in [1, 10, 100, 1000, 10_000] {
            if matches!(kind, Kind::Odd | Kind::Tagged) && size > 1000 {
                continue;
            }
            row(&format!("{kind:?}"), &rows::set(kind, size), base);
        }
    }
}

fn row(name: &str, set: &RuleSet, base: u32) -> u32 {
    use std::time::Instant;
    let start = Instant::now();
    let lowered = lowered(set);
    let lower_ms = start.elapsed().as_secs_f64() * 1e3;
    let program = harness(&lowered);
    let emit_ms = start.elapsed().as_secs_f64() * 1e3 - lower_ms;
    let mut kernel = Loaded::new(&lowered, &program);
    let load_ms = start.elapsed().as_secs_f64() * 1e3 - lower_ms - emit_ms;
    let octets: u64 = lowered.tables().iter().map(bpf::tables::Table::octets).sum();
    let mut random = Random::new(3);
    let (mut ns, mut hits) = (Vec::new(), 0);
    for _ in 0..24 {
        let data = rows::frame(&mut random);
        let given = packet(&Frame::ethernet(&data).unwrap(), 0);
        hits += u32::from(kernel.run(&given) != 0);
        // A millisecond each, of which the least counts: others run on the machine too.
        let repeat = 1_000_000 / kernel.time_ns(&given, 50).clamp(20, 100_000);
        ns.push((0..9).map(|_| kernel.time_ns(&given, repeat)).min().unwrap());
    }
    let mean = ns.iter().sum::<u32>() / 24;
    println!(
        "{name:<12} {:>6} {lower_ms:>8.1} {emit_ms:>8.1} {load_ms:>8.1} {:>8} {:>9} {:>6} {hits:>6}",
        set.rulings().len(),
        program.lines.len(),
        octets / 1024,
        mean.saturating_sub(base),
    );
    if base == 0 {
        println!("(the harness alone: {mean} ns, subtracted below)");
    } else {
        println!("             {}", lowered.describe().join("; "));
    }
    mean
}

/// The interpreted instructions of the dearest of some frames.
fn steps(set: &RuleSet) -> usize {
    let lowered = lowered(set);
    let program = harness(&lowered);
    let mut machine = Machine { step_limit: 10_000_000, ..Machine::default() };
    machine.hold(lowered.tables());
    let mut random = Random::new(3);
    let mut frame = || packet(&Frame::ethernet(&rows::frame(&mut random)).unwrap(), 0);
    let runs = (0..60).map(|_| machine.run(&program, Input::Xdp(frame())).unwrap().steps);
    runs.max().unwrap()
}

#[test]
fn what_a_frame_costs_does_not_grow_with_the_rules() {
    for kind in [rows::Kind::FiveTuples, rows::Kind::Networks] {
        let (few, many) = (steps(&rows::set(kind, 100)), steps(&rows::set(kind, 5000)));
        assert!(
            few < 100 && many <= few + 20,
            "{kind:?}: {few} instructions, {many} with 50 times the rules"
        );
    }
    // Bitmaps: as many words are looked at as hold a rule that passes in the summaries.
    let (few, many) =
        (steps(&rows::set(rows::Kind::Arbitrary, 100)), steps(&rows::set(rows::Kind::Arbitrary, 1000)));
    assert!(many < 3 * few && many < 700, "{few} instructions, {many} with ten times the rules");
}

/// How the first line of the description counts the rules.
fn counted(set: &RuleSet) -> String {
    lowered(set).describe().remove(0)
}

#[test]
fn sets_tell_how_they_are_found() {
    use rows::{Kind, set};
    let cases = [
        (Kind::FiveTuples, 5, "5 rules: 5 compared one by one"),
        (Kind::FiveTuples, 2000, "2,000 rules: 2,000 by exact fields"),
        (Kind::Networks, 2000, "2,000 rules: 2,000 by network"),
        (Kind::Odd, 60, "60 rules: 60 compared one by one"),
        (Kind::Tagged, 60, "60 rules: compared one by one in their order, since some look at tags"),
    ];
    for (kind, size, want) in cases {
        assert_eq!(counted(&set(kind, size)), want);
    }
    assert_eq!(counted(&RuleSet::default()), "0 rules: none can decide");
}

/// Lowers and loads a set and runs some frames.
fn loads(kind: rows::Kind, size: usize) {
    let set = rows::set(kind, size);
    let lowered = lowered(&set);
    let program = harness(&lowered);
    let mut kernel = Loaded::new(&lowered, &program);
    let mut random = Random::new(11);
    for number in 0..5 {
        let data = rows::frame(&mut random);
        let frame = Frame::ethernet(&data).unwrap();
        assert_eq!(kernel.run(&packet(&frame, 0)), expected(&set, &frame, 0), "{kind:?}, frame {number}");
    }
}

#[test]
fn seven_thousand_rules_that_can_only_be_compared_load() {
    loads(rows::Kind::Odd, 7000);
}

#[test]
fn thirty_thousand_rules_with_tags_load() {
    loads(rows::Kind::Tagged, 30_000);
}

#[test]
fn thirty_thousand_boxes_load() {
    loads(rows::Kind::Arbitrary, 30_000);
}

#[test]
fn as_many_tuples_as_a_set_has_rules_load() {
    loads(rows::Kind::FiveTuples, 65_535);
}
