//! How often a reply reaches a sensor before its request, by way of a bond, a port aggregator, and what Linux has.
//!
//! ```text
//! near (CPU 0)       tap                   far (CPU 1)
//! fa <-----------> a ... b <-------------> fb           clients and servers at both ends, and background load
//!                    ma, mb, ids
//!                     |   |   |            sensor
//!                     +---+---+----------> x, y, s      tcpdump
//! ```
//!
//! Clients ask with a number of their own, servers answer at once, each end pinned to another CPU, so that requests
//! and replies are carried by different CPUs. What the sensor captured is read in the order of arrival, and again in
//! the order of its time stamps, and replies before their request are counted. Never touches an interface that it
//! has not made.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use offline::bond::causal::Inversions;
use sys::netns::Namespace;
use sys::{IFF_UP, Linux, Sys, VethSpec};
use wire::capture::{self, Timestamp};

use crate::error::{Failure, Outcome};
use crate::files::Files;
use crate::stand::find;

/// Clients at each end.
const CLIENTS: usize = 3;
/// How long a client waits for a lost reply.
const PATIENCE: Duration = Duration::from_millis(50);
/// Datagrams of background load that are sent at once, and the pause behind them.
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_micros(500);
/// How long tcpdump may take for what is in its buffer.
const DRAIN: Duration = Duration::from_secs(10);

/// What came of one arrangement in one round.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Order {
    /// The arrangement.
    pub name: String,
    /// Whether there was background load.
    pub loaded: bool,
    /// Round trips that the clients saw.
    pub round_trips: u64,
    /// Frames of the conversations that the sensor saw.
    pub captured: u64,
    /// Replies among them.
    pub replies: u64,
    /// Replies that arrived before their request.
    pub inverted_by_arrival: u64,
    /// Replies whose time stamp is before that of their request.
    pub inverted_by_time: u64,
}

/// What carries the frames to the sensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Bond(&'static str),
    /// A bond without the ring that its frames wait in: each CPU has a backlog of its own.
    Backlogs,
    Aggregator(&'static str),
    /// A Linux bridge, and mirred into one ifb.
    Bridge,
    /// A tap, a tcpdump on each of its outputs, and mergecap.
    Merged,
}

const WAYS: [(&str, Way); 7] = [
    ("bond, tcx", Way::Bond("tcx")),
    ("bond, tcx, no ring", Way::Backlogs),
    ("bond, XDP", Way::Bond("xdp")),
    ("port aggregator, tcx", Way::Aggregator("tcx")),
    ("port aggregator, XDP", Way::Aggregator("xdp")),
    ("bridge, mirred to ifb", Way::Bridge),
    ("two tcpdumps, mergecap", Way::Merged),
];

/// Measures every way whose name contains `only`, with and without load, so often.
///
/// # Errors
/// What could not be made or started.
pub fn measure(files: &Files, rounds: usize, only: &str, seconds: u64) -> Outcome<Vec<Order>> {
    let mut orders = Vec::new();
    for round in 0..rounds {
        for (name, way) in WAYS.into_iter().filter(|(name, _)| name.contains(only)) {
            for loaded in [false, true] {
                let rig = Rig::new(way)?;
                let order = rig.run(name, loaded, files, seconds);
                orders.push(order.map_err(|error| Failure::new(name, error))?);
                if sys::process::stop_requested() {
                    return Err(Failure::new("stopped", "by a signal"));
                }
            }
        }
        eprintln!("order: round {} of {rounds}", round + 1);
    }
    Ok(orders)
}

/// Four namespaces, which go with this process, however it ends.
struct Rig {
    near: Namespace,
    tap: Namespace,
    far: Namespace,
    sensor: Namespace,
    way: Way,
}

impl Rig {
    fn new(way: Way) -> Outcome<Self> {
        let make = Namespace::create;
        let rig = Self { near: make()?, tap: make()?, far: make()?, sensor: make()?, way };
        for namespace in [&rig.near, &rig.tap, &rig.far, &rig.sensor] {
            for scope in ["all", "default"] {
                let name = format!("ipv6/conf/{scope}/disable_ipv6");
                namespace.run(|| Linux::new().sysctl_write(&name, "1"))??;
            }
        }
        cable((&rig.near, "fa"), (&rig.tap, "a"))?;
        cable((&rig.far, "fb"), (&rig.tap, "b"))?;
        for (far, near) in [("x", "ma"), ("y", "mb"), ("s", "ids")] {
            cable((&rig.sensor, far), (&rig.tap, near))?;
        }
        for (namespace, end, address) in [(&rig.near, "fa", "10.9.0.1/24"), (&rig.far, "fb", "10.9.0.2/24")] {
            // What a card would compute is computed, and what it would cut is cut.
            run(namespace, &format!("ethtool -K {end} tx off tso off gso off"))?;
            run(namespace, &format!("ip address add {address} dev {end}"))?;
        }
        rig.carry()?;
        Ok(rig)
    }

