//! Plan to eBPF instructions.
//!
//! [`emit()`] turns a plan and a wiring into programs made with the typed assembler [`asm`]; [`layout`]
//! says where each counter of theirs lives. [`listing`] prints programs under the config lines that they
//! came from, [`check`] refuses what the kernel's verifier would refuse (and says it in our words), and
//! [`interp`] runs the same instructions in plain tests. [`mod@bench`] holds the small programs that
//! measurements are made with.
//!
//! Never does I/O, never reads a clock, knows no interface numbers and no file descriptors: these are
//! symbols until [`asm::Program::link`] is given a table of them.

pub mod asm;
pub mod bench;
pub mod check;
pub mod classic;
pub mod emit;
pub mod interp;
pub mod layout;
pub mod listing;
pub mod sets;
pub mod tables;

pub use emit::emit;
