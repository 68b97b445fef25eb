//! Plan to eBPF instructions.
//!
//! [`emit()`] turns a plan and a wiring into programs made with the typed assembler [`asm`]; [`layout`]
//! says where each counter of theirs lives.
//!
//! Never does I/O, never reads a clock, knows no interface numbers and no file descriptors: these are
//! symbols until [`asm::Program::link`] is given a table of them.

pub mod asm;
pub mod emit;
pub mod layout;

pub use emit::emit;
