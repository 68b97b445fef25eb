//! What a bond did, in a table and as JSON.

use std::fmt;

use plan::ledger::Table;
use serde::Serialize;

use super::causal::Findings;

/// What a bond did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The inputs, as they were named.
    pub inputs: Vec<InputReport>,
    /// All of them in one.
    pub merged: Merged,
    /// Where it was written; nothing where it was not.
    pub output: Option<OutputReport>,
    /// What the conversations say of the clocks, where they were asked.
    pub causal: Option<Findings>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Whether the table shows all there is.
    #[serde(skip)]
    pub detailed: bool,
}

/// One input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InputReport {
    /// The file.
    pub file: String,
    /// Frames read.
    pub frames: u64,
    /// Octets of those frames, as captured.
    pub bytes: u64,
    /// The earliest time, in seconds since 1970 with nine digits behind the point, put right where a clock was.
    pub first: Option<String>,
    /// The latest time.
    pub last: Option<String>,
    /// What was added to its times, in nanoseconds, where that was one number.
    pub offset_ns: i64,
    /// Frames whose time lies before that of their predecessor in the file.
    pub out_of_order: u64,
    /// Frames that came too late to be put where their time belongs: they went out at once, with their own time.
    pub late: u64,
    /// Frames at moments at which another input has frames too.
    pub ties: u64,
    /// Frames whose time the output cannot hold, written with the nearest that it can.
    pub times_clamped: u64,
    /// Octets of the capture (unpacked) that were read as whole records.
    pub offset: u64,
    /// What broke, where something did: the frames before it are in the output.
    pub broken: Option<String>,
}

/// The merged stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Merged {
    /// Frames of all inputs.
    pub frames: u64,
    /// Their octets, as captured. Where the reader hung up, frames and octets are those that were merged until then.
    pub bytes: u64,
    /// The earliest time.
    pub first: Option<String>,
    /// The latest time.
    pub last: Option<String>,
    /// Whether no frame goes before one that bears an earlier time in the output.
    pub ordered: bool,
    /// Moments at which several inputs have frames.
    pub tie_groups: u64,
    /// The frames of these moments.
    pub tie_frames: u64,
    /// Frames that are, by a hash of their octets (64 bits) and in time, one that another input brought too. They are
    /// kept. Only counted where statistics are asked for.
    pub duplicates: Option<u64>,
    /// Replies before their requests with the times as they were read, and as they were put right. Only counted where
    /// statistics or causal order are asked for.
    pub inversions_before: Option<u64>,
    /// The same in the output.
    pub inversions_after: Option<u64>,
}

/// The output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OutputReport {
    /// The file.
    pub file: String,
    /// `pcap` or `pcapng`.
    pub format: &'static str,
    /// Whether times have nanoseconds.
    pub nanoseconds: bool,
    /// Octets written.
    pub bytes: u64,
    /// Whether whoever read it hung up: reading stopped then.
    pub closed: bool,
}

impl Report {
    /// Whether every input was read to its end.
    pub fn is_whole(&self) -> bool {
        self.inputs.iter().all(|input| input.broken.is_none())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = vec!["CAPTURE", "FRAMES", "BYTES", "OUT OF ORDER", "LATE", "TIES"];
        if self.detailed {
            head.extend(["CLAMPED", "FIRST", "LAST"]);
        }
        let mut table = Table::new(head, 1);
        let dash = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        for input in &self.inputs {
            let numbers = [input.frames, input.bytes, input.out_of_order, input.late, input.ties];
            let mut cells = vec![input.file.clone()];
            cells.extend(numbers.map(|number| number.to_string()));
            if self.detailed {
                cells.extend([input.times_clamped.to_string(), dash(&input.first), dash(&input.last)]);
            }
            table.row(cells);
        }
        let Merged { frames, bytes, tie_frames, first, last, .. } = &self.merged;
        let (out_of_order, late) =
            self.inputs.iter().fold((0, 0), |sum, it| (sum.0 + it.out_of_order, sum.1 + it.late));
        let clamped: u64 = self.inputs.iter().map(|input| input.times_clamped).sum();
        let mut cells = vec!["all".to_owned()];
        cells.extend([*frames, *bytes, out_of_order, late, *tie_frames].map(|number| number.to_string()));
        if self.detailed {
            cells.extend([clamped.to_string(), dash(first), dash(last)]);
        }
        table.row(cells);
        table.print(f)?;
        writeln!(f)?;
        self.merged.said(f)?;
        if let Some(output) = &self.output {
            let OutputReport { file, format, nanoseconds, bytes, closed } = output;
            let unit = if *nanoseconds { "nanoseconds" } else { "microseconds" };
            write!(f, "written {file}: {format} with {unit}, {bytes} bytes")?;
            writeln!(f, "{}", if *closed { "; its reader hung up, and nothing more was read" } else { "" })?;
        }
        if let Some(findings) = &self.causal {
            write!(f, "{findings}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

/// So many of something.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// So many frames.
pub(super) fn frames(count: u64) -> String {
    counted(count, "frame", "frames")
}

impl Merged {
    fn said(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ordered {}", if self.ordered { "yes" } else { "no" })?;
        writeln!(f, "ties {} at {}", frames(self.tie_frames), counted(self.tie_groups, "moment", "moments"))?;
        if let Some(duplicates) = self.duplicates {
            writeln!(f, "duplicates {duplicates}, kept")?;
        }
        match (self.inversions_before, self.inversions_after) {
            (Some(before), Some(after)) => writeln!(f, "inversions {before} before, {after} after"),
            (None, Some(after)) => writeln!(f, "inversions {after}"),
            _ => Ok(()),
        }
    }
}
