//! Listings of corpus cases, compared with `listing-tc.txt`, `listing-xdp.txt` and `listing-classic.txt` in their folders.
//! `TAPWRIGHT_BLESS=1` writes them.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use bpf::emit::Mode;
use bpf::layout::{View, Wiring};
use plan::plan::{Plan, Role};

/// One of each shape: a link, VLAN tests, a watched interface, a queue behind a hop.
const CASES: [&str; 4] =
    ["006-port-aggregator", "009-port-aggregator-vlans", "026-watch-tx-by-vlan", "032-xdp-into-a-queue"];

fn listing(plan: &Plan, wiring: &Wiring) -> String {
    let emitted = bpf::emit(plan, wiring, Mode::Attach).unwrap();
    let mut text = String::new();
    bpf::listing::all(&mut text, plan, &emitted).unwrap();
    text
}

#[test]
fn listings_are_those_of_the_corpus() {
    let cases = corpus::cases().unwrap();
    let mut golden = corpus::Golden::from_environment();
    for name in CASES {
        let case = cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"));
        let tc = listing(&case.plan, &Wiring::all(&case.plan, View::Tc));
        golden.check(&case.dir.join("listing-tc.txt"), &tc);
        let classic = bpf::classic::lower(&case.plan).unwrap();
        golden.check(&case.dir.join("listing-classic.txt"), &bpf::classic::listing(&case.plan, &classic));
        if case.plan.ports.iter().all(|port| port.role != Role::Watched) {
            let xdp = listing(&case.plan, &common::xdp_wiring(&case.plan));
            golden.check(&case.dir.join("listing-xdp.txt"), &xdp);
        }
    }
    golden.finish();
}
