//! What `simulate` says of a config is what the kernel does with it: the same load live and in virtual time.
//!
//! How much is lost is compared by `TAPWRIGHT_TIMED=1` alone, for longer, on a machine of one's own (see the tests of
//! rates). Where a host takes the processors away for milliseconds, neither senders nor the port keep their pace.
//! Everywhere both account for each frame, neither gives more than rate and buffers hold, what the buffers hold is
//! not lost, and the same side loses most.

use std::time::{Duration, Instant};

use offline::{Look, Outputs, simulate};
use plan::simulation::{Pattern, Simulation, Size, Traffic};
use proof::device::{Attach, PORT_AGGREGATOR};
use proof::rig::Rig;
use proof::sender::{Pace, send_at_pace, uniform};

/// The sides, by the names of the ports and of the senders.
const SIDES: [(&str, u8); 2] = [("a", 1), ("b", 2)];

/// A load, and the port that it meets.
struct Load {
    rate_mbit_s: u64,
    /// Octets without FCS.
    frame_bytes: usize,
    /// Offered by the sides, per cent of the rate.
    percent: [u64; 2],
    /// Long enough to be measured.
    timed: Duration,
    /// Long enough to lose frames, where any are to be lost.
    short: Duration,
}

/// Whether what is lost is compared.
fn timed() -> bool {
    std::env::var_os("TAPWRIGHT_TIMED").is_some()
}

/// Octets that wait of each side at most: where the load is short, so few that they fill soon.
fn buffer_bytes() -> u64 {
    if timed() { 1 << 20 } else { 256 << 10 }
}

impl Load {
    fn duration(&self) -> Duration {
        if timed() { self.timed } else { self.short }
    }

    fn rate_bits_s(&self) -> u64 {
        self.rate_mbit_s * 1_000_000
    }

    fn paces(&self) -> [Pace; 2] {
        let Self { rate_mbit_s, frame_bytes, .. } = *self;
        let duration = self.duration();
        self.percent.map(|percent| Pace {
            wire_bits_s: rate_mbit_s * 10_000 * percent,
            frame_bytes,
            duration,
        })
    }

    /// Frames by side.
    fn frames(&self) -> [u64; 2] {
        self.paces().map(|pace| pace.frames())
    }

    /// What buffers alone hold of each side, in frames.
    fn waits(&self) -> u64 {
        buffer_bytes() / u64::try_from(self.frame_bytes).expect("short")
    }

    /// Frames that come through at most if all are sent within a span: the rate, what an idle port saves up for each
    /// side, and both buffers.
    fn most(&self, span: Duration) -> u64 {
        let bits = u128::from(self.rate_bits_s()) * span.as_nanos() / 1_000_000_000;
        let served = u64::try_from(bits / 8).expect("seconds") + 2 * stored_bytes(self);
        served / self.paces()[0].wire_bytes() + 2 * (self.waits() + 1)
    }
}

fn stored_bytes(load: &Load) -> u64 {
    offline::kernel_stored_bytes(load.rate_bits_s())
}

/// What was sent, and lost by side.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    sent: u64,
    dropped: [u64; 2],
}

impl Outcome {
    fn of(status: &plan::ledger::Status) -> Self {
        assert_eq!(status.unaccounted, 0, "{status}");
        let monitor = &status.monitors["m1"];
        assert_eq!((monitor.queued, monitor.dropped.device), (0, 0), "{status}");
        Self { sent: monitor.sent, dropped: SIDES.map(|(side, _)| monitor.dropped.buffer[side]) }
    }

    fn offered(&self) -> u64 {
        self.sent + self.dropped.iter().sum::<u64>()
    }

    /// Whether two are within 2 per cent: of what was sent, and of what was lost altogether.
    fn is_near(&self, other: &Self) -> bool {
        let near = |x: u64, y: u64, of: u64| x.abs_diff(y) * 50 <= of;
        let all = self.dropped.iter().sum::<u64>().max(other.dropped.iter().sum());
        near(self.sent, other.sent, self.sent)
            && self.dropped.iter().zip(&other.dropped).all(|(x, y)| near(*x, *y, all))
    }
}

/// What the kernel did.
struct Live {
    outcome: Outcome,
    /// How long each side took to send.
    took: [Duration; 2],
    /// From before the first frame until after the last: senders do not start together.
    span: Duration,
}

/// The load on the kernel.
fn live(config: &str, load: &Load) -> Live {
    let rig = Rig::new(&PORT_AGGREGATOR.cables(), 1500);
    rig.up(config);
    let start = Instant::now();
    let took = std::thread::scope(|scope| {
        let senders = [0, 1].map(|at| {
            let ((port, sender), pace, rig) = (SIDES[at], load.paces()[at], &rig);
            scope.spawn(move || send_at_pace(rig, port, pace, &uniform(sender, pace.frame_bytes)))
        });
        senders.map(|sender| sender.join().expect("a sender ends"))
    });
    let span = start.elapsed();
    let outcome = Outcome::of(&rig.settled());
    rig.down();
    Live { outcome, took, span }
}

