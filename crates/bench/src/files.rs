//! Configs and rules in a directory of this process, and the program that users run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Failure, Outcome};

/// A directory that goes when this is dropped, and the program beside this one.
pub struct Files {
    dir: PathBuf,
    binary: PathBuf,
}

impl Files {
    /// Makes the directory and finds the program.
    ///
    /// # Errors
    /// It cannot be made; the program is not beside this one.
    pub fn new() -> Outcome<Self> {
        let own = std::env::current_exe().map_err(|error| Failure::new("this program", error))?;
        let binary = own.with_file_name("tapwright");
        if !binary.is_file() {
            let help = "not there; build it first with `cargo build --release -p tapwright`";
            return Err(Failure::new(binary.display(), help));
        }
        let dir = std::env::temp_dir().join(format!("tapwright-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| Failure::new(dir.display(), error))?;
        Ok(Self { dir, binary })
    }

    /// Writes a file and gives its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).map_err(|error| Failure::new(path.display(), error))?;
        Ok(path)
    }

    /// `tapwright` with a command and its file.
    pub fn tapwright(&self, words: &[&Path]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words);
        command
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is left behind lies in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It could not be started, or failed: what it said.
pub fn run(command: &mut Command) -> Outcome<()> {
    let name = format!("{command:?}");
    let output = command.output().map_err(|error| Failure::new(&name, error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(name, said.trim().lines().take(20).collect::<Vec<_>>().join("\n")))
}
