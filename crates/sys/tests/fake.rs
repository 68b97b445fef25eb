//! The machine in memory: does it refuse what the kernel refuses, and does everything come back?

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use sys::{
    Capabilities, Card, Fake, Fault, FaultKind, FilterSpec, H_CLSACT, H_ROOT, Hook, HtbClass, IFF_PROMISC,
    IFF_UP, Linux, MapFd, MapKind, MapSpec, Pause, Place, ProgFd, ProgKind, ProgSpec, QdiscSpec, Result, Sys,
    VethSpec, XdpMode, handle,
};

const CLASS: HtbClass = HtbClass {
    rate_bytes_s: 12_500_000,
    ceil_bytes_s: 12_500_000,
    burst_bytes: 1600,
    cburst_bytes: 1600,
    quantum_bytes: 1600,
    overhead_bytes: 24,
    mpu_bytes: 84,
    priority: 0,
};

fn map(sys: &mut impl Sys, kind: MapKind, name: &str) -> Result<MapFd> {
    let spec = MapSpec { kind, key_bytes: 4, value_bytes: 8, max_entries: 2, flags: 0, name: name.into() };
    sys.map_create(&spec)
}

/// `r1 = map ll; r0 = 2; exit`
fn load(sys: &mut impl Sys, kind: ProgKind, map: MapFd, name: &str) -> Result<ProgFd> {
    let fd = u64::from(map.0.cast_unsigned());
    let insns = [0x18 | 1 << 8 | 1 << 12 | fd << 32, 0, 0xb7 | 2 << 32, 0x95];
    sys.prog_load(&ProgSpec { kind, attach_type: 0, insns: &insns, license: "Dual MIT/GPL", name, flags: 0 })
}

/// A change of everything that can be changed, and its undoing.
fn up(sys: &mut impl Sys, name: &str) -> Result<()> {
    let index = sys.link_by_name(name)?.unwrap().index;
    sys.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
    sys.set_link_flags(index, IFF_UP | IFF_PROMISC, 0)?;
    sys.set_features(name, &[("rx-gro".into(), false), ("rx-vlan-filter".into(), false)])?;
    if let Some(pause) = sys.pause(name)? {
        sys.set_pause(name, Pause { autoneg: false, ..pause })?;
    }
    sys.add_qdisc(
        index,
        H_ROOT,
        handle(1, 0),
        &QdiscSpec::Htb { default_class: 0, direct_packets: 10 },
        false,
    )?;
    sys.set_class(index, H_ROOT, handle(1, 1), &CLASS)?;
    sys.add_qdisc(index, handle(1, 1), handle(2, 0), &QdiscSpec::Bfifo { limit_bytes: 9000 }, false)?;
    let state = map(sys, MapKind::ARRAY, "state")?;
    let prog = load(sys, ProgKind::SCHED_CLS, state, "tap")?;
    sys.tcx_attach(index, Hook::Ingress, prog, Place::First)
}

fn down(sys: &mut impl Sys, name: &str) -> Result<()> {
    let index = sys.link_by_name(name)?.unwrap().index;
    for attached in sys.tcx_query(index, Hook::Ingress)? {
        let prog = sys.prog_by_id(attached.prog_id)?;
        sys.tcx_detach(index, Hook::Ingress, prog)?;
        sys.close(prog.0);
    }
    sys.delete_qdisc(index, H_ROOT, handle(1, 0))?;
    if let Some(pause) = sys.pause(name)? {
        sys.set_pause(name, Pause { autoneg: true, ..pause })?;
    }
    sys.set_features(name, &[("rx-gro".into(), true), ("rx-vlan-filter".into(), true)])?;
    sys.set_link_flags(index, 0, IFF_PROMISC)?;
    sys.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "0")
}

#[test]
fn everything_that_goes_comes_back() {
    let mut fake = Fake::new();
    let index = fake.add_card("eth1", Card::physical("ixgbe"));
    fake.set_link_flags(index, IFF_UP, 0).unwrap();
    let before = fake.snapshot();
    assert!(before.to_string().contains("address fe80::"), "{before}");
    up(&mut fake, "eth1").unwrap();
    let during = fake.snapshot();
    let change = before.difference(&during);
    for line in [
        "- address fe80::",
        "+ eth1 feature rx-gro active false",
        "+ eth1 pause autoneg false",
        "+ tcx ingress of 2: program",
        "+ map 2 state with 0 entries",
        "+ qdisc 20000 at 10001 of 2: Bfifo",
    ] {
        assert!(change.contains(line), "{line} is not in\n{change}");
    }
    assert!(during.to_string().contains("qdisc htb master None promiscuity 1"), "{during}");
    down(&mut fake, "eth1").unwrap();
    fake.restart();
    assert_eq!(before.difference(&fake.snapshot()), "");
    assert_eq!(before, fake.snapshot());
}

