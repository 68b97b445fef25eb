//! The command line of Tapwright: arguments, one file a command, printing.
//!
//! Results go to stdout, everything else to stderr. Exit status: 0 done, 1 no (bad input, a refusal, a
//! ledger that does not balance), 2 trouble (a system call failed, wrong usage).

mod bond;
mod check;
mod down;
mod explain;
mod input;
mod lab;
mod manual;
mod meter;
mod output;
mod replay;
mod run;
mod simulate;
mod status;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    /// Carries frames in this process, where eBPF may not be loaded; the wire stops with it
    Run(run::Args),
    /// Shows the ledger: what came in, where it went, what was lost
    Status(status::Args),
    /// Takes everything away, and restores every interface
    Down(down::Args),
    /// Shows a device at work on real frames, in an enterprise built of network namespaces
    Lab(lab::Args),
    /// Says which rule decides about each frame of a capture, and where the frame goes
    Explain(explain::Args),
    /// Merges captures into one, in the order of time
    Bond(bond::Args),
    /// Runs capture files through a config or a plan, in virtual time
    Replay(replay::Args),
    /// Runs traffic through a config or a plan, in virtual time: what would wait, and what would be lost
    Simulate(simulate::Args),
    /// Prints a script that completes arguments in a shell
    Completions(manual::Completions),
    /// Prints the manual page, of tapwright or of one command
    Man(manual::Man),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // A replay or a simulation may write many captures: the reader of one that hangs up must not end the others. A run
    // has interfaces to put back, whoever listens.
    if !matches!(command, Command::Replay(_) | Command::Simulate(_) | Command::Bond(_) | Command::Run(_)) {
        // Where the signal cannot be set, printing to a closed pipe is an error that is handled.
        let _ = sys::process::default_sigpipe();
    }
    match command {
        Command::Check(args) => check::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Bond(args) => bond::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Completions(args) => manual::completions(&args, Cli::command()),
        Command::Man(args) => manual::man(&args, Cli::command()),
    }
}
