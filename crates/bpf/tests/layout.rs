//! The layout of counters, and what the emitter refuses, in exact words.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeSet;

use bpf::asm::MapRef;
use bpf::emit::Mode;
use bpf::layout::{BLOCK_MAX_BYTES, Counter, Layout, Part, Target, View, Wiring};
use plan::arbitrary::{self, Random};
use plan::plan::{HookId, Pass, Plan, PortId};
use rules::form::{Action, CopyIndex, RuleId, Step, Test};
use wire::Vlan;

/// Ports a, b and the monitor ids; what enters at a or b is copied to it.
fn aggregator() -> Plan {
    let config = "[ports]\na = \"eth1\"\nb = \"eth2\"\nids = \"eth3\"\n\
        [[device]]\nname = \"perimeter\"\nkind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"ids\"]\n";
    plan::compile("config.toml", config).unwrap().0
}

fn vlan_step(vlans: impl Iterator<Item = u16>, copy: u16) -> Step {
    let when = Test::Vlan(vlans.filter_map(Vlan::new).collect());
    Step { rule: RuleId(0), when, then: Action::Copy(CopyIndex(copy)) }
}

fn refusal(plan: &Plan, wiring: &Wiring) -> String {
    bpf::emit(plan, wiring, Mode::Attach).unwrap_err().to_string()
}

#[test]
fn every_counter_has_a_place_of_its_own() {
    let mut random = Random::new(corpus::seed());
    for _ in 0..300 {
        let plan = arbitrary::plan(&mut random);
        for wiring in [Wiring::all(&plan, View::Tc), common::xdp_wiring(&plan)] {
            let layout = Layout::of(&plan, &wiring).unwrap();
            assert_eq!(layout, Layout::of(&plan, &wiring).unwrap(), "the same every time");
            let places: BTreeSet<_> = layout.counters().map(|(_, place)| place).collect();
            assert_eq!(places.len(), layout.counters().count());
            for place in places {
                assert!(place.block < layout.blocks());
                assert!(u32::from(place.slot) * 8 + 8 <= layout.block_bytes());
            }
        }
    }
}

#[test]
fn the_layout_of_a_port_aggregator_is_what_the_ledger_reads() {
    let plan = aggregator();
    let (a, b, ids, copy) = (HookId(0), PortId(1), PortId(2), CopyIndex(0));
    let tc = Layout::of(&plan, &Wiring::all(&plan, View::Tc)).unwrap();
    assert!(tc.place(Counter::Copied(a, copy)).is_some(), "tc knows what became of each clone");
    assert_eq!(tc.place(Counter::Seen(b, a)).unwrap().block, tc.block(Part::Guard(b)).unwrap());
    let xdp = Layout::of(&plan, &Wiring::all(&plan, View::Xdp)).unwrap();
    assert_eq!(xdp.place(Counter::Copied(a, copy)), None, "XDP does not; the devmap entry sees them leave");
    let entry = xdp.block(Part::Devmap(a, Target::Port(ids))).unwrap();
    assert_eq!(xdp.place(Counter::Seen(ids, a)).unwrap().block, entry);
}

#[test]
fn a_block_beyond_what_the_kernel_gives_is_refused() {
    let mut plan = aggregator();
    let ports = u16::try_from(BLOCK_MAX_BYTES / 8 / 2).unwrap();
    plan.ports.extend(vec![plan.ports[1].clone(); usize::from(ports)]);
    plan.hooks[0].pass = Pass::To((2..ports).map(PortId).collect());
    assert_eq!(
        refusal(&plan, &Wiring::all(&plan, View::Tc)),
        "the counters of the entry of hook 0 take 32808 octets; the kernel gives a per-CPU value 32768"
    );
}

#[test]
fn what_xdp_cannot_do_is_refused_with_the_reason() {
    let xdp = |plan: &Plan| refusal(plan, &Wiring::all(plan, View::Xdp));
    let mut plan = aggregator();
    plan.hooks[0].pass = Pass::Leave;
    assert_eq!(xdp(&plan), "hook 0: XDP cannot copy a frame and leave it to the host");

    let mut plan = aggregator();
    plan.hooks[0].copies = vec![plan.hooks[0].copies[0]; 64];
    plan.hooks[0].program.steps = (0..32).map(|n| vlan_step(std::iter::once(n), n)).collect();
    assert_eq!(xdp(&plan), "hook 0: 32 different tests, 31 are taken");

    // Seven tests, one for each bit of the identifier: every combination can be reached.
    let bit = |n: u16| vlan_step((0..4096u16).filter(move |id| id >> (n + 5) & 1 == 1), n);
    plan.hooks[0].program.steps = (0..7).map(bit).collect();
    assert_eq!(xdp(&plan), "hook 0: 128 outcomes, XDP takes 64");

    plan.hooks[0].program.steps = vec![vlan_step((0..4096).step_by(2), 0)];
    assert_eq!(xdp(&plan), "hook 0: 4097 intervals of VLANs, XDP takes 1024");

    plan.hooks[0].program.steps = vec![vlan_step(1..2, 64)];
    assert_eq!(xdp(&plan), "hook 0: the program names a copy that the hook does not hold");

    let mut plan = aggregator();
    let first = plan.hooks[0].copies[0];
    plan.hooks[0].copies = vec![first; 2];
    plan.hooks[0].program.steps = vec![vlan_step(1..2, 0), vlan_step(1..2, 1)];
    let mut wiring = Wiring::all(&plan, View::Xdp);
    wiring.hops[0].insert(CopyIndex(1));
    assert_eq!(refusal(&plan, &wiring), "hook 0: port 2 is reached both directly and by the hop");
}

#[test]
fn the_most_outcomes_are_each_a_devmap_of_their_own() {
    let mut plan = aggregator();
    plan.hooks[0].copies = vec![plan.hooks[0].copies[0]; 6];
    let bit = |n: u16| vlan_step((0..4096u16).filter(move |id| id >> (n + 6) & 1 == 1), n);
    plan.hooks[0].program.steps = (0..6).map(bit).collect();
    let emitted = bpf::emit(&plan, &Wiring::all(&plan, View::Xdp), Mode::Attach).unwrap();
    // All copies go to one port, so that only their number tells the 64 decisions apart.
    let mut of_a: Vec<_> = emitted.outcomes.iter().filter(|outcome| outcome.hook == HookId(0)).collect();
    of_a.sort_by_key(|outcome| outcome.targets.len());
    assert_eq!(of_a.iter().map(|outcome| outcome.targets.len()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    let maps: BTreeSet<MapRef> = of_a.iter().map(|outcome| outcome.map()).collect();
    assert_eq!(maps.len(), 7);
    assert_eq!(of_a[6].targets[0], Target::Port(PortId(1)), "the frame itself first");
}
