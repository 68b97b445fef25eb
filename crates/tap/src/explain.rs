//! `tapwright explain`: which rule decides about each frame of a capture, and where the frame goes.
//!
//! Reads arguments and prints; what a frame's page says stands in `plan::explain`. Never looks at the machine.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use offline::Source;
use plan::eval::{Fate, Judge, State, Time, Verdict};
use plan::explain::{Explanation, Summary, explain};
use plan::plan::HookId;
use plan::{Compiled, Refusal};
use serde::Serialize;
use wire::Frame;
use wire::capture::Timestamp;
use wire::print::{Printer, time_of_day};

use crate::input;
use crate::output::{self, NO, TROUBLE, YES};

/// What chance is drawn from: as in a replay.
const SEED: u64 = 0;

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct Args {
    /// The config, or a plan as `check` prints it
    file: PathBuf,
    /// Where the frames enter: PORT; PORT:rx or PORT:tx where it is a watched interface
    #[arg(long, value_name = "PORT")]
    port: String,
    /// The capture, or - for stdin
    #[arg(long, value_name = "CAPTURE")]
    read: PathBuf,
    /// Explain only this frame, counted from 1, with every rule that is tried
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frame: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Explains the frames of a capture.
pub fn run(args: &Args) -> ExitCode {
    let compiled = match input::compiled(&args.file) {
        Ok(compiled) => compiled,
        Err(code) => return code,
    };
    let hook = match hook(&compiled, &args.port) {
        Ok(hook) => hook,
        Err(refusal) => {
            let what = format!("--port {}: {}", args.port, refusal.what);
            return output::fail(NO, Refusal { what, ..refusal });
        }
    };
    let mut pages = Pages::new(args, &compiled, hook);
    let read = offline::each_frame(Source::File(args.read.clone()), |time, frame| pages.frame(time, frame));
    let broken = match read {
        Ok(broken) => broken,
        Err(error) => {
            let what = format!("{}: cannot be opened: {error}", args.read.display());
            return output::fail(NO, Refusal::new(what, "name a capture that can be read"));
        }
    };
    let (count, wrote) = (pages.number, pages.finish());
    if let Err(error) = wrote
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return output::fail(TROUBLE, format_args!("tapwright: cannot write to standard output: {error}"));
    }
    if let Some(broken) = broken {
        let what = format!("{}: {broken}", args.read.display());
        return output::fail(NO, Refusal::new(what, "the frames before are explained"));
    }
    match args.frame.filter(|wanted| *wanted > count) {
        Some(wanted) => {
            let what = format!("{} has no frame {wanted}", args.read.display());
            output::fail(NO, Refusal::new(what, format!("it has {count}, counted from 1")))
        }
        None => ExitCode::from(YES),
    }
}

/// The hook at which frames that cross a port are judged.
fn hook(compiled: &Compiled, port: &str) -> Result<HookId, Refusal> {
    let point = compiled.plan.point(port)?;
    compiled.plan.hook_at(point).map(|(hook, _)| hook).ok_or_else(|| {
        let sources: Vec<String> =
            compiled.plan.hooks.iter().map(|hook| compiled.plan.source_name(hook)).collect();
        let help = format!("frames enter at {}", plan::listed(&sources));
        Refusal::new("no frames are judged there", help)
    })
}

/// One frame, as JSON has it.
#[derive(Serialize)]
struct Page<'e> {
    /// From 1.
    frame: u64,
    time: String,
    summary: &'e str,
    #[serde(flatten)]
    explanation: &'e Explanation,
}

/// Explains frame after frame, and prints as it goes.
struct Pages<'a> {
    args: &'a Args,
    compiled: &'a Compiled,
    hook: HookId,
    state: State,
    /// Judges frames that are not explained.
    judge: Judge<'a>,
    /// Theirs, whose storage is used again.
    verdict: Verdict,
    printer: Printer,
    summary: Summary,
    start: Option<Timestamp>,
    /// Frames seen.
    number: u64,
    out: io::BufWriter<io::StdoutLock<'static>>,
    failed: Option<io::Error>,
}

impl<'a> Pages<'a> {
    fn new(args: &'a Args, compiled: &'a Compiled, hook: HookId) -> Self {
        Self {
            args,
            compiled,
            hook,
            state: State::default(),
            judge: Judge::new(&compiled.plan),
            verdict: Verdict { hook, fate: Fate::Left, copies: Vec::new() },
            printer: Printer::new(),
            summary: Summary::default(),
            start: None,
            number: 0,
            out: io::BufWriter::new(io::stdout().lock()),
            failed: None,
        }
    }

    /// Whether to go on.
    fn frame(&mut self, time: Timestamp, frame: &Frame<'_>) -> bool {
        self.number += 1;
        let start = *self.start.get_or_insert(time);
        let now = Time(u64::try_from(time.0 - start.0).unwrap_or_default());
        let one = self.args.frame.is_some();
        let mut line = String::new();
        // A printer remembers what it saw: numbers of a conversation are relative to its first frame.
        self.printer.frame(frame, &mut line).expect("writing to a String cannot fail");
        if self.args.frame.is_some_and(|wanted| wanted != self.number) {
            // Turns, chance and fragments go on from the frames before; why those went where is not asked.
            let verdict = &mut self.verdict;
            self.judge.judge_into(&mut self.state, now, SEED, frame, verdict);
            return true;
        }
        let explanation = explain(self.compiled, &mut self.state, (now, SEED), self.hook, frame, one);
        self.summary.add(&explanation);
        let mut at = String::new();
        time_of_day(time, false, &mut at).expect("writing to a String cannot fail");
        let written = match self.args.json {
            true => self.json(&at, &line, &explanation),
            false => writeln!(self.out, "frame {}  {at} {line}\n{explanation}", self.number),
        };
        self.failed = written.err();
        self.failed.is_none() && !one
    }

    fn json(&mut self, time: &str, summary: &str, explanation: &Explanation) -> io::Result<()> {
        let separator = if self.summary.frames() == 1 { "{\"frames\": [\n" } else { ",\n" };
        self.out.write_all(separator.as_bytes())?;
        let page = Page { frame: self.number, time: time.to_owned(), summary, explanation };
        serde_json::to_writer(&mut self.out, &page).map_err(io::Error::from)
    }

    /// The table at the end.
    fn finish(mut self) -> io::Result<()> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.args.json {
            if self.summary.frames() == 0 {
                self.out.write_all(b"{\"frames\": [")?;
            }
            self.out.write_all(b"],\n\"rules\": ")?;
            serde_json::to_writer(&mut self.out, self.summary.rules())?;
            writeln!(self.out, ",\n\"undecided\": {}}}", self.summary.undecided())?;
        } else if self.args.frame.is_none() {
            let mut table = String::new();
            write!(table, "{}", self.summary).expect("writing to a String cannot fail");
            self.out.write_all(table.as_bytes())?;
        }
        self.out.flush()
    }
}
