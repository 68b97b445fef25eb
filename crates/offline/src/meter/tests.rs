use std::path::Path;

use plan::arbitrary::Random;
use plan::plan::Queue;
use plan::tally::Given;

use super::*;
use crate::timed::port::Port;

/// When, which side, frame octets.
type Frame = (u64, u16, u32);

/// What happened to a frame: `None` where it was dropped, else when its transmission began.
type Fate = Option<u64>;

fn spec(sides: usize, rate_bits: u64, buffer_bytes: u64) -> Spec {
    Spec {
        name: "ids".into(),
        sides: (0..sides).map(|side| format!("s{side}")).collect(),
        rate_bits: Some(rate_bits),
        line_bits: None,
        buffer_bytes: Some(buffer_bytes),
        framing: Framing::NONE,
        cure: true,
        plots: true,
    }
}

/// A port under a meter: what the meter says, and what became of each frame.
fn through(frames: &[Frame], spec: Spec) -> (Measured, Vec<Fate>) {
    let queue = Queue { rate_bits: spec.rate_bits.unwrap(), buffer_bytes: spec.buffer_bytes.unwrap() };
    let mut port: Port<usize> = Port::new(queue, spec.framing, spec.sides.len(), 0);
    let mut meter = PortMeter::new(spec);
    let mut fates = vec![None; frames.len()];
    let advance = |port: &mut Port<usize>, meter: &mut PortMeter, now: u64, fates: &mut Vec<Fate>| {
        port.advance(now, |it| {
            fates[it.item] = Some(it.at_ns);
            meter.departed(it.arrived_ns, it.at_ns, it.side, it.frame_bytes);
            meter.depth(it.at_ns, it.side, it.waiting_bytes);
        });
    };
    for (number, (at, side, len)) in frames.iter().enumerate() {
        advance(&mut port, &mut meter, *at, &mut fates);
        meter.offered(*at, *side, *len, *len);
        match port.offer(*at, *side, *len, || number) {
            Given::Sent => {
                fates[number] = Some(*at);
                meter.departed(*at, *at, *side, *len);
            }
            Given::Queued => meter.depth(*at, *side, port.depth_bytes(*side)),
            Given::Dropped | Given::Lost | Given::Failed(_) => meter.dropped(*at, *side, *len),
        }
    }
    advance(&mut port, &mut meter, u64::MAX, &mut fates);
    (meter.finish(0), fates)
}

fn frames(random: &mut Random, sides: usize) -> Vec<Frame> {
    let mut now = 5_000_000;
    let mut frame = |_| {
        now += if random.one_in(100) { 4_000_000 } else { random.below(100_000) as u64 };
        (now, u16::try_from(random.below(sides)).unwrap(), u32::try_from(14 + random.below(1500)).unwrap())
    };
    (0..2000).map(&mut frame).collect()
}

/// Octets of a side (of all where it is `None`) that wait after everything that happens at each moment of any event.
fn waiting(frames: &[Frame], fates: &[Fate], side: Option<u16>) -> Vec<(u64, u64)> {
    let mine = frames.iter().zip(fates).filter(|((_, of, _), _)| side.is_none_or(|side| side == *of));
    let mine: Vec<(u64, u64, u64)> =
        mine.filter_map(|((at, _, len), fate)| Some((*at, (*fate)?, u64::from(*len)))).collect();
    let mut moments: Vec<u64> = mine.iter().flat_map(|(at, left, _)| [*at, *left]).collect();
    moments.sort_unstable();
    moments.dedup();
    let at = |now: u64| mine.iter().filter(|(at, left, _)| *at <= now && now < *left).map(|it| it.2).sum();
    moments.into_iter().map(|now| (now, at(now))).collect()
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "a relative error")]
fn a_report_is_what_brute_force_says() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let sides = 1 + random.below(3);
        let frames = frames(&mut random, sides);
        let (measured, fates) = through(&frames, spec(sides, 70_000_000, 30_000));
        let report = measured.report;
        assert_eq!((report.from_ns, report.total.offered.frames), (frames[0].0, 2000));
        // Means are from 0 on, though the first frame comes later.
        let span = frames[1999].0;
        for side in (0..u16::try_from(sides).unwrap()).map(Some).chain([None]) {
            let measures = side.map_or(&report.total, |side| &report.sides[usize::from(side)].measures);
            let mine = |(frame, _): &(&Frame, &Fate)| side.is_none_or(|side| side == frame.1);
            let mine: Vec<(&Frame, &Fate)> = frames.iter().zip(&fates).filter(mine).collect();
            let lost: Vec<&Frame> = mine.iter().filter(|(_, fate)| fate.is_none()).map(|it| it.0).collect();
            assert_eq!(measures.dropped.frames, lost.len() as u64);
            assert_eq!(measures.dropped.bytes, lost.iter().map(|frame| u64::from(frame.2)).sum::<u64>());
            assert_eq!(measures.dropped.first_ns, lost.first().map(|frame| frame.0));
            assert_eq!(measures.dropped.last_ns, lost.last().map(|frame| frame.0));
            assert_eq!(measures.carried.frames + measures.dropped.frames, measures.offered.frames);
            let before = mine.iter().filter(|(frame, _)| frame.0 < frames[1999].0);
            let octets: u64 = before.map(|(frame, _)| u64::from(frame.2)).sum();
            assert_eq!(measures.offered.mean_bits, octets * 8_000_000_000 / span, "seed {seed}");

            let waiting = waiting(&frames, &fates, side);
            let deepest = waiting.iter().map(|it| it.1).max().unwrap();
            // What comes and leaves in the same moment was there in between: a frame at most.
            let told = measures.queue.deepest_bytes;
            assert!((deepest..deepest + 1514).contains(&told), "seed {seed}, {side:?}: {told}, {deepest}");
            let busy = waiting.windows(2).filter(|pair| pair[0].1 > 0).map(|pair| pair[1].0 - pair[0].0);
            assert_eq!(measures.queue.waiting_ns, busy.sum::<u64>(), "seed {seed}, {side:?}");

            let took = mine.iter().filter_map(|(frame, fate)| Some((**fate)? - frame.0));
            let mut took: Vec<u64> = took.collect();
            took.sort_unstable();
            let delay = measures.delay.unwrap();
            let exact = |per_mille: usize| took[(took.len() * per_mille).div_ceil(1000) - 1];
            for (told, exact) in [(delay.p50_ns, exact(500)), (delay.p99_ns, exact(990))] {
                let error = told.abs_diff(exact) as f64 / exact.max(1) as f64;
                assert!(error <= delay.relative_error, "seed {seed}, {side:?}: {told}, {exact}");
            }
            assert_eq!(Some(&delay.max_ns), took.last());
        }
        assert!(report.total.dropped.frames > 20, "seed {seed}: {:?}", report.total.dropped);
    }
}

