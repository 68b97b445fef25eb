//! The real machine, each test in a namespace of its own that ends with it. They need root, and say so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use sys::netns::Namespace;
use sys::{
    Address, FilterSpec, H_CLSACT, Hook, IFF_PROMISC, IFF_UP, Link, Linux, MapKind, MapSpec, Place, ProgFd,
    ProgKind, ProgSpec, QdiscSpec, Route, Sys, TestRun, VethSpec, XdpMode, handle,
};

/// A fresh namespace, and a thread in it.
fn inside<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let namespace =
        Namespace::create().expect("these tests need root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF)");
    namespace.run(test).expect("setns into a namespace just made")
}

fn veth(linux: &mut Linux) -> (Link, Link) {
    linux.create_veth(&VethSpec::new("a0", "b0")).unwrap();
    let pair = ["a0", "b0"].map(|name| linux.link_by_name(name).unwrap().unwrap());
    for link in &pair {
        linux.set_link_flags(link.index, IFF_UP, 0).unwrap();
    }
    pair.into()
}

/// `r0 = value; exit`
fn returns(value: u8) -> [u64; 2] {
    [0xb7 | u64::from(value) << 32, 0x95]
}

/// `r1 = map ll; r0 = value; exit`
fn holds_map(map: i32, value: u8) -> Vec<u64> {
    let fd = u64::from(map.cast_unsigned());
    [vec![0x18 | 1 << 8 | 1 << 12 | fd << 32, 0], returns(value).to_vec()].concat()
}

fn program(linux: &mut Linux, kind: ProgKind, insns: &[u64], name: &str) -> ProgFd {
    let spec = ProgSpec { kind, attach_type: 0, insns, license: "Dual MIT/GPL", name, flags: 0 };
    linux.prog_load(&spec).unwrap_or_else(|e| panic!("{e}\n{}", e.log.clone().unwrap_or_default()))
}

fn array(linux: &mut Linux, kind: MapKind, name: &str) -> sys::MapFd {
    let spec = MapSpec { kind, key_bytes: 4, value_bytes: 12, max_entries: 2, flags: 0, name: name.into() };
    linux.map_create(&spec).unwrap()
}

#[test]
fn the_machine() {
    let mut linux = Linux::new();
    assert!(linux.kernel_version().unwrap().at_least(5, 15));
    assert!(linux.possible_cpus().unwrap() >= 1);
    let can = linux.capabilities().unwrap();
    assert!(can.net_admin && can.bpf && can.sys_admin && can.net_raw && can.machine_owner, "{can:?}");
}

#[test]
fn links_say_what_ip_says() {
    inside(|| {
        let mut linux = Linux::new();
        let spec = VethSpec { queues: 3, mtu: 4000, ..VethSpec::new("a0", "b0") };
        linux.create_veth(&spec).unwrap();
        let a = linux.link_by_name("a0").unwrap().unwrap();
        let b = linux.link_by_name("b0").unwrap().unwrap();
        assert_eq!((a.kind.as_deref(), a.arphrd, a.mtu, b.mtu), (Some("veth"), 1, 4000, 4000));
        assert_eq!((a.tx_queues, a.rx_queues, b.tx_queues), (3, 3, 3));
        assert_eq!((a.peer, b.peer, a.peer_netns, a.carrier), (Some(b.index), Some(a.index), None, false));
        assert_eq!((a.address.len(), a.master, a.xdp, a.has(IFF_UP)), (6, None, None, false));
        assert!(a.max_mtu > 60_000 && a.min_mtu == 68, "{a:?}");
        assert!(a.addr_gen_mode.is_some());

        linux.set_link_flags(a.index, IFF_UP | IFF_PROMISC, 0).unwrap();
        linux.set_link_flags(b.index, IFF_UP, 0).unwrap();
        linux.set_addr_gen_mode(b.index, 1).unwrap();
        let a = linux.link_by_name("a0").unwrap().unwrap();
        let b = linux.link_by_name("b0").unwrap().unwrap();
        assert!(a.has(IFF_UP | IFF_PROMISC) && a.carrier && a.promiscuity == 1, "{a:?}");
        assert_eq!((b.addr_gen_mode, b.promiscuity), (Some(1), 0));
        linux.set_link_flags(a.index, 0, IFF_PROMISC).unwrap();
        assert!(!linux.link_by_name("a0").unwrap().unwrap().has(IFF_PROMISC));

        linux.create_bridge("br0").unwrap();
        let bridge = linux.link_by_name("br0").unwrap().unwrap();
        linux.set_master(a.index, Some(bridge.index)).unwrap();
        assert_eq!(linux.link_by_name("a0").unwrap().unwrap().master, Some(bridge.index));
        linux.set_master(a.index, None).unwrap();
        assert_eq!(linux.link_by_name("a0").unwrap().unwrap().master, None);
        linux.set_mtu(b.index, 1400).unwrap();
        linux.set_hardware_address(b.index, [2, 0, 0, 0, 0, 7]).unwrap();
        let b = linux.link_by_name("b0").unwrap().unwrap();
        assert_eq!((b.mtu, b.address.as_slice()), (1400, &[2, 0, 0, 0, 0, 7][..]));
        linux.delete_link(a.index).unwrap();
        assert_eq!(linux.link_by_name("b0").unwrap(), None);
        let error = linux.delete_link(a.index).unwrap_err();
        assert_eq!((error.call, error.errno), ("RTM_DELLINK", libc::ENODEV), "{error}");
    });
}

