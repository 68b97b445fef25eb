//! How far a long command is, on a terminal. Never writes to anything else.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// What is shorter shows no progress.
const LONG: Duration = Duration::from_secs(1);
/// Between two lines of progress.
const BETWEEN_LINES: Duration = Duration::from_millis(250);

/// One line of progress on a terminal, written over again and again.
pub struct Meter {
    start: Instant,
    /// When a line was last shown; `None` where none may be.
    last: Option<Instant>,
    dirty: bool,
}

impl Meter {
    /// A line, where there is somebody to see it.
    pub fn new(on: bool) -> Self {
        let start = Instant::now();
        Self { start, last: on.then_some(start), dirty: false }
    }

    /// Shows how far it is, now and then.
    pub fn show(&mut self, frames: u64, bytes: u64) {
        let (now, Some(last)) = (Instant::now(), self.last) else { return };
        let spent = now - self.start;
        if spent < LONG || now - last < BETWEEN_LINES {
            return;
        }
        (self.last, self.dirty) = (Some(now), true);
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(io::stderr().lock(), "\r\x1b[K{}", line(frames, bytes, spent));
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.dirty {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(frames: u64, bytes: u64, spent: Duration) -> String {
    let a_second = u128::from(bytes) * 1000 / spent.as_millis().max(1);
    format!("{frames} frames, {} MB, {} MB/s", bytes / 1_000_000, a_second / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_in_megabytes_a_second() {
        let said = line(3_000_000, 4_500_000_000, Duration::from_millis(1500));
        assert_eq!(said, "3000000 frames, 4500 MB, 3000 MB/s");
    }
}
