//! `eval` and the programs in the kernel (`BPF_PROG_TEST_RUN`) give one verdict, in both views.
//!
//! Needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON): without them it fails and says so. Attaches nothing
//! and sends nothing.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeMap;

use bpf::asm::{Alu, Assembler, Cond, Kind, MapRef, Reg, Size};
use bpf::emit::{self, Emitted, Mode, RECORDED_OUTCOME};
use bpf::interp::{Input, Machine, Skb};
use bpf::layout::{Counter, Part, View, Wiring};
use common::kernel::{Kernel, lengthen, sk_buff};
use common::{expected, targets, tc_returns, untagged, verdict, xdp_wiring};
use plan::arbitrary::{self, Random};
use plan::plan::{HookId, Plan, PortId};
use rules::form::{Action, CopyIndex, RuleId, Step, Test};
use sys::{MapKind, MapSpec, ProgFd, Sys, TestRun};
use wire::Vlan;

const PAIRS: usize = 100_000;
const FRAMES: usize = 70;

/// What the counters gained.
fn gained(before: &BTreeMap<Counter, u64>, after: &BTreeMap<Counter, u64>) -> BTreeMap<Counter, u64> {
    let gain = |(counter, value): (&Counter, &u64)| (*counter, value - before.get(counter).unwrap_or(&0));
    after.iter().map(gain).filter(|(_, gain)| *gain != 0).collect()
}

fn entries(kernel: &mut Kernel, plan: &Plan, emitted: &Emitted) -> Vec<ProgFd> {
    plan.hooks().map(|(id, _)| kernel.load(emitted.program(Part::Entry(id)).unwrap())).collect()
}

/// Runs frames in the tc view. `all`: the programs that are attached must pass the verifier too; a test run
/// of those would really send.
fn agree_tc(plan: &Plan, frames: &[(HookId, Vec<u8>)], all: bool) {
    let wiring = Wiring::all(plan, View::Tc);
    let emitted = bpf::emit(plan, &wiring, Mode::Record).unwrap();
    let mut kernel = Kernel::new(&emitted);
    let programs = entries(&mut kernel, plan, &emitted);
    if all {
        for unit in &bpf::emit(plan, &wiring, Mode::Attach).unwrap().units {
            kernel.load(&unit.program);
        }
    }
    let mut before: Vec<BTreeMap<Counter, u64>> = vec![BTreeMap::new(); programs.len()];
    for (id, data) in frames {
        let mut data = data.clone();
        lengthen(&mut data);
        let verdict = verdict(plan, plan.hook(*id), &data);
        let (stripped, tag) = untagged(&data);
        let returned = kernel.run(programs[common::index(*id)], &stripped, &sk_buff(tag, 0, 0));
        assert_eq!(returned, tc_returns(&verdict), "{plan:?}\n{data:02x?}");
        let after = kernel.read(&emitted.layout, Part::Entry(*id));
        let want = expected(&verdict, &wiring, plan, u64::try_from(data.len()).unwrap());
        assert_eq!(gained(&before[common::index(*id)], &after), want, "{plan:?}\n{data:02x?}");
        before[common::index(*id)] = after;
    }
}