#[test]
fn a_peer_in_another_namespace() {
    let other = Namespace::create().expect("these tests need root");
    inside(|| {
        let mut linux = Linux::new();
        let (a, b) = veth(&mut linux);
        linux.move_link(b.index, &other).unwrap();
        let a = linux.link_by_name(&a.name).unwrap().unwrap();
        assert!(a.peer.is_some() && a.peer_netns.is_some(), "{a:?}");
        assert_eq!(linux.link_by_name("b0").unwrap(), None);
        let there = other.run(|| Linux::new().link_by_name("b0").unwrap().unwrap()).unwrap();
        assert_eq!((Some(there.index), there.peer), (a.peer, Some(a.index)));
    });
}

#[test]
fn addresses_and_routes() {
    inside(|| {
        let mut linux = Linux::new();
        let (a, _) = veth(&mut linux);
        let address = |ip: &str, prefix, scope| {
            let ip: IpAddr = ip.parse().unwrap();
            Address { ifindex: a.index, ip, prefix, scope, broadcast: None, flags: 0 }
        };
        let v4 = address("10.1.2.3", 24, 0);
        let v6 = address("fe80::7", 64, 253);
        for wanted in [&v4, &v6] {
            linux.add_address(wanted).unwrap();
            let found = linux.addresses().unwrap();
            let found = found.iter().find(|address| address.ip == wanted.ip).unwrap();
            assert_eq!((found.ifindex, found.prefix, found.scope), (a.index, wanted.prefix, wanted.scope));
        }
        let via: IpAddr = "10.1.2.1".parse().unwrap();
        let default = Route { destination: None, v6: false, via: Some(via), ifindexes: vec![a.index] };
        linux.add_route(&default).unwrap();
        let net = Route { destination: Some(("10.9.0.0".parse().unwrap(), 16)), ..default.clone() };
        linux.add_route(&net).unwrap();
        let routes = linux.routes().unwrap();
        assert!(routes.contains(&default) && routes.contains(&net), "{routes:?}");
        for wanted in [&v4, &v6] {
            linux.delete_address(wanted).unwrap();
        }
        assert!(linux.addresses().unwrap().iter().all(|address| address.ip != v4.ip && address.ip != v6.ip));
        let error = linux.delete_address(&v4).unwrap_err();
        assert_eq!(error.errno, libc::EADDRNOTAVAIL, "{error}");
    });
}

