//! Clocks that differ, on a real capture: `web.pcap` is split as two half-duplex outputs of a tap would have it,
//! the client's half is shifted, and the shift must be found from the conversations alone.

use std::path::{Path, PathBuf};

use offline::bond::causal::{Correction, Findings, Inversions, Observer};
use wire::Frame;
use wire::capture::{self, Timestamp};

use crate::steps::{Outcome, command, output, say, target};

/// The client of `web.pcap`, beside which the tap stood.
const CLIENT: &str = "src host 10.0.0.6";
const CAPTURE: &str = "web.pcap";
/// Frames of the client, and all others.
const FRAMES: [usize; 2] = [1813, 2818];

/// What is done to the client's clock, and what must be said of it.
struct Case {
    name: &'static str,
    shift_ms: i64,
    drift_ppb: i64,
    /// Whether some reply comes before its request then.
    broken: bool,
}

/// The servers take 16 ms and the client no time: so much later and never earlier may the client's clock be.
const CASES: [Case; 8] = [
    Case { name: "-40 ms", shift_ms: -40, drift_ppb: 0, broken: true },
    Case { name: "+40 ms", shift_ms: 40, drift_ppb: 0, broken: true },
    Case { name: "+1 s", shift_ms: 1000, drift_ppb: 0, broken: true },
    Case { name: "+5 ms", shift_ms: 5, drift_ppb: 0, broken: false },
    Case { name: "-50 ppm", shift_ms: 0, drift_ppb: -50_000, broken: true },
    Case { name: "+50 ppm", shift_ms: 0, drift_ppb: 50_000, broken: false },
    Case { name: "+40 ms and -50 ppm", shift_ms: 40, drift_ppb: -50_000, broken: true },
    Case { name: "-1 s and +50 ppm", shift_ms: -1000, drift_ppb: 50_000, broken: true },
];

type Half = Vec<(Timestamp, Vec<u8>)>;

/// Shifts the client's half in every way, and looks what is found: with the servers' half first, and last.
///
/// # Errors
/// Every case whose truth is denied, whose order is not restored, or that is changed without need.
pub fn check(dir: &Path) -> Outcome {
    let file = dir.join(CAPTURE);
    let scratch = target().join("check-data");
    std::fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let servers = read(&split(&file, &scratch, "servers", &["not", CLIENT])?)?;
    let client = split(&file, &scratch, "client", &[CLIENT])?;
    let mut wrong = 0;
    for case in &CASES {
        let shifted = drifted(&read(&shifted(&client, case.shift_ms)?)?, case.drift_ppb);
        if [shifted.len(), servers.len()] != FRAMES {
            return Err(format!("halves of {} and {} frames", shifted.len(), servers.len()));
        }
        for client_at in [0, 1] {
            let mut halves = [&servers, &servers];
            halves[client_at] = &shifted;
            if let Err(why) = judge(case, halves, client_at) {
                say(&format!("{}, the client's half as number {client_at}: {why}", case.name));
                wrong += 1;
            }
        }
    }
    match wrong {
        0 => Ok(format!("{} shifts of one half, each found by both halves", CASES.len())),
        count => Err(format!("{count} of {} went wrong", CASES.len() * 2)),
    }
}

fn split(file: &Path, scratch: &Path, name: &str, filter: &[&str]) -> Result<PathBuf, String> {
    let half = scratch.join(format!("{name}.pcap"));
    output(command("tcpdump").arg("-r").arg(file).arg("-w").arg(&half).args(filter))?;
    Ok(half)
}

/// A half with all times shifted by editcap.
fn shifted(half: &Path, shift_ms: i64) -> Result<PathBuf, String> {
    let to = half.with_extension("shifted.pcap");
    let seconds = format!(
        "{}{}.{:03}",
        if shift_ms < 0 { "-" } else { "" },
        shift_ms.abs() / 1000,
        shift_ms.abs() % 1000
    );
    output(command("editcap").args(["-F", "pcap", "-t", &seconds]).arg(half).arg(&to))?;
    Ok(to)
}

