//! What is refused before anything is read or written: every reason at once.
//!
//! Only looks at what paths lead to. Never opens a pipe or a device, which could wait for ever.

use std::fs::{self, File};
use std::path::Path;

use plan::Refusal;

use super::{Causal, INPUTS_MAX, Options};
use crate::input::{Source, is_standard};
use crate::output::Target;
use crate::refuse::same_file;

/// Every reason why these captures cannot be bonded like this. Empty where they can.
pub fn refusals(inputs: &[Source], options: &Options, output: Option<&Target>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if inputs.is_empty() || inputs.len() > INPUTS_MAX {
        let what = format!("{} captures cannot be bonded", inputs.len());
        refusals.push(Refusal::new(what, format!("name one to {INPUTS_MAX}; bond the bonds of more")));
    }
    refusals.extend(inputs.iter().filter_map(unreadable));
    let standard = |input: &&Source| matches!(input, Source::File(path) if is_standard(path));
    if inputs.iter().filter(standard).count() > 1 {
        let help = "only one capture can come from it: write the others to files";
        refusals.push(Refusal::new("standard input is read more than once", help));
    }
    if let Some(Target::File(path)) = output {
        refusals.extend(overwritten(inputs, path));
    }
    for (index, _) in options.offsets.iter().filter(|(index, _)| *index >= inputs.len()) {
        let what = format!("there is no capture {} to shift", index + 1);
        refusals.push(Refusal::new(what, format!("captures are numbered from 1 to {}", inputs.len())));
    }
    if options.causal != Causal::Off {
        for input in inputs.iter().filter(|input| is_stream(input)) {
            let what = format!("{}: cannot be read twice, which causal order takes", input.name());
            refusals.push(Refusal::new(what, "write it to a file first, or give the offset (--offset)"));
        }
        if inputs.len() < 2 {
            let help = "name all the halves of the conversations";
            refusals.push(Refusal::new("one capture alone has no other to be compared with", help));
        }
    }
    refusals
}

/// Whether it is there and can be read but once; what is not there is refused for that.
fn is_stream(input: &Source) -> bool {
    match input {
        Source::File(path) if !is_standard(path) => {
            fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
        }
        Source::File(_) | Source::Stream(..) => true,
    }
}

/// Why a source cannot be read, where that can be told without reading it.
fn unreadable(source: &Source) -> Option<Refusal> {
    let Source::File(path) = source else { return None };
    if is_standard(path) {
        return None;
    }
    let error = match fs::metadata(path) {
        Ok(found) if found.is_dir() => std::io::ErrorKind::IsADirectory.into(),
        Ok(found) if found.is_file() => File::open(path).err()?,
        Ok(_) => return None,
        Err(error) => error,
    };
    let what = format!("{}: cannot be opened: {error}", path.display());
    Some(Refusal::new(
        what,
        "name a pcap or pcapng file that can be read, packed with gzip or zstd or not, or `-`",
    ))
}

/// Where the output would destroy an input. Only regular files can be destroyed.
fn overwritten(inputs: &[Source], path: &Path) -> Option<Refusal> {
    fs::metadata(path).ok().filter(|found| !is_standard(path) && found.is_file())?;
    let read = inputs.iter().filter_map(Source::rereadable).any(|input| same_file(input, path));
    read.then(|| {
        let what = format!("{}: would be overwritten, and is read", path.display());
        Refusal::new(what, "write to another file")
    })
}
