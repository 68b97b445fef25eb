//! The two halves of a real capture, bonded: beside the capture that they were, and beside what mergecap makes of them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use offline::bond::{Options, Report, bond};
use offline::{Source, Target};
use wire::capture;

use crate::distributor::{CAPTURE, halves};
use crate::steps::{Outcome, command, run, target};

/// Frames that the host inside sent, and all others, as tcpdump counts them.
const HALVES: [u64; 2] = [1813, 2818];
/// Moments at which both halves have frames, and those frames.
const TIES: (u64, u64) = (58, 145);
/// Octets in front of the first packet; mergecap writes another snapshot length there.
const FILE_HEADER: usize = 24;

/// Bonds the halves, either first.
///
/// # Errors
/// Where frames are lost, changed or out of order, and where they are in another order than mergecap's.
pub fn check(dir: &Path) -> Outcome {
    let file = dir.join(CAPTURE);
    let whole = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let [inside, outside] = halves(&file)?;
    let mut said = Vec::new();
    for (who, first, second) in [("the host inside", &inside, &outside), ("the others", &outside, &inside)] {
        let (report, bonded) = bonded(first, second)?;
        let frames: Vec<u64> = report.inputs.iter().map(|input| input.frames).collect();
        let mut expected = HALVES.to_vec();
        if first != &inside {
            expected.reverse();
        }
        if frames != expected || !report.merged.ordered || !report.is_whole() {
            return Err(format!("of {expected:?} frames the bond has {frames:?}:\n{report}"));
        }
        if (report.merged.tie_groups, report.merged.tie_frames) != TIES {
            return Err(format!("{TIES:?} ties are known of:\n{report}"));
        }
        same_frames(&whole, &bonded)?;
        same_as_mergecap(first, second, &bonded)?;
        let moved = moved(&whole, &bonded)?;
        let inversions = report.merged.inversions_after.unwrap_or_default();
        said.push(format!(
            "with {who} first {moved} of {} tied frames change places, {inversions} inversions",
            TIES.1
        ));
    }
    Ok(format!("{} frames, in mergecap's order; {}", HALVES[0] + HALVES[1], said.join("; ")))
}

fn bonded(first: &[u8], second: &[u8]) -> Result<(Report, Vec<u8>), String> {
    let source = |name: &str, octets: &[u8]| {
        Source::Stream(name.to_owned(), Box::new(std::io::Cursor::new(octets.to_vec())))
    };
    let output = Shared::default();
    let target = Target::Stream("bond".to_owned(), Box::new(output.clone()));
    let options = Options { stats: true, ..Options::default() };
    let sources = vec![source("first", first), source("second", second)];
    let report = bond(sources, &options, Some(target), |_| {}).map_err(|error| error.to_string())?;
    let octets = output.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((report, octets))
}

/// Time and octets of each packet.
fn frames(octets: &[u8]) -> Result<Vec<(i128, Vec<u8>)>, String> {
    let mut frames = Vec::new();
    capture::read(octets, |_, packet| {
        frames.push((packet.timestamp.unwrap_or_default().0, packet.frame.data.to_vec()));
    })
    .map_err(|broken| broken.to_string())?;
    Ok(frames)
}

/// That the bond has the frames of the capture, each as often, and in order.
fn same_frames(whole: &[u8], bonded: &[u8]) -> Result<(), String> {
    let (mut theirs, mut ours) = (frames(whole)?, frames(bonded)?);
    if !ours.is_sorted_by_key(|(time, _)| *time) {
        return Err("the bond is not in order".to_owned());
    }
    theirs.sort();
    ours.sort();
    if theirs == ours { Ok(()) } else { Err("the bond has other frames than the capture".to_owned()) }
}

/// Frames that are not where they were in the capture.
fn moved(whole: &[u8], bonded: &[u8]) -> Result<usize, String> {
    Ok(frames(whole)?.iter().zip(&frames(bonded)?).filter(|(one, other)| one != other).count())
}

/// That mergecap makes the same of the halves. Of equal times it takes the last-named file first, so it is given them
/// the other way round.
fn same_as_mergecap(first: &[u8], second: &[u8], bonded: &[u8]) -> Result<(), String> {
    let dir = target().join("bond");
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let [one, other, merged] = ["first.pcap", "second.pcap", "merged.pcap"].map(|name| dir.join(name));
    for (path, octets) in [(&one, first), (&other, second)] {
        std::fs::write(path, octets).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    run(command("mergecap").args(["-F", "pcap", "-w"]).args([&merged, &other, &one]))?;
    let theirs = std::fs::read(&merged).map_err(|error| format!("{}: {error}", merged.display()))?;
    if theirs.get(FILE_HEADER..) == bonded.get(FILE_HEADER..) {
        Ok(())
    } else {
        Err("the bond is not what mergecap makes of the halves".to_owned())
    }
}

/// Octets that a bond wrote.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
