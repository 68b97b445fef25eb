//! The ledger in the names that every backend shares: its sums, as a table, and as JSON.
//!
//! Pure data and printing. Where the numbers come from is each backend's business: `engine` reads them from
//! programs, devices and queues, `offline` counts them. What a backend has nothing to say of is 0 or empty:
//! capture files have no attachment, no `errors`, `lost_before`, `guarded`, `refused` or `sensor_sent`, and no
//! device that drops.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// Frames, and their octets with tags and without FCS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    /// Wire frames: a super-frame counts as the frames it stands for.
    pub frames: u64,
    /// Octets of those frames.
    pub bytes: u64,
}

/// The whole ledger of one plan on one backend.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// `kernel`, `userspace` or `offline`.
    pub backend: String,
    /// By the user's name of the port.
    pub ports: BTreeMap<String, PortStatus>,
    /// In plan order.
    pub copies: Vec<CopyStatus>,
    /// Every rule that can stop frames, in plan order.
    #[serde(default)]
    pub blocked: Vec<BlockStatus>,
    /// By the user's name of the monitor.
    pub monitors: BTreeMap<String, MonitorStatus>,
    /// What the sums leave over, in frames; 0 at rest, and anything else is a defect.
    pub unaccounted: i64,
    /// What a user should know now: interfaces gone, attachments missing, frames that could not be measured.
    pub notes: Vec<String>,
}

/// One port that frames enter by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PortStatus {
    /// The Linux interface.
    pub interface: String,
    /// `network`, `span` or `watched`.
    pub role: String,
    /// `tcx`, `xdp` or `clsact`; empty where nothing is attached.
    pub attach: String,
    /// Why that one.
    pub why: String,
    /// Frames that the program saw enter (for a watched interface: pass either way).
    #[serde(rename = "in")]
    pub entered: Count,
    /// Frames that the ports passed to took over.
    pub passed: u64,
    /// Frames that a rule stopped.
    pub blocked: u64,
    /// The same by the rule that stopped them, where not 0.
    #[serde(default)]
    pub blocked_by: BTreeMap<String, u64>,
    /// Frames that end here: a SPAN port passes nothing on.
    pub consumed: u64,
    /// Frames of a watched interface, left to the host.
    pub left: u64,
    /// Frames lost between here and the far port, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Frames that the interface itself says it missed, before the tap could see them.
    pub lost_before: u64,
    /// The same by the interface's own reasons (`crc`, `missed`, ...), where not 0.
    pub lost_before_by: BTreeMap<String, u64>,
    /// Frames of the host's own that were kept from leaving by this port.
    pub guarded: u64,
}

/// One copy rule from one source to one monitor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CopyStatus {
    /// The rule's stable identity.
    pub rule: String,
    /// The side that frames came from.
    pub source: String,
    /// The monitor that they go to.
    pub monitor: String,
    /// Frames that the rule chose.
    pub matched: u64,
    /// Frames handed to the monitor.
    pub copied: u64,
    /// Frames that could not be handed over, by reason.
    pub errors: BTreeMap<String, u64>,
}

/// One rule that stops frames of one source.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BlockStatus {
    /// The rule's stable identity.
    pub rule: String,
    /// The side that frames came from.
    pub source: String,
    /// Frames that it stopped.
    pub blocked: u64,
}

/// One monitor port or virtual interface.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MonitorStatus {
    /// The Linux interface that feeds the sensor.
    pub interface: String,
    /// Frames that copies handed to it.
    pub copied: u64,
    /// Frames that were seen at its egress, before its buffers: a second count, at another place, of `copied`
    /// and `refused`.
    pub reached: u64,
    /// Frames that were refused behind its egress because it was down: errors of the copies.
    pub refused: u64,
    /// Frames that it sent.
    pub sent: u64,
    /// Frames lost here.
    pub dropped: Dropped,
    /// Frames that wait in its buffers now.
    pub queued: u64,
    /// Frames that the sensor sent; none of them went anywhere.
    pub sensor_sent: u64,
    /// Frames of the host's own that were kept from the sensor.
    pub guarded: u64,
}

/// Frames lost at a monitor port.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// By side: its buffer was full.
    pub buffer: BTreeMap<String, u64>,
    /// By the device or its far end.
    pub device: u64,
}

