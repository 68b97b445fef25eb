//! Addresses and ports, as rules and tables write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::form::Network;

use super::cursor::Cursor;
use super::lex::Token;
use super::names;
use super::report::{Report, Stop};
use super::rule::{Family, PortMatch};
use super::words::{nearest, shown};

/// Addresses as they were written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HostItem {
    pub what: Hosts,
    pub negated: bool,
    pub span: Range<usize>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Hosts {
    Any,
    Network(Network),
    Range(IpAddr, IpAddr),
    Table(String),
}

impl HostItem {
    /// The family, where it has one.
    pub(super) fn family(&self) -> Option<Family> {
        match &self.what {
            Hosts::Network(network) => Some(Family::of(network.address())),
            Hosts::Range(first, _) => Some(Family::of(*first)),
            Hosts::Any | Hosts::Table(_) => None,
        }
    }
}

/// What is written where an address is meant and stands for one that a tap cannot know.
pub(super) fn unfit_host(word: &str) -> Option<(&'static str, &'static str)> {
    const ADDRESS: &str = "write the address, a network or a table";
    Some(match word {
        "no-route" => {
            ("a tap routes nothing, so no address is without a route", "name the networks that are meant")
        }
        "urpf-failed" => {
            ("a tap routes nothing, so it cannot look up the way back", "name the networks that are meant")
        }
        "route" => ("a tap routes nothing and knows no route labels", "name the networks that are meant"),
        "self" => ("the tap itself has no address on the network", ADDRESS),
        _ => {
            let (_, modifier) = word.split_once(':')?;
            if !matches!(modifier, "network" | "broadcast" | "peer" | "0") {
                return None;
            }
            ("the ports of a tap have no addresses, so an interface stands for none", ADDRESS)
        }
    })
}

const NO_HOST: &str =
    "write an IP address, a network such as 10.0.0.0/8, a range such as 10.0.0.1 - 10.0.0.9, or a table";

/// Why a text is no address.
fn no_address(text: &str) -> (String, &'static str) {
    if text.split_once('%').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok()) {
        let what = format!("{} names an interface, and addresses of frames do not", shown(text));
        return (what, "leave `%` and the interface out, and write `on` and the interface");
    }
    let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.') || text.contains("::");
    if numeric {
        return (format!("{} is no address", shown(text)), NO_HOST);
    }
    (
        format!("{} is no address: names are not looked up, and the ports of a tap have none", shown(text)),
        NO_HOST,
    )
}

/// An address; with a prefix, trailing octets of IPv4 may be missing, as in `10/8`.
fn address(text: &str, with_prefix: bool) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if !with_prefix {
        return None;
    }
    let mut octets = [0; 4];
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 3 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        *octet = decimal(part)?;
    }
    Some(Ipv4Addr::from(octets).into())
}

/// A network in one word, as files of addresses have it.
pub(super) fn network_of(text: &str) -> Option<Network> {
    match text.split_once('/') {
        Some((text, bits)) => Network::new(address(text, true)?, decimal(bits)?),
        None => address(text, false).map(Network::host),
    }
}

