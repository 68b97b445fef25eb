//! Hubs: what they cost those that are plugged into them, and why taps and hubs never mix.

use super::{Advice, Told};
use crate::config::{Device, Kind, Name};
use crate::plan::Origin;
use crate::problem::{listed, shown};
use crate::units::ShownRate;

/// What each hub costs.
pub(super) fn hubs(told: &Told<'_>, advice: &mut Vec<Advice>) {
    for (device, at) in &told.devices {
        let Kind::Hub { ports, taps, speed_bits } = &device.kind else { continue };
        advice.push(match taps.as_slice() {
            [] => inline(device, at, ports, *speed_bits),
            taps => of_taps(device, at, taps),
        });
    }
}

fn inline(device: &Device, at: &Origin, ports: &[Name], speed_bits: u64) -> Advice {
    let speed = ShownRate(speed_bits);
    Advice {
        at: Some(at.clone()),
        what: format!("{} is a hub, and {} ports share its one wire", shown(&device.name.value), ports.len()),
        why: format!(
            "whoever is plugged in falls back to half duplex and has {speed} together with all others, where a link \
             has {speed} for each direction; those that speak at once collide and wait, the longer the busier it is; \
             and whatever any port sends, a sensor too, goes to all"
        ),
        cure: "use kind = \"port-aggregator\", or \"regeneration\" for more sensors: the link keeps its full duplex, \
               and sensors cannot speak; `simulate` shows what this hub costs"
            .to_owned(),
    }
}

fn of_taps(device: &Device, at: &Origin, taps: &[Name]) -> Advice {
    let tapped: Vec<String> = taps.iter().map(|tap| shown(&tap.value)).collect();
    let (what, why) = match taps {
        [tap] => (
            format!("{} is fed by a tap at {}", shown(&device.name.value), shown(&tap.value)),
            "a tap's output cannot hear the wire: what any other port sends while it speaks collides with it, and the tap \
             sends nothing again, so that the frame is lost for good"
                .to_owned(),
        ),
        _ => (
            format!("{} is fed by taps at {}", shown(&device.name.value), listed(&tapped)),
            "the outputs of taps and SPAN ports cannot hear the wire, and send whenever there is something: where two \
             speak at once both frames collide, nobody sends them again, and they are lost for good, more of them the \
             busier the link is"
                .to_owned(),
        ),
    };
    Advice {
        at: Some(at.clone()),
        what,
        why,
        cure: "taps and hubs never mix: give the outputs to kind = \"link-aggregator\" with `spans`, which queues what \
               comes at once, or to \"span-regeneration\" for several sensors; or replace tap and hub by a \
               \"regeneration\" in the link"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::advice;

    fn hub(ports: &str, more: &str) -> String {
        let names = "[ports]\na = 'e1'\nb = 'e2'\nc = 'e3'\n";
        advice(&format!("{names}[[device]]\nname = 'h'\nkind = 'hub'\nports = [{ports}]\n{more}"))
    }

    #[test]
    fn a_hub_in_the_path_costs_full_duplex() {
        let said = hub("'a', 'b', 'c'", "");
        assert!(said.starts_with("f:5:1: advice: `h` is a hub, and 3 ports share its one wire: "), "{said}");
        assert!(said.contains("has 100Mbit together with all others"), "{said}");
        assert!(hub("'a', 'b', 'c'", "speed = '10Mbit'").contains("has 10Mbit together"));
        assert_eq!(said.matches("advice:").count(), 1);
    }

    #[test]
    fn taps_and_hubs_never_mix() {
        let said = hub("'a', 'b', 'c'", "taps = ['a', 'b']");
        assert!(said.starts_with("f:5:1: advice: `h` is fed by taps at `a` and `b`: "), "{said}");
        assert!(said.contains("lost for good") && said.contains("help: taps and hubs never mix"), "{said}");
        let said = hub("'a', 'b', 'c'", "taps = ['b']");
        assert!(
            said.contains("`h` is fed by a tap at `b`: ") && said.contains("what any other port sends"),
            "{said}"
        );
        assert_eq!(said.matches("advice:").count(), 1);
    }
}
