//! The kernel runs classic filters as the interpreter does: attached to packet sockets at both ends of a virtual
//! cable, where frames that leave have their tag in the data, and frames that come in have it beside them.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::time::Duration;

use bpf::classic::{self, Beside, Filters, Insn};
use common::classic::{one, tamed};
use common::{steering, untagged};
use plan::arbitrary::Random;
use sys::netns::Namespace;
use sys::packet::{Options, PacketSocket};
use sys::{ClassicInsn, IFF_UP, Linux, Sys, VethSpec};

const PAIRS: usize = 5_000;

/// A virtual cable in a fresh namespace where nothing else speaks.
fn on_a_cable(test: impl FnOnce(u32, u32) + Send) {
    let namespace = Namespace::create().expect("these tests need root (CAP_SYS_ADMIN, CAP_NET_ADMIN)");
    namespace
        .run(|| {
            sys::cpu::pin_to_one().unwrap();
            let mut linux = Linux::new();
            linux.create_veth(&VethSpec::new("v0", "v1")).unwrap();
            let [a, b] = ["v0", "v1"].map(|name| linux.link_by_name(name).unwrap().unwrap().index);
            for (name, index) in [("v0", a), ("v1", b)] {
                linux.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "1").unwrap();
                linux.set_mtu(index, 9000).unwrap();
                linux.set_link_flags(index, IFF_UP, 0).unwrap();
            }
            linux.wait_ready(&["v0", "v1"], Duration::from_secs(30)).unwrap();
            test(a, b);
        })
        .unwrap();
}

fn listener(ifindex: u32, program: Option<&[Insn]>) -> PacketSocket {
    let socket = PacketSocket::open(ifindex, Options { receive: true, ..Options::default() }).unwrap();
    if let Some(program) = program {
        let insn = |insn: &Insn| ClassicInsn { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k };
        socket.set_filter(&program.iter().map(insn).collect::<Vec<_>>()).unwrap();
    }
    socket
}

/// Runs the programs of a hook over frames, in the kernel and here; gives how many runs there were.
fn agrees(a: u32, b: u32, filters: &Filters, frames: &[Vec<u8>]) -> usize {
    let sender = PacketSocket::open(a, Options::default()).unwrap();
    // The last opened is served first: what the witness has, all others have had.
    let mut witness = listener(b, None);
    let programs: Vec<&Vec<Insn>> = filters.filters.iter().map(|filter| &filter.program).take(24).collect();
    let mut ends: Vec<(PacketSocket, PacketSocket)> =
        programs.iter().map(|program| (listener(a, Some(program)), listener(b, Some(program)))).collect();
    let mut runs = 0;
    for data in frames {
        // What the kernel's own sockets do not send, or drop on arrival.
        let tagged = matches!(data.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
        if data.len() < if tagged { 20 } else { 14 } {
            continue;
        }
        sender.send(data).unwrap();
        assert!(witness.receive(Duration::from_secs(10)).unwrap().is_some(), "the frame never came");
        let (stripped, tag) = untagged(data);
        for (program, (leaving, coming)) in programs.iter().zip(&mut ends) {
            for (socket, data, beside) in
                [(leaving, data, Beside::default()), (coming, &stripped, Beside { tag })]
            {
                let here = classic::run(program, data, beside).unwrap() != 0;
                let there = socket.receive(Duration::ZERO).unwrap().is_some();
                assert_eq!(there, here, "{beside:?} {data:02x?}\n{}", classic::disassemble(program));
                runs += 1;
            }
        }
    }
    runs
}

#[test]
fn privileged_the_kernel_decides_as_the_interpreter_on_the_corpus() {
    on_a_cable(|a, b| {
        let mut runs = 0;
        for case in corpus::cases().unwrap() {
            let Ok(lowered) = classic::lower(&case.plan) else { continue };
            for filters in &lowered.hooks {
                let at = case.plan.hook(filters.hook).at;
                let frames = case.frames.iter().filter(|input| input.at == at);
                runs += agrees(a, b, filters, &frames.map(|input| input.data.clone()).collect::<Vec<_>>());
            }
        }
        assert!(runs > 1000, "{runs}");
    });
}

#[test]
fn privileged_the_kernel_decides_as_the_interpreter_on_random_plans() {
    let seed = corpus::seed();
    on_a_cable(|a, b| {
        let mut random = Random::new(seed);
        let mut runs = 0;
        while runs < PAIRS {
            let plan = tamed(steering::plan(&mut random));
            for (id, _) in plan.hooks() {
                let Ok(filters) = one(&plan, id) else { continue };
                let frames: Vec<Vec<u8>> = (0..10).map(|_| steering::frame(&mut random, &plan)).collect();
                runs += agrees(a, b, &filters, &frames);
            }
        }
    });
}
