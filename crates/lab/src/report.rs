//! A run as text for people and as JSON for programs.

use engine::Table;
use serde_json::json;
use wire::capture::Timestamp;
use wire::print::Printer;

use crate::capture::Captured;
use crate::checks::is_housekeeping;
use crate::run::{Observed, Report};
use crate::scenario::SCENARIOS;

/// Why writing to a string cannot fail.
const STRING: &str = "a string takes all that is written to it";

/// How much is shown, and how.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Frames shown of each sensor; `None` shows all.
    pub frames: Option<usize>,
    /// Whether headings are set in bold (a terminal reads them).
    pub bold: bool,
}

/// Frames shown of each sensor where nothing else was asked for.
pub const FRAMES_SHOWN: usize = 16;

/// One frame in a line, as tcpdump prints it, without its time.
pub fn describe(bytes: &[u8]) -> String {
    line(&mut Printer::new(), bytes)
}

fn line(printer: &mut Printer, bytes: &[u8]) -> String {
    let mut text = String::new();
    if let Some(frame) = wire::Frame::ethernet(bytes) {
        printer.frame(&frame, &mut text).expect(STRING);
    }
    text
}

/// The scenarios as a table.
pub fn list() -> String {
    let mut table = Table::new(["SCENARIO", "SHOWS"], 2);
    for scenario in &SCENARIOS {
        table.row([scenario.name.to_owned(), scenario.summary.to_owned()]);
    }
    let mut text = String::new();
    table.print(&mut text).expect(STRING);
    text
}

struct Page {
    text: String,
    bold: bool,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        let (on, off) = if self.bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.line("");
        self.line(&format!("{on}{heading}{off}"));
    }

    fn indented(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&format!("  {line}"));
        }
    }

    fn table(&mut self, table: &Table) {
        let mut text = String::new();
        table.print(&mut text).expect(STRING);
        self.indented(&text);
    }
}

/// The whole run, and what is said about a network that was kept. The last line is `unaccounted` and the number.
pub fn text(report: &Report, style: Style, kept: Option<&str>) -> String {
    let mut page = Page { text: String::new(), bold: style.bold };
    page.text.push_str(&format!("lab {}\n", report.scenario));
    page.line("");
    page.indented(&report.drawing);
    for plan in &report.boxes {
        page.heading(&format!("{} on {}", plan.file, plan.host));
        page.indented(&plan.text);
        for (name, text) in &plan.files {
            page.heading(name);
            page.indented(text);
        }
    }
    if !report.ends.is_empty() {
        page.heading("Ends of cables");
        page.indented(&report.ends.join("\n"));
    }
    for (host, said) in &report.ups {
        page.heading(&format!("Up on {host}"));
        page.indented(said);
    }
    page.heading("Traffic");
    let mut table = Table::new(["HOST", "CLIENT", "RESULT"], 3);
    for exchange in &report.traffic {
        let mark = if exchange.ok { "" } else { "FAILED: " };
        table.row([exchange.host.clone(), exchange.what.clone(), format!("{mark}{}", exchange.result)]);
    }
    page.table(&table);
    for sensor in &report.sensors {
        page.heading(&format!("{} ({}) saw {} frames", sensor.end, sensor.monitor, sensor.frames.len()));
        frames(&mut page, sensor, style.frames);
    }
    for ledger in &report.ledgers {
        page.heading(&format!("Ledger of {}", ledger.host));
        page.indented(&ledger.status.to_string());
    }
    page.heading("Checks");
    for check in &report.checks {
        let mark = if check.ok { "ok    " } else { "FAILED" };
        page.line(&format!("  {mark}  {}", check.what));
        if let Some(problem) = &check.problem {
            page.line(&format!("          {problem}"));
        }
    }
    if let Some(kept) = kept {
        page.heading("Kept");
        page.indented(kept);
    }
    page.line("");
    page.line(&format!("unaccounted {}", report.unaccounted()));
    page.text
}

/// The first frames that hosts mean, without what their stacks say to find each other; all of them where
/// there is no limit.
fn frames(page: &mut Page, sensor: &Observed, limit: Option<usize>) {
    let mut printer = Printer::new();
    let (mut shown, mut more, mut housekeeping) = (0, 0, 0);
    for frame in &sensor.frames {
        let line = line(&mut printer, &frame.bytes);
        if limit.is_some() && is_housekeeping(&frame.bytes) {
            housekeeping += 1;
        } else if limit.is_some_and(|limit| shown >= limit) {
            more += 1;
        } else {
            shown += 1;
            page.line(&format!("  {} {line}", time_of_day(frame)));
        }
    }
    if more + housekeeping > 0 {
        let what = "ARP, neighbour discovery and multicast reports";
        page.line(&format!("  ... and {more} more, and {housekeeping} of {what} (--all)"));
    }
}

