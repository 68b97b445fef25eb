//! From samples to the table, the targets, and the file of raw results.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::balance::{Balance, FLOWS, Removal};
use crate::jobs::{View, name};
use crate::links::{self, Times};
use crate::order::Order;
use crate::run::Sample;
use crate::size::Size;
use crate::standing::Standing;
use crate::steering::rules::Shape;
use crate::steering::{self, set_name};

/// Everything of one run. What was not measured is empty.
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
    /// What rules cost, in the order of the table.
    pub steering: Vec<Row>,
    /// `up` and `down` with many links.
    pub links: Vec<Times>,
    /// `up` and `down` with many rules.
    pub sizes: Vec<Size>,
    /// How evenly flows are spread.
    pub balances: Vec<Balance>,
    /// What moves when one of eight sensors goes.
    pub removals: Vec<Removal>,
    /// What carries frames in user space.
    pub userspace: Vec<crate::userspace::Row>,
    /// How often a reply reaches a sensor before its request.
    pub orders: Vec<Order>,
    /// What was not set up, and why: the rest was measured all the same.
    pub refused: Vec<String>,
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
    pub name: String,
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
    /// A value that may not be more.
    pub fn at_most(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { what: what.into(), value, limit, at_least: false, met: value <= limit }
    }

    /// A value that may not be less.
    pub fn at_least(what: impl Into<String>, value: f64, limit: f64) -> Self {
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
pub fn rows(standing: &[Standing], samples: Vec<Vec<Sample>>) -> Vec<Row> {
    let loads = standing.iter().flat_map(|standing| &standing.loads);
    let rows = loads.zip(samples).map(|(load, samples)| Row {
        name: load.name.clone(),
        view: if load.view == View::Xdp { "xdp" } else { "skb" },
        quartiles_ns: quartiles(samples.iter().map(|sample| sample.ns)),
        lost_most: samples.iter().map(Sample::lost).max().unwrap_or(0),
        may_lose: load.may_lose,
        samples,
    });
    rows.collect()
}

fn median_ns(rows: &[Row], name: &str) -> Option<f64> {
    rows.iter().find(|row| row.name == name).map(|row| row.quartiles_ns[1])
}

fn median(values: &[f64]) -> f64 {
    quartiles(values.iter().copied())[1]
}

/// Holds rows and times of taps without rules against what was to be reached.
fn tap_targets(rows: &[Row], links: &[Times]) -> Vec<Target> {
    let ns = |name: &str| median_ns(rows, name);
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
    for (classic, tcx) in name::CLASSIC.into_iter().zip(name::TCX) {
        targets.extend(
            ratio(classic, tcx).map(|value| Target::at_most(format!("{classic} / {tcx}"), value, 1.1)),
        );
    }
    for times in links.iter().filter(|times| times.attach == "tcx") {
        let what = format!("up, {} links of {} monitors, tcx, seconds", links::LINKS, links::MONITORS);
        targets.push(Target::at_most(what, median(&times.up_s), 2.0));
    }
    targets
}

/// Holds what rules cost against what was to be reached.
fn steering_targets(rows: &[Row]) -> Vec<Target> {
    let mut targets = Vec::new();
    for attach in [steering::Attach::Xdp, steering::Attach::Tcx] {
        let mut target =
            |over: &str, under: &str, limit: f64| {
                let ns = |name: &str| median_ns(rows, &format!("{}: {name}", attach.name()));
                let ratio = ns(over).zip(ns(under)).map(|(over, under)| over / under);
                targets.extend(ratio.map(|ratio| {
                    Target::at_most(format!("{}: {over} / {under}", attach.name()), ratio, limit)
                }));
            };
        for split in [steering::name::SPLIT_PF, steering::name::SPLIT_EXPRESSIONS] {
            target(split, steering::name::PLAIN, 1.15);
        }
        let tuple = set_name(Shape::Tuples, 1);
        let network = set_name(Shape::Networks, 1);
        for met in steering::name::MET {
            let mut many = |many: &str, one: &str, limit| {
                target(&format!("{many}, {met}"), &format!("{one}, {met}"), limit);
            };
            many(&set_name(Shape::Tuples, 10_000), &tuple, 1.15);
            many(&set_name(Shape::Networks, 10_000), &network, 1.15);
            many(steering::TABLE, &network, 1.15);
            many(&set_name(Shape::Mixed, 1_000), &tuple, 3.0);
        }
    }
    targets
}

/// Holds what many rules take against what was to be reached.
fn size_targets(sizes: &[Size]) -> Vec<Target> {
    let mut targets = Vec::new();
    for size in sizes.iter().filter(|size| size.rules.starts_with("10000")) {
        let what = format!("up, {}, {}", size.rules, size.attach);
        targets.push(Target::at_most(format!("{what}, seconds"), median(&size.up_s), 1.0));
        let kib = size.peak_kib.iter().copied().max().unwrap_or(0);
        targets.push(Target::at_most(format!("{what}, MB"), crate::run::to_f64(kib) * 1.024e-3, 200.0));
    }
    targets
}

/// Holds how flows are spread against what was to be reached.
fn balance_targets(balances: &[Balance], removals: &[Removal]) -> Vec<Target> {
    let mut targets = Vec::new();
    for balance in balances {
        let what = format!("balance over {:?}: off, percent of all flows", balance.weights);
        targets.push(Target::at_most(what, balance.worst_of_all_percent, 1.0));
    }
    if !balances.is_empty() {
        let split = balances.iter().map(|balance| balance.split).sum();
        targets.push(Target::at_most("balance: flows that were split", crate::run::to_f64(split), 0.0));
        let moved = removals.iter().map(|removal| removal.moved_of_others).sum();
        let what = "8 sensors without one: flows of others that moved";
        targets.push(Target::at_most(what, crate::run::to_f64(moved), 0.0));
    }
    targets
}

/// One line for each way, with and without load: all rounds together.
fn write_orders(f: &mut fmt::Formatter<'_>, orders: &[Order]) -> fmt::Result {
    let mut names: Vec<(&str, bool)> = Vec::new();
    for order in orders {
        let name = (order.name.as_str(), order.loaded);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for (name, loaded) in names {
        let of = orders.iter().filter(|order| order.name == name && order.loaded == loaded);
        let sum = |number: fn(&Order) -> u64| -> u64 { of.clone().map(number).sum() };
        let replies = sum(|order| order.replies);
        let (arrival, time) = (sum(|order| order.inverted_by_arrival), sum(|order| order.inverted_by_time));
        writeln!(
            f,
            "{name:24} {:9} {replies:9} replies; before their request: {arrival:6} by arrival, {time:6} by time \
             stamp ({:.1} and {:.1} in a million)",
            if loaded { "with load" } else { "no load" },
            crate::run::to_f64(arrival) * 1e6 / crate::run::to_f64(replies.max(1)),
            crate::run::to_f64(time) * 1e6 / crate::run::to_f64(replies.max(1)),
        )?;
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_rows(f, &self.jobs, |_| name::XDP[1].to_owned())?;
        // Rules are held against the same view, or the same peer, without one.
        let plain = |row: &Row| {
            let view = row.name.split_once(':').map_or("", |(view, _)| view);
            format!("{view}: {}", steering::name::PLAIN)
        };
        self.write_rows(f, &self.steering, plain)?;
        for times in &self.links {
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
        for size in &self.sizes {
            let kib = size.peak_kib.iter().copied().max().unwrap_or(0);
            let (rules, attach) = (&size.rules, size.attach);
            let (up, down) = (median(&size.up_s), median(&size.down_s));
            writeln!(f, "{rules}, {attach}: up {up:.2} s, {} MiB at most, down {down:.2} s", kib >> 10)?;
        }
        for balance in &self.balances {
            let Balance { weights, worst_of_all_percent, worst_of_due_percent, split, .. } = balance;
            writeln!(
                f,
                "{FLOWS} flows over {weights:?}: off by {worst_of_all_percent:.2} % of all flows, \
                 {worst_of_due_percent:.2} % of a sensor's due at most; {split} split"
            )?;
        }
        for Removal { removed, had, moved_of_others } in &self.removals {
            writeln!(
                f,
                "8 sensors without number {removed}: its {had} flows move, and {moved_of_others} of others"
            )?;
        }
        for crate::userspace::Row { name, octets, quartiles_ns: [low, median, high], samples } in
            &self.userspace
        {
            let part = |it: &crate::userspace::Sample| {
                crate::run::to_f64(it.delivered) / crate::run::to_f64(it.sent) * 100.0
            };
            let [_, part, _] = quartiles(samples.iter().map(part));
            writeln!(
                f,
                "{name}, {octets} B: {median:.0} ns ({low:.0} to {high:.0}), {part:.0} % of the flood"
            )?;
        }
        write_orders(f, &self.orders)?;
        let mut text = String::new();
        for target in &self.targets {
            let (sign, met) =
                (if target.at_least { ">=" } else { "<=" }, if target.met { "met" } else { "MISSED" });
            let what = &target.what;
            writeln!(text, "{what:66} {:6.2} {sign} {:4.2}  {met}", target.value, target.limit)?;
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
    /// Nothing measured yet.
    pub fn new(machine: Machine, octets: usize, frames: u32, rounds: usize) -> Self {
        Self {
            machine,
            octets,
            frames,
            rounds,
            jobs: vec![],
            steering: vec![],
            links: vec![],
            sizes: vec![],
            balances: vec![],
            removals: vec![],
            userspace: vec![],
            orders: vec![],
            refused: vec![],
            targets: vec![],
        }
    }

    /// Holds everything against what was to be reached. What was not measured is not judged.
    pub fn judged(&self) -> Vec<Target> {
        let mut targets = tap_targets(&self.jobs, &self.links);
        targets.extend(steering_targets(&self.steering));
        targets.extend(size_targets(&self.sizes));
        targets.extend(balance_targets(&self.balances, &self.removals));
        targets.extend(crate::userspace::targets(&self.userspace));
        targets
    }

    /// A table, each row with its ratio to the row that `base` names.
    fn write_rows(
        &self,
        f: &mut fmt::Formatter<'_>,
        rows: &[Row],
        base: impl Fn(&Row) -> String,
    ) -> fmt::Result {
        if rows.is_empty() {
            return Ok(());
        }
        let widest = rows.iter().map(|row| row.name.len()).chain([20]).max().unwrap_or(20);
        let (octets, rounds, frames) = (self.octets, self.rounds, self.frames);
        writeln!(f, "cpu-ns a frame of {octets} octets, {rounds} rounds of {frames} frames")?;
        writeln!(f, "{:widest$}  median  quartiles    ratio  lost", "job")?;
        for row in rows {
            let [low, median, high] = row.quartiles_ns;
            let ratio = median_ns(rows, &base(row)).map_or(f64::NAN, |base| median / base);
            let lost = if row.may_lose { lost_share(row) } else { row.lost_most.to_string() };
            let spread = format!("{low:.0}-{high:.0}");
            writeln!(f, "{:widest$}  {median:6.0}  {spread:11}  {ratio:5.2}  {lost}", row.name)?;
        }
        Ok(())
    }

    /// Every reason not to believe the table.
    pub fn doubts(&self) -> Vec<String> {
        let rows = || self.jobs.iter().chain(&self.steering);
        let lossy = rows().filter(|row| !row.may_lose && row.lost_most > 0);
        let lossy = lossy.map(|row| format!("{}: lost {} frames in one sample", row.name, row.lost_most));
        let idle = rows().filter(|row| row.may_lose).filter(|row| {
            row.samples.iter().any(|sample| sample.arrived.iter().any(|(_, count, _)| *count == 0))
        });
        let idle = idle.map(|row| format!("{}: delivered nothing in one sample", row.name));
        let deferred = rows().filter(|row| {
            let deferred = quartiles(row.samples.iter().map(|sample| sample.deferred_ns))[1];
            deferred > row.quartiles_ns[1] / 20.0
        });
        let deferred = deferred.map(|row| format!("{}: ksoftirqd did more than 5 % of the work", row.name));
        lossy.chain(idle).chain(deferred).chain(self.refused.iter().cloned()).collect()
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

    fn row(name: &str, ns: f64, arrived: u64) -> Row {
        let sample = Sample { ns, sent: 10, arrived: vec![("fb".into(), arrived, 10)], ..Sample::default() };
        let samples = vec![sample];
        Row {
            name: name.into(),
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
        let targets = tap_targets(&rows, &[]);
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
            let mut report = Report::new(machine, 60, 10, 1);
            report.steering.push(row("x", 1.0, arrived));
            assert_eq!(report.doubts().len(), doubts);
        }
    }
}
