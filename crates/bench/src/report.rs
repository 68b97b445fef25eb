//! From samples to the table, the targets, and the file of raw results.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::jobs::{Job, Tap, View, name};
use crate::links::{self, Times};
use crate::run::Sample;

/// Everything of one run.
#[derive(Serialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// Octets of the frame, without FCS.
    pub octets: usize,
    /// Frames of a sample.
    pub frames: u32,
    /// Rounds.
    pub rounds: usize,
    /// The jobs in the order of the table.
    pub jobs: Vec<Row>,
    /// `up` and `down` with many links.
    pub links: Vec<Times>,
    /// What was to be reached.
    pub targets: Vec<Target>,
}

/// The machine of a run.
#[derive(Serialize)]
pub struct Machine {
    /// UTC.
    pub date: String,
    /// The model of the CPU.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The load averages when the run began: a quiet machine has less than 1 of others.
    pub load: String,
}

/// One job.
#[derive(Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// `xdp` or `skb`.
    pub view: &'static str,
    /// CPU nanoseconds a frame: 25 % below, median, 75 % below.
    pub quartiles_ns: [f64; 3],
    /// The most frames that one sample lost somewhere.
    pub lost_most: u64,
    /// Whether it is a process beside the path, which may lose frames of a flood.
    pub may_lose: bool,
    /// Every sample, in the order of the rounds.
    pub samples: Vec<Sample>,
}

/// One target.
#[derive(Serialize)]
pub struct Target {
    /// What is compared.
    pub what: String,
    /// What came out.
    pub value: f64,
    /// What was asked for.
    pub limit: f64,
    /// Whether `value` must be at least the limit, or at most.
    pub at_least: bool,
    /// Whether it is so.
    pub met: bool,
}

impl Target {
    fn at_most(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, at_least: false, met: value <= limit }
    }

    fn at_least(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, at_least: true, met: value >= limit }
    }
}

/// 25 % quantile, median, 75 % quantile; of nothing, not a number.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    // Between two samples: the mean of both.
    let at = |quarter: usize| {
        let (low, high) = (last * quarter / 4, (last * quarter).div_ceil(4));
        values.get(low).zip(values.get(high)).map_or(f64::NAN, |(low, high)| f64::midpoint(*low, *high))
    };
    [at(1), at(2), at(3)]
}

/// The rows of the table.
pub fn rows(jobs: &[Job], samples: Vec<Vec<Sample>>) -> Vec<Row> {
    let row = |(job, samples): (&Job, Vec<Sample>)| Row {
        name: job.name,
        view: if job.view == View::Xdp { "xdp" } else { "skb" },
        quartiles_ns: quartiles(samples.iter().map(|sample| sample.ns)),
        lost_most: samples.iter().map(Sample::lost).max().unwrap_or(0),
        may_lose: matches!(job.tap, Tap::Process(_)),
        samples,
    };
    jobs.iter().zip(samples).map(row).collect()
}

/// Holds the rows and times against what was to be reached. What was not measured is not judged.
pub fn targets(rows: &[Row], links: &[Times]) -> Vec<Target> {
    let ns = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.quartiles_ns[1]);
    let ratio = |over: &str, under: &str| Some(ns(over)? / ns(under)?);
    let further = |to: &str, copies: f64| {
        let first = ns(name::XDP[1])?;
        Some((ns(to)? - first) / copies / first)
    };
    let one = name::XDP[1];
    let mut targets = Vec::new();
    targets.extend(
        ratio(one, name::XDP_FORWARD)
            .map(|value| Target::at_most("xdp, 1 copy / XDP forward alone", value, 2.5)),
    );
    targets.extend(
        further(name::XDP[2], 1.0)
            .map(|value| Target::at_most("xdp: second copy / total of one", value, 0.5)),
    );
    targets.extend(
        further(name::XDP[3], 3.0)
            .map(|value| Target::at_most("xdp: each of copies 2 to 4 / total of one", value, 0.5)),
    );
    for (peer, least) in [(name::BRIDGE_MIRRED, 3.0), (name::NFT[0], 2.5)] {
        targets.extend(
            ratio(peer, one).map(|value| Target::at_least(format!("{peer} / xdp, 1 copy"), value, least)),
        );
    }
    for peer in [name::NFT[0], name::MIRRED[0]] {
        targets.extend(
            ratio(name::TCX[0], peer)
                .map(|value| Target::at_most(format!("tcx, 1 copy / {peer}"), value, 1.1)),
        );
    }
    for times in links.iter().filter(|times| times.attach == "tcx") {
        let what = format!("up, {} links of {} monitors, tcx, seconds", links::LINKS, links::MONITORS);
        targets.push(Target::at_most(what, quartiles(times.up_s.iter().copied())[1], 2.0));
    }
    targets
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.jobs.iter().map(|row| row.name.len()).chain([20]).max().unwrap_or(20);
        let base = |name: &str| self.jobs.iter().find(|row| row.name == name).map(|row| row.quartiles_ns[1]);
        if !self.jobs.is_empty() {
            writeln!(
                f,
                "cpu-ns a frame of {} octets, {} rounds of {} frames",
                self.octets, self.rounds, self.frames
            )?;
            writeln!(f, "{:widest$}  median  quartiles    xdp+1  lost", "job")?;
        }
        for row in &self.jobs {
            let [low, median, high] = row.quartiles_ns;
            let ratio = base(name::XDP[1]).map_or(f64::NAN, |base| median / base);
            let lost = if row.may_lose { lost_share(row) } else { row.lost_most.to_string() };
            let spread = format!("{low:.0}-{high:.0}");
            writeln!(f, "{:widest$}  {median:6.0}  {spread:11}  {ratio:5.2}  {lost}", row.name)?;
        }
        for times in &self.links {
            let median = |values: &[f64]| quartiles(values.iter().copied())[1];
            writeln!(
                f,
                "{} links of {} monitors, {}: up {:.2} s, status {:.2} s, down {:.2} s (medians of {})",
                links::LINKS,
                links::MONITORS,
                times.attach,
                median(&times.up_s),
                median(&times.status_s),
                median(&times.down_s),
                times.up_s.len()
            )?;
        }
        let mut text = String::new();
        for target in &self.targets {
            let (sign, met) =
                (if target.at_least { ">=" } else { "<=" }, if target.met { "met" } else { "MISSED" });
            let what = &target.what;
            writeln!(text, "{what:58} {:5.2} {sign} {:4.2}  {met}", target.value, target.limit)?;
        }
        f.write_str(&text)
    }
}

