//! A world for tests: two ends, a tap between them, delays, losses, repetitions; and two clocks that differ.
//! Everything follows from a seed.

use wire::Frame;
use wire::capture::Timestamp;

/// SplitMix64.
pub(super) struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both included.
    pub fn within(&mut self, least: i64, most: i64) -> i64 {
        let span = u64::try_from(most - least).expect("least is not above most") + 1;
        least + i64::try_from(self.next() % span).expect("a span of nanoseconds")
    }

    pub fn percent(&mut self, of: u64) -> bool {
        self.next() % 100 < of
    }
}

/// What the world is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub seed: u64,
    pub conversations: usize,
    /// From each end to the tap, in nanoseconds; up to twice as much by chance.
    pub delay_ns: [i64; 2],
    /// Segments in a hundred that are lost behind the tap.
    pub lost: u64,
    /// Segments in a hundred that are repeated though they arrived.
    pub repeated: u64,
    /// Frames in a hundred that the tap does not see.
    pub missed: u64,
    /// Whether what one end says passes the tap in the order in which it was said.
    pub in_order: bool,
    /// Conversations in a hundred with the time stamps option.
    pub stamped: u64,
}

/// A frame on its own feet, when it truly passed the tap, in nanoseconds, and from which end.
pub(super) struct Passed {
    pub true_ns: i64,
    pub end: usize,
    pub data: Vec<u8>,
}

/// One half as its clock saw it.
pub(super) type Half = Vec<(Timestamp, Vec<u8>)>;

pub(super) fn frame(data: &[u8]) -> Frame<'_> {
    Frame::ethernet(data).expect("a frame of the model is short")
}

impl World {
    /// Everything that the tap saw, in order.
    pub fn run(&self) -> Vec<Passed> {
        let mut chance = Chance::new(self.seed);
        let mut passed = Vec::new();
        for number in 0..self.conversations {
            let begin = chance.within(0, 20_000_000_000);
            let number = u16::try_from(number).expect("few conversations");
            match chance.next() % 4 {
                0 => self.exchange(&mut chance, number, begin, &mut passed),
                _ => Talk::new(self, &mut chance, number).run(&mut chance, begin, &mut passed),
            }
        }
        passed.retain(|_| !chance.percent(self.missed));
        passed.sort_by_key(|passed| passed.true_ns);
        passed
    }

    /// From an end to the tap.
    fn delay_to_tap(&self, chance: &mut Chance, end: usize) -> i64 {
        if self.in_order { self.delay_ns[end] } else { self.delay(chance, end) }
    }

    fn delay(&self, chance: &mut Chance, end: usize) -> i64 {
        chance.within(self.delay_ns[end], self.delay_ns[end] * 2)
    }

    /// Queries of DNS with one identification, repeated until an answer comes.
    fn exchange(&self, chance: &mut Chance, number: u16, begin: i64, passed: &mut Vec<Passed>) {
        let client = usize::from(chance.percent(50));
        let (port, id) = (40_000 + number, u16::try_from(chance.next() & 0xffff).expect("16 bits"));
        let mut now = begin;
        loop {
            let at_tap = now + self.delay_to_tap(chance, client);
            passed.push(Passed { true_ns: at_tap, end: client, data: dns(client, port, id, false) });
            if !chance.percent(self.lost) {
                let reply = at_tap + self.delay(chance, 1 - client) + chance.within(1_000, 30_000_000);
                let at_tap = reply + self.delay_to_tap(chance, 1 - client);
                passed.push(Passed { true_ns: at_tap, end: 1 - client, data: dns(client, port, id, true) });
                return;
            }
            now += 1_000_000_000;
        }
    }
}

/// A conversation of TCP: bursts of data in turn, each acknowledged whole before the next.
struct Talk<'a> {
    world: &'a World,
    ports: [u16; 2],
    /// The next number of each end.
    next: [u32; 2],
    /// What each end's clock of milliseconds shows at 0.
    clock: [u32; 2],
    /// The time stamp that each end will echo.
    recent: [u32; 2],
    stamped: bool,
    version: u8,
}

struct Arrival {
    at: i64,
    index: usize,
    stamp: u32,
}

