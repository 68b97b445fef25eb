//! Tables of addresses: written in the rule file, or read from files.

use std::fmt::Write;
use std::ops::Range;

use crate::Flaw;
use crate::form::{AddressTable, Entry};

use super::cursor::Cursor;
use super::host::{self, HostItem, Hosts};
use super::print::Quoted;
use super::report::{Report, Stop};
use super::words::shown;
use super::{ENTRIES_MAX, Files};

/// The most octets that a file of addresses may have.
const FILE_MAX: usize = 64 << 20;

/// A table as it was written.
pub(super) struct TableDraft {
    pub name: String,
    pub span: Range<usize>,
    pub table: AddressTable,
    /// Its canonical text.
    pub line: String,
}

const FORM: &str =
    "write `table <name>` and then `const`, `persist`, `counters`, `{ addresses }` or `file \"name\"`";

/// Reads what stands behind `table`. `room`: how many more entries the tables of the file may have.
pub(super) fn table(
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
    files: &Files<'_>,
    room: &mut usize,
) -> Result<TableDraft, Stop> {
    let from = cursor.span();
    let name = host::table_name(cursor, report)?;
    let span = cursor.since(&from);
    let mut flags = [("const", false), ("persist", false), ("counters", false)];
    let mut entries = Vec::new();
    let mut parts = String::new();
    let mut is_list_open = false;
    let mut has_addresses = false;
    while cursor.peek().is_some() {
        let here = cursor.span();
        if let Some((_, set)) = flags.iter_mut().find(|(word, _)| cursor.word() == Some(word)) {
            *set = true;
            cursor.take();
        } else if cursor.eat_word("file") {
            let help = "write the name of the file in quotes";
            let file = cursor.text(report, "the name of a file", help)?.text().unwrap_or_default();
            read_file(file, cursor.since(&here), report, files, &mut entries, room)?;
            parts.push_str(if is_list_open { " }" } else { "" });
            // Writing to a string cannot fail.
            let _ = write!(parts, " file {}", Quoted(file));
            is_list_open = false;
            has_addresses = true;
        } else if cursor.is("{") {
            parts.push_str(if is_list_open { "" } else { " {" });
            is_list_open = true;
            has_addresses = true;
            for entry in inline(cursor, report, room)? {
                let _ = write!(parts, " {}{}", if entry.negated { "!" } else { "" }, entry.network);
                entries.push(entry);
            }
        } else {
            return Err(cursor.expected(report, "a part of a table", FORM));
        }
    }
    parts.push_str(if is_list_open { " }" } else { "" });
    let persists = flags.iter().any(|(word, set)| *set && *word == "persist");
    if !has_addresses && persists {
        let what = "the table stays empty: nothing adds addresses while the tap runs";
        report.advise(span.clone(), what, "write its addresses in `{ }`, or name a file");
    } else if !has_addresses {
        let help = "write its addresses in `{ }`, or name a file: nothing adds any later";
        report.wrong(span.clone(), format!("<{name}> has no addresses"), help);
    }
    let mut line = format!("table <{name}>");
    for (word, _) in flags.iter().filter(|(_, set)| *set) {
        let _ = write!(line, " {word}");
    }
    line.push_str(&parts);
    Ok(TableDraft { table: AddressTable::new(name.clone(), entries), name, span, line })
}

/// Takes addresses in braces. Unlike other lists this may be empty, as in pf.
fn inline(cursor: &mut Cursor<'_>, report: &mut Report<'_>, room: &mut usize) -> Result<Vec<Entry>, Stop> {
    let here = cursor.span();
    if cursor.peek_second().is_some_and(|token| token.is_symbol("}")) {
        cursor.take();
        cursor.take();
        return Ok(Vec::new());
    }
    let mut items: Vec<HostItem> = Vec::new();
    cursor.list(report, &mut |cursor, report| host::host_item(cursor, report, &mut items))?;
    let mut entries = Vec::new();
    for item in items {
        let why = match item.what {
            Hosts::Network(network) => {
                entries.push(Entry { network, negated: item.negated });
                continue;
            }
            Hosts::Any => "`any` in a table",
            Hosts::Range(..) => "a range of addresses in a table",
            Hosts::Table(_) => "a table in a table",
        };
        report.wrong(
            item.span,
            why,
            "tables hold addresses and networks; for all of a family write 0.0.0.0/0 or ::/0",
        );
    }
    let count = entries.len();
    take_room(count, room).map_err(|help| report.wrong(here, too_many(), help))?;
    Ok(entries)
}

