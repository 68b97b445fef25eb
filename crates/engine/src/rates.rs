//! Frames and bits a second between two readings of a ledger.

use std::time::Duration;

use plan::ledger::{Status, Table};

/// A table of rates: what entered each port and what each monitor sent, between two readings.
pub fn rates(before: &Status, now: &Status, between: Duration) -> String {
    let mut table = Table::new(["PORT", "FRAMES/S", "BIT/S", "DROPS/S"], 1);
    for (name, port) in &now.ports {
        let old = before.ports.get(name).map(|port| port.entered).unwrap_or_default();
        let frames = port.entered.frames.saturating_sub(old.frames);
        let bits = port.entered.bytes.saturating_sub(old.bytes).saturating_mul(8);
        table.row([name.clone(), per_second(frames, between), per_second(bits, between), "-".into()]);
    }
    for (name, monitor) in &now.monitors {
        let old = before.monitors.get(name).cloned().unwrap_or_default();
        let lost =
            |m: &plan::ledger::MonitorStatus| m.dropped.device + m.dropped.buffer.values().sum::<u64>();
        let frames = monitor.sent.saturating_sub(old.sent);
        let drops = lost(monitor).saturating_sub(lost(&old));
        table.row([name.clone(), per_second(frames, between), "-".into(), per_second(drops, between)]);
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = table.print(&mut text);
    text
}

/// A count over a time as a whole number a second; the time is at least a millisecond.
fn per_second(count: u64, between: Duration) -> String {
    let millis = between.as_millis().max(1);
    (u128::from(count) * 1000 / millis).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::ledger::{Count, PortStatus};

    #[test]
    fn rates_are_differences_over_time() {
        let at = |frames| {
            let port = PortStatus { entered: Count { frames, bytes: frames * 100 }, ..PortStatus::default() };
            Status { ports: [("a".to_owned(), port)].into(), ..Status::default() }
        };
        let text = rates(&at(100), &at(600), Duration::from_millis(500));
        assert_eq!(text.lines().nth(1), Some("a         1000  800000        -"));
    }
}
