//! From the spanned table of the TOML reader to drafts.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{At, DEVICES_MAX, Draft, Drafts, Name, Port, PortDraft, TEXT_MAX, device, keys, simulate};
use crate::model::Nonsense;
use crate::names;
use crate::plan::{Attach, Queue};
use crate::problem::{Report, listed, nearest, shown};
use crate::units::{self, UnitError};

/// Reads what can be read, and reports the rest.
pub(crate) fn drafts(text: &str, report: &mut Report<'_>) -> Drafts {
    let mut decoder = Decoder { report };
    let mut drafts = Drafts { ports: Vec::new(), devices: Vec::new(), simulate: None };
    if text.len() > TEXT_MAX {
        let what = format!("a config of {} octets, more than {TEXT_MAX}", text.len());
        decoder.report.add(0..0, what, "divide the config between machines or network namespaces");
        return drafts;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    // Keys named twice leave a table that can be trusted; what else is broken would only breed echoes.
    let broken = errors.iter().any(|error| error.message() != DUPLICATE);
    for error in errors {
        decoder.syntax(&error);
    }
    if !broken {
        decoder.document(table.get_ref(), &mut drafts);
    }
    drafts
}

/// What the TOML reader says of a key that was named before.
const DUPLICATE: &str = "duplicate key";

type Value<'i> = Spanned<DeValue<'i>>;

/// Keys and values in the order of the text; the TOML reader sorts them by name.
pub(super) fn entries<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(Name, &'a Value<'i>)> {
    let at = |key: &Spanned<_>| key.span();
    let mut entries: Vec<(Name, &Value<'i>)> = table
        .iter()
        .map(|(key, value)| (At { value: key.get_ref().to_string(), span: at(key) }, value))
        .collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    entries
}

/// What a value is, as a phrase.
pub(super) fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

pub(super) struct Decoder<'r, 't> {
    pub(super) report: &'r mut Report<'t>,
}

impl Decoder<'_, '_> {
    fn syntax(&mut self, error: &toml::de::Error) {
        let span = error.span().unwrap_or(0..0);
        if error.message() == DUPLICATE {
            self.report.add(span, "a key that was already set", "keep one of the two");
            return;
        }
        self.report.add(
            span,
            format!("not TOML: {}", error.message()),
            "see https://toml.io for the notation",
        );
    }

    fn document(&mut self, table: &DeTable<'_>, drafts: &mut Drafts) {
        let mut devices = 0;
        for (key, value) in entries(table) {
            match key.value.as_str() {
                "ports" => drafts.ports = self.ports(value),
                "device" => {
                    devices += 1;
                    drafts.devices = self.devices(value);
                }
                "simulate" => drafts.simulate = simulate::read(self, value),
                _ => {
                    devices += usize::from(nearest(&key.value, keys::TOP) == Some("device"));
                    self.unknown_key(&key, &keys::TOP, "a config");
                }
            }
        }
        if devices == 0 {
            self.report.add(
                0..0,
                "no device, so there is nothing to do",
                "add a [[device]], as in docs/config.md",
            );
        }
    }

    fn devices(&mut self, value: &Value<'_>) -> Vec<Draft> {
        let help = "write each device under a [[device]] of its own";
        let Some(list) = value.get_ref().as_array() else {
            let what = format!("`device` is {}, not a list of tables", a(value.get_ref()));
            self.report.add(value.span(), what, help);
            return Vec::new();
        };
        let mut drafts: Vec<Draft> = Vec::new();
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for value in list.iter() {
            let Some(table) = value.get_ref().as_table() else {
                self.report.add(value.span(), format!("{} is no device", a(value.get_ref())), help);
                continue;
            };
            if drafts.len() == DEVICES_MAX {
                let full = Nonsense::TooMany { what: "devices", most: DEVICES_MAX };
                self.report.add(value.span(), full.to_string(), full.help());
                break;
            }
            let draft = device::draft(self, table, value.span());
            let (name, at) = (draft.name.value.clone(), draft.name.span.start);
            // An invented name is empty, and no two devices are blamed for it.
            if let Some(other) = names.insert(name.clone(), at).filter(|_| !name.is_empty()) {
                let what = format!(
                    "two devices are called {} (line {})",
                    shown(&name),
                    self.report.position(other).0
                );
                self.report.add(draft.name.span.clone(), what, "give each device a name of its own");
            }
            drafts.push(draft);
        }
        drafts
    }

    fn ports(&mut self, value: &Value<'_>) -> Vec<PortDraft> {
        let Some(table) = value.get_ref().as_table() else {
            let what = format!("`ports` is {}, not a table", a(value.get_ref()));
            self.report.add(
                value.span(),
                what,
                "write [ports], and under it a line NAME = \"INTERFACE\" for each",
            );
            return Vec::new();
        };
        let mut drafts = Vec::new();
        for (name, value) in entries(table) {
            if let Some(flaw) = names::port_flaw(&name.value) {
                let what = format!("{} cannot be a port's name: {flaw}", shown(&name.value));
                self.report.add(name.span.clone(), what, "choose another name");
            }
            let port = self.port(&name, value);
            drafts.push(PortDraft { name, port });
        }
        drafts
    }

    fn port(&mut self, name: &Name, value: &Value<'_>) -> Option<Port> {
        let table = match value.get_ref() {
            DeValue::String(_) => {
                let interface = self.interface(value)?;
                return Some(Port {
                    name: name.clone(),
                    interface,
                    attach: Attach::Auto,
                    queue: None,
                    speed: None,
                    sensor: None,
                });
            }
            DeValue::Table(table) => table,
            other => {
                let what = format!("port {} is {}", shown(&name.value), a(other));
                self.report.add(
                    value.span(),
                    what,
                    "name its interface: \"eth1\", or { interface = \"eth1\", ... }",
                );
                return None;
            }
        };
        let (mut interface, mut rate, mut buffer, mut attach) = (None, None, None, Some(Attach::Auto));
        let (mut speed, mut sensor) = (Ok(None), Ok(None));
        let mut named = false;
        for (key, value) in entries(table) {
            match key.value.as_str() {
                "interface" => {
                    named = true;
                    interface = self.interface(value);
                }
                "rate" => rate = Some((key.span, self.rate(value))),
                "buffer" => buffer = Some((key.span, self.buffer(value))),
                "attach" => attach = self.attach(value),
                "speed" => {
                    speed = simulate::speed(self, value, "a line's speed").map_or(Err(()), |it| Ok(Some(it)))
                }
                "sensor" => sensor = simulate::sensor(self, value).map_or(Err(()), |it| Ok(Some(it))),
                _ => self.unknown_key(&key, &keys::PORT, "a port"),
            }
        }
        if !named {
            let what = format!("port {} names no interface", shown(&name.value));
            self.report.add(
                name.span.clone(),
                what,
                "add interface = \"...\", the Linux interface that it is",
            );
        }
        let queue = self.queue(name, rate, buffer);
        Some(Port {
            name: name.clone(),
            interface: interface?,
            attach: attach?,
            queue: queue.ok()?,
            speed: speed.ok()?,
            sensor: sensor.ok()?,
        })
    }

    /// Rate and buffer together; `Err` where one of them is wrong, which was reported.
    fn queue(
        &mut self,
        name: &Name,
        rate: Option<(Range<usize>, Option<At<u64>>)>,
        buffer: Option<(Range<usize>, Option<At<u64>>)>,
    ) -> Result<Option<At<Queue>>, ()> {
        match (rate, buffer) {
            (None, None) => Ok(None),
            (None, Some((key, _))) => {
                let what = format!(
                    "port {} has a buffer and no rate: nothing would ever wait in it",
                    shown(&name.value)
                );
                self.report.add(key, what, "add a rate, such as rate = \"100Mbit\", or remove the buffer");
                Err(())
            }
            (Some((_, rate)), buffer) => {
                let buffer_bytes = match buffer {
                    None => units::BUFFER_DEFAULT,
                    Some((_, buffer)) => buffer.ok_or(())?.value,
                };
                let At { value: rate_bits, span } = rate.ok_or(())?;
                Ok(Some(At { value: Queue { rate_bits, buffer_bytes }, span }))
            }
        }
    }

    fn interface(&mut self, value: &Value<'_>) -> Option<Name> {
        let name = self.string(value, "an interface", "\"eth1\"")?;
        match names::interface_flaw(&name.value) {
            None => Some(name),
            Some(flaw) => {
                let what = format!("{} cannot be an interface: {flaw}", shown(&name.value));
                self.report.add(name.span, what, "`ip link` lists the interfaces of this machine");
                None
            }
        }
    }

    fn rate(&mut self, value: &Value<'_>) -> Option<At<u64>> {
        let text = self.string(value, "a rate", "\"100Mbit\"")?;
        let (what, help) = match units::rate(&text.value) {
            Ok(rate) => return Some(At { value: rate, span: text.span }),
            Err(UnitError::Form) => ("is no rate", "a number and bit, kbit, Mbit, Gbit or Tbit: \"100Mbit\""),
            Err(UnitError::Fraction) => ("is no whole number of bits", "write it in a smaller unit"),
            Err(UnitError::Range) => {
                ("is no rate from 1kbit to 1Tbit", "a rate is bits a second on the wire")
            }
        };
        self.report.add(text.span, format!("{} {what}", shown(&text.value)), help);
        None
    }

    fn buffer(&mut self, value: &Value<'_>) -> Option<At<u64>> {
        let text = self.string(value, "a buffer", "\"1MiB\"")?;
        let (what, help) = match units::size(&text.value) {
            Ok(size) => return Some(At { value: size, span: text.span }),
            Err(UnitError::Form) => ("is no size", "a number and B, kB, MB, GB, KiB, MiB or GiB: \"1MiB\""),
            Err(UnitError::Fraction) => ("is no whole number of octets", "write it in a smaller unit"),
            Err(UnitError::Range) => {
                ("is no size from 1B to below 4GiB", "a buffer is octets of frames, a side")
            }
        };
        self.report.add(text.span, format!("{} {what}", shown(&text.value)), help);
        None
    }

    fn attach(&mut self, value: &Value<'_>) -> Option<Attach> {
        const MODES: [(&str, Attach); 5] = [
            ("auto", Attach::Auto),
            ("xdp", Attach::Xdp),
            ("tcx", Attach::Tcx),
            ("clsact", Attach::Clsact),
            ("classic", Attach::Classic),
        ];
        let text = self.string(value, "`attach`", "\"auto\"")?;
        if let Some((_, mode)) = MODES.iter().find(|(name, _)| *name == text.value) {
            return Some(*mode);
        }
        let modes = MODES.map(|(name, _)| name);
        self.unknown_word(&text, &modes, "a way to attach");
        None
    }

    /// A string, or a problem that says what it should have been.
    pub(super) fn string(&mut self, value: &Value<'_>, what: &str, example: &str) -> Option<Name> {
        match value.get_ref() {
            DeValue::String(text) => Some(At { value: text.to_string(), span: value.span() }),
            other => {
                let what = format!("{what} is a string, and this is {}", a(other));
                self.report.add(value.span(), what, format!("write it in quotes, as in {example}"));
                None
            }
        }
    }

    pub(super) fn unknown_key(&mut self, key: &Name, known: &[&str], of: &str) {
        let what = format!("{} is no key of {of}", shown(&key.value));
        let help = match self.report.nearest(&key.value, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its keys are {}", listed(known)),
        };
        self.report.add(key.span.clone(), what, help);
    }

    pub(super) fn unknown_word(&mut self, word: &Name, known: &[&str], what: &str) {
        let help = match self.report.nearest(&word.value, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? There are {}", listed(known)),
            None => format!("there are {}", listed(known)),
        };
        self.report.add(word.span.clone(), format!("{} is not {what}", shown(&word.value)), help);
    }
}
