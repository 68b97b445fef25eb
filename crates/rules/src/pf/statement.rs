//! A file to statements: where each ends, what its macros stand for, and who reads it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::cursor::Cursor;
use super::draft::{self, Draft};
use super::expand::{Tables, expand};
use super::lex::{Kind, Token, is_name_character, lex, lex_value};
use super::report::{Refused, Report, Stop};
use super::rule::Action;
use super::words::{begins, is_keyword, nearest, shown, statements, unfit_statement};
use super::{ENTRIES_MAX, EXPANSION_MAX, Files, MACRO_MAX, Macro, Parsed, TEXT_MAX, set, table};

/// What labels and tags may name of their rule; no macro is meant.
const LABEL_WORDS: [&str; 7] = ["if", "srcaddr", "dstaddr", "srcport", "dstport", "proto", "nr"];

/// Reads a rule file.
pub(super) fn parse(file: &str, text: &str, files: &Files<'_>) -> Result<Parsed, Refused> {
    let mut report = Report::new(file, text);
    if text.len() > TEXT_MAX {
        let what = format!("the file has more than {TEXT_MAX} octets");
        report.wrong(0..0, what, "put lists of addresses into tables that are read from files");
        return Err(refused(report));
    }
    let tokens = lex(text, &mut report);
    let mut reader = Reader {
        tokens,
        at: 0,
        values: BTreeMap::new(),
        macros: Vec::new(),
        expanded: 0,
        drafts: Vec::new(),
        tables: Tables::new(),
        ordered: Vec::new(),
        table_lines: Vec::new(),
        room: ENTRIES_MAX,
    };
    while let Some(statement) = reader.statement(&mut report) {
        // What was wrong is in the report, and the next statement is read.
        let _ = statement.and_then(|tokens| reader.read(tokens, files, &mut report));
    }
    let mut rules = Vec::new();
    for draft in &reader.drafts {
        let _ = expand(draft, &reader.tables, &mut rules, &mut report);
    }
    let mut tags: Vec<String> = Vec::new();
    let named = rules.iter().flat_map(|rule| rule.tag.iter().chain(rule.tagged.as_ref().map(|(tag, _)| tag)));
    let mut known = std::collections::BTreeSet::new();
    for tag in named {
        if known.insert(tag.as_str()) {
            tags.push(tag.clone());
        }
    }
    advise_tags(&reader.drafts, &rules, &mut report);
    let advice = report.finish()?;
    let Reader { macros, ordered, table_lines, .. } = reader;
    Ok(Parsed { rules, tables: ordered, tags, advice, macros, table_lines })
}

fn refused(report: Report<'_>) -> Refused {
    report.finish().err().unwrap_or(Refused { list: Vec::new(), more: 0 })
}

/// A tag that is asked for and that no rule sets is a typo more often than not.
fn advise_tags(drafts: &[Draft], rules: &[super::Rule], report: &mut Report<'_>) {
    let set: std::collections::BTreeSet<&str> = rules.iter().filter_map(|rule| rule.tag.as_deref()).collect();
    for (tag, _, span) in drafts.iter().filter_map(|draft| draft.tagged.as_ref()) {
        if !tag.contains('$') && !set.contains(tag.as_str()) {
            let help = match nearest(tag, set.iter().copied()) {
                Some(meant) => format!("is {} meant?", shown(meant)),
                None => format!("write `tag {tag}` into a rule before this one"),
            };
            report.advise(span.clone(), &format!("no rule sets the tag {}", shown(tag)), &help);
        }
    }
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    values: BTreeMap<String, String>,
    macros: Vec<Macro>,
    /// Octets that macros were replaced by.
    expanded: usize,
    drafts: Vec<Draft>,
    tables: Tables,
    ordered: Vec<Arc<crate::form::AddressTable>>,
    table_lines: Vec<String>,
    /// How many more entries the tables may have.
    room: usize,
}

