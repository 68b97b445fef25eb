//! A monitor port at 100 Mbit/s with a buffer of 1 MiB a side: the chapter's three states, by arithmetic.

use std::time::Duration;

use proof::device::{Attach, PORT_AGGREGATOR};
use proof::rig::Rig;
use proof::sender::{Pace, send_at_pace, sender_of, uniform};
use proof::sniffer::Sniffer;

/// Bits a second of the monitor port.
const RATE_MBIT_S: u64 = 100;
/// The same for small frames: at 100 Mbit/s there are 208,000 of them a second, which a busy machine with two cores does
/// not send.
const SMALL_RATE_MBIT_S: u64 = 20;
/// Octets of frames that the buffer of a side holds.
const BUFFER_BYTES: u64 = 1 << 20;
/// Offered by the sides, per cent of the rate: 140 together.
const OFFERED: [u64; 2] = [90, 50];
/// Of the constant load.
const LONG: Duration = Duration::from_secs(30);
/// Of its variations.
const SHORT: Duration = Duration::from_secs(5);
/// Of the one with small frames, of which many wait: what they make uncertain must be small beside what is lost.
const MEDIUM: Duration = Duration::from_secs(12);
/// The sides, by the names of the ports and of the senders.
const SIDES: [(&str, u8); 2] = [("a", 1), ("b", 2)];
/// A full frame without tags, octets without FCS.
const FULL: usize = 1514;

/// The least frame, octets without FCS: 84 on the wire.
const LEAST: usize = 60;

fn rig(attach: Attach, rate_mbit_s: u64) -> Rig {
    let rig = Rig::new(&PORT_AGGREGATOR.cables(), 1500);
    if attach == Attach::Xdp {
        rig.prepare_for_xdp();
    }
    let keys = format!(", rate = \"{rate_mbit_s}Mbit\", buffer = \"1MiB\"");
    rig.up(&PORT_AGGREGATOR.config_with(attach, &keys));
    rig
}

/// Frames of each side that the sensor got.
fn by_side(frames: &[Vec<u8>]) -> [u64; 2] {
    SIDES.map(|(_, sender)| {
        let of_side = frames.iter().filter(|frame| sender_of(frame) == Some(sender));
        u64::try_from(of_side.count()).expect("few")
    })
}

/// Sends on both sides at once; gives how long the longer one took.
fn load(rig: &Rig, paces: [Pace; 2]) -> Duration {
    std::thread::scope(|scope| {
        let senders = SIDES.iter().zip(paces).map(|((port, sender), pace)| {
            scope.spawn(move || send_at_pace(rig, port, pace, &uniform(*sender, pace.frame_bytes)))
        });
        let senders: Vec<_> = senders.collect();
        let times = senders.into_iter().map(|sender| sender.join().expect("a sender ends"));
        times.max().expect("two senders")
    })
}

/// Whether the machine is one that runs when it is to: then no less than the rate comes through either. Where a
/// host takes the processors away for milliseconds, sender and port stand still together, and less does. So this
/// is asked for by `TAPWRIGHT_TIMED=1`, on a machine of one's own; what is lost is accounted for everywhere.
fn timed() -> bool {
    std::env::var_os("TAPWRIGHT_TIMED").is_some()
}