#[test]
fn sysctls_are_those_of_this_namespace() {
    inside(|| {
        let mut linux = Linux::new();
        veth(&mut linux);
        let path = "ipv6/conf/a0/accept_ra";
        linux.sysctl_write(path, "0").unwrap();
        assert_eq!(linux.sysctl_read(path).unwrap(), "0");
        linux.sysctl_write(path, "2").unwrap();
        assert_eq!(linux.sysctl_read(path).unwrap(), "2");
        assert_eq!(linux.sysctl_read("ipv6/conf/eth99/accept_ra").unwrap_err().errno, libc::ENOENT);
    });
    assert_eq!(Linux::new().sysctl_read("ipv6/conf/a0/accept_ra").unwrap_err().errno, libc::ENOENT);
}

#[test]
fn features_go_off_and_come_back() {
    inside(|| {
        let mut linux = Linux::new();
        veth(&mut linux);
        let before = linux.features("a0").unwrap();
        let ethtool = Command::new("ethtool").args(["-k", "a0"]).output();
        let active = |name: &str| before.iter().find(|feature| feature.name == name).unwrap().active;
        assert!(active("tx-tcp-segmentation") && active("tx-generic-segmentation") && !active("rx-gro"));
        if let Ok(output) = ethtool {
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(text.contains("tx-tcp6-segmentation: on"), active("tx-tcp6-segmentation"), "{text}");
        }
        let off: Vec<(String, bool)> = ["tx-tcp-segmentation", "tx-generic-segmentation", "rx-gro"]
            .map(|name| (name.to_owned(), name == "rx-gro"))
            .to_vec();
        assert_eq!(linux.set_features("a0", &off).unwrap(), Vec::<String>::new());
        let during = linux.features("a0").unwrap();
        assert_ne!(during, before);
        let back: Vec<(String, bool)> = before
            .iter()
            .filter(|feature| off.iter().any(|(name, _)| *name == feature.name))
            .map(|feature| (feature.name.clone(), feature.wanted))
            .collect();
        assert_eq!(linux.set_features("a0", &back).unwrap(), Vec::<String>::new());
        assert_eq!(linux.features("a0").unwrap(), before);

        let odd = [("loopback".to_owned(), true), ("no-such-thing".to_owned(), true)];
        assert_eq!(linux.set_features("a0", &odd).unwrap(), ["loopback", "no-such-thing"]);
        assert_eq!(linux.features("eth99").unwrap_err().errno, libc::ENODEV);
        assert_eq!(linux.driver("a0").unwrap().name, "veth");
        assert_eq!(linux.pause("a0").unwrap(), None);
        let stats = linux.driver_stats("a0").unwrap();
        assert!(stats.iter().any(|(name, _)| name == "peer_ifindex"), "{stats:?}");
    });
}

#[test]
fn maps_hold_what_they_are_given() {
    let mut linux = Linux::new();
    let cpus = linux.possible_cpus().unwrap();
    let plain = array(&mut linux, MapKind::ARRAY, "plain");
    let key = 1_u32.to_ne_bytes();
    linux.map_update(plain, &key, &[7; 12]).unwrap();
    assert_eq!(linux.map_lookup(plain, &key).unwrap(), Some(vec![7; 12]));
    assert_eq!(linux.map_lookup(plain, &9_u32.to_ne_bytes()).unwrap(), None);
    assert_eq!(linux.map_update(plain, &key, &[7; 11]).unwrap_err().errno, libc::EINVAL);
    assert_eq!(linux.map_lookup(plain, &[0; 3]).unwrap_err().errno, libc::EINVAL);
    assert!(linux.map_lookup_percpu(plain, &key).is_err());

    let each = array(&mut linux, MapKind::PERCPU_ARRAY, "each");
    let values: Vec<Vec<u8>> = (0..cpus).map(|cpu| vec![u8::try_from(cpu % 256).unwrap(); 12]).collect();
    let padded: Vec<u8> = values.iter().flat_map(|one| [one.as_slice(), &[0; 4]].concat()).collect();
    linux.map_update(each, &key, &padded).unwrap();
    assert_eq!(linux.map_lookup_percpu(each, &key).unwrap(), Some(values));

    let hash = array(&mut linux, MapKind::HASH, "a_very_long_name_of_a_map");
    let info = linux.map_info(hash).unwrap();
    assert_eq!((info.name.as_str(), info.kind, info.value_bytes), ("a_very_long_nam", 1, 12));
    assert_eq!(linux.map_next_key(hash, None).unwrap(), None);
    linux.map_update(hash, &key, &[1; 12]).unwrap();
    assert_eq!(linux.map_next_key(hash, None).unwrap(), Some(key.to_vec()));
    assert_eq!(linux.map_next_key(hash, Some(&key)).unwrap(), None);
    linux.map_freeze(hash).unwrap();
    assert_eq!(linux.map_delete(hash, &key).unwrap_err().errno, libc::EPERM);

    let mut other = Linux::new();
    let again = other.map_by_id(info.id).unwrap();
    assert_eq!(other.map_lookup(again, &key).unwrap(), Some(vec![1; 12]));
    linux.close(hash.0);
    assert_eq!(linux.map_lookup(hash, &key).unwrap_err().errno, libc::EBADF);
}

