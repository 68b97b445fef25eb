//! One script on both machines: what the fake allows and refuses is what the kernel allows and refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::fmt::Debug;
use std::time::{Duration, Instant};
use sys::netns::Namespace;
use sys::{
    Address, Fake, FilterSpec, H_CLSACT, H_ROOT, Hook, HtbClass, IFF_PROMISC, IFF_UP, Link, Linux,
    MAP_NO_PREALLOC, MapFd, MapKind, MapSpec, Place, ProgFd, ProgKind, ProgSpec, QdiscSpec, Result, Sys,
    VethSpec, XdpMode, handle,
};

/// What each step gave, in words that do not depend on ids.
#[derive(Default)]
struct Log(Vec<String>);

impl Log {
    fn add<T: Debug>(&mut self, step: &str, result: Result<T>) {
        self.0.push(match result {
            Ok(value) => format!("{step}: {value:?}"),
            Err(error) => format!("{step}: {} {}", error.call, error.errno),
        });
    }
}

fn load(sys: &mut impl Sys, kind: ProgKind, name: &str) -> ProgFd {
    let insns = [0xb7 | 2 << 32, 0x95];
    sys.prog_load(&ProgSpec { kind, attach_type: 0, insns: &insns, license: "Dual MIT/GPL", name, flags: 0 })
        .unwrap()
}

fn index(sys: &mut impl Sys, name: &str) -> u32 {
    sys.link_by_name(name).unwrap().unwrap().index
}

