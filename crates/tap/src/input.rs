//! Reads the files that users name.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use plan::plan::Plan;
use plan::{Advice, Compiled};

use crate::output::{self, NO};

/// The longest config, plan or rule file that is read, in octets.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The plan of a config, or of a plan's own text. What is wrong with it has been said on stderr.
pub fn plan(path: &Path) -> Result<(Plan, Vec<Advice>), ExitCode> {
    compiled(path).map(|compiled| (compiled.plan, compiled.advice))
}

/// The same, with what is known of the rule files that it names.
pub fn compiled(path: &Path) -> Result<Compiled, ExitCode> {
    let name = path.display().to_string();
    let octets = read(path).map_err(|error| {
        let help = "help: name a config file that can be read";
        output::fail(NO, format_args!("{name}: cannot be read: {error}\n{help}"))
    })?;
    let text = plan::utf8(&name, &octets).map_err(|problems| output::fail(NO, problems))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = |named: &str| named_file(&folder.join(named));
    plan::compile_with(&name, text, &files).map_err(|problems| output::fail(NO, problems))
}

/// The text of a file that a config or a rule file names.
fn named_file(path: &Path) -> Result<String, String> {
    let octets = read(path).map_err(|error| error.to_string())?;
    String::from_utf8(octets)
        .map_err(|error| format!("not UTF-8 at octet {}", error.utf8_error().valid_up_to()))
}

/// The whole file; never more than a stated size, whatever the file says of itself.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut octets)?;
    if u64::try_from(octets.len()).is_ok_and(|length| length > LONGEST) {
        return Err(std::io::Error::other(format!("larger than {LONGEST} bytes")));
    }
    Ok(octets)
}
