//! Where results go, and what exit codes mean.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Done, and the answer is yes.
pub const YES: u8 = 0;
/// Bad input, a refusal, or an answer of no.
pub const NO: u8 = 1;
/// Something failed that is not the user's doing.
pub const TROUBLE: u8 = 2;

/// Paths that are standard output.
const STDOUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Whether a path is standard output, so that nothing else may be printed there.
pub fn is_stdout(path: &Path) -> bool {
    STDOUT.iter().any(|known| path == Path::new(known))
}

/// Prints a result to stdout; what went wrong is said on stderr.
pub fn print(text: impl Display) {
    let _: bool = wrote(text);
}

/// The same, and gives whether it went well. A reader that went away is no error: nobody is left to tell.
pub fn wrote(text: impl Display) -> bool {
    let mut out = io::stdout().lock();
    if let Err(error) = write!(out, "{text}").and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        fail(TROUBLE, format_args!("tapwright: cannot write to standard output: {error}"));
        return false;
    }
    true
}

/// Prints the last of a result that is a yes: the exit code.
pub fn printed(text: impl Display) -> ExitCode {
    ExitCode::from(if wrote(text) { YES } else { TROUBLE })
}

/// Prints a value as JSON, a line.
pub fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(format_args!("{text}\n")),
        Err(error) => eprintln!("tapwright: cannot write JSON: {error}"),
    }
}

/// Says to stderr what failed, and gives the exit code for it.
pub fn fail(code: u8, message: impl Display) -> ExitCode {
    let mut err = io::stderr().lock();
    // Where stderr cannot be written there is nobody to tell.
    let _ = writeln!(err, "{}", message.to_string().trim_end());
    ExitCode::from(code)
}

/// Takes the right to change taps in this network namespace; where it cannot be had, that has been said.
pub fn lock() -> Result<sys::lock::Lock, ExitCode> {
    sys::lock::Lock::take().map_err(|error| {
        if sys::lock::Lock::is_taken(&error) {
            let help = "help: wait until it has ended, then try again";
            fail(NO, format_args!("another tapwright is changing this network namespace\n{help}"))
        } else {
            fail(TROUBLE, error)
        }
    })
}
