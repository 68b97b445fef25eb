//! `tapwright replay`: a plan over capture files, in virtual time.
//!
//! Reads arguments, shows progress and prints; what a replay is stands in the crate `offline`. Never looks at
//! the machine.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use offline::{Input, Outputs, Progress, ReplayError, Report, Source, Target};
use plan::plan::Plan;
use plan::{Refusal, shown};

use crate::input;
use crate::output::{self, NO, TROUBLE, YES};

/// A replay that is shorter shows no progress.
const LONG: Duration = Duration::from_secs(1);
/// Between two lines of progress.
const BETWEEN_LINES: Duration = Duration::from_millis(250);
/// Paths that are standard output.
const STDOUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Arguments of `replay`.
#[derive(clap::Args)]
pub struct Args {
    /// The config, or a plan as `check` prints it
    file: PathBuf,
    /// What entered at a port (PORT:rx, PORT:tx where watched): a capture, or - for stdin; may be repeated
    #[arg(long, required = true, value_name = "PORT=CAPTURE")]
    read: Vec<OsString>,
    /// Write the frames that each port was sent to DIR/PORT.pcap (.pcapng where link types mix)
    #[arg(long, value_name = "DIR")]
    write_dir: Option<PathBuf>,
    /// Write the frames that one port was sent to this file, or - for stdout; may be repeated
    #[arg(long, value_name = "PORT=FILE")]
    write: Vec<OsString>,
    /// Print the ledger as JSON
    #[arg(long)]
    json: bool,
    /// Print no ledger and no progress, only what is wrong
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

/// Replays captures, and prints the ledger: to stdout, or to stderr where a capture goes to stdout.
pub fn run(args: &Args) -> ExitCode {
    let plan = match input::plan(&args.file) {
        Ok((plan, _)) => plan,
        Err(code) => return code,
    };
    let (inputs, outputs) = match asked(&plan, args) {
        Ok(asked) => asked,
        Err(refusals) => return output::fail(NO, ReplayError::Refused(refusals)),
    };
    let stdout_taken = outputs.ports.values().any(is_stdout);
    let mut meter = Meter::new(!args.quiet && io::stderr().is_terminal());
    let result = offline::replay(&plan, inputs, outputs, |progress| meter.show(progress));
    meter.clear();
    match result {
        Ok(report) => {
            if !args.quiet && !print(&report, args.json, stdout_taken) {
                return ExitCode::from(TROUBLE);
            }
            conclude(&report)
        }
        Err(error @ ReplayError::Output(..)) => output::fail(TROUBLE, error),
        Err(error) => output::fail(NO, error),
    }
}

/// Whether the ledger could be put into words.
fn print(report: &Report, json: bool, stdout_taken: bool) -> bool {
    let text = match json.then(|| serde_json::to_string_pretty(report)) {
        None => report.to_string(),
        Some(Ok(text)) => format!("{text}\n"),
        Some(Err(error)) => {
            output::fail(TROUBLE, format_args!("tapwright: cannot write JSON: {error}"));
            return false;
        }
    };
    if stdout_taken {
        // Where stderr cannot be written there is nobody to tell.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    } else {
        output::print(text);
    }
    true
}

/// Says what broke. Yes where every capture was read to its end and the sums meet.
fn conclude(report: &Report) -> ExitCode {
    let mut code = if report.ledger.unaccounted == 0 { YES } else { NO };
    for input in &report.inputs {
        if let Some(broken) = &input.broken {
            code = NO;
            let help = "what could be read of it was replayed";
            output::fail(NO, Refusal::new(format!("{}: {broken}", input.file), help));
        }
    }
    ExitCode::from(code)
}

/// What the arguments ask for, or everything that is wrong with them.
fn asked(plan: &Plan, args: &Args) -> Result<(Vec<Input>, Outputs), Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut inputs = Vec::new();
    let mut outputs = Outputs { dir: args.write_dir.clone(), ..Outputs::default() };
    for word in &args.read {
        match pair(word).and_then(|(source, file)| Ok((plan.point(source)?, file))) {
            Ok((at, file)) => inputs.push(Input { at, source: Source::File(file) }),
            Err(refusal) => refusals.push(of_option("--read", word, refusal)),
        }
    }
    for word in &args.write {
        let target = pair(word).and_then(|(port, file)| {
            let id = plan.port_named(port)?;
            match outputs.ports.insert(id, Target::File(file)) {
                None => Ok(()),
                Some(_) => {
                    Err(Refusal::new("the port has another file already", "name one file for each port"))
                }
            }
        });
        refusals.extend(target.err().map(|refusal| of_option("--write", word, refusal)));
    }
    refusals.extend(offline::refusals(plan, &inputs, &outputs));
    if refusals.is_empty() { Ok((inputs, outputs)) } else { Err(refusals) }
}

