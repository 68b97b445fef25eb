//! `tapwright run`: carries frames in this process, for as long as it is there.
//!
//! Reads arguments, listens for signals and prints; what carries frames is `engine::userspace`.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use engine::Status;
use engine::userspace::{self, Event, Options, RING_BYTES, RING_BYTES_MAX, Stop};
use plan::{Refusal, shown, units};

use crate::input;
use crate::output::{self, NO, TROUBLE, YES};

/// Said at the start: what `run` is not.
const WARNING: &str =
    "frames pass this process: the wire stops with it (`tapwright up` makes one that outlives it)";
/// The shortest time between two lines of `--stats`.
const STATS_MIN: Duration = Duration::from_millis(10);

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Args {
    /// The config, or a plan as `check` prints it
    file: PathBuf,
    /// End after this time (10s, 5min)
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// End after so many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print a line of totals and rates every so often, to stderr
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s")]
    stats: Option<String>,
    /// Memory for frames that wait, for each source (4MiB unless given)
    #[arg(long, value_name = "SIZE")]
    ring: Option<String>,
    /// Print the ledger as JSON
    #[arg(long)]
    json: bool,
    /// Print no ledger and nothing at the start, only what is wrong
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

/// Carries frames until SIGINT, SIGTERM or SIGHUP, or until the time or the number of frames is over; prints the ledger.
pub fn run(args: &Args) -> ExitCode {
    let options = match asked(args) {
        Ok(options) => options,
        Err(refusals) => return output::fail(NO, Refusals(refusals)),
    };
    let (plan, advice) = match input::plan(&args.file) {
        Ok(read) => read,
        Err(code) => return code,
    };
    let _lock = match output::lock() {
        Ok(lock) => lock,
        Err(code) => return code,
    };
    let stop = match sys::process::count_stop_signals().map_err(|error| error.to_string()) {
        Ok(()) => Stop::new(true).map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    let stop = match stop {
        Ok(stop) => stop,
        Err(error) => return output::fail(TROUBLE, error),
    };
    let mut before: Option<Status> = None;
    let every = options.every.unwrap_or_default();
    let mut tell = |event: Event<'_>| match event {
        Event::Ready(_) if args.quiet => {}
        Event::Ready(report) => {
            advice.iter().for_each(say);
            say(format_args!("{report}{WARNING}\n"));
        }
        Event::Ledger(status) => {
            say(format_args!("{}\n", line(before.as_ref(), status, every)));
            before = Some(status.clone());
        }
        Event::Waiting(bound) => {
            let seconds = bound.as_secs_f64();
            say(format_args!(
                "frames leave the buffers of monitors, for {seconds:.1} s at most; Ctrl-C drops them\n"
            ));
        }
    };
    match userspace::run(&mut sys::Linux::new(), &plan, &options, &stop, &mut tell) {
        Ok(status) => {
            match (args.quiet, args.json) {
                (true, _) => {}
                (false, true) => output::print_json(&status),
                (false, false) => {
                    output::print(&status);
                }
            }
            ExitCode::from(if status.unaccounted == 0 { YES } else { NO })
        }
        Err(error) => output::fail(if error.is_refusal() { NO } else { TROUBLE }, error),
    }
}

/// Says something to stderr. Whether anybody listens is no reason to leave interfaces as they are.
fn say(text: impl std::fmt::Display) {
    use io::Write;
    let _ = write!(io::stderr().lock(), "{text}");
}

/// What the arguments ask for, or everything that is wrong with them.
fn asked(args: &Args) -> Result<Options, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut time = |option: &str, text: &Option<String>, least: Duration| {
        let text = text.as_deref()?;
        match units::time(text).map(Duration::from_nanos) {
            Ok(time) if time >= least => return Some(time),
            Ok(_) => refusals.push(Refusal::new(
                format!("{option} {}: too short", shown(text)),
                format!("at least {} ms", least.as_millis()),
            )),
            Err(_) => refusals.push(Refusal::new(
                format!("{option} {}: not a time", shown(text)),
                "write a number with a unit, as in 10s, 500ms, 5min",
            )),
        }
        None
    };
    let duration = time("--duration", &args.duration, Duration::from_millis(1));
    let every = time("--stats", &args.stats, STATS_MIN);
    let most = u64::try_from(RING_BYTES_MAX).unwrap_or(u64::MAX);
    let ring = args.ring.as_deref().and_then(|text| match units::size(text) {
        Ok(size) if size <= most => usize::try_from(size).ok(),
        Ok(_) => {
            let help = format!("at most {} MiB", most >> 20);
            refusals.push(Refusal::new(format!("--ring {}: too large", shown(text)), help));
            None
        }
        Err(_) => {
            let what = format!("--ring {}: not a size", shown(text));
            refusals.push(Refusal::new(what, "write a number with a unit, as in 16MiB"));
            None
        }
    });
    let ring_bytes = ring.unwrap_or(RING_BYTES);
    let options = Options { ring_bytes, frames_max: args.count, duration, every, ..Options::default() };
    if refusals.is_empty() { Ok(options) } else { Err(refusals) }
}

/// Refusals, one after the other.
struct Refusals(Vec<Refusal>);

impl std::fmt::Display for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|refusal| writeln!(f, "{refusal}"))
    }
}

/// Totals so far, and what they grew by in a second.
fn line(before: Option<&Status>, now: &Status, every: Duration) -> String {
    let old = before.map_or([0; TOTALS.len()], totals);
    let mut text = String::new();
    for ((name, total), old) in TOTALS.into_iter().zip(totals(now)).zip(old) {
        let grown = total.saturating_sub(old);
        let a_second = u128::from(grown) * 1_000_000_000 / every.as_nanos().max(1);
        let gap = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{gap}{name} {total} ({a_second}/s)");
    }
    text
}

/// The numbers of a line: frames that entered, were passed, sent to sensors, dropped on the way there, and lost before
/// they were seen.
const TOTALS: [&str; 5] = ["in", "passed", "sent to sensors", "dropped", "lost before"];

fn totals(status: &Status) -> [u64; TOTALS.len()] {
    let ports = || status.ports.values();
    let monitors = || status.monitors.values();
    let dropped = monitors().map(|it| it.dropped.device + it.dropped.buffer.values().sum::<u64>());
    [
        ports().map(|it| it.entered.frames).sum(),
        ports().map(|it| it.passed).sum(),
        monitors().map(|it| it.sent).sum(),
        dropped.sum(),
        ports().map(|it| it.lost_before).sum(),
    ]
}
