//! Plans whose programs look at more than VLANs, frames that they tell apart, and what `eval` says of them.

use plan::arbitrary::{self, Random};
use plan::eval::{State, Time, Verdict, eval};
use plan::plan::{HookId, Plan};
use bpf::emit::Emitted;
use bpf::tables::TableId;
use rules::form::{Memory, Spread};
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

/// What a hook remembers must be what `eval` does: `read` gives the value of an entry of a table.
pub fn remembered(
    plan: &Plan,
    state: &mut State,
    emitted: &Emitted,
    mut read: impl FnMut(TableId, u32) -> Vec<u8>,
) {
    let words = |octets: &[u8]| -> Vec<u64> {
        octets.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
    };
    for (id, hook) in plan.hooks() {
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
