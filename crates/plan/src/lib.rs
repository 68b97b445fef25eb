//! The pure heart: config -> model -> plan, and what a plan means.
//!
//! Data runs one way. [`config`] turns text into typed values with spans and reports every problem at
//! once; [`model`] holds what the user asked for in devices-free terms and refuses nonsense; [`plan`]
//! is what must be true on the machine; [`eval()`] is what a plan means, frame by frame, and what every
//! backend is tested against. Never does I/O, never reads a clock.

pub mod eval;
pub mod plan;

pub use eval::eval;