impl<'a> Talk<'a> {
    fn new(world: &'a World, chance: &mut Chance, number: u16) -> Self {
        // Half of them wrap within the first kilobytes.
        let mut start = || {
            let low = u32::try_from(chance.next() & 0xfff).expect("12 bits");
            if chance.percent(50) { 0_u32.wrapping_sub(low) } else { low << 18 }
        };
        let next = [start(), start()];
        let clock = [start(), start()];
        let version = if chance.percent(50) { 4 } else { 6 };
        let stamped = chance.percent(world.stamped);
        Self { world, ports: [1024 + number, 80], next, clock, recent: [0, 0], stamped, version }
    }

    fn run(mut self, chance: &mut Chance, begin: i64, passed: &mut Vec<Passed>) {
        let client = usize::from(chance.percent(50));
        let mut now = self.burst(chance, client, begin, &[1], 0x02, passed);
        let mut from = client;
        for _ in 0..chance.within(1, 12) {
            let sizes: Vec<u32> = (0..chance.within(1, 5))
                .map(|_| u32::try_from(chance.within(1, 1400)).expect("a size"))
                .collect();
            let begin = now + chance.within(0, 50_000_000);
            now = self.burst(chance, from, begin, &sizes, 0x10, passed);
            from = 1 - from;
        }
    }

    fn tick(&self, end: usize, at: i64) -> u32 {
        self.clock[end].wrapping_add(u32::try_from(at / 1_000_000).expect("less than a month"))
    }

    fn pass(&mut self, chance: &mut Chance, out: Out, passed: &mut Vec<Passed>) -> i64 {
        let at_tap = out.at + self.world.delay_to_tap(chance, out.end);
        let stamps = self.stamped.then(|| (self.tick(out.end, out.at), out.echo));
        let data = tcp(self.version, out.end, self.ports, &out, stamps);
        passed.push(Passed { true_ns: at_tap, end: out.end, data });
        at_tap
    }

    /// Sends segments of these sizes, and gives the time at which the last acknowledgement has arrived.
    fn burst(
        &mut self,
        chance: &mut Chance,
        end: usize,
        begin: i64,
        sizes: &[u32],
        flags: u8,
        passed: &mut Vec<Passed>,
    ) -> i64 {
        let (other, first) = (1 - end, self.next[end]);
        let mut arrivals = Vec::new();
        let mut at = begin;
        let mut sequence = first;
        for (index, size) in sizes.iter().enumerate() {
            let mut repeat = at;
            loop {
                let acknowledged = self.next[other];
                let echo = self.recent[end];
                let out = Out { at: repeat, end, sequence, size: *size, acknowledged, flags, echo };
                let at_tap = self.pass(chance, out, passed);
                let is_lost = chance.percent(self.world.lost);
                if !is_lost {
                    let at = at_tap + self.world.delay(chance, other);
                    arrivals.push(Arrival { at, index, stamp: self.tick(end, repeat) });
                    if !chance.percent(self.world.repeated) {
                        break;
                    }
                }
                repeat += 200_000_000 + chance.within(0, 100_000_000);
            }
            sequence = sequence.wrapping_add(*size);
            at += chance.within(1_000, 3_000_000);
        }
        self.next[end] = sequence;
        self.acknowledge(chance, end, (first, sizes), arrivals, flags, passed)
    }

    /// The other end acknowledges what has arrived, at once or a little later.
    fn acknowledge(
        &mut self,
        chance: &mut Chance,
        end: usize,
        (first, sizes): (u32, &[u32]),
        mut arrivals: Vec<Arrival>,
        flags: u8,
        passed: &mut Vec<Passed>,
    ) -> i64 {
        arrivals.sort_by_key(|arrival| arrival.at);
        let mut have = vec![false; sizes.len()];
        let (mut contiguous, mut done) = (0, 0);
        let last = arrivals.len() - 1;
        for (number, arrival) in arrivals.iter().enumerate() {
            // RFC 7323, section 4.3: of the segment at the left edge.
            if arrival.index <= contiguous {
                self.recent[1 - end] = arrival.stamp;
            }
            have[arrival.index] = true;
            contiguous = have.iter().take_while(|have| **have).count();
            done = arrival.at;
            // An acknowledgement may wait for the next segment.
            let next_is_near = arrivals.get(number + 1).is_some_and(|next| next.at - arrival.at < 30_000_000);
            if number < last && next_is_near && chance.percent(40) {
                continue;
            }
            let acknowledged = first.wrapping_add(sizes[..contiguous].iter().sum());
            let (echo, sequence) = (self.recent[1 - end], self.next[1 - end]);
            let at = arrival.at + chance.within(1_000, 20_000);
            let (size, flags) = if flags == 0x02 { (1, 0x12) } else { (0, 0x10) };
            let out = Out { at, end: 1 - end, sequence, size, acknowledged, flags, echo };
            let at_tap = self.pass(chance, out, passed);
            done = done.max(at_tap + self.world.delay(chance, end));
            if flags == 0x12 {
                self.next[1 - end] = sequence.wrapping_add(1);
                self.recent[end] = self.tick(1 - end, at);
                break;
            }
        }
        done
    }
}

