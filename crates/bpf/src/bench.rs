//! Small programs that measurements are made with: a generator, the bare forward that others are
//! compared with, and sinks.
//!
//! Maps: [`DEVMAP`], entry 0 is where frames go; [`PACE`], an `ARRAY` of one entry
//! `{ next_due_ns: u64, interval_ns: u64, sent: u64 }`; [`COUNT`], a `PERCPU_ARRAY` of one `u64`.

use crate::asm::{Alu, AsmError, Assembler, Cond, Helper, Kind, MapRef, Program, Reg, Size};
use crate::emit::{TC_SHOT, XDP_ABORTED, XDP_DROP};

/// `DEVMAP` of one entry.
pub const DEVMAP: MapRef = MapRef::Bench(0);
/// `ARRAY` of one entry of 24 octets.
pub const PACE: MapRef = MapRef::Bench(1);
/// `PERCPU_ARRAY` of one entry of 8 octets.
pub const COUNT: MapRef = MapRef::Bench(2);

/// XDP: sends every frame to entry 0 of [`DEVMAP`], and does nothing else. Run by
/// `BPF_F_TEST_XDP_LIVE_FRAMES` it generates traffic; attached to a port it is the bare forward.
///
/// # Errors
///
/// None that the instructions here can cause.
pub fn forward() -> Result<Program, AsmError> {
    let mut asm = Assembler::new("tw_b_forward", Kind::Xdp);
    redirect(&mut asm);
    asm.finish()
}

/// XDP, for `BPF_F_TEST_XDP_LIVE_FRAMES`: sends a frame when it is due and drops it else, so that a
/// run of many repetitions keeps a pace. Late frames are caught up with. Meant for one CPU at a time.
///
/// # Errors
///
/// None that the instructions here can cause.
pub fn paced() -> Result<Program, AsmError> {
    let mut asm = Assembler::new("tw_b_paced", Kind::Xdp);
    let (early, missing) = (asm.label(), asm.label());
    lookup(&mut asm, PACE);
    asm.jump_if(Reg::R0, Cond::Eq, 0, missing);
    asm.mov(Reg::R6, Reg::R0);
    asm.call(Helper::KtimeNs);
    asm.note("next_due_ns");
    asm.load(Size::Double, Reg::R1, Reg::R6, 0);
    asm.jump_if(Reg::R0, Cond::Lt, Reg::R1, early);
    asm.load(Size::Double, Reg::R2, Reg::R6, 8);
    asm.alu(Alu::Add, Reg::R1, Reg::R2);
    asm.store(Size::Double, Reg::R6, 0, Reg::R1);
    asm.note("sent");
    asm.count(Reg::R6, 2, 1, Reg::R1);
    redirect(&mut asm);
    asm.place(early);
    asm.mov(Reg::R0, XDP_DROP);
    asm.exit();
    asm.place(missing);
    asm.mov(Reg::R0, XDP_ABORTED);
    asm.exit();
    asm.finish()
}

/// XDP: counts frames in [`COUNT`] and drops them.
///
/// # Errors
///
/// None that the instructions here can cause.
pub fn xdp_sink() -> Result<Program, AsmError> {
    sink("tw_b_xdp_sink", Kind::Xdp, XDP_DROP)
}

/// tc: counts skbs in [`COUNT`] and drops them.
///
/// # Errors
///
/// None that the instructions here can cause.
pub fn tc_sink() -> Result<Program, AsmError> {
    sink("tw_b_tc_sink", Kind::Tc, TC_SHOT)
}

fn sink(name: &str, kind: Kind, verdict: i32) -> Result<Program, AsmError> {
    let mut asm = Assembler::new(name, kind);
    let missing = asm.label();
    lookup(&mut asm, COUNT);
    asm.jump_if(Reg::R0, Cond::Eq, 0, missing);
    asm.count(Reg::R0, 0, 1, Reg::R1);
    asm.place(missing);
    asm.mov(Reg::R0, verdict);
    asm.exit();
    asm.finish()
}

/// `r0` = entry 0 of a map, or NULL.
fn lookup(asm: &mut Assembler, map: MapRef) {
    asm.store(Size::Word, Reg::R10, -4, 0);
    asm.mov(Reg::R2, Reg::R10);
    asm.alu(Alu::Add, Reg::R2, -4);
    asm.load_map(Reg::R1, map);
    asm.call(Helper::MapLookup);
}

fn redirect(asm: &mut Assembler) {
    asm.load_map(Reg::R1, DEVMAP);
    asm.mov(Reg::R2, 0);
    asm.mov(Reg::R3, XDP_ABORTED);
    asm.call(Helper::RedirectMap);
    asm.exit();
}
