//! Sets of rules decide alike in the form, in the interpreter and in the kernel (`BPF_PROG_TEST_RUN`).
//!
//! Needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON): without them it fails and says so. Attaches nothing
//! and sends nothing. Each failure names the seed that it came from.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "sets/kernel.rs"]
mod kernel;
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