fn too_many() -> String {
    format!("more than {ENTRIES_MAX} addresses in tables")
}

fn take_room(count: usize, room: &mut usize) -> Result<(), &'static str> {
    *room = room.checked_sub(count).ok_or("put networks in the place of addresses")?;
    Ok(())
}

/// Reads a file of addresses: separated by spaces or line ends, `#` and `;` begin comments.
fn read_file(
    name: &str,
    span: Range<usize>,
    report: &mut Report<'_>,
    files: &Files<'_>,
    entries: &mut Vec<Entry>,
    room: &mut usize,
) -> Result<(), Stop> {
    if name.is_empty() || name.contains(char::is_control) {
        report.wrong(span, format!("{} names no file", shown(name)), "name a file of addresses, one a line");
        return Ok(());
    }
    let text = match files(name) {
        Ok(text) => text,
        Err(why) => {
            let what = format!("{} cannot be read: {why}", shown(name));
            report.wrong(span, what, "name a file of addresses, one a line");
            return Ok(());
        }
    };
    if text.len() > FILE_MAX {
        let what = format!("{} has more than {FILE_MAX} octets", shown(name));
        return Err(report.wrong(span, what, "put networks in the place of addresses"));
    }
    let mut flaws = Vec::new();
    for (at, word) in words(&text) {
        match entry(word) {
            Some(entry) => {
                take_room(1, room).map_err(|help| report.wrong(span.clone(), too_many(), help))?;
                entries.push(entry);
            }
            None => flaws.push(Flaw::new(
                at..at + word.len(),
                format!("{} is no address", shown(word)),
                "write addresses and networks, with `!` in front of those that are not meant",
            )),
        }
        if flaws.len() > super::REMARKS_MAX {
            break;
        }
    }
    report.elsewhere(name, &text, flaws);
    Ok(())
}

/// The words of a file of addresses and where they begin; `!` belongs to what stands behind it.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n')
        .scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some((start, line))
        })
        .flat_map(|(start, line)| {
            let line = &line[..line.find(['#', ';']).unwrap_or(line.len())];
            let mut at = 0;
            std::iter::from_fn(move || {
                let rest = &line[at..];
                let from = at + rest.find(|c: char| !c.is_whitespace())?;
                let rest = &line[from..];
                let body = rest.strip_prefix('!').map_or(rest, |body| body.trim_start_matches([' ', '\t']));
                let body_at = from + rest.len() - body.len();
                let len = body.find(|c: char| c.is_whitespace() || c == '!').unwrap_or(body.len());
                at = body_at + len;
                // Never stands still: `!` alone was taken.
                Some((start + from, line[from..at].trim_end()))
            })
        })
}

fn entry(word: &str) -> Option<Entry> {
    let (negated, text) = match word.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, word),
    };
    host::network_of(text).map(|network| Entry { network, negated })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_file() {
        let text = "# head\n10.0.0.1 !10.0.0.2; rest\n\n! 10.0.0.3\t::1\n!!\u{a0}x!";
        let found: Vec<&str> = words(text).map(|(_, word)| word).collect();
        assert_eq!(found, ["10.0.0.1", "!10.0.0.2", "! 10.0.0.3", "::1", "!", "!", "x", "!"]);
        for (at, word) in words(text) {
            assert_eq!(&text[at..at + word.len()], word);
        }
    }
}