fn interfaces(sys: &mut impl Sys, log: &mut Log) {
    log.add("make", sys.create_veth(&VethSpec { queues: 1, ..VethSpec::new("a", "b") }));
    log.add("make again", sys.create_veth(&VethSpec::new("a", "c")));
    log.add("peer taken", sys.create_veth(&VethSpec::new("c", "b")));
    let a = index(sys, "a");
    let b = index(sys, "b");
    log.add("peers", sys.link_by_name("a").map(|link| link.unwrap().peer == Some(b)));
    log.add("no gen mode", sys.set_addr_gen_mode(b, 1));
    log.add("bad gen mode", sys.set_addr_gen_mode(b, 9));
    log.add("nobody", sys.set_link_flags(999, IFF_UP, 0));
    for (index, set) in [(a, IFF_UP | IFF_PROMISC), (b, IFF_UP)] {
        log.add("up", sys.set_link_flags(index, set, 0));
    }
    // The kernel starts queues, and gives IPv6 its address, some time after an interface has come up.
    let start = Instant::now();
    while !sys.links().unwrap().iter().filter(|link| link.index == a || link.index == b).all(Link::ready) {
        assert!(start.elapsed() < Duration::from_secs(30), "the pair never became ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    let state = |sys: &mut dyn FnMut() -> sys::Link| {
        let link = sys();
        (link.flags & (IFF_UP | IFF_PROMISC), link.carrier, link.promiscuity, link.addr_gen_mode, link.qdisc)
    };
    for name in ["a", "b"] {
        let found = state(&mut || sys.link_by_name(name).unwrap().unwrap());
        log.add(name, Ok(found));
    }
    let local = |sys: &mut dyn FnMut() -> Vec<Address>, index| {
        let found = sys();
        found.iter().filter(|address| address.ifindex == index && address.scope == 253).count()
    };
    log.add("link-local of a", Ok(local(&mut || sys.addresses().unwrap(), a)));
    log.add("none for b", Ok(local(&mut || sys.addresses().unwrap(), b)));
    let mine = sys.addresses().unwrap().into_iter().find(|address| address.ifindex == a).unwrap();
    log.add("withdraw", sys.delete_address(&mine));
    log.add("withdraw again", sys.delete_address(&mine));
    log.add("give back", sys.add_address(&mine));
    log.add("IPv6 off", sys.sysctl_write("ipv6/conf/a/disable_ipv6", "1"));
    log.add("gone", Ok(local(&mut || sys.addresses().unwrap(), a)));
    log.add("refused", sys.add_address(&mine));
    log.add("IPv6 on", sys.sysctl_write("ipv6/conf/a/disable_ipv6", "0"));
    log.add("back", Ok(local(&mut || sys.addresses().unwrap(), a)));
    log.add("read", sys.sysctl_read("ipv6/conf/a/disable_ipv6"));
    log.add("no such", sys.sysctl_read("ipv6/conf/x/disable_ipv6"));
    log.add("no such", sys.sysctl_write("ipv6/conf/x/disable_ipv6", "0"));
    log.add("loopback stays", sys.delete_link(1));
}

fn drivers(sys: &mut impl Sys, log: &mut Log) {
    log.add("driver", sys.driver("a").map(|driver| driver.name));
    log.add("pause", sys.pause("a"));
    let quiet = sys::Pause { autoneg: false, rx: false, tx: false };
    log.add("set pause", sys.set_pause("a", quiet));
    let wish = [("rx-gro", true), ("tx-tcp-segmentation", false), ("rx-fcs", true), ("no-such", false)];
    let wish = wish.map(|(name, on)| (name.to_owned(), on));
    log.add("features", sys.set_features("a", &wish));
    let all = sys.features("a").unwrap();
    for (name, _) in &wish {
        log.add(
            name,
            Ok(all
                .iter()
                .find(|feature| feature.name == *name)
                .map(|f| (f.active, f.wanted, f.changeable()))),
        );
    }
    log.add("nobody", sys.features("x").map(|_| ()));
}

fn queues(sys: &mut impl Sys, log: &mut Log) {
    let (a, root, class) = (index(sys, "a"), handle(1, 0), handle(1, 0x10));
    let shape = HtbClass {
        rate_bytes_s: 1_000_000,
        ceil_bytes_s: 1_000_000,
        burst_bytes: 1600,
        cburst_bytes: 1600,
        quantum_bytes: 1600,
        overhead_bytes: 24,
        mpu_bytes: 84,
        priority: 0,
    };
    let htb = QdiscSpec::Htb { default_class: 0x10, direct_packets: 2 };
    let fifo = QdiscSpec::Bfifo { limit_bytes: 9000 };
    let list = |sys: &mut dyn FnMut() -> Vec<sys::Qdisc>| -> Vec<(String, u32, u32)> {
        sys().into_iter().map(|qdisc| (qdisc.kind, qdisc.handle, qdisc.parent)).collect()
    };
    log.add("at first", Ok(list(&mut || sys.qdiscs(a).unwrap())));
    log.add("no root of ours", sys.delete_qdisc(a, H_ROOT, root));
    log.add("no htb", sys.set_class(a, root, class, &shape));
    log.add("root", sys.add_qdisc(a, H_ROOT, root, &htb, false));
    log.add("root again", sys.add_qdisc(a, H_ROOT, root, &htb, false));
    log.add("no class", sys.add_qdisc(a, class, handle(2, 0), &fifo, false));
    log.add("no rate", sys.set_class(a, root, class, &HtbClass { rate_bytes_s: 0, ..shape }));
    log.add("class", sys.set_class(a, root, class, &shape));
    log.add("class again", sys.set_class(a, root, class, &shape));
    log.add("leaf", sys.add_qdisc(a, class, handle(2, 0), &fifo, false));
    log.add("tree", Ok(list(&mut || sys.qdiscs(a).unwrap())));
    let classes =
        sys.classes(a).map(|all| all.iter().map(|class| (class.handle, class.leaf)).collect::<Vec<_>>());
    log.add("classes", classes);
    log.add("root's name", sys.link_by_name("a").map(|link| link.unwrap().qdisc));
    log.add("delete", sys.delete_qdisc(a, H_ROOT, root));
    log.add("at last", Ok(list(&mut || sys.qdiscs(a).unwrap())));
    log.add("no classes", sys.classes(a).map(|all| all.len()));
}

fn attachments(sys: &mut impl Sys, log: &mut Log) {
    let a = index(sys, "a");
    let (one, two) = (load(sys, ProgKind::SCHED_CLS, "one"), load(sys, ProgKind::SCHED_CLS, "two"));
    log.add("nothing", sys.tcx_query(a, Hook::Ingress));
    log.add("detach nothing", sys.tcx_detach(a, Hook::Ingress, one));
    log.add("replace nothing", sys.tcx_attach(a, Hook::Ingress, one, Place::Replace(two)));
    log.add("first", sys.tcx_attach(a, Hook::Ingress, one, Place::First));
    log.add("twice", sys.tcx_attach(a, Hook::Ingress, one, Place::Last));
    log.add("replace another", sys.tcx_attach(a, Hook::Ingress, two, Place::Replace(two)));
    log.add("replace", sys.tcx_attach(a, Hook::Ingress, two, Place::Replace(one)));
    log.add("one left", sys.tcx_query(a, Hook::Ingress).map(|all| all.len()));
    log.add("detach", sys.tcx_detach(a, Hook::Ingress, two));
    log.add("nobody", sys.tcx_attach(999, Hook::Ingress, one, Place::First));
    log.add("nobody", sys.tcx_query(999, Hook::Ingress));
    log.add("bad descriptor", sys.tcx_attach(a, Hook::Ingress, ProgFd(9999), Place::First));

    let filter =
        FilterSpec { prog: one, name: "t", priority: 1, handle: 1, replace: false, with_clsact: false };
    log.add("no clsact", sys.add_filter(a, Hook::Egress, &filter));
    log.add("no clsact", sys.delete_qdisc(a, H_CLSACT, handle(0xFFFF, 0)));
    log.add("no clsact", sys.filters(a, Hook::Egress));
    log.add("clsact", sys.add_qdisc(a, H_CLSACT, handle(0xFFFF, 0), &QdiscSpec::Clsact, false));
    log.add("clsact again", sys.add_qdisc(a, H_CLSACT, handle(0xFFFF, 0), &QdiscSpec::Clsact, false));
    log.add("filter", sys.add_filter(a, Hook::Egress, &filter));
    log.add("filter again", sys.add_filter(a, Hook::Egress, &filter));
    log.add("replaced", sys.add_filter(a, Hook::Egress, &FilterSpec { replace: true, ..filter }));
    log.add("one", sys.filters(a, Hook::Egress).map(|all| all.len()));
    log.add("delete another", sys.delete_filter(a, Hook::Egress, 1, 7));
    log.add("delete", sys.delete_filter(a, Hook::Egress, 1, 1));
    log.add("no clsact", sys.delete_qdisc(a, H_CLSACT, handle(0xFFFF, 0)));

    let (one, two) = (load(sys, ProgKind::XDP, "one"), load(sys, ProgKind::XDP, "two"));
    for (mode, other) in [(XdpMode::Generic, XdpMode::Native), (XdpMode::Native, XdpMode::Generic)] {
        log.add("expects one", sys.xdp_attach(a, mode, one, Some(two)));
        log.add("attach", sys.xdp_attach(a, mode, one, None));
        log.add("there is one", sys.xdp_attach(a, mode, two, None));
        log.add("there is another", sys.xdp_attach(a, mode, two, Some(two)));
        log.add("other mode", sys.xdp_attach(a, other, two, None));
        log.add("replace", sys.xdp_attach(a, mode, two, Some(one)));
        log.add("mode", sys.link_by_name("a").map(|link| link.unwrap().xdp.unwrap().mode));
        let b = index(sys, "b");
        log.add("target", sys.xdp_features(b).map(|features| features.unwrap().redirect_target()));
        log.add("detach", sys.xdp_detach(a, mode));
        log.add("detach again", sys.xdp_detach(a, mode));
    }
    log.add("nobody", sys.xdp_attach(999, XdpMode::Native, one, None));
    log.add("nobody", sys.xdp_features(999));
}

fn maps(sys: &mut impl Sys, log: &mut Log) {
    let spec = |kind, key_bytes, max_entries| {
        let name = "m".to_owned();
        MapSpec { kind, key_bytes, value_bytes: 8, max_entries, flags: 0, name }
    };
    log.add("no entries", sys.map_create(&spec(MapKind::HASH, 4, 0)).map(|_| ()));
    log.add("odd key", sys.map_create(&spec(MapKind::ARRAY, 8, 1)).map(|_| ()));
    for kind in [MapKind::HASH, MapKind::ARRAY] {
        let map = sys.map_create(&spec(kind, 4, 1)).unwrap();
        let (key, other) = ([0; 4], 7_u32.to_ne_bytes());
        log.add("lookup", sys.map_lookup(map, &key));
        log.add("lookup", sys.map_lookup(map, &other));
        log.add("update", sys.map_update(map, &key, &[3; 8]));
        log.add("one too many", sys.map_update(map, &other, &[3; 8]));
        log.add("short", sys.map_update(map, &key, &[3; 7]));
        log.add("lookup", sys.map_lookup(map, &key));
        log.add("first", sys.map_next_key(map, None));
        log.add("next", sys.map_next_key(map, Some(&key)));
        log.add("delete", sys.map_delete(map, &key));
        log.add("delete again", sys.map_delete(map, &key));
        log.add("freeze", sys.map_freeze(map));
        log.add("frozen", sys.map_update(map, &key, &[3; 8]));
        log.add("percpu", sys.map_lookup_percpu(map, &key));
        sys.close(map.0);
        log.add(
            "closed",
            sys.map_info(map).map(|_| ()).map_err(|e| sys::SysError { object: String::new(), ..e }),
        );
    }
    log.add("nobody", sys.map_by_id(u32::MAX).map(|_| ()));
    log.add("nobody", sys.prog_by_id(u32::MAX).map(|_| ()));
    let empty =
        ProgSpec { kind: ProgKind::XDP, attach_type: 0, insns: &[], license: "GPL", name: "x", flags: 0 };
    log.add("empty", sys.prog_load(&empty).map(|_| ()));
    let insns = [0xb7, 0x95];
    log.add("odd name", sys.prog_load(&ProgSpec { insns: &insns, name: "a-b", ..empty }).map(|_| ()));
}

/// Sizes that maps may and may not have.
fn shapes(sys: &mut impl Sys, log: &mut Log) {
    let mut make = |what: &str, kind, key_bytes, value_bytes, flags| {
        let spec = MapSpec { kind, key_bytes, value_bytes, max_entries: 3, flags, name: "m".to_owned() };
        log.add(what, sys.map_create(&spec).map(|_| ()));
    };
    let lazy = MAP_NO_PREALLOC;
    for (key_bytes, flags) in [(4, lazy), (5, lazy), (20, lazy), (260, lazy), (261, lazy), (8, 0)] {
        make("longest prefix", MapKind::LPM_TRIE, key_bytes, 4, flags);
    }
    for (key_bytes, value_bytes) in [(0, 4), (1, 0), (1, 1), (512, 4), (513, 4), (44, 70_000)] {
        make("hash", MapKind::HASH, key_bytes, value_bytes, 0);
    }
    for value_bytes in [0, 1, 32 << 10, (32 << 10) + 1] {
        make("for each CPU", MapKind::PERCPU_ARRAY, 4, value_bytes, 0);
    }
    make("large values", MapKind::ARRAY, 4, 1 << 20, 0);
}

/// Many values at once, in every kind of map that rules are looked up in.
fn fills(sys: &mut impl Sys, log: &mut Log) {
    let cpus = sys.possible_cpus().unwrap();
    let entry = |key: &[u8], value: u8, copies: usize| (key.to_vec(), vec![value; 8 * copies]);
    for (kind, flags) in [(MapKind::HASH, 0), (MapKind::ARRAY, 0), (MapKind::PERCPU_ARRAY, 0)] {
        let name = "m".to_owned();
        let spec = MapSpec { kind, key_bytes: 4, value_bytes: 8, max_entries: 3, flags, name };
        let map = sys.map_create(&spec).unwrap();
        let copies = if kind == MapKind::PERCPU_ARRAY { cpus } else { 1 };
        let number = |at: u32, value| entry(&at.to_ne_bytes(), value, copies);
        log.add("nothing", sys.map_fill(map, &[]));
        log.add("two", sys.map_fill(map, &[number(2, 7), number(0, 5)]));
        log.add("again", sys.map_fill(map, &[number(0, 6), number(1, 1), number(2, 8)]));
        log.add("too many", sys.map_fill(map, &[number(1, 2), number(3, 3)]));
        log.add("short", sys.map_fill(map, &[(vec![0; 4], vec![0; 7])]));
        for at in 0u32..4 {
            let found = sys.map_lookup(map, &at.to_ne_bytes());
            log.add("value", found.map(|value| value.map(|value| (value[0], value.len() / copies))));
        }
        if kind == MapKind::PERCPU_ARRAY {
            let mut each = sys.map_lookup_percpu(map, &[0; 4]).unwrap().unwrap();
            log.add("of each CPU", Ok((each.len() == cpus, each.swap_remove(cpus - 1))));
            let other: Vec<u8> = (0u8..).take(cpus).flat_map(|cpu| [cpu; 8]).collect();
            log.add("another for each", sys.map_update(map, &[0; 4], &other));
            let each = sys.map_lookup_percpu(map, &[0; 4]).unwrap().unwrap();
            log.add("in order", Ok((0u8..).zip(&each).all(|(cpu, value)| *value == [cpu; 8])));
        }
        log.add("freeze", sys.map_freeze(map));
        log.add("frozen", sys.map_fill(map, &[number(0, 9)]));
    }
    prefixes(sys, log);
    let nobody = sys.map_fill(MapFd(9999), &[]);
    log.add("bad descriptor", nobody);
    log.add("random", sys.random().map(|_| ()));
}

fn prefixes(sys: &mut impl Sys, log: &mut Log) {
    let name = "m".to_owned();
    let kind = MapKind::LPM_TRIE;
    let spec = MapSpec { kind, key_bytes: 8, value_bytes: 4, max_entries: 3, flags: MAP_NO_PREALLOC, name };
    let map = sys.map_create(&spec).unwrap();
    let key = |bits: u32, data: [u8; 4]| [bits.to_ne_bytes(), data].concat();
    let entry = |bits, data, value: u8| (key(bits, data), vec![value; 4]);
    log.add("fill", sys.map_fill(map, &[entry(8, [10, 0, 0, 0], 8), entry(12, [10, 0xff, 1, 2], 12)]));
    log.add("same prefix", sys.map_fill(map, &[entry(12, [10, 0xf0, 9, 9], 13), entry(0, [1; 4], 1)]));
    log.add("one too many", sys.map_fill(map, &[entry(9, [0; 4], 9)]));
    log.add("one too many", sys.map_update(map, &key(9, [0; 4]), &[9; 4]));
    log.add("too long", sys.map_update(map, &key(33, [0; 4]), &[9; 4]));
    let asked = [(32, [10, 0xf1, 0, 0]), (11, [10, 0xf1, 0, 0]), (32, [10, 1, 0, 0]), (32, [11, 0, 0, 0])];
    for (bits, data) in asked {
        log.add("longest", sys.map_lookup(map, &key(bits, data)));
    }
    log.add("too long", sys.map_lookup(map, &key(33, [0; 4])));
    log.add("delete", sys.map_delete(map, &key(12, [10, 0xf0, 7, 7])));
    log.add("delete again", sys.map_delete(map, &key(12, [10, 0xf0, 0, 0])));
    log.add("longest", sys.map_lookup(map, &key(32, [10, 0xf1, 0, 0])));
    log.add("frozen", sys.map_freeze(map).and_then(|()| sys.map_fill(map, &[entry(8, [10; 4], 8)])));
}

fn script(sys: &mut impl Sys) -> Vec<String> {
    let mut log = Log::default();
    interfaces(sys, &mut log);
    drivers(sys, &mut log);
    queues(sys, &mut log);
    attachments(sys, &mut log);
    maps(sys, &mut log);
    shapes(sys, &mut log);
    fills(sys, &mut log);
    let a = index(sys, "a");
    log.add("delete", sys.delete_link(a));
    log.add("both are gone", sys.links().map(|links| links.len()));
    log.0
}

#[test]
fn the_fake_does_as_the_kernel_does() {
    let namespace =
        Namespace::create().expect("these tests need root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF)");
    let real = namespace.run(|| script(&mut Linux::new())).unwrap();
    let fake = script(&mut Fake::new());
    let differ: Vec<_> = real.iter().zip(&fake).filter(|(real, fake)| real != fake).collect();
    assert!(differ.is_empty() && real.len() == fake.len(), "kernel, fake: {differ:#?}");
}
