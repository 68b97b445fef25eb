//! Plans and frames by chance, from a seed: the same seed gives the same ones on every machine.
//!
//! Every backend is compared with [`eval`](crate::eval()) over these. They are valid (they print and
//! read back), and reach further than configs do: several ports to pass to, blocks, tables that
//! programs use out of order. Frames are drawn so that the tests of a plan often hold. [`steering_plan`] and
//! [`packet`] do the same for programs that look at headers, rules of which one decides, and spreads.

mod packet;
mod pool;
mod steering;
mod tunnel;

use std::collections::BTreeSet;

use rules::form::{Action, CopyIndex, Program, RuleId, Step, Test};
use wire::{LinkType, Vlan};

use crate::plan::{
    Attach, Copy, Direction, Hook, Origin, Pass, Plan, Point, Port, PortId, Queue, Role, Rule, Sink, SinkId,
};

pub use packet::{ip_packet, packet};
pub use steering::steering_plan;

/// A sequence of numbers that a seed decides (SplitMix64, Steele, Lea and Flood 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.bits() % end.max(1)).unwrap_or(0)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these, which are not none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn octet(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }

    fn fill(&mut self, out: &mut Vec<u8>, count: usize) {
        out.extend((0..count).map(|_| self.octet()));
    }
}

/// VLANs that plans and frames share often enough to meet.
const COMMON_VLANS: [u16; 8] = [0, 1, 10, 20, 21, 100, 4094, 4095];

/// A valid plan of at most 8 ports of each role, with 3 sinks and 40 steps a hook at most.
pub fn plan(random: &mut Random) -> Plan {
    let mut plan = Plan::default();
    let roles = [
        (Role::Network, random.below(3) * 2),
        (Role::Span, random.below(3)),
        (Role::Watched, random.below(3)),
        (Role::Monitor, random.below(3) + 1),
        (Role::Virtual, random.below(2)),
    ];
    let mut order: Vec<Role> = roles.iter().flat_map(|(role, count)| vec![*role; *count]).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    for (role, number) in order.into_iter().zip(0u16..) {
        plan.ports.push(port(random, role, number));
        if matches!(role, Role::Monitor | Role::Virtual) {
            plan.sinks.push(Sink::Port(PortId(number)));
        }
    }
    for number in 0..=random.below(4) {
        let origin =
            Origin { file: (*random.pick(&["t.toml", "my file", "ä:1"])).to_owned(), line: 1, column: 9 };
        let label = (*random.pick(&["perimeter", "the same", "#0", "quote\""])).to_owned();
        let label = if random.one_in(4) { label } else { format!("r{number}") };
        plan.rules.push(Rule { label, origin: (!random.one_in(4)).then_some(origin) });
    }
    let points: Vec<Point> = plan.ports().flat_map(|(id, port)| points(id, port.role)).collect();
    for at in points {
        if !random.one_in(8) {
            let hook = hook(random, &plan, at);
            plan.hooks.push(hook);
        }
    }
    plan
}

fn port(random: &mut Random, role: Role, number: u16) -> Port {
    let attach = *random.pick(&[Attach::Auto, Attach::Auto, Attach::Xdp, Attach::Tcx, Attach::Clsact]);
    let queue = Queue {
        rate_bits: 1_000 * (1 + random.bits() % 10_000_000),
        buffer_bytes: 1 + random.bits() % 4_000_000,
    };
    Port {
        name: format!("p{number}"),
        interface: format!("if{number}"),
        role,
        link_type: LinkType::ETHERNET,
        attach,
        queue: (role == Role::Monitor && random.one_in(3)).then_some(queue),
    }
}

fn points(port: PortId, role: Role) -> Vec<Point> {
    match role {
        Role::Network | Role::Span => vec![Point { port, direction: Direction::In }],
        Role::Watched => [Direction::In, Direction::Out].map(|direction| Point { port, direction }).to_vec(),
        Role::Monitor | Role::Virtual => vec![],
    }
}

fn hook(random: &mut Random, plan: &Plan, at: Point) -> Hook {
    let others: Vec<PortId> = plan
        .ports()
        .filter(|(id, port)| *id != at.port && port.role == Role::Network)
        .map(|(id, _)| id)
        .collect();
    let pass = match plan.port(at.port).role {
        Role::Watched => Pass::Leave,
        // Mostly a link, sometimes a hub. Network ports come in twos, so that there is another.
        Role::Network if random.one_in(6) => Pass::To(others.into_iter().collect()),
        Role::Network => Pass::To(BTreeSet::from([*random.pick(&others)])),
        _ => Pass::To(BTreeSet::new()),
    };
    let rule = |random: &mut Random| RuleId(u32::try_from(random.below(plan.rules.len())).unwrap_or(0));
    let mut copies = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..if random.one_in(20) { 40 } else { random.below(5) } {
        let (rule, when) = (rule(random), vlan_test(random));
        let then = if random.one_in(8) {
            Action::Block
        } else if random.one_in(8) && !copies.is_empty() {
            Action::Copy(CopyIndex(u16::try_from(random.below(copies.len())).unwrap_or(0)))
        } else {
            let sink = SinkId(u16::try_from(random.below(plan.sinks.len())).unwrap_or(0));
            copies.push(Copy { rule, sink });
            Action::Copy(CopyIndex(u16::try_from(copies.len() - 1).unwrap_or(0)))
        };
        steps.push(Step { rule, when, then });
    }
    if random.one_in(10) {
        for at in (1..steps.len()).rev() {
            steps.swap(at, random.below(at + 1));
        }
    }
    Hook { at, pass, copies, program: Program { steps, ..Program::default() } }
}

