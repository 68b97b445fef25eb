//! Classic filters on the real kernel, in namespaces: `tc` reads them as they were meant, frames do what they say,
//! and what actions count adds up.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::process::Command;
use std::time::Duration;

use sys::netns::Namespace;
use sys::packet::{Options, PacketSocket};
use sys::{
    Act, ActStats, ClassicFilter, ClassicInsn, ClassicSpec, Fake, H_CLSACT, H_EGRESS, H_INGRESS, H_ROOT,
    HtbClass, IFF_UP, Linux, Matcher, QdiscSpec, Sys, Then, VethSpec, handle,
};

/// Chooses every frame.
const ALL: [ClassicInsn; 1] = [ClassicInsn { code: 6, jt: 0, jf: 0, k: u32::MAX }];

fn program(insns: &[ClassicInsn]) -> Matcher {
    Matcher::Program { insns: insns.to_vec(), direct: false }
}

/// Ends every frame with this verdict.
fn direct(verdict: u32) -> Matcher {
    Matcher::Program { insns: vec![ClassicInsn { k: verdict, ..ALL[0] }], direct: true }
}

/// Chooses frames of this EtherType.
fn of_type(ether_type: u32) -> Matcher {
    let insn = |code, jt, jf, k| ClassicInsn { code, jt, jf, k };
    program(&[insn(0x28, 0, 0, 12), insn(0x15, 0, 1, ether_type), insn(6, 0, 0, u32::MAX), insn(6, 0, 0, 0)])
}

fn spec(priority: u16, matcher: Matcher, acts: &[Act]) -> ClassicSpec {
    ClassicSpec {
        chain: 0,
        priority,
        handle: 1,
        replace: false,
        with_clsact: false,
        matcher,
        class: 0,
        acts: acts.to_vec(),
    }
}

const PORTS: [&str; 6] = ["a0", "a1", "b0", "b1", "m0", "m1"];

/// Three pairs in a fresh namespace where nothing else speaks; a0, b0 and m0 have clsact.
fn in_a_lab(test: impl FnOnce(Linux, [u32; 6]) + Send) {
    let namespace = Namespace::create().expect("these tests need root (CAP_SYS_ADMIN, CAP_NET_ADMIN)");
    namespace
        .run(|| {
            let mut linux = Linux::new();
            for pair in PORTS.chunks(2) {
                linux.create_veth(&VethSpec::new(pair[0], pair[1])).unwrap();
            }
            let index = PORTS.map(|name| linux.link_by_name(name).unwrap().unwrap().index);
            for (name, index) in PORTS.iter().zip(index) {
                linux.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "1").unwrap();
                linux.set_link_flags(index, IFF_UP, 0).unwrap();
            }
            linux.wait_ready(&PORTS, Duration::from_secs(30)).unwrap();
            for ifindex in [index[0], index[2], index[4]] {
                linux.add_qdisc(ifindex, H_CLSACT, handle(0xffff, 0), &QdiscSpec::Clsact, false).unwrap();
            }
            test(linux, index);
        })
        .unwrap();
}

fn tc(args: &[&str]) -> String {
    let output = Command::new("tc").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn listener(ifindex: u32) -> PacketSocket {
    PacketSocket::open(ifindex, Options { receive: true, ..Options::default() }).unwrap()
}

fn send(ifindex: u32, ether_type: u16, count: usize) {
    let socket = PacketSocket::open(ifindex, Options::default()).unwrap();
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &ether_type.to_be_bytes(), &[0; 86]].concat();
    for _ in 0..count {
        socket.send(&frame).unwrap();
    }
}

/// Frames that are there: veth delivers before the sender goes on.
fn received(socket: &mut PacketSocket) -> usize {
    let mut frames = 0;
    while socket.receive(Duration::from_millis(50)).unwrap().is_some() {
        frames += 1;
    }
    frames
}

fn stats(filters: &[ClassicFilter]) -> Vec<ActStats> {
    filters.iter().flat_map(|filter| filter.acts.iter().map(|act| act.stats)).collect()
}

