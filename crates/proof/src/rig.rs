//! A tap box with whatever is plugged into it.
//!
//! ```text
//! outside.a --- a [ tap ] b --- outside.b
//! outside.m1 -- m1 [    ] m2 -- outside.m2   ...
//! ```
//!
//! Port, interface on the tap box and far end have one name, so that a failure names the cable. The far ends may
//! be in hosts of their own, for traffic of real stacks.

use engine::{Status, UpReport};
use lab::capture::Capture;
use lab::enterprise::{End, TAP};
use lab::network::{CableSpec, Network};
use plan::plan::Plan;
use sys::packet::{Options, PacketSocket};
use sys::{LinkStats, Linux, Sys};

use crate::wait;

/// The host that all far ends are in which are given no other.
pub const OUTSIDE: &str = "outside";
/// What a sender is told whose frame was dropped on its way out.
const ENOBUFS: i32 = 105;

/// A tap box and its cables. Gone when it is dropped.
#[derive(Debug)]
pub struct Rig {
    network: Network,
    cables: Vec<(String, End)>,
}

impl Rig {
    /// A rig with a cable to each of these ports, all far ends in one silent host.
    ///
    /// # Panics
    /// Where it cannot be built.
    pub fn new(ports: &[&str], mtu: u32) -> Self {
        let ends: Vec<(&str, End)> = ports.iter().map(|port| (*port, End::new(OUTSIDE, port))).collect();
        Self::with_ends(&ends, mtu)
    }

    /// A rig with these far ends.
    ///
    /// # Panics
    /// Where it cannot be built.
    pub fn with_ends(ends: &[(&str, End)], mtu: u32) -> Self {
        let mut network = Network::new();
        network.add_box(TAP).expect("a namespace for the tap box");
        let mut cables = Vec::new();
        for (port, end) in ends {
            network.cable(&End::new(TAP, port), end, CableSpec { mtu, queues: 0 }).expect("a cable");
            cables.push(((*port).to_owned(), end.clone()));
        }
        let both = |(port, end): &(String, End)| [End::new(TAP, port), end.clone()];
        let ends: Vec<End> = cables.iter().flat_map(both).collect();
        ends.iter().try_for_each(|end| network.raise(end)).expect("interfaces come up");
        ends.iter().try_for_each(|end| network.await_carrier(end)).expect("a cable carries");
        Self { network, cables }
    }

    /// The namespaces and cables.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The ports that have a cable.
    pub fn ports(&self) -> impl Iterator<Item = &str> {
        self.cables.iter().map(|(port, _)| port.as_str())
    }

    /// The far end of a port's cable.
    ///
    /// # Panics
    /// Where the port has none.
    pub fn far(&self, port: &str) -> &End {
        let found = self.cables.iter().find(|(name, _)| name == port);
        &found.unwrap_or_else(|| panic!("no cable at {port}")).1
    }

    /// The interface of a port on the tap box.
    pub fn near(&self, port: &str) -> End {
        End::new(TAP, port)
    }

    /// Asks something on the tap box, on a thread of its own there.
    ///
    /// # Panics
    /// Where the namespace cannot be entered.
    pub fn on_tap<T: Send>(&self, ask: impl FnOnce(&mut Linux) -> T + Send) -> T {
        self.network.inside(TAP, || ask(&mut Linux::new())).expect("the tap box can be entered")
    }

    /// Asks the kernel for something in the host of an end, with the interface's index.
    ///
    /// # Panics
    /// Where the kernel refuses it.
    pub fn at<T: Send>(&self, end: &End, ask: impl FnOnce(&mut Linux, u32) -> sys::Result<T> + Send) -> T {
        let index = self.index(end);
        self.network.on(&end.host, |sys| ask(sys, index)).unwrap_or_else(|error| panic!("{end}: {error}"))
    }

    fn index(&self, end: &End) -> u32 {
        self.network.link(end).unwrap_or_else(|error| panic!("{end}: {error}")).index
    }

    /// Gives far ends what XDP asks of virtual cables: see [`lab::virtual_ends`].
    ///
    /// # Panics
    /// Where it cannot.
    pub fn prepare_for_xdp(&self) {
        for (_, end) in &self.cables {
            lab::virtual_ends::finish_checksums(&self.network, end)
                .expect("checksum offload can be switched");
            lab::virtual_ends::pass_all(&self.network, end).expect("a program can be attached");
        }
    }