fn read(file: &Path) -> Result<Half, String> {
    let octets = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut half = Vec::new();
    capture::read(&octets, |_, packet| {
        half.push((packet.timestamp.unwrap_or_default(), packet.frame.data.to_vec()));
    })
    .map_err(|broken| format!("{}: {broken}", file.display()))?;
    Ok(half)
}

/// A half whose clock gains so much, in whole microseconds as the capture has them.
fn drifted(half: &Half, drift_ppb: i64) -> Half {
    let first = half.first().map_or(0, |(time, _)| time.0);
    let gained = |time: i128| {
        let drifted = time + (time - first) * i128::from(drift_ppb) / 1_000_000_000;
        Timestamp(drifted - drifted.rem_euclid(1000))
    };
    half.iter().map(|(time, data)| (gained(time.0), data.clone())).collect()
}

fn frame(data: &[u8]) -> Result<Frame<'_>, String> {
    Frame::ethernet(data).ok_or_else(|| "a frame of more than 4 GB".to_owned())
}

fn judge(case: &Case, halves: [&Half; 2], client_at: usize) -> Result<(), String> {
    let mut observer = Observer::new(halves.len());
    for (half, frames) in halves.into_iter().enumerate() {
        for (time, data) in frames {
            observer.frame(half, *time, &frame(data)?);
        }
    }
    let findings = observer.finish();
    let placement = findings.placement(1).ok_or("nothing is said of the second half")?;
    let (offset, drift) = truth(case, halves, client_at);
    // Microseconds were cut off after the drift, and parts in 10^9 here.
    let holds = [0, 1000, -1000, 2000, -2000].iter().any(|cut| placement.admits(offset + cut, drift));
    if !holds || !placement.drift_ppb.is_some_and(|drifts| drifts.holds(drift)) {
        return Err(format!("the truth, {offset} ns and {drift} ppb, is denied\n{findings}"));
    }
    let before = inversions(halves, |_| Correction::NONE)?;
    let after = inversions(halves, |half| findings.correction(half))?;
    say(&format!("{}: {before} inversions before, {after} after\n{findings}", case.name));
    verdict(case, &findings, before, after)
}

fn verdict(case: &Case, findings: &Findings, before: u64, after: u64) -> Result<(), String> {
    if case.broken != (before > 0) || after != 0 {
        return Err(format!("{before} inversions before, {after} after"));
    }
    let says = findings.to_string().contains("may be right as they are");
    let changes = !findings.correction(1).is_none();
    if changes != case.broken || says == case.broken {
        return Err(format!("says that they may be right: {says}; changes them: {changes}"));
    }
    Ok(())
}

/// What must be added to the times of the second half, at its first frame, and for each second.
fn truth(case: &Case, halves: [&Half; 2], client_at: usize) -> (i64, i64) {
    let shift = case.shift_ms * 1_000_000;
    if client_at == 1 {
        // What a clock gains is taken from times that have grown by it.
        return (-shift, -case.drift_ppb * 1_000_000_000 / (1_000_000_000 + case.drift_ppb));
    }
    // The servers' first frame came later than the client's, and by then the client's clock was wrong by more.
    let first = |half: &Half| half.first().map_or(0, |(time, _)| time.0);
    let since = first(halves[1]) + i128::from(shift) - first(halves[0]);
    let gained = i64::try_from(since * i128::from(case.drift_ppb) / 1_000_000_000).unwrap_or_default();
    (shift + gained, case.drift_ppb)
}

fn inversions(halves: [&Half; 2], correction: impl Fn(usize) -> Correction) -> Result<u64, String> {
    let mut all = Vec::new();
    for (half, frames) in halves.into_iter().enumerate() {
        let correction = correction(half);
        all.extend(frames.iter().map(|(time, data)| (correction.apply(*time), half, data)));
    }
    all.sort_by_key(|(time, half, _)| (*time, *half));
    let mut inversions = Inversions::new();
    for (time, half, data) in all {
        inversions.frame(half, time, &frame(data)?);
    }
    Ok(inversions.count())
}
