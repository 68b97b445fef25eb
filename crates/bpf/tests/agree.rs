//! `eval` and the interpreted programs give one verdict, in both views, on random plans and frames.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use bpf::asm::Symbol;
use bpf::emit::{self, Emitted, Mode, OUR_MARK};
use bpf::interp::{Effect, Input, Machine, Run, Skb};
use bpf::layout::{Counter, Part, Place, Target, View, Wiring};
use common::{copy_port, expected, named, untagged, verdict, xdp_wiring};
use plan::arbitrary::{self, Random};
use plan::eval::{Fate, Verdict};
use plan::plan::{HookId, Plan, PortId};

const PAIRS: usize = 100_000;
const FRAMES: usize = 70;

fn emitted(plan: &Plan, wiring: &Wiring, mode: Mode) -> Emitted {
    let emitted = bpf::emit(plan, wiring, mode).unwrap();
    for unit in &emitted.units {
        bpf::check::check(&unit.program).unwrap();
    }
    emitted
}

fn slots(machine: &Machine) -> impl Fn(Place) -> u64 {
    |place| machine.arrays[&place.map][usize::try_from(place.block).unwrap()][usize::from(place.slot)]
}

/// Runs the entry of a hook on a machine of its own.
fn run(emitted: &Emitted, hook: HookId, input: Input) -> (Run, Machine) {
    let mut machine = Machine::for_layout(&emitted.layout);
    machine.hold(&emitted.tables);
    let program = emitted.program(Part::Entry(hook)).unwrap();
    let run = machine.run(program, input).unwrap_or_else(|trap| panic!("{}: {trap}", program.name));
    (run, machine)
}

fn passed(verdict: &Verdict) -> &[PortId] {
    match &verdict.fate {
        Fate::Passed(ports) => ports,
        _ => &[],
    }
}

fn agree_tc(plan: &Plan, emitted: &Emitted, verdict: &Verdict, wiring: &Wiring, data: &[u8], skb: Skb) {
    let hook = plan.hook(verdict.hook);
    let before = (skb.mark, skb.priority);
    let (run, machine) = run(emitted, verdict.hook, Input::Tc(skb));
    let octets = u64::try_from(data.len()).unwrap();
    let got = named(&emitted.layout, Part::Entry(verdict.hook), slots(&machine));
    assert_eq!(got, expected(verdict, wiring, plan, octets), "{plan:?}\n{data:02x?}");

    let mut sent: Vec<PortId> = verdict.copies.iter().map(|copy| copy_port(plan, hook, *copy)).collect();
    sent.extend(passed(verdict));
    let got: Vec<PortId> = run
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Clone { to: Symbol::Interface(to), mark, .. } => {
                assert_eq!(*mark, OUR_MARK | u32::from(verdict.hook.0));
                *to
            }
            Effect::Redirect { to: Symbol::Interface(to) } => *to,
            other => panic!("{other:?} is none of the tc view"),
        })
        .collect();
    assert_eq!(got, sent);
    for (effect, copy) in run.effects.iter().zip(&verdict.copies) {
        let Effect::Clone { priority, .. } = effect else { panic!("a copy is a clone") };
        let sink = plan::plan::Plan::copy(hook, *copy).sink;
        if plan.port(copy_port(plan, hook, *copy)).queue.is_some() {
            let side = plan.sides(sink).iter().position(|side| side.hooks.contains(&verdict.hook)).unwrap();
            assert_eq!(*priority, 0x7477_0001 + u32::try_from(side).unwrap());
        }
    }
    let want = match &verdict.fate {
        Fate::Left => emit::TC_NEXT,
        Fate::Consumed => emit::TC_STOLEN,
        Fate::Blocked(_) => emit::TC_SHOT,
        Fate::Passed(_) => emit::TC_REDIRECT,
    };
    assert_eq!(run.returned, i64::from(want).cast_unsigned());
    let Input::Tc(after) = run.input else { panic!("still an skb") };
    assert_eq!(after.priority, before.1, "the priority is the host's again");
    if verdict.fate == Fate::Left {
        assert_eq!(after.mark, before.0, "the mark is the host's again");
    }
}

fn agree_xdp(plan: &Plan, emitted: &Emitted, verdict: &Verdict, wiring: &Wiring, data: &[u8]) {
    let hook = plan.hook(verdict.hook);
    let (run, machine) = run(emitted, verdict.hook, Input::Xdp(data.to_vec()));
    let octets = u64::try_from(data.len()).unwrap();
    let part = Part::Entry(verdict.hook);
    let got = named(&emitted.layout, part, slots(&machine));
    assert_eq!(got, expected(verdict, wiring, plan, octets), "{plan:?}\n{data:02x?}");
    let mut want: Vec<Target> = passed(verdict).iter().copied().map(Target::Port).collect();
    for copy in &verdict.copies {
        if !wiring.by_hop(verdict.hook, *copy) {
            want.push(Target::Port(copy_port(plan, hook, *copy)));
        } else if !want.contains(&Target::Hop(verdict.hook)) {
            want.push(Target::Hop(verdict.hook));
        }
    }
    match run.effects[..] {
        [] => {
            assert_eq!(want, []);
            assert_eq!(run.returned, 1, "XDP_DROP");
        }
        [Effect::RedirectMap { map, key: 0, flags }] => {
            let outcome = emitted.outcomes.iter().find(|outcome| outcome.map() == map).unwrap();
            assert_eq!(outcome.targets, want);
            assert_eq!(flags, if want.len() == 1 { 0 } else { 8 });
            assert_eq!(run.returned, 4, "XDP_REDIRECT");
        }
        ref other => panic!("{other:?}: one redirect does it all"),
    }
}

