//! `eval` and the programs in the kernel (`BPF_PROG_TEST_RUN`) give one verdict on programs that look at
//! octets, fields and addresses, let rules decide and spread copies: in both views, with a memory that is
//! carried along on one CPU.
//!
//! Needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON): without them it fails and says so. Attaches nothing and
//! sends nothing.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeMap;

use bpf::asm::MapRef;
use bpf::emit::{EmitError, Emitted, Mode, RECORDED_OUTCOME};
use bpf::layout::{Counter, Part, View, Wiring};
use common::kernel::{Kernel, lengthen, sk_buff};
use common::steering::{self, SEED};
use common::{expected, targets, tc_returns, untagged, xdp_wiring};
use plan::arbitrary::Random;
use plan::eval::State;
use plan::plan::{HookId, Plan};
use sys::ProgFd;

const PAIRS: usize = 50_000;
const FRAMES: usize = 200;

/// One plan under one wiring in the kernel.
struct Loaded<'a> {
    plan: &'a Plan,
    wiring: Wiring,
    emitted: Emitted,
    kernel: Kernel,
    entries: BTreeMap<HookId, ProgFd>,
    state: State,
    /// What each hook must have counted so far.
    want: BTreeMap<HookId, BTreeMap<Counter, u64>>,
}

impl<'a> Loaded<'a> {
    fn new(plan: &'a Plan, mut wiring: Wiring, view: View) -> Self {
        wiring.seed = SEED;
        let emitted = bpf::emit(plan, &wiring, Mode::Record).unwrap();
        let mut kernel = Kernel::new(&emitted);
        let hooks = plan.hooks().filter(|(_, hook)| wiring.view(hook) == view);
        let entries = hooks.map(|(id, _)| (id, kernel.load(emitted.program(Part::Entry(id)).unwrap())));
        let entries = entries.collect();
        Self { plan, wiring, emitted, kernel, entries, state: State::default(), want: BTreeMap::new() }
    }

    /// The programs that are attached must pass the verifier too.
    fn load_attached(&mut self) {
        let attached = bpf::emit(self.plan, &self.wiring, Mode::Attach).unwrap();
        self.kernel.make_devmaps(&attached);
        for unit in &attached.units {
            self.kernel.load(&unit.program);
        }
    }

    fn agree(&mut self, id: HookId, data: &[u8]) {
        let verdict = steering::verdict(self.plan, &mut self.state, id, data);
        let program = self.entries[&id];
        let told = || format!("{}\n{:#?}\n{data:02x?}", self.plan, self.plan.hook(id).program.steps);
        if self.wiring.view(self.plan.hook(id)) == View::Xdp {
            let returned = self.kernel.run(program, data, &[]);
            let found = self.emitted.outcomes.iter().find(|outcome| {
                let number = RECORDED_OUTCOME.cast_unsigned() + u32::from(outcome.number);
                outcome.hook == id && returned == number
            });
            let want = targets(self.plan, &self.wiring, &verdict);
            assert_eq!(found.map_or(&[][..], |outcome| &outcome.targets), want, "{}", told());
        } else {
            let (stripped, tag) = untagged(data);
            let returned = self.kernel.run(program, &stripped, &sk_buff(tag, 0, 0));
            assert_eq!(returned, tc_returns(&verdict), "{}", told());
        }
        let octets = u64::try_from(data.len()).unwrap();
        let want = self.want.entry(id).or_default();
        for (counter, by) in expected(&verdict, &self.wiring, self.plan, octets) {
            *want.entry(counter).or_insert(0) += by;
        }
    }

    /// What was counted and is remembered.
    fn finish(&mut self) {
        for (id, want) in &self.want {
            let got = self.kernel.read(&self.emitted.layout, Part::Entry(*id));
            assert_eq!(got, *want, "{}\n{:#?}", self.plan, self.plan.hook(*id).program.steps);
        }
        let kernel = &mut self.kernel;
        let read = |table, at| {
            kernel.words(MapRef::Table(table), at).into_iter().flat_map(u64::to_ne_bytes).collect()
        };
        let judged = |id: HookId| self.entries.contains_key(&id);
        steering::remembered(self.plan, &mut self.state, &self.emitted, judged, read);
    }
}

