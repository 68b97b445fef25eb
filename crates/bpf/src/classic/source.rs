//! Balance by source: the arithmetic of [`rules::form::Spread`] on 64 bits, in words of 32.
//!
//! There is no table to look the choice of a slot up in, so it is found as the table is made: of all choices the
//! one with the highest score for the slot (rendezvous hashing). About 140 instructions for each unit of weight.

use ::rules::form::{CopyIndex, Spread, mixed};

use super::asm::{Assembler, Label, To, op};
use super::code::{IP_AT, VERSION, WAITING};

/// The number that is worked on.
const LOW: u32 = WAITING;
const HIGH: u32 = WAITING + 1;
const ASIDE: u32 = WAITING + 2;
const CARRY: u32 = WAITING + 3;
/// The highest score so far, and whether it is that of the copy that is asked for.
const BEST_LOW: u32 = WAITING + 4;
const BEST_HIGH: u32 = WAITING + 5;
const BEST_IS_ASKED: u32 = WAITING + 6;
/// What of a slot goes into every score.
const SLOT_LOW: u32 = WAITING + 7;
const SLOT_HIGH: u32 = WAITING + 8;

/// What addresses are folded by ([`rules::form::Spread`]).
const FOLD: u32 = 0x9e37_79b1;

fn halves(number: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

/// Goes to `chosen` where the spread gives a frame to this copy, else to `passed_by`. Where headers are was found.
pub(super) fn pick(asm: &mut Assembler, spread: &Spread, copy: CopyIndex, chosen: Label, passed_by: Label) {
    folded(asm);
    asm.store(LOW);
    asm.load_constant(0);
    asm.store(HIGH);
    mix(asm);
    // The slot is the upper 16 of the 64 bits.
    asm.load_word(HIGH);
    asm.alu(op::RSH, 16);
    asm.store(LOW);
    asm.load_constant(0);
    asm.store(HIGH);
    mix(asm);
    for (from, to) in [(LOW, SLOT_LOW), (HIGH, SLOT_HIGH)] {
        asm.load_word(from);
        asm.store(to);
    }
    asm.load_constant(0);
    for word in [BEST_LOW, BEST_HIGH, BEST_IS_ASKED] {
        asm.store(word);
    }
    for choice in spread.choices() {
        for n in 0..u64::from(choice.weight) {
            let (high, low) = halves(mixed(choice.key.wrapping_add(n)));
            for (from, key, to) in [(SLOT_LOW, low, LOW), (SLOT_HIGH, high, HIGH)] {
                asm.load_word(from);
                asm.alu(op::XOR, key);
                asm.store(to);
            }
            mix(asm);
            better(asm, choice.copy == copy);
        }
    }
    asm.load_word(BEST_IS_ASKED);
    asm.when(op::JEQ, 1, chosen, passed_by);
}

/// A = the source address folded into 32 bits, 0 without IP.
fn folded(asm: &mut Assembler) {
    let (six, none, done) = (asm.label(), asm.label(), asm.label());
    asm.load_x(IP_AT);
    asm.load_word(VERSION);
    asm.when(op::JEQ, 0, none, To::Next);
    asm.when(op::JEQ, 6, six, To::Next);
    // Three words of 0 follow, each of which multiplies only.
    asm.put(op::LD | op::W | op::IND, 12);
    asm.alu(op::MUL, FOLD.wrapping_pow(4));
    asm.jump(done);
    asm.place(six);
    for word in 0..4 {
        asm.put(op::LD | op::W | op::IND, 8 + 4 * word);
        if word > 0 {
            asm.load_x(ASIDE);
            asm.alu_x(op::XOR);
        }
        asm.alu(op::MUL, FOLD);
        asm.store(ASIDE);
        asm.load_x(IP_AT);
    }
    asm.jump(done);
    asm.place(none);
    asm.load_constant(0);
    asm.place(done);
}

/// `HIGH:LOW` = [`mixed`] of it.
fn mix(asm: &mut Assembler) {
    xor_shifted(asm, 30);
    multiply(asm, 0xbf58_476d_1ce4_e5b9);
    xor_shifted(asm, 27);
    multiply(asm, 0x94d0_49bb_1331_11eb);
    xor_shifted(asm, 31);
}

/// `HIGH:LOW` ^= `HIGH:LOW` >> `bits`, of 1 to 31.
fn xor_shifted(asm: &mut Assembler, bits: u32) {
    asm.load_word(LOW);
    asm.alu(op::RSH, bits);
    asm.store(ASIDE);
    asm.load_word(HIGH);
    asm.alu(op::LSH, 32 - bits);
    add_word(asm, op::OR, ASIDE);
    add_word(asm, op::XOR, LOW);
    asm.store(LOW);
    asm.load_word(HIGH);
    asm.alu(op::RSH, bits);
    add_word(asm, op::XOR, HIGH);
    asm.store(HIGH);
}

/// A = A operation word.
fn add_word(asm: &mut Assembler, operation: u16, word: u32) {
    asm.load_x(word);
    asm.alu_x(operation);
}

/// `HIGH:LOW` *= `by`, modulo 2^64.
fn multiply(asm: &mut Assembler, by: u64) {
    let (by_high, by_low) = halves(by);
    let (upper, lower) = (by_low >> 16, by_low & 0xffff);
    let low = |asm: &mut Assembler, half: (u16, u32), by| {
        asm.load_word(LOW);
        asm.alu(half.0, half.1);
        asm.alu(op::MUL, by);
    };
    let (upper_half, lower_half) = ((op::RSH, 16), (op::AND, 0xffff));
    // The upper 32 bits of LOW times the lower half of `by`, by halves of 16 bits (Knuth, 4.3.1 M).
    low(asm, lower_half, lower);
    asm.alu(op::RSH, 16);
    asm.store(ASIDE);
    low(asm, upper_half, lower);
    add_word(asm, op::ADD, ASIDE);
    asm.store(ASIDE);
    asm.alu(op::AND, 0xffff);
    asm.store(CARRY);
    low(asm, lower_half, upper);
    add_word(asm, op::ADD, CARRY);
    asm.alu(op::RSH, 16);
    asm.store(CARRY);
    asm.load_word(ASIDE);
    asm.alu(op::RSH, 16);
    add_word(asm, op::ADD, CARRY);
    asm.store(ASIDE);
    low(asm, upper_half, upper);
    add_word(asm, op::ADD, ASIDE);
    asm.store(ASIDE);
    // What only the upper half of the product gets.
    asm.load_word(LOW);
    asm.alu(op::MUL, by_high);
    add_word(asm, op::ADD, ASIDE);
    asm.store(ASIDE);
    asm.load_word(HIGH);
    asm.alu(op::MUL, by_low);
    add_word(asm, op::ADD, ASIDE);
    asm.store(HIGH);
    asm.load_word(LOW);
    asm.alu(op::MUL, by_low);
    asm.store(LOW);
}

/// Keeps the score in `HIGH:LOW` where it is as high as the best so far or higher: of equal ones the last counts.
fn better(asm: &mut Assembler, is_asked: bool) {
    let (keep, next) = (asm.label(), asm.label());
    asm.load_x(BEST_HIGH);
    asm.load_word(HIGH);
    asm.when_x(op::JGT, keep, To::Next);
    asm.when_x(op::JEQ, To::Next, next);
    asm.load_x(BEST_LOW);
    asm.load_word(LOW);
    asm.when_x(op::JGE, To::Next, next);
    asm.place(keep);
    for (from, to) in [(LOW, BEST_LOW), (HIGH, BEST_HIGH)] {
        asm.load_word(from);
        asm.store(to);
    }
    asm.load_constant(u32::from(is_asked));
    asm.store(BEST_IS_ASKED);
    asm.place(next);
}