/// The copies that took the hop come out of it, as if made at the entry.
fn agree_hop(plan: &Plan, emitted: &Emitted, verdict: &Verdict, wiring: &Wiring, data: &[u8]) {
    let part = Part::Hop(verdict.hook);
    let Some(program) = emitted.program(part) else { return };
    let (stripped, tag) = untagged(data);
    let linear = stripped.len();
    let mut machine = Machine::for_layout(&emitted.layout);
    let run = machine.run(program, Input::Tc(Skb { data: stripped, linear, tag, ..Skb::default() })).unwrap();
    let hook = plan.hook(verdict.hook);
    let hopping = verdict.copies.iter().filter(|copy| wiring.by_hop(verdict.hook, **copy));
    let mut want = std::collections::BTreeMap::from([(Counter::HopIn(verdict.hook), 1)]);
    let mut ports = Vec::new();
    for copy in hopping {
        *want.entry(Counter::Copied(verdict.hook, *copy)).or_insert(0) += 1;
        *want.entry(Counter::CopiedBytes(verdict.hook, *copy)).or_insert(0) +=
            u64::try_from(data.len()).unwrap();
        ports.push(Symbol::Interface(copy_port(plan, hook, *copy)));
    }
    want.retain(|_, value| *value != 0);
    assert_eq!(named(&emitted.layout, part, slots(&machine)), want);
    let clone = |effect: &Effect| match effect {
        Effect::Clone { to, .. } => *to,
        other => panic!("{other:?} is none of a hop"),
    };
    assert_eq!(run.effects.iter().map(clone).collect::<Vec<_>>(), ports);
    assert_eq!(run.returned, 4, "TC_ACT_STOLEN");
}

/// Both views of one plan.
struct Both<'a> {
    plan: &'a Plan,
    wirings: [Wiring; 2],
    emitted: [Emitted; 2],
}

impl<'a> Both<'a> {
    fn new(plan: &'a Plan) -> Self {
        let wirings = [Wiring::all(plan, View::Tc), xdp_wiring(plan)];
        let emitted = [0, 1].map(|at| emitted(plan, &wirings[at], Mode::Attach));
        Self { plan, wirings, emitted }
    }

    fn agree(&self, random: &mut Random, id: HookId, data: &[u8]) {
        let (plan, [tc, xdp], [by_tc, by_xdp]) = (self.plan, &self.wirings, &self.emitted);
        let verdict = verdict(plan, plan.hook(id), data);
        let mut number = || u32::try_from(random.below(9)).unwrap();
        let (mark, priority) = (number(), number());
        let (stripped, tag) = untagged(data);
        let linear = if random.one_in(3) { 0 } else { data.len() };
        let beside = Skb { data: stripped, linear, tag, mark, priority, ..Skb::default() };
        agree_tc(plan, by_tc, &verdict, tc, data, beside);
        // On its way out a frame may still bear its tag in the data.
        let linear = if random.one_in(3) { 14 } else { data.len() };
        let within = Skb { data: data.to_vec(), linear, tag: None, mark, priority, ..Skb::default() };
        agree_tc(plan, by_tc, &verdict, tc, data, within);
        if xdp.view(plan.hook(id)) == View::Xdp {
            agree_xdp(plan, by_xdp, &verdict, xdp, data);
            agree_hop(plan, by_xdp, &verdict, xdp, data);
        }
    }
}

#[test]
fn eval_and_the_interpreter_give_one_verdict_on_random_plans() {
    let mut random = Random::new(corpus::seed());
    let mut pairs = 0;
    while pairs < PAIRS {
        let plan = arbitrary::plan(&mut random);
        let both = Both::new(&plan);
        for _ in 0..FRAMES {
            let Some((id, data)) = common::hook_and_frame(&mut random, &plan) else { break };
            both.agree(&mut random, id, &data);
            pairs += 1;
        }
    }
    println!("{pairs} pairs");
}

#[test]
fn eval_and_the_interpreter_give_one_verdict_on_the_corpus() {
    let mut random = Random::new(corpus::seed());
    for case in corpus::cases().unwrap() {
        let both = Both::new(&case.plan);
        for input in &case.frames {
            let Some((id, _)) = case.plan.hook_at(input.at) else { continue };
            both.agree(&mut random, id, &input.data);
        }
    }
}

