//! SPAN ports: what a switch does not mirror, and what it cannot.

use std::collections::BTreeMap;

use super::{Advice, Told};
use crate::plan::{PortId, Role};
use crate::problem::shown;
use crate::simulation::{Pattern, Size, Traffic};
use crate::units::{ShownRate, ShownTime};

/// The shortest sound frame, octets without FCS.
const SHORTEST: u32 = 60;
/// The longest sound frame without a tag, which is what patterns send, octets without FCS.
const LONGEST: u32 = 1514;

/// Traffic at SPAN ports of which the switch mirrors nothing.
pub(super) fn damaged(told: &Told<'_>, advice: &mut Vec<Advice>) {
    for (port, traffic) in at_spans(told) {
        let mut lost: Vec<&str> = Vec::new();
        let size = |it: &Traffic| match it.pattern {
            Pattern::Constant { size: Size::Fixed(size), .. }
            | Pattern::Poisson { size: Size::Fixed(size), .. }
            | Pattern::OnOff { size: Size::Fixed(size), .. } => Some(size),
            _ => None,
        };
        let some = |found: &dyn Fn(&Traffic) -> bool| traffic.iter().any(|it| found(it));
        if some(&|it| it.errors_ppm > 0) {
            lost.push("damaged frames");
        }
        if some(&|it| size(it).is_some_and(|size| size < SHORTEST)) {
            lost.push("runts");
        }
        if some(&|it| size(it).is_some_and(|size| size > LONGEST)) {
            lost.push("giants");
        }
        if lost.is_empty() {
            continue;
        }
        let lost = crate::problem::listed(&lost);
        advice.push(Advice {
            at: told.place(port),
            what: format!("{} is a SPAN port, and is to get {lost}", shown(&told.plan.port(port).name)),
            why: "a switch checks each frame before it mirrors it, and drops what is too short, too long or has a wrong FCS: \
                  errors of layer 2 never reach a SPAN port"
                .to_owned(),
            cure: "where such errors matter, tap the link itself (kind = \"tap\"): a tap repeats them as they are".to_owned(),
        });
    }
}

/// SPAN ports that are to carry more than their line.
pub(super) fn oversubscribed(told: &Told<'_>, advice: &mut Vec<Advice>) {
    for (port, traffic) in at_spans(told) {
        let Some(speed) = told.speed_bits(port) else { continue };
        let (at_ns, peak) = peak(&traffic);
        if peak <= speed {
            continue;
        }
        advice.push(Advice {
            at: told.place(port),
            what: format!(
                "{} is a SPAN port of {}, and {} are mirrored to it from {} on",
                shown(&told.plan.port(port).name),
                ShownRate(speed),
                ShownRate(peak),
                ShownTime(at_ns)
            ),
            why: "both directions of one full-duplex port already are twice its speed, and several ports more; the switch \
                  drops what does not fit, and no counter of the sensor tells of it"
                .to_owned(),
            cure: "mirror fewer ports or one direction, use a faster SPAN port, or tap the links that matter".to_owned(),
        });
    }
}

fn at_spans<'t>(told: &Told<'t>) -> BTreeMap<PortId, Vec<&'t Traffic>> {
    let mut by_port: BTreeMap<PortId, Vec<&Traffic>> = BTreeMap::new();
    for traffic in &told.simulation.traffic {
        if told.plan.port(traffic.at.port).role == Role::Span {
            by_port.entry(traffic.at.port).or_default().push(traffic);
        }
    }
    by_port
}

/// The highest rate of all that come together, bits a second, and when it is reached first. Captures count as
/// nothing: what they hold is not known here.
fn peak(traffic: &[&Traffic]) -> (u64, u64) {
    let rate = |it: &Traffic| match it.pattern {
        Pattern::Constant { rate_bits, .. }
        | Pattern::Poisson { rate_bits, .. }
        | Pattern::OnOff { rate_bits, .. } => rate_bits,
        Pattern::Capture { .. } => 0,
    };
    // Rates rise only where something begins. Of many sources, those that begin at one time are summed up once.
    let mut changes: Vec<(u64, bool, u64)> = Vec::new();
    for it in traffic {
        changes.push((it.from_ns, true, rate(it)));
        changes.extend(it.until_ns.map(|until| (until, false, rate(it))));
    }
    // What ends at a moment ends before what begins then.
    changes.sort_unstable();
    let (mut now, mut highest) = (0u64, (0, 0));
    for (at_ns, begins, bits) in changes {
        now = if begins { now.saturating_add(bits) } else { now.saturating_sub(bits) };
        if now > highest.1 {
            highest = (at_ns, now);
        }
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::super::tests::advice;

    fn span(keys: &str, sources: &str) -> String {
        let device = "[[device]]\nname = 't'\nkind = 'link-aggregator'\nspans = ['s']\nmonitors = ['m']\n";
        advice(&format!(
            "[ports]\ns = {{ interface = 's0'{keys} }}\nm = 'm0'\n{device}[simulate]\nsources = {{ s = {sources} }}\n"
        ))
    }

    #[test]
    fn errors_never_reach_a_span_port() {
        let said = span("", "['cbr:1Mbit:60:errors=0.1%', 'cbr:1Mbit:59', 'cbr:1Mbit:1515']");
        assert!(
            said.starts_with(
                "f:2:1: advice: `s` is a SPAN port, and is to get damaged frames, runts and giants: "
            ),
            "{said}"
        );
        assert_eq!(span("", "['cbr:1Mbit:60', 'cbr:1Mbit:1514', 'poisson:1Mbit:mix', 'x.pcap']"), "");
    }

    #[test]
    fn two_directions_do_not_fit_one_span_port() {
        let both = "['cbr:60Mbit:1500@0s-2s', 'poisson:60Mbit:mix@1s-']";
        let said = span(", speed = '100Mbit'", both);
        let what =
            "f:2:1: advice: `s` is a SPAN port of 100Mbit, and 120Mbit are mirrored to it from 1s on: ";
        assert!(said.starts_with(what), "{said}");
        assert_eq!(span("", both), "");
        assert_eq!(span(", speed = '120Mbit'", both), "");
        assert_eq!(span(", speed = '100Mbit'", "['cbr:60Mbit:1500@0s-1s', 'poisson:60Mbit:mix@1s-']"), "");
    }
}
