//! `set`: options of pf, which say how a firewall works and say little to a tap.

use super::cursor::Cursor;
use super::report::{Report, Stop};
use super::words::{nearest, shown};

enum Meaning {
    /// It is accepted, and this is what it means here.
    Harmless(&'static str),
    /// It is refused: the reason, and what to do.
    Unfit(&'static str, &'static str),
}

use Meaning::{Harmless, Unfit};

const NO_STATE: &str = "a tap keeps no state: every frame is judged by the rules";
const TAKE_OUT: &str = "take the line out";

const SETTINGS: &[(&str, Meaning)] = &[
    ("block-policy", Harmless("a tap sends nothing for a frame that it blocks, whatever the policy")),
    ("debug", Harmless("rules are judged without messages")),
    ("hostid", Harmless(NO_STATE)),
    ("keepcounters", Harmless("counters outlive a change of the rules anyway")),
    ("limit", Harmless("a tap has no tables of states and fragments that could fill up")),
    ("loginterface", Harmless("every port is counted in the ledger")),
    ("optimization", Harmless(NO_STATE)),
    ("ruleset-optimization", Harmless("rules are compiled, and their order and counts stay as written")),
    ("state-defaults", Harmless(NO_STATE)),
    ("state-policy", Harmless(NO_STATE)),
    ("timeout", Harmless(NO_STATE)),
    ("reassemble", Harmless("a tap passes fragments as they came; of a datagram only the first has ports")),
    ("fail-policy", Unfit("a tap looks up nothing that could fail", TAKE_OUT)),
    ("fingerprints", Unfit("a tap does not guess the operating system of a host", TAKE_OUT)),
    (
        "require-order",
        Unfit("statements stand in the order that they need, and it is never checked", TAKE_OUT),
    ),
    ("syncookies", Unfit("a tap answers no SYN for a host of the network", TAKE_OUT)),
    ("syncookie", Unfit("a tap answers no SYN for a host of the network", TAKE_OUT)),
    ("ostimeout", Unfit("a tap keeps no state", TAKE_OUT)),
];

/// Reads what stands behind `set`.
pub(super) fn set(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    let token = cursor.text(report, "an option of pf", "name the option, or take the line out")?;
    let name = token.text().unwrap_or_default();
    let span = token.span.clone();
    if name == "skip" {
        return skip(cursor, report);
    }
    let Some((_, meaning)) = SETTINGS.iter().find(|(known, _)| *known == name) else {
        let known = SETTINGS.iter().map(|(known, _)| *known).chain(["skip"]);
        let help = match nearest(name, known) {
            Some(known) => format!("is `set {known}` meant?"),
            None => TAKE_OUT.to_owned(),
        };
        return Err(report.wrong(span, format!("{} is no option of pf", shown(name)), help));
    };
    match meaning {
        Unfit(why, help) => {
            report.wrong(span, format!("`set {name}`: {why}"), *help);
        }
        Harmless(_) if cursor.peek().is_none() => {
            report.wrong(cursor.span(), format!("`set {name}` without a value"), TAKE_OUT);
        }
        Harmless(why) => report.advise(span, &format!("`set {name}` changes nothing: {why}"), "leave it out"),
    }
    Ok(())
}

/// `set skip on`: harmless for the loopback interface, which no tap has for a port.
fn skip(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    if !cursor.eat_word("on") {
        return Err(cursor.expected(report, "`on`", "write `set skip on` and an interface"));
    }
    cursor.list(report, &mut |cursor, report| {
        let token = cursor.text(report, "an interface", "write `set skip on` and an interface")?;
        let name = token.text().unwrap_or_default();
        let is_loopback =
            name.strip_prefix("lo").is_some_and(|rest| rest.bytes().all(|octet| octet.is_ascii_digit()));
        let span = token.span.clone();
        match is_loopback {
            true => report.advise(
                span,
                "`set skip on` the loopback interface changes nothing: rules are tried on frames of \
                 ports only",
                "leave it out",
            ),
            false => {
                let what = format!("{} is skipped, and frames of every port are judged", shown(name));
                let same = format!("write `pass quick on {name}` as the first rule: it means the same here");
                report.wrong(span, what, same);
            }
        }
        Ok(())
    })?;
    match cursor.peek() {
        None => Ok(()),
        Some(_) => Err(cursor.expected(report, "the end of the line", "write one option a line")),
    }
}
