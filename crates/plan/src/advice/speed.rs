//! Speeds: monitors that are fed more than they carry, and links whose ends do not fit.

use std::collections::{BTreeMap, BTreeSet};

use rules::form::{Action, Test};

use super::{Advice, Told};
use crate::plan::{Direction, HookId, Pass, Plan, PortId, Queue, Role, Sink, SinkId};
use crate::problem::{listed, shown};
use crate::units::{ShownRate, ShownSize};

/// Monitors whose sources can carry more than they do. Only copies of all frames count, and only lines whose speed is
/// said: what rules choose, and what a share of a balance is, nobody knows before.
pub(super) fn monitors(told: &Told<'_>, advice: &mut Vec<Advice>) {
    let full: Vec<(SinkId, Vec<(HookId, u64)>)> =
        told.plan.sinks().map(|(id, _)| (id, full_copies(told, id))).collect();
    for (id, sources) in &full {
        let Sink::Port(port) = *told.plan.sink(*id);
        let queue = told.plan.port(port).queue;
        let rate = queue.map(|queue| queue.rate_bits);
        let Some(carries) = rate.into_iter().chain(told.speed_bits(port)).min() else { continue };
        let sum = sources.iter().fold(0u64, |sum, (_, speed)| sum.saturating_add(*speed));
        if sum <= carries {
            continue;
        }
        // Sensors that get the same frames could have a share of them each.
        let alike = full.iter().filter(|(_, others)| others == sources).count();
        advice.push(Advice {
            at: told.place(port),
            what: format!(
                "{} of {} can bring {}, and {} carries {}",
                if sources.len() == 1 { "the line" } else { "the lines" },
                names(told.plan, sources),
                ShownRate(sum),
                shown(&told.plan.port(port).name),
                ShownRate(carries)
            ),
            why: why(sources, carries, queue.filter(|queue| queue.rate_bits == carries)),
            cure: cure(told.plan, sources, carries, alike),
        });
    }
}

/// The hooks of which a sink gets every frame, with the speeds of their lines as far as they are said.
fn full_copies(told: &Told<'_>, sink: SinkId) -> Vec<(HookId, u64)> {
    let gets_all = |id: HookId| {
        let hook = told.plan.hook(id);
        let all = |step: &rules::form::Step| match step.then {
            Action::Copy(copy) => step.when == Test::Always && Plan::copy(hook, copy).sink == sink,
            _ => false,
        };
        hook.program.steps.iter().any(all)
    };
    let hooks = told.plan.hooks().filter(|(id, _)| gets_all(*id));
    hooks.filter_map(|(id, hook)| Some((id, told.speed_bits(hook.at.port)?))).collect()
}

fn names(plan: &Plan, sources: &[(HookId, u64)]) -> String {
    let names: Vec<String> = sources.iter().map(|(id, _)| shown(&plan.source_name(plan.hook(*id)))).collect();
    match names.len() {
        ..=4 => listed(&names),
        more => format!("{}, {} and {} others", names[0], names[1], more - 2),
    }
}

fn why(sources: &[(HookId, u64)], carries: u64, queue: Option<Queue>) -> String {
    let carried = ShownRate(carries);
    let Some(queue) = queue else {
        return format!(
            "while they bring no more than {carried} together nothing waits; what is more than that is lost as soon as the \
             queue of its interface is full"
        );
    };
    let speeds: Vec<u64> = sources.iter().map(|(_, speed)| *speed).collect();
    let full_us = full_after_us(&speeds, carries, queue.buffer_bytes);
    let (whole, part) = (full_us / 1_000_000, full_us % 1_000_000 / 1000);
    format!(
        "while they bring no more than {carried} together nothing waits; above that the surplus of each waits in a buffer \
         of {}, the first of which is full after {whole}.{part:03} s of full load, and from then on the surplus is lost",
        ShownSize(queue.buffer_bytes)
    )
}