/// Runs frames in the XDP view. `all`: also by the programs that are attached, with their devmaps.
fn agree_xdp(plan: &Plan, frames: &[(HookId, Vec<u8>)], all: bool) -> usize {
    let wiring = xdp_wiring(plan);
    let recorded = bpf::emit(plan, &wiring, Mode::Record).unwrap();
    let mut kernel = Kernel::new(&recorded);
    let programs = entries(&mut kernel, plan, &recorded);
    let real = all.then(|| {
        let attached = bpf::emit(plan, &wiring, Mode::Attach).unwrap();
        kernel.make_devmaps(&attached);
        for unit in &attached.units {
            kernel.load(&unit.program);
        }
        entries(&mut kernel, plan, &attached)
    });
    let mut before: Vec<BTreeMap<Counter, u64>> = vec![BTreeMap::new(); programs.len()];
    let seen = frames.iter().filter(|(id, _)| wiring.view(plan.hook(*id)) == View::Xdp);
    let mut pairs = 0;
    for (id, data) in seen {
        let mut data = data.clone();
        data.resize(data.len().max(14), 0);
        let at = common::index(*id);
        let verdict = verdict(plan, plan.hook(*id), &data);
        let want = expected(&verdict, &wiring, plan, u64::try_from(data.len()).unwrap());
        let to = targets(plan, &wiring, &verdict);
        let returned = kernel.run(programs[at], &data, &[]);
        let outcome = recorded.outcomes.iter().find(|outcome| {
            outcome.hook == *id && returned == RECORDED_OUTCOME.cast_unsigned() + u32::from(outcome.number)
        });
        assert_eq!(outcome.map_or(&[][..], |outcome| &outcome.targets), to, "{plan:?}\n{data:02x?}");
        let after = kernel.read(&recorded.layout, Part::Entry(*id));
        assert_eq!(gained(&before[at], &after), want, "{plan:?}\n{data:02x?}");
        before[at] = after;
        if let Some(real) = &real {
            let returned = kernel.run(real[at], &data, &[]);
            assert_eq!(returned, if to.is_empty() { 1 } else { 4 }, "XDP_DROP or XDP_REDIRECT");
            let after = kernel.read(&recorded.layout, Part::Entry(*id));
            assert_eq!(gained(&before[at], &after), want, "{plan:?}\n{data:02x?}");
            before[at] = after;
        }
        pairs += 1;
    }
    pairs
}

/// Runs frames through the hops, where they have copies to make.
fn agree_hop(plan: &Plan, frames: &[(HookId, Vec<u8>)]) -> usize {
    let wiring = xdp_wiring(plan);
    let emitted = bpf::emit(plan, &wiring, Mode::Record).unwrap();
    let mut kernel = Kernel::new(&emitted);
    let hops = plan.hooks().filter_map(|(id, _)| emitted.program(Part::Hop(id)).map(|program| (id, program)));
    let hops: BTreeMap<HookId, ProgFd> = hops.map(|(id, program)| (id, kernel.load(program))).collect();
    let mut pairs = 0;
    for (id, data) in frames {
        let Some(program) = hops.get(id) else { continue };
        let mut data = data.clone();
        lengthen(&mut data);
        let verdict = verdict(plan, plan.hook(*id), &data);
        let mut want = BTreeMap::from([(Counter::HopIn(*id), 1)]);
        for copy in verdict.copies.iter().filter(|copy| wiring.by_hop(*id, **copy)) {
            *want.entry(Counter::Copied(*id, *copy)).or_insert(0) += 1;
            *want.entry(Counter::CopiedBytes(*id, *copy)).or_insert(0) += u64::try_from(data.len()).unwrap();
        }
        let (stripped, tag) = untagged(&data);
        let before = kernel.read(&emitted.layout, Part::Hop(*id));
        let returned = kernel.run(*program, &stripped, &sk_buff(tag, 0, 0));
        let after = kernel.read(&emitted.layout, Part::Hop(*id));
        assert_eq!(returned, emit::TC_STOLEN.cast_unsigned());
        assert_eq!(gained(&before, &after), want, "{plan:?}\n{data:02x?}");
        pairs += 1;
    }
    pairs
}

/// Random plans with frames, until `agree` has had so many of them.
fn random_pairs(wanted: usize, mut agree: impl FnMut(&Plan, &[(HookId, Vec<u8>)], bool) -> usize) {
    let mut random = Random::new(corpus::seed());
    let (mut pairs, mut plans) = (0, 0);
    while pairs < wanted {
        let plan = arbitrary::plan(&mut random);
        let frames: Vec<_> = (0..FRAMES).map_while(|_| common::hook_and_frame(&mut random, &plan)).collect();
        pairs += agree(&plan, &frames, plans % 10 == 0);
        plans += 1;
    }
    println!("{pairs} pairs of {plans} plans");
}

#[test]
fn the_kernel_agrees_in_the_tc_view() {
    random_pairs(PAIRS, |plan, frames, all| {
        agree_tc(plan, frames, all);
        frames.len()
    });
}

#[test]
fn the_kernel_agrees_in_the_xdp_view() {
    random_pairs(PAIRS, agree_xdp);
}

