//! The ledger against counts that are not ours: the interfaces of the ends, and tcpdump at the sensors.

use std::collections::BTreeMap;

use lab::enterprise::End;
use proof::device::{Attach, DEVICES, Device, From, PORT_AGGREGATOR};
use proof::rig::Rig;
use proof::sender::{Stream, numbered, send_in_window};
use proof::sniffer::Sniffer;

/// Frames by each way.
const FRAMES: u64 = 3000;

fn observer(rig: &Rig, device: &Device, monitor: &str) -> End {
    if device.makes == Some(monitor) { rig.near(monitor) } else { rig.far(monitor).clone() }
}

fn balances(device: Device, attach: Attach) {
    let rig = Rig::new(&device.cables(), 1500);
    if attach == Attach::Xdp {
        rig.prepare_for_xdp();
    }
    if device.watches {
        // The host would speak IPv6 by itself, and be copied.
        rig.at(&rig.near("w"), |sys, _| sys::Sys::sysctl_write(sys, "ipv6/conf/w/disable_ipv6", "1"));
    }
    rig.up(&device.config(attach));
    let monitors: Vec<&str> = device.monitors.iter().chain(&device.makes).copied().collect();
    let mut sniffers = BTreeMap::new();
    for monitor in monitors {
        sniffers.insert(monitor, Sniffer::start(&rig, &observer(&rig, &device, monitor)));
    }
    let ends: Vec<End> = device.cables().iter().map(|port| rig.far(port).clone()).collect();
    let before: BTreeMap<&End, _> = ends.iter().map(|end| (end, rig.counts(end))).collect();
    let host_before = device.ports.first().map(|port| rig.counts(&rig.near(port)));

    for (way, sender) in device.ways.iter().zip(1u8..) {
        let from = if way.from == From::Far { rig.far(way.port).clone() } else { rig.near(way.port) };
        let passed = way.passes_to.iter().map(|port| rig.far(port).clone());
        let copied = way.copies_to.iter().map(|monitor| observer(&rig, &device, monitor));
        let seen_at: Vec<(End, u64)> = passed.chain(copied).map(|end| (end, 1)).collect();
        let stream = Stream { from, frame: &|number| numbered(sender, number) };
        send_in_window(&rig, &[stream], &seen_at, FRAMES);
    }

    let status = rig.settled();
    let what = format!("{} under {attach}\n{status}", device.name);
    let sent_by = |end: &End| rig.counts(end).tx_packets - before[end].tx_packets;
    let received_by = |end: &End| rig.counts(end).rx_packets - before[end].rx_packets;
    for port in device.ports {
        let ledger = &status.ports[*port];
        let far = rig.far(port);
        let host_sent = host_before
            .filter(|_| device.watches)
            .map_or(0, |before| rig.counts(&rig.near(port)).tx_packets - before.tx_packets);
        assert_eq!(ledger.entered.frames, sent_by(far) + host_sent, "in of {port}: {what}");
        if device.passes_to(port).next().is_some() && !device.watches {
            let passed: u64 = device.passes_to(port).map(|way| status.ports[way.port].passed).sum();
            assert_eq!(passed, received_by(far), "passed to {port}: {what}");
        }
    }
    for (monitor, sniffer) in sniffers {
        let sent = FRAMES * u64::try_from(device.copies_to(monitor).count()).expect("few");
        let written = sniffer.finish(sent);
        let frames = u64::try_from(written.frames.len()).expect("few");
        assert_eq!(status.monitors[monitor].sent, frames, "sent by {monitor}: {what}");
        let ways: Vec<_> =
            device.ways.iter().zip(1u8..).filter(|(way, _)| way.copies_to.contains(&monitor)).collect();
        let sent = ways.iter().flat_map(|(_, sender)| (0..FRAMES).map(|number| numbered(*sender, number)));
        assert!(sent.eq(written.frames.iter().cloned()), "{monitor} got other frames than were sent: {what}");
    }
    assert_eq!(status.unaccounted, 0, "{what}");
    rig.down();
}

#[test]
fn privileged_the_ledger_of_every_device_is_what_others_count_by_tcx() {
    let _alone = proof::alone();
    DEVICES.into_iter().for_each(|device| balances(device, Attach::Tcx));
}

#[test]
fn privileged_the_ledger_is_what_others_count_by_clsact() {
    let _alone = proof::alone();
    balances(PORT_AGGREGATOR, Attach::Clsact);
}

#[test]
fn privileged_the_ledger_of_every_device_is_what_others_count_by_classic_filters() {
    let _alone = proof::alone();
    DEVICES.into_iter().for_each(|device| balances(device, Attach::Classic));
}

#[test]
fn privileged_the_ledger_of_every_device_is_what_others_count_by_xdp() {
    let _alone = proof::alone();
    // A watched interface is never attached by XDP: `up` refuses it.
    DEVICES.into_iter().filter(|device| !device.watches).for_each(|device| balances(device, Attach::Xdp));
}
