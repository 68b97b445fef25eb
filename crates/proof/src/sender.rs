//! Senders of many frames: as fast as nothing is lost before the tap, or at a pace.
//!
//! A virtual cable drops what its far end does not take in time, as a wire between computers never does. So the fast
//! sender keeps few frames on their way: it looks at what has arrived. Neither counts for the ledger: that is the
//! business of the interfaces' own counters.

use std::time::{Duration, Instant};

use lab::enterprise::End;
use sys::packet::{Options, PacketSocket};
use sys::{Linux, Sys};

use crate::rig::Rig;
use crate::wait;

/// Frames of each stream on their way at most: the ring of a virtual cable takes 256, a CPU's backlog 1000
/// (`net.core.netdev_max_backlog`), and several streams may meet there.
const ON_THEIR_WAY: u64 = 120;

/// Frames from one interface.
pub struct Stream<'a> {
    /// The interface.
    pub from: End,
    /// The frame of a number.
    pub frame: &'a (dyn Fn(u64) -> Vec<u8> + Sync),
}

/// Sends `count` frames of each stream, and waits again and again until they have arrived: for each of its frames, an
/// interface of `seen_at` receives so many. Nobody else's frames may go there meanwhile. The interfaces of `seen_at` are
/// in one host.
///
/// # Panics
/// Where frames cannot be sent, or do not arrive in bounded time.
pub fn send_in_window(rig: &Rig, streams: &[Stream<'_>], seen_at: &[(End, u64)], count: u64) {
    let sockets: Vec<_> = streams.iter().map(|stream| rig.socket(&stream.from)).collect();
    let host = &seen_at.first().expect("frames arrive somewhere").0.host;
    assert!(seen_at.iter().all(|(end, _)| end.host == *host), "one look shows all of them");
    let received = || {
        let links = Linux::new().links().expect("links can be listed");
        let of = |(end, _): &(End, u64)| links.iter().find(|link| link.name == end.interface);
        seen_at.iter().map(|seen| of(seen).expect("it is there").stats.rx_packets).collect::<Vec<_>>()
    };
    let work = || {
        let (before, mut sent) = (received(), 0);
        while sent < count {
            let end = count.min(sent + ON_THEIR_WAY);
            for (stream, socket) in streams.iter().zip(&sockets) {
                let frames: Vec<Vec<u8>> = (sent..end).map(stream.frame).collect();
                let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
                socket.send_all(&slices).unwrap_or_else(|error| panic!("{}: {error}", stream.from));
            }
            sent = end;
            let all = |now: &Vec<u64>| {
                let each = now.iter().zip(&before).zip(seen_at);
                each.into_iter().all(|((now, before), (_, times))| now - before >= sent * times)
            };
            wait::until("frames arrive", received, all);
        }
    };
    rig.network().inside(host, work).expect("the host can be entered");
}

/// A frame of so many octets by which its sender is known.
pub fn uniform(sender: u8, len: usize) -> Vec<u8> {
    let mut frame = numbered(sender, 0);
    frame.resize(len, sender);
    frame
}

/// The sender of a frame that [`numbered`] or [`uniform`] made.
pub fn sender_of(frame: &[u8]) -> Option<u8> {
    (frame.get(12..14)? == [0x88, 0xb5]).then_some(frame[11])
}

/// A frame that differs from those of other numbers and other senders, 60 to 1514 octets long.
pub fn numbered(sender: u8, number: u64) -> Vec<u8> {
    // EtherType for local experiments (IEEE 802, clause 9.2.3).
    let mut frame = vec![2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, sender, 0x88, 0xb5];
    frame.extend(number.to_be_bytes());
    let len = 60 + usize::try_from(number * 257 % 1455).expect("a rest modulo 1455");
    frame.resize(len, sender);
    frame
}

/// A stream at a constant rate.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bits a second on the wire: frame and 24 octets, at least 84.
    pub wire_bits_s: u64,
    /// Octets of a frame without FCS.
    pub frame_bytes: usize,
    /// How long.
    pub duration: Duration,
}

impl Pace {
    /// Octets that a frame takes on the wire (IEEE 802.3: preamble 8, FCS 4, gap 12; 64 octets at least).
    pub fn wire_bytes(&self) -> u64 {
        let frame = u64::try_from(self.frame_bytes).expect("a frame is short");
        (frame + 24).max(84)
    }

    /// Frames in all.
    pub fn frames(&self) -> u64 {
        let bits = u128::from(self.wire_bits_s) * self.duration.as_nanos() / 1_000_000_000;
        u64::try_from(bits / 8).expect("less than 2^64 octets") / self.wire_bytes()
    }

    /// When frame `number` is due, from the start.
    fn due(&self, number: u64) -> Duration {
        let ns =
            u128::from(number) * u128::from(self.wire_bytes()) * 8_000_000_000 / u128::from(self.wire_bits_s);
        Duration::from_nanos(u64::try_from(ns).expect("less than 584 years"))
    }
}

/// Sends a stream from the far end of `port`; frames that are late are sent at once, but for those that are later than
/// `LATE`: then the whole stream is late from there on. Gives the time from the first frame to the last.
///
/// # Panics
/// Where a frame cannot be sent.
pub fn send_at_pace(rig: &Rig, port: &str, pace: Pace, frame: &[u8]) -> Duration {
    assert_eq!(frame.len(), pace.frame_bytes, "the frame is as long as the pace says");
    let from = rig.far(port).clone();
    let index = rig.network().link(&from).unwrap_or_else(|error| panic!("{error}")).index;
    let work = || {
        first_of_all();
        let options = Options { bypass_queue: true, ..Options::default() };
        let socket = PacketSocket::open(index, options).expect("a packet socket");
        let (start, total) = (Instant::now(), pace.frames());
        let mut slipped = Duration::ZERO;
        let mut sent = 0;
        while sent < total {
            let mut now = start.elapsed() - slipped;
            let late = now.saturating_sub(pace.due(sent));
            if late > LATE {
                slipped += late;
                now -= late;
            }
            let mut batch = Vec::new();
            while sent < total && batch.len() < BURST && pace.due(sent) <= now {
                batch.push(frame);
                sent += 1;
            }
            if batch.is_empty() {
                std::thread::sleep(pace.due(sent).saturating_sub(now));
            } else {
                socket.send_all(&batch).unwrap_or_else(|error| panic!("{from}: {error}"));
            }
        }
        start.elapsed()
    };
    rig.network().inside(&from.host, work).expect("the host can be entered")
}

/// How far a sender that did not get to run may catch up: far less than a monitor port's buffer holds.
const LATE: Duration = Duration::from_millis(20);
/// Late frames that are sent in one go.
const BURST: usize = 16;

/// From now on this thread runs before all others that are not real-time (`SCHED_FIFO`): it sleeps most of the time.
fn first_of_all() {
    let id = std::fs::read_link("/proc/thread-self").expect("procfs is there");
    let id = id.file_name().expect("PID/task/TID").to_owned();
    let status = std::process::Command::new("chrt").args(["-f", "-p", "50"]).arg(id).status();
    assert!(status.expect("chrt can be run: is util-linux installed?").success(), "chrt failed");
}