/// What is lost at 140 % is what arithmetic says, on the side that offers more than its share, and the ledger knows
/// every frame of it.
fn loses_what_it_must(attach: Attach, rate_mbit_s: u64, frame_bytes: usize, duration: Duration) {
    let rig = rig(attach, rate_mbit_s);
    let sniffer = Sniffer::start_with(&rig, rig.far("m1"), 64);
    let pace = |percent| Pace { wire_bits_s: rate_mbit_s * 10_000 * percent, frame_bytes, duration };
    let paces = OFFERED.map(pace);
    let sent = paces.map(|pace| pace.frames());
    let took = load(&rig, paces);
    let status = rig.settled();
    let monitor = &status.monitors["m1"];
    let written = sniffer.finish(monitor.sent);
    let got = by_side(&written.frames);
    let dropped = SIDES.map(|(side, _)| monitor.dropped.buffer[side]);
    let what = format!("{sent:?} sent in {took:?}, {got:?} got\n{status}");
    assert_eq!(
        [sent[0] - got[0], sent[1] - got[1]],
        dropped,
        "drops by side and frames missing at the sensor: {what}"
    );
    assert_eq!((status.unaccounted, monitor.dropped.device), (0, 0), "{what}");

    let wire = paces[0].wire_bytes();
    let served = u64::try_from(u128::from(rate_mbit_s) * took.as_nanos() / 8000).expect("30 s");
    // At its end the buffer of the side above its share is full, and that of the other as good as empty.
    let waits = BUFFER_BYTES / u64::try_from(frame_bytes).expect("short");
    let fits = served / wire + waits;
    // A port never gives a sensor more than its rate and its buffers.
    let through = got[0] + got[1];
    let most = fits + waits;
    assert!(through * 100 <= most * 101, "{through} came through where {most} fit: {what}");
    // Nor, however often it is stopped, anything like half of that; and the side above its share loses most.
    assert!(through * 2 >= fits, "{through} came through where {fits} fit: {what}");
    assert!(dropped[0] > dropped[1], "the side above its share lost less: {what}");
    let must_lose = (sent[0] + sent[1]).saturating_sub(fits);
    println!("{attach}, {frame_bytes} octets, {took:?}: lost {dropped:?}, by arithmetic {must_lose}");
    if timed() {
        assert_eq!(dropped[1], 0, "the side below its share lost something: {what}");
        let difference = dropped[0].abs_diff(must_lose);
        assert!(difference * 100 <= must_lose, "lost {}, by arithmetic {must_lose}: {what}", dropped[0]);
    }
    rig.down();
}

#[test]
fn privileged_a_burst_that_the_buffers_hold_loses_nothing() {
    let _alone = proof::alone();
    for attach in Attach::EVERY {
        for frame_bytes in [LEAST, FULL] {
            let rig = rig(attach, RATE_MBIT_S);
            // 0.9 MB a side at once: far beyond the rate for a few ms.
            let count = 900_000 / frame_bytes;
            let before = rig.counts(rig.far("m1")).rx_packets;
            std::thread::scope(|scope| {
                for (port, sender) in SIDES {
                    let (rig, frame) = (&rig, uniform(sender, frame_bytes));
                    scope.spawn(move || rig.send(rig.far(port), &vec![frame.as_slice(); count]));
                }
            });
            let status = rig.settled();
            let monitor = &status.monitors["m1"];
            let sent = 2 * u64::try_from(count).expect("few");
            assert_eq!(
                (monitor.copied, monitor.sent),
                (sent, sent),
                "{attach}, {frame_bytes} octets\n{status}"
            );
            assert_eq!(
                rig.counts(rig.far("m1")).rx_packets - before,
                sent,
                "{attach}, {frame_bytes} octets\n{status}"
            );
            rig.down();
        }
    }
}

#[test]
fn privileged_30_s_at_140_percent() {
    let _alone = proof::alone();
    loses_what_it_must(Attach::Tcx, RATE_MBIT_S, FULL, LONG);
}

#[test]
fn privileged_small_frames_at_140_percent() {
    let _alone = proof::alone();
    loses_what_it_must(Attach::Tcx, SMALL_RATE_MBIT_S, LEAST, MEDIUM);
}

#[test]
fn privileged_140_percent_by_clsact() {
    let _alone = proof::alone();
    loses_what_it_must(Attach::Clsact, RATE_MBIT_S, FULL, SHORT);
}

#[test]
fn privileged_140_percent_by_classic_filters() {
    let _alone = proof::alone();
    loses_what_it_must(Attach::Classic, RATE_MBIT_S, FULL, SHORT);
}

#[test]
fn privileged_140_percent_from_an_xdp_link_by_the_hop() {
    let _alone = proof::alone();
    loses_what_it_must(Attach::Xdp, RATE_MBIT_S, FULL, SHORT);
}