/// How long full load lasts until the first buffer is full, microseconds. Sides that wait are served alike, and what
/// brings less than its share leaves the rest of it to the others: the busiest side has the largest surplus.
fn full_after_us(speeds: &[u64], carries: u64, buffer_bytes: u64) -> u64 {
    let mut sorted = speeds.to_vec();
    sorted.sort_unstable();
    let mut left = carries;
    let mut share = 0;
    for (speed, sides) in sorted.iter().zip((1..=u64::try_from(sorted.len()).unwrap_or(u64::MAX)).rev()) {
        share = left / sides;
        left -= share.min(*speed);
    }
    let surplus = sorted.last().copied().unwrap_or(0).saturating_sub(share).max(1);
    let us = u128::from(buffer_bytes) * 8 * 1_000_000 / u128::from(surplus);
    u64::try_from(us).unwrap_or(u64::MAX)
}

fn cure(plan: &Plan, sources: &[(HookId, u64)], carries: u64, alike: usize) -> String {
    let ports: BTreeSet<PortId> = sources.iter().map(|(id, _)| plan.hook(*id).at.port).collect();
    let fits_alone = sources.iter().all(|(_, speed)| *speed <= carries);
    let mut cures = Vec::new();
    if alike > 1 {
        cures.push(format!(
            "{alike} monitors get the same: let rules or balance = \"flow\" share it between them (kind = \"distributor\")"
        ));
    } else {
        cures.push("let rules choose what the sensor needs (kind = \"distributor\")".to_owned());
    }
    let is_link = |port: &PortId| plan.port(*port).role == Role::Network;
    if fits_alone && ports.len() == 2 && ports.iter().all(is_link) {
        cures.push(
            "give each direction a monitor of its own and bond them at the sensor (kind = \"tap\")"
                .to_owned(),
        );
    }
    cures.push("or use a faster port (kind = \"link-aggregator\") and a higher `rate`".to_owned());
    cures.join("; ")
}

