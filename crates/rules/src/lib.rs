//! The rule languages and their one form.
//!
//! Whatever language a rule was written in, what remains of it is a [`form::Program`]: `form` runs it
//! over a frame, and the emitter of the `bpf` crate lowers the same program to instructions.
//! Never does I/O.

pub mod expr;
mod flaw;
pub mod form;
pub mod pf;
pub mod services;
pub mod wording;

pub use flaw::Flaw;
