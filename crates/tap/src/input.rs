//! Reads the files that users name.

use std::fs::{self, File, FileType};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;

use plan::plan::Plan;
use plan::rule_files::TEXT_MAX as RULES_MAX;
use plan::{Advice, Compiled};

use crate::output::{self, NO};

/// The longest config or plan that is read, in octets.
const LONGEST: usize = 64 * 1024 * 1024;

/// The plan of a config, or of a plan's own text. What is wrong with it has been said on stderr.
pub fn plan(path: &Path) -> Result<(Plan, Vec<Advice>), ExitCode> {
    compiled(path).map(|compiled| (compiled.plan, compiled.advice))
}

/// The same, with what is known of the rule files that it names.
pub fn compiled(path: &Path) -> Result<Compiled, ExitCode> {
    told(path).map(|(compiled, _)| compiled)
}

/// The same, and whether the file is a plan's own text.
pub fn told(path: &Path) -> Result<(Compiled, bool), ExitCode> {
    let name = path.display().to_string();
    let octets = read(path, LONGEST).map_err(|error| {
        let help = "help: name a config file that can be read";
        output::fail(NO, format_args!("{name}: cannot be read: {error}\n{help}"))
    })?;
    let text = plan::utf8(&name, &octets).map_err(|problems| output::fail(NO, problems))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = |named: &str| named_file(&folder.join(named));
    let compiled = plan::compile_with(&name, text, &files).map_err(|problems| output::fail(NO, problems))?;
    Ok((compiled, plan::text::is_plan(text)))
}

/// The text of a file that a config or a rule file names. Of anything but a regular file there may be no end, or no
/// beginning: a FIFO without a writer. Such a thing is not even opened, for that alone may wait, or move a tape.
fn named_file(path: &Path) -> Result<String, String> {
    let kind = fs::metadata(path).map_err(|error| error.to_string())?.file_type();
    if !kind.is_file() {
        return Err(format!("it is {}, and no regular file", called(kind)));
    }
    let octets = read(path, RULES_MAX).map_err(|error| error.to_string())?;
    String::from_utf8(octets)
        .map_err(|error| format!("not UTF-8 at octet {}", error.utf8_error().valid_up_to()))
}

/// What else there is in a file system.
fn called(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

/// The whole file; never more than a stated size in octets, whatever the file says of itself.
fn read(path: &Path, longest: usize) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let most = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut octets)?;
    if octets.len() > longest {
        return Err(std::io::Error::other(format!("larger than {longest} bytes")));
    }
    Ok(octets)
}
