//! VLAN selection on the wire, wherever the kernel keeps the tag; and watched interfaces, whose own traffic is unhurt.

use lab::capture::Capture;
use lab::enterprise::{End, TAP};
use lab::frames::{OddFrame, odd};
use proof::device::{Attach, DEVICES, Device, PORT_AGGREGATOR};
use proof::rig::Rig;
use proof::sniffer::Sniffer;
use proof::{stacks, wait};
use sys::Sys;

/// Selected: some that the set has in 802.1Q and 802.1ad tags, inside and outside of other tags, and some it has not.
const VLANS: &str = "vlans = [20, 100, \"300-303\", 4094]\n";

/// Whether the outer tag of a frame is of a selected VLAN; a frame without a tag is of none.
fn selected(frame: &[u8]) -> bool {
    let tagged = frame.len() >= 18 && matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]);
    let id = || u16::from_be_bytes([frame[14], frame[15]]) & 0x0fff;
    tagged && matches!(id(), 20 | 100 | 300..=303 | 4094)
}

/// The frames that every path takes: those of the MTU, and no tag without anything behind it.
fn frames() -> Vec<OddFrame> {
    let whole =
        |frame: &OddFrame| frame.bytes.len() <= 1514 && frame.name != "802.1Q, tag and EtherType only";
    odd().into_iter().filter(whole).collect()
}

fn watch() -> Device {
    DEVICES.into_iter().find(|device| device.watches).expect("it is one of the devices")
}

fn rig(device: &Device, attach: Attach, more: &str) -> Rig {
    let rig = Rig::new(&device.cables(), 1500);
    if attach == Attach::Xdp {
        rig.prepare_for_xdp();
    }
    if device.watches {
        // The host would speak IPv6 by itself, and be copied.
        rig.at(&rig.near("w"), |sys, _| sys.sysctl_write("ipv6/conf/w/disable_ipv6", "1"));
    }
    rig.up(&format!("{}{more}", device.config(attach)));
    rig
}

/// Waits until a capture has so many frames, and gives them.
fn received(capture: &mut Capture, count: usize) -> Vec<Vec<u8>> {
    let mut look = || {
        capture.drain().expect("a capture can be drained");
        capture.frames().iter().filter(|frame| !frame.outgoing).count()
    };
    wait::until("frames are captured", &mut look, |seen| *seen >= count);
    let frames = capture.take().into_iter().filter(|frame| !frame.outgoing);
    frames.map(|frame| frame.bytes).collect()
}

/// Names, for a readable difference.
fn names(frames: &[Vec<u8>], known: &[OddFrame]) -> Vec<String> {
    let name = |bytes: &Vec<u8>| {
        let found = known.iter().find(|frame| frame.bytes == *bytes);
        found.map_or_else(|| format!("unknown {bytes:02x?}"), |frame| frame.name.clone())
    };
    frames.iter().map(name).collect()
}

fn selects(rig: &Rig, from: &End, side: &str, before: u64) -> u64 {
    let all = frames();
    let mut sensor = rig.capture(rig.far("m1"));
    rig.send(from, &all.iter().map(|frame| frame.bytes.as_slice()).collect::<Vec<_>>());
    let chosen: Vec<Vec<u8>> = all.iter().map(|frame| frame.bytes.clone()).filter(|b| selected(b)).collect();
    let got = received(&mut sensor, chosen.len());
    assert_eq!(names(&got, &all), names(&chosen, &all), "from {side}");
    let status = rig.settled();
    let matched: u64 = status.copies.iter().filter(|copy| copy.source == side).map(|copy| copy.matched).sum();
    let count = u64::try_from(chosen.len()).expect("few");
    assert_eq!(matched, count, "{side}\n{status}");
    assert_eq!(status.monitors["m1"].sent, before + count, "{status}");
    before + count
}

