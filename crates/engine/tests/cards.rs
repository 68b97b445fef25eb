//! What real cards need and virtual pairs hide, on a machine in memory: settings found, changed, restored.

#![allow(clippy::unwrap_used, reason = "a test that meets an error ends there")]

use plan::plan::Plan;
use sys::{Card, Fake, Fault, FaultKind, IFF_PROMISC, IFF_UP, KernelVersion, Pause, Sys};

const TAP: &str = r#"
[ports]
a = "eth1"
b = "eth2"
ids = { interface = "eth3", rate = "1Gbit", buffer = "1MiB" }
[[device]]
name = "perimeter"
kind = "port-aggregator"
link = ["a", "b"]
monitors = ["ids"]
"#;

const SPAN: &str = r#"
[ports]
s1 = "eth1"
s2 = "eth2"
m1 = "eth3"
m2 = "eth4"
[[device]]
name = "spans"
kind = "span-regeneration"
spans = ["s1", "s2"]
monitors = [["m1", "m2"]]
"#;

const WATCH: &str = r#"
[ports]
ids = "eth3"
[[device]]
name = "host"
kind = "watch"
interfaces = ["eth1"]
monitors = ["ids"]
"#;

fn plan(text: &str) -> Plan {
    plan::compile("card.toml", text).unwrap_or_else(|problems| panic!("{problems}")).0
}

/// A machine whose four interfaces are all of one kind.
fn machine(card: &Card) -> Fake {
    let mut fake = Fake::new();
    for name in ["eth1", "eth2", "eth3", "eth4"] {
        fake.add_card(name, card.clone());
    }
    fake
}