/// A name and a file, from `NAME=FILE`.
fn pair(word: &OsStr) -> Result<(&str, PathBuf), Refusal> {
    let octets = word.as_bytes();
    let split = octets.iter().position(|octet| *octet == b'=').filter(|at| at + 1 < octets.len());
    let split = split.map(|at| (&octets[..at], &octets[at + 1..]));
    let (name, file) =
        split.ok_or_else(|| Refusal::new("no port and file", "write PORT=FILE, as in a=a.pcap"))?;
    let name =
        str::from_utf8(name).map_err(|_| Refusal::new("the port's name is not UTF-8", "write PORT=FILE"))?;
    Ok((name, PathBuf::from(OsStr::from_bytes(file))))
}

fn of_option(option: &str, word: &OsStr, refusal: Refusal) -> Refusal {
    Refusal { what: format!("{option} {}: {}", shown(&word.to_string_lossy()), refusal.what), ..refusal }
}

fn is_stdout(target: &Target) -> bool {
    matches!(target, Target::File(path) if STDOUT.iter().any(|known| path == Path::new(known)))
}

/// One line of progress on a terminal, written over again and again.
struct Meter {
    start: Instant,
    /// When a line was last shown; `None` where none may be.
    last: Option<Instant>,
    dirty: bool,
}

impl Meter {
    fn new(on: bool) -> Self {
        let start = Instant::now();
        Self { start, last: on.then_some(start), dirty: false }
    }

    fn show(&mut self, progress: &Progress) {
        let (now, Some(last)) = (Instant::now(), self.last) else { return };
        let spent = now - self.start;
        if spent < LONG || now - last < BETWEEN_LINES {
            return;
        }
        (self.last, self.dirty) = (Some(now), true);
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(io::stderr().lock(), "\r\x1b[K{}", line(progress, spent));
    }

    fn clear(&self) {
        if self.dirty {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(progress: &Progress, spent: Duration) -> String {
    let Progress { frames, bytes, .. } = progress;
    let a_second = u128::from(*bytes) * 1000 / spent.as_millis().max(1);
    format!("{frames} frames, {} MB, {} MB/s", bytes / 1_000_000, a_second / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_any_name_and_a_port_must_have_one() {
        let file = |word: &'static str| pair(OsStr::new(word));
        assert_eq!(file("a=x=y.pcap"), Ok(("a", PathBuf::from("x=y.pcap"))));
        assert_eq!(file("w:tx=-"), Ok(("w:tx", PathBuf::from("-"))));
        for bad in ["", "a", "a=", "a.pcap"] {
            assert_eq!(
                file(bad).map_err(|refusal| refusal.what),
                Err("no port and file".to_owned()),
                "{bad}"
            );
        }
        let odd = OsStr::from_bytes(b"a=\xff");
        assert_eq!(pair(odd).map(|(_, file)| file), Ok(PathBuf::from(OsStr::from_bytes(b"\xff"))));
        assert!(pair(OsStr::from_bytes(b"\xff=a")).is_err());
    }

    #[test]
    fn progress_is_in_megabytes_a_second() {
        let progress = Progress { frames: 3_000_000, bytes: 4_500_000_000, ..Progress::default() };
        assert_eq!(line(&progress, Duration::from_millis(1500)), "3000000 frames, 4500 MB, 3000 MB/s");
    }
}
