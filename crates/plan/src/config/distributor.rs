//! A `[[device]]` of kind `distributor`: what it looks at, and by which rules it chooses.

use std::collections::BTreeMap;
use std::ops::Range;

use rules::form::{CHOICES_MAX, Method, Test, WEIGHT_MAX};
use toml::de::{DeTable, DeValue};
use wire::LinkType;

use super::decode::{a, entries};
use super::device::{Count, Reader, Value};
use super::{Balanced, Called, CopyEntry, Kind, Name, Pair, Steering, Tapped, Ways, keys};
use crate::plan::Role;
use crate::problem::{listed, shown};

/// The most `[[device.copy]]` of one device.
const ENTRIES_MAX: usize = 4096;

const SOURCES: &str = "add link = [\"a\", \"b\"], spans = [\"s1\", ...] or interfaces = [\"eth0\", ...]";
const BALANCES: [(&str, Method); 3] =
    [("flow", Method::Flow), ("source", Method::Source), ("round-robin", Method::RoundRobin)];

type Device<'x, 'a, 'i, 'd, 'r, 't> = &'x mut Reader<'a, 'i, 'd, 'r, 't>;

/// Reads what is left of a distributor.
pub(super) fn read(reader: Device<'_, '_, '_, '_, '_, '_>) -> Option<Kind> {
    let from = tapped(reader);
    let by = steering(reader);
    Some(Kind::Distributor { from: from?, by: by? })
}

fn tapped(reader: Device<'_, '_, '_, '_, '_, '_>) -> Option<Tapped> {
    let keys = ["link", "spans", "interfaces"];
    let given: Vec<&str> = keys.into_iter().filter(|key| reader.key(key).is_some()).collect();
    let link = reader.key("link").map(|value| reader.link(value).map(Tapped::Link));
    let spans = reader.key("spans").map(|value| spans(reader, value));
    let watched = reader.key("interfaces").map(|value| watched(reader, value));
    for (key, with, why) in [
        ("directions", "spans", "only SPAN ports need to be told"),
        ("direction", "interfaces", "only an interface of this host has one"),
    ] {
        if let Some(value) = reader.key(key).filter(|_| reader.key(with).is_none()) {
            let what = format!("`{key}` goes with `{with}`: {why}");
            reader.problem(value.span(), what, format!("remove `{key}`, or name `{with}`"));
        }
    }
    match given[..] {
        [] => {
            let what = "this device has neither `link` nor `spans` nor `interfaces`";
            reader.problem(reader.header.clone(), what, SOURCES);
            None
        }
        [_] => link.or(spans).or(watched)?,
        _ => {
            let given: Vec<String> = given.iter().map(|key| format!("`{key}`")).collect();
            let what = format!("this device has {}", listed(&given));
            let help = "make a device for each; they may share rules and monitors";
            reader.problem(reader.header.clone(), what, help);
            None
        }
    }
}

fn watched(reader: Device<'_, '_, '_, '_, '_, '_>, value: &Value<'_>) -> Option<Tapped> {
    let interfaces = reader.ports(value, "interfaces", Count::OneOrMore, Role::Watched);
    let direction = match reader.key("direction") {
        None => Some(Ways::Both),
        Some(value) => reader.ways(value),
    };
    Some(Tapped::Watched { interfaces: interfaces?, direction: direction? })
}

fn spans(reader: Device<'_, '_, '_, '_, '_, '_>, value: &Value<'_>) -> Option<Tapped> {
    let spans = reader.ports(value, "spans", Count::OneOrMore, Role::Span);
    let directions = match reader.key("directions") {
        None => Some(Vec::new()),
        Some(value) => directions(reader, value, spans.as_deref()),
    };
    Some(Tapped::Spans { spans: spans?, directions: directions? })
}

