//! A rule as it was written, with its lists; and what stands in front of its options.

use std::ops::Range;

use super::cursor::Cursor;
use super::host::{self, HostItem, Hosts};
use super::names;
use super::pool;
use super::report::{Report, Stop};
use super::rule::{Action, Direction, Family, Flags, Icmp, On, Pool, PortMatch};
use super::words::{OPTIONS, nearest, shown, unfit_option};

/// A rule as it was written.
pub(super) struct Draft {
    pub span: Range<usize>,
    pub action: Action,
    pub direction: Option<Direction>,
    pub quick: bool,
    pub on: Vec<On>,
    pub family: Option<Family>,
    pub protocols: Vec<(u8, Range<usize>)>,
    pub source: PeerDraft,
    pub destination: PeerDraft,
    pub flags: Option<(Flags, Range<usize>)>,
    pub icmp: Vec<IcmpDraft>,
    pub tos: Option<u8>,
    pub chance: Option<Chance>,
    pub label: Option<(String, Range<usize>)>,
    pub tag: Option<(String, Range<usize>)>,
    pub tagged: Option<(String, bool, Range<usize>)>,
    pub pool: Option<(Pool, Range<usize>)>,
    /// Where a state is asked for.
    pub state: Option<Range<usize>>,
    /// Where `allow-opts` stands.
    pub allow_opts: Option<Range<usize>>,
    /// Set where something was wrong, so that the rule does not go on.
    pub is_bad: bool,
}

/// A share of frames; `None` inside for all of them.
#[derive(Clone, Copy)]
pub(super) struct Chance(pub Option<u32>);

/// One end with its lists; an empty list stands for any.
#[derive(Default)]
pub(super) struct PeerDraft {
    pub hosts: Vec<HostItem>,
    pub ports: Vec<(PortMatch, Range<usize>)>,
}

/// A type of ICMP as it was written.
pub(super) struct IcmpDraft {
    pub icmp: Icmp,
    pub family: Family,
    pub span: Range<usize>,
}

const ORDER: &str = "a rule is written in this order: pass|block|match, in|out, log, quick, on, dup-to, \
    inet|inet6, proto, from, to, and then the rest";

impl Draft {
    fn new(action: Action, span: Range<usize>) -> Self {
        Self {
            span,
            action,
            direction: None,
            quick: false,
            on: Vec::new(),
            family: None,
            protocols: Vec::new(),
            source: PeerDraft::default(),
            destination: PeerDraft::default(),
            flags: None,
            icmp: Vec::new(),
            tos: None,
            chance: None,
            label: None,
            tag: None,
            tagged: None,
            pool: None,
            state: None,
            allow_opts: None,
            is_bad: false,
        }
    }
}

