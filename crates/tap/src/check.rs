//! `tapwright check`: every problem and all advice at once, or the plan.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use bpf::layout::Wiring;
use offline::meter::PortReport;
use offline::{Look, Outputs, ReplayError};
use plan::plan::Plan;
use plan::simulation::Simulation;
use plan::units::{ShownRate, ShownSize};
use plan::{Advice, Compiled, Refusal, RuleFile, shown};

use crate::output::{self, NO, TROUBLE, YES};
use crate::{input, replay};

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Args {
    /// The config, or a plan as `check` prints it
    file: PathBuf,
    /// Hold it against this machine too: interfaces, addresses, privileges, kernel
    #[arg(long)]
    here: bool,
    /// Hold the buffers of monitor ports against what entered at a port (PORT:rx, PORT:tx where watched); may be repeated
    #[arg(long, value_name = "PORT=CAPTURE")]
    read: Vec<OsString>,
    /// Print the pf rules that it names: one rule a line, lists expanded, in the canonical form
    #[arg(long)]
    rules: bool,
    /// Print the instructions that `up` would load
    #[arg(long, conflicts_with = "rules")]
    listing: bool,
    /// Of --listing: only for ports that are attached this way
    #[arg(long, value_name = "VIEW", requires = "listing")]
    view: Option<View>,
}

/// How programs see frames.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum View {
    /// As native XDP does
    Xdp,
    /// As tcx and clsact do
    Tc,
    /// As filters of classic BPF do, where eBPF may not be loaded
    Classic,
}

/// Checks a file, and prints its plan.
pub fn run(args: &Args) -> ExitCode {
    let Compiled { plan, advice, rule_files, simulation, .. } = match input::compiled(&args.file) {
        Ok(read) => read,
        Err(code) => return code,
    };
    for piece in advice {
        eprint!("{piece}");
    }
    if !args.read.is_empty() {
        match of_captures(&plan, simulation, &args.read) {
            Ok(more) => more.iter().for_each(|piece| eprint!("{piece}")),
            Err(code) => return code,
        }
    }
    if args.here {
        match engine::refusals(&mut sys::Linux::new(), &plan) {
            Ok(refusals) if refusals.is_empty() => {}
            Ok(refusals) => {
                let text: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                return output::fail(NO, text.join("\n"));
            }
            Err(error) => return output::fail(TROUBLE, error),
        }
    }
    if args.rules {
        return rules(&rule_files);
    }
    if args.listing {
        return listing(&plan, args.view);
    }
    // What the kernel would be given has bounds of its own, which no line of the config is to blame for.
    if let Err(refusal) = engine::emitted(&plan, &engine::wiring_as_asked(&plan)) {
        return output::fail(NO, refusal);
    }
    let mut text = String::new();
    plan::text::print(&plan, &mut text).expect("writing to a String cannot fail");
    output::printed(text)
}

