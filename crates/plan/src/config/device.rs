//! One `[[device]]`: its keys by its kind.

use std::collections::BTreeSet;
use std::ops::Range;

use rules::form::vlan_range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wire::Vlan;

use super::decode::{Decoder, a, entries};
use super::{
    At, Device, Draft, HUB_PORTS_MAX, HUB_SPEED_DEFAULT, Inputs, Kind, Name, Pair, Ways, distributor, keys,
    simulate,
};
use crate::names;
use crate::plan::Role;
use crate::problem::{listed, nearest, shown};

pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// Reads a device as far as it can be read.
pub(super) fn draft(decoder: &mut Decoder<'_, '_>, table: &DeTable<'_>, header: Range<usize>) -> Draft {
    let entries = entries(table);
    let mut reader = Reader { decoder, header: header.clone(), entries, uses: Vec::new(), rules: None };
    let name = reader.name();
    let kind = reader.kind();
    let device = kind.and_then(|kind| reader.rest(kind, name.as_ref(), &header));
    // A device without a name still has ports to look up; an empty name is no one's.
    let name = name.unwrap_or(At { value: String::new(), span: header.clone() });
    Draft { name, header, uses: reader.uses, rules: reader.rules, device }
}

/// VLANs that frames can be in: 0 to 4094.
const VLANS_MAX: usize = 4095;

/// What a list of names may hold.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Exactly(usize),
    OneOrMore,
}

pub(super) struct Reader<'a, 'i, 'd, 'r, 't> {
    pub(super) decoder: &'d mut Decoder<'r, 't>,
    pub(super) header: Range<usize>,
    entries: Vec<(Name, &'a Value<'i>)>,
    uses: Vec<(Name, Role)>,
    pub(super) rules: Option<Name>,
}

