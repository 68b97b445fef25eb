//! What is wrong with a text in one of the rule languages.
//!
//! Never knows lines, columns or files: whoever holds the text makes `file:line:col` of a span.

use std::ops::Range;

/// One thing that is wrong with a text, or worth a word, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// Octets of the text that it is about.
    pub span: Range<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do, where there is something to do.
    pub help: Option<String>,
}

impl Flaw {
    /// A flaw for which there is a way out.
    pub fn new(span: Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span, what: what.into(), help: Some(help.into()) }
    }

    /// A flaw that explains itself.
    pub fn bare(span: Range<usize>, what: impl Into<String>) -> Self {
        Self { span, what: what.into(), help: None }
    }
}
