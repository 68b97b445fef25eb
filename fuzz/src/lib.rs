//! What every parser must hold to, whatever bytes it is given. The targets are one line each.
//!
//! Never does I/O, never looks at a clock: a crash is reproduced by its bytes alone.

pub mod bond;
pub mod capture;
pub mod causal;
pub mod expr;
pub mod frame;
pub mod pf;
pub mod text;
