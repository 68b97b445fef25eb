//! Prints captures as `tcpdump -n` does, to hold the two side by side: `print FILE ...`.

use std::io::Write;

use wire::capture::read;
use wire::print::{Printer, time_of_day};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for file in std::env::args_os().skip(1) {
        let capture = std::fs::read(&file)?;
        let mut printer = Printer::new();
        let mut line = String::new();
        let mut written = Ok(());
        let end = read(&capture, |reader, packet| {
            line.clear();
            let finer = reader.is_finer_than_microseconds();
            time_of_day(packet.timestamp.unwrap_or_default(), finer, &mut line).expect("a string grows");
            line.push(' ');
            printer.frame(&packet.frame, &mut line).expect("a string grows");
            if written.is_ok() {
                written = writeln!(out, "{line}");
            }
        });
        written?;
        if let Err(broken) = end {
            eprintln!("{}: {broken}", file.display());
        }
    }
    Ok(out.flush()?)
}