    /// Sets up what carries frames.
    fn carry(&self) -> Outcome<()> {
        let (text, attach) = match self.way {
            Way::Bridge => return self.bridge(),
            Way::Bond(attach) => (TAP, attach),
            Way::Merged | Way::Backlogs => (TAP, "tcx"),
            Way::Aggregator(attach) => (AGGREGATOR, attach),
        };
        if attach == "xdp" {
            // The kernel sends to a virtual end by XDP only where that polls, which it does with GRO on.
            for (namespace, end) in [
                (&self.near, "fa"),
                (&self.far, "fb"),
                (&self.sensor, "x"),
                (&self.sensor, "y"),
                (&self.sensor, "s"),
            ] {
                run(namespace, &format!("ethtool -K {end} gro on"))?;
            }
        }
        if let Way::Bond(_) | Way::Backlogs = self.way {
            up(&self.sensor, BOND, attach)?;
        }
        if self.way == Way::Backlogs {
            run(&self.sensor, "ip link set dev ngeth0 xdpdrv off")?;
        }
        up(&self.tap, text, attach)
    }

    fn bridge(&self) -> Outcome<()> {
        run(&self.tap, "ip link add name br0 type bridge")?;
        run(&self.tap, "ip link add ifb0 type ifb")?;
        for port in ["a", "b"] {
            run(&self.tap, &format!("ip link set dev {port} master br0"))?;
            run(&self.tap, &format!("tc qdisc add dev {port} clsact"))?;
            let mirror = "protocol all u32 match u32 0 0 action mirred egress mirror dev ifb0";
            run(&self.tap, &format!("tc filter add dev {port} ingress {mirror}"))?;
        }
        run(&self.tap, "ip link set dev ifb0 up")?;
        run(&self.tap, "ip link set dev br0 up")
    }

    /// Where the sensor listens.
    fn listens(&self) -> (&Namespace, &'static [&'static str]) {
        match self.way {
            Way::Bond(_) | Way::Backlogs => (&self.sensor, &["ngeth0"]),
            Way::Aggregator(_) => (&self.sensor, &["s"]),
            Way::Bridge => (&self.tap, &["ifb0"]),
            Way::Merged => (&self.sensor, &["x", "y"]),
        }
    }

    fn run(&self, name: &str, loaded: bool, files: &Files, seconds: u64) -> Outcome<Order> {
        let (namespace, interfaces) = self.listens();
        let mut captures = Vec::new();
        for interface in interfaces {
            captures.push(Capture::start(
                namespace,
                interface,
                files.write(&format!("{interface}.pcap"), "")?,
            )?);
        }
        let round_trips = self.converse(loaded, Duration::from_secs(seconds))?;
        let mut files_of = Vec::new();
        for capture in captures {
            files_of.push(capture.stop()?);
        }
        let file = match files_of.as_slice() {
            [one] => one.clone(),
            several => merged(several)?,
        };
        judged(name, loaded, round_trips, &file)
    }

    /// Clients, servers and load at both ends, for so long. Gives the round trips.
    fn converse(&self, loaded: bool, time: Duration) -> Outcome<u64> {
        let (stop, trips) = (AtomicBool::new(false), AtomicU64::new(0));
        let ends = [(&self.near, "10.9.0.1", "10.9.0.2", 0), (&self.far, "10.9.0.2", "10.9.0.1", 1)];
        let (stop, trips) = (&stop, &trips);
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (namespace, own, other, cpu) in ends {
                let here = move || -> Outcome<()> {
                    namespace.enter()?;
                    Ok(sys::cpu::pin_to(cpu)?)
                };
                threads.push(scope.spawn(move || here().and_then(|()| serve(own, stop))));
                for client in 0..CLIENTS {
                    threads.push(
                        scope.spawn(move || here().and_then(|()| ask(own, other, client, stop, trips))),
                    );
                }
                if loaded {
                    threads.push(scope.spawn(move || here().and_then(|()| load(own, other, stop))));
                }
            }
            let begun = Instant::now();
            while begun.elapsed() < time && !sys::process::stop_requested() {
                std::thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Relaxed);
            let join = |thread: ScopedJoinHandle<'_, Outcome<()>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().try_for_each(join)
        })?;
        Ok(trips.load(Ordering::Relaxed))
    }
}

