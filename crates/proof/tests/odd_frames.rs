//! Transparent and silent: the odd frames through every device under every attach mode, byte for byte at the far
//! ends and at the monitors, in order, and nothing anywhere that nobody sent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lab::capture::Capture;
use lab::enterprise::End;
use lab::frames::{OddFrame, odd};
use proof::device::{Attach, DEVICES, Device, From, Way};
use proof::rig::Rig;
use proof::wait;

/// How long nothing may come after the last expected frame.
const SILENCE: Duration = Duration::from_millis(200);

/// The set for an MTU. A way that starts at an skb loses [`RUNT`] before any program could see it.
fn set(mtu: u32) -> Vec<OddFrame> {
    odd().into_iter().filter(|frame| frame.fits(mtu)).collect()
}

/// A tag and an EtherType, and no octet behind them: 18 octets, which no card would receive (64 with FCS is the
/// least). The kernel takes the tag out of the data before tc, wants six octets for it, finds four, and drops the
/// frame. XDP runs before that.
const RUNT: &str = "802.1Q, tag and EtherType only";

/// A packet socket lets a frame exceed the MTU by a tag only where that is 802.1Q, and refuses 802.1ad. The far ends
/// have an MTU that is larger by a tag instead; the interfaces of the tap box keep theirs.
fn host_can_send(frame: &OddFrame, mtu: u32) -> bool {
    let payload = u32::try_from(frame.bytes.len() - 14).expect("a frame is short");
    payload <= mtu || frame.bytes[12..14] == [0x81, 0x00]
}

struct Run {
    mtu: u32,
    device: Device,
    attach: Attach,
    rig: Rig,
    frames: Vec<OddFrame>,
    captures: BTreeMap<String, Capture>,
}

impl Run {
    fn up(device: Device, attach: Attach, mtu: u32) -> Self {
        let rig = Rig::new(&device.cables(), mtu);
        if attach == Attach::Xdp {
            rig.prepare_for_xdp();
        }
        if device.watches {
            // The host speaks IPv6 by itself otherwise, and the tap would rightly copy that.
            let quiet =
                |sys: &mut sys::Linux, _| sys::Sys::sysctl_write(sys, "ipv6/conf/w/disable_ipv6", "1");
            rig.at(&rig.near("w"), quiet);
        }
        for port in device.cables() {
            rig.at(rig.far(port), |sys, index| sys.set_mtu(index, mtu + 4));
        }
        let report = rig.up(&device.config(attach));
        for port in device.ports {
            let said = report.ports.iter().find(|said| said.name == *port).expect("every port is reported");
            assert_eq!(said.attach, attach.name(), "{port} of {}", device.name);
        }
        let mut captures = BTreeMap::new();
        for port in device.cables() {
            captures.insert(port.to_owned(), rig.capture(rig.far(port)));
        }
        if let Some(made) = device.makes {
            captures.insert(made.to_owned(), rig.capture(&rig.near(made)));
        }
        Self { mtu, device, attach, rig, frames: set(mtu), captures }
    }

    fn sends_from(&self, way: &Way) -> End {
        match way.from {
            From::Far => self.rig.far(way.port).clone(),
            From::Host => self.rig.near(way.port),
        }
    }

    fn sendable(&self, from: From) -> Vec<&[u8]> {
        let sent = self.frames.iter().filter(|frame| from == From::Far || host_can_send(frame, self.mtu));
        sent.map(|frame| frame.bytes.as_slice()).collect()
    }

    /// Sends the set, as far as the interface takes it.
    fn sends(&self, end: &End, from: From) {
        self.rig.send(end, &self.sendable(from));
    }

    /// Frames that the tap sees come through a way, in order.
    fn through(&self, way: &Way) -> Vec<&OddFrame> {
        let goes = |frame: &&OddFrame| match way.from {
            From::Far => frame.name != RUNT || self.attach == Attach::Xdp,
            From::Host => host_can_send(frame, self.mtu),
        };
        self.frames.iter().filter(goes).collect()
    }

