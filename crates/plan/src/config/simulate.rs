//! `[simulate]`: what virtual time is told, and how it finds its places in the plan.
//!
//! Read here, checked against the ports that devices use, and put under the ids of the plan once there is one.
//! Never part of the plan: its text says nothing of it.

use toml::Spanned;
use toml::de::DeValue;

use super::decode::{Decoder, a, entries};
use super::{At, Draft, Drafts, Kind, Name, keys};
use crate::model::{Model, a_role};
use crate::names;
use crate::plan::{Direction, Plan, Point, PortId, Role};
use crate::problem::{Report, listed, shown};
use crate::simulation::{Framing, Hub, Line, Simulation, Spec, traffic_spec};
use crate::units::{self, UnitError};

/// The most sources of one simulation.
pub const SOURCES_MAX: usize = 16_384;

/// A `[simulate]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Simulate {
    /// Nanoseconds of virtual time.
    pub duration_ns: Option<u64>,
    /// What chance is drawn from.
    pub seed: u64,
    /// What a frame takes on a line.
    pub framing: Framing,
    /// Octets that a monitor port may send at once beyond its rate.
    pub stored_bytes: u64,
    /// What comes, in the order of the file.
    pub sources: Vec<Source>,
}

/// An entry of `sources`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// A port, or `eth0:rx` of a watched interface.
    pub place: Name,
    /// What comes there.
    pub spec: Spec,
}

type Value<'i> = Spanned<DeValue<'i>>;

/// Reads what can be read, and reports the rest.
pub(super) fn read(decoder: &mut Decoder<'_, '_>, value: &Value<'_>) -> Option<Simulate> {
    let Some(table) = value.get_ref().as_table() else {
        let what = format!("`simulate` is {}, not a table", a(value.get_ref()));
        decoder.report.add(value.span(), what, "write [simulate], and its keys under it");
        return None;
    };
    let mut simulate = Simulate::default();
    for (key, value) in entries(table) {
        match key.value.as_str() {
            "duration" => simulate.duration_ns = duration(decoder, value),
            "seed" => simulate.seed = seed(decoder, value).unwrap_or_default(),
            "framing" => simulate.framing = framing(decoder, value).unwrap_or_default(),
            "stored" => simulate.stored_bytes = stored(decoder, value).unwrap_or_default(),
            "sources" => simulate.sources = sources(decoder, value),
            _ => decoder.unknown_key(&key, &keys::SIMULATE, "[simulate]"),
        }
    }
    Some(simulate)
}

fn duration(decoder: &mut Decoder<'_, '_>, value: &Value<'_>) -> Option<u64> {
    let text = decoder.string(value, "a duration", "\"2s\"")?;
    let (what, help) = match units::time(&text.value) {
        Ok(0) => ("is no time at all", "say how long it is to last, or leave `duration` out"),
        Ok(ns) => return Some(ns),
        Err(UnitError::Form) => ("is no time", "a number and ns, us, ms, s, min or h: \"1.5s\""),
        Err(UnitError::Fraction) => ("is no whole number of nanoseconds", "write it in a smaller unit"),
        Err(UnitError::Range) => ("is longer than 10000h", "divide it into simulations of their own"),
    };
    decoder.report.add(text.span, format!("{} {what}", shown(&text.value)), help);
    None
}

fn seed(decoder: &mut Decoder<'_, '_>, value: &Value<'_>) -> Option<u64> {
    let (what, help) = match value.get_ref() {
        DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(seed) => return Some(seed),
            Err(_) => (format!("{number} is no seed"), "write a whole number from 0 to 18446744073709551615"),
        },
        other => {
            (format!("a seed is a whole number, and this is {}", a(other)), "write it bare, as in seed = 7")
        }
    };
    decoder.report.add(value.span(), what, help);
    None
}

fn framing(decoder: &mut Decoder<'_, '_>, value: &Value<'_>) -> Option<Framing> {
    let word = decoder.string(value, "`framing`", "\"ethernet\"")?;
    match word.value.as_str() {
        "ethernet" => Some(Framing::ETHERNET),
        "none" => Some(Framing::NONE),
        _ => {
            decoder.unknown_word(&word, &["ethernet", "none"], "a framing");
            None
        }
    }
}

