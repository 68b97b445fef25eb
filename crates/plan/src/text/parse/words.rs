//! The words of a line, one after the other.

use std::borrow::Cow;
use std::ops::Range;

use crate::problem::shown;

/// A word of a line.
#[derive(Clone, Debug)]
pub(super) struct Word<'t> {
    /// What it says, without quotes and escapes.
    pub(super) text: Cow<'t, str>,
    /// It stood in quotes.
    pub(super) quoted: bool,
    /// What followed the closing quote without a blank (`"a file":1:1`).
    pub(super) tail: &'t str,
    pub(super) span: Range<usize>,
}

/// What was wrong, and what to do. The parser goes on with the next line.
pub(super) struct Flaw {
    pub(super) span: Range<usize>,
    pub(super) what: String,
    pub(super) help: String,
}

pub(super) type Parsed<T> = Result<T, Flaw>;

pub(super) fn flaw<T>(span: &Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Parsed<T> {
    Err(Flaw { span: span.clone(), what: what.into(), help: help.into() })
}

/// The words of a line that are not read yet.
pub(super) struct Words<'t> {
    line: &'t str,
    /// Octets of the line that are read.
    at: usize,
    /// Where the line begins in the text.
    start: usize,
    /// Where the last word that was read ends in the text.
    end: usize,
}

impl<'t> Words<'t> {
    /// The words of a line that begins at octet `start` of the text.
    pub(super) fn new(line: &'t str, start: usize) -> Self {
        let line = line.trim_end();
        Self { line, at: 0, start, end: start }
    }

    /// The next word; none at the end of the line.
    pub(super) fn maybe(&mut self) -> Parsed<Option<Word<'t>>> {
        let rest = &self.line[self.at..];
        let Some(skip) = rest.find(|c: char| !c.is_whitespace()) else { return Ok(None) };
        let rest = &rest[skip..];
        let from = self.start + self.at + skip;
        let (text, length) = match rest.strip_prefix('"') {
            Some(inner) => {
                let (text, length) = unquote(inner, from)?;
                (Some(text), length + 1)
            }
            None => (None, 0),
        };
        let tail = &rest[length..];
        let tail = &tail[..tail.find(char::is_whitespace).unwrap_or(tail.len())];
        let span = from..from + length + tail.len();
        if text.is_some() && !tail.is_empty() && !tail.starts_with(':') {
            return flaw(&span, "a blank is missing after the quotes", "add it");
        }
        self.at = span.end - self.start;
        self.end = span.end;
        Ok(Some(match text {
            Some(text) => Word { text: Cow::Owned(text), quoted: true, tail, span },
            None => Word { text: Cow::Borrowed(tail), quoted: false, tail: "", span },
        }))
    }

    /// The next word, which is `what`.
    pub(super) fn next(&mut self, what: &str) -> Parsed<Word<'t>> {
        match self.maybe()? {
            Some(word) => Ok(word),
            None => {
                let what = format!("the line ends where {what} should stand");
                flaw(&(self.end..self.end), what, "add it")
            }
        }
    }

    /// Nothing may follow.
    pub(super) fn done(&mut self) -> Parsed<()> {
        match self.maybe()? {
            None => Ok(()),
            Some(word) => {
                flaw(&word.span, format!("{} is too much", shown(&word.text)), "end the line before it")
            }
        }
    }

    /// All of the line that is not read, and where it stands in the text.
    pub(super) fn rest(&mut self) -> (&'t str, usize) {
        let (rest, start) = (&self.line[self.at..], self.start + self.at);
        self.at = self.line.len();
        let text = rest.trim_start();
        (text.trim_end(), start + rest.len() - text.len())
    }
}

/// What stands before the closing quote, and how many octets it takes with that quote.
fn unquote(inner: &str, at: usize) -> Parsed<(String, usize)> {
    let span = at..at + 1;
    let mut out = String::new();
    let mut characters = inner.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((out, index + 1)),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => out.push(escaped),
                Some((index, 'u')) => {
                    let Some((code, digits)) = code_point(&inner[index + 1..]) else { break };
                    out.push(code);
                    // The digits and the brace behind them.
                    characters.by_ref().take_while(|(i, _)| *i < index + 2 + digits).for_each(drop);
                }
                _ => break,
            },
            c => out.push(c),
        }
    }
    flaw(&span, "quotes that do not close, or an escape that is none", "escapes are \\\", \\\\ and \\u{7}")
}

/// The character of `{20}`, and how many digits stand there.
fn code_point(text: &str) -> Option<(char, usize)> {
    let (digits, _) = text.strip_prefix('{')?.split_once('}')?;
    let fits = (1..=6).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| fits).and_then(char::from_u32)?;
    Some((code, digits.len()))
}

/// A name that [`rules::form::table_name`] wrote.
pub(super) fn table_name(shown: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = shown;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        if character != '\\' {
            name.push(character);
            continue;
        }
        let (code, digits) = code_point(rest.strip_prefix('u')?)?;
        name.push(code);
        rest = &rest[digits + 3..];
    }
    Some(name)
}