#[test]
fn a_copy_that_the_kernel_does_not_take_is_counted_by_cause() {
    let mut random = Random::new(7);
    let plan = (0..).map(|_| arbitrary::plan(&mut random)).find(|plan| {
        let hook = plan.hooks.first();
        hook.is_some_and(|hook| matches!(verdict(plan, hook, &[0; 14]).copies[..], [_]))
    });
    let plan = plan.unwrap();
    let copy = verdict(&plan, &plan.hooks[0], &[0; 14]).copies[0];
    let emitted = emitted(&plan, &Wiring::all(&plan, View::Tc), Mode::Attach);
    let id = HookId(0);
    use bpf::layout::CopyError::{Down, Gone};
    let cases = [
        (0, Counter::Copied(id, copy)),
        (1, Counter::Copied(id, copy)),
        (2, Counter::Failed(id, copy, Down)),
        (-22, Counter::Failed(id, copy, Gone)),
        (-100, Counter::Failed(id, copy, Gone)),
    ];
    for (result, want) in cases {
        let mut machine = Machine::for_layout(&emitted.layout);
        machine.clone_results.push_back(result);
        let skb = Skb { data: vec![0; 60], linear: 60, ..Skb::default() };
        machine.run(emitted.program(Part::Entry(id)).unwrap(), Input::Tc(skb)).unwrap();
        for (_, counter) in &cases {
            let value = machine.counter(&emitted.layout, *counter);
            assert_eq!(value, u64::from(*counter == want), "{result}: {counter:?}");
        }
        assert_eq!(machine.counter(&emitted.layout, Counter::Matched(id, copy)), 1);
    }
}

#[test]
fn guards_let_only_our_frames_out() {
    let mut random = Random::new(corpus::seed());
    for _ in 0..200 {
        let plan = arbitrary::plan(&mut random);
        let emitted = emitted(&plan, &Wiring::all(&plan, View::Tc), Mode::Attach);
        for (port, _) in plan.ports() {
            let Some(program) = emitted.program(Part::Guard(port)) else { continue };
            for hook in 0..=u16::try_from(plan.hooks.len()).unwrap() {
                for mark in [OUR_MARK | u32::from(hook), u32::from(hook), 0x7476_0000 | u32::from(hook)] {
                    let mut machine = Machine::for_layout(&emitted.layout);
                    let skb = Skb { data: vec![0; 60], linear: 60, mark, ..Skb::default() };
                    let run = machine.run(program, Input::Tc(skb)).unwrap();
                    let seen = Counter::Seen(port, HookId(hook));
                    let ours = mark >> 16 == OUR_MARK >> 16 && emitted.layout.place(seen).is_some();
                    let Input::Tc(after) = run.input else { panic!("still an skb") };
                    if ours {
                        assert_eq!(run.returned, u64::MAX, "TCX_NEXT");
                        assert_eq!((machine.counter(&emitted.layout, seen), after.mark), (1, 0));
                    } else {
                        assert_eq!(run.returned, 2, "TC_ACT_SHOT");
                        assert_eq!(machine.counter(&emitted.layout, Counter::Guarded(port)), 1);
                    }
                }
            }
            if let Some(sent) = emitted.program(Part::MonitorIn(port)) {
                let mut machine = Machine::for_layout(&emitted.layout);
                let skb = Skb { data: vec![0; 60], linear: 60, mark: OUR_MARK, ..Skb::default() };
                assert_eq!(machine.run(sent, Input::Tc(skb)).unwrap().returned, 2);
                assert_eq!(machine.counter(&emitted.layout, Counter::SensorSent(port)), 1);
                assert_eq!(machine.counter(&emitted.layout, Counter::SensorSentBytes(port)), 60);
            }
        }
    }
}

#[test]
fn devmap_entries_count_what_leaves_and_let_it_pass() {
    let mut random = Random::new(corpus::seed());
    let mut entries = 0;
    while entries < 200 {
        let plan = arbitrary::plan(&mut random);
        let emitted = emitted(&plan, &xdp_wiring(&plan), Mode::Attach);
        for unit in &emitted.units {
            let counter = match unit.part {
                Part::Devmap(hook, Target::Port(port)) => Some(Counter::Seen(port, hook)),
                Part::Devmap(hook, Target::Hop(_)) => Some(Counter::HopSeen(hook)),
                Part::Pass => None,
                _ => continue,
            };
            let mut machine = Machine::for_layout(&emitted.layout);
            let run = machine.run(&unit.program, Input::Xdp(vec![0; 60])).unwrap();
            assert_eq!((run.returned, run.effects), (2, vec![]), "XDP_PASS");
            if let Some(counter) = counter {
                assert_eq!(machine.counter(&emitted.layout, counter), 1);
                entries += 1;
            }
        }
    }
}