fn stored(decoder: &mut Decoder<'_, '_>, value: &Value<'_>) -> Option<u64> {
    let text = decoder.string(value, "`stored`", "\"50kB\"")?;
    let octets = units::size(&text.value).ok();
    if octets.is_none() {
        let what = format!("{} is no size", shown(&text.value));
        let help = "a number and B, kB, MB, GB, KiB, MiB or GiB, below 4GiB; leave it out for nothing";
        decoder.report.add(text.span, what, help);
    }
    octets
}

fn sources(decoder: &mut Decoder<'_, '_>, value: &Value<'_>) -> Vec<Source> {
    let mut sources = Vec::new();
    let Some(table) = value.get_ref().as_table() else {
        let what = format!("`sources` is {}, not a table", a(value.get_ref()));
        let help = "write sources = { PORT = \"cbr:90Mbit:1500\" }";
        decoder.report.add(value.span(), what, help);
        return sources;
    };
    for (place, value) in entries(table) {
        let list = match value.get_ref() {
            DeValue::Array(list) if list.is_empty() => {
                let what = format!("{} has no sources", shown(&place.value));
                decoder.report.add(value.span(), what, "leave it out: nothing comes where nothing is said");
                continue;
            }
            DeValue::Array(list) => list.as_ref(),
            _ => std::slice::from_ref(value),
        };
        for value in list {
            let Some(text) = decoder.string(value, "a source", "\"cbr:90Mbit:1500\"") else { continue };
            if sources.len() == SOURCES_MAX {
                let what = format!("more than {SOURCES_MAX} sources");
                decoder.report.add(text.span, what, "divide the simulation");
                return sources;
            }
            match traffic_spec(&text.value) {
                Ok(spec) => sources.push(Source { place: place.clone(), spec }),
                Err(refusal) => decoder.report.add(text.span, refusal.what, refusal.help),
            }
        }
    }
    sources
}

/// Reports sensors where none can be, and sources of places where no frame can come. `sound`: whether all else could
/// be read, so that a place that is missing is missing by itself.
pub(crate) fn check(drafts: &Drafts, model: &Model, sound: bool, report: &mut Report<'_>) {
    for port in drafts.ports.iter().filter_map(|draft| draft.port.as_ref()) {
        let Some(sensor) = &port.sensor else { continue };
        let role = model.named(&port.name.value).and_then(|id| model.role(id));
        if let Some((role, _)) = role.filter(|(role, _)| *role != Role::Monitor) {
            let what = format!("port {} has a sensor, but is {}", shown(&port.name.value), a_role(role));
            report.add(sensor.span.clone(), what, "only monitor ports have a sensor: remove it");
        }
    }
    let Some(simulate) = &drafts.simulate else { return };
    let mut last = None;
    for Source { place, .. } in &simulate.sources {
        if last.replace(place) == Some(place) {
            continue;
        }
        if let Err((what, help)) = point(drafts, model, sound, &place.value, report) {
            report.add(place.span.clone(), what, help);
        }
    }
}

