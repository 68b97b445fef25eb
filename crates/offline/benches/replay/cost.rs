//! What runs take: seconds of the clock, and of the CPU.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a run took.
pub struct Cost {
    /// Of the clock.
    pub clock_s: f64,
    /// Of all threads, user and system; 0 where the system does not tell.
    pub cpu_s: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} s ({:.2} s of CPU)", self.clock_s, self.cpu_s)
    }
}

/// Seconds of CPU that children took which have ended (proc(5): cutime and cstime, in ticks of 10 ms).
pub fn children_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// What a command takes over the files, one after the other.
pub fn timed(files: &[PathBuf], command: impl Fn(&Path) -> Command) -> Result<Cost, Box<dyn Error>> {
    let (start, cpu) = (Instant::now(), children_cpu_s());
    for file in files {
        let status = command(file).stderr(Stdio::null()).status()?;
        if !status.success() {
            return Err(format!("{:?}: {status}", command(file)).into());
        }
    }
    Ok(Cost { clock_s: start.elapsed().as_secs_f64(), cpu_s: children_cpu_s() - cpu })
}

/// The middle one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
