//! Captures that are the same on every machine, and captures made of one that is given.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use wire::capture::{PcapWriter, Timestamp};
use wire::{Frame, LinkType};

/// Numbers that are the same on every machine (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// Writes at least so many MiB of what looks like TCP: acknowledgements, full segments, a few in between, 700
/// octets on average. About six of ten frames are of port 80, a few after one another. `side` chooses the
/// numbers.
pub fn make(path: &Path, side: u64, mib: u64) -> Result<(), Box<dyn Error>> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ side.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    let mut frame = [0u8; 1514];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[23] = 6;
    frame[46] = 0x50;
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut out);
    let mut written = 0;
    let mut ns = 1_700_000_000_000_000_000;
    let mut port = 80u16;
    while written < mib << 20 {
        let len = match dice.below(100) {
            0..45 => 66,
            45..80 => 1514,
            _ => usize::try_from(100 + dice.below(1_000))?,
        };
        if dice.below(6) == 0 {
            port = if dice.below(10) < 6 { 80 } else { 443 };
        }
        ns += i128::from(1_000 * (1 + dice.below(20)));
        frame[16..18].copy_from_slice(&u16::try_from(len - 14)?.to_be_bytes());
        frame[26..34].copy_from_slice(&dice.below(4096).to_be_bytes());
        // From the server or to it.
        let ports = if dice.below(2) == 0 { [port, 40_000] } else { [40_000, port] };
        frame[34..36].copy_from_slice(&ports[0].to_be_bytes());
        frame[36..38].copy_from_slice(&ports[1].to_be_bytes());
        writer.packet(Timestamp(ns), &Frame::ethernet(&frame[..len]).ok_or("too long")?, &mut out)?;
        written += u64::try_from(out.len())?;
        file.write_all(&out)?;
        out.clear();
    }
    file.flush()?;
    Ok(())
}

/// Writes at least so many MiB of the packets of a pcap file, over and over.
pub fn repeat(path: &Path, given: &Path, mib: u64) -> Result<(), Box<dyn Error>> {
    /// Octets in front of the first packet.
    const FILE_HEADER: usize = 24;
    let octets = std::fs::read(given)?;
    if octets.get(4..6) != Some(&[2, 0]) || octets.len() <= FILE_HEADER {
        return Err(format!("{}: not a pcap file of this machine's byte order", given.display()).into());
    }
    let (header, packets) = octets.split_at(FILE_HEADER);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(header)?;
    let times = (mib << 20).div_ceil(u64::try_from(packets.len())?);
    for _ in 0..times {
        file.write_all(packets)?;
    }
    file.flush()?;
    Ok(())
}