#[test]
fn bins_of_a_series_add_up_and_are_bounded() {
    let mut random = Random::new(3);
    let frames = frames(&mut random, 2);
    let (measured, _) = through(&frames, spec(2, 70_000_000, 30_000));
    let (report, series) = (measured.report, measured.series.unwrap());
    for (side, told) in series.sides.iter().zip(&report.sides) {
        let sum = |bins: &[u64]| bins.iter().sum::<u64>();
        let measures = &told.measures;
        assert_eq!(sum(&side.offered), measures.offered.wire_bytes);
        assert_eq!(sum(&side.carried), measures.carried.bytes);
        assert_eq!(sum(&side.dropped), measures.dropped.frames);
        assert_eq!(side.deepest.iter().max(), Some(&measures.queue.deepest_bytes));
        assert!((500..=1000).contains(&side.offered.len()), "{}", side.offered.len());
        let lengths = [&side.carried, &side.dropped, &side.deepest].map(Vec::len);
        assert_eq!(lengths, [side.offered.len(); 3]);
        // The first loss is in the bin that it is said to be in.
        let first = (measures.dropped.first_ns.unwrap() - series.from_ns) / series.width_ns;
        assert_eq!(side.dropped.iter().position(|lost| *lost > 0), usize::try_from(first).ok());
    }
}

#[test]
fn the_peak_of_each_millisecond_is_in_the_bin_where_it_began() {
    let mut meter = PortMeter::new(spec(1, 8_000_000, 5000));
    // Frame n comes n^2 / 100 ms after the first: more in early milliseconds than in late ones.
    let at = |number: u64| 7_000_000 + number * number * 10_000;
    (0..1000).for_each(|number| meter.offered(at(number), 0, 100, 100));
    let series = meter.finish(0).series.unwrap();
    assert!(series.width_ns > 1_000_000, "{}", series.width_ns);
    let mut exact = vec![0; series.peaks.len()];
    for millisecond in 0..10_000u64 {
        let from = 7_000_000 + millisecond * 1_000_000;
        let frames = (0..1000).filter(|number| (from..from + 1_000_000).contains(&at(*number))).count();
        let bin = usize::try_from((7_000_000 + millisecond * 1_000_000) / series.width_ns).unwrap();
        if let Some(most) = exact.get_mut(bin) {
            *most = (frames as u64 * 100).max(*most);
        }
    }
    assert_eq!(series.peaks, exact);
}

#[test]
fn what_waits_through_bins_without_events_is_seen_in_them() {
    let mut meter = PortMeter::new(Spec { plots: true, ..spec(1, 8_000_000, 5000) });
    meter.offered(0, 0, 1000, 1000);
    meter.depth(0, 0, 700);
    meter.depth(900_000, 0, 0);
    let series = meter.finish(2_000_000).series.unwrap();
    let deep = |ns: u64| series.sides[0].deepest[usize::try_from(ns / series.width_ns).unwrap()];
    assert_eq!([0, 300_000, 899_000, 950_000, 1_900_000].map(deep), [700, 700, 700, 0, 0]);
}

