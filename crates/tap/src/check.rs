//! `tapwright check`: every problem and all advice at once, or the plan.

use std::path::PathBuf;
use std::process::ExitCode;

use bpf::layout::Wiring;
use plan::plan::Plan;
use plan::{Compiled, RuleFile};

use crate::input;
use crate::output::{self, NO, TROUBLE, YES};

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Args {
    /// The config, or a plan as `check` prints it
    file: PathBuf,
    /// Hold it against this machine too: interfaces, addresses, privileges, kernel
    #[arg(long)]
    here: bool,
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
    let Compiled { plan, advice, rule_files, .. } = match input::compiled(&args.file) {
        Ok(read) => read,
        Err(code) => return code,
    };
    for piece in advice {
        eprint!("{piece}");
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
    output::print(text);
    ExitCode::from(YES)
}

/// The canonical text of each rule file; where there are several, each below its name.
fn rules(files: &[RuleFile]) -> ExitCode {
    for file in files {
        if files.len() > 1 {
            output::print(format_args!("# {}\n", file.written));
        }
        output::print(&file.parsed);
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
            output::print(text);
            ExitCode::from(YES)
        }
        Err(refusal) => output::fail(NO, refusal),
    }
}

fn classic_listing(plan: &Plan) -> ExitCode {
    match bpf::classic::lower(plan) {
        Ok(lowered) => {
            output::print(bpf::classic::listing(plan, &lowered));
            ExitCode::from(YES)
        }
        Err(refused) => {
            let text: Vec<String> = refused.iter().map(|refused| refused.told(plan)).collect();
            output::fail(NO, text.join("\n"))
        }
    }
}
