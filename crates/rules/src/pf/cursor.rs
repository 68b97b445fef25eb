//! Walks over the tokens of one statement.

use std::ops::Range;

use super::DEPTH_MAX;
use super::lex::Token;
use super::report::{Report, Stop};

/// The rest of a statement.
pub(super) struct Cursor<'s> {
    tokens: &'s [Token],
    at: usize,
    end: usize,
}

impl<'s> Cursor<'s> {
    /// A statement. There is at least one token.
    pub(super) fn new(tokens: &'s [Token]) -> Self {
        Self { tokens, at: 0, end: tokens.last().map_or(0, |token| token.span.end) }
    }

    /// What comes next.
    pub(super) fn peek(&self) -> Option<&'s Token> {
        self.tokens.get(self.at)
    }

    /// What comes behind that.
    pub(super) fn peek_second(&self) -> Option<&'s Token> {
        self.tokens.get(self.at + 1)
    }

    /// Takes what comes next.
    pub(super) fn take(&mut self) -> Option<&'s Token> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// What comes next, where it is a word without quotes.
    pub(super) fn word(&self) -> Option<&'s str> {
        self.peek().and_then(Token::word)
    }

    /// Whether this symbol comes next.
    pub(super) fn is(&self, symbol: &str) -> bool {
        self.peek().is_some_and(|token| token.is_symbol(symbol))
    }

    /// Takes this symbol, if it comes next.
    pub(super) fn eat(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    /// Takes this word, if it comes next.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.word() == Some(word);
        self.at += usize::from(found);
        found
    }

    /// Where what comes next stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.peek().map_or(self.end..self.end, |token| token.span.clone())
    }

    /// From a place to what was taken last.
    pub(super) fn since(&self, from: &Range<usize>) -> Range<usize> {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        from.start..last.map_or(from.end, |token| token.span.end.max(from.end))
    }

    /// What comes next, as a message shows it.
    pub(super) fn shown(&self) -> String {
        self.peek().map_or_else(|| "the end of the statement".to_owned(), Token::shown)
    }

    /// Notes that something else was expected here.
    pub(super) fn expected(&self, report: &mut Report<'_>, what: &str, help: &str) -> Stop {
        report.wrong(self.span(), format!("{} where {what} should stand", self.shown()), help)
    }

    /// Takes a word or quotes.
    pub(super) fn text(
        &mut self,
        report: &mut Report<'_>,
        what: &str,
        help: &str,
    ) -> Result<&'s Token, Stop> {
        match self.peek() {
            Some(token) if token.text().is_some() => {
                self.at += 1;
                Ok(token)
            }
            _ => Err(self.expected(report, what, help)),
        }
    }

    /// Takes this symbol, or notes that it is missing.
    pub(super) fn expect(&mut self, symbol: &str, report: &mut Report<'_>, help: &str) -> Result<(), Stop> {
        match self.eat(symbol) {
            true => Ok(()),
            false => Err(self.expected(report, &format!("`{symbol}`"), help)),
        }
    }

    /// Takes all up to the bracket that closes the one that comes next, if one does.
    pub(super) fn skip_group(&mut self) {
        let mut depth = 0usize;
        while let Some(token) = self.peek() {
            match () {
                () if token.is_symbol("(") || token.is_symbol("{") => depth += 1,
                () if token.is_symbol(")") || token.is_symbol("}") => depth = depth.saturating_sub(1),
                () => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Takes one item, or a list of them in braces, with or without commas; lists may stand in lists.
    pub(super) fn list(
        &mut self,
        report: &mut Report<'_>,
        item: &mut dyn FnMut(&mut Self, &mut Report<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        match self.is("{") {
            true => self.braces(report, item, 1),
            false => item(self, report),
        }
    }

    fn braces(
        &mut self,
        report: &mut Report<'_>,
        item: &mut dyn FnMut(&mut Self, &mut Report<'_>) -> Result<(), Stop>,
        depth: usize,
    ) -> Result<(), Stop> {
        let open = self.span();
        if depth > DEPTH_MAX {
            let what = format!("more than {DEPTH_MAX} lists in one another");
            return Err(report.wrong(open, what, "write it as one list: all of them mean the same"));
        }
        self.at += 1;
        let mut is_empty = true;
        loop {
            match self.peek() {
                None => return Err(report.wrong(open, "the list is not closed", "put a `}` at its end")),
                Some(token) if token.is_symbol("}") => {
                    self.at += 1;
                    if is_empty {
                        report.wrong(open, "the list is empty", "name at least one item, or leave it out");
                    }
                    return Ok(());
                }
                Some(token) if token.is_symbol("{") => self.braces(report, item, depth + 1)?,
                Some(_) => item(self, report)?,
            }
            is_empty = false;
            let comma = self.span();
            if self.eat(",") && (self.is("}") || self.is(",")) {
                report.wrong(comma, "a comma with nothing behind it", "take it out");
                while self.eat(",") {}
            }
        }
    }
}
