//! What a hub counts: of all ports together, and of each.

use std::fmt;

use plan::units::ShownRate;
use serde::Serialize;

use super::ATTEMPTS_MAX;

/// What was counted at a hub.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct HubCounts {
    /// The device's name.
    pub name: String,
    /// Bits a second.
    pub speed_bits: u64,
    /// Transmissions that overlapped with another, each counted: of stations most are tried again and arrive.
    pub collisions: u64,
    /// Of those, transmissions of stations that were cut after more than a slot: somebody did not listen.
    pub late_collisions: u64,
    /// Nanoseconds for which frames were on the wire that arrived.
    pub busy_ns: u64,
    /// Nanoseconds for which something was on the wire that was lost.
    pub wasted_ns: u64,
    /// Nanoseconds from the first to the last thing that happened.
    pub elapsed_ns: u64,
    /// By port, in the order of the config.
    pub ports: Vec<PortCounts>,
}

/// What was counted at one port of a hub.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PortCounts {
    /// The port.
    pub name: String,
    /// Whether only the output of a tap or a SPAN port is plugged in.
    pub tap: bool,
    /// Frames that came to be sent.
    pub offered: u64,
    /// Frames that all others got.
    pub delivered: u64,
    /// Frame octets that all others got.
    pub delivered_bytes: u64,
    /// Delivered frames by how often they were tried: index 0 is once.
    pub attempts: [u64; ATTEMPTS_MAX],
    /// The longest that a delivered frame took, from when it came until all others had it, nanoseconds.
    pub longest_ns: u64,
    /// Frames that were the first of their queue and heard another before they were tried first. What waits behind
    /// another frame of its own port, or after a collision, is not among them.
    pub deferred: u64,
    /// Frames that the queue had no room for.
    pub overflow: u64,
    /// Frames that were given up after [`ATTEMPTS_MAX`] collisions.
    pub excessive: u64,
    /// Frames of a tap that collided: nobody sends them again.
    pub lost_of_tap: u64,
    /// Frames whose collision the station did not hear, because it was done: nobody sends them again.
    pub unheard: u64,
    /// Frames that still wait.
    pub waiting: u64,
}

impl PortCounts {
    /// Frames that were lost, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.overflow + self.excessive + self.lost_of_tap + self.unheard
    }
}

impl HubCounts {
    /// Frames that were offered at all ports.
    pub fn offered(&self) -> u64 {
        self.ports.iter().map(|port| port.offered).sum()
    }

    /// Frames that were delivered, of all ports.
    pub fn delivered(&self) -> u64 {
        self.ports.iter().map(|port| port.delivered).sum()
    }

    /// Frames that were lost, of all ports.
    pub fn lost(&self) -> u64 {
        self.ports.iter().map(PortCounts::lost).sum()
    }

    /// The share of time in which the wire carried frames that arrived, their preambles and gaps included; 0 to 1.
    pub fn utilisation(&self) -> f64 {
        self.share(self.busy_ns)
    }

    #[expect(clippy::cast_precision_loss, reason = "a share for people; 53 bits of nanoseconds are 104 days")]
    fn share(&self, ns: u64) -> f64 {
        if self.elapsed_ns == 0 { 0.0 } else { ns as f64 / self.elapsed_ns as f64 }
    }
}

/// One line: how the wire was used.
impl fmt::Display for HubCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.ports.iter().map(|port| port.longest_ns).max().unwrap_or(0);
        let percent = |share: f64| share * 100.0;
        write!(
            f,
            "{}: {}, half duplex: {:.1} % of the time in frames that arrived, {:.1} % in {} that collided; \
             {} of {} frames lost; the longest took {}.{:03} ms",
            self.name,
            ShownRate(self.speed_bits),
            percent(self.utilisation()),
            percent(self.share(self.wasted_ns)),
            self.collisions,
            self.lost(),
            self.offered(),
            longest / 1_000_000,
            longest / 1000 % 1000,
        )
    }
}