fn agree(view: View) {
    sys::cpu::pin_to_one().unwrap();
    let mut random = Random::new(corpus::seed());
    let (mut pairs, mut plans) = (0, 0);
    while pairs < PAIRS {
        let plan = steering::plan(&mut random);
        let wiring = if view == View::Xdp { xdp_wiring(&plan) } else { Wiring::all(&plan, View::Tc) };
        if !plan.hooks.iter().any(|hook| wiring.view(hook) == view) {
            continue;
        }
        let mut loaded = Loaded::new(&plan, wiring, view);
        let hooks: Vec<HookId> = loaded.entries.keys().copied().collect();
        for _ in 0..FRAMES {
            let mut data = steering::frame(&mut random, &plan);
            // A test run gives a program no more than fits in one page.
            data.truncate(3000);
            match view {
                View::Tc => lengthen(&mut data),
                View::Xdp => data.resize(data.len().max(14), 0),
            }
            loaded.agree(*random.pick(&hooks), &data);
            pairs += 1;
        }
        loaded.finish();
        if plans % 10 == 0 {
            loaded.load_attached();
        }
        plans += 1;
    }
    println!("{pairs} pairs of {plans} plans");
}

#[test]
fn the_kernel_agrees_in_the_tc_view() {
    agree(View::Tc);
}

#[test]
fn the_kernel_agrees_in_the_xdp_view() {
    agree(View::Xdp);
}

/// Rules each with a copy of its own: they load, count in rows, and decide.
#[test]
fn thirty_thousand_rules_load_and_decide() {
    let mut random = Random::new(corpus::seed());
    let mut plan = steering::aggregator();
    let rules = steering::many_rules(&mut plan, &mut random, 30_000);
    for view in [View::Tc, View::Xdp] {
        let began = std::time::Instant::now();
        let mut loaded = Loaded::new(&plan, Wiring::all(&plan, view), view);
        loaded.load_attached();
        println!("{view:?}: {rules} rules, emitted, filled and loaded twice in {:?}", began.elapsed());
        assert_eq!(loaded.emitted.layout.tallies(), 30_000);
        for _ in 0..500 {
            let mut data = steering::frame(&mut random, &plan);
            data.truncate(3000);
            lengthen(&mut data);
            loaded.agree(HookId(0), &data);
        }
        loaded.finish();
    }
}

/// Steps each with a test of its own on octets that it computes; more of them are refused before the kernel does.
#[test]
fn hundreds_of_expressions_load_and_decide() {
    let mut random = Random::new(corpus::seed());
    let mut plan = steering::aggregator();
    steering::many_steps(&mut plan, &mut random, 1500);
    let refused = bpf::emit(&plan, &Wiring::all(&plan, View::Tc), Mode::Record).unwrap_err();
    assert!(matches!(refused, EmitError::TooManyJumps { .. }), "{refused}");
    steering::many_steps(&mut plan, &mut random, 700);
    let mut loaded = Loaded::new(&plan, Wiring::all(&plan, View::Tc), View::Tc);
    loaded.load_attached();
    for _ in 0..500 {
        let mut data = steering::frame(&mut random, &plan);
        data.truncate(3000);
        lengthen(&mut data);
        loaded.agree(HookId(0), &data);
    }
    loaded.finish();
}

#[test]
fn the_kernel_agrees_on_the_corpus() {
    sys::cpu::pin_to_one().unwrap();
    for case in corpus::cases().unwrap() {
        for view in [View::Tc, View::Xdp] {
            let wiring =
                if view == View::Xdp { xdp_wiring(&case.plan) } else { Wiring::all(&case.plan, View::Tc) };
            let mut loaded = Loaded::new(&case.plan, wiring, view);
            for input in &case.frames {
                let Some((id, _)) = case.plan.hook_at(input.at) else { continue };
                let mut data = input.data.clone();
                lengthen(&mut data);
                if loaded.entries.contains_key(&id) {
                    loaded.agree(id, &data);
                }
            }
            loaded.finish();
        }
    }
}
