//! `tapwright check`: every problem and all advice at once, or the plan.

use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Print the instructions that `up` would load
    #[arg(long)]
    listing: bool,
}

/// Checks a file, and prints its plan.
pub fn run(args: &Args) -> ExitCode {
    let (plan, advice) = match input::plan(&args.file) {
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
    if args.listing {
        return listing(&plan);
    }
    let mut text = String::new();
    plan::text::print(&plan, &mut text).expect("writing to a String cannot fail");
    output::print(text);
    ExitCode::from(YES)
}

fn listing(plan: &plan::plan::Plan) -> ExitCode {
    let wiring = engine::wiring_as_asked(plan);
    match bpf::emit::emit(plan, &wiring, bpf::emit::Mode::Attach) {
        Ok(emitted) => {
            let mut text = String::new();
            bpf::listing::all(&mut text, plan, &emitted).expect("writing to a String cannot fail");
            output::print(text);
            ExitCode::from(YES)
        }
        Err(error) => output::fail(NO, error),
    }
}