/// `{ sf0 = { in = "x", out = "y" } }`.
fn directions(
    reader: Device<'_, '_, '_, '_, '_, '_>,
    value: &Value<'_>,
    spans: Option<&[Name]>,
) -> Option<Vec<Called>> {
    const HELP: &str = "write directions = { sf0 = { in = \"x\", out = \"y\" } }";
    let Some(table) = value.get_ref().as_table().filter(|table| !table.is_empty()) else {
        let is = if value.get_ref().is_table() { "empty" } else { a(value.get_ref()) };
        let what = format!("`directions` says what each SPAN port carries, and this is {is}");
        reader.problem(value.span(), what, HELP);
        return None;
    };
    let mut called = Vec::new();
    let mut sound = true;
    for (name, value) in entries(table) {
        let Some(ways) = value.get_ref().as_table().filter(|ways| !ways.is_empty()) else {
            let what = format!("{} has no `in` and no `out`", shown(&name.value));
            reader.problem(value.span(), what, HELP);
            sound = false;
            continue;
        };
        let (mut entering, mut leaving) = (None, None);
        for (key, value) in entries(ways) {
            let way = match key.value.as_str() {
                "in" => &mut entering,
                "out" => &mut leaving,
                _ => {
                    reader.decoder.unknown_key(&key, &keys::WAYS, "a direction");
                    sound = false;
                    continue;
                }
            };
            *way = carrier(reader, value, spans);
            sound &= way.is_some();
        }
        called.push(Called { name, entering, leaving });
    }
    sound.then_some(called)
}

/// The SPAN port of an entry of `directions`.
fn carrier(
    reader: Device<'_, '_, '_, '_, '_, '_>,
    value: &Value<'_>,
    spans: Option<&[Name]>,
) -> Option<Name> {
    let span = reader.decoder.string(value, "a port", "\"x\"")?;
    if spans.is_some_and(|spans| spans.iter().all(|known| known.value != span.value)) {
        let what = format!("{} is not one of the `spans` of this device", shown(&span.value));
        reader.problem(span.span, what, "name it there too");
        return None;
    }
    Some(span)
}

fn steering(reader: Device<'_, '_, '_, '_, '_, '_>) -> Option<Steering> {
    match (reader.key("rules"), reader.key("copy")) {
        (None, None) => {
            let what = "this device has neither `rules` nor a [[device.copy]], and so copies nothing";
            let help = "add rules = \"pf.conf\", or a [[device.copy]] with to = [\"m\"]";
            reader.problem(reader.header.clone(), what, help);
            None
        }
        (Some(file), None) => rules(reader, file).map(Steering::Rules),
        (None, Some(list)) => copies(reader, list).map(Steering::Copies),
        (Some(file), Some(list)) => {
            let _ = (rules(reader, file), copies(reader, list));
            let what = "this device has both `rules` and [[device.copy]]";
            reader.problem(file.span(), what, "make two devices of it; they may share the source");
            None
        }
    }
}

fn rules(reader: Device<'_, '_, '_, '_, '_, '_>, value: &Value<'_>) -> Option<Name> {
    let file = reader.decoder.string(value, "a rule file", "\"pf.conf\"")?;
    if file.value.is_empty() || file.value.contains(char::is_control) {
        let what = format!("{} cannot be a rule file", shown(&file.value));
        reader.problem(file.span, what, "name a file of pf rules, relative to this one: \"pf.conf\"");
        return None;
    }
    reader.rules = Some(file.clone());
    Some(file)
}

fn copies(reader: Device<'_, '_, '_, '_, '_, '_>, value: &Value<'_>) -> Option<Vec<CopyEntry>> {
    const HELP: &str = "write each copy under a [[device.copy]] of its own";
    let Some(list) = value.get_ref().as_array() else {
        let what = format!("`copy` is {}, not a list of tables", a(value.get_ref()));
        reader.problem(value.span(), what, HELP);
        return None;
    };
    if list.is_empty() {
        reader.problem(value.span(), "`copy` is empty", HELP);
        return None;
    }
    if list.len() > ENTRIES_MAX {
        let what = format!("more than {ENTRIES_MAX} [[device.copy]]");
        reader.problem(value.span(), what, "a file of pf rules takes more: rules = \"pf.conf\"");
        return None;
    }
    let mut copies = Vec::new();
    for value in list.iter() {
        match value.get_ref().as_table() {
            Some(table) => copies.push(copy(reader, table, value.span())),
            None => {
                reader.problem(value.span(), format!("{} is no copy", a(value.get_ref())), HELP);
                copies.push(None);
            }
        }
    }
    copies.into_iter().collect()
}

