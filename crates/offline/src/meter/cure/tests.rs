use plan::arbitrary::Random;
use plan::plan::Queue;
use plan::simulation::Framing;
use plan::tally::Given;
use plan::units::RATE_MIN;

use super::*;
use crate::timed::port::Port;

/// When, which side, frame octets.
type Frame = (u64, u16, u32);

/// How many frames a line of this capacity loses.
fn lost(frames: &[Frame], sides: usize, rate_bits: u64, buffer_bytes: u64) -> usize {
    lost_with(frames, sides, Queue { rate_bits, buffer_bytes }, 0)
}

/// How many frames a port loses that may send so much beyond its rate after a pause.
fn lost_with(frames: &[Frame], sides: usize, queue: Queue, stored_bytes: u64) -> usize {
    let mut port = Port::new(queue, Framing::ETHERNET, sides, stored_bytes);
    let dropped = frames.iter().filter(|(at, side, len)| {
        port.advance(*at, |_| ());
        port.offer(*at, *side, *len, || ()) == Given::Dropped
    });
    dropped.count()
}

fn cure(frames: &[Frame], sides: usize, rate_bits: u64, buffer_bytes: u64) -> Cure {
    let mut shadows = Shadows::new(sides, rate_bits, Some(buffer_bytes)).unwrap();
    for (at, side, len) in frames {
        shadows.offered(*at, usize::from(*side), *len, Framing::ETHERNET.wire_bytes(*len));
    }
    shadows.finish(true)
}

/// Phases of traffic at rates between none and three times 100 Mbit/s, with gaps at random, frames of one length or of
/// any; about 60 ms of it.
fn frames(random: &mut Random, sides: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for side in 0..sides {
        let mut now = 0u64;
        while now < 60_000_000 {
            let until = now + 100_000 + random.below(12_000_000) as u64;
            let share = random.below(300) as u64 / sides as u64;
            let fixed = random.one_in(2).then(|| 60 + random.below(1455));
            if share == 0 {
                now = until;
            }
            while now < until {
                let len = u32::try_from(fixed.unwrap_or_else(|| 60 + random.below(1455))).unwrap();
                let gap = u64::from(Framing::ETHERNET.wire_bytes(len)) * 8000 / share;
                now += gap / 2 + random.below(usize::try_from(gap).unwrap()) as u64;
                frames.push((now, u16::try_from(side).unwrap(), len));
            }
        }
    }
    frames.sort_unstable();
    frames
}

const RATE: u64 = 100_000_000;

#[test]
fn a_port_with_the_cure_loses_nothing_and_with_clearly_less_it_does() {
    let mut lossy = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let sides = [1, 1, 2, 2, 3, 8][usize::try_from(seed % 6).unwrap()];
        let buffer = 20_000 + random.below(200_000) as u64;
        let frames = frames(&mut random, sides);
        let cure = cure(&frames, sides, RATE, buffer);
        let at = format!("seed {seed}, {sides} sides, buffer {buffer}: {cure:?}");
        let rate = cure.rate_bits.expect("some rate is enough");
        assert_eq!(lost(&frames, sides, rate, buffer), 0, "{at}");
        assert_eq!(lost(&frames, sides, RATE, cure.buffer_bytes), 0, "{at}");
        lossy += usize::from(lost(&frames, sides, RATE, buffer) > 0);
        // What is kept in reserve: a frame of each side, and for the rate a batch and a half, each a 64th of the buffer.
        let spare = 1514 * sides as u64;
        let less = (cure.buffer_bytes - cure.buffer_bytes / 100).saturating_sub(spare + 1514);
        assert!(less < 1514 || lost(&frames, sides, RATE, less) > 0, "{at}");
        let buffer_less = (buffer - buffer / 32).saturating_sub(spare + 1514);
        let slower = rate - rate * 3 / 100;
        assert!(rate == RATE_MIN || lost(&frames, sides, slower, buffer_less) > 0, "{at}");
    }
    assert!(lossy > 20, "{lossy} of 60 lose anything");
}

#[test]
fn the_cure_is_enough_for_the_kernels_port_too() {
    for seed in 100..124 {
        let mut random = Random::new(seed);
        let sides = [1, 2, 2, 4][usize::try_from(seed % 4).unwrap()];
        let buffer = 20_000 + random.below(200_000) as u64;
        let frames = frames(&mut random, sides);
        let cure = cure(&frames, sides, RATE, buffer);
        let stored = crate::timed::kernel_stored_bytes(RATE);
        let more = Queue { rate_bits: RATE, buffer_bytes: cure.buffer_bytes };
        assert_eq!(lost_with(&frames, sides, more, stored), 0, "seed {seed}, {sides} sides: {cure:?}");
        let rate_bits = cure.rate_bits.unwrap();
        let faster = Queue { rate_bits, buffer_bytes: buffer };
        let stored = crate::timed::kernel_stored_bytes(rate_bits);
        assert_eq!(lost_with(&frames, sides, faster, stored), 0, "seed {seed}, {sides} sides: {cure:?}");
    }
}

#[test]
fn ninety_and_fifty_on_a_hundred_need_what_paper_says() {
    // 1476 octets and 24 of overhead: 1500 of wire. One second.
    let mut frames: Vec<Frame> = (0..7500).map(|number| (number * 1_200_000 / 9, 0, 1476)).collect();
    frames.extend((0..4167).map(|number| (number * 240_000, 1, 1476)));
    frames.sort_unstable();
    let cure = cure(&frames, 2, RATE, 1_000_000);
    // 40 Mbit/s of surplus for a second are 5 MB of wire, 4.92 MB of frames.
    assert!((4_900_000..4_940_000).contains(&cure.buffer_bytes), "{cure:?}");
    // All but 1 MB of frames must leave within the second: 140 Mbit/s - 8.13 Mbit/s, and 2 % at most.
    let rate = cure.rate_bits.unwrap();
    assert!((131_800_000..134_700_000).contains(&rate), "{cure:?}");
    assert_eq!(lost(&frames, 2, RATE, cure.buffer_bytes), 0);
    assert_eq!(lost(&frames, 2, rate, 1_000_000), 0);
}

#[test]
fn what_never_waits_needs_no_buffer() {
    let frames: Vec<Frame> = (0..100).map(|number| (number * 200_000, 0, 1476)).collect();
    let cure = cure(&frames, 1, RATE, 1_000_000);
    assert_eq!(cure.buffer_bytes, 0);
    assert_eq!(lost(&frames, 1, RATE, 0), 0);
    // 10 ms of 1500 octets each 200 us, less the buffer: any rate but the slowest.
    assert!(cure.rate_bits.unwrap() < 1_000_000);
}

#[test]
fn a_higher_rate_is_never_told_for_less_traffic() {
    let mut random = Random::new(7);
    let frames = frames(&mut random, 2);
    let half: Vec<Frame> = frames.iter().copied().step_by(2).collect();
    assert!(cure(&half, 2, RATE, 50_000).rate_bits <= cure(&frames, 2, RATE, 50_000).rate_bits);
}

#[test]
fn more_sides_than_a_plan_has_are_not_worked_out() {
    assert!(Shadows::new(16, RATE, None).is_some());
    assert!(Shadows::new(17, RATE, None).is_none());
}

#[test]
fn what_is_told_is_rounded_up_to_what_is_shown() {
    assert_eq!([0, 7, 9999, 10_001, 134_244_979].map(round_up), [0, 7, 9999, 10_010, 134_300_000]);
    assert_eq!(round_up(u64::MAX), u64::MAX);
}
