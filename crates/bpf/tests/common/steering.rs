//! Plans whose programs look at more than VLANs, frames that they tell apart, and what `eval` says of them.

use bpf::emit::Emitted;
use bpf::tables::TableId;
use plan::arbitrary::{self, Random};
use plan::eval::{State, Time, Verdict, eval};
use plan::plan::{HookId, Plan};
use rules::form::{
    Action, Addresses, CopyIndex, End, Handed, LoadSize, Memory, Network, Number, Operator, Program, Ranges,
    Relation, RuleSet, Ruled, Ruling, Step, Test,
};
use wire::Frame;
use wire::headers::walk;

/// What decisions by chance begin with.
pub const SEED: u64 = 0x5eed_0123_4567_89ab;

/// A plan of every kind of test, rule and spread.
pub fn plan(random: &mut Random) -> Plan {
    arbitrary::steering_plan(random)
}

/// A frame: mostly IP, sometimes with packets within packets, sometimes anything.
pub fn frame(random: &mut Random, plan: &Plan) -> Vec<u8> {
    match random.below(8) {
        0 => arbitrary::frame(random, plan),
        1 | 2 => carrying(random, plan),
        _ => arbitrary::packet(random, plan),
    }
}

/// A packet carried in others, one to six deep, sometimes with an octet changed or cut short.
fn carrying(random: &mut Random, plan: &Plan) -> Vec<u8> {
    let inner = arbitrary::packet(random, plan);
    let at = walk(&Frame::ethernet(&inner).unwrap()).payload_at.min(inner.len());
    let mut ip = inner[at..].to_vec();
    ip.truncate(100);
    for _ in 0..random.below(5) {
        ip = wrapped(random, ip);
    }
    let mut data = if random.one_in(4) { labelled(random, ip) } else { ethernet(ip) };
    if random.one_in(3) {
        let at = random.below(data.len().min(120));
        data[at] = random.bits().to_le_bytes()[0];
    }
    if random.one_in(6) {
        data.truncate(random.below(data.len()));
    }
    data
}