#[test]
fn every_call_can_fail_and_every_call_can_kill() {
    let machine = || {
        let mut fake = Fake::new();
        fake.add_card("eth1", Card::physical("ixgbe"));
        fake
    };
    let mut whole = machine();
    whole.gate().start_trace();
    up(&mut whole, "eth1").unwrap();
    let trace = whole.gate().trace().to_vec();
    assert_eq!(trace.len(), usize::try_from(whole.calls()).unwrap());
    assert!(trace.len() > 10);
    for call in &trace {
        for kind in [FaultKind::Fail(libc::ENOMEM), FaultKind::Kill] {
            let mut fake = machine();
            fake.gate().set_fault(Some(Fault { at: call.number, kind }));
            let error = up(&mut fake, "eth1").unwrap_err();
            assert_eq!((error.call, &error.object), (call.name, &call.object));
            let dead = kind == FaultKind::Kill;
            assert_eq!(error.errno, if dead { libc::EOWNERDEAD } else { libc::ENOMEM });
            assert_eq!(fake.links().is_err(), dead, "only the dead stay dead");
            let half = fake.snapshot().to_string();
            fake.restart();
            assert!(fake.links().is_ok());
            // What only the dead process held is gone; what it changed is not.
            let left = fake.snapshot().to_string();
            assert!(!left.contains("map ") && !left.contains("\nprogram "), "{left}");
            assert_eq!(half.contains("qdisc htb"), left.contains("qdisc htb"));
        }
    }
}

#[test]
fn objects_live_as_long_as_something_holds_them() {
    let mut fake = Fake::new();
    let index = fake.add_card("eth1", Card::physical("ixgbe"));
    let bound = map(&mut fake, MapKind::HASH, "bound").unwrap();
    let devices = map(&mut fake, MapKind::DEVMAP, "devices").unwrap();
    let counts = map(&mut fake, MapKind::PERCPU_ARRAY, "counts").unwrap();
    let entry = load(&mut fake, ProgKind::XDP, counts, "entry").unwrap();
    let main = load(&mut fake, ProgKind::XDP, devices, "main").unwrap();
    fake.prog_bind_map(main, bound).unwrap();
    fake.map_update(bound, &[1; 4], &[7; 8]).unwrap();
    let value = [index.to_ne_bytes(), entry.0.to_ne_bytes()].concat();
    fake.map_update(devices, &[0; 4], &value).unwrap();
    fake.xdp_attach(index, XdpMode::Native, main, None).unwrap();
    fake.restart();
    assert_eq!(fake.map_lookup(bound, &[1; 4]).unwrap_err().errno, libc::EBADF);
    let id = fake.link_by_name("eth1").unwrap().unwrap().xdp.unwrap().prog_id;
    let main = fake.prog_by_id(id).unwrap();
    let info = fake.prog_info(main).unwrap();
    let names: Vec<String> = info
        .map_ids
        .iter()
        .map(|id| {
            let fd = fake.map_by_id(*id).unwrap();
            fake.map_info(fd).unwrap().name
        })
        .collect();
    assert_eq!(names, ["devices", "bound"]);
    let text = fake.snapshot().to_string();
    assert!(text.contains("entry") && text.contains("counts"), "held by the devmap: {text}");
    fake.xdp_detach(index, XdpMode::Native).unwrap();
    fake.restart();
    let text = fake.snapshot().to_string();
    assert!(!text.contains("program ") && !text.contains("map "), "{text}");
}

#[test]
fn cards_refuse_what_they_cannot_do() {
    let mut fake = Fake::new();
    let index = fake.add_card("eth1", Card::stubborn());
    let wish =
        [("rx-vlan-filter".to_owned(), false), ("rx-all".to_owned(), true), ("rx-gro".to_owned(), false)];
    assert_eq!(fake.set_features("eth1", &wish).unwrap(), ["rx-vlan-filter", "rx-all"]);
    assert_eq!(fake.pause("eth1").unwrap(), None);
    let pause = Pause { autoneg: false, rx: false, tx: false };
    assert_eq!(fake.set_pause("eth1", pause).unwrap_err().errno, libc::EOPNOTSUPP);
    let devices = map(&mut fake, MapKind::DEVMAP, "d").unwrap();
    let prog = load(&mut fake, ProgKind::XDP, devices, "x").unwrap();
    let refused = fake.xdp_attach(index, XdpMode::Native, prog, None).unwrap_err();
    assert_eq!(refused.errno, libc::EOPNOTSUPP);
    fake.xdp_attach(index, XdpMode::Generic, prog, None).unwrap();
    // What merges frames cannot keep the FCS of each.
    fake.add_card("eth2", Card::physical("ixgbe"));
    assert_eq!(fake.set_features("eth2", &[("rx-fcs".into(), true)]).unwrap(), Vec::<String>::new());
    let lro = fake.features("eth2").unwrap().into_iter().find(|f| f.name == "rx-lro").unwrap();
    assert!(lro.wanted && !lro.active);
}

