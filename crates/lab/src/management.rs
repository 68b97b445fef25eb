//! Traffic in the management VLAN of the DMZ: pings in tagged frames, written and answered frame by frame.
//!
//! Not every kernel has VLAN devices, so no stack is asked. The frames cross the switch like any others.

use std::time::{Duration, Instant};

use sys::packet::{Options, PacketSocket};
use wire::checksum::internet;

use crate::clients::Told;
use crate::enterprise::{End, MANAGEMENT, MANAGEMENT_VLAN};
use crate::network::{LabError, Network};

/// How long a host waits for a frame.
const PATIENCE: Duration = Duration::from_secs(3);

/// Octets of data in an echo request: more than in `ping`'s, as a sign of whose they are.
const ECHO_DATA: u16 = 800;

/// A host in the VLAN.
struct Host {
    end: End,
    mac: Vec<u8>,
    ip: [u8; 4],
    socket: PacketSocket,
}

impl Host {
    fn open(network: &Network, (name, ip): (&str, std::net::Ipv4Addr)) -> Result<Self, LabError> {
        let end = End::new(name, "eth0");
        let link = network.link(&end)?;
        let options = Options { receive: true, buffer_bytes: 1 << 20, ..Options::default() };
        let socket = network.on(name, |_| PacketSocket::open(link.index, options))?;
        Ok(Self { end, mac: link.address, ip: ip.octets(), socket })
    }

    fn send(&self, frame: &[u8]) -> Result<(), LabError> {
        self.socket.send(frame).map_err(|error| LabError::new(self.end.to_string(), error))
    }

    /// Whether exactly this frame comes before patience is over.
    fn expect(&mut self, frame: &[u8]) -> Result<bool, LabError> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let received = self.socket.receive(left);
            let received = received.map_err(|error| LabError::new(self.end.to_string(), error))?;
            if received.is_some_and(|received| !received.outgoing && received.data == frame) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The first host of [`MANAGEMENT`] pings the second, `count` times.
pub fn ping(network: &Network, count: u16) -> Result<Told, LabError> {
    let [asks, answers] = MANAGEMENT;
    let mut asks = Host::open(network, asks)?;
    let mut answers = Host::open(network, answers)?;
    for sequence in 0..count {
        let request = echo(8, &asks, &answers, sequence);
        asks.send(&request)?;
        if !answers.expect(&request)? {
            return Ok(Err(format!("request {sequence} did not arrive")));
        }
        let reply = echo(0, &answers, &asks, sequence);
        answers.send(&reply)?;
        if !asks.expect(&reply)? {
            return Ok(Err(format!("reply {sequence} did not arrive")));
        }
    }
    Ok(Ok(format!("{count} sent, {count} answered")))
}

/// A tagged frame with an echo request (8) or reply (0) in it.
fn echo(kind: u8, from: &Host, to: &Host, sequence: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x10, 0x04];
    message.extend(sequence.to_be_bytes());
    message.extend((0u8..=255).cycle().take(usize::from(ECHO_DATA)));
    let sum = internet(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut header = vec![0x45, 0];
    header.extend((28 + ECHO_DATA).to_be_bytes());
    header.extend(sequence.to_be_bytes());
    header.extend([0x40, 0, 64, 1, 0, 0]);
    header.extend(from.ip);
    header.extend(to.ip);
    let sum = internet(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());

    let tag = [0x8100u16.to_be_bytes(), MANAGEMENT_VLAN.to_be_bytes(), 0x0800u16.to_be_bytes()].concat();
    [to.mac.as_slice(), &from.mac, &tag, &header, &message].concat()
}
