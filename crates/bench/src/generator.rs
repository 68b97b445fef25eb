//! The program that frames come from: each is sent to one interface, and may differ from the one before it in
//! two octets.

use bpf::asm::{Alu, AsmError, Assembler, Cond, Helper, Kind, MapRef, Program, Reg, Size};
use bpf::bench::DEVMAP;
use bpf::emit::XDP_ABORTED;

/// `ARRAY` of one `u64`: how many frames were sent.
pub const SENT: MapRef = MapRef::Bench(3);

/// How frames differ: two octets are `first ^ (number & mask) * times`, where `number` counts frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vary {
    /// Where the octets are.
    pub at: i16,
    first: u16,
    mask: u16,
    times: u16,
}

impl Vary {
    /// One number, then the other, in turn, as big-endian octets.
    pub fn between(at: i16, numbers: [u16; 2]) -> Self {
        let [first, second] = numbers.map(|number| u16::from_le_bytes(number.to_be_bytes()));
        Self { at, first, mask: 1, times: first ^ second }
    }

    /// So many numbers in turn, a power of two.
    pub fn many(at: i16, count: u16) -> Self {
        Self { at, first: 0, mask: count.wrapping_sub(1), times: 1 }
    }
}

/// XDP, for `BPF_F_TEST_XDP_LIVE_FRAMES`: sends every frame to entry 0 of [`DEVMAP`].
///
/// # Errors
/// None that the instructions here can cause.
pub fn generator(vary: Option<Vary>) -> Result<Program, AsmError> {
    let Some(vary) = vary else { return bpf::bench::forward() };
    let mut asm = Assembler::new("bench_vary", Kind::Xdp);
    let missing = asm.label();
    asm.mov(Reg::R6, Reg::R1);
    asm.store(Size::Word, Reg::R10, -4, 0);
    asm.mov(Reg::R2, Reg::R10);
    asm.alu(Alu::Add, Reg::R2, -4);
    asm.load_map(Reg::R1, SENT);
    asm.call(Helper::MapLookup);
    asm.jump_if(Reg::R0, Cond::Eq, 0, missing);
    asm.load(Size::Double, Reg::R3, Reg::R0, 0);
    asm.mov(Reg::R4, Reg::R3);
    asm.alu(Alu::Add, Reg::R4, 1);
    asm.store(Size::Double, Reg::R0, 0, Reg::R4);
    asm.alu(Alu::And, Reg::R3, i32::from(vary.mask));
    asm.alu(Alu::Mul, Reg::R3, i32::from(vary.times));
    asm.alu(Alu::Xor, Reg::R3, i32::from(vary.first));
    // struct xdp_md: data, data_end.
    asm.load(Size::Word, Reg::R1, Reg::R6, 0);
    asm.load(Size::Word, Reg::R2, Reg::R6, 4);
    asm.bounds(Reg::R1, Reg::R2, Reg::R5, vary.at.unsigned_abs() + 2, missing);
    asm.store(Size::Half, Reg::R1, vary.at, Reg::R3);
    asm.load_map(Reg::R1, DEVMAP);
    asm.mov(Reg::R2, 0);
    asm.mov(Reg::R3, XDP_ABORTED);
    asm.call(Helper::RedirectMap);
    asm.exit();
    asm.place(missing);
    asm.mov(Reg::R0, XDP_ABORTED);
    asm.exit();
    asm.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varying_generator_assembles() {
        assert!(generator(Some(Vary::between(36, [80, 443]))).is_ok());
        let Vary { first, times, .. } = Vary::between(36, [80, 443]);
        assert_eq!(first.to_le_bytes(), 80u16.to_be_bytes());
        assert_eq!((first ^ times).to_le_bytes(), 443u16.to_be_bytes());
    }
}
