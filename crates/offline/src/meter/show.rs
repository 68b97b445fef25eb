//! Reports as tables and sentences for people, and quantities as they are written there: four digits that matter.
//!
//! Exact numbers are in the JSON.

use std::fmt::{self, Write};

use plan::ledger::Table;

use super::report::{Cure, Measures, PortReport};

/// Tables with more ports than this show only the ports that lost something or came close.
const PORTS_MAX: usize = 64;

/// Many ports in the same tables.
///
/// Of more than 64 ports only those are shown in which something was lost, and how many others there are; of more than
/// 64 of these, the 64 that lost most.
#[derive(Clone, Copy, Debug)]
pub struct Reports<'a>(pub &'a [PortReport]);

impl fmt::Display for PortReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Reports(std::slice::from_ref(self)).fmt(f)
    }
}

impl fmt::Display for Reports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        if shown.is_empty() {
            return self.others(f, 0);
        }
        loads(&shown).print(f)?;
        self.others(f, shown.len())?;
        if shown.iter().any(|port| port.total.queue.deepest_bytes > 0) {
            f.write_char('\n')?;
            queues(&shown).print(f)?;
        }
        if shown.iter().any(|port| delayed(port)) {
            f.write_char('\n')?;
            delays(&shown).print(f)?;
        }
        f.write_char('\n')?;
        bursts(&shown).print(f)?;
        let cures: Vec<String> = shown.iter().filter_map(|port| cure(port)).collect();
        if !cures.is_empty() {
            f.write_char('\n')?;
            cures.iter().try_for_each(|text| f.write_str(text))?;
        }
        Ok(())
    }
}

impl Reports<'_> {
    fn shown(&self) -> Vec<&PortReport> {
        if self.0.len() <= PORTS_MAX {
            return self.0.iter().collect();
        }
        let mut lossy: Vec<&PortReport> =
            self.0.iter().filter(|port| port.total.dropped.frames > 0).collect();
        if lossy.len() > PORTS_MAX {
            lossy.sort_by_key(|port| std::cmp::Reverse(port.total.dropped.frames));
            lossy.truncate(PORTS_MAX);
        }
        lossy
    }

    fn others(&self, out: &mut impl Write, shown: usize) -> fmt::Result {
        let lossy = self.0.iter().filter(|port| port.total.dropped.frames > 0).count();
        match (self.0.len() - shown, lossy.saturating_sub(shown)) {
            (0, _) => Ok(()),
            (others, 0) => writeln!(out, "{others} other ports have lost nothing"),
            (others, lossy) => writeln!(out, "{others} other ports, of which {lossy} have lost less"),
        }
    }
}

/// The rows of a port: all sides together, then each where there are several.
fn rows(port: &PortReport) -> impl Iterator<Item = (&str, &Measures)> {
    let sides = port.sides.iter().map(|side| (side.name.as_str(), &side.measures));
    let all = (port.sides.len() != 1).then_some(("all", &port.total));
    all.into_iter().chain(sides)
}

fn loads(ports: &[&PortReport]) -> Table {
    let head = [
        "PORT",
        "SIDE",
        "OFFERED",
        "MEAN",
        "PEAK 1 ms",
        "CARRIED",
        "DROPPED",
        "%",
        "FIRST DROP",
        "LAST DROP",
    ];
    let mut table = Table::new(head, 2);
    for port in ports {
        for (side, measures) in rows(port) {
            let dropped = measures.dropped;
            let when = |at: Option<u64>| at.map_or(String::new(), |at| Time(at).to_string());
            table.row([
                port.name.clone(),
                side.to_owned(),
                measures.offered.frames.to_string(),
                Rate(measures.offered.mean_bits).to_string(),
                Rate(measures.offered.peak_bits).to_string(),
                measures.carried.frames.to_string(),
                dropped.frames.to_string(),
                format!("{:.2}", dropped.percent),
                when(dropped.first_ns),
                when(dropped.last_ns),
            ]);
        }
    }
    table
}

fn queues(ports: &[&PortReport]) -> Table {
    let head = ["PORT", "SIDE", "DEEPEST QUEUE", "OF BUFFER", "AT", "WAITED FOR"];
    let mut table = Table::new(head, 2);
    for port in ports {
        for (side, measures) in rows(port) {
            let queue = measures.queue;
            // Each side has a buffer of its own: of what all have waiting there is none to be a part of.
            let all = std::ptr::eq(measures, &raw const port.total);
            let percent = queue
                .percent_of_buffer
                .filter(|_| !all || port.sides.is_empty())
                .map_or(String::new(), |percent| format!("{percent:.1} %"));
            table.row([
                port.name.clone(),
                side.to_owned(),
                Bytes(queue.deepest_bytes).to_string(),
                percent,
                queue.deepest_at_ns.map_or(String::new(), |at| Time(at).to_string()),
                Time(queue.waiting_ns).to_string(),
            ]);
        }
    }
    table
}

/// Whether there is anything to say of delays: a port without a rate has none.
fn delayed(port: &PortReport) -> bool {
    port.rate_bits.is_some() && port.total.delay.is_some()
}

