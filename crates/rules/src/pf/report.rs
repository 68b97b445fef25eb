//! Gathers what is wrong with a rule file, or worth a word, and finds its lines.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::Flaw;

/// The most remarks that one list holds; the rest are counted.
pub const REMARKS_MAX: usize = 200;

/// A flaw and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// The file: the rule file, or one that a table names.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What it is; its span is of that file.
    pub flaw: Flaw,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.flaw.what)?;
        match &self.flaw.help {
            Some(help) => writeln!(f, "help: {help}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a rule file, in order of position. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// At most [`REMARKS_MAX`].
    pub list: Vec<Remark>,
    /// How many more there were.
    pub more: usize,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.iter().try_for_each(|remark| remark.fmt(f))?;
        if self.more > 0 {
            writeln!(f, "{} more problems are not shown", self.more)?;
            writeln!(f, "help: mend those above first")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// Where the lines of a text begin.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(starts).collect() }
    }

    /// Line and column of an octet, from 1.
    pub(super) fn position(&self, offset: usize) -> (u32, u32) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = &self.text.as_bytes()[start..offset];
        let columns = before.iter().filter(|octet| **octet & 0xc0 != 0x80).count();
        (saturate(line), saturate(columns + 1))
    }

    fn remark(&self, file: &str, flaw: Flaw) -> Remark {
        let (line, column) = self.position(flaw.span.start);
        Remark { file: file.to_owned(), line, column, flaw }
    }
}

/// Texts are far below 4 GiB, so that nothing is ever cut here.
fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Something was wrong and is in the report already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stop;

/// What is gathered about one rule file.
pub(super) struct Report<'t> {
    file: &'t str,
    lines: Lines<'t>,
    flaws: Vec<Flaw>,
    more: usize,
    /// Flaws of files that tables name.
    elsewhere: Vec<Remark>,
    /// Advice by what it says: where it is due first, its help, and at how many places it is.
    advice: BTreeMap<String, (Range<usize>, String, usize)>,
    /// Advice for which there was no room.
    unsaid: usize,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            lines: Lines::new(text),
            flaws: Vec::new(),
            more: 0,
            elsewhere: Vec::new(),
            advice: BTreeMap::new(),
            unsaid: 0,
        }
    }

    pub(super) fn lines(&self) -> &Lines<'t> {
        &self.lines
    }

    fn is_full(&self) -> bool {
        self.flaws.len() + self.elsewhere.len() >= REMARKS_MAX
    }

    /// Whether anything was wrong.
    pub(super) fn is_bad(&self) -> bool {
        !self.flaws.is_empty() || !self.elsewhere.is_empty()
    }

    /// Notes a flaw; the same at the same place is noted once.
    pub(super) fn add(&mut self, flaw: Flaw) -> Stop {
        if self.is_full() {
            self.more += 1;
        } else if !self.flaws.contains(&flaw) {
            self.flaws.push(flaw);
        }
        Stop
    }

    /// Notes what is wrong, and what to do.
    pub(super) fn wrong(
        &mut self,
        span: Range<usize>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Stop {
        self.add(Flaw::new(span, what, help))
    }

    /// Notes what is wrong, unless the same was noted of another place.
    pub(super) fn once(&mut self, span: Range<usize>, what: &str, help: &str) -> Stop {
        match self.flaws.iter().any(|flaw| flaw.what == what) {
            true => Stop,
            false => self.wrong(span, what, help),
        }
    }

    /// Notes flaws of another file.
    pub(super) fn elsewhere(&mut self, file: &str, text: &str, flaws: Vec<Flaw>) {
        let lines = Lines::new(text);
        for flaw in flaws {
            match self.is_full() {
                true => self.more += 1,
                false => self.elsewhere.push(lines.remark(file, flaw)),
            }
        }
    }

    /// Notes advice. The same at several places is given once, for the first.
    pub(super) fn advise(&mut self, span: Range<usize>, what: &str, help: &str) {
        if self.advice.len() >= REMARKS_MAX && !self.advice.contains_key(what) {
            self.unsaid += 1;
            return;
        }
        let entry = self.advice.entry(what.to_owned()).or_insert_with(|| (span.clone(), help.to_owned(), 0));
        entry.2 += 1;
        if span.start < entry.0.start {
            entry.0 = span;
        }
    }

    /// All that was wrong, if anything was, else the advice.
    pub(super) fn finish(mut self) -> Result<Vec<Remark>, Refused> {
        if self.is_bad() {
            self.flaws.sort_by_key(|flaw| (flaw.span.start, flaw.span.end));
            let (lines, file) = (&self.lines, self.file);
            let mut list: Vec<Remark> = self.flaws.into_iter().map(|flaw| lines.remark(file, flaw)).collect();
            list.append(&mut self.elsewhere);
            return Err(Refused { list, more: self.more });
        }
        let (lines, file) = (&self.lines, self.file);
        let mut advice: Vec<Remark> = self
            .advice
            .into_iter()
            .map(|(mut what, (span, help, count))| {
                match count - 1 {
                    0 => {}
                    1 => what.push_str(" (here and at one more place)"),
                    more => what.push_str(&format!(" (here and at {more} more places)")),
                }
                lines.remark(file, Flaw::new(span, what, help))
            })
            .collect();
        advice.sort_by_key(|remark| (remark.flaw.span.start, remark.flaw.what.clone()));
        if self.unsaid > 0 {
            let what = format!("{} more pieces of advice are not shown", self.unsaid);
            advice.push(lines.remark(file, Flaw::new(0..0, what, "follow those above first")));
        }
        Ok(advice)
    }
}
