//! The command line of Tapwright: arguments, one file a command, printing.
//!
//! Results go to stdout, everything else to stderr. Exit status: 0 done, 1 no (bad input, a refusal, a
//! ledger that does not balance), 2 trouble (a system call failed, wrong usage).

mod check;
mod down;
mod input;
mod lab;
mod output;
mod status;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A software network tap and packet broker for Linux.
///
/// The kernel passes and copies; no process stays behind.
#[derive(Parser)]
#[command(name = "tapwright", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads a config or a plan, and prints every problem, or the plan
    Check(check::Args),
    /// Makes a config true in the kernel, and exits
    Up(up::Args),
    /// Shows the ledger: what came in, where it went, what was lost
    Status(status::Args),
    /// Takes everything away, and restores every interface
    Down(down::Args),
    /// Shows a device at work on real frames, in an enterprise built of network namespaces
    Lab(lab::Args),
}

fn main() -> ExitCode {
    // Where the signal cannot be set, printing to a closed pipe is an error that is handled.
    let _ = sys::process::default_sigpipe();
    match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Lab(args) => lab::run(&args),
    }
}