impl Reader {
    /// Takes the tokens of the next statement, without the ends of lines.
    fn statement(&mut self, report: &mut Report<'_>) -> Option<Result<Vec<Token>, Stop>> {
        while matches!(self.tokens.get(self.at)?.kind, Kind::Newline { .. }) {
            self.at += 1;
        }
        let first = &self.tokens[self.at];
        // The rules inside of an anchor are skipped with it.
        let has_body = first.word().is_some_and(|word| word.ends_with("anchor"));
        let mut statement = Vec::new();
        let mut open: Vec<Range<usize>> = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match &token.kind {
                Kind::Newline { indented } => {
                    let goes_on = match open.is_empty() {
                        true => *indented && self.goes_on(),
                        false => has_body || *indented || self.goes_on(),
                    };
                    if !goes_on {
                        break;
                    }
                    continue;
                }
                Kind::Symbol("{") => open.push(token.span.clone()),
                Kind::Symbol("}") => {
                    open.pop();
                }
                _ => {}
            }
            statement.push(token.clone());
        }
        match open.pop() {
            Some(span) => Some(Err(report.wrong(span, "the list is not closed", "put a `}` at its end"))),
            None => Some(Ok(statement)),
        }
    }

    /// Whether the line that begins here cannot begin a statement.
    fn goes_on(&self) -> bool {
        let (Some(first), second) = (self.tokens.get(self.at), self.tokens.get(self.at + 1)) else {
            return false;
        };
        let next = second.and_then(|token| match &token.kind {
            Kind::Symbol(symbol) => Some(*symbol),
            Kind::Word(word) => Some(word),
            _ => None,
        });
        match &first.kind {
            Kind::Newline { .. } => false,
            Kind::Word(word) => !begins(word, next) && (next != Some("=") || is_keyword(word)),
            Kind::Macro(name) => {
                let value = self.values.get(name).map_or("", |value| value);
                let mut words = value.split_whitespace();
                !words.next().is_some_and(|word| begins(word, words.next().or(next)))
            }
            _ => true,
        }
    }

    fn read(&mut self, tokens: Vec<Token>, files: &Files<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
        if tokens.iter().any(|token| token.kind == Kind::Odd) {
            return Err(Stop);
        }
        if let [name, equals, value @ ..] = &tokens[..] {
            let is_name = name.word().is_some_and(|word| !is_keyword(word));
            if equals.is_symbol("=") && (is_name || name.word().is_none()) {
                return self.define(name, value, report);
            }
        }
        if let [name, equals, ..] = &tokens[..]
            && equals.is_symbol("=")
            && name.word().is_some()
        {
            let what = format!("{} cannot name a macro", name.shown());
            let help = "choose another name: the word means something to pf";
            return Err(report.wrong(name.span.clone(), what, help));
        }
        let tokens = self.replaced(tokens, report)?;
        let mut cursor = Cursor::new(&tokens);
        let Some(first) = cursor.take() else { return Ok(()) };
        let action = match first.word() {
            Some("pass") => Action::Pass,
            Some("block") => Action::Block,
            Some("match") => Action::Match,
            Some("set") => return set::set(&mut cursor, report),
            Some("table") => return self.table(&mut cursor, files, report),
            _ => return Err(no_statement(first, &cursor, report)),
        };
        let draft = draft::rule(action, first.span.clone(), &mut cursor, report)?;
        if !draft.is_bad {
            self.drafts.push(draft);
        }
        Ok(())
    }

    fn table(
        &mut self,
        cursor: &mut Cursor<'_>,
        files: &Files<'_>,
        report: &mut Report<'_>,
    ) -> Result<(), Stop> {
        let draft = table::table(cursor, report, files, &mut self.room)?;
        let table = Arc::new(draft.table);
        if self.tables.insert(draft.name.clone(), Arc::clone(&table)).is_some() {
            let what = format!("there are two tables <{}>", draft.name);
            return Err(report.wrong(draft.span, what, "put their addresses into one"));
        }
        self.ordered.push(table);
        self.table_lines.push(draft.line);
        Ok(())
    }

    /// `name = value`.
    fn define(&mut self, name: &Token, value: &[Token], report: &mut Report<'_>) -> Result<(), Stop> {
        const HELP: &str = "write the value in quotes, as in name = \"{ 80, 443 }\"";
        let text = name.text().unwrap_or_default();
        if text.is_empty() || !text.chars().all(is_name_character) || name.word().is_none() {
            let what = format!("{} names no macro", name.shown());
            report.wrong(name.span.clone(), what, "write letters, digits and `_`");
            return Err(Stop);
        }
        if value.is_empty() {
            let end = name.span.end;
            return Err(report.wrong(name.span.start..end, format!("{} has no value", shown(text)), HELP));
        }
        let mut parts = Vec::new();
        for part in value {
            match &part.kind {
                Kind::Word(text) => parts.push(text.clone()),
                Kind::Quoted(text) => parts.push(self.filled(text, &part.span, report)?),
                Kind::Macro(name) => parts.push(self.value(name, &part.span, report)?.to_owned()),
                _ => {
                    let what = format!("{} in a value without quotes", part.shown());
                    return Err(report.wrong(part.span.clone(), what, HELP));
                }
            }
            let size: usize = parts.iter().map(|part| part.len() + 1).sum();
            if size > MACRO_MAX {
                let what = format!("the value of {} has more than {MACRO_MAX} octets", shown(text));
                return Err(report.wrong(part.span.clone(), what, "put lists of addresses into tables"));
            }
        }
        let end = value.last().map_or(name.span.end, |part| part.span.end);
        let value = parts.join(" ");
        if value.ends_with('\\') || value.contains('#') {
            let what = format!("the value of {} holds a comment or ends with a backslash", shown(text));
            return Err(report.wrong(name.span.start..end, what, "take it out of the value"));
        }
        self.values.insert(text.to_owned(), value.clone());
        self.macros.push(Macro { name: text.to_owned(), value, span: name.span.start..end });
        Ok(())
    }

    /// What a macro stands for.
    fn value(&self, name: &str, span: &Range<usize>, report: &mut Report<'_>) -> Result<&str, Stop> {
        if let Some(value) = self.values.get(name) {
            return Ok(value);
        }
        let help = match nearest(name, self.values.keys().map(String::as_str)) {
            Some(known) => format!("is `${known}` meant?"),
            None => format!("write `{name} = \"...\"` before this line"),
        };
        Err(report.wrong(
            span.clone(),
            format!("the macro {} is not defined", shown(&format!("${name}"))),
            help,
        ))
    }

    /// The text of quotes with the macros in it replaced.
    fn filled(&self, text: &str, span: &Range<usize>, report: &mut Report<'_>) -> Result<String, Stop> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            out.push_str(before);
            let name = &behind[..behind.find(|c| !is_name_character(c)).unwrap_or(behind.len())];
            rest = &behind[name.len()..];
            match self.values.get(name) {
                Some(value) => out.push_str(value),
                None if LABEL_WORDS.contains(&name) || name.is_empty() => {
                    out.push('$');
                    out.push_str(name);
                }
                None => {
                    self.value(name, span, report)?;
                }
            }
            if out.len() > MACRO_MAX {
                let what = format!("a value of more than {MACRO_MAX} octets");
                return Err(report.wrong(span.clone(), what, "put lists of addresses into tables"));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Tokens with what the macros among them stand for.
    fn replaced(&mut self, tokens: Vec<Token>, report: &mut Report<'_>) -> Result<Vec<Token>, Stop> {
        if !tokens.iter().any(|token| matches!(token.kind, Kind::Macro(_))) {
            return Ok(tokens);
        }
        let mut out = Vec::with_capacity(tokens.len());
        let mut result = Ok(());
        for token in tokens {
            let Kind::Macro(name) = &token.kind else {
                out.push(token);
                continue;
            };
            match self.value(name, &token.span, report) {
                Ok(value) => {
                    let (value, size) = (lex_value(value, &token.span, report), value.len());
                    self.expanded += size;
                    if self.expanded > EXPANSION_MAX {
                        let what =
                            format!("the macros of the file stand for more than {EXPANSION_MAX} octets");
                        return Err(report.wrong(token.span, what, "put lists of addresses into tables"));
                    }
                    out.extend(value);
                }
                Err(Stop) => result = Err(Stop),
            }
        }
        if out.iter().any(|token| token.kind == Kind::Odd) {
            return Err(Stop);
        }
        let is_whole = out.iter().all(|token| !matches!(token.kind, Kind::Macro(_) | Kind::Newline { .. }));
        if let Some(token) = out.iter().find(|_| !is_whole) {
            let help = "a value may hold `$` only in labels; use a macro that is defined before it";
            return Err(report.wrong(
                token.span.clone(),
                "a macro stands for another that is not defined",
                help,
            ));
        }
        result.map(|()| out)
    }
}

/// Notes that a statement begins with something that begins none.
fn no_statement(first: &Token, cursor: &Cursor<'_>, report: &mut Report<'_>) -> Stop {
    let Some(word) = first.word() else {
        let what = format!("{} begins no statement", first.shown());
        return report.wrong(
            first.span.clone(),
            what,
            "write `pass`, `block`, `match`, `table`, or `name = \"value\"`",
        );
    };
    let unfit = match word {
        "no" => cursor.word().and_then(unfit_statement),
        _ => unfit_statement(word),
    };
    if let Some(unfit) = unfit {
        let shown = if word == "no" { format!("no {}", unfit.word) } else { word.to_owned() };
        return report.wrong(first.span.clone(), format!("`{shown}`: {}", unfit.why), unfit.help);
    }
    let help = match nearest(word, statements()) {
        Some(meant) => format!("is `{meant}` meant?"),
        None => "write `pass`, `block`, `match`, `table`, or `name = \"value\"`".to_owned(),
    };
    report.wrong(first.span.clone(), format!("{} begins no statement", shown(word)), help)
}
