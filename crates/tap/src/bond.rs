//! `tapwright bond`: captures into one, in the order of time.
//!
//! Reads arguments, shows progress and prints; what a bond is stands in the crate `offline`. Never looks at the
//! machine.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use offline::bond::{BondError, Causal, Options, Report, WINDOW_NS, bond, refusals};
use offline::{Source, Target};
use plan::{Refusal, shown, units};

use crate::meter::Meter;
use crate::output::{self, NO, TROUBLE, YES};

/// Arguments of `bond`.
#[derive(clap::Args)]
pub struct Args {
    /// The captures, packed with gzip or zstd or not; - for stdin. Of equal times the first-named goes first
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// Write the bond to this file, or - for stdout; without it, only say what it would be
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// How far back a frame that is out of order in its capture is put, as 10ms; 0 leaves all where they are
    #[arg(long, value_name = "TIME", default_value = "1s")]
    window: String,
    /// Add this to the times of a capture, by its number or name, as 2=+40ms or b.pcap=-1s; may be repeated
    #[arg(long, value_name = "CAPTURE=TIME")]
    offset: Vec<OsString>,
    /// Find out from the conversations by how much clocks differ, and put right those that must be wrong; with
    /// =force, also those that may be right
    #[arg(long, value_name = "force", num_args = 0..=1, require_equals = true, value_parser = ["force"])]
    causal: Option<Option<String>>,
    /// Look at the frames too: duplicates, replies before their requests
    #[arg(long)]
    stats: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    /// Print no summary and no progress, only what is wrong
    #[arg(long, conflicts_with_all = ["json", "stats"])]
    quiet: bool,
}

/// Bonds captures, and prints what came of each: to stdout, or to stderr where the bond goes to stdout.
pub fn run(args: &Args) -> ExitCode {
    let inputs: Vec<Source> = args.captures.iter().cloned().map(Source::File).collect();
    let target = args.write.clone().map(Target::File);
    let mut refused = Vec::new();
    let options = options(args, &mut refused);
    refused.extend(refusals(&inputs, &options, target.as_ref()));
    if !refused.is_empty() {
        return output::fail(NO, BondError::Refused(refused));
    }
    let stdout_taken = args.write.as_deref().is_some_and(output::is_stdout);
    let target = match target {
        Some(Target::File(path)) if path.as_os_str() == "-" => match standard_output() {
            Ok(target) => Some(target),
            Err(error) => {
                return output::fail(TROUBLE, format_args!("standard output: cannot be written: {error}"));
            }
        },
        target => target,
    };
    let mut meter = Meter::new(!args.quiet && io::stderr().is_terminal());
    let result = bond(inputs, &options, target, |progress| meter.show(progress.frames, progress.bytes));
    meter.clear();
    match result {
        Ok(report) => {
            if !args.quiet && !print(&report, args.json, stdout_taken) {
                return ExitCode::from(TROUBLE);
            }
            conclude(&report)
        }
        Err(error @ BondError::Output(..)) => output::fail(TROUBLE, error),
        Err(error) => output::fail(NO, error),
    }
}

/// Standard output without the buffer of lines in front of it.
fn standard_output() -> io::Result<Target> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(Target::Stream("standard output".to_owned(), Box::new(file)))
}

/// Whether the report could be put into words.
fn print(report: &Report, json: bool, stdout_taken: bool) -> bool {
    let text = match json.then(|| serde_json::to_string_pretty(report)) {
        None => report.to_string(),
        Some(Ok(text)) => format!("{text}\n"),
        Some(Err(error)) => {
            output::fail(TROUBLE, format_args!("tapwright: cannot write JSON: {error}"));
            return false;
        }
    };
    if stdout_taken {
        // Where stderr cannot be written there is nobody to tell.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    } else {
        return output::wrote(text);
    }
    true
}

/// Says what broke. Yes where every capture was read to its end.
fn conclude(report: &Report) -> ExitCode {
    let mut code = YES;
    for input in &report.inputs {
        if let Some(broken) = &input.broken {
            code = NO;
            let help = "what could be read of it was bonded";
            output::fail(NO, Refusal::new(format!("{}: {broken}", input.file), help));
        }
    }
    ExitCode::from(code)
}

