//! Plans whose programs look at more than VLANs, frames that they tell apart, and what `eval` says of them.

use bpf::emit::Emitted;
use bpf::tables::TableId;
use plan::arbitrary::{self, Random};
use plan::eval::{State, Time, Verdict, eval};
use plan::plan::{HookId, Plan};
use rules::form::{
    Action, Addresses, CopyIndex, End, Handed, LoadSize, Memory, Network, Number, Operator, Program, Ranges,
    Relation, RuleSet, Ruled, Ruling, Spread, Step, Test,
};
use wire::Frame;

/// What decisions by chance begin with.
pub const SEED: u64 = 0x5eed_0123_4567_89ab;

/// A plan that can be lowered: no spread goes by inner addresses.
pub fn plan(random: &mut Random) -> Plan {
    let mut plan = arbitrary::steering_plan(random);
    for spread in plan.hooks.iter_mut().flat_map(|hook| &mut hook.program.spreads) {
        *spread = Spread::new(spread.method(), spread.choices().to_vec(), false).unwrap();
    }
    plan
}

/// A frame: mostly IP, sometimes anything.
pub fn frame(random: &mut Random, plan: &Plan) -> Vec<u8> {
    if random.one_in(6) { arbitrary::frame(random, plan) } else { arbitrary::packet(random, plan) }
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
