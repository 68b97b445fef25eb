//! Silent: whatever the network asks, the tap does not answer, and it never speaks by itself.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use proof::device::{Attach, DEVICES, Device};
use proof::rig::Rig;
use proof::wait;
use sys::{Address, IFF_UP, Sys};

/// How long nothing may be heard: within a second of an interface that comes up, the kernel asks for routers and reports
/// its multicast groups; whom it asks for it asks again after another.
const LISTENING: Duration = Duration::from_millis(2500);
/// The host's own address, on an interface that is no port: Linux answers ARP for it on every interface.
const OWN: [u8; 4] = [192, 0, 2, 77];

/// Asks for the host's own address (RFC 826), to everybody.
fn arp_request() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 0xaa, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([2, 0, 0, 0, 0, 0xaa, 192, 0, 2, 1]);
    frame.extend([0; 6]);
    frame.extend(OWN);
    frame.resize(60, 0);
    frame
}

/// Gives the tap box the address, and shows that it answers for it on a port as long as that is none.
fn answers_before(rig: &Rig, port: &str) {
    let ip = IpAddr::from(OWN);
    let added = rig.on_tap(|sys| {
        let ifindex = sys.link_by_name("lo")?.expect("every namespace has lo").index;
        sys.set_link_flags(ifindex, IFF_UP, 0)?;
        sys.add_address(&Address { ifindex, ip, prefix: 32, scope: 0, flags: 0x80, broadcast: None })
    });
    added.expect("lo takes an address");
    let mut capture = rig.capture(rig.far(port));
    rig.send(rig.far(port), &[&arp_request()]);
    let mut reply = || {
        capture.drain().expect("a capture can be drained");
        capture.frames().iter().any(|frame| !frame.outgoing && frame.bytes[12..14] == [0x08, 0x06])
    };
    wait::until("a host without a tap answers", &mut reply, |answered| *answered);
}

fn is_silent(device: Device, attach: Attach) {
    let rig = Rig::new(&device.cables(), 1500);
    if attach == Attach::Xdp {
        rig.prepare_for_xdp();
    }
    answers_before(&rig, device.ports[0]);
    rig.up(&device.config(attach));
    let mut captures: Vec<_> =
        rig.ports().map(|port| (port.to_owned(), rig.capture(rig.far(port)))).collect();
    for port in device.cables() {
        rig.send(rig.far(port), &[&arp_request()]);
    }
    let end = Instant::now() + LISTENING;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        for (_, capture) in &mut captures {
            capture.drain().expect("a capture can be drained");
        }
    }
    for (port, capture) in &captures {
        let heard: Vec<_> = capture.frames().iter().filter(|frame| !frame.outgoing).collect();
        let other = heard.iter().find(|frame| frame.bytes != arp_request());
        assert_eq!(other, None, "{port} of {} under {attach}", device.name);
        let expected = device.passes_to(port).count() + device.copies_to(port).count();
        assert_eq!(heard.len(), expected, "{port} of {} under {attach}", device.name);
    }
    rig.settled();
    rig.down();
}

#[test]
fn privileged_the_tap_answers_nobody_and_says_nothing() {
    let _alone = proof::alone();
    let silent = ["port-aggregator", "span-regeneration"];
    for device in DEVICES.into_iter().filter(|device| silent.contains(&device.name)) {
        Attach::EVERY.into_iter().for_each(|attach| is_silent(device, attach));
    }
}
