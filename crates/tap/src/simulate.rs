//! `tapwright simulate`: a plan under traffic that nobody has sent yet, in virtual time.
//!
//! Reads arguments, shows progress and prints; what a simulation is stands in the crate `offline`. Never looks at the
//! machine.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use offline::{Look, Outputs, Simulated};
use plan::plan::Plan;
use plan::simulation::{Pattern, Simulation, port_spec};
use plan::units::{self, UnitError};
use plan::{Compiled, Refusal, shown};

use crate::input;
use crate::output::{self, NO, TROUBLE};
use crate::replay::{self, Meter};

/// Arguments of `simulate`.
#[derive(clap::Args)]
pub struct Args {
    /// The config, whose `[simulate]` says what comes; or a plan as `check` prints it
    file: PathBuf,
    /// What comes to a port, in place of what the config says of it: `a=cbr:90Mbit:1500`; may be repeated
    #[arg(long, value_name = "PORT=TRAFFIC")]
    source: Vec<OsString>,
    /// How long traffic comes, in virtual time: `10s`
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// What chance is drawn from
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Write the frames that each port was sent to DIR/PORT.pcap, at the times at which they left
    #[arg(long, value_name = "DIR")]
    write_dir: Option<PathBuf>,
    /// Draw rate, queue and losses of each monitor port over time, as DIR/PORT.svg
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Print no report and no progress, only what is wrong
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

/// Simulates, and prints what was measured and the ledger.
pub fn run(args: &Args) -> ExitCode {
    let (compiled, is_plan) = match input::told(&args.file) {
        Ok(told) => told,
        Err(code) => return code,
    };
    if is_plan {
        eprintln!(
            "note: {}: a plan has no [simulate], speeds or hubs: every line is infinitely fast; name the config for them",
            args.file.display()
        );
    }
    let simulation = match asked(&compiled, args) {
        Ok(simulation) => simulation,
        Err(refusals) => return output::fail(NO, offline::ReplayError::Refused(refusals)),
    };
    let plan = &compiled.plan;
    let outputs = Outputs {
        dir: args.write_dir.clone(),
        kept: kept(&compiled, &args.file),
        plots: args.plot.clone(),
        ..Outputs::default()
    };
    let mut meter = Meter::new(!args.quiet && io::stderr().is_terminal());
    let look = match (&args.plot, args.quiet) {
        (Some(_), _) => Look::Plots,
        (None, true) => Look::Nowhere,
        (None, false) => Look::All,
    };
    let result = offline::simulate(plan, &simulation, Vec::new(), outputs, look, |progress| {
        meter.show(progress.frames, progress.bytes)
    });
    meter.clear();
    match result {
        Ok(simulated) => {
            if !args.quiet && !replay::print(&simulated.report, args.json, false) {
                return ExitCode::from(TROUBLE);
            }
            if let Some(Err((file, error))) = args.plot.as_deref().map(|dir| plot(&simulated, dir)) {
                return replay::failed(offline::ReplayError::Output(file, error));
            }
            replay::conclude(&simulated.report)
        }
        Err(error) => replay::failed(error),
    }
}

/// The config and the rule files that it names, which no output may overwrite.
pub fn kept(compiled: &Compiled, config: &Path) -> Vec<PathBuf> {
    let folder = config.parent().unwrap_or(Path::new(""));
    let rules = compiled.rule_files.iter().map(|file| folder.join(&file.written));
    std::iter::once(config.to_owned()).chain(rules).collect()
}

/// Draws each port that was looked at.
fn plot(simulated: &Simulated, dir: &Path) -> Result<(), (String, io::Error)> {
    let failed = |path: &Path, error| (path.display().to_string(), error);
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    for (report, series) in simulated.report.measured.iter().zip(&simulated.series) {
        let Some(series) = series else { continue };
        let path = dir.join(format!("{}.svg", report.name));
        fs::write(&path, offline::meter::svg(report, series)).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// What the config and the arguments ask for, or everything that is wrong with them.
fn asked(compiled: &Compiled, args: &Args) -> Result<Simulation, Vec<Refusal>> {
    let plan = &compiled.plan;
    let mut refusals = Vec::new();
    let mut simulation = beside(&compiled.simulation, args.file.parent().unwrap_or(Path::new("")));
    sources(plan, &args.source, &mut simulation, &mut refusals);
    if let Some(text) = &args.duration {
        match duration(text) {
            Ok(duration_ns) => simulation.duration_ns = Some(duration_ns),
            Err(refusal) => refusals.push(refusal),
        }
    }
    simulation.seed = args.seed.unwrap_or(simulation.seed);
    if simulation.traffic.is_empty() && refusals.is_empty() {
        let help = "say what comes, in [simulate] of the config or by --source PORT=TRAFFIC";
        refusals.push(Refusal::new("nothing comes: there is nothing to simulate", help));
    }
    if refusals.is_empty() { Ok(simulation) } else { Err(refusals) }
}

/// The same where captures are named from the folder of the config.
pub fn beside(simulation: &Simulation, folder: &Path) -> Simulation {
    let mut simulation = simulation.clone();
    for traffic in &mut simulation.traffic {
        if let Pattern::Capture { file, .. } = &mut traffic.pattern
            && file.as_os_str() != "-"
        {
            *file = folder.join(&*file);
        }
    }
    simulation
}

/// Adds what `--source` says; of a port that it names, nothing else comes.
pub fn sources(plan: &Plan, words: &[OsString], simulation: &mut Simulation, refusals: &mut Vec<Refusal>) {
    let mut given = Vec::new();
    for word in words {
        let text = word.to_str().ok_or_else(|| Refusal::new("it is not UTF-8", "write PORT=TRAFFIC"));
        match text.and_then(|text| port_spec(plan, text)) {
            Ok(traffic) => given.push(traffic),
            Err(refusal) => refusals.push(replay::of_option("--source", word, refusal)),
        }
    }
    simulation.traffic.retain(|traffic| given.iter().all(|it| it.at != traffic.at));
    simulation.traffic.extend(given);
}

/// Nanoseconds of `10s`.
pub fn duration(text: &str) -> Result<u64, Refusal> {
    let (what, help) = match units::time(text) {
        Ok(0) => ("is no time at all", "say how long it is to last"),
        Ok(ns) => return Ok(ns),
        Err(UnitError::Form) => ("is no time", "write a number and ns, us, ms, s, min or h: 1.5s"),
        Err(UnitError::Fraction) => ("is no whole number of nanoseconds", "write it in a smaller unit"),
        Err(UnitError::Range) => ("is longer than 10000h", "divide it into simulations of their own"),
    };
    Err(Refusal::new(format!("--duration {} {what}", shown(text)), help))
}