const TAP: &str = "\
[ports]
a = { interface = \"a\", attach = \"ATTACH\" }
b = { interface = \"b\", attach = \"ATTACH\" }
ma = \"ma\"
mb = \"mb\"
[[device]]
name = \"tap\"
kind = \"tap\"
link = [\"a\", \"b\"]
monitors = [[\"ma\", \"mb\"]]
";

const BOND: &str = "\
[ports]
x = { interface = \"x\", attach = \"ATTACH\" }
y = { interface = \"y\", attach = \"ATTACH\" }
[[device]]
name = \"stream\"
kind = \"bond\"
spans = [\"x\", \"y\"]
interface = \"ngeth0\"
";

const AGGREGATOR: &str = "\
[ports]
a = { interface = \"a\", attach = \"ATTACH\" }
b = { interface = \"b\", attach = \"ATTACH\" }
ids = \"ids\"
[[device]]
name = \"perimeter\"
kind = \"port-aggregator\"
link = [\"a\", \"b\"]
monitors = [\"ids\"]
";

fn up(namespace: &Namespace, text: &str, attach: &str) -> Outcome<()> {
    let text = text.replace("ATTACH", attach);
    let (plan, _) = plan::compile("bench", &text).map_err(|problems| Failure::new("config", problems))?;
    namespace
        .run(|| engine::up(&mut Linux::new(), &plan, "bench"))?
        .map_err(|error| Failure::new("up", error))?;
    Ok(())
}

fn cable((from, near): (&Namespace, &str), (to, far): (&Namespace, &str)) -> Outcome<()> {
    from.run(|| -> sys::Result<()> {
        let mut sys = Linux::new();
        sys.create_veth(&VethSpec { queues: 1, ..VethSpec::new(near, far) })?;
        let moved = find(&mut sys, far)?;
        sys.move_link(moved.index, to)?;
        let stays = find(&mut sys, near)?;
        sys.set_link_flags(stays.index, IFF_UP, 0)
    })??;
    to.run(|| -> sys::Result<()> {
        let mut sys = Linux::new();
        let link = find(&mut sys, far)?;
        sys.set_link_flags(link.index, IFF_UP, 0)
    })??;
    Ok(())
}

fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(words).stdin(Stdio::null()).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn run(namespace: &Namespace, line: &str) -> Outcome<()> {
    namespace.run(|| crate::files::run(&mut command(line)))?
}

/// A tcpdump that is listening.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    fn start(namespace: &Namespace, interface: &str, file: PathBuf) -> Outcome<Self> {
        let trouble = |error: std::io::Error| Failure::new("tcpdump", error);
        let mut tcpdump =
            command("tcpdump -n -U -s 128 -B 65536 --immediate-mode --time-stamp-precision=nano");
        // As root, which may write there.
        tcpdump.args(["-Z", "root", "-i", interface, "-w"]).arg(&file).arg("udp port 53");
        tcpdump.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = namespace.run(|| tcpdump.spawn())?.map_err(trouble)?;
        let Some(stderr) = child.stderr.take() else { return Err(Failure::new("tcpdump", "says nothing")) };
        let mut capture = Self { child, file };
        let mut line = String::new();
        let mut said = BufReader::new(stderr);
        while !line.contains("listening on") {
            line.clear();
            if said.read_line(&mut line).map_err(trouble)? == 0 {
                capture.child.kill().map_err(trouble)?;
                return Err(Failure::new("tcpdump", "ended before it listened"));
            }
        }
        // Whatever it says at its end fits into the pipe.
        capture.child.stderr = Some(said.into_inner());
        Ok(capture)
    }

    /// Waits until nothing more comes, and ends it.
    fn stop(mut self) -> Outcome<PathBuf> {
        let trouble = |error: std::io::Error| Failure::new("tcpdump", error);
        let size = |file: &Path| std::fs::metadata(file).map(|metadata| metadata.len()).map_err(trouble);
        let (begun, mut last) = (Instant::now(), size(&self.file)?);
        while begun.elapsed() < DRAIN {
            std::thread::sleep(Duration::from_millis(200));
            let now = size(&self.file)?;
            if now == last {
                break;
            }
            last = now;
        }
        crate::files::run(&mut command(&format!("kill -INT {}", self.child.id())))?;
        self.child.wait().map_err(trouble)?;
        Ok(self.file.clone())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Where it has ended already there is nobody to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn merged(files: &[PathBuf]) -> Outcome<PathBuf> {
    let to = files.first().map_or_else(PathBuf::new, |first| first.with_extension("merged.pcap"));
    crate::files::run(command("mergecap -F nsecpcap -w").arg(&to).args(files))?;
    Ok(to)
}

/// Reads what was captured, in the order of arrival and in that of time.
fn judged(name: &str, loaded: bool, round_trips: u64, file: &Path) -> Outcome<Order> {
    let octets = std::fs::read(file).map_err(|error| Failure::new(file.display(), error))?;
    let mut frames: Vec<(Timestamp, usize, Vec<u8>)> = Vec::new();
    let read = capture::read(&octets, |_, packet| {
        // The half is the end that spoke: 10.9.0.1 or 10.9.0.2.
        let half = packet.frame.data.get(29).map_or(0, |last| usize::from(*last));
        frames.push((packet.timestamp.unwrap_or_default(), half, packet.frame.data.to_vec()));
    });
    read.map_err(|broken| Failure::new(file.display(), broken))?;
    let count = |frames: &[(Timestamp, usize, Vec<u8>)]| {
        let mut inversions = Inversions::new();
        for (time, half, data) in frames {
            if let Some(frame) = wire::Frame::ethernet(data) {
                inversions.frame(*half, *time, &frame);
            }
        }
        inversions
    };
    let by_arrival = count(&frames);
    frames.sort_by_key(|(time, ..)| *time);
    Ok(Order {
        name: name.to_owned(),
        loaded,
        round_trips,
        captured: u64::try_from(frames.len()).unwrap_or(u64::MAX),
        replies: by_arrival.answers(),
        inverted_by_arrival: by_arrival.count(),
        inverted_by_time: count(&frames).count(),
    })
}

fn socket(own: &str, port: u16) -> Outcome<UdpSocket> {
    let trouble = |error: std::io::Error| Failure::new(own, error);
    let socket = UdpSocket::bind((own, port)).map_err(trouble)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(trouble)?;
    Ok(socket)
}

/// Answers at once, as a name server would: the same with the bit that says so.
fn serve(own: &str, stop: &AtomicBool) -> Outcome<()> {
    let socket = socket(own, 53)?;
    let mut datagram = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut datagram) else { continue };
        datagram[2] |= 0x80;
        // A full queue is a lost reply, for which the client does not wait long.
        let _ = socket.send_to(&datagram[..len], from);
    }
    Ok(())
}

/// Asks, waits for the reply, and asks again, each time by another number.
fn ask(own: &str, other: &str, client: usize, stop: &AtomicBool, trips: &AtomicU64) -> Outcome<()> {
    let socket = socket(own, 0)?;
    let to: SocketAddr = format!("{other}:53").parse().map_err(|error| Failure::new(other, error))?;
    let (mut number, mut reply) = (0_u64, [0; 64]);
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let mut query = [0; 28];
        query[..2].copy_from_slice(&number.to_be_bytes()[6..]);
        query[2] = 1;
        query[12..20].copy_from_slice(&number.to_be_bytes());
        query[20] = u8::try_from(client).unwrap_or(u8::MAX);
        let _ = socket.send_to(&query, to);
        while let Ok(len) = socket.recv(&mut reply) {
            if reply[..len].get(12..20) == Some(&number.to_be_bytes()[..]) {
                trips.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
    Ok(())
}

/// Bursts to a port where nobody listens but a socket that is never read.
fn load(own: &str, other: &str, stop: &AtomicBool) -> Outcome<()> {
    let socket = socket(own, 9)?;
    let to: SocketAddr = format!("{other}:9").parse().map_err(|error| Failure::new(other, error))?;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            // What a full queue refuses is load enough.
            let _ = socket.send_to(&[0; 64], to);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