impl<'a, 'i> Reader<'a, 'i, '_, '_, '_> {
    pub(super) fn problem(&mut self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        self.decoder.report.add(span, what, help);
    }

    pub(super) fn key(&self, key: &str) -> Option<&'a Value<'i>> {
        self.entries.iter().find(|(name, _)| name.value == key).map(|(_, value)| *value)
    }

    pub(super) fn needed(&mut self, key: &str, example: &str) -> Option<&'a Value<'i>> {
        let value = self.key(key);
        if value.is_none() {
            self.problem(
                self.header.clone(),
                format!("this device has no `{key}`"),
                format!("add {key} = {example}"),
            );
        }
        value
    }

    fn name(&mut self) -> Option<Name> {
        let value = self.needed("name", "\"...\", a name that its copies are counted under")?;
        let name = self.decoder.string(value, "a device's name", "\"perimeter\"")?;
        if let Some(flaw) = names::device_flaw(&name.value) {
            let what = format!("{} cannot be a device's name: {flaw}", shown(&name.value));
            self.problem(name.span.clone(), what, "choose another name");
        }
        Some(name)
    }

    fn kind(&mut self) -> Option<&'static str> {
        let known = keys::KINDS.map(|(name, _)| name);
        let value = self.needed("kind", &format!("\"...\", one of {}", listed(&known)))?;
        let kind = self.decoder.string(value, "a device's kind", "\"tap\"")?;
        if let Some(known) = known.iter().find(|name| **name == kind.value) {
            return Some(known);
        }
        if keys::LATER.contains(&kind.value.as_str()) {
            let what = format!("{} is not in this release", shown(&kind.value));
            self.problem(kind.span, what, format!("this release has {}", listed(&known)));
            return None;
        }
        let help = match nearest(&kind.value, known.iter().chain(&keys::LATER).copied()) {
            Some(near) if keys::LATER.contains(&near) => {
                format!("`{near}`, if it is meant, is not in this release")
            }
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("this release has {}", listed(&known)),
        };
        self.problem(kind.span, format!("{} is no kind of device", shown(&kind.value)), help);
        None
    }

    fn rest(&mut self, kind: &'static str, name: Option<&Name>, header: &Range<usize>) -> Option<Device> {
        self.foreign_keys(kind);
        let vlans = self.vlans();
        let kind = match kind {
            "tap" => self.on_link_in_pairs().map(|(link, monitors)| Kind::Tap { link, monitors }),
            "regeneration" => {
                self.on_link_in_pairs().map(|(link, monitors)| Kind::Regeneration { link, monitors })
            }
            "port-aggregator" => {
                self.on_link(1).map(|(link, monitors)| Kind::PortAggregator { link, monitors })
            }
            "dual-port-aggregator" => {
                self.on_link(2).map(|(link, monitors)| Kind::DualPortAggregator { link, monitors })
            }
            "span-regeneration" => self.span_regeneration(),
            "link-aggregator" => self.link_aggregator(),
            "bond" => self.bond(),
            "watch" => self.watch(),
            "hub" => self.hub(),
            _ => distributor::read(self),
        };
        Some(Device { name: name?.clone(), header: header.clone(), vlans: vlans.ok()?, kind: kind? })
    }

    /// Keys that this kind does not take.
    fn foreign_keys(&mut self, kind: &str) {
        let known = keys::of_kind(kind);
        let of = format!("a {kind}");
        for (key, _) in self.entries.clone() {
            let others = keys::kinds_with(&key.value);
            if known.contains(&key.value.as_str()) {
                continue;
            }
            if others.is_empty() {
                self.decoder.unknown_key(&key, &known, &of);
                continue;
            }
            let help = match self.decoder.report.nearest(&key.value, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? `{}` is for {}", key.value, listed(&others)),
                None => format!(
                    "`{}` is for {}; the keys of {of} are {}",
                    key.value,
                    listed(&others),
                    listed(&known)
                ),
            };
            self.problem(key.span, format!("{} is no key of {of}", shown(&key.value)), help);
        }
    }

    fn on_link_in_pairs(&mut self) -> Option<(Pair, Vec<Pair>)> {
        let link = self.needed("link", "[\"a\", \"b\"]").and_then(|value| self.link(value));
        let monitors = self.monitor_pairs();
        Some((link?, monitors?))
    }

    fn on_link(&mut self, count: usize) -> Option<(Pair, Vec<Name>)> {
        let link = self.needed("link", "[\"a\", \"b\"]").and_then(|value| self.link(value));
        let monitors = self.monitors(Count::Exactly(count));
        Some((link?, monitors?))
    }

    fn span_regeneration(&mut self) -> Option<Kind> {
        let spans = self
            .needed("spans", "[\"s1\", \"s2\"]")
            .and_then(|value| self.pair(value, "spans", "two SPAN ports", Role::Span));
        let monitors = self.monitor_pairs();
        Some(Kind::SpanRegeneration { spans: spans?, monitors: monitors? })
    }

    fn link_aggregator(&mut self) -> Option<Kind> {
        let (links, spans) = (self.key("links"), self.key("spans"));
        let from = match (links, spans) {
            (None, None) => {
                let help = "add links = [[\"a\", \"b\"], ...] or spans = [\"s1\", ...]";
                self.problem(self.header.clone(), "this device has neither `links` nor `spans`", help);
                None
            }
            (Some(links), None) => self.links(links).map(Inputs::Links),
            (None, Some(spans)) => {
                self.ports(spans, "spans", Count::OneOrMore, Role::Span).map(Inputs::Spans)
            }
            (Some(links), Some(spans)) => {
                let _ = (self.links(links), self.ports(spans, "spans", Count::OneOrMore, Role::Span));
                let what = "this device has both `links` and `spans`";
                self.problem(
                    self.header.clone(),
                    what,
                    "make two devices of it; they may share their monitors",
                );
                None
            }
        };
        let monitors = self.monitors(Count::OneOrMore);
        Some(Kind::LinkAggregator { from: from?, monitors: monitors? })
    }

    fn bond(&mut self) -> Option<Kind> {
        let spans = self
            .needed("spans", "[\"x\", \"y\"]")
            .and_then(|value| self.ports(value, "spans", Count::OneOrMore, Role::Span));
        let interface = self
            .needed("interface", "\"ngeth0\", the interface that it makes")
            .and_then(|value| self.new_interface(value));
        Some(Kind::Bond { spans: spans?, interface: interface? })
    }

    fn hub(&mut self) -> Option<Kind> {
        let ports = self.needed("ports", "[\"a\", \"b\", \"c\"]").and_then(|value| {
            let ports = self.ports(value, "ports", Count::OneOrMore, Role::Network)?;
            let few_or_many = match ports.len() {
                ..2 => "a hub has two ports or more, and here is one".to_owned(),
                2..=HUB_PORTS_MAX => return Some(ports),
                many => format!("a hub has {HUB_PORTS_MAX} ports at most, and here are {many}"),
            };
            self.problem(value.span(), few_or_many, "name its ports: ports = [\"a\", \"b\", \"c\"]");
            None
        });
        let taps = match self.key("taps") {
            None => Some(Vec::new()),
            Some(value) => self.hub_taps(value, ports.as_deref()),
        };
        let speed_bits = match self.key("speed") {
            None => Some(HUB_SPEED_DEFAULT),
            Some(value) => simulate::speed(self.decoder, value, "a hub's speed").map(|speed| speed.value),
        };
        Some(Kind::Hub { ports: ports?, taps: taps?, speed_bits: speed_bits? })
    }

    /// Ports of a hub that only a tap feeds.
    fn hub_taps(&mut self, value: &Value<'_>, ports: Option<&[Name]>) -> Option<Vec<Name>> {
        let taps = self.ports(value, "taps", Count::OneOrMore, Role::Network)?;
        let ports = ports?;
        let mut sound = true;
        for tap in taps.iter().filter(|tap| ports.iter().all(|port| port.value != tap.value)) {
            sound = false;
            let what = format!("{} is none of this hub's ports", shown(&tap.value));
            self.problem(tap.span.clone(), what, "name it in `ports` too");
        }
        sound.then_some(taps)
    }

    fn new_interface(&mut self, value: &Value<'_>) -> Option<Name> {
        let name = self.decoder.string(value, "an interface", "\"ngeth0\"")?;
        if let Some(flaw) = names::new_interface_flaw(&name.value).or_else(|| names::port_flaw(&name.value)) {
            let what = format!("{} cannot be the new interface: {flaw}", shown(&name.value));
            self.problem(name.span, what, "choose another name");
            return None;
        }
        self.uses.push((name.clone(), Role::Virtual));
        Some(name)
    }

    fn watch(&mut self) -> Option<Kind> {
        let interfaces = self
            .needed("interfaces", "[\"eth0\"]")
            .and_then(|value| self.ports(value, "interfaces", Count::OneOrMore, Role::Watched));
        let direction = match self.key("direction") {
            None => Some(Ways::Both),
            Some(value) => self.ways(value),
        };
        let monitors = self.monitors(Count::OneOrMore);
        Some(Kind::Watch { interfaces: interfaces?, direction: direction?, monitors: monitors? })
    }

    pub(super) fn ways(&mut self, value: &Value<'_>) -> Option<Ways> {
        let word = self.decoder.string(value, "`direction`", "\"both\"")?;
        match word.value.as_str() {
            "rx" => Some(Ways::Rx),
            "tx" => Some(Ways::Tx),
            "both" => Some(Ways::Both),
            _ => {
                self.decoder.unknown_word(&word, &["rx", "tx", "both"], "a direction");
                None
            }
        }
    }

    fn monitors(&mut self, count: Count) -> Option<Vec<Name>> {
        let example = if matches!(count, Count::Exactly(2)) { "[\"m\", \"n\"]" } else { "[\"m\"]" };
        let value = self.needed("monitors", example)?;
        self.ports(value, "monitors", count, Role::Monitor)
    }

    fn monitor_pairs(&mut self) -> Option<Vec<Pair>> {
        let value = self.needed("monitors", "[[\"ma\", \"mb\"]]")?;
        let pairs = self.list(value, "monitors", "pairs of ports", "[[\"ma\", \"mb\"], ...]")?;
        let pairs =
            pairs.iter().map(|pair| self.pair(pair, "monitors", "a pair of monitor ports", Role::Monitor));
        pairs.collect::<Vec<_>>().into_iter().collect()
    }

    fn links(&mut self, value: &Value<'_>) -> Option<Vec<Pair>> {
        let links = self.list(value, "links", "pairs of ports", "[[\"a\", \"b\"], ...]")?;
        let links = links.iter().map(|link| self.link(link));
        links.collect::<Vec<_>>().into_iter().collect()
    }

    pub(super) fn link(&mut self, value: &Value<'_>) -> Option<Pair> {
        self.pair(value, "link", "two network ports", Role::Network)
    }

    /// A list that is not empty.
    fn list<'v, 'w>(
        &mut self,
        value: &'v Value<'w>,
        key: &str,
        of: &str,
        example: &str,
    ) -> Option<&'v [Value<'w>]> {
        match value.get_ref() {
            DeValue::Array(list) if !list.is_empty() => Some(list.as_ref()),
            DeValue::Array(_) => {
                self.problem(
                    value.span(),
                    format!("`{key}` is empty"),
                    format!("name {of}: {key} = {example}"),
                );
                None
            }
            other => {
                let what = format!("`{key}` is a list of {of}, and this is {}", a(other));
                self.problem(value.span(), what, format!("write {key} = {example}"));
                None
            }
        }
    }

    /// Two different ports.
    fn pair(&mut self, value: &Value<'_>, key: &str, phrase: &str, role: Role) -> Option<Pair> {
        let help = match role {
            Role::Monitor => {
                "a pair takes what enters at the first end of the link, and at the second: [\"ma\", \"mb\"]"
            }
            _ => "name two different ports: [\"a\", \"b\"]",
        };
        let Some(list) = value.get_ref().as_array() else {
            self.problem(
                value.span(),
                format!("`{key}` needs {phrase}, and this is {}", a(value.get_ref())),
                help,
            );
            return None;
        };
        let names: Vec<Option<Name>> = list.iter().map(|value| self.port(value, role)).collect();
        let count = names.len();
        match <[Option<Name>; 2]>::try_from(names) {
            Ok([Some(first), Some(second)]) if first.value == second.value => {
                let (what, help) = same_twice(role, &first.value);
                self.problem(second.span, what, help);
                None
            }
            Ok([first, second]) => Some(Pair { first: first?, second: second? }),
            Err(_) => {
                let what = format!("`{key}` needs {phrase}, and here {}", are(count));
                self.problem(value.span(), what, help);
                None
            }
        }
    }

    /// Names of ports, each once.
    pub(super) fn ports(
        &mut self,
        value: &Value<'_>,
        key: &str,
        count: Count,
        role: Role,
    ) -> Option<Vec<Name>> {
        let list = self.list(value, key, "ports", "[\"a\", ...]")?;
        let names: Vec<Option<Name>> = list.iter().map(|value| self.port(value, role)).collect();
        let mut seen = BTreeSet::new();
        let mut twice = false;
        for name in names.iter().flatten() {
            if !seen.insert(name.value.clone()) {
                twice = true;
                let what = format!("{} stands here twice", shown(&name.value));
                self.problem(name.span.clone(), what, "name it once");
            }
        }
        if let Count::Exactly(count) = count
            && names.len() != count
        {
            let (ports, help) = match count {
                1 => (
                    "one monitor port",
                    "for two, use kind = \"dual-port-aggregator\"; for more, \"link-aggregator\"",
                ),
                _ => (
                    "two monitor ports",
                    "for one, use kind = \"port-aggregator\"; for more, \"link-aggregator\"",
                ),
            };
            self.problem(value.span(), format!("this kind has {ports}, and here {}", are(names.len())), help);
            return None;
        }
        let names: Option<Vec<Name>> = names.into_iter().collect();
        names.filter(|_| !twice)
    }

    pub(super) fn port(&mut self, value: &Value<'_>, role: Role) -> Option<Name> {
        let name = self.decoder.string(value, "a port", "\"a\"")?;
        self.uses.push((name.clone(), role));
        Some(name)
    }

    /// The selector; `Err` where it is wrong, which was reported.
    fn vlans(&mut self) -> Result<Option<BTreeSet<Vlan>>, ()> {
        let Some(value) = self.key("vlans") else { return Ok(None) };
        let list = self.list(value, "vlans", "VLANs", "[10, \"20-29\"], or leave it out to copy every frame");
        let mut ids = BTreeSet::new();
        let mut good = true;
        let list = list.ok_or(())?;
        if list.len() > VLANS_MAX {
            let what = format!("{} VLANs and ranges, of {VLANS_MAX} VLANs that there are", list.len());
            self.problem(value.span(), what, "name each VLAN once");
            return Err(());
        }
        for value in list {
            let range = vlan_item(value.get_ref());
            good &= range.is_some();
            if range.is_none() {
                let what = match value.get_ref() {
                    DeValue::Integer(number) => format!("{number} is no VLAN"),
                    DeValue::String(text) => format!("{} is no range of VLANs", shown(text)),
                    other => format!("{} is no VLAN", a(other)),
                };
                let help = "VLANs are 0 (priority-tagged) to 4094, as numbers or as ranges: [10, \"20-29\"]";
                self.problem(value.span(), what, help);
            }
            for vlan in range.unwrap_or_default() {
                if !ids.insert(vlan) {
                    good = false;
                    self.problem(
                        value.span(),
                        format!("VLAN {vlan} stands here twice"),
                        "name each VLAN once",
                    );
                    break;
                }
            }
        }
        if good { Ok(Some(ids)) } else { Err(()) }
    }
}

/// The VLANs of `10` or `"20-29"`. 4095 is reserved (IEEE 802.1Q-2022, table 9-2) and never on a wire.
fn vlan_item(value: &DeValue<'_>) -> Option<Vec<Vlan>> {
    let ids: Vec<Vlan> = match value {
        DeValue::Integer(number) => {
            let id = u16::from_str_radix(number.as_str(), number.radix()).ok()?;
            vec![Vlan::new(id)?]
        }
        DeValue::String(text) => vlan_range(text)?.collect(),
        _ => return None,
    };
    ids.iter().all(|vlan| vlan.id() < 4095).then_some(ids)
}

fn same_twice(role: Role, name: &str) -> (String, &'static str) {
    match role {
        Role::Network => (format!("a link of port {} to itself", shown(name)), "name two different ports"),
        Role::Monitor => (
            format!("both halves of the pair are {}", shown(name)),
            "for both directions into one monitor, use kind = \"port-aggregator\"",
        ),
        _ => (format!("{} stands here twice", shown(name)), "name two different ports"),
    }
}

fn are(count: usize) -> String {
    match count {
        0 => "is none".to_owned(),
        1 => "is one".to_owned(),
        count => format!("are {count}"),
    }
}
