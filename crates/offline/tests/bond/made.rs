//! Captures that are made up, how they arrive, and what a bond of them must be.

use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use offline::bond::{Options, Report, bond};
use offline::{Source, Target};
use wire::capture::{self, PcapWriter, PcapngWriter, Timestamp};
use wire::{Frame, LinkType};

/// A packet on its own feet: nanoseconds since 1970, and its octets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    pub ns: i64,
    pub data: Vec<u8>,
}

/// How a capture is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Micro,
    Nano,
    BigEndian,
    Pcapng,
}

impl Form {
    /// A capture of Ethernet frames.
    pub fn write(self, packets: &[Packet]) -> Vec<u8> {
        self.write_as(LinkType::ETHERNET, packets)
    }

    pub fn write_as(self, link_type: LinkType, packets: &[Packet]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut ng = PcapngWriter::default();
        let mut plain = None;
        match self {
            Self::Micro | Self::Nano => {
                plain = Some(PcapWriter::new(link_type, self == Self::Nano, &mut out))
            }
            Self::BigEndian => {
                out.extend([0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
                out.extend(link_type.0.to_be_bytes());
            }
            Self::Pcapng => {
                ng = PcapngWriter::new(&mut out);
                ng.interface(link_type, "made", &mut out);
            }
        }
        for Packet { ns, data } in packets {
            let len = u32::try_from(data.len()).unwrap();
            let frame = Frame { data, wire_len: len, link_type };
            let time = Timestamp(i128::from(*ns));
            match (self, plain) {
                (_, Some(plain)) => plain.packet(time, &frame, &mut out).unwrap(),
                (Self::Pcapng, _) => ng.packet(0, time, &frame, &mut out).unwrap(),
                _ => {
                    let seconds = u32::try_from(ns / 1_000_000_000).unwrap();
                    let micros = u32::try_from(ns % 1_000_000_000 / 1000).unwrap();
                    out.extend([seconds, micros, len, len].iter().flat_map(|field| field.to_be_bytes()));
                    out.extend(data);
                }
            }
        }
        out
    }
}

/// The capture as it is, packed with gzip, or with zstd.
pub fn packed(capture: &[u8], how: u8) -> Vec<u8> {
    match how {
        0 => capture.to_vec(),
        1 => {
            // Two members, as files of gzip may have.
            let (front, behind) = capture.split_at(capture.len() / 2);
            [front, behind].iter().flat_map(|part| gzip(part)).collect()
        }
        _ => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            let (front, behind) = capture.split_at(capture.len() / 3);
            let mut out = ruzstd::encoding::compress_to_vec(front, level);
            // A frame that decoders pass over.
            out.extend([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
            out.extend(ruzstd::encoding::compress_to_vec(behind, level));
            out
        }
    }
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

/// A stream that gives its octets in pieces of these sizes, over and over.
pub struct Chunks {
    octets: Cursor<Vec<u8>>,
    sizes: Vec<usize>,
    next: usize,
    asked: Option<Box<dyn FnOnce() + Send>>,
}

impl Chunks {
    pub fn new(octets: Vec<u8>, sizes: Vec<usize>) -> Self {
        Self { octets: Cursor::new(octets), sizes, next: 0, asked: None }
    }

    /// Calls this when more is asked for than there is.
    pub fn then(self, asked: impl FnOnce() + Send + 'static) -> Self {
        Self { asked: Some(Box::new(asked)), ..self }
    }
}

impl Read for Chunks {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.next % self.sizes.len()];
        self.next += 1;
        let room = out.len().min(size);
        let len = self.octets.read(&mut out[..room])?;
        if len == 0
            && let Some(asked) = self.asked.take()
        {
            asked();
        }
        Ok(len)
    }
}

pub fn stream(name: &str, read: impl Read + Send + 'static) -> Source {
    Source::Stream(name.to_owned(), Box::new(read))
}

/// Octets that were written, for who wants to look.
#[derive(Clone, Default)]
pub struct Shared {
    octets: Arc<Mutex<Vec<u8>>>,
    room: Option<usize>,
}

impl Shared {
    pub fn that_hangs_up_after(octets: usize) -> Self {
        Self { room: Some(octets), ..Self::default() }
    }

    pub fn octets(&self) -> Vec<u8> {
        self.octets.lock().unwrap().clone()
    }
}

impl Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut written = self.octets.lock().unwrap();
        if self.room.is_some_and(|room| written.len() + octets.len() > room) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        written.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The report and the octets of a bond.
pub fn bonded(sources: Vec<Source>, options: &Options) -> (Report, Vec<u8>) {
    let output = Shared::default();
    let target = Target::Stream("output".to_owned(), Box::new(output.clone()));
    let report = bond(sources, options, Some(target), |_| {}).unwrap();
    (report, output.octets())
}

pub fn read_all(octets: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    capture::read(octets, |_, packet| {
        let ns = i64::try_from(packet.timestamp.unwrap().0).unwrap();
        packets.push(Packet { ns, data: packet.frame.data.to_vec() });
    })
    .unwrap();
    packets
}

/// What a bond must be.
pub struct Expected {
    pub packets: Vec<Packet>,
    pub late: u64,
    /// Moments at which several inputs have frames that are not late, and those frames.
    pub ties: (u64, u64),
}

/// By sorting everything in memory.
pub fn expected(inputs: &[(Vec<Packet>, Form)], window_us: u64) -> Expected {
    let window = i64::try_from(window_us * 1000).unwrap();
    let mut all = Vec::new();
    let mut lates = 0;
    for (input, (packets, _)) in inputs.iter().enumerate() {
        let mut latest = i64::MIN;
        for packet in packets {
            let floor = latest.saturating_sub(window);
            let late = packet.ns < floor;
            lates += u64::from(late);
            all.push((packet.ns.max(floor), input, late, packet.clone()));
            latest = latest.max(packet.ns);
        }
    }
    // Stable: what is equal keeps the order of its file.
    all.sort_by_key(|(key, input, ..)| (*key, *input));
    let mut ties = (0, 0);
    let timely: Vec<(i64, usize)> =
        all.iter().filter(|(_, _, late, _)| !late).map(|(key, input, ..)| (*key, *input)).collect();
    for moment in timely.chunk_by(|(one, _), (other, _)| one == other) {
        if moment.iter().any(|(_, input)| *input != moment[0].1) {
            ties = (ties.0 + 1, ties.1 + u64::try_from(moment.len()).unwrap());
        }
    }
    Expected { packets: all.into_iter().map(|(.., packet)| packet).collect(), late: lates, ties }
}

/// A directory that goes with this.
pub struct Directory(PathBuf);

impl Directory {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left behind lies below the target directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn directory() -> Directory {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bond-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    Directory(dir)
}
