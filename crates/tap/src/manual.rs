//! `tapwright completions` and `tapwright man`: made from the one definition of the command line.
//!
//! Both print to stdout; where files belong is the business of whoever packs them.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::output::{self, NO, TROUBLE, YES};

/// Arguments of `completions`.
#[derive(clap::Args)]
pub struct Completions {
    /// The shell to complete in
    shell: Shell,
}

/// Arguments of `man`.
#[derive(clap::Args)]
pub struct Man {
    /// The command to describe; without it, tapwright itself
    command: Option<String>,
}

/// Prints a script for a shell.
pub fn completions(args: &Completions, mut cli: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, "tapwright", &mut script);
    output::print(String::from_utf8_lossy(&script));
    ExitCode::from(YES)
}

/// Prints a page in roff, for man(1).
pub fn man(args: &Man, mut cli: clap::Command) -> ExitCode {
    // Now each command knows its whole name.
    cli.build();
    let command = match &args.command {
        None => cli,
        Some(name) => match cli.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
                let help = format!("help: the commands are {}", plan::listed(&names));
                return output::fail(NO, format_args!("{} is no command\n{help}", plan::shown(name)));
            }
        },
    };
    let mut page = Vec::new();
    if let Err(error) = clap_mangen::Man::new(command).render(&mut page) {
        return output::fail(TROUBLE, error);
    }
    output::print(String::from_utf8_lossy(&page));
    ExitCode::from(YES)
}