/// `09:43:33.263664`, UTC.
fn time_of_day(frame: &Captured) -> String {
    let mut text = String::new();
    wire::print::time_of_day(Timestamp(frame.time_ns.into()), false, &mut text).expect(STRING);
    text
}

/// The same as JSON.
pub fn json(report: &Report) -> serde_json::Value {
    let boxes: Vec<_> = report
        .boxes
        .iter()
        .map(|plan| json!({ "host": plan.host, "file": plan.file, "config": plan.text }))
        .collect();
    let sensors: Vec<_> = report
        .sensors
        .iter()
        .map(|sensor| {
            let bytes: usize = sensor.frames.iter().map(|frame| frame.bytes.len()).sum();
            json!({
                "interface": sensor.end.to_string(),
                "monitor": sensor.monitor,
                "frames": sensor.frames.len(),
                "bytes": bytes,
            })
        })
        .collect();
    let ledgers: serde_json::Map<String, serde_json::Value> =
        report.ledgers.iter().map(|ledger| (ledger.host.clone(), json!(ledger.status))).collect();
    json!({
        "scenario": report.scenario,
        "boxes": boxes,
        "ends": report.ends,
        "up": report.ups.iter().map(|(host, said)| json!({ "host": host, "said": said })).collect::<Vec<_>>(),
        "traffic": report.traffic,
        "sensors": sensors,
        "ledgers": ledgers,
        "checks": report.checks,
        "ok": report.ok(),
        "unaccounted": report.unaccounted(),
    })
}

#[cfg(test)]
mod tests {
    use engine::{PortStatus, Status};

    use super::*;
    use crate::checks::Check;
    use crate::enterprise::End;
    use crate::run::Ledger;

    fn arp() -> Captured {
        let mut bytes = vec![0xff; 12];
        bytes.extend([0x08, 0x06]);
        bytes.resize(60, 0);
        Captured { time_ns: 34_896_789_012_000, outgoing: false, checksum_partial: false, bytes }
    }

    fn unknown() -> Captured {
        let mut frame = arp();
        frame.bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame
    }

    fn report(frames: Vec<Captured>, check: Check, unaccounted: i64) -> Report {
        let port = PortStatus { interface: "eth1".into(), ..PortStatus::default() };
        let status = Status { ports: [("a".to_owned(), port)].into(), unaccounted, ..Status::default() };
        Report {
            scenario: "tap",
            drawing: "a --- b\n".into(),
            boxes: Vec::new(),
            ends: Vec::new(),
            ups: Vec::new(),
            traffic: Vec::new(),
            sensors: vec![Observed { end: End::new("sensor1", "sf0"), monitor: "ids".into(), frames }],
            ledgers: vec![Ledger { host: "tap".into(), status }],
            checks: vec![check],
        }
    }

    #[test]
    fn the_last_line_is_what_is_unaccounted_for() {
        let style = Style { frames: Some(2), bold: false };
        let fine = report(vec![arp()], Check::new("a property", None), 0);
        assert!(fine.ok());
        assert!(text(&fine, style, None).ends_with("\n\nunaccounted 0\n"));
        let lost = report(vec![arp()], Check::new("a property", None), 3);
        assert!(!lost.ok());
        assert!(text(&lost, style, Some("how to look")).ends_with("Kept\n  how to look\n\nunaccounted 3\n"));
    }

    #[test]
    fn a_check_that_failed_says_why_and_decides() {
        let failed = report(Vec::new(), Check::equal("two numbers", ("one", 1), ("two", 2)), 0);
        assert!(!failed.ok());
        let page = text(&failed, Style { frames: None, bold: false }, None);
        assert!(page.contains("  FAILED  two numbers\n          one says 1, two says 2\n"), "{page}");
        assert_eq!(json(&failed)["ok"], false);
    }

    #[test]
    fn housekeeping_is_counted_and_printed_only_where_all_is_asked_for() {
        let report = report(vec![arp(), unknown(), unknown(), unknown()], Check::new("a property", None), 0);
        let page = text(&report, Style { frames: Some(2), bold: false }, None);
        assert_eq!(page.matches("09:41:36.789012 ").count(), 2, "{page}");
        assert!(page.contains("  ... and 1 more, and 1 of ARP, "), "{page}");
        let page = text(&report, Style { frames: None, bold: false }, None);
        assert_eq!(page.matches("09:41:36.789012 ").count(), 4, "{page}");
        assert!(!page.contains("more"), "{page}");
    }

    #[test]
    fn every_scenario_is_in_the_list() {
        let list = list();
        assert_eq!(list.lines().count(), SCENARIOS.len() + 1);
        assert!(
            list.starts_with("SCENARIO              SHOWS\ntap                   traditional tap"),
            "{list}"
        );
    }
}