/// Keys of a copy as they stand.
#[derive(Default)]
struct Keys<'a, 'i> {
    expression: Option<&'a Value<'i>>,
    to: Option<&'a Value<'i>>,
    balance: Option<&'a Value<'i>>,
    weights: Option<&'a Value<'i>>,
    inner: Option<&'a Value<'i>>,
}

fn copy(
    reader: Device<'_, '_, '_, '_, '_, '_>,
    table: &DeTable<'_>,
    header: Range<usize>,
) -> Option<CopyEntry> {
    let mut given = Keys::default();
    for (key, value) in entries(table) {
        match key.value.as_str() {
            "match" => given.expression = Some(value),
            "to" => given.to = Some(value),
            "balance" => given.balance = Some(value),
            "weights" => given.weights = Some(value),
            "inner" => given.inner = Some(value),
            _ => reader.decoder.unknown_key(&key, &keys::COPY, "a copy"),
        }
    }
    let matching = match given.expression {
        None => Some((None, Test::Always)),
        Some(value) => expression(reader, value).map(|(text, test)| (Some(text), test)),
    };
    let to = match given.to {
        Some(value) => reader.ports(value, "to", Count::OneOrMore, Role::Monitor),
        None => {
            let help = "add to = [\"m\"], the monitor ports that it goes to";
            reader.problem(header.clone(), "this copy has no `to`", help);
            None
        }
    };
    let balance = balance(reader, &given, to.as_deref());
    let (expression, test) = matching?;
    Some(CopyEntry { header, expression, test, to: to?, balance: balance.ok()? })
}

/// A tcpdump expression and what it means.
fn expression(reader: Device<'_, '_, '_, '_, '_, '_>, value: &Value<'_>) -> Option<(Name, Test)> {
    let text = reader.decoder.string(value, "`match`", "\"tcp port 80\"")?;
    let flaws = match rules::expr::parse(&text.value, LinkType::ETHERNET) {
        Ok(test) => return Some((text, test)),
        Err(flaws) => flaws,
    };
    let start = content(reader.decoder.report.raw(text.span.clone()).unwrap_or(""), &text.value);
    for flaw in flaws {
        // Where the string is written with escapes, its own place is all that is known.
        let span = match start {
            Some(at) => text.span.start + at + flaw.span.start..text.span.start + at + flaw.span.end,
            None => text.span.clone(),
        };
        let help = flaw.help.unwrap_or_else(|| "docs/expressions.md has the whole language".to_owned());
        reader.problem(span, flaw.what, help);
    }
    None
}

/// Where the content of a TOML string begins in its text, if it stands there as it is.
fn content(raw: &str, content: &str) -> Option<usize> {
    let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| raw.starts_with(quotes))?;
    let inner = raw.strip_prefix(quotes)?.strip_suffix(quotes)?;
    let newline = usize::from(quotes.len() == 3 && inner.starts_with('\n'));
    (inner.get(newline..)? == content).then_some(quotes.len() + newline)
}

