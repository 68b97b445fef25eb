//! What the tests of this crate share: random plans and frames from a seed, and what a verdict of `eval`
//! means in counters.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::{BTreeMap, BTreeSet};

use bpf::emit::{EmitError, Mode};
use bpf::layout::{Counter, Part, View, Wiring};
use plan::eval::{Fate, State, Time, Verdict, eval};
use plan::plan::{
    Attach, Copy, Direction, Hook, HookId, Origin, Pass, Plan, Point, Port, PortId, Queue, Role, Rule, Sink,
    SinkId,
};
use rules::form::{Action, CopyIndex, Program, RuleId, Step, Test};
use wire::{Frame, LinkType, Tag, Vlan};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below a limit, which is not 0.
    pub fn below(&mut self, limit: u16) -> u16 {
        u16::try_from(self.next() % u64::from(limit)).unwrap()
    }

    pub fn one_in(&mut self, n: u16) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: std::marker::Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.below(u16::try_from(from.len()).unwrap()))]
    }
}

/// The seed of this run: `TAPWRIGHT_SEED`, or the clock. Printed, so that a failure can be had again.
pub fn seed() -> u64 {
    let seed = match std::env::var("TAPWRIGHT_SEED") {
        Ok(text) => text.parse().expect("TAPWRIGHT_SEED is a number"),
        Err(_) => {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(since.subsec_nanos()) << 20 ^ since.as_secs()
        }
    };
    println!("TAPWRIGHT_SEED={seed}");
    seed
}

const VLANS: [u16; 12] = [0, 1, 2, 3, 10, 63, 64, 100, 101, 2048, 4094, 4095];

fn vlans(random: &mut Random) -> BTreeSet<Vlan> {
    let mut set = BTreeSet::new();
    let count = if random.one_in(12) { 0 } else { 1 + random.below(6) };
    for _ in 0..count {
        let first = if random.one_in(4) { random.below(4096) } else { random.pick(&VLANS) };
        let last = if random.one_in(3) { (first + random.below(300)).min(4095) } else { first };
        set.extend((first..=last).filter_map(Vlan::new));
    }
    if random.one_in(60) {
        set = (0..4096).filter(|id| id % 2 == 1).filter_map(Vlan::new).collect();
    }
    set
}

fn port(name: String, role: Role, link_type: LinkType, queue: Option<Queue>) -> Port {
    Port { interface: format!("if{name}"), name, role, link_type, attach: Attach::Auto, queue }
}

/// A plan with every kind of hook in it.
pub fn plan(random: &mut Random) -> Plan {
    let mut plan = Plan::default();
    let networks = 2 + random.below(3);
    for n in 0..networks {
        let link_type = if random.one_in(10) { LinkType::RAW } else { LinkType::ETHERNET };
        plan.ports.push(port(format!("n{n}"), Role::Network, link_type, None));
    }
    let spans = random.below(2);
    for n in 0..spans {
        plan.ports.push(port(format!("s{n}"), Role::Span, LinkType::ETHERNET, None));
    }
    let watched = random.below(2);
    for n in 0..watched {
        plan.ports.push(port(format!("w{n}"), Role::Watched, LinkType::ETHERNET, None));
    }
    for n in 0..1 + random.below(4) {
        let queue = random.one_in(3).then_some(Queue { rate_bits: 100_000_000, buffer_bytes: 1 << 20 });
        let role = if random.one_in(5) { Role::Virtual } else { Role::Monitor };
        let id = PortId(u16::try_from(plan.ports.len()).unwrap());
        plan.ports.push(port(format!("m{n}"), role, LinkType::ETHERNET, queue));
        plan.sinks.push(Sink::Port(id));
    }
    for n in 0..3 {
        let origin = Some(Origin { file: "config.toml".to_owned(), line: 6 + n, column: 1 });
        plan.rules.push(Rule { label: format!("rule{n}"), origin });
    }
    for at in 0..networks {
        let others: Vec<PortId> = (0..networks).filter(|p| *p != at).map(PortId).collect();
        let pass = if random.one_in(4) { others.into_iter().collect() } else { BTreeSet::from([others[0]]) };
        hook(random, &mut plan, at, Direction::In, Pass::To(pass));
    }
    for at in networks..networks + spans {
        hook(random, &mut plan, at, Direction::In, Pass::To(BTreeSet::new()));
    }
    for at in networks + spans..networks + spans + watched {
        hook(random, &mut plan, at, Direction::In, Pass::Leave);
        hook(random, &mut plan, at, Direction::Out, Pass::Leave);
    }
    plan
}

fn hook(random: &mut Random, plan: &mut Plan, port: u16, direction: Direction, pass: Pass) {
    let mut copies = Vec::new();
    for _ in 0..1 + random.below(4) {
        let sink = SinkId(random.below(u16::try_from(plan.sinks.len()).unwrap()));
        copies.push(Copy { rule: RuleId(u32::from(random.below(3))), sink });
    }
    let mut steps = Vec::new();
    for _ in 0..random.below(6) {
        let when = if random.one_in(3) { Test::Always } else { Test::Vlan(vlans(random)) };
        let copy = CopyIndex(random.below(u16::try_from(copies.len()).unwrap()));
        let then = if random.one_in(5) { Action::Block } else { Action::Copy(copy) };
        steps.push(Step { rule: RuleId(u32::from(random.below(3))), when, then });
    }
    let at = Point { port: PortId(port), direction };
    plan.hooks.push(Hook { at, pass, copies, program: Program { steps } });
}

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
            EmitError::TooManyIntervals { hook, .. } | EmitError::TooManyOutcomes { hook, .. } => hook,
            other => panic!("{other}"),
        };
        wiring.views[usize::from(plan.hook(hook).at.port.0)] = View::Tc;
        wiring.hops[usize::from(hook.0)].clear();
    }
    wiring
}

/// A frame of 14 octets or more, often tagged, often cut.
pub fn frame(random: &mut Random) -> Vec<u8> {
    let mut data: Vec<u8> = (0..12).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
    let types: [u16; 11] =
        [0x0800, 0x86dd, 0x0806, 0x8100, 0x8100, 0x8100, 0x88a8, 0x88a8, 0x9100, 0x88cc, 0x0064];
    for _ in 0..random.below(4) {
        let tag = random.pick(&types);
        let vlan = if random.one_in(4) { random.below(4096) } else { random.pick(&VLANS) };
        data.extend(tag.to_be_bytes());
        data.extend((vlan | random.below(16) << 12).to_be_bytes());
    }
    data.extend(random.pick(&types).to_be_bytes());
    let rest = if random.one_in(3) { random.below(6) } else { random.below(120) };
    data.extend((0..rest).map(|_| u8::try_from(random.below(256)).unwrap()));
    data
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
    want
}

/// The port that a copy goes to.
pub fn copy_port(plan: &Plan, hook: &Hook, copy: CopyIndex) -> PortId {
    let Sink::Port(port) = plan.sink(Plan::copy(hook, copy).sink);
    *port
}

/// A block's slots under the counters' names; slots that are 0 are left out.
pub fn named(layout: &bpf::layout::Layout, part: Part, slots: impl Fn(u16) -> u64) -> BTreeMap<Counter, u64> {
    let block = layout.block(part).expect("the part counts");
    let of_block = layout.counters().filter(|(_, place)| place.block == block);
    of_block.map(|(counter, place)| (counter, slots(place.slot))).filter(|(_, value)| *value != 0).collect()
}

/// The hook's id as a `usize`.
pub fn index(id: HookId) -> usize {
    usize::from(id.0)
}