fn ethernet(ip: Vec<u8>) -> Vec<u8> {
    let kind = if ip.first().is_some_and(|octet| octet >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
    [vec![2; 12], kind.to_vec(), ip].concat()
}

/// Behind up to five MPLS labels.
fn labelled(random: &mut Random, ip: Vec<u8>) -> Vec<u8> {
    let mut data = [vec![2; 12], vec![0x88, *random.pick(&[0x47, 0x47, 0x48])]].concat();
    let labels = random.below(5);
    data.extend([0, 1, 0, 64].repeat(labels));
    data.extend([0, 1, 1, 64]);
    [data, ip].concat()
}

/// One packet within another.
fn wrapped(random: &mut Random, ip: Vec<u8>) -> Vec<u8> {
    let bridged =
        |random: &mut Random, ip| if random.one_in(4) { labelled(random, ip) } else { ethernet(ip) };
    let (protocol, carried) = match random.below(5) {
        0 => (if ip.first().is_some_and(|octet| octet >> 4 == 6) { 41 } else { 4 }, ip),
        1 => {
            let flags = *random.pick(&[0, 0x80, 0x20, 0x10, 0xb0, 0x40]);
            let words = [0x80u8, 0x20, 0x10].iter().filter(|bit| flags & **bit != 0).count();
            let (kind, ip) = match random.below(3) {
                0 => ([0x65, 0x58], bridged(random, ip)),
                1 => ([0x08, 0x00], ip),
                _ => ([0x88, 0x47], labelled(random, ip)[14..].to_vec()),
            };
            (47, [vec![flags, 0], kind.to_vec(), vec![0; words * 4], ip].concat())
        }
        2 => {
            let flags = *random.pick(&[0x08, 0x08, 0x08, 0x00]);
            (17, udp(4789, [vec![flags, 0, 0, 0, 0, 0, 1, 0], bridged(random, ip)].concat()))
        }
        _ => {
            let flags = *random.pick(&[0x30, 0x30, 0x32, 0x34, 0x37, 0x10]);
            let mut header = vec![flags, 255, 0, 0, 0, 0, 0, 1];
            if flags & 0x07 != 0 {
                header.extend([0, 0, 0]);
                let extensions = if flags & 0x04 != 0 { random.below(4) } else { 0 };
                for _ in 0..extensions {
                    header.extend([0x85, 1, 0, 0]);
                }
                header.push(0);
            }
            (17, udp(2152, [header, ip].concat()))
        }
    };
    let length = u16::try_from(20 + carried.len()).unwrap().to_be_bytes();
    let part = if random.one_in(12) { [0x20, 0] } else { [0, 0] };
    let from = random.bits().to_le_bytes()[0] & 7;
    let header = [0x45, 0, length[0], length[1], 0, 7, part[0], part[1], 64, protocol, 0, 0, 10, 0, 0, from];
    [header.to_vec(), vec![10, 0, 0, 9], carried].concat()
}

fn udp(port: u16, data: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap().to_be_bytes();
    [vec![0x12, 0x34], port.to_be_bytes().to_vec(), length.to_vec(), vec![0, 0], data].concat()
}

/// What `eval` says of a frame at a hook, with a memory.
pub fn verdict(plan: &Plan, state: &mut State, id: HookId, data: &[u8]) -> Verdict {
    let hook = plan.hook(id);
    let link_type = plan.port(hook.at.port).link_type;
    let frame = Frame { link_type, ..Frame::ethernet(data).unwrap() };
    eval(plan, state, Time(0), SEED, hook.at, &frame).expect("the point is a hook's")
}

/// What a hook that is `judged` remembers must be what `eval` does: `read` gives the value of an entry of a table.
pub fn remembered(
    plan: &Plan,
    state: &mut State,
    emitted: &Emitted,
    judged: impl Fn(HookId) -> bool,
    mut read: impl FnMut(TableId, u32) -> Vec<u8>,
) {
    let words = |octets: &[u8]| -> Vec<u64> {
        octets.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
    };
    for (id, hook) in plan.hooks().filter(|(id, _)| judged(*id)) {
        let memory = state.of(id);
        let Some(place) = emitted.memories.iter().find(|place| place.hook == id) else {
            assert_eq!(*memory, Memory::default(), "nothing to remember");
            continue;
        };
        let mut turns = memory.turns.clone();
        turns.resize(hook.program.spreads.len(), 0);
        let want = [vec![memory.draws, memory.forgotten], turns].concat();
        assert_eq!(words(&read(place.memory, 0)), want);
        let Some(fragments) = place.fragments else { continue };
        for (at, (key, slot)) in (0u32..).zip(&memory.fragments).filter(|(_, (key, _))| *key != 0) {
            assert_eq!(words(&read(fragments, at)), [*key, *slot]);
        }
    }
}

/// Ports a, b and the monitor ids; what enters at a or b is copied to it.
pub fn aggregator() -> Plan {
    let config = "[ports]\na = \"eth1\"\nb = \"eth2\"\nids = \"eth3\"\n\
        [[device]]\nname = \"perimeter\"\nkind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"ids\"]\n";
    plan::compile("config.toml", config).unwrap().0
}

/// Gives the first hook a set of so many rules, a network each, and each with a copy of its own.
pub fn many_rules(plan: &mut Plan, random: &mut Random, count: u16) -> u16 {
    let copy = plan.hooks[0].copies[0];
    let ruling = |random: &mut Random, at: u16| {
        let len = u8::try_from(8 + random.below(25)).unwrap();
        let address = 0x0a00_0000 | u32::try_from(random.bits() >> 40).unwrap();
        let network = Network::new(std::net::Ipv4Addr::from(address).into(), len).unwrap();
        Ruling {
            rule: copy.rule,
            when: Test::Address(End::Destination, Addresses::Network(network)),
            tagged: None,
            chance: None,
            quick: false,
            verdict: Ruled::Pass(Handed::Copy(CopyIndex(at))),
            tag: None,
        }
    };
    let rulings = (0..count).map(|at| ruling(random, at)).collect();
    let hook = &mut plan.hooks[0];
    hook.copies = vec![copy; usize::from(count)];
    hook.program = Program { rule_sets: vec![RuleSet::new(rulings, Vec::new())], ..Program::default() };
    count
}

/// Gives the first hook so many steps, each with a test of its own.
pub fn many_steps(plan: &mut Plan, random: &mut Random, count: u16) {
    let copy = plan.hooks[0].copies[0];
    let step = |random: &mut Random, at: u16| {
        let word = |random: &mut Random| u32::try_from(random.bits() >> 32).unwrap();
        let header = Number::load(LoadSize::One, 14).with(Operator::And, Number::Constant(0x0f));
        let behind = header.with(Operator::ShiftLeft, Number::Constant(2));
        let far = behind.with(Operator::Add, Number::Constant(word(random) & 0x1ff));
        let load = Number::Load { size: LoadSize::Two, at: Box::new(far) };
        let tests = vec![
            Test::Within(Number::load(LoadSize::Two, 12), Ranges::one(0x0800)),
            Test::Compare(load, Relation::Greater, Number::Constant(word(random) & 0xffff)),
        ];
        Step { rule: copy.rule, when: Test::All(tests), then: Action::Copy(CopyIndex(at)) }
    };
    let steps = (0..count).map(|at| step(random, at)).collect();
    let hook = &mut plan.hooks[0];
    hook.copies = vec![copy; usize::from(count)];
    hook.program = Program { steps, ..Program::default() };
}