impl PortStatus {
    /// Counts frames that a rule stopped.
    pub fn add_blocked(&mut self, rule: &str, frames: u64) {
        self.blocked += frames;
        if frames > 0 {
            *self.blocked_by.entry(rule.to_owned()).or_default() += frames;
        }
    }
}

impl Status {
    /// Frames that all sums leave over, by where: the defects behind `unaccounted`.
    pub fn remainders(&self) -> Vec<(String, i64)> {
        let ports = self.ports.iter().map(|(name, port)| (format!("port {name}"), port.remainder()));
        let copies = self.copies.iter().map(|copy| {
            let name = format!("copy {} {} -> {}", copy.rule, copy.source, copy.monitor);
            (name, copy.remainder())
        });
        let handed = self.monitors.iter().map(|(name, monitor)| {
            (
                format!("hand-over to monitor {name}"),
                remainder(monitor.copied + monitor.refused, [monitor.reached]),
            )
        });
        let monitors =
            self.monitors.iter().map(|(name, monitor)| (format!("monitor {name}"), monitor.remainder()));
        ports.chain(copies).chain(handed).chain(monitors).filter(|(_, rest)| *rest != 0).collect()
    }

    /// Sets `unaccounted` from the sums.
    pub fn balance(&mut self) {
        let rests = self.remainders();
        self.unaccounted = rests.iter().fold(0, |sum, (_, rest)| sum.saturating_add(rest.saturating_abs()));
    }
}

/// `whole - parts`, which may be negative while frames are on their way.
fn remainder(whole: u64, parts: impl IntoIterator<Item = u64>) -> i64 {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    parts.into_iter().fold(signed(whole), |rest, part| rest.saturating_sub(signed(part)))
}

impl PortStatus {
    fn remainder(&self) -> i64 {
        let parts = [self.passed, self.blocked, self.consumed, self.left];
        remainder(self.entered.frames, parts.into_iter().chain(self.errors.values().copied()))
    }
}

impl CopyStatus {
    fn remainder(&self) -> i64 {
        remainder(self.matched, std::iter::once(self.copied).chain(self.errors.values().copied()))
    }
}

impl MonitorStatus {
    fn remainder(&self) -> i64 {
        let parts = [self.sent, self.dropped.device, self.queued];
        remainder(self.copied, parts.into_iter().chain(self.dropped.buffer.values().copied()))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.ports.is_empty() {
            self.ports_table().print(f)?;
            self.attachments(f)?;
            f.write_char('\n')?;
        }
        if !self.copies.is_empty() {
            self.copies_table().print(f)?;
            let quiet = self.copies.iter().filter(|copy| !shown(self.copies.len(), copy.matched)).count();
            idle(f, quiet, "copies", "matched")?;
            f.write_char('\n')?;
        }
        if !self.blocked.is_empty() {
            self.blocked_table().print(f)?;
            let quiet = self.blocked.iter().filter(|rule| !shown(self.blocked.len(), rule.blocked)).count();
            idle(f, quiet, "rules", "blocked")?;
            f.write_char('\n')?;
        }
        if !self.monitors.is_empty() {
            self.monitors_table().print(f)?;
            f.write_char('\n')?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for (name, rest) in self.remainders() {
            writeln!(f, "note: {name} leaves over {rest}")?;
        }
        writeln!(f, "unaccounted {}", self.unaccounted)
    }
}

impl Status {
    /// `tcx: works on every interface (a, b)`: a line for each way of attaching and its reason.
    fn attachments(&self, out: &mut impl Write) -> fmt::Result {
        let mut ways: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (name, port) in self.ports.iter().filter(|(_, port)| !port.why.is_empty()) {
            ways.entry((&port.attach, &port.why)).or_default().push(name);
        }
        for ((attach, why), ports) in ways {
            writeln!(out, "{attach}: {why} ({})", ports.join(", "))?;
        }
        Ok(())
    }

