//! Runs the lab as a user does: the release build, one scenario after another; then again without privileges.

use std::path::PathBuf;
use std::process::Command;

use crate::steps::{Outcome, Steps, cargo, command, output, run as run_command, say, target};

/// The scenarios that must be there: one for each device kind, the distributor as the chapter has it.
const KINDS: &[&str] = &[
    "tap",
    "port-aggregator",
    "dual-port-aggregator",
    "regeneration",
    "span-regeneration",
    "link-aggregator",
    "bond",
    "watch",
    "pf-dup-to",
];

/// Seconds after which a scenario is taken to hang.
const LIMIT_S: &str = "180";

/// Builds the release, runs the README's command, then each scenario that `lab --list` names, with privileges and
/// without.
pub fn run(steps: &mut Steps) {
    let mut names = Vec::new();
    steps.step("lab: build", || {
        run_command(&mut cargo(&["build", "--release", "--locked"]))?;
        names = list()?;
        Ok(format!("{} scenarios", names.len()))
    });
    for name in &names {
        steps.step(&format!("lab: {name}"), || scenario(name, false));
    }
    for name in &names {
        steps.step(&format!("lab: {name}, without privileges"), || scenario(name, true));
    }
}

fn list() -> Result<Vec<String>, String> {
    let text = output(command(binary()).args(["lab", "--list"]))?;
    let words = text.lines().filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = words.filter(|word| *word != "SCENARIO").map(str::to_owned).collect();
    match KINDS.iter().find(|kind| !names.iter().any(|name| name == *kind)) {
        None => Ok(names),
        Some(kind) => Err(format!("no scenario {kind} in `tapwright lab --list`")),
    }
}

fn scenario(name: &str, unprivileged: bool) -> Outcome {
    let mut lab: Command = command("timeout");
    // SIGINT first: the lab cleans up after it.
    lab.args(["--signal=INT", "--kill-after=20", LIMIT_S]).arg(binary()).args(["lab", name]);
    if unprivileged {
        lab.arg("--unprivileged");
    }
    let text = output(&mut lab)?;
    say(text.trim_end());
    match text.lines().last() {
        Some("unaccounted 0") => Ok(String::new()),
        last => Err(format!("its last line is {last:?}, not \"unaccounted 0\"")),
    }
}

fn binary() -> PathBuf {
    target().join("release/tapwright")
}