#[test]
fn the_kernel_agrees_in_the_hops() {
    random_pairs(PAIRS / 10, |plan, frames, _| agree_hop(plan, frames));
}

#[test]
fn guards_let_only_our_frames_out_and_nothing_of_sensors_in() {
    let plan = port_aggregator();
    let emitted = bpf::emit(&plan, &Wiring::all(&plan, View::Tc), Mode::Attach).unwrap();
    let mut kernel = Kernel::new(&emitted);
    let frame = [0; 60];
    let (b, ids) = (PortId(1), PortId(2));
    // Frames of a (hook 0) leave by b; both hooks' leave by ids.
    let cases = [
        (b, 0x7477_0000, Some(Counter::Seen(b, HookId(0)))),
        (b, 0x7477_0001, None),
        (b, 0x7476_0000, None),
        (b, 0, None),
        (ids, 0x7477_0001, Some(Counter::Seen(ids, HookId(1)))),
        (ids, 0x7477_0002, None),
        (ids, u32::MAX, None),
    ];
    for (port, mark, seen) in cases {
        let guard = kernel.load(emitted.program(Part::Guard(port)).unwrap());
        let mut context = sk_buff(None, 0, 0);
        context[8..12].copy_from_slice(&u32::to_ne_bytes(mark));
        let before = kernel.read(&emitted.layout, Part::Guard(port));
        let run = TestRun { data: &frame, context: &context, ..TestRun::default() };
        let result = kernel.sys.prog_test_run(guard, &run).unwrap();
        let after = kernel.read(&emitted.layout, Part::Guard(port));
        let counter = seen.unwrap_or(Counter::Guarded(port));
        assert_eq!(gained(&before, &after), BTreeMap::from([(counter, 1)]), "{mark:#x}");
        let returned = if seen.is_some() { emit::TC_NEXT } else { emit::TC_SHOT };
        assert_eq!(result.verdict, returned.cast_unsigned());
        if seen.is_some() {
            assert_eq!(result.context[8..12], [0; 4], "the mark ends here");
        }
    }
    let sent = kernel.load(emitted.program(Part::MonitorIn(ids)).unwrap());
    assert_eq!(kernel.run(sent, &frame, &[]), emit::TC_SHOT.cast_unsigned());
    let want = BTreeMap::from([(Counter::SensorSent(ids), 1), (Counter::SensorSentBytes(ids), 60)]);
    assert_eq!(kernel.read(&emitted.layout, Part::MonitorIn(ids)), want);
}

#[test]
fn the_kernel_agrees_on_the_corpus() {
    // Plans that remember are judged with their memory: see `steered_kernel.rs`.
    let forgets = |case: &corpus::Case| {
        let emitted = bpf::emit(&case.plan, &Wiring::all(&case.plan, View::Tc), Mode::Record);
        emitted.unwrap().memories.is_empty()
    };
    for case in corpus::cases().unwrap().into_iter().filter(forgets) {
        let at = |input: &corpus::Input| Some((case.plan.hook_at(input.at)?.0, input.data.clone()));
        let frames: Vec<_> = case.frames.iter().filter_map(at).collect();
        println!("{}: {} frames", case.name, frames.len());
        agree_tc(&case.plan, &frames, true);
        agree_xdp(&case.plan, &frames, true);
        agree_hop(&case.plan, &frames);
    }
}

fn port_aggregator() -> Plan {
    let config = "[ports]\na = \"eth1\"\nb = \"eth2\"\nids = \"eth3\"\n\
        [[device]]\nname = \"perimeter\"\nkind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"ids\"]\n";
    plan::compile("config.toml", config).unwrap().0
}

