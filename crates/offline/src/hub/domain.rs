//! The wire and who is on it: what happens next, one event after another.
//!
//! At most one transmission a port, and at most 32 ports, so that all of them are looked at each time.

use std::collections::VecDeque;

use plan::arbitrary::Random;

use super::counts::{HubCounts, PortCounts};
use super::{
    ATTEMPTS_MAX, BACKOFF_ATTEMPTS_MAX, GAP_BITS, GAP_DEAF_BITS, JAM_BITS, PREAMBLE_BITS, PROPAGATION_BITS,
    QUEUE_FRAMES, SLOT_BITS,
};

/// The shortest frame on the wire without its FCS, octets.
const SHORTEST_BYTES: u64 = 60;
/// Preamble, start of frame and FCS, octets.
const AROUND_BYTES: u64 = 12;

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome<T> {
    /// All other ports have it.
    Delivered {
        /// What it was offered as.
        token: T,
        /// When its last bit was there, nanoseconds.
        at_ns: u64,
    },
    /// Nobody has it.
    Lost {
        /// What it was offered as.
        token: T,
        /// Why.
        cause: Cause,
    },
}

/// Why a frame was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// The queue of its port was full.
    Overflow,
    /// It collided 16 times.
    Excessive,
    /// It came out of a tap, which cannot hear a collision.
    OfTap,
    /// Something that does not listen spoke into its last bits, when its station had done.
    Unheard,
}

/// The moments of a speed, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    speed_bits: u64,
    slot: u64,
    gap: u64,
    deaf: u64,
    jam: u64,
    preamble: u64,
    propagation: u64,
}

impl Pace {
    fn new(speed_bits: u64) -> Self {
        let mut pace = Self { speed_bits, slot: 0, gap: 0, deaf: 0, jam: 0, preamble: 0, propagation: 0 };
        pace.slot = pace.ns(SLOT_BITS);
        pace.gap = pace.ns(GAP_BITS);
        pace.deaf = pace.ns(GAP_DEAF_BITS);
        pace.jam = pace.ns(JAM_BITS);
        pace.preamble = pace.ns(PREAMBLE_BITS);
        pace.propagation = pace.ns(PROPAGATION_BITS);
        pace
    }

    /// How long so many bits take, to the nearest nanosecond and never nothing.
    fn ns(&self, bits: u64) -> u64 {
        let speed = u128::from(self.speed_bits.max(1));
        let ns = (u128::from(bits) * 1_000_000_000 + speed / 2) / speed;
        u64::try_from(ns).unwrap_or(u64::MAX).max(1)
    }

    /// How long a frame is on the wire.
    fn frame(&self, frame_bytes: u32) -> u64 {
        self.ns((u64::from(frame_bytes).max(SHORTEST_BYTES) + AROUND_BYTES) * 8)
    }
}

/// A frame that waits, or is being sent.
#[derive(Clone, Copy, Debug)]
struct Waiting<T> {
    token: T,
    frame_bytes: u32,
    arrived_ns: u64,
}

/// What a port sends now.
#[derive(Clone, Copy, Debug)]
struct Sending {
    start: u64,
    /// When it ends, as far as that is known: a collision that is heard brings it forward.
    end: u64,
    /// Whether it overlapped with another.
    collided: bool,
    /// Whether its station heard that.
    heard: bool,
}

impl Sending {
    /// Its station hears another, and ends with a jam.
    fn hears(&mut self, at_ns: u64, pace: &Pace) {
        if at_ns < self.end {
            (self.heard, self.collided) = (true, true);
            self.end = self.end.min(at_ns.max(self.start + pace.preamble) + pace.jam);
        }
    }
}

/// What a port has sent and not all others have heard to the end.
#[derive(Clone, Copy, Debug)]
struct Tail<T> {
    start: u64,
    end: u64,
    /// The frame, where it arrives.
    frame: Option<Waiting<T>>,
}

#[derive(Debug)]
struct Port<T> {
    queue: VecDeque<Waiting<T>>,
    sending: Option<Sending>,
    /// A few: the shortest transmission takes half as long as the way through the hub.
    tails: VecDeque<Tail<T>>,
    /// When the first of the queue may be sent as far as back-off goes.
    ready_ns: u64,
    /// How often the first of the queue was tried.
    attempts: usize,
    /// When this port last sent, and when it last heard others: the end of it.
    spoke_until: Option<u64>,
    heard_until: Option<u64>,
    counts: PortCounts,
}

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// The last bit of a transmission leaves. Before what begins at the same time: they do not overlap.
    End(usize),
    /// The last bit of a transmission reached all others.
    Silence(usize),
    /// A port begins to send.
    Start(usize),
}

