//! What the tests of this crate share: what random plans are wired to, and what a verdict of `eval`
//! means in counters.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod classic;
pub mod kernel;
pub mod steering;

use std::collections::BTreeMap;

use bpf::asm::MapRef;
use bpf::emit::{self, EmitError, Mode};
use bpf::layout::{Counter, Layout, Part, Place, Target, View, Wiring};
use plan::arbitrary::{self, Random};
use plan::eval::{Fate, State, Time, Verdict, eval};
use plan::plan::{Hook, HookId, Plan, PortId, Role, Sink};
use rules::form::CopyIndex;
use wire::{Frame, Tag};

/// XDP wherever it can be, copies to sinks with a queue by the hop.
pub fn xdp_wiring(plan: &Plan) -> Wiring {
    let mut wiring = Wiring::all(plan, View::Xdp);
    for (id, port) in plan.ports() {
        if port.role == Role::Watched {
            wiring.views[usize::from(id.0)] = View::Tc;
        }
    }
    for (id, hook) in plan.hooks() {
        if wiring.view(hook) == View::Xdp {
            let queued = |index: &CopyIndex| {
                let Sink::Port(port) = plan.sink(Plan::copy(hook, *index).sink);
                plan.port(*port).queue.is_some()
            };
            let all = (0..u16::try_from(hook.copies.len()).unwrap()).map(CopyIndex);
            wiring.hops[usize::from(id.0)] = all.filter(queued).collect();
        }
    }
    // What XDP refuses goes to tc, as the engine does it.
    while let Err(error) = bpf::emit(plan, &wiring, Mode::Attach) {
        let hook = match error {
            EmitError::TooManyIntervals { hook, .. }
            | EmitError::TooManyOutcomes { hook, .. }
            | EmitError::TooManyTests { hook, .. }
            | EmitError::TooManyMaps { hook, .. }
            | EmitError::HopByRules { hook } => hook,
            other => panic!("{other}"),
        };
        wiring.views[usize::from(plan.hook(hook).at.port.0)] = View::Tc;
        wiring.hops[usize::from(hook.0)].clear();
    }
    wiring
}

/// A hook of the plan and a frame for it; `None` where the plan judges nothing.
pub fn hook_and_frame(random: &mut Random, plan: &Plan) -> Option<(HookId, Vec<u8>)> {
    let at = arbitrary::point(random, plan)?;
    let (id, _) = plan.hook_at(at)?;
    Some((id, arbitrary::frame(random, plan)))
}

/// As it is in the tc view: the outer tag beside the data, as `skb_vlan_untag` takes it off. The kernel
/// needs the inner EtherType to be there.
pub fn untagged(data: &[u8]) -> (Vec<u8>, Option<Tag>) {
    match Frame::ethernet(data).unwrap().outer_tag() {
        Some(tag) if data.len() >= 18 => ([&data[..12], &data[16..]].concat(), Some(tag)),
        _ => (data.to_vec(), None),
    }
}

/// What `eval` says of a frame at a hook.
pub fn verdict(plan: &Plan, hook: &Hook, data: &[u8]) -> Verdict {
    let link_type = plan.port(hook.at.port).link_type;
    let frame = Frame { link_type, ..Frame::ethernet(data).unwrap() };
    eval(plan, &mut State::default(), Time(0), 0, hook.at, &frame).expect("the point is a hook's")
}

/// What the entry of the hook must have counted for one frame. Counters that are not named are 0.
pub fn expected(verdict: &Verdict, wiring: &Wiring, plan: &Plan, octets: u64) -> BTreeMap<Counter, u64> {
    let id = verdict.hook;
    let mut want = BTreeMap::new();
    let mut add = |counter, by: u64| *want.entry(counter).or_insert(0) += by;
    add(Counter::In(id), 1);
    add(Counter::InBytes(id), octets);
    match &verdict.fate {
        Fate::Left => add(Counter::Left(id), 1),
        Fate::Consumed => add(Counter::Consumed(id), 1),
        Fate::Blocked(rule) => add(Counter::Blocked(id, *rule), 1),
        Fate::Passed(ports) => {
            for port in ports {
                add(Counter::Handed(id, *port), 1);
                add(Counter::HandedBytes(id, *port), octets);
            }
        }
    }
    for copy in &verdict.copies {
        add(Counter::Matched(id, *copy), 1);
        add(Counter::MatchedBytes(id, *copy), octets);
        if wiring.view(plan.hook(id)) == View::Tc {
            add(Counter::Copied(id, *copy), 1);
            add(Counter::CopiedBytes(id, *copy), octets);
        }
    }
    // An empty frame has no bytes to count.
    want.retain(|_, value| *value != 0);
    want
}

/// The targets of a frame in the XDP view.
pub fn targets(plan: &Plan, wiring: &Wiring, verdict: &Verdict) -> Vec<Target> {
    let mut targets = Vec::new();
    if let Fate::Passed(ports) = &verdict.fate {
        targets.extend(ports.iter().copied().map(Target::Port));
    }
    for copy in &verdict.copies {
        if !wiring.by_hop(verdict.hook, *copy) {
            targets.push(Target::Port(copy_port(plan, plan.hook(verdict.hook), *copy)));
        } else if !targets.contains(&Target::Hop(verdict.hook)) {
            targets.push(Target::Hop(verdict.hook));
        }
    }
    targets
}

/// What an entry in the tc view returns.
pub fn tc_returns(verdict: &Verdict) -> u32 {
    let returned = match verdict.fate {
        Fate::Left => emit::TC_NEXT,
        Fate::Consumed => emit::TC_STOLEN,
        Fate::Blocked(_) => emit::TC_SHOT,
        Fate::Passed(_) => emit::TC_REDIRECT,
    };
    returned.cast_unsigned()
}

/// The port that a copy goes to.
pub fn copy_port(plan: &Plan, hook: &Hook, copy: CopyIndex) -> PortId {
    let Sink::Port(port) = plan.sink(Plan::copy(hook, copy).sink);
    *port
}

/// The counters of a part under their names; those that are 0 are left out.
pub fn named(layout: &Layout, part: Part, read: impl Fn(Place) -> u64) -> BTreeMap<Counter, u64> {
    let block = layout.block(part).expect("the part counts");
    let of_part = layout.counters().filter(|(counter, place)| match place.map {
        MapRef::Tallies => part == Part::Entry(hook_of(*counter)),
        _ => place.block == block,
    });
    of_part.map(|(counter, place)| (counter, read(place))).filter(|(_, value)| *value != 0).collect()
}

/// The hook of a counter that may lie in a row.
fn hook_of(counter: Counter) -> HookId {
    match counter {
        Counter::Matched(hook, _)
        | Counter::MatchedBytes(hook, _)
        | Counter::Copied(hook, _)
        | Counter::CopiedBytes(hook, _)
        | Counter::Failed(hook, ..)
        | Counter::Blocked(hook, _) => hook,
        other => panic!("{other:?} lies in a block"),
    }
}

/// The hook's id as a `usize`.
pub fn index(id: HookId) -> usize {
    usize::from(id.0)
}
