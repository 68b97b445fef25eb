//! `tapwright up`: makes a config true in the kernel, and exits.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::input;
use crate::output::{self, NO, TROUBLE, YES};

/// Arguments of `up`.
#[derive(clap::Args)]
pub struct Args {
    /// The config, or a plan as `check` prints it
    file: PathBuf,
}

/// Makes the plan of a file true in this network namespace.
pub fn run(args: &Args) -> ExitCode {
    let (plan, advice) = match input::plan(&args.file) {
        Ok(read) => read,
        Err(code) => return code,
    };
    for line in advice {
        eprint!("{line}");
    }
    let _lock = match output::lock() {
        Ok(lock) => lock,
        Err(code) => return code,
    };
    match engine::up(&mut sys::Linux::new(), &plan, &args.file.display().to_string()) {
        Ok(report) => {
            output::print(&report);
            ExitCode::from(YES)
        }
        Err(error) => output::fail(if error.is_refusal() { NO } else { TROUBLE }, error),
    }
}