fn delays(ports: &[&PortReport]) -> Table {
    let mut table = Table::new(["PORT", "SIDE", "DELAY 50 %", "90 %", "99 %", "99.9 %", "MOST"], 2);
    for port in ports.iter().filter(|port| delayed(port)) {
        for (side, measures) in rows(port) {
            let Some(delay) = measures.delay else { continue };
            let values = [delay.p50_ns, delay.p90_ns, delay.p99_ns, delay.p999_ns, delay.max_ns];
            let names = [port.name.clone(), side.to_owned()];
            table.row(names.into_iter().chain(values.into_iter().map(|ns| Time(ns).to_string())));
        }
    }
    table
}

fn bursts(ports: &[&PortReport]) -> Table {
    let mut table = Table::new(["PORT", "WINDOW", "PEAK RATE", "FROM", "ABOVE THE RATE", "FOR"], 2);
    for port in ports {
        for burst in &port.bursts {
            table.row([
                port.name.clone(),
                Time(burst.window_ns).to_string(),
                Rate(burst.peak_bits).to_string(),
                burst.peak_at_ns.map_or(String::new(), |at| Time(at).to_string()),
                burst.exceeded.map_or(String::new(), |times| match times {
                    1 => "once".to_owned(),
                    times => format!("{times} times"),
                }),
                burst.exceeded_ns.map_or(String::new(), |ns| Time(ns).to_string()),
            ]);
        }
    }
    table
}

/// What would have lost nothing, in sentences; `None` where it was not worked out.
fn cure(port: &PortReport) -> Option<String> {
    let Cure { rate_bits, buffer_bytes, lasting, .. } = port.cure?;
    let name = &port.name;
    let lossless = port.total.dropped.frames == 0;
    let line = port.line_bits.filter(|line| port.rate_bits.is_some_and(|rate| rate >= *line));
    let rate = rate_bits.map(|rate| match port.line_bits.filter(|line| rate > *line) {
        Some(line) => format!("{} (on a line faster than its {})", Rate(rate), Rate(line)),
        None => Rate(rate).to_string(),
    });
    let buffer = format!("{} a side at this rate", Bytes(buffer_bytes));
    let mut text = match (lossless, rate, port.buffer_bytes) {
        (true, Some(rate), _) if buffer_bytes == 0 => {
            format!("{name}: nothing ever waited; {rate} with this buffer would be enough\n")
        }
        (true, Some(rate), _) => format!("{name}: {rate} with this buffer would be enough, and {buffer}\n"),
        (true, None, _) => format!("{name}: {buffer} would be enough\n"),
        (false, Some(rate), _) => {
            format!("{name}: nothing would be lost at {rate} with this buffer, or with {buffer}\n")
        }
        (false, None, Some(_)) => {
            format!("{name}: nothing would be lost with {buffer}; no rate is sure to do with this buffer\n")
        }
        (false, None, None) => format!("{name}: nothing would be lost with {buffer}\n"),
    };
    if !lasting && !port.total.lost_nothing() {
        let line = if line.is_some() { ", all that its line takes" } else { "" };
        text += &format!(
            "{name}: no buffer cures this for good: on average {} arrive, {} leave{line}\n",
            Rate(port.total.offered.mean_bits),
            port.rate_bits.map_or_else(|| "all".to_owned(), |rate| Rate(rate).to_string()),
        );
    }
    Some(text)
}

/// Bits a second: `137.2 Mbit/s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate(pub(super) u64);

/// Octets: `1.050 MB`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) u64);

/// Nanoseconds: `200.0 ms`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) u64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"])
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &["B", "kB", "MB", "GB", "TB"])
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &["ns", "us", "ms", "s"])
    }
}

/// Four digits in the largest unit that leaves at least 1; without a fraction where there is none.
fn scaled(f: &mut fmt::Formatter<'_>, value: u64, units: &[&str]) -> fmt::Result {
    let last = units.len() - 1;
    let mut unit = 0;
    let mut scale = 1u64;
    // What rounds to a thousand is one of the next unit.
    let rounded = |scale: u64| (u128::from(value) * 10 + u128::from(scale) / 2) / u128::from(scale);
    while unit < last && rounded(scale) >= 10_000 {
        (unit, scale) = (unit + 1, scale * 1000);
    }
    let (whole, rest) = (value / scale, value % scale);
    let digits = match whole {
        _ if rest == 0 => 0,
        0..10 => 3,
        10..100 => 2,
        100..1000 => 1,
        _ => 0,
    };
    #[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
    let number = value as f64 / scale as f64;
    write!(f, "{number:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_four_digits() {
        let rates =
            [0, 999, 1000, 1500, 137_249_000, 100_000_000, 2_500_000_000].map(|rate| Rate(rate).to_string());
        assert_eq!(
            rates,
            [
                "0 bit/s",
                "999 bit/s",
                "1 kbit/s",
                "1.500 kbit/s",
                "137.2 Mbit/s",
                "100 Mbit/s",
                "2.500 Gbit/s"
            ]
        );
        assert_eq!(Rate(999_980_000).to_string(), "1.000 Gbit/s");
        assert_eq!(Rate(999_940_000).to_string(), "999.9 Mbit/s");
        assert_eq!(Time(u64::MAX).to_string(), "18446744074 s");
        assert_eq!(Bytes(1 << 20).to_string(), "1.049 MB");
        assert_eq!(Time(200_123_456).to_string(), "200.1 ms");
        assert_eq!(Time(7_200_000_000_000).to_string(), "7200 s");
    }
}