#[test]
fn old_kernels_and_small_rights() {
    let mut fake = Fake::new();
    let index = fake.add_card("eth1", Card::physical("ixgbe"));
    fake.set_kernel("5.15.0");
    let state = map(&mut fake, MapKind::ARRAY, "s").unwrap();
    let prog = load(&mut fake, ProgKind::SCHED_CLS, state, "x").unwrap();
    assert_eq!(fake.tcx_attach(index, Hook::Ingress, prog, Place::First).unwrap_err().errno, libc::EINVAL);
    assert_eq!(fake.xdp_features(index).unwrap(), None);
    let spec = FilterSpec { prog, name: "t", priority: 1, handle: 1, replace: false, with_clsact: false };
    assert!(fake.add_filter(index, Hook::Egress, &spec).is_err(), "no clsact yet");
    fake.add_qdisc(index, H_CLSACT, handle(0xFFFF, 0), &QdiscSpec::Clsact, false).unwrap();
    fake.add_filter(index, Hook::Egress, &spec).unwrap();
    assert_eq!(fake.add_filter(index, Hook::Egress, &spec).unwrap_err().errno, libc::EEXIST);
    assert_eq!(fake.filters(index, Hook::Egress).unwrap().len(), 1);
    fake.delete_qdisc(index, H_CLSACT, handle(0xFFFF, 0)).unwrap();
    assert_eq!(fake.filters(index, Hook::Egress).unwrap(), []);

    let mut can = fake.capabilities().unwrap();
    can.machine_owner = false;
    fake.set_capabilities(can);
    assert_eq!(map(&mut fake, MapKind::ARRAY, "s").unwrap_err().errno, libc::EPERM);
    fake.create_veth(&VethSpec::new("a", "b")).unwrap();
    fake.set_capabilities(Capabilities { net_admin: false, ..can });
    let error = fake.create_veth(&VethSpec::new("c", "d")).unwrap_err();
    assert_eq!(error.to_string(), "RTM_NEWLINK veth c and d: Operation not permitted (EPERM)");
}

#[test]
fn a_pair_has_a_carrier_when_both_ends_are_up() {
    let mut fake = Fake::new();
    fake.create_veth(&VethSpec::new("a", "b")).unwrap();
    let [a, b] = ["a", "b"].map(|name| fake.link_by_name(name).unwrap().unwrap());
    assert_eq!((a.peer, b.peer), (Some(b.index), Some(a.index)));
    fake.set_link_flags(a.index, IFF_UP, 0).unwrap();
    assert!(!fake.link_by_name("a").unwrap().unwrap().carrier);
    fake.set_link_flags(b.index, IFF_UP, 0).unwrap();
    assert!(fake.link_by_name("a").unwrap().unwrap().carrier);
    fake.delete_link(b.index).unwrap();
    assert_eq!(fake.links().unwrap().len(), 1);
}

/// The same faults on the real machine, where dying is dying: a child does it, the parent looks at what is left.
#[test]
fn the_real_machine_passes_the_same_gate() {
    let namespace = sys::netns::Namespace::create().expect("these tests need root");
    namespace
        .run(|| {
            let mut linux = Linux::with_fault(Fault { at: 2, kind: FaultKind::Fail(libc::ENOBUFS) });
            linux.create_veth(&VethSpec::new("a", "b")).unwrap();
            let error = linux.create_veth(&VethSpec::new("c", "d")).unwrap_err();
            assert_eq!((error.call, error.errno), ("RTM_NEWLINK", libc::ENOBUFS));
            assert_eq!(linux.link_by_name("c").unwrap(), None, "the call was not made");
            assert_eq!(linux.calls(), 3);
        })
        .unwrap();
}

#[test]
fn killed_at_a_call_nothing_after_it_happens() {
    const NAME: &str = "TAPWRIGHT_SYS_TEST_DIES_HERE";
    if std::env::var_os(NAME).is_some() {
        // The child: in a namespace of its own, so that what it leaves goes with it.
        let namespace = sys::netns::Namespace::create().unwrap();
        let run = namespace.run(|| {
            let mut linux = Linux::with_fault(Fault { at: 1, kind: FaultKind::Kill });
            linux.create_veth(&VethSpec::new("a", "b"))
        });
        panic!("it lived on: {run:?}");
    }
    let me = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(me);
    child.args(["--exact", "killed_at_a_call_nothing_after_it_happens"]).env(NAME, "1");
    let output = child.output().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(libc::SIGKILL), "{output:?}");
}