    fn ports_table(&self) -> Table {
        let head = ["PORT", "INTERFACE", "ATTACH", "IN", "BYTES", "PASSED", "BLOCKED", "CONSUMED", "LEFT"];
        let mut table = Table::new(head.into_iter().chain(["LOST BEFORE", "GUARDED", "ERRORS"]), 3);
        for (name, port) in &self.ports {
            table.row([
                name.clone(),
                port.interface.clone(),
                port.attach.clone(),
                port.entered.frames.to_string(),
                port.entered.bytes.to_string(),
                port.passed.to_string(),
                port.blocked.to_string(),
                port.consumed.to_string(),
                port.left.to_string(),
                reasons(port.lost_before, &port.lost_before_by),
                port.guarded.to_string(),
                reasons(port.errors.values().sum(), &port.errors),
            ]);
        }
        table
    }

    fn copies_table(&self) -> Table {
        let mut table = Table::new(["RULE", "SOURCE", "MONITOR", "MATCHED", "COPIED", "ERRORS"], 3);
        for copy in self.copies.iter().filter(|copy| shown(self.copies.len(), copy.matched)) {
            table.row([
                copy.rule.clone(),
                copy.source.clone(),
                copy.monitor.clone(),
                copy.matched.to_string(),
                copy.copied.to_string(),
                reasons(copy.errors.values().sum(), &copy.errors),
            ]);
        }
        table
    }

    fn blocked_table(&self) -> Table {
        let mut table = Table::new(["RULE", "SOURCE", "BLOCKED"], 2);
        for rule in self.blocked.iter().filter(|rule| shown(self.blocked.len(), rule.blocked)) {
            table.row([rule.rule.clone(), rule.source.clone(), rule.blocked.to_string()]);
        }
        table
    }

    fn monitors_table(&self) -> Table {
        let head = ["MONITOR", "INTERFACE", "COPIED", "SENT", "BUFFER DROPS", "DEVICE DROPS", "QUEUED"];
        let mut table = Table::new(head.into_iter().chain(["SENSOR SENT", "GUARDED"]), 2);
        for (name, monitor) in &self.monitors {
            table.row([
                name.clone(),
                monitor.interface.clone(),
                monitor.copied.to_string(),
                monitor.sent.to_string(),
                reasons(monitor.dropped.buffer.values().sum(), &monitor.dropped.buffer),
                monitor.dropped.device.to_string(),
                monitor.queued.to_string(),
                monitor.sensor_sent.to_string(),
                monitor.guarded.to_string(),
            ]);
        }
        table
    }
}

/// Tables with more rows than these show only those in which something was counted.
const ROWS_MAX: usize = 64;

/// Whether a row of a table of so many is shown.
fn shown(rows: usize, counted: u64) -> bool {
    rows <= ROWS_MAX || counted > 0
}

fn idle(out: &mut impl Write, rows: usize, what: &str, counted: &str) -> fmt::Result {
    match rows {
        0 => Ok(()),
        _ => writeln!(out, "{rows} other {what} have {counted} nothing"),
    }
}

/// `7 (crc 5, missed 2)`; only the number where no reason has any.
fn reasons(total: u64, by: &BTreeMap<String, u64>) -> String {
    let named: Vec<String> =
        by.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if named.is_empty() { total.to_string() } else { format!("{total} ({})", named.join(", ")) }
}

/// Columns as wide as their widest cell: words to the left, numbers to the right. A column in which no row
/// says anything is left out.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// How many columns from the left hold words.
    words: usize,
}

