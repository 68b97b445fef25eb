//! What every backend that works on this machine's interfaces shares: holding a plan against the machine, fitting
//! interfaces and putting them back, queues, pairs, device counters, what is saved, and what `up` and `down` say.
//!
//! Never attaches anything to an interface: how frames are judged is each backend's own business.

pub mod card;
pub mod counts;
pub mod pairs;
pub mod prepare;
pub mod queue;
pub mod report;
pub mod saved;
pub mod survey;

use sys::{Result, SysError};

/// Whether an error says that the object is not there any more (`ENOENT`).
pub fn gone(error: &SysError) -> bool {
    error.errno == 2
}

/// What is gone already needs no taking away (`ENOENT`, `ENODEV`).
///
/// # Errors
/// Any other failure.
pub fn gone_is_fine(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if matches!(error.errno, 2 | 19) => Ok(()),
        other => other,
    }
}
