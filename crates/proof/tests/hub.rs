//! A hub: what enters at one port leaves by all others, byte for byte, and by no other way.

use std::collections::BTreeMap;

use lab::capture::Capture;
use lab::frames::odd;
use proof::device::Attach;
use proof::rig::Rig;
use proof::wait;

const PORTS: [&str; 3] = ["a", "b", "c"];
const MTU: u32 = 1500;
/// A tag without anything behind it is lost wherever the kernel makes an skb of it: before tc, and at the far ends.
const RUNT: &str = "802.1Q, tag and EtherType only";

fn config(attach: Attach) -> String {
    let ports = PORTS.map(|port| format!("{port} = {{ interface = \"{port}\", attach = \"{attach}\" }}\n"));
    let names = PORTS.map(|port| format!("\"{port}\""));
    let device = format!("[[device]]\nname = \"h\"\nkind = \"hub\"\nports = [{}]\n", names.join(", "));
    format!("[ports]\n{}{device}", ports.concat())
}

/// The odd frames, and before each set one that says whom it is from.
fn frames(port: &str) -> Vec<Vec<u8>> {
    let mut first = vec![0xff; 60];
    first[6..14].copy_from_slice(&[2, 0, 0, 0, 0, port.as_bytes()[0], 0x88, 0xb5]);
    let fits = odd().into_iter().filter(|frame| frame.fits(MTU) && frame.name != RUNT);
    std::iter::once(first).chain(fits.map(|frame| frame.bytes)).collect()
}

fn repeats(attach: Attach) {
    let rig = Rig::new(&PORTS, MTU);
    if attach == Attach::Xdp {
        rig.prepare_for_xdp();
    }
    // A packet socket refuses 802.1ad at the MTU; the far ends take a tag more.
    for port in PORTS {
        rig.at(rig.far(port), |sys, index| sys.set_mtu(index, MTU + 4));
    }
    let report = rig.up(&config(attach));
    assert!(report.ports.iter().all(|said| said.attach == attach.name()), "{report:?}");
    let captures = PORTS.map(|port| (port, rig.capture(rig.far(port))));
    let mut captures: BTreeMap<&str, Capture> = captures.into_iter().collect();
    let mut due: BTreeMap<&str, usize> = BTreeMap::new();
    for port in PORTS {
        let sent = frames(port);
        let octets: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
        rig.send(rig.far(port), &octets);
        // The others have all of it before the next one speaks, so that there is one order.
        for (other, capture) in captures.iter_mut().filter(|(other, _)| **other != port) {
            let due = due.entry(other).or_default();
            *due += sent.len();
            let arrived = || {
                capture.drain().expect("a capture can be drained");
                capture.frames().iter().filter(|frame| !frame.outgoing).count()
            };
            let what = format!("frames of {port} at {other} under {attach}");
            wait::until(&what, arrived, |arrived| arrived >= due);
        }
    }
    let status = rig.settled();
    for (port, capture) in &mut captures {
        capture.drain().expect("a capture can be drained");
        assert_eq!(capture.lost(), 0, "the capture at {port} is not complete");
        let seen = capture.take();
        let seen: Vec<&[u8]> =
            seen.iter().filter(|frame| !frame.outgoing).map(|frame| frame.bytes.as_slice()).collect();
        let expected: Vec<Vec<u8>> =
            PORTS.iter().filter(|other| *other != port).flat_map(|other| frames(other)).collect();
        assert_eq!(seen.len(), expected.len(), "at {port} under {attach}\n{status}");
        for (number, (seen, expected)) in seen.iter().zip(&expected).enumerate() {
            assert_eq!(seen, expected, "frame {number} at {port} under {attach}");
        }
        let sent = u64::try_from(frames(port).len()).expect("few");
        let ledger = &status.ports[*port];
        assert_eq!((ledger.entered.frames, ledger.passed), (sent, sent), "{port} under {attach}\n{status}");
    }
    assert_eq!(status.unaccounted, 0, "{status}");
    rig.down();
}

#[test]
fn privileged_a_hub_repeats_to_all_others_by_tcx() {
    let _alone = proof::alone();
    repeats(Attach::Tcx);
}

#[test]
fn privileged_a_hub_repeats_to_all_others_by_clsact() {
    let _alone = proof::alone();
    repeats(Attach::Clsact);
}

#[test]
fn privileged_a_hub_repeats_to_all_others_by_xdp() {
    let _alone = proof::alone();
    repeats(Attach::Xdp);
}