    /// Looks until every capture has what it should; then nothing more may come.
    fn compare(&mut self, expected: &BTreeMap<String, Vec<&OddFrame>>) {
        let what = format!("{} under {}", self.device.name, self.attach);
        let deadline = Instant::now() + wait::SOON;
        let mut quiet_since = None;
        loop {
            let mut complete = true;
            for (name, capture) in &mut self.captures {
                capture.drain().expect("a capture can be drained");
                let seen =
                    capture.frames().iter().filter(|frame| arrived(name, &self.device, frame.outgoing));
                complete &= seen.count() >= expected.get(name).map_or(0, Vec::len);
            }
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if !complete {
                quiet_since = None;
            }
            if complete && since.elapsed() > SILENCE || Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        for (name, capture) in &mut self.captures {
            assert_eq!(capture.lost(), 0, "{what}: the capture at {name} is not complete");
            let taken = capture.take();
            let seen: Vec<&[u8]> = taken
                .iter()
                .filter(|frame| arrived(name, &self.device, frame.outgoing))
                .map(|frame| frame.bytes.as_slice())
                .collect();
            same(&what, name, &seen, expected.get(name).map_or(&[], Vec::as_slice));
        }
    }
}

/// Whether a captured frame came out of the tap: on a far end, what was received.
fn arrived(name: &str, device: &Device, outgoing: bool) -> bool {
    device.makes == Some(name) || !outgoing
}

/// The same frames in the same order; the first difference by name.
fn same(what: &str, at: &str, seen: &[&[u8]], expected: &[&OddFrame]) {
    let all = odd();
    let name = |bytes: &[u8]| {
        let known = all.iter().find(|frame| frame.bytes == bytes).map(|frame| frame.name.clone());
        known.unwrap_or_else(|| format!("a frame of {} octets that nobody sent: {bytes:02x?}", bytes.len()))
    };
    let wanted: Vec<&[u8]> = expected.iter().map(|frame| frame.bytes.as_slice()).collect();
    if seen == wanted {
        return;
    }
    let first = seen.iter().zip(&wanted).position(|(a, b)| a != b).unwrap_or(seen.len().min(wanted.len()));
    let shown = |frames: &[&[u8]]| frames.get(first).map_or("nothing".to_owned(), |bytes| name(bytes));
    panic!(
        "{what}: {at} saw {} frames of {}; number {first} should be {:?} and is {:?}",
        seen.len(),
        wanted.len(),
        shown(&wanted),
        shown(seen)
    );
}

/// Every way in its turn, then what the ledger says of it.
fn crosses(run: &mut Run) {
    let device = run.device;
    let mut expected: BTreeMap<String, Vec<&OddFrame>> = BTreeMap::new();
    let frames = run.frames.clone();
    for way in device.ways {
        run.sends(&run.sends_from(way), way.from);
        let names: Vec<String> = run.through(way).iter().map(|frame| frame.name.clone()).collect();
        let come = frames.iter().filter(|frame| names.contains(&frame.name));
        // The far end's own kernel drops it before a capture could see it; counters do.
        let come: Vec<&OddFrame> = come.filter(|frame| frame.name != RUNT).collect();
        for to in way.passes_to.iter().chain(way.copies_to) {
            expected.entry((*to).to_owned()).or_default().extend(&come);
        }
    }
    run.compare(&expected);
    let status = run.rig.settled();
    let count = |way: &Way| u64::try_from(run.through(way).len()).expect("few");
    let total = |ways: &mut dyn Iterator<Item = &Way>| ways.map(count).sum::<u64>();
    for port in device.ports {
        let entered = total(&mut device.ways.iter().filter(|way| way.port == *port));
        let port_status = &status.ports[*port];
        assert_eq!(port_status.entered.frames, entered, "in of {port}\n{status}");
        let went = [port_status.passed, port_status.consumed, port_status.left];
        assert_eq!(went.iter().sum::<u64>(), entered, "passed, consumed or left of {port}\n{status}");
        assert!(port_status.errors.is_empty(), "{status}");
    }
    for monitor in device.monitors.iter().chain(&device.makes) {
        let copied = total(&mut device.copies_to(monitor));
        let monitor_status = &status.monitors[*monitor];
        assert_eq!((monitor_status.copied, monitor_status.sent), (copied, copied), "{monitor}\n{status}");
    }
}

/// What sensors send, and what the host sends by ports that are not its own, ends there and is counted.
fn stays_inside(run: &mut Run) {
    let device = run.device;
    let before = run.rig.status();
    for monitor in device.monitors {
        run.sends(run.rig.far(monitor), From::Far);
        run.rig.send_in_vain(&run.rig.near(monitor), &run.sendable(From::Host));
    }
    if !device.watches {
        for port in device.ports {
            run.rig.send_in_vain(&run.rig.near(port), &run.sendable(From::Host));
        }
    }
    run.compare(&BTreeMap::new());
    let after = run.rig.settled();
    let of_sensor = run.frames.iter().filter(|frame| frame.name != RUNT).count();
    let of_host = run.frames.iter().filter(|frame| host_can_send(frame, run.mtu)).count();
    let counted = |now: u64, then: u64| usize::try_from(now - then).expect("few");
    for monitor in device.monitors {
        let (now, then) = (&after.monitors[*monitor], &before.monitors[*monitor]);
        assert_eq!(counted(now.sensor_sent, then.sensor_sent), of_sensor, "sensor sent, {monitor}\n{after}");
        assert_eq!(counted(now.guarded, then.guarded), of_host, "guarded, {monitor}\n{after}");
        assert_eq!(now.sent, then.sent, "{monitor}\n{after}");
    }
    for port in device.ports.iter().filter(|_| !device.watches) {
        let (now, then) = (&after.ports[*port], &before.ports[*port]);
        assert_eq!(counted(now.guarded, then.guarded), of_host, "guarded, {port}\n{after}");
        assert_eq!(now.entered, then.entered, "{port}\n{after}");
    }
}

fn through_all(attach: Attach, mtu: u32) {
    let _alone = proof::alone();
    for device in DEVICES {
        if device.watches && attach == Attach::Xdp {
            continue; // refused: see `xdp_is_refused_where_it_would_lose_frames`
        }
        let mut run = Run::up(device, attach, mtu);
        crosses(&mut run);
        stays_inside(&mut run);
        run.rig.down();
    }
}

#[test]
fn privileged_odd_frames_by_tcx() {
    through_all(Attach::Tcx, 1500);
}

#[test]
fn privileged_odd_frames_by_clsact() {
    through_all(Attach::Clsact, 1500);
}

#[test]
fn privileged_odd_frames_by_classic_filters() {
    through_all(Attach::Classic, 1500);
}

#[test]
fn privileged_odd_frames_by_xdp() {
    through_all(Attach::Xdp, 1500);
}

#[test]
fn privileged_jumbo_by_tcx() {
    through_all(Attach::Tcx, 9000);
}

#[test]
fn privileged_jumbo_by_classic_filters() {
    through_all(Attach::Classic, 9000);
}

#[test]
fn privileged_jumbo_by_clsact() {
    through_all(Attach::Clsact, 9000);
}