fn up(fake: &mut Fake, text: &str) -> engine::UpReport {
    engine::up(fake, &plan(text), "card.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn is_on(fake: &mut Fake, interface: &str, feature: &str) -> bool {
    let features = fake.features(interface).unwrap();
    features.iter().find(|it| it.name == feature).unwrap_or_else(|| panic!("no {feature}")).active
}

#[test]
fn a_network_port_gets_every_frame_as_it_was_on_the_wire() {
    let mut fake = machine(&Card::physical("tg3"));
    up(&mut fake, TAP);
    for feature in ["rx-gro", "rx-gro-hw", "rx-lro", "rx-vlan-filter"] {
        assert!(!is_on(&mut fake, "eth1", feature), "{feature}");
    }
    let flow_control = fake.pause("eth1").unwrap().unwrap();
    assert_eq!(flow_control, Pause { autoneg: false, rx: false, tx: false });
    assert!(fake.link_by_name("eth1").unwrap().unwrap().has(IFF_UP | IFF_PROMISC));
    // Damaged frames are not received, or they would leave on the other side with a sound FCS.
    assert!(!is_on(&mut fake, "eth1", "rx-all"));
    assert!(!is_on(&mut fake, "eth1", "rx-fcs"));
}

#[test]
fn a_span_port_takes_damaged_frames_where_the_card_offers_them() {
    let mut fake = machine(&Card::physical("tg3"));
    up(&mut fake, SPAN);
    assert!(is_on(&mut fake, "eth1", "rx-all"));
    assert!(!is_on(&mut fake, "eth1", "rx-fcs"), "every frame would be 4 octets longer");
}

#[test]
fn a_monitor_port_on_a_card_cuts_and_leaves_checksums_to_the_card() {
    let mut fake = machine(&Card::physical("tg3"));
    up(&mut fake, TAP);
    assert!(!is_on(&mut fake, "eth3", "tx-tcp-segmentation"));
    assert!(is_on(&mut fake, "eth3", "tx-checksum-ip-generic"));
    assert!(!fake.link_by_name("eth3").unwrap().unwrap().has(IFF_PROMISC));
}

#[test]
fn a_monitor_port_without_a_card_finishes_checksums_too() {
    let mut fake = machine(&Card::veth());
    up(&mut fake, TAP);
    assert!(!is_on(&mut fake, "eth3", "tx-tcp-segmentation"));
    assert!(!is_on(&mut fake, "eth3", "tx-checksum-ip-generic"));
}

#[test]
fn a_watched_interface_keeps_what_it_has() {
    let mut fake = machine(&Card::physical("ixgbe"));
    let before = fake.features("eth1").unwrap();
    let report = up(&mut fake, WATCH);
    assert_eq!(fake.features("eth1").unwrap(), before);
    assert_eq!(fake.pause("eth1").unwrap().unwrap(), Pause { autoneg: true, rx: true, tx: true });
    assert_eq!(report.ports.iter().find(|port| port.interface == "eth1").unwrap().attach, "tcx");
}

#[test]
fn auto_takes_xdp_on_drivers_it_knows_and_says_so() {
    let mut fake = machine(&Card::physical("ixgbe"));
    for name in ["eth1", "eth2", "eth3"] {
        fake.link_mut(name).unwrap().flags |= IFF_UP;
    }
    let report = up(&mut fake, &TAP.replace(", rate = \"1Gbit\", buffer = \"1MiB\"", ""));
    let port = report.ports.iter().find(|port| port.name == "a").unwrap();
    assert_eq!((port.attach.as_str(), port.why.as_str()), ("xdp", "ixgbe runs it natively"));
    assert!(!is_on(&mut fake, "eth1", "rx-vlan-hw-parse"), "XDP sees only what is in the data");
    assert!(fake.link_by_name("eth1").unwrap().unwrap().xdp.is_some());
}

#[test]
fn auto_says_why_it_does_not_take_xdp() {
    let mut fake = machine(&Card::physical("ixgbe"));
    for name in ["eth1", "eth2", "eth3"] {
        fake.link_mut(name).unwrap().mtu = 9000;
    }
    let report = up(&mut fake, TAP);
    let port = report.ports.iter().find(|port| port.name == "a").unwrap();
    assert_eq!((port.attach.as_str(), port.why.as_str()), ("tcx", "not xdp: MTU 9000 is above 3498"));
}

#[test]
fn auto_takes_tcx_on_virtual_interfaces_and_clsact_on_kernels_without() {
    let mut fake = machine(&Card::veth());
    let report = up(&mut fake, TAP);
    assert!(report.ports.iter().all(|port| port.attach == "tcx"), "{report}");
    let mut fake = machine(&Card::veth());
    fake.set_kernel("5.15.0");
    let report = up(&mut fake, TAP);
    assert!(report.ports.iter().all(|port| port.attach == "clsact"), "{report}");
    assert_eq!(report.ports[0].why, "kernel 5.15.0 has no tcx");
}

#[test]
fn what_a_card_cannot_do_is_said() {
    let mut fake = machine(&Card::stubborn());
    let report = up(&mut fake, TAP);
    let note = "port a: eth1 cannot switch off rx-vlan-filter: frames of VLANs that the host has not joined must be \
                seen too";
    assert!(report.notes.iter().any(|it| it == note), "{:?}", report.notes);
    // A discipline that drops early or marks has no place on a link.
    let eth2 = fake.link_by_name("eth2").unwrap().unwrap().index;
    let kinds: Vec<String> = fake.qdiscs(eth2).unwrap().into_iter().map(|qdisc| qdisc.kind).collect();
    assert!(
        kinds.iter().any(|kind| kind == "pfifo") && !kinds.iter().any(|kind| kind == "fq_codel"),
        "{kinds:?}"
    );
}

#[test]
fn old_kernels_and_missing_rights_are_refused_before_anything_else() {
    let mut fake = machine(&Card::veth());
    fake.set_kernel("5.10.0");
    let before = fake.snapshot();
    let error = engine::up(&mut fake, &plan(TAP), "card.toml").unwrap_err().to_string();
    let expected = "kernel 5.10.0 is too old\nhelp: Linux 5.15 or later is needed\nnothing was changed\n";
    assert_eq!(error, expected);
    assert_eq!(fake.snapshot(), before);
    assert!(!KernelVersion::parse("5.10.0").at_least(5, 15));
}

#[test]
fn what_still_works_is_not_taken_away_for_a_plan_that_is_refused() {
    let mut fake = machine(&Card::veth());
    up(&mut fake, TAP);
    let monitor = fake.link_by_name("eth3").unwrap().unwrap().index;
    fake.delete_link(monitor).unwrap();
    let before = fake.snapshot();
    let error = engine::up(&mut fake, &plan(TAP), "card.toml").unwrap_err().to_string();
    assert!(error.starts_with("port ids: there is no interface eth3\n"), "{error}");
    assert_eq!(fake.snapshot(), before);
    let status = engine::status(&mut fake).unwrap();
    assert!(status.notes.contains(&"interface eth3 is gone".to_owned()), "{:?}", status.notes);
    // Another comes in its place, with a discipline that somebody needs: refused too, and the link passes on.
    let other = fake.add_card("eth3", Card::veth());
    fake.add_qdisc(other, sys::H_ROOT, sys::handle(1, 0), &sys::QdiscSpec::Pfifo { limit_packets: 9 }, false)
        .unwrap();
    let before = fake.snapshot();
    let error = engine::up(&mut fake, &plan(TAP), "card.toml").unwrap_err().to_string();
    let expected = "port ids: eth3 has a queueing discipline of its own (pfifo 1:)\n\
                    help: `tc qdisc del dev eth3 root` if nothing needs it\nnothing was changed\n";
    assert_eq!(error, expected);
    assert_eq!(fake.snapshot(), before);
    // Without it, `up` makes the plan whole again.
    fake.delete_qdisc(other, sys::H_ROOT, sys::handle(1, 0)).unwrap();
    let report = up(&mut fake, TAP);
    assert!(!report.unchanged);
    assert_eq!(engine::status(&mut fake).unwrap().notes, Vec::<String>::new());
    assert!(up(&mut fake, TAP).unchanged);
}

#[test]
fn a_card_that_was_never_up_gets_no_discipline_that_drops_or_marks() {
    let mut fake = machine(&Card::physical("tg3"));
    fake.link_mut("eth2").unwrap().qdisc = "noop".into();
    up(&mut fake, TAP);
    let eth2 = fake.link_by_name("eth2").unwrap().unwrap().index;
    let kinds: Vec<String> = fake.qdiscs(eth2).unwrap().into_iter().map(|qdisc| qdisc.kind).collect();
    assert!(kinds.iter().any(|kind| kind == "pfifo"), "{kinds:?}");
}

#[test]
fn auto_does_not_take_xdp_for_targets_it_cannot_see() {
    let mut fake = machine(&Card::physical("ixgbe"));
    let report = up(&mut fake, &TAP.replace(", rate = \"1Gbit\", buffer = \"1MiB\"", ""));
    let port = report.ports.iter().find(|port| port.name == "a").unwrap();
    let why = "not xdp: eth3 is down, and shows only when it is up what it takes";
    assert_eq!((port.attach.as_str(), port.why.as_str()), ("tcx", why));
}

#[test]
fn a_guard_that_somebody_took_away_is_missed_and_put_back() {
    let mut fake = machine(&Card::veth());
    up(&mut fake, TAP);
    let eth3 = fake.link_by_name("eth3").unwrap().unwrap().index;
    let attached = fake.tcx_query(eth3, sys::Hook::Egress).unwrap();
    let guard = fake.prog_by_id(attached[0].prog_id).unwrap();
    fake.tcx_detach(eth3, sys::Hook::Egress, guard).unwrap();
    let notes = engine::status(&mut fake).unwrap().notes;
    assert_eq!(notes, ["the program tw_guard_2 is not attached to eth3 any more"]);
    assert!(!up(&mut fake, TAP).unchanged);
    assert_eq!(engine::status(&mut fake).unwrap().notes, Vec::<String>::new());
}

#[test]
fn what_only_bears_our_name_is_not_ours() {
    let mut fake = machine(&Card::veth());
    // r0 = -1 (TCX_NEXT); exit
    let insns = [0xffff_ffff_0000_00b7, 0x95];
    let kind = sys::ProgKind::SCHED_CLS;
    let foreign =
        sys::ProgSpec { kind, attach_type: 0, insns: &insns, license: "GPL", name: "tw_other", flags: 0 };
    let prog = fake.prog_load(&foreign).unwrap();
    let eth1 = fake.link_by_name("eth1").unwrap().unwrap().index;
    fake.tcx_attach(eth1, sys::Hook::Ingress, prog, sys::Place::Last).unwrap();
    fake.add_card("tw-home", Card::veth());
    let before = fake.snapshot();
    assert!(matches!(engine::down(&mut fake), Err(engine::Error::NothingUp)));
    up(&mut fake, TAP);
    engine::down(&mut fake).unwrap_or_else(|error| panic!("{error}"));
    fake.restart();
    let after = fake.snapshot();
    assert!(after == before, "{}", before.difference(&after));
}

/// `down` after `up`, on each kind of machine and plan, compared whole.
#[test]
fn down_restores_every_machine() {
    for (name, card) in [
        ("veth", Card::veth()),
        ("tg3", Card::physical("tg3")),
        ("ixgbe", Card::physical("ixgbe")),
        ("r8169", Card::stubborn()),
    ] {
        for kernel in ["6.18.0", "5.15.0"] {
            for text in [TAP, SPAN, WATCH] {
                let mut fake = machine(&card);
                fake.set_kernel(kernel);
                let eth1 = fake.link_by_name("eth1").unwrap().unwrap().index;
                fake.set_link_flags(eth1, IFF_UP | IFF_PROMISC, 0).unwrap();
                let before = fake.snapshot();
                up(&mut fake, text);
                assert_ne!(fake.snapshot(), before);
                fake.restart();
                engine::down(&mut fake).unwrap_or_else(|error| panic!("{error}"));
                fake.restart();
                let after = fake.snapshot();
                assert!(after == before, "{name}, {kernel}: {}", before.difference(&after));
            }
        }
    }
}

/// Each call of `up` fails once, and once is the last of its process: `down`, if need be, restores all.
#[test]
fn up_may_break_at_any_call_on_any_card() {
    for card in [Card::veth(), Card::physical("ixgbe"), Card::stubborn()] {
        for (kernel, text) in
            [("6.18.0", TAP), ("6.18.0", SPAN), ("6.18.0", WATCH), ("5.15.0", TAP), ("5.15.0", WATCH)]
        {
            let mut fake = machine(&card);
            fake.set_kernel(kernel);
            up(&mut fake, text);
            let calls = fake.calls();
            for at in 1..=calls {
                for kind in [FaultKind::Fail(5), FaultKind::Kill] {
                    let mut fake = machine(&card);
                    fake.set_kernel(kernel);
                    let before = fake.snapshot();
                    fake.gate().set_fault(Some(Fault { at, kind }));
                    let outcome = engine::up(&mut fake, &plan(text), "card.toml");
                    fake.restart();
                    if outcome.is_ok() || kind == FaultKind::Kill {
                        match engine::down(&mut fake) {
                            Ok(_) | Err(engine::Error::NothingUp) => {}
                            Err(error) => panic!("down after call {at}: {error}"),
                        }
                        fake.restart();
                    }
                    let after = fake.snapshot();
                    assert!(
                        after == before,
                        "kernel {kernel}, call {at}, {kind:?}: {}",
                        before.difference(&after)
                    );
                }
            }
        }
    }
}
