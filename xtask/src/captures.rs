//! Holds our capture readers against tshark and tcpdump, packet by packet, on captures that are too large or
//! too foreign to live in the repository.

use std::path::{Path, PathBuf};

use wire::capture;

use crate::steps::{Outcome, command, output, say};

/// Checks every pcap and pcapng file below `dir`.
///
/// # Errors
/// The first difference of each file; and where there is no capture at all.
pub fn check(dir: &Path) -> Outcome {
    let mut files = Vec::new();
    find(dir, &mut files)?;
    files.sort();
    let (mut packets, mut wrong) = (0, Vec::new());
    for file in &files {
        match compare(file) {
            Ok(count) => packets += count,
            Err(why) => wrong.push(format!("{}: {why}", file.display())),
        }
    }
    if files.is_empty() {
        return Err(format!("no capture below {}", dir.display()));
    }
    for line in &wrong {
        say(line);
    }
    match wrong.len() {
        0 => Ok(format!("{} captures, {packets} packets, each as tshark reads it", files.len())),
        count => Err(format!("{count} of {} captures are read differently", files.len())),
    }
}

/// Adds every pcap and pcapng file below `dir`.
///
/// # Errors
/// Where a directory cannot be read.
pub fn find(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let trouble = |error: std::io::Error| format!("{}: {error}", dir.display());
    for entry in std::fs::read_dir(dir).map_err(trouble)? {
        let path = entry.map_err(trouble)?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "pcap" || end == "pcapng") {
            files.push(path);
        }
    }
    Ok(())
}

/// Compares one file and gives the count of its packets.
fn compare(file: &Path) -> Result<usize, String> {
    let octets = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut ours = Vec::new();
    let reader = capture::read(&octets, |_, packet| {
        let time = packet.timestamp.map(|time| time.to_string()).unwrap_or_default();
        ours.push(format!("{time}\t{}\t{}", packet.frame.data.len(), packet.frame.wire_len));
    });
    let reader = reader.map_err(|broken| broken.to_string())?;
    let theirs = tshark(file)?;
    for (number, (our, their)) in (1..).zip(ours.iter().zip(&theirs)) {
        if our != their {
            return Err(format!("packet {number} is {our:?}, and to tshark {their:?}"));
        }
    }
    if ours.len() != theirs.len() {
        return Err(format!("{} packets, and to tshark {}", ours.len(), theirs.len()));
    }
    if let Some(count) = count_of_blocks(file)?.filter(|count| *count != ours.len()) {
        return Err(format!("{} packets, and {count} packet blocks by its description", ours.len()));
    }
    // Of pcapng, libpcap reads only what has one link type and one snapshot length.
    if reader.format() == Some(capture::Format::Pcap) {
        let count = tcpdump(file)?;
        if count != ours.len() {
            return Err(format!("{} packets, and to tcpdump {count}", ours.len()));
        }
    }
    Ok(ours.len())
}

/// Time, octets kept and octets on the wire of each packet. tshark lists blocks of other kinds too (custom
/// blocks, journal entries): only packets have an encapsulation.
fn tshark(file: &Path) -> Result<Vec<String>, String> {
    let fields = ["frame.time_epoch", "frame.cap_len", "frame.len", "frame.encap_type"];
    let mut tshark = command("tshark");
    tshark
        .arg("-n")
        .arg("-r")
        .arg(file)
        .args(["-T", "fields"])
        .args(fields.iter().flat_map(|field| ["-e", field]));
    let text = output(&mut tshark)?;
    let packets = text.lines().filter_map(|line| line.rsplit_once('\t'));
    Ok(packets
        .filter(|(_, encapsulation)| !encapsulation.is_empty())
        .map(|(rest, _)| rest.to_owned())
        .collect())
}

fn tcpdump(file: &Path) -> Result<usize, String> {
    let text = output(command("tcpdump").args(["--count", "-n", "-r"]).arg(file))?;
    let count = text.split_whitespace().next().and_then(|count| count.parse().ok());
    count.ok_or_else(|| format!("tcpdump --count said {text:?}"))
}

/// The pcapng test suite has a description beside each capture: packets are in blocks EPB, SPB and PB.
fn count_of_blocks(file: &Path) -> Result<Option<usize>, String> {
    let description = file.with_extension("txt");
    if !description.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&description).map_err(|error| error.to_string())?;
    let mut count = 0;
    for line in text.lines() {
        let Some((block, number)) = line.trim().split_once(": ") else { continue };
        if matches!(block, "EPB" | "SPB" | "PB") {
            count += number.parse::<usize>().map_err(|error| format!("{line:?}: {error}"))?;
        }
    }
    Ok(Some(count))
}