/// The same config and load in virtual time, at the pace that the senders kept.
fn predicted(config: &str, load: &Load, took: [Duration; 2]) -> Outcome {
    let (plan, _) = plan::compile("predict.toml", config).expect("it was up");
    let ns = |span: Duration| u64::try_from(span.as_nanos()).expect("seconds");
    let traffic = |((port, _), (pace, took)): ((&str, u8), (Pace, Duration))| {
        let bits = pace.frames() * pace.wire_bytes() * 8;
        let rate_bits = u64::try_from(u128::from(bits) * 1_000_000_000 / took.as_nanos()).expect("megabits");
        let size = Size::Fixed(u32::try_from(pace.frame_bytes).expect("short"));
        let at = plan.point(port).expect("a port of the device");
        let pattern = Pattern::Constant { rate_bits, size };
        Traffic { at, pattern, from_ns: 0, until_ns: Some(ns(took)), flows: 1, errors_ppm: 0 }
    };
    let traffic = SIDES.into_iter().zip(load.paces().into_iter().zip(took)).map(traffic).collect();
    let simulation = Simulation { traffic, stored_bytes: stored_bytes(load), ..Simulation::default() };
    let look = Look::Nowhere;
    let simulated = simulate(&plan, &simulation, Vec::new(), Outputs::default(), look, |_| ());
    Outcome::of(&simulated.expect("it can be simulated").report.ledger)
}

fn compare(load: &Load) {
    let _alone = proof::alone();
    let keys = format!(", rate = \"{}Mbit\", buffer = \"{}KiB\"", load.rate_mbit_s, buffer_bytes() / 1024);
    let config = PORT_AGGREGATOR.config_with(Attach::Tcx, &keys);
    let Live { outcome: live, took, span } = live(&config, load);
    let predicted = predicted(&config, load, took);
    let on_paper = self::predicted(&config, load, [load.duration(); 2]);
    let Load { rate_mbit_s, frame_bytes, percent, .. } = load;
    let what = format!(
        "{rate_mbit_s} Mbit/s, {frame_bytes} octets, {percent:?} %, took {took:?} of {span:?}: live {live:?}, \
         simulated {predicted:?}, at the nominal pace {on_paper:?}"
    );
    println!("{what}");
    holds_on_any_machine(load, live, predicted, span, &what);
    if timed() {
        assert!(live.is_near(&predicted), "{what}");
    }
}

/// What a processor that is taken away cannot change.
fn holds_on_any_machine(load: &Load, live: Outcome, predicted: Outcome, span: Duration, what: &str) {
    let frames = load.frames();
    let all: u64 = frames.iter().sum();
    assert_eq!(live.offered(), all, "each frame came through or is counted: {what}");
    // The rates of virtual time are whole bits a second.
    assert!(predicted.offered().abs_diff(all) <= 2, "the same frames are offered: {what}");
    let most = load.most(span);
    assert!(live.sent <= most && predicted.sent <= most, "no more than {most} fit: {what}");
    if frames.iter().all(|frames| *frames <= load.waits()) {
        assert_eq!((live.dropped, predicted.dropped), ([0, 0], [0, 0]), "buffers hold all of it: {what}");
    }
    // However often the port is stopped, half of what is predicted comes through.
    assert!(live.sent * 2 >= predicted.sent, "far less came through than predicted: {what}");
    if predicted.dropped[0] > predicted.dropped[1] {
        assert!(live.dropped[0] > live.dropped[1], "the side that is to lose most lost less: {what}");
    }
}

#[test]
fn privileged_the_chapters_burst_is_predicted() {
    compare(&Load {
        rate_mbit_s: 100,
        frame_bytes: 1514,
        percent: [90, 50],
        timed: Duration::from_secs(10),
        short: Duration::from_secs(1),
    });
}

#[test]
fn privileged_a_load_that_fits_is_predicted() {
    compare(&Load {
        rate_mbit_s: 100,
        frame_bytes: 1514,
        percent: [30, 50],
        timed: Duration::from_secs(3),
        short: Duration::from_millis(40),
    });
}

#[test]
fn privileged_two_sides_above_their_share_are_predicted() {
    compare(&Load {
        rate_mbit_s: 100,
        frame_bytes: 1514,
        percent: [110, 70],
        timed: Duration::from_secs(6),
        short: Duration::from_secs(1),
    });
}

#[test]
fn privileged_small_frames_are_predicted() {
    compare(&Load {
        rate_mbit_s: 20,
        frame_bytes: 60,
        percent: [90, 50],
        timed: Duration::from_secs(12),
        short: Duration::from_millis(1500),
    });
}