/// What a flooded process lost, in the median.
fn lost_share(row: &Row) -> String {
    let share = |sample: &Sample| crate::run::to_f64(sample.lost()) / crate::run::to_f64(sample.sent) * 100.0;
    format!("{:.0} % of the flood", quartiles(row.samples.iter().map(share))[1])
}

impl Report {
    /// Every reason not to believe the table.
    pub fn doubts(&self) -> Vec<String> {
        let lossy = self.jobs.iter().filter(|row| !row.may_lose && row.lost_most > 0);
        let lossy = lossy.map(|row| format!("{}: lost {} frames in one sample", row.name, row.lost_most));
        let idle = self.jobs.iter().filter(|row| row.may_lose).filter(|row| {
            row.samples.iter().any(|sample| sample.arrived.iter().any(|(_, count)| *count == 0))
        });
        let idle = idle.map(|row| format!("{}: delivered nothing in one sample", row.name));
        let deferred = self.jobs.iter().filter(|row| {
            let deferred = quartiles(row.samples.iter().map(|sample| sample.deferred_ns))[1];
            deferred > row.quartiles_ns[1] / 20.0
        });
        let deferred = deferred.map(|row| format!("{}: ksoftirqd did more than 5 % of the work", row.name));
        lossy.chain(idle).chain(deferred).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_few_and_many() {
        assert_eq!(quartiles([7.0]), [7.0; 3]);
        assert_eq!(quartiles([5.0, 1.0, 4.0, 2.0, 3.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles([1.0, 2.0, 3.0, 4.0])[1], 2.5);
        assert!(quartiles([])[1].is_nan());
    }

    fn row(name: &'static str, ns: f64, arrived: u64) -> Row {
        let sample = Sample { ns, sent: 10, arrived: vec![("fb".into(), arrived)], ..Sample::default() };
        let samples = vec![sample];
        Row {
            name,
            view: "xdp",
            quartiles_ns: [ns; 3],
            lost_most: samples[0].lost(),
            may_lose: false,
            samples,
        }
    }

    #[test]
    fn targets_say_what_was_missed_and_skip_what_was_not_measured() {
        let rows =
            [row(name::XDP_FORWARD, 100.0, 10), row(name::XDP[1], 260.0, 10), row(name::XDP[2], 300.0, 10)];
        let targets = targets(&rows, &[]);
        let met: Vec<bool> = targets.iter().map(|target| target.met).collect();
        assert_eq!(met, [false, true]);
    }

    #[test]
    fn frames_that_are_missing_and_frames_too_many_are_doubts() {
        for (arrived, doubts) in [(10, 0), (9, 1), (11, 1)] {
            let machine = Machine {
                date: String::new(),
                cpu: String::new(),
                cpus: 1,
                kernel: String::new(),
                load: String::new(),
            };
            let jobs = vec![row("x", 1.0, arrived)];
            let report =
                Report { machine, octets: 60, frames: 10, rounds: 1, jobs, links: vec![], targets: vec![] };
            assert_eq!(report.doubts().len(), doubts);
        }
    }
}
