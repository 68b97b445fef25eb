//! The canonical text, in the manner of `pfctl -nv`. It reads back to the same rules.

use std::fmt;

use crate::form::Addresses;

use super::lex::is_word_character;
use super::names;
use super::options::share_of;
use super::rule::{Action, Direction, Family, Host, Peer, Pool, PoolMethod, PortMatch, Rule, Target};
use super::words::is_keyword;
use super::{Macro, Parsed};

/// A text in quotes, such that it reads back.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut behind = '\0';
        for character in self.0.chars() {
            // A backslash in front of these would take them for itself.
            if character == '"' || behind == '\\' && matches!(character, ' ' | '\t') {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
            behind = character;
        }
        f.write_str("\"")
    }
}

/// A name, in quotes where it would not be taken for one without.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain =
            self.0.chars().all(|c| is_word_character(c) && !matches!(c, ':' | '@')) && !is_keyword(self.0);
        // `-` and addresses mean something of their own.
        let plain = plain && self.0 != "-" && self.0.parse::<std::net::IpAddr>().is_err();
        if plain { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

impl fmt::Display for Macro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, Quoted(&self.value))
    }
}

/// Macros, tables and rules, a line each.
impl fmt::Display for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.macros.iter().try_for_each(|definition| writeln!(f, "{definition}"))?;
        self.table_lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}

/// The addresses at one end.
pub(super) struct ShownHost<'a>(pub Option<&'a Host>);

impl fmt::Display for ShownHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(host) = self.0.filter(|host| !host.is_any()) else { return f.write_str("any") };
        if host.negated {
            f.write_str("! ")?;
        }
        match &host.addresses {
            Addresses::Network(network) => write!(f, "{network}"),
            Addresses::Range(first, last) => write!(f, "{first} - {last}"),
            Addresses::Table(table) => write!(f, "<{}>", table.name()),
        }
    }
}

/// Ports with their operator.
pub(super) struct ShownPort(pub PortMatch);

impl ShownPort {
    /// Without spaces, as labels have it.
    pub(super) fn compact(&self) -> String {
        match self.0 {
            PortMatch::Equal(port) => port.to_string(),
            _ => self.to_string().replace(' ', ""),
        }
    }
}

impl fmt::Display for ShownPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PortMatch::Equal(port) => write!(f, "= {port}"),
            PortMatch::NotEqual(port) => write!(f, "!= {port}"),
            PortMatch::Less(port) => write!(f, "< {port}"),
            PortMatch::AtMost(port) => write!(f, "<= {port}"),
            PortMatch::Greater(port) => write!(f, "> {port}"),
            PortMatch::AtLeast(port) => write!(f, ">= {port}"),
            PortMatch::Between(first, last) => write!(f, "{first} >< {last}"),
            PortMatch::Outside(first, last) => write!(f, "{first} <> {last}"),
            PortMatch::Range(first, last) => write!(f, "{first}:{last}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "({} {address})", Name(&self.interface)),
            None => Name(&self.interface).fmt(f),
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.targets[..] {
            [one] => one.fmt(f)?,
            several => {
                let shown: Vec<String> = several.iter().map(Target::to_string).collect();
                write!(f, "{{ {} }}", shown.join(", "))?;
            }
        }
        match &self.method {
            PoolMethod::Single => {}
            PoolMethod::RoundRobin => f.write_str(" round-robin")?,
            PoolMethod::Random => f.write_str(" random")?,
            PoolMethod::SourceHash(None) => f.write_str(" source-hash")?,
            PoolMethod::SourceHash(Some(key)) => write!(f, " source-hash {}", Name(key))?,
        }
        if self.sticky { f.write_str(" sticky-address") } else { Ok(()) }
    }
}

impl Rule {
    /// The canonical text of the rule, one line without its end.
    pub fn text(&self) -> String {
        self.to_string()
    }
}

fn peers(f: &mut fmt::Formatter<'_>, source: &Peer, destination: &Peer) -> fmt::Result {
    let is_open = |peer: &Peer| peer.port.is_none() && peer.host.as_ref().is_none_or(Host::is_any);
    if is_open(source) && is_open(destination) {
        return f.write_str(" all");
    }
    for (word, peer) in [("from", source), ("to", destination)] {
        write!(f, " {word} {}", ShownHost(peer.host.as_ref()))?;
        if let Some(port) = peer.port {
            write!(f, " port {}", ShownPort(port))?;
        }
    }
    Ok(())
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.action {
            Action::Pass => "pass",
            Action::Block => "block drop",
            Action::Match => "match",
        })?;
        f.write_str(match self.direction {
            Some(Direction::In) => " in",
            Some(Direction::Out) => " out",
            None => "",
        })?;
        f.write_str(if self.quick { " quick" } else { "" })?;
        if let Some(on) = &self.on {
            write!(f, " on {}{}", if on.negated { "! " } else { "" }, Name(&on.interface))?;
        }
        if let Some(pool) = &self.dup_to {
            write!(f, " dup-to {pool}")?;
        }
        f.write_str(match self.family {
            Some(Family::V4) => " inet",
            Some(Family::V6) => " inet6",
            None => "",
        })?;
        match self.protocol.map(|number| (number, names::protocol_name(number))) {
            Some((_, Some(name))) => write!(f, " proto {name}")?,
            Some((number, None)) => write!(f, " proto {number}")?,
            None => {}
        }
        peers(f, &self.source, &self.destination)?;
        if let Some(flags) = self.flags {
            write!(f, " flags {}/{}", names::flag_letters(flags.set), names::flag_letters(flags.of))?;
        }
        self.icmp_text(f)?;
        if let Some(tos) = self.tos {
            write!(f, " tos {tos:#04x}")?;
        }
        if let Some(part) = self.chance {
            let share = share_of(part);
            let text = format!("{}.{:06}", share / 1_000_000, share % 1_000_000);
            write!(f, " probability {}%", text.trim_end_matches('0').trim_end_matches('.'))?;
        }
        if let Some(label) = &self.label {
            write!(f, " label {}", Quoted(label))?;
        }
        if let Some(tag) = &self.tag {
            write!(f, " tag {}", Name(tag))?;
        }
        match &self.tagged {
            Some((tag, negated)) => write!(f, "{} tagged {}", if *negated { " !" } else { "" }, Name(tag)),
            None => Ok(()),
        }
    }
}

impl Rule {
    fn icmp_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(icmp) = self.icmp else { return Ok(()) };
        let family = self.family.unwrap_or(Family::V4);
        f.write_str(if family == Family::V4 { " icmp-type " } else { " icmp6-type " })?;
        match names::icmp_type_name(family, icmp.kind) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{}", icmp.kind)?,
        }
        match icmp.code.map(|code| (code, names::icmp_code_name(family, icmp.kind, code))) {
            Some((_, Some(name))) => write!(f, " code {name}"),
            Some((code, None)) => write!(f, " code {code}"),
            None => Ok(()),
        }
    }
}
