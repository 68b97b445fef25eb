//! Problems in a text that a user wrote: all of them at once, each with its place and a way out.
//!
//! Never prints and never stops at the first problem. What a list leaves out for its length is counted.

pub(crate) use rules::wording::nearest;
pub use rules::wording::shown;
use std::fmt;
use std::ops::Range;

use rules::pf::Remark;

use crate::plan::Origin;

/// The most problems that one list holds; the rest are counted.
pub const PROBLEMS_MAX: usize = 200;

/// One thing that is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file, where it is another than the one that was checked: one that this one names.
    pub file: Option<String>,
    /// Octets of the text that it is about.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: String,
}

/// Everything that is wrong with one text, in order of position, and then with the files that it names.
/// Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems {
    /// The file as the user named it.
    pub file: String,
    /// At most [`PROBLEMS_MAX`].
    pub list: Vec<Problem>,
    /// How many more there were.
    pub more: usize,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Problem { file, line, column, what, help, .. } in &self.list {
            writeln!(f, "{}:{line}:{column}: {what}", file.as_ref().unwrap_or(&self.file))?;
            writeln!(f, "help: {help}")?;
        }
        if self.more > 0 {
            writeln!(f, "{}: {} more problems are not shown", self.file, self.more)?;
            writeln!(f, "help: mend those above first")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One reason not to do what was asked for outside of any text, and a way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl Refusal {
    /// A reason and a way out.
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhelp: {}", self.what, self.help)
    }
}

/// A text and where its lines begin.
pub(crate) struct Lines<'t> {
    text: &'t str,
    /// The first is 0.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(starts).collect() }
    }

    /// Line and column of an octet, from 1. A byte order mark takes no column.
    pub(crate) fn position(&self, offset: usize) -> (u32, u32) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = &self.text.as_bytes()[start..offset];
        let marks = usize::from(start == 0 && before.starts_with("\u{feff}".as_bytes()));
        let characters = before.iter().filter(|octet| **octet & 0xc0 != 0x80).count() - marks;
        (saturate(line), saturate(characters + 1))
    }
}

/// Gathers problems while a text is read.
pub(crate) struct Report<'t> {
    lines: Lines<'t>,
    problems: Vec<Problem>,
    more: usize,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { lines: Lines::new(text), problems: Vec::new(), more: 0 }
    }

    /// What the text has at a place, as far as there is such a place.
    pub(crate) fn raw(&self, span: Range<usize>) -> Option<&'t str> {
        self.lines.text.get(span)
    }

    /// Notes a problem with the octets of `span`.
    pub(crate) fn add(&mut self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        // Places take time to find, and of what is only counted nobody asks for one.
        let place = if self.is_full() { (0, 0) } else { self.position(span.start) };
        self.note(None, span, place, what.into(), help.into());
    }

    /// Notes a problem with the octets of `span` in another file.
    pub(crate) fn add_in(
        &mut self,
        (file, lines): (&str, &Lines<'_>),
        span: Range<usize>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = if self.is_full() { (0, 0) } else { lines.position(span.start) };
        self.note(Some(file), span, place, what.into(), help.into());
    }

    /// Notes what was found wrong with a rule file.
    pub(crate) fn add_remark(&mut self, remark: &Remark) {
        let help = remark.flaw.help.clone().unwrap_or_else(|| "docs/pf.md has the whole language".to_owned());
        let (what, span) = (remark.flaw.what.clone(), remark.flaw.span.clone());
        self.note(Some(&remark.file), span, (remark.line, remark.column), what, help);
    }

    /// Counts problems that were found and not kept.
    pub(crate) fn add_more(&mut self, more: usize) {
        self.more += more;
    }

    fn note(
        &mut self,
        file: Option<&str>,
        span: Range<usize>,
        (line, column): (u32, u32),
        what: String,
        help: String,
    ) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let problem = Problem { file: file.map(str::to_owned), span, line, column, what, help };
        // Deep nesting that breaks off is reported once for each level.
        if self.problems.last() != Some(&problem) {
            self.problems.push(problem);
        }
    }

    /// Whether problems are only counted from here on: no work need be spent on their wording.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() == PROBLEMS_MAX
    }

    /// The known word that is nearest, for the help of a problem that will be shown.
    pub(crate) fn nearest<'k>(
        &self,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Option<&'k str> {
        if self.is_full() { None } else { nearest(word, known) }
    }

    /// Whether nothing was found so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Line and column of an octet, from 1.
    pub(crate) fn position(&self, offset: usize) -> (u32, u32) {
        self.lines.position(offset)
    }

    /// The place of an octet, for people and counters to refer to.
    pub(crate) fn origin(&self, file: &str, offset: usize) -> Origin {
        let (line, column) = self.position(offset);
        Origin { file: file.to_owned(), line, column }
    }

    /// What was gathered, if anything was.
    pub(crate) fn finish(mut self, file: &str) -> Result<(), Problems> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let place = |problem: &Problem| (problem.file.clone(), problem.span.start, problem.span.end);
        self.problems.sort_by_key(place);
        Err(Problems { file: file.to_owned(), list: self.problems, more: self.more })
    }
}

/// Texts are at most a mebibyte, so that nothing is ever cut here.
fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The octets of a file as text, or the problem that they are none.
///
/// # Errors
/// The place of the first octet that is not UTF-8.
pub fn utf8<'t>(file: &str, octets: &'t [u8]) -> Result<&'t str, Problems> {
    let error = match std::str::from_utf8(octets) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let good =
        octets.get(..error.valid_up_to()).and_then(|good| std::str::from_utf8(good).ok()).unwrap_or("");
    let mut report = Report::new(good);
    report.add(good.len()..good.len(), "not UTF-8", "save the file as UTF-8");
    report.finish(file).map(|()| good)
}

/// "a, b and c".
pub fn listed<T: AsRef<str>>(words: &[T]) -> String {
    match words {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", most.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_begin_after_each_newline() {
        let report = Report::new("\u{feff}äb\r\ncd\n");
        assert_eq!(report.position(0), (1, 1));
        assert_eq!(report.position(3), (1, 1));
        assert_eq!(report.position(5), (1, 2));
        assert_eq!(report.position(8), (2, 1));
        assert_eq!(report.position(11), (3, 1));
        assert_eq!(report.position(999), (3, 1));
    }
    #[test]
    fn what_a_list_leaves_out_is_counted_and_echoes_are_not() {
        let mut report = Report::new("x");
        report.add(0..1, "wrong 0", "mend it");
        for number in 0..PROBLEMS_MAX + 3 {
            report.add(0..1, format!("wrong {number}"), "mend it");
        }
        let problems = report.finish("f").unwrap_err();
        assert_eq!((problems.list.len(), problems.more), (PROBLEMS_MAX, 3));
        assert!(
            problems
                .to_string()
                .ends_with("f: 3 more problems are not shown\nhelp: mend those above first\n")
        );
    }

    #[test]
    fn octets_that_are_no_text_are_placed() {
        let problems = utf8("f", b"a\nb\xff").unwrap_err();
        assert_eq!(problems.to_string(), "f:2:2: not UTF-8\nhelp: save the file as UTF-8\n");
        assert_eq!(utf8("f", "ä".as_bytes()), Ok("ä"));
    }
}
