//! What the checker and the interpreter refuse, in exact words, and that nothing makes them panic.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use bpf::asm::{Alu, Assembler, Cond, Helper, Insn, Kind, MapRef, Program, Reg, Size, Src, Symbol, Width};
use bpf::check::check;
use bpf::interp::{Input, Machine, Skb};
use plan::plan::PortId;
use proptest::prelude::*;

fn program(body: impl FnOnce(&mut Assembler)) -> Program {
    let mut asm = Assembler::new("tw_test", Kind::Tc);
    body(&mut asm);
    asm.finish().unwrap()
}

fn refusal(body: impl FnOnce(&mut Assembler)) -> String {
    check(&program(body)).unwrap_err().to_string()
}

#[test]
fn a_register_is_written_before_it_is_read_on_every_way() {
    let text = refusal(|asm| {
        let join = asm.label();
        asm.load(Size::Word, Reg::R2, Reg::R1, 0);
        asm.jump_if(Reg::R2, Cond::Eq, 0, join);
        asm.mov(Reg::R0, 1);
        asm.place(join);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 3: r0 is read before it is written");
}

#[test]
fn a_call_loses_the_arguments() {
    let text = refusal(|asm| {
        asm.call(Helper::KtimeNs);
        asm.mov(Reg::R0, Reg::R1);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 1: r1 is read before it is written");
}

#[test]
fn a_call_needs_its_arguments() {
    let text = refusal(|asm| {
        asm.mov(Reg::R2, 1);
        asm.call(Helper::CloneRedirect);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 1: r3 is read before it is written");
    let text = refusal(|asm| {
        asm.store(Size::Word, Reg::R10, -4, 0);
        asm.mov(Reg::R2, Reg::R10);
        asm.alu(Alu::Add, Reg::R2, -4);
        asm.call(Helper::MapLookup);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 3: r1 is no argument for map_lookup_elem");
}

#[test]
fn packet_pointers_do_not_outlive_a_clone() {
    let text = refusal(|asm| {
        asm.load(Size::Word, Reg::R6, Reg::R1, 76);
        asm.mov(Reg::R2, 1);
        asm.mov(Reg::R3, 0);
        asm.call(Helper::CloneRedirect);
        asm.load(Size::Byte, Reg::R0, Reg::R6, 0);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 4: r6 is read before it is written");
}

#[test]
fn the_frame_pointer_is_read_only() {
    let text = refusal(|asm| {
        asm.alu(Alu::Add, Reg::R10, -8);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 0: r10 is read-only");
}

#[test]
fn the_stack_ends_after_512_octets() {
    let below = |off| {
        refusal(move |asm| {
            asm.store(Size::Double, Reg::R10, off, 0);
            asm.mov(Reg::R0, 0);
        })
    };
    assert_eq!(below(-513), "tw_test: line 0: outside of the 512 octets of stack");
    assert_eq!(below(-4), "tw_test: line 0: outside of the 512 octets of stack");
    assert_eq!(below(-512), "tw_test: line 1: the program ends without exit");
}

#[test]
fn stack_is_written_before_it_is_read_on_every_way() {
    let text = refusal(|asm| {
        asm.store(Size::Word, Reg::R10, -8, 0);
        asm.load(Size::Double, Reg::R0, Reg::R10, -8);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 1: stack is read before it is written");
    let text = refusal(|asm| {
        asm.load_map(Reg::R1, MapRef::Counters);
        asm.mov(Reg::R2, Reg::R10);
        asm.alu(Alu::Add, Reg::R2, -4);
        asm.call(Helper::MapLookup);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 3: stack is read before it is written");
}

#[test]
fn a_lookup_may_have_failed() {
    let lookup = |asm: &mut Assembler| {
        asm.store(Size::Word, Reg::R10, -4, 0);
        asm.load_map(Reg::R1, MapRef::Counters);
        asm.mov(Reg::R2, Reg::R10);
        asm.alu(Alu::Add, Reg::R2, -4);
        asm.call(Helper::MapLookup);
    };
    let text = refusal(|asm| {
        lookup(asm);
        asm.load(Size::Double, Reg::R0, Reg::R0, 0);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 5: r0 is not known to be an address");
    let sound = program(|asm| {
        let null = asm.label();
        lookup(asm);
        asm.jump_if(Reg::R0, Cond::Eq, 0, null);
        asm.load(Size::Double, Reg::R0, Reg::R0, 0);
        asm.place(null);
        asm.exit();
    });
    check(&sound).unwrap();
}

#[test]
fn code_that_no_way_leads_to_is_refused() {
    let text = refusal(|asm| {
        asm.mov(Reg::R0, 0);
        asm.exit();
        asm.mov(Reg::R0, 1);
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 2: no way leads here");
}

#[test]
fn a_program_ends_in_exit() {
    assert_eq!(refusal(|asm| asm.mov(Reg::R0, 0)), "tw_test: line 0: the program ends without exit");
}

#[test]
fn jumps_lead_forward_and_stay_inside() {
    let text = refusal(|asm| {
        let end = asm.label();
        asm.jump_if(Reg::R1, Cond::Ne, 0, end);
        asm.mov(Reg::R0, 0);
        asm.exit();
        asm.place(end);
    });
    assert_eq!(text, "tw_test: line 0: jumps outside of the program");
    let mut asm = Assembler::new("tw_test", Kind::Tc);
    let back = asm.label();
    asm.place(back);
    asm.jump(back);
    assert_eq!(asm.finish().unwrap_err().to_string(), "tw_test: line 0 jumps backward");
    let mut asm = Assembler::new("tw_test", Kind::Tc);
    let nowhere = asm.label();
    asm.jump(nowhere);
    assert_eq!(
        asm.finish().unwrap_err().to_string(),
        "tw_test: line 0 jumps to a label that was never placed"
    );
}

#[test]
fn names_and_slots_are_those_that_the_kernel_can_take() {
    let error = Assembler::new("sixteen_octets_x", Kind::Tc).finish().unwrap_err();
    assert_eq!(error.to_string(), "program name `sixteen_octets_x`: 1 to 15 of letters, digits, `_` and `.`");
    let mut asm = Assembler::new("tw_test", Kind::Tc);
    asm.count(Reg::R7, 4096, 1, Reg::R1);
    assert_eq!(
        asm.finish().unwrap_err().to_string(),
        "tw_test: line 0 counts in a slot that no offset reaches"
    );
}

#[test]
fn more_instructions_than_the_verifier_takes_are_refused() {
    let text = refusal(|asm| {
        for _ in 0..1_000_000 {
            asm.mov(Reg::R0, 0);
        }
        asm.exit();
    });
    assert_eq!(text, "tw_test: line 1000000: more than 1000000 instructions");
}

#[test]
fn the_interpreter_stops_at_its_step_limit_and_outside_of_frames() {
    let long = program(|asm| {
        for _ in 0..50 {
            asm.mov(Reg::R0, 0);
        }
        asm.exit();
    });
    let mut machine = Machine { step_limit: 50, ..Machine::default() };
    let input = || Input::Tc(Skb { data: vec![0; 14], linear: 14, ..Skb::default() });
    assert_eq!(machine.run(&long, input()).unwrap_err().to_string(), "too many steps");
    let beyond = program(|asm| {
        asm.load(Size::Word, Reg::R2, Reg::R1, 76);
        asm.load(Size::Half, Reg::R0, Reg::R2, 13);
        asm.exit();
    });
    let trap = Machine::default().run(&beyond, input()).unwrap_err();
    assert_eq!(trap.to_string(), "memory access outside of every region");
    // A length that is negative is a huge one: it is refused before room is made for it.
    let huge = program(|asm| {
        asm.mov(Reg::R2, 0);
        asm.mov(Reg::R3, Reg::R10);
        asm.alu(Alu::Add, Reg::R3, -8);
        asm.mov(Reg::R4, -1);
        asm.call(Helper::SkbLoadBytes);
        asm.exit();
    });
    let trap = Machine::default().run(&huge, input()).unwrap_err();
    assert_eq!(trap, bpf::interp::Trap::Argument(Reg::R4));
}

fn reg() -> impl Strategy<Value = Reg> {
    (0usize..11).prop_map(|n| Reg::ALL[n])
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![Just(Size::Byte), Just(Size::Half), Just(Size::Word), Just(Size::Double)]
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::W32), Just(Width::W64)]
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), -600..600i32, Just(0), Just(i32::MIN), Just(0x1_0001)]
}

fn src() -> impl Strategy<Value = Src> {
    prop_oneof![reg().prop_map(Src::Reg), number().prop_map(Src::Imm)]
}

fn offset() -> impl Strategy<Value = i16> {
    prop_oneof![
        any::<i16>(),
        -520..20i16,
        Just(0i16),
        Just(76i16),
        Just(80i16),
        Just(8i16),
        Just(164i16),
        Just(i16::MIN)
    ]
}

fn alu() -> impl Strategy<Value = Alu> {
    use Alu::{Add, And, Arsh, Div, Lsh, Mod, Mov, Mul, Or, Rsh, Sub, Xor};
    prop::sample::select(vec![Add, Sub, Mul, Div, Or, And, Lsh, Rsh, Mod, Xor, Mov, Mov, Mov, Arsh])
}

fn cond() -> impl Strategy<Value = Cond> {
    use Cond::{Eq, Ge, Gt, Le, Lt, Ne, Set, Sge, Sgt, Sle, Slt};
    prop::sample::select(vec![Eq, Ne, Gt, Ge, Lt, Le, Set, Sgt, Sge, Slt, Sle])
}

/// Instructions; the second number is how far a jump goes.
fn insns() -> impl Strategy<Value = Vec<(Choice, usize)>> {
    let one = prop_oneof![
        4 => (width(), alu(), reg(), src()).prop_map(|(width, op, dst, src)| Choice::Plain(Insn::Alu { width, op, dst, src })),
        1 => (reg(), size()).prop_map(|(dst, size)| Choice::Plain(Insn::ToBigEndian { dst, size })),
        3 => (size(), reg(), reg(), offset()).prop_map(|(size, dst, src, off)| Choice::Plain(Insn::Load { size, dst, src, off })),
        3 => (size(), reg(), offset(), src()).prop_map(|(size, dst, off, src)| Choice::Plain(Insn::Store { size, dst, off, src })),
        1 => (size(), reg(), offset(), reg()).prop_map(|(size, dst, off, src)| Choice::Plain(Insn::AtomicAdd { size, dst, off, src })),
        1 => (reg(), any::<u64>()).prop_map(|(dst, value)| Choice::Plain(Insn::LoadImm64 { dst, value })),
        2 => reg().prop_map(|dst| Choice::Plain(Insn::LoadMap { dst, map: MapRef::Counters })),
        1 => reg().prop_map(|dst| Choice::Plain(Insn::LoadInterface { dst, symbol: Symbol::Interface(PortId(1)) })),
        3 => (0usize..7).prop_map(|n| Choice::Plain(Insn::Call(Helper::ALL[n]))),
        1 => (reg(), 0u16..99).prop_map(|(block, slot)| Choice::Count(block, slot)),
        1 => (reg(), reg(), reg(), 0u16..99).prop_map(|(data, end, scratch, need)| Choice::Bounds(data, end, scratch, need)),
        2 => (width(), cond(), reg(), src()).prop_map(|(width, cond, dst, src)| Choice::JumpIf(width, cond, dst, src)),
        1 => Just(Choice::Jump),
        1 => Just(Choice::Plain(Insn::Exit)),
    ];
    prop::collection::vec((one, 0usize..9), 0..60)
}

#[derive(Clone, Debug)]
enum Choice {
    Plain(Insn),
    Count(Reg, u16),
    Bounds(Reg, Reg, Reg, u16),
    JumpIf(Width, Cond, Reg, Src),
    Jump,
}

/// A program out of random instructions; registers are first written, so that runs get somewhere.
fn random_program(kind: Kind, insns: &[(Choice, usize)]) -> Program {
    let mut asm = Assembler::new("tw_random", kind);
    for n in [0, 2, 3, 4, 5, 6, 7, 8, 9] {
        asm.mov(Reg::ALL[n], i32::try_from(n).unwrap());
    }
    asm.store(Size::Double, Reg::R10, -8, 0);
    asm.mov(Reg::R9, Reg::R10);
    asm.alu(Alu::Add, Reg::R9, -8);
    let labels: Vec<_> = (0..insns.len() + 10).map(|_| asm.label()).collect();
    for (at, (choice, far)) in insns.iter().enumerate() {
        asm.place(labels[at]);
        let to = labels[at + 1 + far];
        match *choice {
            Choice::Plain(insn) => asm.push(insn),
            Choice::Count(block, slot) => asm.count(block, slot, 1, Reg::R1),
            Choice::Bounds(data, end, scratch, need) => asm.bounds(data, end, scratch, need, to),
            Choice::JumpIf(width, cond, dst, src) => asm.push(Insn::JumpIf { width, cond, dst, src, to }),
            Choice::Jump => asm.jump(to),
        }
    }
    for label in &labels[insns.len()..] {
        asm.place(*label);
    }
    asm.exit();
    asm.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_program_makes_anything_panic(insns in insns(), tc in any::<bool>(), data in prop::collection::vec(any::<u8>(), 0..64)) {
        let program = random_program(if tc { Kind::Tc } else { Kind::Xdp }, &insns);
        let checked = check(&program);
        let mut machine = Machine { step_limit: 1000, ..Machine::default() };
        machine.arrays.insert(MapRef::Counters, vec![vec![0; 8]; 2]);
        let linear = data.len() / 2;
        let input = if tc { Input::Tc(Skb { data, linear, ..Skb::default() }) } else { Input::Xdp(data) };
        let ran = machine.run(&program, input);
        // What the checker lets pass never meets a register or stack that was not written.
        if checked.is_ok() {
            let unwritten = matches!(ran, Err(bpf::interp::Trap::Unwritten(_) | bpf::interp::Trap::FramePointer | bpf::interp::Trap::UnwrittenStack));
            prop_assert!(!unwritten, "{ran:?}");
        }
        // Offsets and words can always be told, or it is said why not.
        let words = program.link(|_| Some(1));
        let swaps = |choice: &Choice| matches!(choice, Choice::Plain(Insn::ToBigEndian { size: Size::Byte, .. }));
        let swaps_octets = insns.iter().any(|(choice, _)| swaps(choice));
        prop_assert_eq!(words.is_err(), swaps_octets);
        let mut text = String::new();
        bpf::listing::program(&mut text, &plan::plan::Plan::default(), &program).unwrap();
        prop_assert_eq!(text.lines().filter(|line| line.starts_with("    ")).count(), program.lines.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Every jump of a linked program lands where the label stood, near or far.
    #[test]
    fn jumps_land_on_their_labels(gaps in prop::collection::vec((0usize..20_000, cond(), any::<bool>()), 1..6)) {
        let mut asm = Assembler::new("tw_far", Kind::Tc);
        let end = asm.label();
        for (gap, cond, wide) in &gaps {
            asm.jump_if(Reg::R1, *cond, 1, end);
            for _ in 0..*gap {
                if *wide { asm.load_imm64(Reg::R0, 1) } else { asm.mov(Reg::R0, 1) }
            }
        }
        asm.place(end);
        asm.mov(Reg::R0, 0x77);
        asm.exit();
        let words = asm.finish().unwrap().link(|_| None).unwrap();
        let last = words.len() - 2;
        let mut at = 0;
        while at < words.len() {
            let [code, _, o0, o1, i0, i1, i2, i3] = words[at].to_le_bytes();
            let off = i32::from(i16::from_le_bytes([o0, o1]));
            let imm = i32::from_le_bytes([i0, i1, i2, i3]);
            let jump = match code {
                0x18 => { at += 2; continue }
                0x06 => Some(imm),
                0x05 => None,
                code if code & 7 == 5 && off > 1 => Some(off),
                _ => None,
            };
            if let Some(by) = jump {
                prop_assert_eq!(at + 1 + usize::try_from(by).unwrap(), last);
            }
            at += 1;
        }
    }
}
