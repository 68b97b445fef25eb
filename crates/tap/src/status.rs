//! `tapwright status`: the ledger.

use std::process::ExitCode;
use std::time::Duration;

use engine::Status;

use crate::output::{self, NO, TROUBLE, YES};

/// How often the ledger is read again while frames are passing.
const READINGS_MAX: u32 = 10;
/// Longer than a frame takes from the first counter to the last, unless it waits in a buffer, which is counted.
const BETWEEN_READINGS: Duration = Duration::from_millis(20);

/// Arguments of `status`.
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print again every so many seconds, with rates, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    watch: Option<f64>,
}

/// Prints the ledger of what is up in this network namespace.
pub fn run(args: &Args) -> ExitCode {
    let Some(seconds) = args.watch else {
        return match at_rest() {
            Ok((status, resting)) => {
                show(args, &status, None);
                ExitCode::from(if status.unaccounted == 0 || !resting { YES } else { NO })
            }
            Err(error) => output::fail(if error.is_refusal() { NO } else { TROUBLE }, error),
        };
    };
    let Ok(pause) = Duration::try_from_secs_f64(seconds.clamp(0.1, 86_400.0)) else {
        return output::fail(NO, "tapwright: --watch takes a number of seconds");
    };
    let mut before: Option<Status> = None;
    loop {
        let status = match engine::status(&mut sys::Linux::new()) {
            Ok(status) => status,
            Err(error) => return output::fail(if error.is_refusal() { NO } else { TROUBLE }, error),
        };
        show(args, &status, before.as_ref().map(|old| (old, pause)));
        before = Some(status);
        std::thread::sleep(pause);
    }
}

/// Reads the ledger, a few times if frames are on their way between two of its counters. Whether it was at
/// rest between the last two readings is said too: only then does a sum that leaves something over mean
/// that something is wrong.
fn at_rest() -> Result<(Status, bool), engine::Error> {
    let mut status = engine::status(&mut sys::Linux::new())?;
    for _ in 0..READINGS_MAX {
        if status.unaccounted == 0 {
            return Ok((status, true));
        }
        std::thread::sleep(BETWEEN_READINGS);
        let next = engine::status(&mut sys::Linux::new())?;
        if next == status {
            return Ok((status, true));
        }
        status = next;
    }
    status.notes.push("frames are passing: the sums meet when they rest".into());
    Ok((status, false))
}

fn show(args: &Args, status: &Status, before: Option<(&Status, Duration)>) {
    if args.json {
        output::print_json(status);
        return;
    }
    output::print(status);
    if let Some((old, pause)) = before {
        output::print(engine::rates(old, status, pause));
    }
    if args.watch.is_some() {
        output::print("\n");
    }
}