impl Table {
    /// A table with these headings, of which the first `words` are over words.
    pub fn new<'a>(head: impl IntoIterator<Item = &'a str>, words: usize) -> Self {
        Self { head: head.into_iter().map(str::to_owned).collect(), rows: Vec::new(), words }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it, a line a row, without trailing blanks.
    pub fn print(&self, out: &mut impl Write) -> fmt::Result {
        let width = |column: usize| {
            let cells = std::iter::once(&self.head).chain(&self.rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let says = |column: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(column));
            self.rows.is_empty() || cells.any(|cell| !cell.is_empty())
        };
        let widths: Vec<Option<usize>> =
            (0..self.head.len()).map(|column| says(column).then(|| width(column))).collect();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let Some(width) = width else { continue };
                let gap = if column == 0 { "" } else { "  " };
                if column < self.words {
                    write!(line, "{gap}{cell:<width$}")?;
                } else {
                    write!(line, "{gap}{cell:>width$}")?;
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let port = PortStatus {
            interface: "eth1".into(),
            attach: "tcx".into(),
            entered: Count { frames: 10, bytes: 640 },
            passed: 8,
            errors: BTreeMap::from([("gone".into(), 2)]),
            ..PortStatus::default()
        };
        let copy = CopyStatus {
            rule: "perimeter".into(),
            source: "a".into(),
            monitor: "ids".into(),
            matched: 10,
            copied: 10,
            ..CopyStatus::default()
        };
        let monitor = MonitorStatus {
            interface: "eth3".into(),
            copied: 10,
            reached: 10,
            sent: 6,
            dropped: Dropped { buffer: BTreeMap::from([("a".into(), 3)]), device: 0 },
            ..MonitorStatus::default()
        };
        Status {
            backend: "kernel".into(),
            ports: BTreeMap::from([("a".into(), port)]),
            copies: vec![copy],
            monitors: BTreeMap::from([("ids".into(), monitor)]),
            ..Status::default()
        }
    }

    #[test]
    fn what_the_sums_leave_over_is_named() {
        let mut status = status();
        status.balance();
        assert_eq!(status.remainders(), [("monitor ids".to_owned(), 1)]);
        assert_eq!(status.unaccounted, 1);
    }

    #[test]
    fn surplus_and_deficit_do_not_cancel() {
        let mut status = status();
        status.copies[0].copied = 11;
        status.balance();
        assert_eq!(status.unaccounted, 2, "{:?}", status.remainders());
    }

    #[test]
    fn the_table_aligns_words_left_and_numbers_right() {
        let text = status().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3], "RULE       SOURCE  MONITOR  MATCHED  COPIED  ERRORS");
        assert_eq!(lines[4], "perimeter  a       ids           10      10       0");
    }

    #[test]
    fn ports_attached_alike_share_a_line() {
        let mut status = status();
        let mut other = status.ports["a"].clone();
        for port in status.ports.values_mut().chain([&mut other]) {
            port.why = "works on every interface".into();
        }
        status.ports.insert("b".into(), other);
        let text = status.to_string();
        assert!(text.contains("\ntcx: works on every interface (a, b)\n\n"), "{text}");
    }

    #[test]
    fn long_tables_show_the_rows_that_counted() {
        let mut status = status();
        let block =
            |line: u64, blocked| BlockStatus { rule: format!("pf.conf:{line}"), source: "a".into(), blocked };
        status.blocked = (1..=64).map(|line| block(line, line / 64)).collect();
        let text = status.to_string();
        assert!(text.contains("\npf.conf:63  a             0\npf.conf:64  a             1\n\n"), "{text}");
        status.blocked.push(block(65, 0));
        let text = status.to_string();
        let table = "RULE        SOURCE  BLOCKED\npf.conf:64  a             1\n\
                     64 other rules have blocked nothing\n\n";
        assert!(text.contains(table), "{text}");
    }

    #[test]
    fn what_rules_stopped_is_counted_by_rule_where_it_is_anything() {
        let mut port = PortStatus::default();
        for (rule, frames) in [("pf.conf:3", 2), ("pf.conf:4", 0), ("pf.conf:3", 5)] {
            port.add_blocked(rule, frames);
        }
        assert_eq!(port.blocked, 7);
        assert_eq!(port.blocked_by, BTreeMap::from([("pf.conf:3".to_owned(), 7)]));
    }

    #[test]
    fn a_column_without_a_word_is_left_out() {
        let mut status = status();
        status.ports.values_mut().for_each(|port| port.attach.clear());
        let text = status.to_string();
        let words = "PORT  INTERFACE  IN  BYTES";
        assert_eq!(text.lines().next().map(|line| &line[..words.len()]), Some(words));
    }

    #[test]
    fn the_json_has_the_names_of_the_contract() {
        let json = serde_json::to_value(status()).unwrap();
        assert_eq!(json["ports"]["a"]["in"]["frames"], 10);
        assert_eq!(json["monitors"]["ids"]["dropped"]["buffer"]["a"], 3);
        assert_eq!(json["copies"][0]["monitor"], "ids");
    }
}