/// A number in plain digits.
pub(super) fn decimal<N: std::str::FromStr>(text: &str) -> Option<N> {
    let digits = !text.is_empty() && text.len() <= 10 && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Takes an address or a network from a rule or a table.
pub(super) fn network(
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
) -> Result<Option<(Network, Range<usize>)>, Stop> {
    let token = cursor.text(report, "an address", NO_HOST)?;
    let text = token.text().unwrap_or_default();
    let Some(prefix) = cursor.eat("/").then(|| cursor.text(report, "the bits of a prefix", NO_HOST)) else {
        return Ok(match address(text, false) {
            Some(address) => Some((Network::host(address), token.span.clone())),
            None => {
                let (what, help) = no_address(text);
                report.wrong(token.span.clone(), what, help);
                None
            }
        });
    };
    let bits = prefix?.text().unwrap_or_default();
    let span = cursor.since(&token.span);
    let Some(address) = address(text, true) else {
        let (what, help) = no_address(text);
        report.wrong(token.span.clone(), what, help);
        return Ok(None);
    };
    let network = decimal(bits).and_then(|bits| Network::new(address, bits));
    if network.is_none() {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let what = format!("{} is no prefix", shown(bits));
        report.wrong(span.clone(), what, format!("write 0 to {most} bits"));
    }
    Ok(network.map(|network| (network, span)))
}

/// Takes one item of a list of addresses.
pub(super) fn host_item(
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
    items: &mut Vec<HostItem>,
) -> Result<(), Stop> {
    let from = cursor.span();
    let negated = cursor.eat("!");
    if cursor.is("{") {
        let help = "write `!` in front of each; or `!` in front of a table, which is what excludes several";
        return Err(report.wrong(from, "`!` in front of a list", help));
    }
    if cursor.is("<") {
        let name = table_name(cursor, report)?;
        items.push(HostItem { what: Hosts::Table(name), negated, span: cursor.since(&from) });
        return Ok(());
    }
    if cursor.is("(") {
        cursor.skip_group();
        let what = "the ports of a tap have no addresses, so an interface in brackets stands for none";
        report.wrong(cursor.since(&from), what, "write the address, a network or a table");
        return Ok(());
    }
    if let Some(word) = cursor.word() {
        if word == "any" {
            cursor.take();
            if negated {
                report.wrong(cursor.since(&from), "`! any` is no address at all", "take the rule out");
            }
            items.push(HostItem { what: Hosts::Any, negated: false, span: cursor.since(&from) });
            return Ok(());
        }
        if let Some((why, help)) = unfit_host(word) {
            cursor.take();
            if cursor.eat("/") || word == "route" {
                cursor.take();
            }
            report.wrong(from, format!("{}: {why}", shown(word)), help);
            return Ok(());
        }
    }
    let what = match dashed(cursor) {
        Some((first, last)) => {
            cursor.take();
            range(&first, &last, cursor.since(&from), report)
        }
        None => network_or_range(cursor, report)?,
    };
    let span = cursor.since(&from);
    match what {
        Some(Hosts::Network(network)) if negated && network.prefix_len() == 0 => {
            report.wrong(span, format!("`! {network}` is no address at all"), "take the rule out");
        }
        Some(what) => items.push(HostItem { what, negated, span }),
        None => {}
    }
    Ok(())
}

/// The two addresses of `10.0.0.1-10.0.0.9`, written without spaces.
fn dashed(cursor: &Cursor<'_>) -> Option<(String, String)> {
    let (first, last) = cursor.word()?.split_once('-')?;
    let both = first.parse::<IpAddr>().is_ok() && last.parse::<IpAddr>().is_ok();
    both.then(|| (first.to_owned(), last.to_owned()))
}

fn network_or_range(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<Option<Hosts>, Stop> {
    let is_dash = |token: &Token| token.word() == Some("-");
    if !cursor.peek_second().is_some_and(is_dash) {
        return Ok(network(cursor, report)?.map(|(network, _)| Hosts::Network(network)));
    }
    let from = cursor.span();
    let first = cursor.text(report, "an address", NO_HOST)?.text().unwrap_or_default().to_owned();
    cursor.take();
    let last = cursor.text(report, "the last address of a range", NO_HOST)?.text().unwrap_or_default();
    Ok(range(&first, last, cursor.since(&from), report))
}

fn range(first: &str, last: &str, span: Range<usize>, report: &mut Report<'_>) -> Option<Hosts> {
    for text in [first, last] {
        if text.parse::<IpAddr>().is_err() {
            let (what, help) = no_address(text);
            report.wrong(span, what, help);
            return None;
        }
    }
    let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
    if first.is_ipv4() != last.is_ipv4() {
        report.wrong(span, "a range from one family to the other", "write a rule for each family");
        return None;
    }
    if first > last {
        report.wrong(span, "the range runs backwards", format!("write {last} - {first}"));
        return None;
    }
    Some(Hosts::Range(first, last))
}

/// Takes `<name>`.
pub(super) fn table_name(cursor: &mut Cursor<'_>, report: &mut Report<'_>) -> Result<String, Stop> {
    const LONGEST: usize = 31;
    let help = "write the name of a table as <name>";
    cursor.expect("<", report, help)?;
    let token = cursor.text(report, "the name of a table", help)?;
    let name = token.text().unwrap_or_default();
    cursor.expect(">", report, help)?;
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(super::lex::is_word_character) {
        let what = format!("{} names no table", shown(name));
        let help = format!("write 1 to {LONGEST} letters, digits, `_`, `-` or `.`");
        return Err(report.wrong(token.span.clone(), what, help));
    }
    Ok(name.to_owned())
}

const NO_PORT: &str = "write a port from 0 to 65535 or its name, perhaps behind = != < <= > >=, or two \
    with : >< <> between them";

/// Takes one item of a list of ports.
pub(super) fn port_item(
    cursor: &mut Cursor<'_>,
    report: &mut Report<'_>,
    items: &mut Vec<(PortMatch, Range<usize>)>,
) -> Result<(), Stop> {
    type Unary = fn(u16) -> PortMatch;
    const UNARY: [(&str, Unary); 6] = [
        ("=", PortMatch::Equal),
        ("!=", PortMatch::NotEqual),
        ("<=", PortMatch::AtMost),
        ("<", PortMatch::Less),
        (">=", PortMatch::AtLeast),
        (">", PortMatch::Greater),
    ];
    let from = cursor.span();
    let unary = UNARY.iter().find(|(symbol, _)| cursor.eat(symbol));
    let token = cursor.text(report, "a port", NO_PORT)?;
    let text = token.text().unwrap_or_default();
    let binary = ["><", "<>"].into_iter().find(|symbol| cursor.eat(symbol));
    let last = match binary {
        Some(_) => Some(cursor.text(report, "a port", NO_PORT)?),
        None => None,
    };
    let span = cursor.since(&from);
    let found = match (text.split_once(':'), unary, binary.zip(last)) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            report.wrong(span, "more than one operator for one port", NO_PORT);
            return Ok(());
        }
        (Some((first, last)), ..) if first.is_empty() || last.is_empty() || last.contains(':') => {
            report.wrong(span, format!("{} is no range of ports", shown(text)), NO_PORT);
            return Ok(());
        }
        (Some((first, last)), ..) => pair(first, last, &span, report).map(|(a, b)| PortMatch::Range(a, b)),
        (None, None, Some((symbol, last))) => {
            let last = last.text().unwrap_or_default();
            pair(text, last, &span, report).map(|(a, b)| match symbol {
                "><" => PortMatch::Between(a, b),
                _ => PortMatch::Outside(a, b),
            })
        }
        (None, unary, None) => {
            let of = unary.map_or(PortMatch::Equal as Unary, |(_, of)| *of);
            port(text, &span, report).map(of)
        }
    };
    let Some(found) = found else { return Ok(()) };
    let backwards = match found {
        PortMatch::Range(a, b) | PortMatch::Outside(a, b) => a > b,
        PortMatch::Between(a, b) => a >= b,
        _ => false,
    };
    match found.ranges().ranges().is_empty() || backwards {
        true if backwards => {
            report.wrong(span, "the range of ports runs backwards", "write the smaller port first");
        }
        true => {
            report.wrong(span, "no port is that", "widen it, or take the rule out");
        }
        false => items.push((found, span)),
    }
    Ok(())
}

fn pair(first: &str, last: &str, span: &Range<usize>, report: &mut Report<'_>) -> Option<(u16, u16)> {
    let (first, last) = (port(first, span, report), port(last, span, report));
    first.zip(last)
}

fn port(text: &str, span: &Range<usize>, report: &mut Report<'_>) -> Option<u16> {
    let found = decimal(text).or_else(|| names::service(text));
    if found.is_none() {
        let help = match nearest(text, names::service_names()) {
            Some(name) => format!("is `{name}` meant? A number always works"),
            None => NO_PORT.to_owned(),
        };
        report.wrong(span.clone(), format!("{} is no port", shown(text)), help);
    }
    found
}
