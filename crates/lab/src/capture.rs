//! Captures into memory: one socket an interface, drained by whoever holds it.
//!
//! There is no thread: the kernel holds what has not been drained, up to [`BUFFER_BYTES`], and counts what did not
//! fit. Outer VLAN tags are put back where they were.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::packet::{Options, PacketSocket};
use wire::capture::{PcapWriter, Timestamp};

use crate::enterprise::End;
use crate::network::{LabError, Network};
use crate::run::Observed;

/// Room in the kernel for frames that nobody has drained yet, in octets of kernel memory.
pub const BUFFER_BYTES: usize = 64 << 20;

/// `ENETDOWN`.
const NETWORK_IS_DOWN: i32 = 100;

/// A frame that passed an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Sent by the host, not received.
    pub outgoing: bool,
    /// The transport checksum was left to hardware.
    pub checksum_partial: bool,
    /// Tags in their place, without FCS.
    pub bytes: Vec<u8>,
}

/// A capture on one interface, promiscuous while it is open.
#[derive(Debug)]
pub struct Capture {
    name: String,
    socket: PacketSocket,
    frames: Vec<Captured>,
    /// What the interface had sent when the capture was opened.
    sent_before: u64,
    /// Frames that found the socket's buffer full.
    lost: u64,
}

impl Capture {
    /// Opens a capture in the namespace of a host.
    pub fn open(network: &Network, end: &End) -> Result<Self, LabError> {
        let link = network.link(end)?;
        let options =
            Options { receive: true, promiscuous: true, buffer_bytes: BUFFER_BYTES, ..Options::default() };
        let socket = network.on(&end.host, |_| PacketSocket::open(link.index, options))?;
        Ok(Self {
            name: end.to_string(),
            socket,
            frames: Vec::new(),
            sent_before: link.stats.tx_packets,
            lost: 0,
        })
    }

    /// Takes over what has come since the last time.
    pub fn drain(&mut self) -> Result<(), LabError> {
        let failed = |error| LabError::new(&self.name, error);
        loop {
            let frame = match self.socket.receive(Duration::ZERO) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // Said once for each time that the interface is or goes down; what came before is still there.
                Err(error) if error.errno == NETWORK_IS_DOWN => continue,
                Err(error) => return Err(failed(error)),
            };
            self.frames.push(Captured {
                time_ns: frame.time_ns,
                outgoing: frame.outgoing,
                checksum_partial: frame.checksum_not_ready,
                bytes: frame.data.to_vec(),
            });
        }
        self.lost += self.socket.statistics().map_err(failed)?.dropped;
        Ok(())
    }

    /// What was drained so far, in the order in which it passed.
    pub fn frames(&self) -> &[Captured] {
        &self.frames
    }

    /// What was drained so far; the capture begins anew.
    pub fn take(&mut self) -> Vec<Captured> {
        std::mem::take(&mut self.frames)
    }

    /// Frames that the interface had sent before the capture was opened.
    pub fn sent_before(&self) -> u64 {
        self.sent_before
    }

    /// Frames that did not fit into the socket's buffer, up to the last time it was drained.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// Writes what each sensor saw as `DIRECTORY/HOST.INTERFACE.pcap`, with nanoseconds; gives the paths.
pub fn save(sensors: &[Observed], directory: &Path) -> Result<Vec<PathBuf>, LabError> {
    let at = |path: &Path| path.display().to_string();
    fs::create_dir_all(directory).map_err(|error| LabError::new(at(directory), error))?;
    let mut paths = Vec::new();
    for sensor in sensors {
        let path = directory.join(format!("{}.pcap", sensor.end));
        let bytes = pcap(&sensor.frames).map_err(|error| LabError::new(at(&path), error))?;
        let written = fs::File::create(&path).and_then(|mut file| file.write_all(&bytes));
        written.map_err(|error| LabError::new(at(&path), error))?;
        paths.push(path);
    }
    Ok(paths)
}

fn pcap(frames: &[Captured]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut out = Vec::new();
    let writer = PcapWriter::new(wire::LinkType::ETHERNET, true, &mut out);
    for captured in frames {
        let frame = wire::Frame::ethernet(&captured.bytes).ok_or("a frame above 4 GiB")?;
        writer.packet(Timestamp(captured.time_ns.into()), &frame, &mut out)?;
    }
    Ok(out)
}
