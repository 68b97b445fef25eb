//! What `simulate` says of a config is what the kernel does with it: the same load live and in virtual time.
//!
//! How much is lost is compared by `TAPWRIGHT_TIMED=1` alone, on a machine of one's own (see the tests of rates). Where
//! a host takes the processors away for milliseconds, neither senders nor the port keep their pace.

use std::time::Duration;

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
    duration: Duration,
}

impl Load {
    fn paces(&self) -> [Pace; 2] {
        let Self { rate_mbit_s, frame_bytes, duration, .. } = *self;
        self.percent.map(|percent| Pace {
            wire_bits_s: rate_mbit_s * 10_000 * percent,
            frame_bytes,
            duration,
        })
    }
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

    /// Whether two are within 2 per cent: of what was sent, and of what was lost altogether.
    fn is_near(&self, other: &Self) -> bool {
        let near = |x: u64, y: u64, of: u64| x.abs_diff(y) * 50 <= of;
        let all = self.dropped.iter().sum::<u64>().max(other.dropped.iter().sum());
        near(self.sent, other.sent, self.sent)
            && self.dropped.iter().zip(&other.dropped).all(|(x, y)| near(*x, *y, all))
    }
}

/// The load on the kernel; and how long each side took to send it.
fn live(config: &str, load: &Load) -> (Outcome, [Duration; 2]) {
    let rig = Rig::new(&PORT_AGGREGATOR.cables(), 1500);
    rig.up(config);
    let took = std::thread::scope(|scope| {
        let senders = [0, 1].map(|at| {
            let ((port, sender), pace, rig) = (SIDES[at], load.paces()[at], &rig);
            scope.spawn(move || send_at_pace(rig, port, pace, &uniform(sender, pace.frame_bytes)))
        });
        senders.map(|sender| sender.join().expect("a sender ends"))
    });
    let outcome = Outcome::of(&rig.settled());
    rig.down();
    (outcome, took)
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
    let stored_bytes = offline::kernel_stored_bytes(load.rate_mbit_s * 1_000_000);
    let traffic = SIDES.into_iter().zip(load.paces().into_iter().zip(took)).map(traffic).collect();
    let simulation = Simulation { traffic, stored_bytes, ..Simulation::default() };
    let look = Look::Nowhere;
    let simulated = simulate(&plan, &simulation, Vec::new(), Outputs::default(), look, |_| ());
    Outcome::of(&simulated.expect("it can be simulated").report.ledger)
}

fn compare(load: &Load) {
    let _alone = proof::alone();
    let keys = format!(", rate = \"{}Mbit\", buffer = \"1MiB\"", load.rate_mbit_s);
    let config = PORT_AGGREGATOR.config_with(Attach::Tcx, &keys);
    let (live, took) = live(&config, load);
    let predicted = predicted(&config, load, took);
    let on_paper = self::predicted(&config, load, [load.duration; 2]);
    let Load { rate_mbit_s, frame_bytes, percent, .. } = load;
    println!(
        "{rate_mbit_s} Mbit/s, {frame_bytes} octets, {percent:?} %, took {took:?}: live {live:?}, simulated \
         {predicted:?}, at the nominal pace {on_paper:?}"
    );
    if std::env::var_os("TAPWRIGHT_TIMED").is_some() {
        assert!(live.is_near(&predicted), "live {live:?}, simulated {predicted:?}");
    }
}

#[test]
fn privileged_the_chapters_burst_is_predicted() {
    compare(&Load {
        rate_mbit_s: 100,
        frame_bytes: 1514,
        percent: [90, 50],
        duration: Duration::from_secs(10),
    });
}

#[test]
fn privileged_a_load_that_fits_is_predicted() {
    compare(&Load {
        rate_mbit_s: 100,
        frame_bytes: 1514,
        percent: [30, 50],
        duration: Duration::from_secs(3),
    });
}

#[test]
fn privileged_two_sides_above_their_share_are_predicted() {
    compare(&Load {
        rate_mbit_s: 100,
        frame_bytes: 1514,
        percent: [110, 70],
        duration: Duration::from_secs(6),
    });
}

#[test]
fn privileged_small_frames_are_predicted() {
    compare(&Load { rate_mbit_s: 20, frame_bytes: 60, percent: [90, 50], duration: Duration::from_secs(12) });
}