#[test]
fn the_verifier_is_quoted() {
    let mut linux = Linux::new();
    let spec = ProgSpec {
        kind: ProgKind::SCHED_CLS,
        attach_type: 0,
        insns: &[0x95],
        license: "Dual MIT/GPL",
        name: "bad",
        flags: 0,
    };
    let error = linux.prog_load(&spec).unwrap_err();
    assert_eq!((error.call, error.detail.as_deref()), ("BPF_PROG_LOAD", Some("R0 !read_ok")), "{error}");
    assert!(error.log.unwrap().contains("exit"));
}

#[test]
fn a_test_run_gives_verdict_and_frame() {
    let mut linux = Linux::new();
    let prog = program(&mut linux, ProgKind::XDP, &returns(2), "pass");
    let frame: Vec<u8> = (0..64).collect();
    let run = TestRun { data: &frame, data_out_bytes: 128, repeat: 10, ..TestRun::default() };
    let result = linux.prog_test_run(prog, &run).unwrap();
    assert_eq!((result.verdict, result.data), (2, frame.clone()));
    let prog = program(&mut linux, ProgKind::SCHED_CLS, &returns(7), "redirect");
    let run = TestRun { data: &frame, context: &[0; 192], data_out_bytes: 64, ..TestRun::default() };
    let result = linux.prog_test_run(prog, &run).unwrap();
    assert_eq!((result.verdict, result.data.len(), result.context.len()), (7, 64, 192));
}

#[test]
fn tcx_outlives_its_maker_and_is_found_again() {
    inside(|| {
        let index = {
            let mut linux = Linux::new();
            let (a, _) = veth(&mut linux);
            assert_eq!(linux.tcx_query(a.index, Hook::Ingress).unwrap(), []);
            let counters = array(&mut linux, MapKind::ARRAY, "counters");
            let saved = array(&mut linux, MapKind::ARRAY, "saved");
            linux.map_update(saved, &[0; 4], b"state before").unwrap();
            let insns = holds_map(counters.0, 0xFF);
            let first = program(&mut linux, ProgKind::SCHED_CLS, &insns, "first");
            linux.prog_bind_map(first, saved).unwrap();
            linux.tcx_attach(a.index, Hook::Ingress, first, Place::First).unwrap();
            let last = program(&mut linux, ProgKind::SCHED_CLS, &returns(0), "last");
            linux.tcx_attach(a.index, Hook::Ingress, last, Place::Last).unwrap();
            a.index
        };
        let mut linux = Linux::new();
        let attached = linux.tcx_query(index, Hook::Ingress).unwrap();
        let infos: Vec<_> = attached
            .iter()
            .map(|one| {
                assert_eq!(one.link_id, 0);
                let prog = linux.prog_by_id(one.prog_id).unwrap();
                (prog, linux.prog_info(prog).unwrap())
            })
            .collect();
        let names: Vec<&str> = infos.iter().map(|(_, info)| info.name.as_str()).collect();
        assert_eq!(names, ["first", "last"]);
        let (first, info) = &infos[0];
        assert!(info.verified_insns > 0 && info.tag != [0; 8]);
        let maps: Vec<_> = info.map_ids.iter().map(|id| linux.map_by_id(*id).unwrap()).collect();
        let saved = maps.into_iter().find(|map| linux.map_info(*map).unwrap().name == "saved").unwrap();
        assert_eq!(linux.map_lookup(saved, &[0; 4]).unwrap().unwrap(), b"state before");

        let next = program(&mut linux, ProgKind::SCHED_CLS, &returns(0), "next");
        linux.tcx_attach(index, Hook::Ingress, next, Place::Replace(*first)).unwrap();
        assert!(linux.tcx_attach(index, Hook::Ingress, next, Place::Replace(*first)).is_err());
        let ids: Vec<u32> =
            linux.tcx_query(index, Hook::Ingress).unwrap().iter().map(|a| a.prog_id).collect();
        assert_eq!(ids, [linux.prog_info(next).unwrap().id, infos[1].1.id]);
        linux.tcx_detach(index, Hook::Ingress, next).unwrap();
        linux.tcx_detach(index, Hook::Ingress, infos[1].0).unwrap();
        assert_eq!(linux.tcx_query(index, Hook::Ingress).unwrap(), []);
        let error = linux.tcx_attach(9999, Hook::Egress, next, Place::First).unwrap_err();
        assert_eq!(
            error.to_string(),
            "BPF_PROG_ATTACH tcx egress of interface 9999: No such device (ENODEV)"
        );
    });
}