#[test]
fn copies_and_redirects_are_made_and_counted() {
    in_a_lab(|mut linux, [a0, a1, b0, b1, m0, m1]| {
        let mirror = Act::Mirror { to: m0, then: Then::Continue };
        linux.add_classic(a0, H_INGRESS, &spec(1, of_type(0x88b5), std::slice::from_ref(&mirror))).unwrap();
        linux.add_classic(a0, H_INGRESS, &spec(2, program(&ALL), &[Act::Redirect { to: b0 }])).unwrap();
        let (mut passed, mut copied) = (listener(b1), listener(m1));
        send(a1, 0x88b5, 5);
        send(a1, 0x88b6, 3);
        assert_eq!((received(&mut passed), received(&mut copied)), (8, 5));

        let filters = linux.classic_filters(a0, H_INGRESS).unwrap();
        let seen: Vec<_> = filters.iter().map(|it| (it.chain, it.priority, it.handle, it.protocol)).collect();
        assert_eq!(seen, [(0, 1, 1, 3), (0, 2, 1, 3)]);
        assert_eq!(filters[0].matcher, of_type(0x88b5), "every instruction comes back");
        assert_eq!((&filters[0].acts[0].act, &filters[1].acts[0].act), (&mirror, &Act::Redirect { to: b0 }));
        // At ingress the header of 14 octets is not counted.
        let stat = |packets| ActStats { bytes: packets * 86, packets, drops: 0, overlimits: 0 };
        assert_eq!(stats(&filters), [stat(5), stat(8)]);

        let text = tc(&["-s", "-d", "filter", "show", "dev", "a0", "ingress"]);
        for part in [
            "bytecode '4,40 0 0 12,21 0 1 34997,6 0 0 4294967295,6 0 0 0'",
            "mirred (Egress Mirror to device m0) continue",
            "mirred (Egress Redirect to device b0) stolen",
            "Sent 430 bytes 5 pkt (dropped 0, overlimits 0 requeues 0)",
            "Sent 688 bytes 8 pkt (dropped 0, overlimits 0 requeues 0)",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }

        linux.delete_classic(a0, H_INGRESS, 0, 1, 1).unwrap();
        assert_eq!(linux.classic_filters(a0, H_INGRESS).unwrap().len(), 1);
        assert_eq!(linux.delete_classic(a0, H_INGRESS, 0, 1, 1).unwrap_err().errno, libc::ENOENT);
        assert!(!tc(&["filter", "show", "dev", "a0", "ingress"]).contains("Mirror"));
    });
}

#[test]
fn a_copy_that_is_refused_counts_as_overlimit() {
    in_a_lab(|mut linux, [a0, a1, b0, b1, ..]| {
        linux.add_classic(a0, H_INGRESS, &spec(1, program(&ALL), &[Act::Redirect { to: b0 }])).unwrap();
        linux.add_classic(b0, H_EGRESS, &spec(1, direct(2), &[])).unwrap();
        let mut passed = listener(b1);
        send(a1, 0x88b5, 4);
        assert_eq!(received(&mut passed), 0);
        let all = stats(&linux.classic_filters(a0, H_INGRESS).unwrap());
        assert_eq!(all, [ActStats { bytes: 4 * 86, packets: 4, drops: 0, overlimits: 4 }]);
        assert!(linux.classic_filters(b0, H_EGRESS).unwrap()[0].acts.is_empty());
    });
}

