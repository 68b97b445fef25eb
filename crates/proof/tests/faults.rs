//! Loss that the kernel is silent about: found, named, and in the ledger to the frame.

use std::collections::BTreeMap;

use engine::Status;
use lab::enterprise::End;
use proof::device::{Attach, DEVICES, Device, PORT_AGGREGATOR};
use proof::rig::{Rig, Shown};
use proof::sender::numbered;
use proof::wait;
use sys::{IFF_UP, Sys, XdpMode};

/// Frames before the fault, and again after it, each way.
const FRAMES: u64 = 100;

fn dual() -> Device {
    let found = DEVICES.into_iter().find(|device| device.name == "dual-port-aggregator");
    found.expect("it is one of the devices")
}

fn rig(device: &Device, attach: Attach) -> Rig {
    let rig = Rig::new(&device.cables(), 1500);
    if attach == Attach::Xdp {
        rig.prepare_for_xdp();
    }
    rig.up(&device.config(attach));
    rig
}

fn send_from(rig: &Rig, port: &str, len: usize) {
    let frames: Vec<Vec<u8>> = (0..FRAMES)
        .map(|number| {
            let mut frame = numbered(1, number);
            frame.resize(len, 1);
            frame
        })
        .collect();
    rig.send(rig.far(port), &frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

/// Where the frames that came in after the fault are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Missing {
    /// At the monitor of this name, as errors of its copies.
    Copies(&'static str),
    /// At the monitor of this name, as drops of its device.
    Device(&'static str),
    /// At the far port.
    Passed,
    /// Nowhere.
    Nothing,
}

/// A fault, and how the ledger tells it.
struct Fault {
    name: &'static str,
    attach: &'static [Attach],
    happens: fn(&Rig),
    missing: Missing,
    /// The reason in the errors; by attach mode, in the order of `attach`.
    reasons: &'static [&'static str],
    /// What the notes say.
    note: Option<&'static str>,
}

const BOTH: &[Attach] = &[Attach::Tcx, Attach::Xdp];
const XDP: &[Attach] = &[Attach::Xdp];
/// Octets of the frames: above what [`shrink`] leaves.
const LEN: usize = 1514;

fn shrink(rig: &Rig, end: &End) {
    rig.at(end, |sys, index| sys.set_mtu(index, 1000));
}

fn take_napi(rig: &Rig, end: &End) {
    rig.at(end, |sys, index| sys.xdp_detach(index, XdpMode::Native));
}

fn take_down(rig: &Rig, end: &End) {
    rig.at(end, |sys, index| sys.set_link_flags(index, 0, IFF_UP));
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "monitor deleted",
        attach: BOTH,
        happens: |rig| rig.delete(&rig.near("m2")),
        missing: Missing::Copies("m2"),
        reasons: &["gone", "gone"],
        note: Some("interface m2 is gone"),
    },
    Fault {
        name: "monitor down",
        attach: BOTH,
        happens: |rig| take_down(rig, &rig.near("m2")),
        missing: Missing::Copies("m2"),
        reasons: &["down", "down"],
        note: None,
    },
    Fault {
        name: "sensor down, by tcx",
        attach: &[Attach::Tcx],
        happens: |rig| take_down(rig, rig.far("m2")),
        missing: Missing::Copies("m2"),
        reasons: &["down"],
        note: None,
    },
    Fault {
        name: "sensor down, by xdp",
        attach: XDP,
        happens: |rig| take_down(rig, rig.far("m2")),
        missing: Missing::Device("m2"),
        reasons: &[""],
        note: None,
    },
    Fault {
        name: "far port deleted",
        attach: BOTH,
        happens: |rig| rig.delete(&rig.near("b")),
        missing: Missing::Passed,
        reasons: &["gone", "gone"],
        note: Some("interface b is gone"),
    },
    Fault {
        name: "far port down",
        attach: BOTH,
        happens: |rig| take_down(rig, &rig.near("b")),
        missing: Missing::Passed,
        reasons: &["device", "down"],
        note: None,
    },
    Fault {
        name: "monitor's MTU too small, by tcx",
        attach: &[Attach::Tcx],
        happens: |rig| shrink(rig, &rig.near("m2")),
        missing: Missing::Nothing,
        reasons: &[""],
        note: None,
    },
    Fault {
        name: "monitor's MTU too small, by xdp",
        attach: XDP,
        happens: |rig| shrink(rig, &rig.near("m2")),
        missing: Missing::Copies("m2"),
        reasons: &["mtu"],
        note: None,
    },
    Fault {
        name: "far port's MTU too small, by xdp",
        attach: XDP,
        happens: |rig| shrink(rig, &rig.near("b")),
        missing: Missing::Passed,
        reasons: &["mtu"],
        note: None,
    },
    Fault {
        name: "sensor's MTU too small",
        attach: BOTH,
        happens: |rig| shrink(rig, rig.far("m2")),
        missing: Missing::Device("m2"),
        reasons: &["", ""],
        note: None,
    },
    Fault {
        name: "sensor's end takes no redirected frames any more",
        attach: XDP,
        happens: |rig| take_napi(rig, rig.far("m2")),
        missing: Missing::Copies("m2"),
        reasons: &["no-napi"],
        note: None,
    },
    Fault {
        name: "far end takes no redirected frames any more",
        attach: XDP,
        happens: |rig| take_napi(rig, rig.far("b")),
        missing: Missing::Passed,
        reasons: &["no-napi"],
        note: None,
    },
];

fn happens(fault: &Fault, attach: Attach, reason: &str) {
    let device = dual();
    let rig = rig(&device, attach);
    send_from(&rig, "a", LEN);
    assert_eq!(rig.settled().ports["a"].passed, FRAMES);
    (fault.happens)(&rig);
    send_from(&rig, "a", LEN);
    let missing = |at| if fault.missing == at { FRAMES } else { 0 };
    let expected = BTreeMap::from_iter((!reason.is_empty()).then(|| (reason.to_owned(), FRAMES)));
    let none = BTreeMap::new();
    // Counts of the devices follow those of the programs.
    let told = |status: &Status| {
        let port = &status.ports["a"];
        port.entered.frames == 2 * FRAMES
            && port.passed == 2 * FRAMES - missing(Missing::Passed)
            && port.errors == *if fault.missing == Missing::Passed { &expected } else { &none }
            && status.copies.iter().filter(|copy| copy.source == "a").all(|copy| {
                let monitor = if copy.monitor == "m1" { "m1" } else { "m2" };
                let lost = missing(Missing::Copies(monitor));
                copy.matched == 2 * FRAMES
                    && copy.copied == 2 * FRAMES - lost
                    && copy.errors == *if lost > 0 { &expected } else { &none }
                    && status.monitors[monitor].copied == copy.copied
                    && status.monitors[monitor].dropped.device == missing(Missing::Device(monitor))
            })
            && fault.note.is_none_or(|note| status.notes.iter().any(|said| said == note))
            && status.unaccounted == 0
    };
    wait::until(
        &format!("{} under {attach} is told", fault.name),
        || Shown(rig.status()),
        |shown| told(&shown.0),
    );
    rig.down();
}

#[test]
fn privileged_silent_loss_is_named_and_counted() {
    let _alone = proof::alone();
    for fault in FAULTS {
        for (attach, reason) in fault.attach.iter().zip(fault.reasons) {
            happens(fault, *attach, reason);
        }
    }
}

/// What makes a rig unfit for XDP.
type Spoil<'a> = &'a dyn Fn(&Rig);

#[test]
fn privileged_xdp_is_refused_where_it_would_lose_frames() {
    let _alone = proof::alone();
    let refusal = |device: &Device, spoil: Spoil<'_>| {
        let rig = Rig::new(&device.cables(), 1500);
        rig.prepare_for_xdp();
        spoil(&rig);
        rig.try_up(&device.config(Attach::Xdp)).expect_err("it would lose frames")
    };
    let cases: [(&str, Device, Spoil<'_>); 5] = [
        ("port a: a cannot be attached with xdp: m1 has the smaller MTU 1000", PORT_AGGREGATOR, &|rig| {
            shrink(rig, &rig.near("m1"))
        }),
        (
            "port a: a cannot be attached with xdp: m1 takes no redirected frames: its far end needs an XDP program \
             or GRO",
            PORT_AGGREGATOR,
            &|rig| take_napi(rig, rig.far("m1")),
        ),
        (
            "port a: a cannot be attached with xdp: b takes no redirected frames: its far end needs an XDP program \
             or GRO",
            PORT_AGGREGATOR,
            &|rig| take_napi(rig, rig.far("b")),
        ),
        ("port a: a cannot be attached with xdp: it has an XDP program already", PORT_AGGREGATOR, &|rig| {
            lab::virtual_ends::pass_all(rig.network(), &rig.near("a")).expect("a program can be attached")
        }),
        (
            "port w: w cannot be attached with xdp: only a network port or a SPAN port can take XDP",
            DEVICES.into_iter().find(|device| device.watches).expect("it is one of the devices"),
            &|_| {},
        ),
    ];
    for (text, device, spoil) in cases {
        let said = refusal(&device, spoil);
        assert!(said.contains(text), "{text:?} is not in\n{said}");
        assert!(said.ends_with("nothing was changed\n"), "{said}");
    }
    let jumbo = Rig::new(&PORT_AGGREGATOR.cables(), 9000);
    let said = jumbo.try_up(&PORT_AGGREGATOR.config(Attach::Xdp)).expect_err("it would lose frames");
    assert!(said.contains("port a: a cannot be attached with xdp: MTU 9000 is above 3498"), "{said}");
}