/// The place of a source's name, in terms of the model; `Ok(None)` where that cannot be told yet.
fn point(
    drafts: &Drafts,
    model: &Model,
    sound: bool,
    source: &str,
    report: &Report<'_>,
) -> Result<Option<Point>, (String, String)> {
    let (name, way) = source.split_once(':').map_or((source, None), |(name, way)| (name, Some(way)));
    let Some(id) = model.named(name) else {
        // A port that was refused was reported.
        if drafts.ports.iter().any(|draft| draft.name.value == name) {
            return Ok(None);
        }
        let what = format!("{} is no port", shown(name));
        if let Some(port) = model.on_interface(name) {
            return Err((
                what,
                format!("that is an interface; its port is {}", shown(&model.port(port).name)),
            ));
        }
        let known = drafts.ports.iter().map(|draft| draft.name.value.as_str());
        let help = match report.nearest(name, known) {
            Some(near) => format!("did you mean {}?", shown(near)),
            None => "name a port that frames come to".to_owned(),
        };
        return Err((what, help));
    };
    let Some((role, _)) = model.role(id) else {
        if !sound {
            return Ok(None);
        }
        let what = format!("no device uses port {}, so that nothing becomes of its frames", shown(name));
        return Err((what, "name it in a device, or leave its source out".to_owned()));
    };
    let shown_name = shown(name);
    let direction = match (role, way) {
        (Role::Monitor | Role::Virtual, _) => {
            let what = format!("{shown_name} only sends: no frames come from it");
            return Err((what, "name the ports of a link, a SPAN port or a watched interface".to_owned()));
        }
        (Role::Watched, Some("rx")) => Direction::In,
        (Role::Watched, Some("tx")) => Direction::Out,
        (Role::Watched, _) => {
            let what = format!("{shown_name} is a watched interface: which way do its frames go?");
            return Err((what, format!("write \"{name}:rx\" or \"{name}:tx\"")));
        }
        (_, None) => Direction::In,
        (_, Some(_)) => {
            let what = format!("{} names a way, and {shown_name} is no watched interface", shown(source));
            return Err((what, format!("write {name}: frames enter there")));
        }
    };
    let point = Point { port: id, direction };
    if sound && !model.is_judged(point) {
        let ways = [Direction::In, Direction::Out].map(|direction| Point { port: id, direction });
        let judged = ways.iter().filter(|way| model.is_judged(**way));
        let judged: Vec<String> = judged.map(|way| model.source_name(*way)).collect();
        let what = format!("nothing is copied from {}, nor passed on", shown(source));
        return Err((
            what,
            match judged.as_slice() {
                [] => "copy from it in a device, or leave its source out".to_owned(),
                some => format!("frames are copied from {}", listed(some)),
            },
        ));
    }
    Ok(Some(point))
}

/// What virtual time is told, by the ids of the plan.
pub(crate) fn resolve(drafts: &Drafts, plan: &Plan) -> Simulation {
    let named = |name: &str| plan.port_named(name).ok();
    let line = |port: &super::Port| {
        let speed = port.speed.as_ref()?;
        Some(Line { port: named(&port.name.value)?, speed_bits: speed.value })
    };
    let lines = drafts.ports.iter().filter_map(|draft| line(draft.port.as_ref()?)).collect();
    let told = drafts.simulate.clone().unwrap_or_default();
    let traffic = told.sources.into_iter().filter_map(|source| {
        let at = plan.point(&source.place.value).ok()?;
        Some(source.spec.at(at))
    });
    Simulation {
        duration_ns: told.duration_ns,
        seed: told.seed,
        framing: told.framing,
        stored_bytes: told.stored_bytes,
        lines,
        hubs: drafts.devices.iter().filter_map(|draft| hub(draft, &named)).collect(),
        traffic: traffic.collect(),
    }
}

fn hub(draft: &Draft, named: &impl Fn(&str) -> Option<PortId>) -> Option<Hub> {
    let Kind::Hub { ports, taps, speed_bits } = &draft.device.as_ref()?.kind else { return None };
    Some(Hub {
        name: draft.name.value.clone(),
        ports: ports.iter().filter_map(|name| named(&name.value)).collect(),
        taps: taps.iter().filter_map(|name| named(&name.value)).collect(),
        speed_bits: *speed_bits,
    })
}

/// The name of a sensor, where a monitor port says which host listens there.
pub(super) fn sensor(decoder: &mut Decoder<'_, '_>, value: &Value<'_>) -> Option<Name> {
    let name = decoder.string(value, "a sensor", "\"ids1\"")?;
    if let Some(flaw) = names::sensor_flaw(&name.value) {
        let what = format!("{} cannot be a sensor's name: {flaw}", shown(&name.value));
        decoder.report.add(name.span, what, "choose another name");
        return None;
    }
    Some(name)
}