#[test]
fn frames_are_told_by_the_interface_that_they_came_by() {
    in_a_lab(|mut linux, [a0, a1, b0, b1, m0, m1]| {
        linux
            .add_classic(
                a0,
                H_INGRESS,
                &spec(
                    1,
                    program(&ALL),
                    &[Act::Mirror { to: m0, then: Then::Pipe }, Act::Redirect { to: b0 }],
                ),
            )
            .unwrap();
        // The guard: what came by a0 goes out, the rest does not.
        linux.add_classic(b0, H_EGRESS, &spec(1, Matcher::CameBy("a0".into()), &[])).unwrap();
        linux.add_classic(b0, H_EGRESS, &spec(2, direct(2), &[])).unwrap();
        // The sides: a class of its own for what came by a0.
        let htb = QdiscSpec::Htb { default_class: 2, direct_packets: 2 };
        linux.add_qdisc(m0, H_ROOT, handle(0x7477, 0), &htb, true).unwrap();
        let class = HtbClass {
            rate_bytes_s: 1_000_000_000,
            ceil_bytes_s: 1_000_000_000,
            burst_bytes: 10_000,
            cburst_bytes: 10_000,
            quantum_bytes: 1600,
            overhead_bytes: 0,
            mpu_bytes: 0,
            priority: 0,
        };
        for minor in [1, 2] {
            linux.set_class(m0, handle(0x7477, 0), handle(0x7477, minor), &class).unwrap();
        }
        let side = ClassicSpec { class: handle(0x7477, 1), ..spec(1, Matcher::CameBy("a0".into()), &[]) };
        linux.add_classic(m0, handle(0x7477, 0), &side).unwrap();
        let (mut passed, mut copied) = (listener(b1), listener(m1));
        send(a1, 0x88b5, 5);
        // The host's own: the guard stops them, and says so.
        let own = PacketSocket::open(b0, Options::default()).unwrap();
        assert_eq!(own.send(&[0xff; 60]).unwrap_err().errno, libc::ENOBUFS);
        assert_eq!((received(&mut passed), received(&mut copied)), (5, 5));
        let classes = linux.classes(m0).unwrap();
        let sent: Vec<_> = classes.iter().map(|class| (class.handle, class.stats.packets)).collect();
        assert_eq!(sent, [(handle(0x7477, 1), 5), (handle(0x7477, 2), 0)]);
        let guard = linux.classic_filters(b0, H_EGRESS).unwrap();
        assert_eq!((guard[0].kind.as_str(), guard[0].handle), ("u32", 1));
        assert_eq!(guard[0].matcher, Matcher::CameBy("a0".into()));
        assert_eq!(guard[1].matcher, direct(2));
        assert_eq!(linux.classic_filters(m0, handle(0x7477, 0)).unwrap()[0].class, handle(0x7477, 1));
        let text = tc(&["filter", "show", "dev", "b0", "egress"]);
        assert!(text.contains("input dev a0") && text.contains("direct-action"), "{text}");
        linux.delete_classic(b0, H_EGRESS, 0, 1, 1).unwrap();
        send(a1, 0x88b5, 2);
        assert_eq!(received(&mut passed), 0, "without the exception nothing leaves");
    });
}

#[test]
fn filters_keep_their_turn_when_replaced_and_chains_only_store() {
    in_a_lab(|mut linux, [a0, a1, b0, b1, m0, m1]| {
        let put = |linux: &mut Linux, handle: u32, to: u32, replace: bool| {
            let act = Act::Mirror { to, then: Then::Continue };
            let spec = ClassicSpec { handle, replace, ..spec(7, program(&ALL), &[act]) };
            linux.add_classic(a0, H_INGRESS, &spec)
        };
        put(&mut linux, 2, b0, false).unwrap();
        put(&mut linux, 1, b0, false).unwrap();
        assert_eq!(put(&mut linux, 2, m0, false).unwrap_err().errno, libc::EEXIST);
        put(&mut linux, 2, m0, true).unwrap();
        let handles = |linux: &mut Linux| -> Vec<u32> {
            linux.classic_filters(a0, H_INGRESS).unwrap().iter().map(|filter| filter.handle).collect()
        };
        assert_eq!(
            handles(&mut linux),
            [1, 2],
            "the last added runs first, and a new one in a place keeps it"
        );
        // Text in a chain that nothing goes to: it comes back whole, and no frame sees it.
        let insns: Vec<ClassicInsn> =
            (0..3839).map(|k| ClassicInsn { k, ..ClassicInsn::default() }).collect();
        let text = program(&[&insns[..], &[ClassicInsn { k: 0, ..ALL[0] }]].concat());
        for handle in 1..=3 {
            let stored = ClassicSpec { chain: 0x7477, handle, ..spec(1, text.clone(), &[]) };
            linux.add_classic(a0, H_INGRESS, &stored).unwrap();
        }
        let filters = linux.classic_filters(a0, H_INGRESS).unwrap();
        let stored: Vec<_> = filters.iter().filter(|filter| filter.chain == 0x7477).collect();
        assert_eq!(stored.len(), 3);
        assert!(stored.iter().all(|filter| filter.matcher == text));
        let (mut passed, mut copied) = (listener(b1), listener(m1));
        send(a1, 0x88b5, 2);
        assert_eq!((received(&mut passed), received(&mut copied)), (2, 2));
        linux.delete_classic(a0, H_INGRESS, 0x7477, 1, 2).unwrap();
        assert_eq!(linux.classic_filters(a0, H_INGRESS).unwrap().len(), 4);
    });
}