#[test]
fn a_side_that_is_not_there_counts_for_the_last() {
    let mut meter = PortMeter::new(Spec::default());
    meter.offered(0, 7, 60, 84);
    let report = meter.finish(0).report;
    assert_eq!((report.sides.len(), report.sides[0].measures.offered.frames), (1, 1));
    assert_eq!(report.cure, None);
}

#[test]
fn a_meter_that_saw_nothing_says_so() {
    let measured = PortMeter::new(Spec { cure: true, ..spec(2, 1_000_000, 1000) }).finish(7);
    assert_eq!(measured.report.total, Measures::default().with_percent(Some(0.0)));
    assert_eq!((measured.report.from_ns, measured.report.until_ns), (7, 7));
}

impl Measures {
    fn with_percent(mut self, percent: Option<f64>) -> Self {
        self.queue.percent_of_buffer = percent;
        self
    }
}

/// A second of silence, and then 140 Mbit/s on 100 for a tenth of one: on average 13 Mbit/s.
#[test]
fn a_burst_at_the_end_is_no_load_that_goes_on_for_good() {
    let frames: Vec<Frame> =
        (0..1167).map(|number| (1_000_000_000 + number * 600_000 / 7, 0, 1500)).collect();
    let report = through(&frames, spec(1, 100_000_000, 100_000)).0.report;
    assert!(report.total.dropped.frames > 0);
    assert!((12_000_000..13_000_000).contains(&report.total.offered.mean_bits), "{report}");
    assert!(report.cure.unwrap().lasting && !report.to_string().contains("for good"), "{report}");
    // Moments are told from 0, not from the first frame.
    assert!(
        report.total.dropped.first_ns > Some(1_000_000_000) && report.to_string().contains(" 1.0"),
        "{report}"
    );
    assert!(report.to_string().lines().nth(1).unwrap().ends_with("1.100 s"), "{report}");
    // The load alone, with the times of a capture: from its first frame.
    let alone = of_load(spec(1, 100_000_000, 100_000), frames);
    assert!((139_000_000..141_000_000).contains(&alone.total.offered.mean_bits), "{alone}");
    assert!(!alone.cure.unwrap().lasting && alone.to_string().contains("for good"), "{alone}");
}

#[test]
fn a_port_that_lost_nothing_is_asked_for_no_more_than_it_has() {
    // 140 Mbit/s for as long as the buffer just holds, whatever the reserves of the cure say.
    let frames: Vec<Frame> =
        (0..100).map(|number| (number * 600_000 / 7, u16::from(number % 2 == 1), 1500)).collect();
    let alone = of_load(spec(2, 100_000_000, 22_500), frames.iter().copied());
    assert!(alone.cure.unwrap().buffer_bytes > 22_500 && alone.cure.unwrap().rate_bits > Some(100_000_000));
    let report = through(&frames, spec(2, 100_000_000, 22_500)).0.report;
    assert_eq!(report.total.dropped.frames, 0, "{report}");
    let cure = report.cure.unwrap();
    assert_eq!((cure.rate_bits, cure.buffer_bytes), (Some(100_000_000), 22_500));
    let said = "ids: 100 Mbit/s with this buffer would be enough, and 22.50 kB a side at this rate\n";
    assert!(report.to_string().ends_with(said), "{report}");
}

#[test]
fn where_the_line_is_the_limit_it_is_named() {
    let frames: Vec<Frame> = (0..1167).map(|number| (number * 600_000 / 7, 0, 1500)).collect();
    let spec = Spec { line_bits: Some(100_000_000), ..spec(1, 100_000_000, 20_000) };
    let text = through(&frames, spec).0.report.to_string();
    let has = [
        "Mbit/s (on a line faster than its 100 Mbit/s) with this buffer",
        "100 Mbit/s leave, all that its line takes\n",
    ];
    assert!(has.iter().all(|part| text.contains(part)), "{text}");
}

/// Ninety and fifty on a hundred for half a second, and thirty and fifty: the tables.
#[test]
fn the_golden_tables() {
    let mut frames: Vec<Frame> = (0..3750).map(|number| (number * 1_200_000 / 9, 0, 1500)).collect();
    frames.extend((0..2084).map(|number| (number * 240_000, 1, 1500)));
    frames.sort_unstable();
    let (measured, _) = through(&frames, spec(2, 100_000_000, 1_000_000));
    let quiet: Vec<Frame> = frames.iter().copied().filter(|frame| frame.1 == 1).collect();
    let (mut other, _) = through(&quiet, spec(2, 100_000_000, 1_000_000));
    other.report.name = "recorder".into();
    let text = Reports(&[measured.report, other.report]).to_string();
    let mut golden = corpus::Golden::from_environment();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/meter");
    golden.check(&folder.join("golden.txt"), &text);
    golden.finish();
}
