//! Text to tokens. Macros stay as they are written: what they stand for depends on where they are used.

use std::ops::Range;

use super::MACRO_MAX;
use super::report::Report;
use super::words::shown;

/// A piece of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    /// Octets of the rule file; for what a macro was replaced by, those of the `$name`.
    pub span: Range<usize>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A keyword, a name, a number, an address.
    Word(String),
    /// The same in quotes: never a keyword.
    Quoted(String),
    /// `$name`.
    Macro(String),
    /// Punctuation and operators.
    Symbol(&'static str),
    /// What was no token and is reported already: a statement with it goes no further.
    Odd,
    /// The end of a line. `indented`: the next one begins with a space or a tab.
    Newline { indented: bool },
}

impl Token {
    /// The text of a word or of quotes.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(text) | Kind::Quoted(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a word that is not in quotes.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(&self.kind, Kind::Symbol(this) if *this == symbol)
    }

    /// As a message shows it.
    pub(super) fn shown(&self) -> String {
        match &self.kind {
            Kind::Word(text) => shown(text),
            Kind::Quoted(text) => shown(&format!("\"{text}\"")),
            Kind::Macro(name) => shown(&format!("${name}")),
            Kind::Symbol(symbol) => shown(symbol),
            Kind::Odd => "what stands here".to_owned(),
            Kind::Newline { .. } => "the end of the line".to_owned(),
        }
    }
}

/// Longer symbols before those that they begin with.
const SYMBOLS: [&str; 17] =
    ["!=", "<=", ">=", "<>", "><", "->", "(", ")", "{", "}", "<", ">", "!", "=", "/", ",", "&"];

/// Whether a character may stand in a word that is not in quotes.
pub(super) fn is_word_character(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || character.is_ascii_punctuation() && !"(){}<>!=/#,\"'\\$&".contains(character)
}

/// Whether a character may stand in the name of a macro.
pub(super) fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Tokens of a rule file; what is none is reported and left out.
pub(super) fn lex(text: &str, report: &mut Report<'_>) -> Vec<Token> {
    Lexer { text, at: 0, whole: None, tokens: Vec::new() }.run(report)
}

