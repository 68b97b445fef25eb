//! Wire-true copies: the ends keep their offloads and hand over super-frames with half-done checksums; the sensor gets
//! frames of the MTU with right checksums, and the transfer is unhurt.

use std::net::IpAddr;
use std::process::Command;

use lab::enterprise::End;
use proof::device::{Attach, PORT_AGGREGATOR};
use proof::rig::Rig;
use proof::sniffer::{Sniffer, Written};
use proof::stacks;
use wire::checksum::Check;

/// 100 MB: long enough for the ends to send super-frames of full size.
const LARGE: usize = 100_000_000;
/// For the variations of it.
const SMALLER: usize = 20_000_000;

fn left() -> End {
    End::new("left", "eth0")
}

fn right() -> End {
    End::new("right", "eth0")
}

fn rig() -> Rig {
    Rig::with_ends(&[("a", left()), ("b", right()), ("m1", End::new("outside", "m1"))], 1500)
}

/// Some offload that makes super-frames is on: what the test is about would not happen otherwise.
fn has_offloads(rig: &Rig, end: &End) {
    let features = rig.at(end, |sys, _| sys::Sys::features(sys, &end.interface));
    for name in ["tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-checksum-ip-generic"] {
        let on = features.iter().any(|feature| feature.name == name && feature.active);
        assert!(on, "{end} has no {name}");
    }
}

/// Frames of the MTU, checksums right: by our own arithmetic, and by tcpdump's.
fn is_wire_true(written: &Written, header: usize) {
    for (number, (frame, checks)) in (1..).zip(written.checked()) {
        assert!(frame.len() <= 1500 + header, "frame {number} has {} octets", frame.len());
        assert!(!checks.any_wrong(), "frame {number}: {checks:?} {frame:02x?}");
    }
    let output = Command::new("tcpdump").args(["-n", "-t", "-vvv", "-r"]).arg(written.file()).output();
    let said = String::from_utf8_lossy(&output.expect("tcpdump can be run").stdout).into_owned();
    let bad = said.lines().find(|line| line.contains("(incorrect") || line.contains("bad cksum"));
    assert_eq!(bad, None, "tcpdump finds a bad checksum");
    let judged = said.lines().filter(|line| line.contains("cksum") && line.contains("(correct)")).count();
    let tcp = written.checked().filter(|(_, checks)| checks.transport == Check::Right).count();
    assert!(judged > 0 && judged + 100 > tcp, "tcpdump judged {judged} of {} frames", written.frames.len());
}

/// Octets of IP payload without headers of 20 or more: at least what the transfer carried.
fn carries(written: &Written, octets: usize) {
    let total: usize = written.frames.iter().map(Vec::len).sum();
    assert!(total > octets, "{total} octets in the capture of a transfer of {octets}");
}

fn through(attach: Attach, vlan: Option<u16>, server: impl Fn() -> IpAddr, octets: usize) {
    let rig = rig();
    has_offloads(&rig, &left());
    rig.up(&PORT_AGGREGATOR.config(attach));
    let sniffer = Sniffer::start(&rig, rig.far("m1"));
    for (end, host) in [(left(), 1), (right(), 2)] {
        if let Some(vlan) = vlan {
            stacks::tag(&rig, &end, vlan);
        }
        stacks::address(&rig, &end, 1, host);
    }
    stacks::transfer(&rig, "left", "right", server(), octets);
    has_offloads(&rig, &left());
    has_offloads(&rig, &right());
    stacks::silence(&rig, &[left(), right()]);
    let status = rig.settled();
    let sent = status.monitors["m1"].sent;
    let written = sniffer.finish(sent);
    assert_eq!(u64::try_from(written.frames.len()).expect("few"), sent, "{status}");
    let handed_over = rig.counts(&left()).tx_packets;
    assert!(
        handed_over * 2 < status.ports["a"].entered.frames,
        "the end made no super-frames: {handed_over}"
    );
    let entered: u64 = status.ports.values().map(|port| port.entered.frames).sum();
    assert_eq!(entered, sent, "every wire frame of both directions reached the sensor\n{status}");
    is_wire_true(&written, if vlan.is_some() { 18 } else { 14 });
    carries(&written, octets);
    if let Some(vlan) = vlan {
        let tagged =
            |frame: &&Vec<u8>| frame[12..16] == [0x81, 0, (vlan >> 8) as u8 & 15, (vlan & 255) as u8];
        let count = written.frames.iter().filter(tagged).count();
        assert!(
            count * 10 > written.frames.len() * 9,
            "{count} of {} frames are tagged",
            written.frames.len()
        );
    }
    rig.down();
}

fn v4() -> IpAddr {
    stacks::addresses(1, 2).0
}

fn v6() -> IpAddr {
    stacks::addresses(1, 2).1
}

#[test]
fn privileged_100_mb_of_tcp_over_ipv4() {
    let _alone = proof::alone();
    through(Attach::Tcx, None, v4, LARGE);
}

#[test]
fn privileged_tcp_over_ipv6() {
    let _alone = proof::alone();
    through(Attach::Tcx, None, v6, SMALLER);
}

#[test]
fn privileged_tcp_in_a_vlan() {
    let _alone = proof::alone();
    through(Attach::Tcx, Some(20), v4, SMALLER);
}

#[test]
fn privileged_tcp_by_classic_filters() {
    let _alone = proof::alone();
    through(Attach::Classic, None, v4, SMALLER);
    through(Attach::Classic, Some(20), v6, SMALLER);
}

#[test]
fn privileged_tcp_by_clsact() {
    let _alone = proof::alone();
    through(Attach::Clsact, None, v4, SMALLER);
    through(Attach::Clsact, Some(20), v6, SMALLER);
}