/// What captures say of the buffers of monitor ports. What is wrong with them has been said on stderr.
fn of_captures(plan: &Plan, simulation: Simulation, read: &[OsString]) -> Result<Vec<Advice>, ExitCode> {
    let mut refusals = Vec::new();
    let mut inputs = Vec::new();
    for word in read {
        match replay::input_of(plan, word) {
            Ok(input) => inputs.push(input),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if plan.ports.iter().all(|port| port.queue.is_none()) {
        let what = "--read: no monitor port has a rate, so that there is no buffer to hold a capture against";
        refusals
            .push(Refusal::new(what, "give the monitor ports their `rate`, and `buffer` if they have one"));
    }
    if !refusals.is_empty() {
        return Err(output::fail(NO, ReplayError::Refused(refusals)));
    }
    let simulation = Simulation { traffic: Vec::new(), duration_ns: None, ..simulation };
    let simulated = offline::simulate(plan, &simulation, inputs, Outputs::default(), Look::Rated, |_| {});
    let report = simulated.map_err(replay::failed)?.report;
    if let Some(input) = report.inputs.iter().find(|input| input.broken.is_some()) {
        let broken = input.broken.as_ref().map_or("", String::as_str);
        let what = format!("{}: {broken}", input.file);
        return Err(output::fail(NO, Refusal::new(what, "name captures that can be read to their end")));
    }
    Ok(report.measured.iter().filter_map(of_burst).collect())
}

/// A monitor port whose buffer was too small for what came.
fn of_burst(port: &PortReport) -> Option<Advice> {
    let lost = port.total.dropped;
    let (rate, buffer) = (port.rate_bits?, port.buffer_bytes?);
    if lost.frames == 0 {
        return None;
    }
    let sides: Vec<String> = port
        .sides
        .iter()
        .filter(|side| side.measures.dropped.frames > 0)
        .map(|side| format!("{} of {}", side.measures.dropped.frames, shown(&side.name)))
        .collect();
    let peaks = port.bursts.iter().map(|burst| {
        let (us, peak) = (burst.window_ns / 1000, scaled(burst.peak_bits));
        if us < 1000 { format!("{peak} for {us} us") } else { format!("{peak} for {} ms", us / 1000) }
    });
    let peaks: Vec<String> = peaks.collect();
    let mut cures = Vec::new();
    if let Some(cure) = &port.cure {
        cures.extend(
            cure.rate_bits.map(|bits| {
                format!("rate = \"{}\" with this buffer", ShownRate(bits.next_multiple_of(1000)))
            }),
        );
        let for_good = if cure.lasting { "" } else { ", for as long as this capture and no longer" };
        let octets = ShownSize(cure.buffer_bytes.next_multiple_of(1000));
        cures.push(format!("buffer = \"{octets}\" at this rate{for_good}"));
    }
    cures.push("or let rules choose what the sensor needs (kind = \"distributor\")".to_owned());
    Some(Advice {
        at: None,
        what: format!(
            "the buffer of {}, {} a side at {}, is too small for what the captures bring",
            shown(&port.name),
            ShownSize(buffer),
            ShownRate(rate)
        ),
        why: format!(
            "{} of {} frames would be lost ({}); they come at up to {}",
            lost.frames,
            port.total.offered.frames,
            plan::listed(&sides),
            plan::listed(&peaks)
        ),
        cure: format!("these would have lost nothing: {}", cures.join("; ")),
    })
}

/// A rate of bits a second, to four digits.
fn scaled(bits: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1000), ("bit/s", 1)];
    let (name, unit) = UNITS.into_iter().find(|(_, unit)| bits >= *unit).unwrap_or(("bit/s", 1));
    let (whole, rest) = (bits / unit, bits % unit);
    let digits = format!("{:03}", rest * 1000 / unit);
    let decimals = match whole {
        0..10 => 3,
        10..100 => 2,
        100..1000 => 1,
        _ => 0,
    };
    match digits[..decimals].trim_end_matches('0') {
        "" => format!("{whole} {name}"),
        decimals => format!("{whole}.{decimals} {name}"),
    }
}

/// The canonical text of each rule file; where there are several, each below its name.
fn rules(files: &[RuleFile]) -> ExitCode {
    for file in files {
        let title = if files.len() > 1 { format!("# {}\n", file.written) } else { String::new() };
        if !output::wrote(format_args!("{title}{}", file.parsed)) {
            return ExitCode::from(TROUBLE);
        }
    }
    if files.is_empty() {
        eprintln!("no device names a file of pf rules");
    }
    ExitCode::from(YES)
}

fn listing(plan: &Plan, view: Option<View>) -> ExitCode {
    let wiring = match view {
        Some(View::Classic) => return classic_listing(plan),
        None => engine::wiring_as_asked(plan),
        Some(View::Xdp) => Wiring::all(plan, bpf::layout::View::Xdp),
        Some(View::Tc) => Wiring::all(plan, bpf::layout::View::Tc),
    };
    match engine::emitted(plan, &wiring) {
        Ok(emitted) => {
            let mut text = String::new();
            bpf::listing::all(&mut text, plan, &emitted).expect("writing to a String cannot fail");
            output::printed(text)
        }
        Err(refusal) => output::fail(NO, refusal),
    }
}

fn classic_listing(plan: &Plan) -> ExitCode {
    match bpf::classic::lower(plan) {
        Ok(lowered) => output::printed(bpf::classic::listing(plan, &lowered)),
        Err(refused) => {
            let text: Vec<String> = refused.iter().map(|refused| refused.told(plan)).collect();
            output::fail(NO, text.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_never_rounded_to_nothing() {
        let shown = [0, 999, 672_000, 6_720_000, 137_249_000, 1_000_000_000].map(scaled);
        let said = ["0 bit/s", "999 bit/s", "672 kbit/s", "6.72 Mbit/s", "137.2 Mbit/s", "1 Gbit/s"];
        assert_eq!(shown, said);
    }
}