/// Links whose ends run at different speeds.
pub(super) fn links(told: &Told<'_>, advice: &mut Vec<Advice>) {
    let hubs: BTreeSet<PortId> =
        told.simulation.hubs.iter().flat_map(|hub| hub.ports.iter().copied()).collect();
    let mut peers: BTreeMap<PortId, PortId> = BTreeMap::new();
    for hook in told.plan.hooks.iter().filter(|hook| hook.at.direction == Direction::In) {
        let Pass::To(to) = &hook.pass else { continue };
        let here = hook.at.port;
        if let Some(there) =
            to.first().filter(|there| to.len() == 1 && here < **there && !hubs.contains(&here))
        {
            peers.insert(here, *there);
        }
    }
    for (a, b) in peers {
        let (Some(of_a), Some(of_b)) = (told.speed_bits(a), told.speed_bits(b)) else { continue };
        if of_a == of_b {
            continue;
        }
        let (fast, slow) = if of_a > of_b { (a, b) } else { (b, a) };
        let name = |port: PortId| shown(&told.plan.port(port).name);
        advice.push(Advice {
            at: told.place(slow),
            what: format!(
                "{} runs at {}, and the other end of its link, {}, at {}",
                name(slow),
                ShownRate(of_a.min(of_b)),
                name(fast),
                ShownRate(of_a.max(of_b))
            ),
            why: format!(
                "without the tap both ends would have agreed on one speed; now what {} sends faster than {} carries is lost \
                 on the way, which a tap may never do",
                name(fast),
                name(slow)
            ),
            cure: "set both ends of a link, and what is plugged into them, to one speed".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::advice;
    use super::*;

    #[test]
    fn the_first_buffer_is_full_when_arithmetic_says() {
        const M: u64 = 1_000_000;
        // The chapter's burst: 90 and 50 into 100, a megabyte a side.
        assert_eq!(full_after_us(&[90 * M, 50 * M], 100 * M, M), 200_000);
        assert_eq!(full_after_us(&[90 * M, 50 * M], 100 * M, 1 << 20), 209_715);
        assert_eq!(full_after_us(&[100 * M, 100 * M], 100 * M, 1 << 20), 167_772);
        assert_eq!(full_after_us(&[10 * M, 100 * M, 100 * M], 100 * M, M), 8_000_000 / 55);
        assert_eq!(full_after_us(&[1000 * M], 100 * M, M), 8_000_000 / 900);
    }

    fn config(a: &str, b: &str, m: &str, device: &str) -> String {
        let port = |name: &str, keys: &str| format!("{name} = {{ interface = '{name}0'{keys} }}\n");
        let ports = [port("a", a), port("b", b), port("m", m), port("n", m)].concat();
        advice(&format!("[ports]\n{ports}[[device]]\nname = 't'\n{device}"))
            .lines()
            .filter(|line| !line.contains("no device uses") && !line.contains("name it in a device"))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    const ONE: &str = "kind = 'port-aggregator'\nlink = ['a', 'b']\nmonitors = ['m']\n";
    const FAST: &str = ", speed = '100Mbit'";

    #[test]
    fn two_directions_into_one_port() {
        assert_eq!(
            config(FAST, FAST, ", rate = '100Mbit'", ONE),
            "f:4:1: advice: the lines of `a` and `b` can bring 200Mbit, and `m` carries 100Mbit: while they bring no more \
             than 100Mbit together nothing waits; above that the surplus of each waits in a buffer of 1MiB, the first of \
             which is full after 0.167 s of full load, and from then on the surplus is lost\n\
             help: let rules choose what the sensor needs (kind = \"distributor\"); give each direction a monitor of its own \
             and bond them at the sensor (kind = \"tap\"); or use a faster port (kind = \"link-aggregator\") and a higher \
             `rate`\n"
        );
        assert!(config(FAST, FAST, FAST, ONE).contains("as soon as the queue of its interface is full"));
        assert_eq!(config(FAST, FAST, ", rate = '200Mbit'", ONE), "");
        assert_eq!(config(FAST, "", ", rate = '100Mbit'", ONE), "", "of b nothing is known");
        assert_eq!(config(FAST, FAST, "", ONE), "", "of m nothing is known");
    }

    #[test]
    fn sensors_that_get_the_same_could_share() {
        let two = ONE.replace("port-agg", "dual-port-agg").replace("['m']", "['m', 'n']");
        let said = config(FAST, FAST, FAST, &two);
        assert_eq!(said.matches("2 monitors get the same: let rules or balance").count(), 2, "{said}");
        let tap = "kind = 'tap'\nlink = ['a', 'b']\nmonitors = [['m', 'n']]\n";
        assert_eq!(config(FAST, FAST, FAST, tap), "", "each has a port of its own");
    }

    #[test]
    fn what_rules_choose_nobody_knows_before() {
        let split =
            "kind = 'distributor'\nlink = ['a', 'b']\n[[device.copy]]\nto = ['m', 'n']\nbalance = 'flow'\n";
        assert_eq!(config(FAST, FAST, FAST, split), "");
        let chosen = "kind = 'distributor'\nlink = ['a', 'b']\n[[device.copy]]\nmatch = 'tcp'\nto = ['m']\n";
        assert_eq!(config(FAST, FAST, FAST, chosen), "");
        let all = "kind = 'distributor'\nlink = ['a', 'b']\n[[device.copy]]\nto = ['m']\n\
                   [[device.copy]]\nmatch = 'port 80'\nto = ['n']\n";
        assert!(config(FAST, FAST, FAST, all).contains("can bring 200Mbit, and `m` carries"));
    }

    #[test]
    fn a_link_has_one_speed() {
        let said = config(", speed = '1Gbit'", FAST, "", ONE);
        assert!(
            said.starts_with(
                "f:3:1: advice: `b` runs at 100Mbit, and the other end of its link, `a`, at 1Gbit: "
            ),
            "{said}"
        );
    }
}
