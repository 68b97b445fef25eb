//! `eval` and the interpreted programs give one verdict on programs that look at octets, fields and addresses,
//! let rules decide and spread copies: in both views, with a memory that is carried along.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use bpf::asm::Symbol;
use bpf::emit::{self, Emitted, Mode};
use bpf::interp::{Effect, Input, Machine, Skb};
use bpf::layout::{Part, Place, View, Wiring};
use common::steering::{self, SEED};
use common::{copy_port, expected, named, untagged, xdp_wiring};
use plan::arbitrary::Random;
use plan::eval::{Fate, State, Verdict};
use plan::plan::{HookId, Plan, PortId};

const PAIRS: usize = 100_000;
const FRAMES: usize = 200;

/// One plan under one wiring, and what its programs remember.
struct Bench<'a> {
    plan: &'a Plan,
    wiring: Wiring,
    emitted: Emitted,
    fresh: Machine,
    machine: Machine,
}

impl<'a> Bench<'a> {
    fn new(plan: &'a Plan, mut wiring: Wiring) -> Self {
        wiring.seed = SEED;
        let emitted = bpf::emit(plan, &wiring, Mode::Attach).unwrap();
        for unit in &emitted.units {
            bpf::check::check(&unit.program).unwrap_or_else(|error| {
                let mut text = String::new();
                bpf::listing::program(&mut text, plan, &unit.program).unwrap();
                panic!("{error}\n{text}")
            });
        }
        let mut fresh = Machine::for_layout(&emitted.layout);
        fresh.hold(&emitted.tables);
        let machine = fresh.clone();
        Self { plan, wiring, emitted, fresh, machine }
    }

    /// Runs the entry of a hook; the counters begin at 0, what is remembered does not.
    fn run(&mut self, verdict: &Verdict, input: Input, data: &[u8]) -> (u64, Vec<Effect>) {
        self.machine.arrays.clone_from(&self.fresh.arrays);
        let part = Part::Entry(verdict.hook);
        let program = self.emitted.program(part).unwrap();
        let run = self.machine.run(program, input).unwrap_or_else(|trap| panic!("{}: {trap}", program.name));
        let read = |place: Place| {
            self.machine.arrays[&place.map][usize::try_from(place.block).unwrap()][usize::from(place.slot)]
        };
        let got = named(&self.emitted.layout, part, read);
        let octets = u64::try_from(data.len()).unwrap();
        let want = expected(verdict, &self.wiring, self.plan, octets);
        assert_eq!(got, want, "{}\n{:#?}\n{data:02x?}", self.plan, self.plan.hook(verdict.hook).program);
        (run.returned, run.effects)
    }

    fn agree_tc(&mut self, verdict: &Verdict, skb: Skb, data: &[u8]) {
        let (returned, effects) = self.run(verdict, Input::Tc(skb), data);
        let hook = self.plan.hook(verdict.hook);
        let mut sent: Vec<PortId> =
            verdict.copies.iter().map(|copy| copy_port(self.plan, hook, *copy)).collect();
        if let Fate::Passed(ports) = &verdict.fate {
            sent.extend(ports);
        }
        let got = effects.iter().map(|effect| match effect {
            Effect::Clone { to: Symbol::Interface(to), .. }
            | Effect::Redirect { to: Symbol::Interface(to) } => *to,
            other => panic!("{other:?} is none of the tc view"),
        });
        assert_eq!(got.collect::<Vec<_>>(), sent);
        let want = match &verdict.fate {
            Fate::Left => emit::TC_NEXT,
            Fate::Consumed => emit::TC_STOLEN,
            Fate::Blocked(_) => emit::TC_SHOT,
            Fate::Passed(_) => emit::TC_REDIRECT,
        };
        assert_eq!(returned, i64::from(want).cast_unsigned());
    }

    fn agree_xdp(&mut self, verdict: &Verdict, data: &[u8]) {
        let (returned, effects) = self.run(verdict, Input::Xdp(data.to_vec()), data);
        let want = common::targets(self.plan, &self.wiring, verdict);
        match effects[..] {
            [] => assert_eq!((want, returned), (vec![], 1), "XDP_DROP"),
            [Effect::RedirectMap { map, key: 0, .. }] => {
                let outcome = self.emitted.outcomes.iter().find(|outcome| outcome.map() == map).unwrap();
                assert_eq!((&outcome.targets, returned), (&want, 4), "XDP_REDIRECT");
            }
            ref other => panic!("{other:?}: one redirect does it all"),
        }
        assert!(self.emitted.outcomes.len() <= emit::OUTCOMES_MAX * self.plan.hooks.len());
    }
}

fn hook_of(plan: &Plan, random: &mut Random) -> HookId {
    HookId(u16::try_from(random.below(plan.hooks.len())).unwrap())
}

#[test]
fn eval_and_the_interpreter_give_one_verdict() {
    let mut random = Random::new(corpus::seed());
    let (mut pairs, mut by_xdp, mut copied, mut blocked) = (0, 0, 0, 0);
    while pairs < PAIRS {
        let plan = steering::plan(&mut random);
        if plan.hooks.is_empty() {
            continue;
        }
        let mut tc = Bench::new(&plan, Wiring::all(&plan, View::Tc));
        let mut xdp = Bench::new(&plan, xdp_wiring(&plan));
        let mut state = State::default();
        for _ in 0..FRAMES {
            let id = hook_of(&plan, &mut random);
            let data = steering::frame(&mut random, &plan);
            let verdict = steering::verdict(&plan, &mut state, id, &data);
            // As the kernel hands it over, or with the tag still in the data; more or less of it linear.
            let (stripped, tag) = if random.one_in(4) { (data.clone(), None) } else { untagged(&data) };
            let linear = *random.pick(&[0, 14, data.len()]);
            tc.agree_tc(&verdict, Skb { data: stripped, linear, tag, ..Skb::default() }, &data);
            if xdp.wiring.view(plan.hook(id)) == View::Xdp {
                xdp.agree_xdp(&verdict, &data);
                by_xdp += 1;
            }
            copied += usize::from(!verdict.copies.is_empty());
            blocked += usize::from(matches!(verdict.fate, Fate::Blocked(_)));
            pairs += 1;
        }
        let read = |table, at| tc.machine.tables[&table].value(at).unwrap().to_vec();
        steering::remembered(&plan, &mut state, &tc.emitted, |_| true, read);
    }
    println!("{pairs} pairs, {by_xdp} of them in XDP too; {copied} copied, {blocked} blocked");
    assert!(by_xdp > PAIRS / 10 && copied > PAIRS / 5 && blocked > PAIRS / 50);
}
