//! Runs steps one after another, says how each ended, and keeps the score.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// How a step ended: what is worth saying, or what went wrong.
pub type Outcome = Result<String, String>;

/// The score so far.
#[derive(Default)]
pub struct Steps {
    passed: u32,
    failed: Vec<String>,
}

impl Steps {
    /// Runs one step under a heading, and says whether it passed.
    pub fn step(&mut self, name: &str, run: impl FnOnce() -> Outcome) -> bool {
        say(&format!("\n== {name}"));
        let begun = Instant::now();
        let outcome = run();
        let seconds = begun.elapsed().as_secs();
        match &outcome {
            Ok(note) if note.is_empty() => say(&format!("== {name} passed in {seconds} s")),
            Ok(note) => say(&format!("== {name} passed in {seconds} s: {note}")),
            Err(why) => say(&format!("== {name} FAILED after {seconds} s: {why}")),
        }
        self.count(name, &outcome);
        outcome.is_ok()
    }

    fn count(&mut self, name: &str, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.passed += 1,
            Err(_) => self.failed.push(name.to_owned()),
        }
    }

    /// Whether something was checked and nothing failed.
    fn all_passed(&self) -> bool {
        self.passed > 0 && self.failed.is_empty()
    }

    /// Prints the score and turns it into an exit code.
    pub fn finish(self) -> ExitCode {
        say("");
        for name in &self.failed {
            say(&format!("failed: {name}"));
        }
        say(&format!("{} passed, {} failed", self.passed, self.failed.len()));
        if self.all_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A line to standard output, at once; a reader that went away is no reason to stop checking.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// A command that takes no input and runs at the root of the project.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).current_dir(root());
    command
}

/// The cargo that runs this.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

/// Runs a command with its output shown as it comes.
///
/// # Errors
/// Where it cannot be started, or ends with anything but 0.
pub fn run(command: &mut Command) -> Outcome {
    say(&format!("$ {}", line(command)));
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(String::new()) } else { Err(format!("`{}`: {status}", line(command))) }
}

/// Runs a command and gives its standard output. All that it printed is shown where it fails.
///
/// # Errors
/// Where it cannot be started, ends with anything but 0, or its output is not UTF-8.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| cannot_start(command, &error))?;
    if !output.status.success() {
        say(&String::from_utf8_lossy(&output.stdout));
        say(&String::from_utf8_lossy(&output.stderr));
        return Err(format!("`{}`: {}", line(command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("`{}`: {error}", line(command)))
}

fn cannot_start(command: &Command, error: &io::Error) -> String {
    format!("cannot start `{}`: {error}", line(command))
}

/// A command as a person would type it.
fn line(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        let quote = if value.contains(' ') { "'" } else { "" };
        Some(format!("{}={quote}{value}{quote}", name.to_string_lossy()))
    });
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    let words = command.get_args().map(|word| {
        let word = word.to_string_lossy();
        if word.contains([' ', '|', '(']) { format!("'{word}'") } else { word.into_owned() }
    });
    environment.chain([program]).chain(words).collect::<Vec<_>>().join(" ")
}

/// The root of the project.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask is a directory of the project").to_path_buf()
}

/// Where cargo builds: `CARGO_TARGET_DIR`, or `target` of the project.
pub fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(set.unwrap_or_else(|| "target".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_named_as_typed() {
        let mut failing = Command::new("/bin/sh");
        failing.env("MODE", "a b").args(["-c", "exit 3"]);
        let why = output(&mut failing).unwrap_err();
        assert_eq!(why, "`MODE='a b' sh -c 'exit 3'`: exit status: 3");
    }

    #[test]
    fn no_step_at_all_is_a_failure() {
        assert!(!Steps::default().all_passed());
    }

    #[test]
    fn a_later_success_does_not_hide_a_failure() {
        let mut steps = Steps::default();
        steps.count("bad", &Err("on purpose".into()));
        steps.count("good", &Ok(String::new()));
        assert_eq!((steps.passed, steps.failed.as_slice()), (1, ["bad".to_owned()].as_slice()));
        assert!(!steps.all_passed());
    }
}