/// A speed: as a rate, in words of its own.
pub(super) fn speed(decoder: &mut Decoder<'_, '_>, value: &Value<'_>, what: &str) -> Option<At<u64>> {
    let text = decoder.string(value, what, "\"100Mbit\"")?;
    let (said, help) = match units::rate(&text.value) {
        Ok(bits) => return Some(At { value: bits, span: text.span }),
        Err(UnitError::Form) => ("is no speed", "a number and bit, kbit, Mbit, Gbit or Tbit: \"100Mbit\""),
        Err(UnitError::Fraction) => ("is no whole number of bits", "write it in a smaller unit"),
        Err(UnitError::Range) => ("is no speed from 1kbit to 1Tbit", "a speed is bits a second on the wire"),
    };
    decoder.report.add(text.span, format!("{} {said}", shown(&text.value)), help);
    None
}

#[cfg(test)]
mod tests {
    use crate::plan::{Direction, Point, PortId};
    use crate::simulation::{Framing, Line, Pattern, Size};

    /// Ports that no device uses have no id, so that ids of the plan are not those of the file.
    #[test]
    fn places_are_put_under_the_ids_of_the_plan() {
        let config = "[ports]\nunused = 'e0'\na = { interface = 'e1', speed = '100Mbit' }\nb = 'e2'\n\
                      h1 = 'e3'\nh2 = 'e4'\nm = { interface = 'e5', sensor = 'ids' }\n\
                      [[device]]\nname = 't'\nkind = 'port-aggregator'\nlink = ['a', 'b']\nmonitors = ['m']\n\
                      [[device]]\nname = 'w'\nkind = 'watch'\ninterfaces = ['eth9']\nmonitors = ['m']\n\
                      [[device]]\nname = 'h'\nkind = 'hub'\nports = ['h1', 'h2']\ntaps = ['h2']\nspeed = '10Mbit'\n\
                      [simulate]\nduration = '2min'\nseed = 0xff\nframing = 'none'\nstored = '50kB'\n\
                      sources = { b = 'cbr:1Mbit:60', 'eth9:tx' = ['poisson:1Mbit:mix', 'x.pcap@1s-'] }\n";
        let compiled =
            crate::compile_with("f", config, &crate::no_files).unwrap_or_else(|wrong| panic!("{wrong}"));
        let (plan, told) = (compiled.plan, compiled.simulation);
        let id = |name: &str| plan.port_named(name).unwrap();
        assert_eq!(id("b"), PortId(1));
        assert_eq!((told.duration_ns, told.seed), (Some(120_000_000_000), 255));
        assert_eq!((told.framing, told.stored_bytes), (Framing::NONE, 50_000));
        assert_eq!(told.lines, [Line { port: id("a"), speed_bits: 100_000_000 }]);
        let hub = &told.hubs[0];
        assert_eq!((hub.name.as_str(), hub.speed_bits), ("h", 10_000_000));
        assert_eq!((&hub.ports[..], &hub.taps), (&[id("h1"), id("h2")][..], &[id("h2")].into()));
        let out = Point { port: id("eth9"), direction: Direction::Out };
        let at: Vec<Point> = told.traffic.iter().map(|traffic| traffic.at).collect();
        assert_eq!(at, [Point { port: id("b"), direction: Direction::In }, out, out]);
        assert_eq!(
            told.traffic[0].pattern,
            Pattern::Constant { rate_bits: 1_000_000, size: Size::Fixed(60) }
        );
        assert_eq!(told.traffic[2].from_ns, 1_000_000_000);
    }

    #[test]
    fn what_is_not_said_is_what_a_replay_needs() {
        let config =
            "[ports]\na = 'e1'\nb = 'e2'\n[[device]]\nname = 'h'\nkind = 'hub'\nports = ['a', 'b']\n";
        let told = crate::compile_with("f", config, &crate::no_files).unwrap().simulation;
        assert_eq!((told.duration_ns, told.seed, told.framing), (None, 0, Framing::ETHERNET));
        assert!(told.lines.is_empty() && told.traffic.is_empty() && told.stored_bytes == 0);
        assert_eq!(told.hubs[0].speed_bits, super::super::HUB_SPEED_DEFAULT);
    }
}
