//! `tapwright down`: takes everything away.

use std::process::ExitCode;

use crate::output::{self, NO, TROUBLE, YES};

/// Arguments of `down`.
#[derive(clap::Args)]
pub struct Args {}

/// Takes away whatever is up in this network namespace.
pub fn run(_args: &Args) -> ExitCode {
    let _lock = match output::lock() {
        Ok(lock) => lock,
        Err(code) => return code,
    };
    match engine::down(&mut sys::Linux::new()) {
        Ok(report) => {
            output::print(&report);
            ExitCode::from(YES)
        }
        Err(error) => output::fail(if error.is_refusal() { NO } else { TROUBLE }, error),
    }
}