    /// Puts a config up.
    ///
    /// # Errors
    /// What `up` says.
    ///
    /// # Panics
    /// Where the config is wrong: it is the test's own.
    pub fn try_up(&self, config: &str) -> Result<UpReport, String> {
        let (plan, _) = plan::compile("proof.toml", config).unwrap_or_else(|problems| panic!("{problems}"));
        self.on_tap(|sys| engine::up(sys, &plan, "proof.toml")).map_err(|error| error.to_string())
    }

    /// Puts a plan up.
    ///
    /// # Panics
    /// Where `up` refuses or fails.
    pub fn up_plan(&self, plan: &Plan) -> UpReport {
        self.on_tap(|sys| engine::up(sys, plan, "proof.toml")).unwrap_or_else(|error| panic!("up: {error}"))
    }

    /// Puts a config up.
    ///
    /// # Panics
    /// Where the config is wrong, or `up` refuses or fails.
    pub fn up(&self, config: &str) -> UpReport {
        self.try_up(config).unwrap_or_else(|error| panic!("up of\n{config}\n{error}"))
    }

    /// The ledger, now.
    ///
    /// # Panics
    /// Where it cannot be read.
    pub fn status(&self) -> Status {
        self.on_tap(engine::status).unwrap_or_else(|error| panic!("status: {error}"))
    }

    /// The ledger once nothing is on its way any more: `unaccounted` 0 and nothing queued.
    ///
    /// # Panics
    /// With the ledger, where it never balances.
    pub fn settled(&self) -> Status {
        let rests = |status: &Status| {
            status.unaccounted == 0
                && status.monitors.values().all(|monitor| monitor.queued == 0)
                && status.ports.values().all(|port| !port.errors.contains_key("in-flight"))
        };
        wait::until("the ledger balances", || Shown(self.status()), |shown| rests(&shown.0)).0
    }

    /// Takes it down.
    ///
    /// # Panics
    /// Where that fails.
    pub fn down(&self) {
        self.on_tap(engine::down).unwrap_or_else(|error| panic!("down: {error}"));
    }

    /// Opens a capture.
    ///
    /// # Panics
    /// Where there is no such interface.
    pub fn capture(&self, end: &End) -> Capture {
        Capture::open(&self.network, end).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends frames from an interface, in order, all from one CPU.
    ///
    /// # Panics
    /// At the first frame that cannot be sent.
    pub fn send(&self, end: &End, frames: &[&[u8]]) {
        self.with_socket(end, |socket| frames.iter().try_for_each(|frame| socket.send(frame)));
    }

    /// Sends frames from an interface whose egress lets none of them leave.
    ///
    /// # Panics
    /// At the first frame that leaves.
    pub fn send_in_vain(&self, end: &End, frames: &[&[u8]]) {
        self.with_socket(end, |socket| {
            for frame in frames {
                match socket.send(frame) {
                    Err(error) if error.errno == ENOBUFS => {}
                    other => panic!("{end}: {other:?} for a frame that must not leave"),
                }
            }
            Ok(())
        });
    }

    /// A socket to send by, past no queue.
    ///
    /// # Panics
    /// Where there is no such interface.
    pub fn socket(&self, end: &End) -> PacketSocket {
        let index = self.index(end);
        let socket = self.network.on(&end.host, |_| PacketSocket::open(index, Options::default()));
        socket.unwrap_or_else(|error| panic!("{end}: {error}"))
    }

    fn with_socket(&self, end: &End, work: impl FnOnce(&PacketSocket) -> sys::Result<()> + Send) {
        let index = self.index(end);
        let done = self.network.on(&end.host, |_| {
            sys::cpu::pin_to_one()?;
            // By way of the egress hook, which a socket that bypasses the queue passes by.
            work(&PacketSocket::open(index, Options::default())?)
        });
        done.unwrap_or_else(|error| panic!("{end}: {error}"));
    }

    /// The counters of an interface.
    ///
    /// # Panics
    /// Where there is no such interface.
    pub fn counts(&self, end: &End) -> LinkStats {
        self.network.link(end).unwrap_or_else(|error| panic!("{error}")).stats
    }

    /// Deletes an interface (and the other end of its cable).
    ///
    /// # Panics
    /// Where it cannot be deleted.
    pub fn delete(&self, end: &End) {
        self.at(end, |sys, index| sys.delete_link(index));
    }
}

/// A ledger that a failing test prints as users see it.
pub struct Shown(pub Status);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\n{}", self.0)
    }
}