/// How one of the monitors is chosen; `Err` where that is wrong, which was reported.
fn balance(
    reader: Device<'_, '_, '_, '_, '_, '_>,
    given: &Keys<'_, '_>,
    to: Option<&[Name]>,
) -> Result<Option<Balanced>, ()> {
    let weights = given.weights.map(|value| weights(reader, value, to));
    let inner = given.inner.map(|value| match value.get_ref() {
        DeValue::Boolean(inner) => Some(*inner),
        other => {
            let what = format!("`inner` is true or false, and this is {}", a(other));
            reader.problem(value.span(), what, "write inner = true");
            None
        }
    });
    let Some(value) = given.balance else {
        let mut sound = true;
        for (key, value) in [("weights", given.weights), ("inner", given.inner)] {
            let Some(value) = value else { continue };
            sound = false;
            let what = format!("`{key}` without `balance`: all of `to` get every frame");
            reader.problem(value.span(), what, "add balance = \"flow\"");
        }
        return if sound { Ok(None) } else { Err(()) };
    };
    let word = reader.decoder.string(value, "`balance`", "\"flow\"").ok_or(())?;
    let Some((_, method)) = BALANCES.iter().find(|(name, _)| *name == word.value) else {
        reader.decoder.unknown_word(&word, &BALANCES.map(|(name, _)| name), "a way to balance");
        return Err(());
    };
    let to = to.ok_or(())?;
    if let [only] = to {
        let what = format!("a balance between {} alone", shown(&only.value));
        reader.problem(word.span, what, "name more monitors in `to`, or remove `balance`");
        return Err(());
    }
    if to.len() > CHOICES_MAX {
        let what = format!("a balance between {} monitors", to.len());
        reader.problem(word.span, what, format!("at most {CHOICES_MAX} can share a copy"));
        return Err(());
    }
    if let Some(value) = given.inner.filter(|_| inner == Some(Some(true)) && *method == Method::RoundRobin) {
        let what = "`inner` with \"round-robin\", which looks at no address";
        reader.problem(value.span(), what, "remove `inner`");
        return Err(());
    }
    let weights = weights.unwrap_or_else(|| Some(BTreeMap::new())).ok_or(())?;
    let weights = to.iter().map(|name| weights.get(&name.value).copied().unwrap_or(1)).collect();
    Ok(Some(Balanced { method: *method, weights, inner: inner.unwrap_or(Some(false)).ok_or(())? }))
}

/// `{ ids = 2 }`.
fn weights(
    reader: Device<'_, '_, '_, '_, '_, '_>,
    value: &Value<'_>,
    to: Option<&[Name]>,
) -> Option<BTreeMap<String, u8>> {
    let Some(table) = value.get_ref().as_table() else {
        let what = format!("`weights` is a table, and this is {}", a(value.get_ref()));
        reader.problem(value.span(), what, "write weights = { ids = 2 }; who is not named weighs 1");
        return None;
    };
    let mut weights = BTreeMap::new();
    let mut sound = true;
    for (name, value) in entries(table) {
        if to.is_some_and(|to| to.iter().all(|known| known.value != name.value)) {
            let what = format!("{} is not one of the monitors in `to`", shown(&name.value));
            reader.problem(name.span.clone(), what, "weigh those that the copy goes to");
            sound = false;
        }
        let weight = match value.get_ref() {
            DeValue::Integer(number) => u8::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match weight.filter(|weight| (1..=WEIGHT_MAX).contains(weight)) {
            Some(weight) => {
                weights.insert(name.value, weight);
            }
            None => {
                let what =
                    format!("the weight of {} is no whole number from 1 to {WEIGHT_MAX}", shown(&name.value));
                let help = "a monitor of weight 2 gets twice as much as one of weight 1";
                reader.problem(value.span(), what, help);
                sound = false;
            }
        }
    }
    sound.then_some(weights)
}

impl Tapped {
    /// The ports of what is looked at, in order.
    pub(crate) fn names(&self) -> Vec<&Name> {
        match self {
            Self::Link(Pair { first, second }) => vec![first, second],
            Self::Spans { spans, .. } => spans.iter().collect(),
            Self::Watched { interfaces, .. } => interfaces.iter().collect(),
        }
    }

    /// What pf rules call the frames of SPAN ports.
    pub(crate) fn directions(&self) -> &[Called] {
        match self {
            Self::Spans { directions, .. } => directions,
            Self::Link(_) | Self::Watched { .. } => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_string_is_found_where_it_stands_as_it_is() {
        assert_eq!(content("\"tcp\"", "tcp"), Some(1));
        assert_eq!(content("'tcp'", "tcp"), Some(1));
        assert_eq!(content("\"\"\"tcp\"\"\"", "tcp"), Some(3));
        assert_eq!(content("'''\ntcp\n'''", "tcp\n"), Some(4));
        assert_eq!(content("\"\\u0074cp\"", "tcp"), None);
        assert_eq!(content("\"", ""), None);
        assert_eq!(content("", ""), None);
    }
}