/// One half-duplex wire.
#[derive(Debug)]
pub(crate) struct Domain<T> {
    pace: Pace,
    random: Random,
    ports: Vec<Port<T>>,
    next: Option<(u64, Event)>,
    began_ns: Option<u64>,
    /// When the first of the transmissions began that collide now.
    colliding_from: Option<u64>,
    counts: HubCounts,
}

impl<T: Copy> Domain<T> {
    /// A wire of so many bits a second between ports, of which some are the outputs of taps.
    pub(crate) fn new(name: &str, speed_bits: u64, ports: &[(String, bool)], seed: u64) -> Self {
        let port = |(name, tap): &(String, bool)| Port {
            queue: VecDeque::new(),
            sending: None,
            tails: VecDeque::new(),
            ready_ns: 0,
            attempts: 0,
            spoke_until: None,
            heard_until: None,
            counts: PortCounts { name: name.clone(), tap: *tap, ..PortCounts::default() },
        };
        Self {
            pace: Pace::new(speed_bits),
            random: Random::new(seed),
            ports: ports.iter().map(port).collect(),
            next: None,
            began_ns: None,
            colliding_from: None,
            counts: HubCounts { name: name.to_owned(), speed_bits, ..HubCounts::default() },
        }
    }

    /// A frame comes to be sent by a port, at a moment up to which the wire was polled.
    pub(crate) fn offer(
        &mut self,
        port: usize,
        at_ns: u64,
        frame_bytes: u32,
        token: T,
        out: &mut Vec<Outcome<T>>,
    ) {
        self.passes(at_ns);
        let here = &mut self.ports[port];
        here.counts.offered += 1;
        if here.queue.len() == QUEUE_FRAMES {
            here.counts.overflow += 1;
            out.push(Outcome::Lost { token, cause: Cause::Overflow });
            return;
        }
        here.queue.push_back(Waiting { token, frame_bytes, arrived_ns: at_ns });
        if here.queue.len() == 1 {
            (here.ready_ns, here.attempts) = (at_ns, 0);
            self.next = self.earliest();
        }
    }