#[test]
fn clsact_and_its_first_classifier_in_one_step() {
    inside(|| {
        let mut linux = Linux::new();
        let (a, _) = veth(&mut linux);
        let clsact = |linux: &mut Linux| linux.qdiscs(a.index).unwrap().iter().any(|it| it.kind == "clsact");
        let prog = program(&mut linux, ProgKind::SCHED_CLS, &returns(0), "one");
        let spec =
            FilterSpec { prog, name: "tapwright", priority: 1, handle: 1, replace: false, with_clsact: true };
        // A program that is none: what was made for it goes again.
        let none = FilterSpec { prog: ProgFd(-1), ..spec };
        linux.add_filter(a.index, Hook::Egress, &none).unwrap_err();
        assert!(!clsact(&mut linux));
        linux.add_filter(a.index, Hook::Egress, &spec).unwrap();
        assert_eq!(linux.filters(a.index, Hook::Egress).unwrap().len(), 1);
        let again = linux.add_filter(a.index, Hook::Ingress, &spec).unwrap_err();
        assert_eq!(again.errno, libc::EEXIST, "{again}");
        assert!(clsact(&mut linux));
    });
}

#[test]
fn clsact_without_tcx() {
    inside(|| {
        let mut linux = Linux::new();
        let (a, _) = veth(&mut linux);
        assert_eq!(linux.filters(a.index, Hook::Ingress).unwrap(), []);
        linux.add_qdisc(a.index, H_CLSACT, handle(0xFFFF, 0), &QdiscSpec::Clsact, false).unwrap();
        assert!(linux.qdiscs(a.index).unwrap().iter().any(|qdisc| qdisc.kind == "clsact"));
        let again =
            linux.add_qdisc(a.index, H_CLSACT, handle(0xFFFF, 0), &QdiscSpec::Clsact, false).unwrap_err();
        assert_eq!(again.errno, libc::EEXIST, "{again}");
        for hook in [Hook::Ingress, Hook::Egress] {
            let prog = program(&mut linux, ProgKind::SCHED_CLS, &returns(0), "one");
            let spec = FilterSpec {
                prog,
                name: "tapwright",
                priority: 1,
                handle: 1,
                replace: false,
                with_clsact: false,
            };
            linux.add_filter(a.index, hook, &spec).unwrap();
            assert!(linux.add_filter(a.index, hook, &spec).is_err());
            let other = program(&mut linux, ProgKind::SCHED_CLS, &returns(0), "two");
            linux.add_filter(a.index, hook, &FilterSpec { prog: other, replace: true, ..spec }).unwrap();
            let found = linux.filters(a.index, hook).unwrap();
            let id = linux.prog_info(other).unwrap().id;
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].name.as_str(), found[0].kind.as_str()), ("tapwright", "bpf"));
            assert_eq!(
                (found[0].priority, found[0].protocol, found[0].handle, found[0].prog_id),
                (1, 3, 1, id)
            );
            linux.delete_filter(a.index, hook, 1, 1).unwrap();
            assert_eq!(linux.filters(a.index, hook).unwrap(), []);
        }
        linux.delete_qdisc(a.index, H_CLSACT, handle(0xFFFF, 0)).unwrap();
        assert!(linux.qdiscs(a.index).unwrap().iter().all(|qdisc| qdisc.kind != "clsact"));
    });
}

