//! Monitor ports: buffers that hold nothing, sides that fold, queues that XDP goes around.

use std::collections::BTreeMap;

use super::Advice;
use crate::plan::{Attach, Hook, Origin, Plan, SIDES_MAX, Sink};
use crate::problem::shown;
use crate::units::ShownSize;

/// The longest Ethernet frame without tags and FCS that every card passes, octets.
const FULL_FRAME: u64 = 1514;

pub(super) fn small_buffers(plan: &Plan, places: &BTreeMap<String, Origin>, advice: &mut Vec<Advice>) {
    for port in &plan.ports {
        let Some(queue) = port.queue.filter(|queue| queue.buffer_bytes < FULL_FRAME) else { continue };
        advice.push(Advice {
            at: places.get(&port.name).cloned(),
            what: format!("the buffer of {} is {}", shown(&port.name), ShownSize(queue.buffer_bytes)),
            why: format!(
                "a full frame has {FULL_FRAME} octets, so that none can wait, and all that should are lost"
            ),
            cure: "leave `buffer` out for 1MiB a side".to_owned(),
        });
    }
}

pub(super) fn folded_sides(plan: &Plan, places: &BTreeMap<String, Origin>, advice: &mut Vec<Advice>) {
    for (id, _) in plan.sinks() {
        let name = plan.sink_name(id);
        let count = plan.hooks().filter(|(_, hook)| hook.copies.iter().any(|copy| copy.sink == id)).count();
        if count > SIDES_MAX {
            advice.push(Advice {
                at: places.get(name).cloned(),
                what: format!("{} is fed from {count} sides", shown(name)),
                why: format!("above {SIDES_MAX} they fold into two, `even` and `odd`, with one buffer and one count each"),
                cure: "divide the sources between more monitors to keep their losses apart".to_owned(),
            });
        }
    }
}

pub(super) fn xdp_into_queues(plan: &Plan, places: &BTreeMap<String, Origin>, advice: &mut Vec<Advice>) {
    let queued = |hook: &Hook| {
        let mut sinks = hook.copies.iter().map(|copy| plan.sink(copy.sink));
        sinks.find_map(|Sink::Port(port)| Some(plan.port(*port)).filter(|port| port.queue.is_some()))
    };
    for hook in &plan.hooks {
        let port = plan.port(hook.at.port);
        if port.attach != Attach::Xdp {
            continue;
        }
        let Some(monitor) = queued(hook) else { continue };
        let at = places.get(&port.name).cloned();
        if advice.last().is_some_and(|last| last.at.is_some() && last.at == at) {
            continue;
        }
        advice.push(Advice {
            at,
            what: format!("{} asks for XDP, and {} has a rate", shown(&port.name), shown(&monitor.name)),
            why: "XDP sends past queues, so that these copies take a slower way through tc; frames that pass do not"
                .to_owned(),
            cure: "remove the rate if the monitor need not be modelled, or leave it so".to_owned(),
        });
    }
}