fn vlan_test(random: &mut Random) -> Test {
    let count = match random.below(8) {
        0..=2 => return Test::Always,
        3..=5 => 1,
        6 => random.below(12),
        _ => random.below(400),
    };
    let mut ids = BTreeSet::new();
    while ids.len() < count {
        let first = if random.one_in(2) { *random.pick(&COMMON_VLANS) } else { vlan_bits(random) };
        let run = if random.one_in(4) { 1 + random.below(20) } else { 1 };
        ids.extend((first..4096).take(run).filter_map(Vlan::new));
    }
    Test::Vlan(ids)
}

fn vlan_bits(random: &mut Random) -> u16 {
    u16::from_le_bytes([random.octet(), random.octet()]) & 0x0fff
}

/// A point at which frames are judged, where the plan has one.
pub fn point(random: &mut Random, plan: &Plan) -> Option<Point> {
    if plan.hooks.is_empty() { None } else { Some(random.pick(&plan.hooks).at) }
}

/// A frame: mostly Ethernet with up to three tags around IPv4, IPv6, ARP, LLDP or noise, 14 to 1518
/// octets and 4 for each tag; sometimes a runt of 0 to 20 octets.
pub fn frame(random: &mut Random, plan: &Plan) -> Vec<u8> {
    let mut data = Vec::new();
    random.fill(&mut data, 12);
    if random.one_in(8) {
        data[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, random.octet() & 0x0f]);
    }
    let tags = [0, 0, 1, 1, 1, 2, 2, 3][random.below(8)];
    for _ in 0..tags {
        // 0x9100 announces no tag to Linux, and so to no test.
        let protocol: [u8; 2] = *random.pick(&[[0x81, 0x00], [0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]]);
        let tci = (vlan_near(random, plan) | (vlan_bits(random) << 12)).to_be_bytes();
        data.extend(protocol.into_iter().chain(tci));
    }
    payload(random, &mut data);
    let longest = 1518 + 4 * tags;
    let length = match random.below(6) {
        0 => 14 + random.below(longest - 13),
        1 => longest,
        2 => 60,
        _ => data.len() + random.below(200),
    };
    if data.len() < length {
        let missing = length - data.len();
        random.fill(&mut data, missing);
    }
    data.truncate(longest);
    if random.one_in(16) {
        data.truncate(random.below(21));
    }
    data
}

/// Often one that a test of the plan names, or its neighbour.
fn vlan_near(random: &mut Random, plan: &Plan) -> u16 {
    let named = point(random, plan).and_then(|at| plan.hook_at(at)).and_then(|(_, hook)| {
        let steps = &hook.program.steps;
        let test = if steps.is_empty() { None } else { Some(&random.pick(steps).when) };
        match test {
            Some(Test::Vlan(ids)) if !ids.is_empty() => ids.iter().nth(random.below(ids.len())),
            _ => None,
        }
    });
    match (named, random.below(4)) {
        (Some(vlan), 0..=1) => vlan.id(),
        (Some(vlan), 2) => (vlan.id() + 1) & 0x0fff,
        _ if random.one_in(2) => *random.pick(&COMMON_VLANS),
        _ => vlan_bits(random),
    }
}

fn payload(random: &mut Random, data: &mut Vec<u8>) {
    match random.below(6) {
        0 => {
            data.extend([0x08, 0x00, 0x45, 0x00, 0x00, 0x28, 0, 0, 0x40, 0x00, 64]);
            let protocol = *random.pick(&[1, 6, 17, 47, 132]);
            data.extend([protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            random.fill(data, 20);
        }
        1 => {
            data.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0x00, 0x14, 6, 64]);
            random.fill(data, 52);
        }
        2 => {
            data.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
            random.fill(data, 20);
        }
        3 => {
            data.extend([0x88, 0xcc, 0x02, 0x07, 0x04]);
            random.fill(data, 30);
        }
        4 => {
            // A length, as in IEEE 802.3 with LLC: spanning tree.
            data.extend([0x00, 0x26, 0x42, 0x42, 0x03]);
            random.fill(data, 35);
        }
        _ => {
            let count = 2 + random.below(64);
            random.fill(data, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{State, Time};
    use crate::{eval, text};
    use wire::Frame;

    #[test]
    fn random_plans_read_back_and_judge_the_same() {
        let (mut judged, mut held) = (0u32, 0u32);
        for seed in 0..2_000 {
            let mut random = Random::new(seed);
            let plan = plan(&mut random);
            let printed = plan.to_string();
            let read = text::parse(&printed).unwrap_or_else(|e| panic!("seed {seed}\n{e}\n{printed}"));
            assert_eq!(read, plan, "seed {seed}\n{printed}");
            assert_eq!(read.to_string(), printed, "seed {seed}");
            for _ in 0..4 {
                let Some(at) = point(&mut random, &plan) else { continue };
                let data = frame(&mut random, &plan);
                let frame = Frame::ethernet(&data).expect("a frame of at most 1530 octets");
                let (time, state) = (Time(0), State::default());
                let verdict = eval(&plan, &mut state.clone(), time, seed, at, &frame);
                assert_eq!(eval(&read, &mut state.clone(), time, seed, at, &frame), verdict, "seed {seed}");
                let (_, hook) = plan.hook_at(at).expect("the point is a hook's");
                let tests = hook.program.steps.iter().filter(|step| step.when != Test::Always);
                for step in tests {
                    judged += 1;
                    held += u32::from(step.when.holds(&frame));
                }
            }
        }
        // The frames must reach both answers of the tests, or nothing is compared.
        assert!(held > judged / 20 && held < judged / 2, "{held} of {judged} VLAN tests held");
    }

    #[test]
    fn the_same_seed_gives_the_same() {
        let make = |seed| {
            let mut random = Random::new(seed);
            let plan = plan(&mut random);
            let frame = frame(&mut random, &plan);
            (plan, frame)
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }
}