#[test]
fn clsact_is_made_with_the_first_filter_or_not_at_all() {
    in_a_lab(|mut linux, [a0, a1, ..]| {
        let with = |acts: &[Act]| ClassicSpec { with_clsact: true, ..spec(1, program(&ALL), acts) };
        let exists = linux.add_classic(a0, H_INGRESS, &with(&[])).unwrap_err();
        assert_eq!(exists.errno, libc::EEXIST);
        let clsact = |linux: &mut Linux| linux.qdiscs(a1).unwrap().iter().any(|qdisc| qdisc.kind == "clsact");
        assert!(linux.classic_filters(a1, H_INGRESS).unwrap().is_empty(), "without clsact there are none");
        let missing = linux.add_classic(a1, H_INGRESS, &with(&[Act::Redirect { to: 9999 }])).unwrap_err();
        assert!(missing.errno != 0 && !clsact(&mut linux), "{missing}");
        linux.add_classic(a1, H_INGRESS, &with(&[])).unwrap();
        assert!(clsact(&mut linux));
        let refused = linux.add_classic(a1, H_INGRESS, &spec(9, Matcher::Other, &[])).unwrap_err();
        assert_eq!(refused.errno, libc::EINVAL);
    });
}

/// What is asked of the machine and of the one in memory, and must get one answer.
fn questions<S: Sys>(machine: &mut S, a: u32, b: u32) -> Vec<String> {
    let mut answers = Vec::new();
    let mut tell = |what: &str, answer: Result<(), sys::SysError>| {
        answers.push(format!("{what}: {:?}", answer.map_err(|error| error.errno)));
    };
    tell("without clsact", machine.add_classic(a, H_INGRESS, &spec(1, program(&ALL), &[])));
    let first = ClassicSpec { with_clsact: true, ..spec(1, program(&ALL), &[Act::Redirect { to: b }]) };
    tell("with clsact", machine.add_classic(a, H_INGRESS, &first));
    tell("again", machine.add_classic(a, H_INGRESS, &spec(1, program(&ALL), &[])));
    tell("of another kind", machine.add_classic(a, H_INGRESS, &spec(1, Matcher::All, &[])));
    tell("all", machine.add_classic(a, H_INGRESS, &spec(2, Matcher::All, &[])));
    tell("by nobody", machine.add_classic(a, H_EGRESS, &spec(3, Matcher::CameBy("gone".into()), &[])));
    tell("no program", machine.add_classic(a, H_EGRESS, &spec(3, program(&[]), &[])));
    tell(
        "replaced",
        machine.add_classic(a, H_INGRESS, &ClassicSpec { replace: true, ..spec(1, direct(0), &[]) }),
    );
    tell("stored", machine.add_classic(a, H_INGRESS, &ClassicSpec { chain: 5, ..spec(1, direct(0), &[]) }));
    tell("deleted", machine.delete_classic(a, H_INGRESS, 0, 2, 1));
    tell("beside", machine.add_classic(a, H_INGRESS, &ClassicSpec { handle: 7, ..spec(1, direct(2), &[]) }));
    for handle in [9, 8] {
        tell("u32", machine.add_classic(a, H_INGRESS, &ClassicSpec { handle, ..spec(4, Matcher::All, &[]) }));
    }
    tell("gone", machine.delete_classic(a, H_INGRESS, 0, 2, 1));
    let filters = machine.classic_filters(a, H_INGRESS).unwrap();
    answers.push(format!("{filters:?}"));
    answers
}

#[test]
fn the_machine_in_memory_answers_as_the_kernel_does() {
    in_a_lab(|mut linux, [_, a1, _, b1, ..]| {
        let mut fake = Fake::new();
        for _ in 2..a1.max(b1) + 1 {
            let name = format!("p{}", fake.links().unwrap().len());
            fake.add_card(&name, sys::Card::veth());
        }
        assert_eq!(questions(&mut fake, a1, b1), questions(&mut linux, a1, b1));
    });
}
