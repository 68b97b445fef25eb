//! Sensors: too many cards in one, and conversations that none of them sees whole.

use std::collections::BTreeMap;

use super::{Advice, Told};
use crate::config::{Device, Kind, Pair};
use crate::plan::Origin;
use crate::problem::{listed, shown};

/// The most capture interfaces that one sensor takes without a thought.
const INTERFACES_MAX: usize = 8;

/// Sensors that listen at more than [`INTERFACES_MAX`] interfaces.
pub(super) fn many_interfaces(told: &Told<'_>, advice: &mut Vec<Advice>) {
    let mut by_sensor: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for port in &told.ports {
        let Some(sensor) = &port.sensor else { continue };
        by_sensor.entry(&sensor.value).or_default().push(&port.name.value);
    }
    for (sensor, ports) in by_sensor.iter().filter(|(_, ports)| ports.len() > INTERFACES_MAX) {
        let at = ports.first().and_then(|port| told.places.get(*port)).cloned();
        advice.push(too_many(at, &format!("sensor {}", shown(sensor)), ports.len()));
    }
    for (device, at) in &told.devices {
        let Kind::Bond { spans, .. } = &device.kind else { continue };
        if spans.len() > INTERFACES_MAX {
            let who = format!("bond {}", shown(&device.name.value));
            advice.push(too_many(Some(at.clone()), &who, spans.len()));
        }
    }
}

fn too_many(at: Option<Origin>, who: &str, count: usize) -> Advice {
    Advice {
        at,
        what: format!("{who} has {count} capture interfaces"),
        why: format!(
            "each takes interrupts, a ring and the sensor's attention for itself; above {INTERFACES_MAX} a machine may \
             run out of one of them before it runs out of anything else, and frames are lost in its cards"
        ),
        cure: "aggregate before the sensor, with kind = \"link-aggregator\" and one faster monitor port, or divide the \
               sources between sensors"
            .to_owned(),
    }
}

/// Pairs of monitors whose halves go to different sensors, where nobody else gets both.
pub(super) fn halves_apart(told: &Told<'_>, advice: &mut Vec<Advice>) {
    for (device, at) in &told.devices {
        let (Kind::Tap { monitors, .. } | Kind::Regeneration { monitors, .. }) = &device.kind else {
            continue;
        };
        let halves =
            |pair: &Pair| Some([sensor(told, &pair.first.value)?, sensor(told, &pair.second.value)?]);
        // A pair of which nothing is known may be the one that is bonded.
        let Some(pairs) = monitors.iter().map(halves).collect::<Option<Vec<_>>>() else { continue };
        let of_first = |sensor: &str| pairs.iter().any(|[first, _]| *first == sensor);
        let whole = pairs.iter().any(|[_, second]| of_first(second));
        if !whole {
            advice.push(apart(device, at, &pairs));
        }
    }
}

fn sensor<'t>(told: &Told<'t>, port: &str) -> Option<&'t str> {
    let port = told.ports.iter().find(|known| known.name.value == port)?;
    port.sensor.as_ref().map(|sensor| sensor.value.as_str())
}

fn apart(device: &Device, at: &Origin, pairs: &[[&str; 2]]) -> Advice {
    let sensors: Vec<String> = pairs.iter().flatten().map(|sensor| shown(sensor)).collect();
    Advice {
        at: Some(at.clone()),
        what: format!("no sensor of {} sees both directions: they go to {}", shown(&device.name.value), listed(&sensors)),
        why: "each output of such a tap has what one side says, and a sensor that has questions without answers can follow \
              no conversation"
            .to_owned(),
        cure: "take both outputs of a pair to one sensor and bond them there (kind = \"bond\"), or use \
               kind = \"port-aggregator\" where both directions fit one port"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::advice;

    #[test]
    fn nine_interfaces_are_many() {
        let config = |count: usize, sensor: &str| {
            let names: Vec<String> = (0..count).map(|n| format!("m{n}")).collect();
            let ports: String = (0..count)
                .map(|n| {
                    format!(
                        "m{n} = {{ interface = 'm-{n}', sensor = '{}' }}\n",
                        if n == 0 { sensor } else { "x" }
                    )
                })
                .collect();
            let device = "[[device]]\nname = 't'\nkind = 'link-aggregator'\nspans = ['s']\n";
            advice(&format!("[ports]\ns = 's0'\n{ports}{device}monitors = ['{}']\n", names.join("','")))
        };
        assert!(config(9, "x").starts_with("f:3:1: advice: sensor `x` has 9 capture interfaces: "));
        assert_eq!(config(9, "y"), "");
        assert_eq!(config(8, "x"), "");
        let spans: Vec<String> = (0..9).map(|n| format!("s{n}")).collect();
        let ports: String = spans.iter().map(|name| format!("{name} = 'e-{name}'\n")).collect();
        let bond = |count: usize| {
            let list = spans[..count].join("','");
            advice(&format!(
                "[ports]\n{ports}[[device]]\nname='b'\nkind='bond'\nspans=['{list}']\ninterface='ng0'\n"
            ))
        };
        assert!(bond(9).contains("advice: bond `b` has 9 capture interfaces: "), "{}", bond(9));
        assert!(!bond(8).contains("capture interfaces"));
    }

    #[test]
    fn halves_belong_together() {
        let config = |sensors: [&str; 4]| {
            let ports: String = (1..5)
                .zip(sensors)
                .map(|(n, sensor)| match sensor {
                    "" => format!("m{n} = 'm{n}'\n"),
                    name => format!("m{n} = {{ interface = 'm{n}', sensor = '{name}' }}\n"),
                })
                .collect();
            let device = "[[device]]\nname = 't'\nkind = 'regeneration'\nlink = ['a', 'b']\n";
            advice(&format!(
                "[ports]\na = 'e1'\nb = 'e2'\n{ports}{device}monitors = [['m1', 'm2'], ['m3', 'm4']]\n"
            ))
        };
        let said = config(["x", "y", "x", "z"]);
        assert!(
            said.contains("no sensor of `t` sees both directions: they go to `x`, `y`, `x` and `z`: "),
            "{said}"
        );
        assert_eq!(config(["x", "y", "z", "x"]), "", "x has one half of each pair");
        assert_eq!(config(["x", "x", "y", "y"]), "");
        assert_eq!(config(["x", "y", "", ""]), "", "the other pair may be bonded");
    }
}