/// Reads a rule; its first word was taken and is `action`.
pub(super) fn rule(
    action: Action,
    from: Range<usize>,
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<Draft, Stop> {
    let mut draft = Draft::new(action, from.clone());
    if action == Action::Block {
        block_policy(cursor, report)?;
    }
    skip_unfit(cursor, report);
    draft.direction = match () {
        () if cursor.eat_word("in") => Some(Direction::In),
        () if cursor.eat_word("out") => Some(Direction::Out),
        () => None,
    };
    log_and_quick(&mut draft, cursor, report)?;
    skip_unfit(cursor, report);
    if cursor.eat_word("on") {
        interfaces(&mut draft, cursor, report)?;
    }
    skip_unfit(cursor, report);
    if cursor.word() == Some("dup-to") {
        dup_to(&mut draft, cursor, report)?;
        skip_unfit(cursor, report);
    }
    draft.family = match () {
        () if cursor.eat_word("inet") => Some(Family::V4),
        () if cursor.eat_word("inet6") => Some(Family::V6),
        () => None,
    };
    if cursor.eat_word("proto") {
        protocols(&mut draft, cursor, report)?;
    }
    skip_unfit(cursor, report);
    if !cursor.eat_word("all") {
        if cursor.eat_word("from") {
            draft.source = peer(cursor, report)?;
        }
        skip_unfit(cursor, report);
        if cursor.eat_word("to") {
            draft.destination = peer(cursor, report)?;
        }
    }
    super::options::options(&mut draft, cursor, report)?;
    draft.span = cursor.since(&from);
    Ok(draft)
}

/// Notes words that a tap cannot honour, and goes on behind what belongs to them.
pub(super) fn skip_unfit(cursor: &mut Cursor<'_>, report: &mut Report<'_>) {
    const CLAUSES: [&str; 9] = ["in", "out", "on", "proto", "inet", "inet6", "from", "to", "all"];
    while let Some(unfit) = cursor.word().and_then(unfit_option) {
        report.wrong(cursor.span(), format!("`{}`: {}", unfit.word, unfit.why), unfit.help);
        cursor.take();
        // What follows these at once is their own, whatever it means elsewhere.
        if matches!(unfit.word, "set" | "af-to") && cursor.word().is_some() {
            cursor.take();
        }
        while let Some(token) = cursor.peek() {
            let ends = |word: &str| {
                CLAUSES.contains(&word) || OPTIONS.contains(&word) || unfit_option(word).is_some()
            };
            if token.word().is_some_and(ends) && !(unfit.word == "af-to" && token.word() == Some("from"))
                || token.is_symbol("!")
            {
                break;
            }
            cursor.skip_group();
        }
    }
}

/// What stands behind `block`: a tap sends nothing, whatever it is.
fn block_policy(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    let Some(word @ ("drop" | "return" | "return-rst" | "return-icmp" | "return-icmp6")) = cursor.word()
    else {
        return Ok(());
    };
    let span = cursor.span();
    cursor.take();
    if word == "drop" {
        return Ok(());
    }
    if cursor.is("(") {
        if word == "return" {
            return Err(cursor.expected(report, "the rest of the rule", "write `block return`"));
        }
        cursor.skip_group();
    }
    let what =
        format!("`block {word}` blocks like `block drop`: a tap sends no answer for a host of the network");
    report.advise(span, &what, "write `block` or `block drop`");
    Ok(())
}

fn log_and_quick(draft: &mut Draft, cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    let mut is_logged = false;
    loop {
        let span = cursor.span();
        if cursor.eat_word("quick") {
            if draft.quick {
                report.wrong(span, "`quick` stands there twice", "take one away");
            }
            draft.quick = true;
        } else if cursor.eat_word("log") || cursor.eat_word("log-all") {
            if is_logged {
                report.wrong(span.clone(), "`log` stands there twice", "take one away");
            }
            is_logged = true;
            if cursor.is("(") {
                log_options(cursor, report)?;
            }
            let help = "copy them with `dup-to`, or look at the counts of the rule in `tapwright status`";
            report.advise(span, "`log` writes nothing: there is no pflog interface", help);
        } else {
            return Ok(());
        }
    }
}

fn log_options(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    const HELP: &str = "write `log`, or `log (all)`";
    cursor.expect("(", report, HELP)?;
    loop {
        match cursor.word() {
            Some("all" | "user" | "matches") => {
                cursor.take();
            }
            Some("to") => {
                cursor.take();
                cursor.text(report, "an interface", HELP)?;
            }
            _ => return Err(cursor.expected(report, "an option of `log`", HELP)),
        }
        cursor.eat(",");
        if cursor.eat(")") {
            return Ok(());
        }
    }
}

fn interfaces(draft: &mut Draft, cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    const HELP: &str = "name a port of the config or an interface";
    let from = cursor.span();
    let mut on = Vec::new();
    let mut is_any = false;
    let mut negated_count = 0usize;
    cursor.list(report, &mut |cursor, report| {
        let here = cursor.span();
        let negated = cursor.eat("!");
        if matches!(cursor.word(), Some("rdomain")) {
            skip_unfit(cursor, report);
            return Ok(());
        }
        let token = cursor.text(report, "the name of an interface", HELP)?;
        if token.word() == Some("any") {
            if negated {
                report.wrong(cursor.since(&here), "`! any` is no interface at all", "take the rule out");
            }
            is_any = true;
        } else if let Some(interface) = pool::name(token, report) {
            negated_count += usize::from(negated);
            on.push(On { interface, negated });
        }
        Ok(())
    })?;
    if is_any && !on.is_empty() {
        report.wrong(
            cursor.since(&from),
            "`any` and other interfaces in one list",
            "write `on any`, or the interfaces",
        );
    }
    if negated_count > 1 {
        advise_negated(cursor.since(&from), report);
    }
    draft.on = on;
    Ok(())
}

fn advise_negated(span: Range<usize>, report: &mut Report<'_>) {
    report.advise(
        span,
        "several items with `!` in one list become a rule each, and what one of them leaves out another \
         matches",
        "for addresses use a table: `! <name>` leaves out all of them",
    );
}

/// Takes `dup-to` and its pool.
pub(super) fn dup_to(
    draft: &mut Draft,
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<(), Stop> {
    let from = cursor.span();
    cursor.take();
    let pool = pool::pool(cursor, report)?;
    let span = cursor.since(&from);
    if draft.pool.is_some() {
        report.wrong(from, "a rule with two `dup-to`", "write one with a list, or two rules");
        return Ok(());
    }
    match pool {
        Some(pool) => draft.pool = Some((pool, span)),
        None => draft.is_bad = true,
    }
    Ok(())
}

fn protocols(draft: &mut Draft, cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
    const HELP: &str = "write the name of an IP protocol, or its number from 1 to 255";
    cursor.list(report, &mut |cursor, report| {
        let token = cursor.text(report, "a protocol", HELP)?;
        let text = token.text().unwrap_or_default();
        let span = token.span.clone();
        match host::decimal::<u8>(text).or_else(|| names::protocol(text)) {
            Some(0) => {
                report.wrong(
                    span,
                    "protocol 0 cannot be asked for",
                    "leave `proto` out to match all of them",
                );
            }
            Some(number) => draft.protocols.push((number, span)),
            None => {
                let help = match nearest(text, names::protocols()) {
                    Some(name) => format!("is `{name}` meant? A number always works"),
                    None => HELP.to_owned(),
                };
                report.wrong(span, format!("{} is no protocol", shown(text)), help);
                draft.is_bad = true;
            }
        }
        Ok(())
    })
}

/// Takes addresses and ports behind `from` or `to`.
fn peer(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<PeerDraft, Stop> {
    let mut peer = PeerDraft::default();
    let from = cursor.span();
    if cursor.word() != Some("port") {
        let mut hosts = Vec::new();
        cursor.list(report, &mut |cursor, report| host::host_item(cursor, report, &mut hosts))?;
        let span = cursor.since(&from);
        let any = hosts.iter().filter(|item| item.what == Hosts::Any).count();
        if any > 0 && any < hosts.len() {
            let help = "pf leaves `any` out of such a list; write `any` alone, or the addresses";
            report.wrong(span.clone(), "`any` and other addresses in one list", help);
        }
        if hosts.iter().filter(|item| item.negated).count() > 1 {
            advise_negated(span, report);
        }
        hosts.retain(|item| item.what != Hosts::Any);
        peer.hosts = hosts;
    }
    if cursor.eat_word("port") {
        cursor.list(report, &mut |cursor, report| host::port_item(cursor, report, &mut peer.ports))?;
    }
    Ok(peer)
}

/// Notes that a word cannot stand where options stand.
pub(super) fn out_of_place(cursor: &Cursor<'_>, report: &mut Report<'_>) -> Stop {
    const HEAD: [&str; 11] =
        ["in", "out", "on", "log", "quick", "inet", "inet6", "proto", "from", "to", "all"];
    let shown_word = cursor.shown();
    if let Some(word) = cursor.word() {
        if HEAD.contains(&word) {
            return report.wrong(cursor.span(), format!("{shown_word} cannot stand here"), ORDER);
        }
        let known = OPTIONS.iter().copied().chain(HEAD);
        if let Some(meant) = nearest(word, known) {
            let what = format!("{shown_word} is no part of a rule");
            return report.wrong(cursor.span(), what, format!("is `{meant}` meant?"));
        }
    }
    report.wrong(cursor.span(), format!("{shown_word} is no part of a rule"), ORDER)
}