struct Out {
    at: i64,
    end: usize,
    sequence: u32,
    size: u32,
    acknowledged: u32,
    flags: u8,
    echo: u32,
}

fn ip(version: u8, from: usize, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![2; 12];
    let len = u16::try_from(payload.len()).expect("short");
    let ends = [u8::try_from(from).expect("0 or 1"), u8::try_from(1 - from).expect("0 or 1")];
    if version == 4 {
        data.extend([0x08, 0x00, 0x45, 0]);
        data.extend((len + 20).to_be_bytes());
        data.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        ends.iter().for_each(|end| data.extend([10, 0, 0, 1 + end]));
    } else {
        // Behind a tag.
        data.extend([0x81, 0x00, 0, 7, 0x86, 0xdd, 0x60, 0, 0, 0]);
        data.extend(len.to_be_bytes());
        data.extend([protocol, 64]);
        ends.iter()
            .for_each(|end| data.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 + end]));
    }
    data.extend(payload);
    data
}

fn tcp(version: u8, from: usize, ports: [u16; 2], out: &Out, stamps: Option<(u32, u32)>) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(ports[from].to_be_bytes());
    segment.extend(ports[1 - from].to_be_bytes());
    segment.extend(out.sequence.to_be_bytes());
    let acknowledged = if out.flags & 0x10 == 0 { 0 } else { out.acknowledged };
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([if stamps.is_some() { 0x80 } else { 0x50 }, out.flags, 0xff, 0xff, 0, 0, 0, 0]);
    if let Some((value, echo)) = stamps {
        segment.extend([1, 1, 8, 10]);
        segment.extend(value.to_be_bytes());
        segment.extend(echo.to_be_bytes());
    }
    let payload = if out.flags & 0x02 != 0 { 0 } else { out.size };
    segment.extend(std::iter::repeat_n(0xa5, usize::try_from(payload).expect("short")));
    ip(version, from, 6, &segment)
}

pub(super) fn dns(client: usize, port: u16, id: u16, reply: bool) -> Vec<u8> {
    let (from, to) = if reply { (53, port) } else { (port, 53) };
    let mut datagram: Vec<u8> = Vec::new();
    datagram.extend(from.to_be_bytes());
    datagram.extend(to.to_be_bytes());
    datagram.extend([0, 25, 0, 0]);
    datagram.extend(id.to_be_bytes());
    datagram.extend([if reply { 0x81 } else { 0x01 }, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
    ip(4, if reply { 1 - client } else { client }, 17, &datagram)
}

/// What two clocks made of it: that of half 0 is right, to the times of half 1 must be added `offset_ns`, and
/// `drift_ppb` for each second since its first frame.
pub(super) fn halves(passed: &[Passed], offset_ns: i64, drift_ppb: i64) -> [Half; 2] {
    let mut halves = [Vec::new(), Vec::new()];
    let first = passed.iter().find(|passed| passed.end == 1).map_or(0, |passed| passed.true_ns);
    for Passed { true_ns, end, data } in passed {
        let time = if *end == 0 {
            i128::from(*true_ns)
        } else {
            let since = i128::from(true_ns - first) * 1_000_000_000 / (1_000_000_000 + i128::from(drift_ppb));
            i128::from(first - offset_ns) + since
        };
        halves[*end].push((Timestamp(time + 1_700_000_000_000_000_000), data.clone()));
    }
    halves
}