#[test]
fn privileged_vlans_are_selected_on_a_link() {
    let _alone = proof::alone();
    for attach in Attach::EVERY {
        // tcx and clsact see the outer tag beside the data, XDP sees it in the data.
        let rig = rig(&PORT_AGGREGATOR, attach, VLANS);
        let mut far = rig.capture(rig.far("b"));
        let sent = selects(&rig, rig.far("a"), "a", 0);
        let all = frames();
        let passed = received(&mut far, all.len());
        assert!(
            all.iter().map(|frame| &frame.bytes).eq(&passed),
            "{attach}: what is not selected passes too"
        );
        selects(&rig, rig.far("b"), "b", sent);
        rig.down();
    }
}

#[test]
fn privileged_vlans_are_selected_on_a_watched_interface() {
    let _alone = proof::alone();
    for attach in [Attach::Tcx, Attach::Clsact, Attach::Classic] {
        // Received tags are beside the data; those of a packet socket are in the data on their way out.
        let rig = rig(&watch(), attach, VLANS);
        let sent = selects(&rig, rig.far("w"), "w:rx", 0);
        selects(&rig, &rig.near("w"), "w:tx", sent);
        rig.down();
    }
}

#[test]
fn privileged_vlans_are_selected_where_the_host_leaves_tags_to_hardware() {
    let _alone = proof::alone();
    let rig = rig(&watch(), Attach::Tcx, VLANS);
    let (bare, mut sensor) = (frames().swap_remove(100).bytes, rig.capture(rig.far("m1")));
    assert!(!selected(&bare));
    // From here on all that leaves by w has a tag beside the data, before the tap sees it.
    stacks::tag(&rig, &rig.near("w"), 100);
    rig.send(&rig.near("w"), &[&bare]);
    let tagged = [&bare[..12], &[0x81, 0, 0, 100], &bare[12..]].concat();
    assert_eq!(received(&mut sensor, 1), [tagged]);
    let status = rig.settled();
    assert_eq!(status.monitors["m1"].sent, 1, "{status}");
    rig.down();
}

/// The offloads of an interface that are on.
fn active(rig: &Rig, end: &End) -> Vec<String> {
    let features = rig.at(end, |sys, _| sys.features(&end.interface));
    features.into_iter().filter(|feature| feature.active).map(|feature| feature.name).collect()
}

#[test]
fn privileged_a_watched_interface_keeps_its_offloads_and_its_copies_are_cut() {
    let _alone = proof::alone();
    for attach in [Attach::Tcx, Attach::Clsact, Attach::Classic] {
        let far = End::new("right", "eth0");
        let rig = Rig::with_ends(&[("w", far.clone()), ("m1", End::new("outside", "m1"))], 1500);
        // Until it has its addresses, and the sensor listens.
        rig.at(&rig.near("w"), |sys, _| sys.sysctl_write("ipv6/conf/w/disable_ipv6", "1"));
        let before = active(&rig, &rig.near("w"));
        assert!(before.iter().any(|name| name == "tx-tcp-segmentation"), "{before:?}");
        rig.up(&watch().config(attach));
        assert_eq!(active(&rig, &rig.near("w")), before, "offloads of the watched interface under {attach}");
        let sniffer = Sniffer::start(&rig, rig.far("m1"));
        stacks::address(&rig, &rig.near("w"), 1, 1);
        stacks::address(&rig, &far, 1, 2);
        stacks::transfer(&rig, TAP, "right", stacks::addresses(1, 2).0, 20_000_000);
        stacks::silence(&rig, &[rig.near("w"), far]);
        let status = rig.settled();
        let handed_over = rig.counts(&rig.near("w")).tx_packets;
        let port = &status.ports["w"];
        assert!(
            handed_over * 2 < port.entered.frames,
            "the host made no super-frames: {handed_over}\n{status}"
        );
        assert_eq!(port.left, port.entered.frames, "{status}");
        let written = sniffer.finish(status.monitors["m1"].sent);
        assert_eq!(u64::try_from(written.frames.len()).expect("few"), port.entered.frames, "{status}");
        for (frame, checks) in written.checked() {
            assert!(frame.len() <= 1514, "{attach}: a copy of {} octets", frame.len());
            assert!(!checks.any_wrong(), "{attach}: {checks:?} {frame:02x?}");
        }
        rig.down();
    }
}
