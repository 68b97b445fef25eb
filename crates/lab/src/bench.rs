//! A tap on a bench: two ends, a tap box between them, and sensors, ready for `engine::up`.
//!
//! For tests and measurements that need frames of their own rather than an enterprise:
//!
//! ```text
//! left.eth0 --- a [ tap ] b --- right.eth0
//!                 m1 --- sensor1.sf0
//!                 m2 --- sensor2.sf0  ...
//! ```
//!
//! The ends and the sensors are silent: no addresses, no IPv6. Everything is gone when it is dropped.

use sys::packet::{Options, PacketSocket};
use sys::{LinkStats, Linux};

use crate::capture::Capture;
use crate::enterprise::{End, TAP};
use crate::network::{CableSpec, LabError, Network};
use crate::virtual_ends;

/// How a bench is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BenchSpec {
    /// Monitor ports, each with a sensor.
    pub monitors: usize,
    /// How the cables are made.
    pub cable: CableSpec,
}

impl Default for BenchSpec {
    /// One monitor, an MTU of 1500, queues as the kernel makes them.
    fn default() -> Self {
        Self { monitors: 1, cable: CableSpec { mtu: 1500, queues: 0 } }
    }
}

/// Namespaces `left`, `tap`, `right` and `sensor1`, `sensor2`, ..., cabled.
#[derive(Debug)]
pub struct Bench {
    network: Network,
    monitors: usize,
}

impl Bench {
    /// Builds it. Nothing is up on the tap box yet.
    ///
    /// # Errors
    /// Where a namespace or a cable cannot be made: not root, most of the time.
    pub fn new(spec: BenchSpec) -> Result<Self, LabError> {
        let mut network = Network::new();
        network.add_box(TAP)?;
        let mut cables = vec![(Self::left(), End::new(TAP, "a")), (Self::right(), End::new(TAP, "b"))];
        let feed = |number| (End::new(TAP, &format!("m{number}")), Self::sensor(number));
        cables.extend((1..=spec.monitors).map(feed));
        for (far, near) in &cables {
            network.cable(far, near, spec.cable)?;
            network.raise(far)?;
            network.raise(near)?;
        }
        cables.iter().flat_map(|(far, near)| [far, near]).try_for_each(|end| network.await_carrier(end))?;
        Ok(Self { network, monitors: spec.monitors })
    }

    /// The end of the cable at port `a`.
    pub fn left() -> End {
        End::new("left", "eth0")
    }

    /// The end of the cable at port `b`.
    pub fn right() -> End {
        End::new("right", "eth0")
    }

    /// The sensor at monitor port `m<number>`, counted from 1.
    pub fn sensor(number: usize) -> End {
        End::new(&format!("sensor{number}"), "sf0")
    }

    /// The namespaces and cables.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Asks something of the machine in the tap box.
    ///
    /// # Errors
    /// Where the namespace cannot be entered.
    pub fn on_tap<T: Send>(&self, ask: impl FnOnce(&mut Linux) -> T + Send) -> Result<T, LabError> {
        self.network.inside(TAP, || ask(&mut Linux::new()))
    }

    /// Gives both ends and all sensors what XDP asks of virtual cables.
    ///
    /// # Errors
    /// Where a feature cannot be switched or a program not attached.
    pub fn prepare_for_xdp(&self) -> Result<(), LabError> {
        for end in [Self::left(), Self::right()] {
            virtual_ends::finish_checksums(&self.network, &end)?;
            virtual_ends::pass_all(&self.network, &end)?;
        }
        (1..=self.monitors)
            .try_for_each(|number| virtual_ends::pass_all(&self.network, &Self::sensor(number)))
    }

    /// Opens a capture.
    ///
    /// # Errors
    /// Where there is no such end, or no socket for it.
    pub fn capture(&self, end: &End) -> Result<Capture, LabError> {
        Capture::open(&self.network, end)
    }

    /// Sends frames from an end, in order.
    ///
    /// # Errors
    /// The first that could not be sent; those after it were not.
    pub fn send(&self, end: &End, frames: &[&[u8]]) -> Result<(), LabError> {
        let index = self.network.link(end)?.index;
        self.network.on(&end.host, |_| {
            let options = Options { bypass_queue: true, ..Options::default() };
            PacketSocket::open(index, options)?.send_all(frames)
        })
    }

    /// The counters of an interface.
    ///
    /// # Errors
    /// Where there is no such end.
    pub fn counts(&self, end: &End) -> Result<LinkStats, LabError> {
        Ok(self.network.link(end)?.stats)
    }
}
