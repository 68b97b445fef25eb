//! `tapwright lab`: the chapter's enterprise in namespaces, real traffic, what each sensor saw.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use lab::keep::PREFIX;
use lab::report::Style;
use lab::run::Report;
use lab::scenario::{self, Options, Scenario};
use lab::unprivileged;

/// The enterprise of the lab in network namespaces: a device at work, and what each sensor saw.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The kind of device to show (see --list).
    #[arg(default_value = "port-aggregator", conflicts_with_all = ["list", "clean"])]
    scenario: String,
    /// List the scenarios.
    #[arg(long, conflicts_with = "clean")]
    list: bool,
    /// How programs are attached to the ports that frames enter by.
    #[arg(long, value_name = "HOW", value_parser = ["tcx", "xdp", "clsact", "classic"])]
    attach: Option<String>,
    /// Complete sets of monitor ports of the regeneration taps.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    copies: u8,
    /// Print every frame that the sensors saw.
    #[arg(long)]
    all: bool,
    /// Print the run as JSON.
    #[arg(long)]
    json: bool,
    /// Save what each sensor saw as DIR/HOST.INTERFACE.pcap.
    #[arg(long, value_name = "DIR")]
    write_dir: Option<PathBuf>,
    /// Leave the enterprise up, its namespaces named tw-lab-HOST.
    #[arg(long)]
    keep: bool,
    /// Serve HTTP, DNS and mail in an enterprise that was kept, until interrupted.
    #[arg(long, conflicts_with_all = ["list", "clean", "keep"])]
    serve: bool,
    /// Take away an enterprise that was kept.
    #[arg(long)]
    clean: bool,
    /// Work without privileges, though root could do without: what an ordinary user's lab does by itself.
    #[arg(long, conflicts_with_all = ["list", "clean", "keep", "serve"])]
    unprivileged: bool,
}

/// Exit code 0: the ledger balances and each sensor saw what it should; 1: not so; 2: the lab could not run.
pub fn run(args: &Args) -> ExitCode {
    match act(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tapwright lab: {error}");
            ExitCode::from(2)
        }
    }
}

fn act(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    if args.list {
        io::stdout().write_all(lab::report::list().as_bytes())?;
        return Ok(true);
    }
    if args.clean {
        for name in lab::keep::clean(PREFIX)? {
            writeln!(io::stdout(), "removed {name}")?;
        }
        return Ok(true);
    }
    if args.serve {
        lab::keep::serve(PREFIX)?;
        return Ok(true);
    }
    let scenario = scenario::find(&args.scenario).ok_or_else(|| unknown(&args.scenario))?;
    if args.unprivileged || unprivileged::is_needed()? {
        enter(args)?;
    }
    show(args, scenario)
}

/// Goes on in a user namespace. This process has one thread until the lab makes more.
fn enter(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    unprivileged::refuse(args.attach.as_deref())?;
    if args.keep {
        return Err("--keep binds names below /run/netns, which only root may\nhelp: run it as root".into());
    }
    unprivileged::enter()?;
    eprintln!("{}", unprivileged::SAID);
    Ok(())
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = scenario::SCENARIOS.iter().map(|scenario| scenario.name).collect();
    format!("no scenario is called {name}\nhelp: there are {}", names.join(", "))
}

fn show(args: &Args, scenario: &'static Scenario) -> Result<bool, Box<dyn std::error::Error>> {
    let options = Options { attach: args.attach.clone(), copies: usize::from(args.copies) };
    if args.keep {
        lab::keep::refuse_if_kept(PREFIX)?;
    }
    let (lab, report) = lab::run::run(scenario, &options)?;
    let mut out = io::stdout().lock();
    if let Some(directory) = &args.write_dir {
        for path in lab::capture::save(&report.sensors, directory)? {
            eprintln!("wrote {}", path.display());
        }
    }
    let kept = args.keep.then(|| lab::keep::keep(&lab, PREFIX)).transpose()?;
    if args.json {
        serde_json::to_writer_pretty(&mut out, &lab::report::json(&report))?;
        writeln!(out)?;
    } else {
        out.write_all(page(args, &report, kept.as_deref()).as_bytes())?;
    }
    Ok(report.ok())
}

/// The report, with the words about what was kept before its last line.
fn page(args: &Args, report: &Report, kept: Option<&str>) -> String {
    let style =
        Style { frames: (!args.all).then_some(lab::report::FRAMES_SHOWN), bold: io::stdout().is_terminal() };
    lab::report::text(report, style, kept)
}
