//! Makes a plan true over capture files, in virtual time. No system calls beyond files, so it builds on
//! any operating system.
//!
//! [`replay()`]: captures in by port, the plan's verdict on each frame, captures out by port, and the ledger.
//! [`simulate()`]: the same with traffic that is made up, and with lines, hubs and ports that take their time; [`meter`]
//! looks on at ports. [`bond`] merges captures. [`each_frame`] reads a capture for those who only look. Memory does not
//! grow with the length of the inputs, nor with the duration.

pub mod bond;
pub mod hub;
mod input;
mod ledger;
pub mod meter;
mod output;
mod refuse;
mod replay;
mod timed;
mod walk;

pub use input::{Input, Source};
pub use ledger::{InputReport, OutputReport, Report};
pub use output::{Outputs, Target};
pub use refuse::refusals;
pub use replay::{Progress, ReplayError, replay};
pub use timed::{Look, Simulated, delays, kernel_stored_bytes, simulate};
pub use walk::each_frame;