/// Tokens of what a macro stands for, all of them at the span where it is used.
pub(super) fn lex_value(value: &str, span: &Range<usize>, report: &mut Report<'_>) -> Vec<Token> {
    Lexer { text: value, at: 0, whole: Some(span.clone()), tokens: Vec::new() }.run(report)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// Where all tokens are said to be.
    whole: Option<Range<usize>>,
    tokens: Vec<Token>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn span(&self, from: usize) -> Range<usize> {
        self.whole.clone().unwrap_or(from..self.at)
    }

    fn push(&mut self, kind: Kind, from: usize) {
        let span = self.span(from);
        self.tokens.push(Token { kind, span });
    }

    fn run(mut self, report: &mut Report<'_>) -> Vec<Token> {
        while let Some(character) = self.rest().chars().next() {
            let from = self.at;
            match character {
                '\n' => {
                    self.at += 1;
                    let indented = self.rest().starts_with([' ', '\t']);
                    self.push(Kind::Newline { indented }, from);
                }
                ' ' | '\t' | '\r' => self.at += 1,
                '\u{feff}' if from == 0 => self.at += character.len_utf8(),
                '#' => self.comment(report),
                '"' | '\'' => self.quoted(character, report),
                '\\' => self.backslash(report),
                '$' => {
                    self.at += 1;
                    let name = self.take_while(is_name_character).to_owned();
                    if name.is_empty() {
                        report.wrong(
                            self.span(from),
                            "`$` without a name",
                            "write `$` and the name of a macro",
                        );
                    } else {
                        self.push(Kind::Macro(name), from);
                    }
                }
                _ => self.word_or_symbol(character, report),
            }
        }
        self.tokens
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|character| !wanted(character)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn word_or_symbol(&mut self, character: char, report: &mut Report<'_>) {
        let from = self.at;
        if is_word_character(character) {
            // `->` is an arrow and not the word `-`.
            if !self.rest().starts_with("->") {
                let word = self.take_while(is_word_character).to_owned();
                self.push(Kind::Word(word), from);
                return;
            }
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            self.at += symbol.len();
            self.push(Kind::Symbol(symbol), from);
            return;
        }
        let odd = self.take_while(|c| !is_word_character(c) && !c.is_ascii());
        if odd.is_empty() {
            self.at += character.len_utf8();
        }
        let what = format!("{} cannot stand here", shown(&self.text[from..self.at]));
        report.wrong(self.span(from), what, "put a name with such characters in quotes");
        self.push(Kind::Odd, from);
    }

    /// To the end of the line, or further where the line ends with `\`.
    fn comment(&mut self, report: &mut Report<'_>) {
        let from = self.at;
        loop {
            self.take_while(|c| c != '\n');
            let line = self.text[from..self.at].trim_end_matches('\r');
            if !line.ends_with('\\') || self.rest().is_empty() {
                return;
            }
            let end = from + line.len();
            report.advise(
                self.whole.clone().unwrap_or(end - 1..end),
                "the comment goes on in the next line, which is no rule then",
                "take the `\\` away from the end of the comment if that is not meant",
            );
            self.at += 1;
        }
    }

    fn backslash(&mut self, report: &mut Report<'_>) {
        let from = self.at;
        self.at += 1;
        let behind = self.rest();
        let blank = &behind[..behind.find(|c| !matches!(c, ' ' | '\t' | '\r')).unwrap_or(behind.len())];
        let at_end = behind.len() == blank.len() || behind[blank.len()..].starts_with('\n');
        if at_end && !blank.contains([' ', '\t']) {
            self.at = (self.at + blank.len() + 1).min(self.text.len());
        } else if at_end {
            self.at = (self.at + blank.len() + 1).min(self.text.len());
            let help = "take the space behind it away, so that the next line goes on";
            report.wrong(self.span(from).start..self.span(from).start + 1, "space behind `\\`", help);
        } else {
            let help = "put it at the end of the line, or in quotes";
            report.wrong(self.span(from), "`\\` continues a line, and stands in the middle of one", help);
        }
    }

    fn quoted(&mut self, quote: char, report: &mut Report<'_>) {
        let from = self.at;
        self.at += 1;
        let start = self.at;
        let mut value = String::new();
        let mut is_broken = false;
        loop {
            let mut rest = self.rest().chars();
            let Some(character) = rest.next() else {
                self.at = start;
                self.take_while(|c| c != '\n');
                let help = format!("put a {quote} at its end");
                let span = self.whole.clone().unwrap_or(from..start);
                report.wrong(span, "the quotes are not closed", help);
                self.push(Kind::Odd, from);
                return;
            };
            self.at += character.len_utf8();
            match (character, rest.next()) {
                (c, _) if c == quote => break,
                ('\\', Some(next)) if next == quote || matches!(next, ' ' | '\t') => {
                    self.at += 1;
                    value.push(next);
                }
                ('\\', Some('\n')) => {
                    self.at += 1;
                    value.push(' ');
                }
                ('\n' | '\r', _) => {
                    is_broken = true;
                    value.push(' ');
                }
                _ => value.push(character),
            }
        }
        if is_broken {
            report.advise(
                self.whole.clone().unwrap_or(from..start),
                "the quotes go on over the end of the line",
                "put them on one line, or a `\\` at the end of the line",
            );
        }
        if value.len() > MACRO_MAX {
            let what = format!("quotes around more than {MACRO_MAX} octets");
            report.wrong(self.span(from), what, "make it shorter; long lists of addresses belong in a table");
        } else if let Some(odd) = value.chars().find(|c| c.is_control() && *c != '\t') {
            let what = format!("{} in quotes", shown(&odd.to_string()));
            report.wrong(self.span(from), what, "take the control character out");
        } else {
            self.push(Kind::Quoted(value), from);
        }
    }
}
