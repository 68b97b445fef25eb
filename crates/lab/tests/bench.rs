//! The odd frames through a tap on the bench, both ways: byte for byte at the far end and at the sensor. Needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use lab::bench::{Bench, BenchSpec};
use lab::capture::Capture;
use lab::enterprise::End;
use lab::frames::{CUT_AT_TAG, OddFrame, odd};
use lab::network::CableSpec;

const NEEDS_ROOT: &str = "this test makes network namespaces: run it as root";

fn plan(attach: &str) -> plan::plan::Plan {
    let text = format!(
        "[ports]\na = {{ interface = \"a\", attach = \"{attach}\" }}\nb = {{ interface = \"b\", attach = \"{attach}\" }}\n\
         m = \"m1\"\n\n[[device]]\nname = \"link\"\nkind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"m\"]\n"
    );
    plan::compile("bench.toml", &text).expect("the config is right").0
}

/// Drains until `count` frames have come in, or too long has passed.
fn incoming(capture: &mut Capture, count: usize) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let came = |capture: &Capture| capture.frames().iter().filter(|frame| !frame.outgoing).count();
    while came(capture) < count && Instant::now() < deadline {
        capture.drain().unwrap();
        std::thread::yield_now();
    }
    capture.take().into_iter().filter(|frame| !frame.outgoing).map(|frame| frame.bytes).collect()
}

/// The first frame that differs, by name.
fn first_difference<'a>(sent: &'a [OddFrame], came: &[Vec<u8>]) -> Option<&'a str> {
    let differs = sent.iter().zip(came).find(|(sent, came)| sent.bytes != **came);
    differs.map(|(sent, _)| sent.name.as_str())
}

fn crosses_untouched(attach: &str, mtu: u32, frames: &[OddFrame]) {
    let spec = BenchSpec { monitors: 1, cable: CableSpec { mtu, queues: 0 } };
    let bench = Bench::new(spec).expect(NEEDS_ROOT);
    if attach == "xdp" {
        bench.prepare_for_xdp().unwrap();
    }
    let plan = plan(attach);
    let up = bench.on_tap(|sys| engine::up(sys, &plan, "bench.toml")).unwrap();
    up.unwrap_or_else(|error| panic!("{attach}: {error}"));
    let bytes: Vec<&[u8]> = frames.iter().map(|frame| frame.bytes.as_slice()).collect();
    let mut sensor = bench.capture(&Bench::sensor(1)).unwrap();
    for (from, to) in [(Bench::left(), Bench::right()), (Bench::right(), Bench::left())] {
        let mut far: Capture = bench.capture(&to).unwrap();
        // Small batches: a sender without a queue is faster than the receiver's backlog.
        for batch in bytes.chunks(32) {
            send(&bench, &from, batch);
        }
        for (place, capture) in [("far end", &mut far), ("sensor", &mut sensor)] {
            let came = incoming(capture, frames.len());
            assert_eq!(first_difference(frames, &came), None, "{attach}, {from}, {place}");
            assert_eq!(came.len(), frames.len(), "{attach}, {from}, {place}");
        }
    }
    let status = bench.on_tap(engine::status).unwrap().unwrap();
    let both_ways = 2 * u64::try_from(frames.len()).unwrap();
    assert_eq!((status.unaccounted, status.monitors["m"].sent), (0, both_ways), "{status}");
}

fn send(bench: &Bench, from: &End, batch: &[&[u8]]) {
    bench.send(from, batch).unwrap();
}

fn that_fit(mtu: u32) -> Vec<OddFrame> {
    odd().into_iter().filter(|frame| frame.fits(mtu) && frame.name != CUT_AT_TAG).collect()
}

#[test]
fn the_odd_frames_cross_tcx_and_clsact_untouched() {
    for attach in ["tcx", "clsact"] {
        crosses_untouched(attach, 1500, &that_fit(1500));
    }
}

#[test]
fn jumbo_frames_cross_tcx_untouched() {
    crosses_untouched("tcx", 9000, &that_fit(9000));
}

#[test]
fn the_odd_frames_cross_xdp_untouched() {
    crosses_untouched("xdp", 1500, &that_fit(1500));
}