#[test]
fn xdp_is_attached_replaced_and_taken_away() {
    inside(|| {
        let mut linux = Linux::new();
        let (a, b) = veth(&mut linux);
        let one = program(&mut linux, ProgKind::XDP, &returns(2), "one");
        let two = program(&mut linux, ProgKind::XDP, &returns(2), "two");
        for mode in [XdpMode::Native, XdpMode::Generic] {
            linux.xdp_attach(a.index, mode, one, None).unwrap();
            assert!(linux.xdp_attach(a.index, mode, two, None).is_err(), "there is one already");
            assert!(linux.xdp_attach(a.index, mode, two, Some(two)).is_err(), "it is another");
            linux.xdp_attach(a.index, mode, two, Some(one)).unwrap();
            let xdp = linux.link_by_name("a0").unwrap().unwrap().xdp.unwrap();
            assert_eq!((xdp.mode, xdp.prog_id), (mode, linux.prog_info(two).unwrap().id));
            linux.xdp_detach(a.index, mode).unwrap();
            linux.xdp_detach(a.index, mode).unwrap();
            assert_eq!(linux.link_by_name("a0").unwrap().unwrap().xdp, None);
        }
        // A veth takes redirected frames only while its peer has a native program.
        assert!(!linux.xdp_features(b.index).unwrap().unwrap().redirect_target());
        linux.xdp_attach(a.index, XdpMode::Native, one, None).unwrap();
        let features = linux.xdp_features(b.index).unwrap().unwrap();
        assert!(features.native() && features.redirect_target() && features.fragments(), "{features:?}");
    });
}

#[test]
fn live_frames_are_really_sent() {
    inside(|| {
        let mut linux = Linux::new();
        let (a, b) = veth(&mut linux);
        for name in ["a0", "b0"] {
            linux.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "1").unwrap();
        }
        linux.wait_ready(&["a0", "b0"], Duration::from_secs(30)).unwrap();
        let pass = program(&mut linux, ProgKind::XDP, &returns(2), "pass");
        linux.xdp_attach(b.index, XdpMode::Native, pass, None).unwrap();
        let before = linux.link_by_name("b0").unwrap().unwrap().stats.rx_packets;
        // r1 = a0; r2 = 0; call redirect; exit
        let insns = [0xb4 | 1 << 8 | u64::from(a.index) << 32, 0xb7 | 2 << 8, 0x85 | 23 << 32, 0x95];
        let send = program(&mut linux, ProgKind::XDP, &insns, "send");
        let frame = [&[0xFF; 12][..], &[0x88, 0xB5], &[0; 46]].concat();
        let run = TestRun { data: &frame, repeat: 1000, live: true, batch: 32, ..TestRun::default() };
        linux.prog_test_run(send, &run).unwrap();
        let start = Instant::now();
        loop {
            let after = linux.link_by_name("b0").unwrap().unwrap().stats.rx_packets;
            if after - before == 1000 {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{} of 1000 came", after - before);
        }
    });
}

#[test]
fn a_name_that_cannot_be_one_is_not_there() {
    let mut linux = Linux::new();
    assert_eq!(linux.link_by_name("no-such-thing").unwrap(), None);
    assert_eq!(linux.link_by_name("a-name-that-is-much-too-long-for-linux").unwrap(), None);
    assert_eq!(linux.link_by_name("").unwrap(), None);
    inside(|| {
        let mut linux = Linux::new();
        veth(&mut linux);
        linux.wait_ready(&["a0", "b0"], Duration::from_secs(30)).unwrap();
        for listed in linux.links().unwrap() {
            let found = linux.link_by_name(&listed.name).unwrap().unwrap();
            // Counters go on between the two.
            assert_eq!(found, Link { stats: found.stats, ..listed });
        }
    });
}