/// What the options ask for; what is wrong with them is added to `refused`.
fn options(args: &Args, refused: &mut Vec<Refusal>) -> Options {
    let window_ns = window(&args.window).unwrap_or_else(|refusal| {
        refused.push(refusal);
        WINDOW_NS
    });
    let mut offsets = Vec::new();
    for word in &args.offset {
        match offset(&args.captures, word) {
            Ok(offset) => offsets.push(offset),
            Err(refusal) => {
                let what = format!("--offset {}: {}", shown(&word.to_string_lossy()), refusal.what);
                refused.push(Refusal { what, ..refusal });
            }
        }
    }
    let causal = match &args.causal {
        None => Causal::Off,
        Some(None) => Causal::On,
        Some(Some(_)) => Causal::Force,
    };
    Options { window_ns, offsets, causal, stats: args.stats }
}

fn window(text: &str) -> Result<u64, Refusal> {
    if text == "0" {
        return Ok(0);
    }
    units::time(text).map_err(|_| {
        let what = format!("--window {}: no time", shown(text));
        Refusal::new(what, "write a time as 10ms or 1s, or 0 to leave frames where they are")
    })
}

/// The capture that an option names, counted from 0, and nanoseconds.
fn offset(captures: &[PathBuf], word: &OsStr) -> Result<(usize, i64), Refusal> {
    let octets = word.as_bytes();
    let split = octets.iter().rposition(|octet| *octet == b'=').unwrap_or(octets.len());
    let (of, time) = (&octets[..split], octets.get(split + 1..).unwrap_or_default());
    let time = str::from_utf8(time).ok().and_then(signed);
    let help = "write CAPTURE=TIME, as 2=+40ms or b.pcap=-1s";
    let time = time.ok_or_else(|| Refusal::new("no time", help))?;
    let number = str::from_utf8(of).ok().and_then(|of| of.parse::<usize>().ok());
    let name = Path::new(OsStr::from_bytes(of));
    let mut namesakes = captures.iter().enumerate().filter(|(_, capture)| *capture == name);
    let named = namesakes.next().map(|(index, _)| index);
    if let (Some(first), Some((other, _))) = (named, namesakes.next()) {
        let help = format!("say which by its number: {} or {}", first + 1, other + 1);
        return Err(Refusal::new("two captures have that name", help));
    }
    let by_number = number.and_then(|number| number.checked_sub(1)).filter(|index| *index < captures.len());
    match named.or(by_number) {
        Some(index) => Ok((index, time)),
        None => {
            let help = format!("name one of the captures, or its number from 1 to {}", captures.len());
            Err(Refusal::new("there is no such capture", help))
        }
    }
}

/// Nanoseconds of a time with a sign.
fn signed(text: &str) -> Option<i64> {
    let (negative, size) = match text.strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = i64::try_from(units::time(size).ok()?).ok()?;
    Some(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_names_a_capture_by_number_or_name() {
        let captures = ["a.pcap", "x=y.pcap", "1", "t", "t"].map(PathBuf::from);
        let offset = |word: &str| offset(&captures, OsStr::new(word)).map_err(|refusal| refusal.what);
        assert_eq!(offset("2=+40ms"), Ok((1, 40_000_000)));
        assert_eq!(offset("x=y.pcap=-1s"), Ok((1, -1_000_000_000)));
        assert_eq!(offset("1=1us"), Ok((2, 1_000)), "a name goes before a number");
        assert_eq!(offset("t=1s"), Err("two captures have that name".to_owned()));
        assert_eq!(offset("5=1s"), Ok((4, 1_000_000_000)), "a number says which");
        assert_eq!(offset("6=1s"), Err("there is no such capture".to_owned()));
        assert_eq!(offset("0=1s"), Err("there is no such capture".to_owned()));
        for bad in ["", "a.pcap", "a.pcap=", "a.pcap=40", "a.pcap=--1s", "1=+-1s"] {
            assert_eq!(offset(bad), Err("no time".to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_window_is_a_time_or_nothing() {
        assert_eq!(window("0"), Ok(0));
        assert_eq!(window("10ms"), Ok(10_000_000));
        assert!(window("10").is_err() && window("-1s").is_err());
    }
}
