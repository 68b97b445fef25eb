//! What many rules take: seconds and memory of `tapwright up` as a process, from its start to its end.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::error::{Failure, Outcome};
use crate::files::{self, Files};
use crate::stand::{Shared, Side, Stand};
use crate::steering::rules::{Set, Shape};
use crate::steering::{Attach, DISTRIBUTOR_BY_RULES, TABLE, config, set_name};

/// Sets of rules, and whether networks stand in a table.
const SETS: [(Shape, usize, bool); 6] = [
    (Shape::Tuples, 10_000, false),
    (Shape::Networks, 10_000, false),
    (Shape::Networks, 10_000, true),
    (Shape::Mixed, 1_000, false),
    (Shape::Mixed, 10_000, false),
    (Shape::Arbitrary, 30_000, false),
];

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// What one set of rules took, a value for each run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Size {
    /// The set.
    pub rules: String,
    /// How it was attached.
    pub attach: &'static str,
    /// Seconds of `tapwright up`.
    pub up_s: Vec<f64>,
    /// The most memory that the process held, KiB: as it was at most a millisecond before its end.
    pub peak_kib: Vec<u64>,
    /// Seconds of `tapwright down`.
    pub down_s: Vec<f64>,
}

/// Brings each set up and down so often. What `up` refuses is told in `refused`, and the next one is tried.
///
/// # Errors
/// What could not be made, or brought down.
pub fn measure(
    runs: usize,
    only: &str,
    shared: &Shared,
    files: &Files,
    refused: &mut Vec<String>,
) -> Outcome<Vec<Size>> {
    let mut stand = Stand::new(2)?;
    for far in ["fa", "fb", "f1", "f2"] {
        stand.pass_xdp(shared, Side::Far, far)?;
    }
    let mut sizes = Vec::new();
    for (shape, count, table) in SETS {
        let name = if table { TABLE.to_owned() } else { set_name(shape, count) };
        if !name.contains(only) {
            continue;
        }
        let set = Set::new(shape, count);
        files.write("rules.pf", &if table { set.pf_table() } else { set.pf() })?;
        for attach in [Attach::Xdp, Attach::Tcx] {
            eprintln!("size: {name}, {}", attach.name());
            let path = files.write("bench.toml", &config(attach, 2, DISTRIBUTOR_BY_RULES))?;
            let mut size = Size {
                rules: name.clone(),
                attach: attach.name(),
                up_s: vec![],
                peak_kib: vec![],
                down_s: vec![],
            };
            for _ in 0..runs {
                let (seconds, kib) = match up(&stand, files, &path) {
                    Ok(taken) => taken,
                    Err(error) => {
                        refused.push(Failure::new(format!("{name}, {}", attach.name()), error).to_string());
                        break;
                    }
                };
                size.up_s.push(seconds);
                size.peak_kib.push(kib);
                let begun = Instant::now();
                stand.in_tap(|| files::run(&mut files.tapwright(&[Path::new("down")])))??;
                size.down_s.push(begun.elapsed().as_secs_f64());
            }
            if !size.up_s.is_empty() {
                sizes.push(size);
            }
        }
    }
    Ok(sizes)
}

/// Seconds, and the peak of memory in KiB.
fn up(stand: &Stand, files: &Files, config: &Path) -> Outcome<(f64, u64)> {
    let mut command = files.tapwright(&[Path::new("up"), config]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = stand.in_tap(|| command.spawn())?.map_err(|error| Failure::new("tapwright", error))?;
    let status = format!("/proc/{}/status", child.id());
    let mut kib = 0;
    // The kernel tells of a process that has ended no more than what includes its parent's memory.
    let code = loop {
        kib = peak_kib(&status).unwrap_or(0).max(kib);
        match child.try_wait() {
            Ok(Some(code)) => break code,
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => return Err(Failure::new("tapwright", error)),
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    if code.success() {
        return Ok((seconds, kib));
    }
    let output = child.wait_with_output().map_err(|error| Failure::new("tapwright", error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new("tapwright up", said.trim().lines().take(20).collect::<Vec<_>>().join("\n")))
}

/// The most memory that a process ever held.
fn peak_kib(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
