//! Answers of tcpdump that lie beside the captures: expressions, and for each the count of packets of a file that
//! it selects and the MD5 of their octets, one behind the other; and expressions that tcpdump refuses.

use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use rules::expr;
use serde_json::Value;
use wire::{LinkType, capture};

use crate::steps::{Outcome, say};

/// Checks every `*.filters.json` of a directory.
///
/// # Errors
/// Expressions that select other packets, or are read though tcpdump refuses them.
pub fn check(dir: &Path) -> Outcome {
    let trouble = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(trouble)? {
        let path = entry.map_err(trouble)?.path();
        if path.to_string_lossy().ends_with(".filters.json") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(format!("no *.filters.json in {}", dir.display()));
    }
    files.sort();
    let (mut selected, mut refused, mut wrong) = (0, 0, Vec::new());
    for file in &files {
        let counts = one(dir, file, &mut wrong)?;
        selected += counts.0;
        refused += counts.1;
    }
    for line in &wrong {
        say(line);
    }
    match wrong.len() {
        0 => Ok(format!("{selected} expressions select what tcpdump selects, {refused} are refused")),
        count => Err(format!("{count} expressions differ from tcpdump")),
    }
}

/// Expressions that agree, and refusals that do.
fn one(dir: &Path, file: &Path, wrong: &mut Vec<String>) -> Result<(usize, usize), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let answers: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let shape = || format!("{}: not of the shape file, selected, refused", file.display());
    let name = answers["file"].as_str().ok_or_else(shape)?;
    let octets = std::fs::read(dir.join(name)).map_err(|error| format!("{name}: {error}"))?;
    let (mut selected, mut refused) = (0, 0);
    for (expression, answer) in answers["selected"].as_object().ok_or_else(shape)? {
        let packets = answer["packets"].as_u64().ok_or_else(shape)?;
        let md5 = answer["md5"].as_str().ok_or_else(shape)?;
        match select(&octets, expression) {
            Ok(ours) if ours == (packets, md5.to_owned()) => selected += 1,
            Ok((ours, _)) => wrong.push(format!("`{expression}` selects {ours} packets, tcpdump {packets}")),
            Err(why) => wrong.push(format!("`{expression}`: {why}")),
        }
    }
    for expression in answers["refused"].as_array().ok_or_else(shape)? {
        let expression = expression.as_str().ok_or_else(shape)?;
        match expr::parse(expression, LinkType::ETHERNET) {
            Err(_) => refused += 1,
            Ok(_) => wrong.push(format!("`{expression}` is read, and tcpdump refuses it")),
        }
    }
    Ok((selected, refused))
}

fn select(octets: &[u8], expression: &str) -> Result<(u64, String), String> {
    let mut test = None;
    let (mut packets, mut md5, mut flaws) = (0, Md5::new(), Vec::new());
    let reader = capture::read(octets, |_, packet| {
        let link_type = packet.frame.link_type;
        if test.as_ref().is_none_or(|(of, _)| *of != link_type) {
            match expr::parse(expression, link_type) {
                Ok(parsed) => test = Some((link_type, parsed)),
                Err(found) => flaws = found,
            }
        }
        if test.as_ref().is_some_and(|(_, test)| test.holds(&packet.frame)) {
            packets += 1;
            md5.update(packet.frame.data);
        }
    });
    reader.map_err(|broken| broken.to_string())?;
    match flaws.first() {
        Some(flaw) => Err(flaw.what.clone()),
        None => Ok((packets, md5.finalize().iter().map(|octet| format!("{octet:02x}")).collect())),
    }
}
