//! `dup-to` and what stands behind it: one target or a pool of them.

use std::net::IpAddr;
use std::ops::Range;

use super::cursor::Cursor;
use super::lex::Token;
use super::report::{Report, Stop};
use super::rule::{Family, Pool, PoolMethod, Target};
use super::words::{is_keyword, shown};

const FORM: &str = "write `dup-to (interface address)` or `dup-to interface`";
const BARE: &str = "an address alone names no monitor port: newer versions of pf look the interface up \
    in the routing table, and a tap has none";
/// The most targets that a pool may have.
const TARGETS_MAX: usize = 64;

/// Takes what stands behind `dup-to`.
pub(super) fn pool(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<Option<Pool>, Stop> {
    let from = cursor.span();
    let mut targets = Vec::new();
    let mut is_sound = true;
    cursor.list(report, &mut |cursor, report| {
        match target(cursor, report)? {
            Some(target) => targets.push(target),
            None => is_sound = false,
        }
        if cursor.word() == Some("weight") {
            unfit_option("weight", cursor, report);
        }
        Ok(())
    })?;
    if targets.len() > TARGETS_MAX {
        let what = format!("a pool of {} targets", targets.len());
        report.wrong(cursor.since(&from), what, format!("name {TARGETS_MAX} at most"));
        is_sound = false;
    }
    for (at, target) in targets.iter().enumerate() {
        if targets[..at].iter().any(|other| other.interface == target.interface) {
            let what = format!("{} stands in the pool twice", shown(&target.interface));
            report.wrong(
                target.span.clone(),
                what,
                "name each interface once: all of them get the same share",
            );
            is_sound = false;
        }
    }
    let (method, sticky) = pool_options(cursor, report)?;
    if targets.is_empty() || !is_sound {
        return Ok(None);
    }
    let method = match method {
        _ if targets.len() == 1 => PoolMethod::Single,
        Some(method) => method,
        None => PoolMethod::RoundRobin,
    };
    if sticky && targets.len() > 1 && matches!(method, PoolMethod::RoundRobin | PoolMethod::Random) {
        report.advise(
            cursor.since(&from),
            "`sticky-address` chooses by a hash of the source: a source always goes to the same target",
            "nothing need be done: no table of sources fills up, and which target it is stays the same \
             after a restart",
        );
    }
    let sticky = sticky && method != PoolMethod::Single;
    Ok(Some(Pool { method, sticky, targets }))
}

/// Takes the options of a pool: the method, and whether sources stick.
fn pool_options(
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<(Option<PoolMethod>, bool), Stop> {
    let mut method: Option<PoolMethod> = None;
    let mut sticky = false;
    while let Some(word) = cursor.word() {
        let span = cursor.span();
        let this = match word {
            "round-robin" => PoolMethod::RoundRobin,
            "random" => PoolMethod::Random,
            "source-hash" => PoolMethod::SourceHash(None),
            "sticky-address" => {
                cursor.take();
                if sticky {
                    report.wrong(span, "`sticky-address` stands there twice", "take one away");
                }
                sticky = true;
                continue;
            }
            "bitmask" | "least-states" | "static-port" | "weight" => {
                unfit_option(word, cursor, report);
                continue;
            }
            _ => break,
        };
        cursor.take();
        if method.is_some() {
            report.wrong(
                span.clone(),
                "the pool has two methods",
                "write one of `round-robin`, `random` and `source-hash`",
            );
        }
        method = Some(match this {
            PoolMethod::SourceHash(_) => PoolMethod::SourceHash(hash_key(cursor, report)),
            other => other,
        });
    }
    Ok((method, sticky))
}

/// Takes an option of pools that a tap cannot honour.
fn unfit_option(word: &str, cursor: &mut Cursor<'_>, report: &mut Report<'_>) {
    let span = cursor.span();
    cursor.take();
    let (why, help) = match word {
        "bitmask" => {
            ("the targets are interfaces, and have no network to put a mask on", "write `source-hash`")
        }
        "least-states" => ("a tap keeps no state that could be counted", "write `round-robin`"),
        "static-port" => ("a tap translates no ports", "take it out"),
        _ => {
            cursor.take();
            ("the targets of a pool get equal shares", "write a `[[device.copy]]` with `balance` and weights")
        }
    };
    report.wrong(span, format!("{}: {why}", shown(word)), help);
}

/// Takes the key behind `source-hash`, if one is there.
fn hash_key(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Option<String> {
    const HEX: usize = 34;
    let token = cursor.peek()?;
    let key = token.text()?;
    if token.word().is_some_and(is_keyword) {
        return None;
    }
    cursor.take();
    let span = token.span.clone();
    let is_hex = |digits: &str| key.len() == HEX && digits.chars().all(|c| c.is_ascii_hexdigit());
    if key.strip_prefix("0x").is_some_and(|digits| !is_hex(digits)) {
        let help = "write 0x and 32 hexadecimal digits, or a word";
        report.wrong(span, format!("{} is no key", shown(key)), help);
        return None;
    }
    report.advise(
        span,
        "the key of `source-hash` changes nothing: every source has its target by a hash that is the \
         same on every tap",
        "leave the key out",
    );
    Some(key.to_owned())
}

/// Takes one target; `None` where it was no target and that was reported.
fn target(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<Option<Target>, Stop> {
    let from = cursor.span();
    if cursor.is("<") {
        super::host::table_name(cursor, report)?;
        let what = "a table holds addresses, and they name no monitor ports";
        report.wrong(cursor.since(&from), what, FORM);
        return Ok(None);
    }
    if !cursor.eat("(") {
        return short_form(cursor, report);
    }
    let token = cursor.text(report, "the name of an interface", FORM)?;
    let interface = name(token, report);
    if cursor.eat(")") {
        if let Some(name) = interface {
            let what = format!("{} without an address", shown(&format!("({name})")));
            report.wrong(
                cursor.since(&from),
                what,
                format!("write `dup-to {name}`, or `dup-to ({name} address)`"),
            );
        }
        return Ok(None);
    }
    let Some((network, span)) = super::host::network(cursor, report)? else {
        cursor.expect(")", report, FORM)?;
        return Ok(None);
    };
    cursor.expect(")", report, FORM)?;
    let address = network.address();
    let whole = if address.is_ipv4() { 32 } else { 128 };
    if network.prefix_len() != whole {
        report.wrong(
            span,
            "a network is no next hop",
            "write one address, or leave it out: a tap does not need it",
        );
        return Ok(None);
    }
    let span = cursor.since(&from);
    Ok(interface.map(|interface| Target { interface, address: Some(address), span }))
}

/// `name`, `name:address` or `address@name`; and an address alone, which is refused.
fn short_form(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<Option<Target>, Stop> {
    let token = cursor.text(report, "the target of `dup-to`", FORM)?;
    let text = token.text().unwrap_or_default();
    let span = token.span.clone();
    if text.parse::<IpAddr>().is_ok() {
        if cursor.eat("/") {
            cursor.take();
        }
        let help = format!("write `dup-to (interface {text})`");
        report.wrong(span, format!("`dup-to {text}`: {BARE}"), help);
        return Ok(None);
    }
    let pair = text.split_once(':').or_else(|| text.split_once('@').map(|(address, name)| (name, address)));
    if let (Some((interface, address)), Some(_)) = (pair, token.word()) {
        let Ok(address) = address.parse() else {
            let what = format!("{} is no address", shown(address));
            report.wrong(
                span,
                what,
                "write `interface:address`, or put a name with such characters in quotes",
            );
            return Ok(None);
        };
        if interface.is_empty() {
            report.wrong(span, "the name of the interface is missing", FORM);
            return Ok(None);
        }
        return Ok(Some(Target { interface: interface.to_owned(), address: Some(address), span }));
    }
    Ok(name(token, report).map(|interface| Target { interface, address: None, span }))
}

/// A name of an interface or a port.
pub(super) fn name(token: &Token, report: &mut Report<'_>) -> Option<String> {
    const LONGEST: usize = 255;
    let text = token.text().unwrap_or_default();
    if token.word().is_some_and(is_keyword) {
        let what = format!("{} where the name of an interface should stand", shown(text));
        report.wrong(token.span.clone(), what, "put the name in quotes if that is its name");
        return None;
    }
    if text.is_empty()
        || text.len() > LONGEST
        || text.contains(['"', '\\'])
        || text.contains(char::is_control)
    {
        let what = format!("{} is no name of an interface", shown(text));
        report.wrong(token.span.clone(), what, "name a port of the config or an interface");
        return None;
    }
    Some(text.to_owned())
}

impl Pool {
    /// The families of the targets that have addresses, where all have the same.
    pub(super) fn family(&self) -> Option<Family> {
        let mut families = self.targets.iter().map(|target| target.address.map(Family::of));
        let first = families.next()??;
        families.all(|family| family == Some(first)).then_some(first)
    }

    /// The family of the first target that has one.
    pub(super) fn first_family(&self) -> Option<Family> {
        self.targets.iter().find_map(|target| target.address).map(Family::of)
    }

    /// Octets of the rule file that name the targets.
    pub(super) fn span(&self) -> Range<usize> {
        let start = self.targets.first().map_or(0, |target| target.span.start);
        start..self.targets.last().map_or(start, |target| target.span.end.max(start))
    }
}
