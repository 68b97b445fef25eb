//! `tapwright replay`: a plan over capture files, in virtual time.
//!
//! Reads arguments, shows progress and prints; what a replay is stands in the crate `offline`. Never looks at
//! the machine.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use offline::{Input, Look, Outputs, Progress, ReplayError, Report, Source, Target};
use plan::plan::Plan;
use plan::simulation::Simulation;
use plan::{Compiled, Refusal, shown};

pub use crate::meter::Meter;
use crate::output::{self, NO, TROUBLE, YES};
use crate::{input, simulate};

/// Arguments of `replay`.
#[derive(clap::Args)]
pub struct Args {
    /// The config, or a plan as `check` prints it
    file: PathBuf,
    /// What entered at a port (PORT:rx, PORT:tx where watched): a capture, or - for stdin; may be repeated
    #[arg(long, required_unless_present = "source", value_name = "PORT=CAPTURE")]
    read: Vec<OsString>,
    /// What is sent towards a port beside that, in virtual time: `a=cbr:90Mbit:1500@0s-2s`; may be repeated
    #[arg(long, value_name = "PORT=TRAFFIC")]
    source: Vec<OsString>,
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
    let compiled = match input::compiled(&args.file) {
        Ok(compiled) => compiled,
        Err(code) => return code,
    };
    let plan = &compiled.plan;
    let Asked { inputs, outputs, simulation } = match asked(&compiled, args) {
        Ok(asked) => asked,
        Err(refusals) => return output::fail(NO, ReplayError::Refused(refusals)),
    };
    let stdout_taken = outputs.ports.values().any(is_stdout);
    let mut meter = Meter::new(!args.quiet && io::stderr().is_terminal());
    let show = |progress: &Progress| meter.show(progress.frames, progress.bytes);
    let timed = !simulation.traffic.is_empty() || offline::delays(plan, &simulation);
    let result = if timed {
        let look = if args.quiet { Look::Nowhere } else { Look::Rated };
        let simulated = offline::simulate(plan, &simulation, inputs, outputs, look, show);
        simulated.map(|simulated| simulated.report)
    } else {
        offline::replay(plan, inputs, outputs, show)
    };
    meter.clear();
    match result {
        Ok(report) => {
            if !args.quiet && !print(&report, args.json, stdout_taken) {
                return ExitCode::from(TROUBLE);
            }
            conclude(&report)
        }
        Err(error) => failed(error),
    }
}

/// Says why there is no report.
pub fn failed(error: ReplayError) -> ExitCode {
    match error {
        error @ ReplayError::Output(..) => output::fail(TROUBLE, error),
        error => output::fail(NO, error),
    }
}

/// Whether the ledger could be put into words and printed.
pub fn print(report: &Report, json: bool, stdout_taken: bool) -> bool {
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
        return output::wrote(text);
    }
    true
}

/// Says what broke. Yes where every capture was read to its end and the sums meet.
pub fn conclude(report: &Report) -> ExitCode {
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

/// What the arguments ask for.
struct Asked {
    inputs: Vec<Input>,
    outputs: Outputs,
    simulation: Simulation,
}

/// A capture by the place that its frames entered at, from `PORT=CAPTURE`.
///
/// # Errors
/// What is wrong with the word, or that the plan has no such place.
pub fn input_of(plan: &Plan, word: &OsStr) -> Result<Input, Refusal> {
    let input = pair(word)
        .and_then(|(source, file)| Ok(Input { at: plan.point(source)?, source: Source::File(file) }));
    input.map_err(|refusal| of_option("--read", word, refusal))
}

/// What the arguments ask for, or everything that is wrong with them.
fn asked(compiled: &Compiled, args: &Args) -> Result<Asked, Vec<Refusal>> {
    let plan = &compiled.plan;
    let mut refusals = Vec::new();
    // Lines and seed are those of the config; what comes is what is named here, and all of it.
    let mut simulation = Simulation { traffic: Vec::new(), duration_ns: None, ..compiled.simulation.clone() };
    simulate::sources(plan, &args.source, &mut simulation, &mut refusals);
    let mut inputs = Vec::new();
    let kept = simulate::kept(compiled, &args.file);
    let mut outputs = Outputs { dir: args.write_dir.clone(), kept, ..Outputs::default() };
    for word in &args.read {
        match input_of(plan, word) {
            Ok(input) => inputs.push(input),
            Err(refusal) => refusals.push(refusal),
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
    if refusals.is_empty() { Ok(Asked { inputs, outputs, simulation }) } else { Err(refusals) }
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

/// A refusal of what an option says.
pub fn of_option(option: &str, word: &OsStr, refusal: Refusal) -> Refusal {
    Refusal { what: format!("{option} {}: {}", shown(&word.to_string_lossy()), refusal.what), ..refusal }
}

fn is_stdout(target: &Target) -> bool {
    matches!(target, Target::File(path) if output::is_stdout(path))
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
}
