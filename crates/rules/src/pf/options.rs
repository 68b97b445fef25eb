//! What stands behind the addresses of a rule, in any order.

use std::ops::Range;

use super::cursor::Cursor;
use super::draft::{Chance, Draft, IcmpDraft, dup_to, out_of_place, skip_unfit};
use super::host::decimal;
use super::names;
use super::report::{Report, Stop};
use super::rule::{Family, Flags, Icmp};
use super::words::{nearest, shown};

/// The most octets of a label or a tag, as in pf.
const NAME_MAX: usize = 63;

/// Takes all options of a rule.
pub(super) fn options(
    draft: &mut Draft,
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<(), Stop> {
    loop {
        skip_unfit(cursor, report);
        let span = cursor.span();
        if cursor.peek().is_none() {
            return Ok(());
        }
        if cursor.is("!") {
            cursor.take();
            if cursor.word() != Some("tagged") {
                return Err(cursor.expected(report, "`tagged`", "write `! tagged` and a tag"));
            }
            tagged(draft, true, cursor, report)?;
            continue;
        }
        let Some(word) = cursor.word() else { return Err(out_of_place(cursor, report)) };
        let again = match word {
            "flags" => draft.flags.is_some(),
            "icmp-type" | "icmp6-type" => !draft.icmp.is_empty(),
            "tos" => draft.tos.is_some(),
            "label" => draft.label.is_some(),
            "tag" => draft.tag.is_some(),
            "probability" => draft.chance.is_some(),
            "keep" | "modulate" | "synproxy" | "no" => draft.state.is_some(),
            _ => false,
        };
        if again {
            report.wrong(span.clone(), format!("`{word}` stands there twice"), "take one away");
        }
        match word {
            "flags" => flags(draft, cursor, report)?,
            "icmp-type" => icmp(draft, Family::V4, cursor, report)?,
            "icmp6-type" => icmp(draft, Family::V6, cursor, report)?,
            "tos" => tos(draft, cursor, report)?,
            "keep" | "modulate" | "synproxy" | "no" => state(draft, word, cursor, report)?,
            "label" => draft.label = name("label", cursor, report)?,
            "tag" => draft.tag = name("tag", cursor, report)?,
            "tagged" => tagged(draft, false, cursor, report)?,
            "probability" => probability(draft, cursor, report)?,
            "dup-to" => dup_to(draft, cursor, report)?,
            "allow-opts" => {
                cursor.take();
                draft.allow_opts = Some(span.clone());
                report.advise(
                    span,
                    "`allow-opts` changes nothing: packets with IP options match like others",
                    "leave it out",
                );
            }
            _ => return Err(out_of_place(cursor, report)),
        }
    }
}

fn flags(draft: &mut Draft, cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    const HELP: &str =
        "write `flags S/SA`: of the flags behind the slash exactly those before it are set; or `flags any`";
    let from = cursor.span();
    cursor.take();
    if cursor.eat_word("any") {
        return Ok(());
    }
    let set = if cursor.is("/") {
        ""
    } else {
        cursor.text(report, "flags of TCP", HELP)?.text().unwrap_or_default()
    };
    cursor.expect("/", report, HELP)?;
    let of = cursor.text(report, "flags of TCP", HELP)?.text().unwrap_or_default();
    let span = cursor.since(&from);
    let mut octets = [0; 2];
    for (octet, letters) in octets.iter_mut().zip([set, of]) {
        match names::flags(letters) {
            Some(found) => *octet = found,
            None => {
                let what = format!("{} are no flags of TCP", shown(letters));
                report.wrong(
                    span,
                    what,
                    "write letters of FSRPAUEW: FIN, SYN, RST, PUSH, ACK, URG, ECE, CWR",
                );
                return Ok(());
            }
        }
    }
    let [set, of] = octets;
    if set & of != set {
        let lost = names::flag_letters(set & !of);
        let what = format!("the flags never match: {lost} is before the slash and not behind it");
        report.wrong(
            span,
            what,
            format!("write `flags {}/{}`", names::flag_letters(set), names::flag_letters(set | of)),
        );
        return Ok(());
    }
    draft.flags = Some((Flags { set, of }, span));
    Ok(())
}

fn icmp(
    draft: &mut Draft,
    family: Family,
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<(), Stop> {
    let (what, help) = match family {
        Family::V4 => {
            ("a type of ICMP", "write a type such as `echoreq` or a number, and perhaps `code` and a code")
        }
        Family::V6 => (
            "a type of ICMPv6",
            "write a type such as `neighbrsol` or a number, and perhaps `code` and a code",
        ),
    };
    cursor.take();
    cursor.list(report, &mut |cursor, report| {
        let from = cursor.span();
        let token = cursor.text(report, what, help)?;
        let text = token.text().unwrap_or_default();
        let kind = decimal(text).or_else(|| names::icmp_type(family, text));
        if kind.is_none() {
            let help = match nearest(text, names::icmp_types(family)) {
                Some(name) => format!("is `{name}` meant? A number always works"),
                None => help.to_owned(),
            };
            report.wrong(from.clone(), format!("{} is not {what}", shown(text)), help);
        }
        let mut code = None;
        if cursor.eat_word("code") {
            let span = cursor.span();
            let text = cursor.text(report, "a code", help)?.text().unwrap_or_default();
            code = decimal(text).or_else(|| kind.and_then(|kind| names::icmp_code(family, kind, text)));
            if let (None, Some(kind)) = (code, kind) {
                let help = match nearest(text, names::icmp_codes(family, kind)) {
                    Some(name) => format!("is `{name}` meant? A number always works"),
                    None => "write a number from 0 to 255, or a name that belongs to the type".to_owned(),
                };
                report.wrong(span, format!("{} is no code of that type", shown(text)), help);
                return Ok(());
            }
        }
        if let Some(kind) = kind {
            draft.icmp.push(IcmpDraft { icmp: Icmp { kind, code }, family, span: cursor.since(&from) });
        }
        Ok(())
    })
}

fn tos(draft: &mut Draft, cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    const HELP: &str = "write a number up to 255, 0x and two hexadecimal digits, or a name such as \
        `lowdelay`, `ef`, `af11` or `cs1`";
    cursor.take();
    let token = cursor.text(report, "a type of service", HELP)?;
    let text = token.text().unwrap_or_default();
    let hex = text.strip_prefix("0x").filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
    let value = hex
        .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        .or_else(|| decimal(text))
        .or_else(|| names::type_of_service(text));
    if value.is_none() {
        let help = match nearest(text, names::types_of_service()) {
            Some(name) => format!("is `{name}` meant?"),
            None => HELP.to_owned(),
        };
        report.wrong(token.span.clone(), format!("{} is no type of service", shown(text)), help);
    }
    draft.tos = value;
    Ok(())
}

/// A label or a tag; its word was not taken yet.
fn name(
    what: &str,
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<Option<(String, Range<usize>)>, Stop> {
    cursor.take();
    let token = cursor.text(report, &format!("a {what}"), "write a word, or a text in quotes")?;
    let text = token.text().unwrap_or_default();
    let span = token.span.clone();
    if text.is_empty()
        || text.len() > NAME_MAX
        || text.contains(['"', '\\'])
        || text.contains(char::is_control)
    {
        let help = format!("write 1 to {NAME_MAX} octets without quotes and backslashes");
        report.wrong(span, format!("{} is no {what}", shown(text)), help);
        return Ok(None);
    }
    Ok(Some((text.to_owned(), span)))
}

fn tagged(
    draft: &mut Draft,
    negated: bool,
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<(), Stop> {
    let span = cursor.span();
    let found = name("tag", cursor, report)?;
    if draft.tagged.is_some() {
        report.wrong(span, "`tagged` stands there twice", "a frame bears one tag; write two rules");
    }
    draft.tagged = found.map(|(tag, span)| (tag, negated, span));
    Ok(())
}

/// A share of frames: per cent with `%`, else a part of 1.
fn probability(draft: &mut Draft, cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    const HELP: &str = "write a share such as 50%, 0.1% or 0.5, with at most six decimals of a per cent";
    cursor.take();
    let token = cursor.text(report, "a share of frames", HELP)?;
    let text = token.text().unwrap_or_default();
    match millionths(text) {
        Some(0) => {
            let what = format!("a rule with the probability {} matches no frame", shown(text));
            report.wrong(token.span.clone(), what, "take the rule out");
        }
        Some(share) => draft.chance = Some(Chance(part(share))),
        None => {
            report.wrong(token.span.clone(), format!("{} is no probability", shown(text)), HELP);
        }
    }
    Ok(())
}

/// All of them, in millionths of a per cent.
const ALL: u64 = 100_000_000;

/// Millionths of a per cent as a part of 2^32; `None` for all.
fn part(share: u64) -> Option<u32> {
    u32::try_from((share << 32) / ALL).ok()
}

/// A part of 2^32 in millionths of a per cent, rounded; [`part`] gives the part back.
pub(super) fn share_of(part: u32) -> u64 {
    (u64::from(part) * ALL + (1 << 31)) >> 32
}

/// `50%` or `0.5` in millionths of a per cent.
fn millionths(text: &str) -> Option<u64> {
    let (number, decimals) = match text.strip_suffix('%') {
        Some(number) => (number, 6),
        None => (text, 8),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() || fraction.len() > decimals {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { decimal(whole)? };
    let digits: u64 = format!("{fraction:0<decimals$}")
        .parse()
        .ok()
        .filter(|_| fraction.bytes().all(|c| c.is_ascii_digit()))?;
    let unit = 10u64.pow(u32::try_from(decimals).ok()?);
    whole.checked_mul(unit)?.checked_add(digits).filter(|share| *share <= ALL)
}

/// `keep state` and its kin.
fn state(
    draft: &mut Draft,
    word: &str,
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<(), Stop> {
    let from = cursor.span();
    cursor.take();
    if !cursor.eat_word("state") {
        return Err(cursor.expected(report, "`state`", &format!("write `{word} state`")));
    }
    let span = cursor.since(&from);
    if word == "no" {
        return Ok(());
    }
    draft.state = Some(span.clone());
    if cursor.is("(") {
        state_options(cursor, report)?;
    }
    let what = format!("`{word} state` keeps no state: rules are judged frame by frame");
    report.advise(
        span,
        &what,
        "write a rule for each direction: replies to what matches here match only where a rule says so",
    );
    Ok(())
}

fn state_options(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    const HELP: &str = "write options of states as in pf.conf(5), or leave the brackets out";
    const ALONE: [&str; 6] = ["no-sync", "if-bound", "group-bound", "floating", "sloppy", "pflow"];
    const NUMBERED: [&str; 5] =
        ["max", "max-src-states", "max-src-conn", "max-src-conn-rate", "max-src-nodes"];
    const TIMEOUTS: [&str; 8] =
        ["tcp.", "udp.", "icmp.", "other.", "frag", "interval", "adaptive.", "src.track"];
    cursor.expect("(", report, HELP)?;
    loop {
        let Some(word) = cursor.word() else {
            return Err(cursor.expected(report, "an option of a state", HELP));
        };
        if ALONE.contains(&word) {
            cursor.take();
        } else if word == "source-track" {
            cursor.take();
            let _ = cursor.eat_word("rule") || cursor.eat_word("global");
        } else if word == "overload" {
            cursor.take();
            super::host::table_name(cursor, report)?;
            if cursor.eat_word("flush") {
                cursor.eat_word("global");
            }
        } else if NUMBERED.contains(&word) || TIMEOUTS.iter().any(|start| word.starts_with(start)) {
            cursor.take();
            let number = cursor.text(report, "a number", HELP)?;
            if decimal::<u32>(number.text().unwrap_or_default()).is_none() {
                report.wrong(number.span.clone(), format!("{} is no number", number.shown()), HELP);
            }
            if cursor.eat("/") {
                cursor.text(report, "a number", HELP)?;
            }
        } else {
            return Err(cursor.expected(report, "an option of a state", HELP));
        }
        cursor.eat(",");
        if cursor.eat(")") {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back() {
        for share in (1..=ALL).step_by(7919).chain([1, 2, ALL - 1, 50_000_000]) {
            match part(share) {
                Some(part) => assert_eq!(share_of(part), share),
                None => assert_eq!(share, ALL),
            }
        }
    }

    #[test]
    fn shares_as_text() {
        let all = [
            ("50%", 50_000_000),
            ("0.5", 50_000_000),
            (".5%", 500_000),
            ("100%", ALL),
            ("1", ALL),
            ("1.0", ALL),
        ];
        for (text, share) in all {
            assert_eq!(millionths(text), Some(share), "{text}");
        }
        for text in ["", "%", ".", "50", "101%", "-1%", "1e3", "0.0000001%", "5 %", "x", "1.2.3", "+5%"] {
            assert_eq!(millionths(text), None, "{text}");
        }
    }
}