/// The widest programs that are emitted: a quarter of a million instructions in the tc view, as many intervals
/// as are taken in the XDP view.
#[test]
fn the_largest_programs_pass_the_verifier_and_agree() {
    let vlan_step = |vlans: Vec<u16>, copy: u16| Step {
        rule: RuleId(0),
        when: Test::Vlan(vlans.into_iter().filter_map(Vlan::new).collect()),
        then: Action::Copy(CopyIndex(copy)),
    };
    let frame = |vlan: u16| {
        let mut data = vec![2; 12];
        data.extend([0x81, 0x00]);
        data.extend(vlan.to_be_bytes());
        data.extend([0x88, 0xb5]);
        data.resize(60, 0);
        (HookId(0), data)
    };
    let frames: Vec<_> = [0, 1, 2, 3, 32, 33, 34, 989, 990, 4094, 4095].map(frame).to_vec();

    let mut plan = port_aggregator();
    plan.hooks[0].copies = vec![plan.hooks[0].copies[0]; 60];
    let every_second = |n: u16| (n % 2..4096).step_by(2).collect();
    plan.hooks[0].program.steps = (0..60).map(|n| vlan_step(every_second(n), n)).collect();
    agree_tc(&plan, &frames, true);

    let residue = |n: u16| (n..990).step_by(33).collect();
    plan.hooks[0].program.steps = (0..31).map(|n| vlan_step(residue(n), n)).collect();
    assert_eq!(agree_xdp(&plan, &frames, true), frames.len(), "XDP takes it");
}

/// Jumps beyond 16 bits, conditional and not, go where they should in the kernel too (`gotol`, Linux 6.6).
#[test]
fn far_jumps_land() {
    for cond in [Cond::Gt, Cond::Set] {
        let mut asm = Assembler::new("tw_far", Kind::Tc);
        let (taken, over) = (asm.label(), asm.label());
        asm.load(Size::Word, Reg::R2, Reg::R1, 0);
        asm.jump_if(Reg::R2, cond, 32, taken);
        asm.mov(Reg::R0, 3);
        asm.jump_if(Reg::R2, Cond::Lt, 20, over);
        for _ in 0..20_000 {
            asm.load_imm64(Reg::R0, 5);
        }
        asm.jump(over);
        asm.place(taken);
        asm.mov(Reg::R0, 7);
        for _ in 0..40_000 {
            asm.alu(Alu::Add, Reg::R0, 0);
        }
        asm.place(over);
        asm.exit();
        let program = asm.finish().unwrap();
        bpf::check::check(&program).unwrap();
        let emitted = bpf::emit(&port_aggregator(), &Wiring::default(), Mode::Attach).unwrap();
        let mut kernel = Kernel::new(&emitted);
        let loaded = kernel.load(&program);
        for (octets, returned) in [(60, 7), (16, 3), (25, 5)] {
            assert_eq!(kernel.run(loaded, &vec![0; octets], &[]), returned, "{cond:?} {octets}");
        }
    }
}

/// A super-frame: its octets, and the octets of its headers where they can be measured.
fn super_frame(random: &mut Random) -> (Vec<u8>, Option<u64>) {
    let mut data = vec![0; 12];
    for _ in 0..random.below(4) {
        data.extend([0x81, 0x00, 0x00, 0x05]);
    }
    let tags = (data.len() - 12) / 4;
    let protocol = *random.pick(&[6u8, 6, 17, 47]);
    if random.one_in(2) {
        let words = 5 + random.below(4);
        data.extend([0x08, 0x00, 0x40 | u8::try_from(words).unwrap()]);
        data.extend([0; 8]);
        data.push(protocol);
        data.resize(data.len() - 10 + words * 4, 0);
    } else {
        data.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol]);
        data.resize(data.len() + 33, 0);
    }
    match protocol {
        6 => {
            let words = 5 + random.below(11);
            let at = data.len();
            data.resize(at + words * 4, 0);
            data[at + 12] = u8::try_from(words << 4).unwrap();
        }
        _ => data.resize(data.len() + 8, 0),
    }
    let headers = u64::try_from(data.len()).unwrap();
    data.resize(data.len() + 1 + random.below(3000), 0);
    // Three tags in the data are more than are looked through; with one beside it, four.
    let measurable = protocol != 47 && (tags <= 2 || tags == 3);
    (data, measurable.then_some(headers))
}

