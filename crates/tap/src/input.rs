//! Reads the files that users name.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use plan::Advice;
use plan::plan::Plan;

use crate::output::{self, NO};

/// The longest config or plan that is read, in octets.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The plan of a config, or of a plan's own text. What is wrong with it has been said on stderr.
pub fn plan(path: &Path) -> Result<(Plan, Vec<Advice>), ExitCode> {
    let name = path.display().to_string();
    let octets = read(path).map_err(|error| {
        let help = "help: name a config file that can be read";
        output::fail(NO, format_args!("{name}: cannot be read: {error}\n{help}"))
    })?;
    let text = plan::utf8(&name, &octets).map_err(|problems| output::fail(NO, problems))?;
    plan::compile(&name, text).map_err(|problems| output::fail(NO, problems))
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