    /// When something happens next without another frame; `None`: never.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.next.map(|(at_ns, _)| at_ns)
    }

    /// All that happens up to a moment, it included.
    pub(crate) fn poll(&mut self, until_ns: u64, out: &mut Vec<Outcome<T>>) {
        while let Some((now, event)) = self.next.filter(|(at, _)| *at <= until_ns) {
            self.passes(now);
            match event {
                Event::End(port) => self.end(port, now, out),
                Event::Silence(port) => self.silence(port, now, out),
                Event::Start(port) => self.start(port, now),
            }
            self.next = self.earliest();
        }
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> HubCounts {
        let port = |port: &Port<T>| {
            let waiting = u64::try_from(port.queue.len()).expect("a queue has a bound");
            PortCounts { waiting, ..port.counts.clone() }
        };
        HubCounts { ports: self.ports.iter().map(port).collect(), ..self.counts.clone() }
    }

    fn passes(&mut self, now: u64) {
        let began = *self.began_ns.get_or_insert(now);
        self.counts.elapsed_ns = now - began;
    }

    /// The earliest event; of several the first in the order of [`Event`].
    fn earliest(&self) -> Option<(u64, Event)> {
        let mut earliest: Option<(u64, Event)> = None;
        let mut consider = |at: u64, event: Event| {
            if earliest.is_none_or(|known| (at, event) < known) {
                earliest = Some((at, event));
            }
        };
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(tail) = port.tails.front() {
                consider(tail.end + self.pace.propagation, Event::Silence(index));
            }
            match &port.sending {
                Some(sending) => consider(sending.end, Event::End(index)),
                None => {
                    if let Some(at) = self.may_start(index, port) {
                        consider(at, Event::Start(index));
                    }
                }
            }
        }
        earliest
    }

    /// When a port begins to send, if nothing comes in between; `None`: nothing to send, or it hears somebody.
    fn may_start(&self, index: usize, port: &Port<T>) -> Option<u64> {
        port.queue.front()?;
        let gap_after = |until: Option<u64>| until.map_or(0, |until| until + self.pace.gap);
        let spoke = gap_after(port.spoke_until);
        if port.counts.tap {
            return Some(port.ready_ns.max(spoke));
        }
        let silent = gap_after(port.heard_until).max(spoke);
        let start = port.ready_ns.max(silent);
        // In the last part of the gap nobody listens any more.
        let deaf_from = if port.ready_ns <= silent { start.saturating_sub(self.pace.deaf) } else { start };
        let others = self.ports.iter().enumerate().filter(|(other, _)| *other != index);
        let mut heard = others.flat_map(|(_, other)| other.on_the_wire());
        let hears = heard.any(|(from, _)| from + self.pace.propagation < deaf_from);
        (!hears).then_some(start)
    }

    fn start(&mut self, index: usize, now: u64) {
        let pace = self.pace;
        let port = &mut self.ports[index];
        let waiting = port.queue.front().expect("a port that starts has something to send");
        let due = port.ready_ns.max(port.spoke_until.map_or(0, |until| until + pace.gap));
        if port.attempts == 0 && now > due && !port.counts.tap {
            port.counts.deferred += 1;
        }
        let is_tap = port.counts.tap;
        let end = now + pace.frame(waiting.frame_bytes);
        let mut mine = Sending { start: now, end, collided: false, heard: false };
        for (_, other) in self.ports.iter_mut().enumerate().filter(|(other, _)| *other != index) {
            if !is_tap {
                // Whoever hears a signal while it sends has collided, also where the two met far away from it.
                for (from, until) in other.on_the_wire() {
                    if until + pace.propagation > now {
                        mine.hears(now.max(from + pace.propagation), &pace);
                    }
                }
            }
            let listens = !other.counts.tap;
            if let Some(sending) = other.sending.as_mut() {
                (mine.collided, sending.collided) = (true, true);
                if listens {
                    sending.hears(now + pace.propagation, &pace);
                }
            }
        }
        if mine.collided {
            let began = self.ports.iter().filter_map(|other| other.sending.as_ref()).map(|it| it.start).min();
            self.colliding_from.get_or_insert(began.unwrap_or(now));
        }
        let port = &mut self.ports[index];
        port.attempts += 1;
        port.sending = Some(mine);
    }

    /// The last bit of a transmission has left.
    fn end(&mut self, index: usize, now: u64, out: &mut Vec<Outcome<T>>) {
        let pace = self.pace;
        let port = &mut self.ports[index];
        let Sending { start, collided, heard, .. } =
            port.sending.take().expect("a transmission that ends has begun");
        port.spoke_until = Some(now);
        let mut tail = Tail { start, end: now, frame: None };
        if collided {
            self.counts.collisions += 1;
        } else {
            self.counts.busy_ns += now - start + pace.gap;
            port.counts.attempts[port.attempts - 1] += 1;
            tail.frame = Some(port.next(now));
        }
        port.tails.push_back(tail);
        if !collided {
            return;
        }
        if !self.ports.iter().any(|other| other.sending.is_some_and(|sending| sending.collided)) {
            self.counts.wasted_ns += now - self.colliding_from.take().unwrap_or(start);
        }
        let port = &mut self.ports[index];
        let cause = if port.counts.tap {
            port.counts.lost_of_tap += 1;
            Cause::OfTap
        } else if !heard {
            port.counts.unheard += 1;
            Cause::Unheard
        } else {
            self.counts.late_collisions += u64::from(now - start > pace.slot + pace.jam);
            if port.attempts < ATTEMPTS_MAX {
                let slots = self.random.below(1 << port.attempts.min(BACKOFF_ATTEMPTS_MAX));
                port.ready_ns = now + u64::try_from(slots).expect("at most 1023 slots") * pace.slot;
                return;
            }
            port.counts.excessive += 1;
            Cause::Excessive
        };
        out.push(Outcome::Lost { token: port.next(now).token, cause });
    }

    /// The last bit of a transmission is everywhere.
    fn silence(&mut self, index: usize, now: u64, out: &mut Vec<Outcome<T>>) {
        for (_, other) in self.ports.iter_mut().enumerate().filter(|(other, _)| *other != index) {
            other.heard_until = Some(now);
        }
        let port = &mut self.ports[index];
        let tail = port.tails.pop_front().expect("what falls silent has spoken");
        if let Some(frame) = tail.frame {
            port.counts.delivered += 1;
            port.counts.delivered_bytes += u64::from(frame.frame_bytes);
            port.counts.longest_ns = port.counts.longest_ns.max(now - frame.arrived_ns);
            out.push(Outcome::Delivered { token: frame.token, at_ns: now });
        }
    }
}

impl<T: Copy> Port<T> {
    /// Every transmission that others hear now or will: when it began and when it ends, where it left.
    fn on_the_wire(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let sending = self.sending.iter().map(|sending| (sending.start, sending.end));
        self.tails.iter().map(|tail| (tail.start, tail.end)).chain(sending)
    }

    /// The first of the queue goes, and the next is first.
    fn next(&mut self, now: u64) -> Waiting<T> {
        (self.ready_ns, self.attempts) = (now, 0);
        self.queue.pop_front().expect("what was sent is the first of the queue")
    }
}
