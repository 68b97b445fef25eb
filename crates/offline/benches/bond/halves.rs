//! Two halves of a conversation, made of a capture that is given or of made-up traffic.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Octets in front of the first packet of a pcap file, and in front of each packet.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// Which half a packet goes to.
#[derive(Clone, Copy)]
pub enum Split {
    /// The first, the second, the first, ...: no two packets of a half follow each other in the bond.
    Turns,
    /// The first half is what this host sends.
    Host(Ipv4Addr),
}

/// What was made.
pub struct Halves {
    pub files: [PathBuf; 2],
    pub packets: u64,
    pub octets: u64,
}

/// Repeats the packets of a pcap file, each time later, until there are so many MiB, and splits them.
pub fn make(dir: &Path, given: &Path, split: Split, mib: u64) -> Result<Halves, Box<dyn Error>> {
    let octets = std::fs::read(given)?;
    if octets.get(..6) != Some(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0]) {
        return Err(
            format!("{}: no pcap file of microseconds in little-endian order", given.display()).into()
        );
    }
    let (header, mut rest) = octets.split_at(FILE_HEADER);
    let mut packets = Vec::new();
    while let Some(head) = rest.first_chunk::<RECORD_HEADER>() {
        let seconds = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let len = usize::try_from(u32::from_le_bytes([head[8], head[9], head[10], head[11]]))?;
        let (packet, behind) = rest.split_at(RECORD_HEADER + len);
        packets.push((seconds, packet));
        rest = behind;
    }
    let times = packets.iter().map(|(seconds, _)| *seconds);
    let (first, last) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
    let files = ["a.pcap", "b.pcap"].map(|name| dir.join(name));
    let mut writers = Vec::new();
    for file in &files {
        let mut writer = BufWriter::with_capacity(1 << 20, File::create(file)?);
        writer.write_all(header)?;
        writers.push(writer);
    }
    let (mut count, mut written, mut shift) = (0u64, 0u64, 0);
    while written < mib << 20 {
        for (seconds, packet) in &packets {
            let half = match split {
                Split::Turns => usize::try_from(count % 2)?,
                // The source of IPv4 behind an Ethernet header.
                Split::Host(host) => {
                    let source = packet.get(RECORD_HEADER + 26..RECORD_HEADER + 30);
                    usize::from(source != Some(&host.octets()[..]))
                }
            };
            writers[half].write_all(&(seconds + shift).to_le_bytes())?;
            writers[half].write_all(&packet[4..])?;
            count += 1;
            written += u64::try_from(packet.len())?;
        }
        shift += last - first + 1;
    }
    for mut writer in writers {
        writer.flush()?;
    }
    Ok(Halves { files, packets: count, octets: written + 2 * u64::try_from(FILE_HEADER)? })
}