#[test]
fn super_frames_count_as_the_frames_that_they_stand_for() {
    let mut random = Random::new(corpus::seed());
    let plan = port_aggregator();
    let id = HookId(0);
    let emitted = bpf::emit(&plan, &Wiring::all(&plan, View::Tc), Mode::Record).unwrap();
    let mut kernel = Kernel::new(&emitted);
    let program = emitted.program(Part::Entry(id)).unwrap();
    let loaded = kernel.load(program);
    for _ in 0..5000 {
        let (data, headers) = super_frame(&mut random);
        let (stripped, tag) = untagged(&data);
        // As many tags as stay in the data after the outer one is taken off decide.
        let octets = u64::try_from(data.len()).unwrap();
        let gso_size = 1 + u32::try_from(random.below(1400)).unwrap();
        let beside = if tag.is_some() { 4 } else { 0 };
        let payload = octets - headers.unwrap_or(beside);
        let by_size = payload.div_ceil(u64::from(gso_size)).max(1);
        let gso_segs = if random.one_in(2) { 0 } else { u32::try_from(by_size).unwrap() };
        if by_size > 65_535 {
            continue;
        }
        let mut want = BTreeMap::from([
            (Counter::In(id), by_size),
            (Counter::InBytes(id), octets + (by_size - 1) * headers.unwrap_or(0)),
        ]);
        if headers.is_none() {
            want.insert(Counter::Unmeasured(id), 1);
        }
        let of_in = |counters: BTreeMap<Counter, u64>| -> BTreeMap<Counter, u64> {
            let told =
                |c: &Counter| matches!(c, Counter::In(_) | Counter::InBytes(_) | Counter::Unmeasured(_));
            counters.into_iter().filter(|(counter, _)| told(counter)).collect()
        };
        let before = of_in(kernel.read(&emitted.layout, Part::Entry(id)));
        kernel.run(loaded, &stripped, &sk_buff(tag, gso_segs, gso_size));
        let after = of_in(kernel.read(&emitted.layout, Part::Entry(id)));
        assert_eq!(gained(&before, &after), want, "{headers:?} {gso_segs} {gso_size} {data:02x?}");

        let mut machine = Machine::for_layout(&emitted.layout);
        let linear = random.below(100);
        let skb = Skb { data: stripped, linear, tag, gso_segs, gso_size, ..Skb::default() };
        machine.run(program, Input::Tc(skb)).unwrap();
        let got = want.keys().map(|counter| (*counter, machine.counter(&emitted.layout, *counter)));
        assert_eq!(got.collect::<BTreeMap<_, _>>(), want);
    }
}

#[test]
fn the_programs_of_measurements_pass_the_verifier() {
    let plan = port_aggregator();
    let emitted = bpf::emit(&plan, &Wiring::all(&plan, View::Tc), Mode::Attach).unwrap();
    let mut kernel = Kernel::new(&emitted);
    let mut make = |map: MapRef, kind: MapKind, value_bytes: u32| {
        let spec =
            MapSpec { kind, key_bytes: 4, value_bytes, max_entries: 1, flags: 0, name: "bench".to_owned() };
        let fd = kernel.sys.map_create(&spec).unwrap();
        kernel.maps.insert(map, fd);
    };
    make(bpf::bench::DEVMAP, MapKind::DEVMAP, 4);
    make(bpf::bench::PACE, MapKind::ARRAY, 24);
    make(bpf::bench::COUNT, MapKind::PERCPU_ARRAY, 8);
    let devmap = kernel.maps[&bpf::bench::DEVMAP];
    kernel.sys.map_update(devmap, &0u32.to_ne_bytes(), &1u32.to_ne_bytes()).unwrap();
    let frame = [0; 60];
    let cases = [
        (bpf::bench::forward(), 4),
        (bpf::bench::paced(), 4),
        (bpf::bench::xdp_sink(), 1),
        (bpf::bench::tc_sink(), 2),
    ];
    for (program, verdict) in cases {
        let program = program.unwrap();
        bpf::check::check(&program).unwrap();
        let loaded = kernel.load(&program);
        assert_eq!(kernel.run(loaded, &frame, &[]), verdict, "{}", program.name);
    }
    let pace = kernel.maps[&bpf::bench::PACE];
    let value = kernel.sys.map_lookup(pace, &0u32.to_ne_bytes()).unwrap().unwrap();
    assert_eq!(value[16..24], 1u64.to_ne_bytes(), "one frame was due");
}
