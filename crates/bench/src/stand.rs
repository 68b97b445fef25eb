//! The stand that a job is measured on: a tap box, and the far ends of its cables.
//!
//! ```text
//! far namespace            tap namespace
//! fa  <------------------> a
//! fb  <------------------> b
//! f1 .. f8 <-------------> m1 .. m8
//! ```
//!
//! Nothing has an address, IPv6 is off, and both namespaces are anonymous: they go with this process,
//! however it ends. Never touches an interface that it has not made.

use std::process::{Child, Command, Stdio};

use bpf::asm::{Assembler, Helper, Kind, MapRef, Program, Reg, Symbol};
use bpf::bench::{COUNT, DEVMAP};
use plan::plan::PortId;
use sys::netns::Namespace;
use sys::{
    Hook, IFF_UP, Link, Linux, MapFd, MapKind, MapSpec, Place, ProgFd, ProgKind, ProgSpec, Sys, VethSpec,
    XdpMode,
};

use crate::error::{Failure, Outcome};

/// Licence of the measuring programs.
const LICENSE: &str = "Dual MIT/GPL";

/// Which namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Where the taps are.
    Tap,
    /// Where the far ends are.
    Far,
}

/// XDP programs that all stands share. The kernel calls the first 48 that are attached on a machine directly
/// (`BPF_DISPATCHER_MAX`, include/linux/bpf.h) and all others through a retpoline: with programs of its own
/// each stand would be slower than the one before.
pub struct Shared {
    pass: ProgFd,
    drop: ProgFd,
    /// Holds their descriptors.
    _sys: Linux,
}

impl Shared {
    /// Loads them.
    ///
    /// # Errors
    /// They cannot be loaded: not root, most of the time.
    pub fn load() -> Outcome<Self> {
        let mut sys = Linux::new();
        let pass = load(&mut sys, &constant(Kind::Xdp, bpf::emit::XDP_PASS)?, &[], &[])?;
        let drop = load(&mut sys, &constant(Kind::Xdp, bpf::emit::XDP_DROP)?, &[], &[])?;
        Ok(Self { pass, drop, _sys: sys })
    }
}

/// The stand of one job.
pub struct Stand {
    tap: Namespace,
    far: Namespace,
    /// Holds the descriptors of all maps and programs of the stand. Descriptors belong to the process, so
    /// it serves both namespaces.
    sys: Linux,
}

impl Stand {
    /// Two namespaces with cables `a`, `b`, `m1` to `m<monitors>` between them, all up.
    ///
    /// # Errors
    /// Where a namespace or a cable cannot be made: not root, most of the time.
    pub fn new(monitors: usize) -> Outcome<Self> {
        let mut stand = Self { tap: Namespace::create()?, far: Namespace::create()?, sys: Linux::new() };
        for side in [Side::Tap, Side::Far] {
            stand.on(side, |sys| {
                ["all", "default"]
                    .iter()
                    .try_for_each(|scope| sys.sysctl_write(&format!("ipv6/conf/{scope}/disable_ipv6"), "1"))
            })?;
        }
        let numbered = (1..=monitors).map(|number| (format!("m{number}"), format!("f{number}")));
        let ends = [("a".to_owned(), "fa".to_owned()), ("b".to_owned(), "fb".to_owned())];
        for (near, far) in ends.into_iter().chain(numbered) {
            stand.cable(&near, &far)?;
        }
        Ok(stand)
    }

    /// A cable: both ends up, without addresses.
    ///
    /// # Errors
    /// The first system call that failed.
    pub fn cable(&mut self, near: &str, far: &str) -> Outcome<()> {
        let tap = self.tap.share()?;
        self.on(Side::Far, |sys| {
            sys.create_veth(&VethSpec { queues: 1, ..VethSpec::new(far, near) })?;
            let moved = find(sys, near)?;
            sys.move_link(moved.index, &tap)?;
            let stays = find(sys, far)?;
            sys.set_link_flags(stays.index, IFF_UP, 0)
        })?;
        self.on(Side::Tap, |sys| {
            let link = find(sys, near)?;
            sys.set_link_flags(link.index, IFF_UP, 0)
        })
    }

    /// Asks the kernel for something in one of the namespaces.
    ///
    /// # Errors
    /// What was asked for failed, or the namespace cannot be entered.
    pub fn on<T: Send>(
        &mut self,
        side: Side,
        ask: impl FnOnce(&mut Linux) -> sys::Result<T> + Send,
    ) -> Outcome<T> {
        let namespace = match side {
            Side::Tap => &self.tap,
            Side::Far => &self.far,
        };
        let sys = &mut self.sys;
        Ok(namespace.run(|| ask(sys))??)
    }

    /// Runs something in the namespace of the taps.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn in_tap<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Outcome<T> {
        Ok(self.tap.run(run)?)
    }

    /// The inode of the taps' namespace.
    ///
    /// # Errors
    /// `fstat`.
    pub fn tap_id(&self) -> Outcome<u64> {
        Ok(self.tap.id()?)
    }

    /// Makes a plan true on the taps.
    ///
    /// # Errors
    /// What is wrong with the text, or why `up` refused.
    pub fn up(&mut self, text: &str) -> Outcome<()> {
        let (plan, _) = plan::compile("bench", text).map_err(|problems| Failure::new("config", problems))?;
        self.in_tap(|| engine::up(&mut Linux::new(), &plan, "bench"))?
            .map_err(|error| Failure::new("up", error))?;
        Ok(())
    }

    /// What the tap says of itself.
    ///
    /// # Errors
    /// Nothing is up.
    pub fn status(&self) -> Outcome<engine::Status> {
        self.in_tap(|| engine::status(&mut Linux::new()))?.map_err(|error| Failure::new("status", error))
    }

    /// Runs a command among the taps, to its end.
    ///
    /// # Errors
    /// It is not there, or it failed: what it said.
    pub fn run(&self, line: &str) -> Outcome<()> {
        let output = self
            .in_tap(|| command(line).output())?
            .map_err(|error| Failure::new(line, format!("{error}; `cargo xtask bench` installs it")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::new(line, String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Starts a command among the taps that goes on until it is dropped.
    ///
    /// # Errors
    /// It is not there.
    pub fn start(&self, line: &str) -> Outcome<Peer> {
        let spawn = || command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = self
            .in_tap(spawn)?
            .map_err(|error| Failure::new(line, format!("{error}; `cargo xtask bench` installs it")))?;
        Ok(Peer { child, name: line.to_owned() })
    }

    /// Loads a program with the maps and the interfaces that it names.
    ///
    /// # Errors
    /// It cannot be linked or loaded.
    pub fn load(
        &mut self,
        program: &Program,
        maps: &[(MapRef, MapFd)],
        ports: &[(PortId, u32)],
    ) -> Outcome<ProgFd> {
        load(&mut self.sys, program, maps, ports)
    }

    /// Attaches a program to native XDP.
    ///
    /// # Errors
    /// The system call failed.
    pub fn attach_xdp(&mut self, side: Side, interface: &str, program: ProgFd) -> Outcome<()> {
        self.on(side, |sys| {
            let link = find(sys, interface)?;
            sys.xdp_attach(link.index, XdpMode::Native, program, None)
        })
    }

    /// Attaches a program to tcx ingress.
    ///
    /// # Errors
    /// The system call failed.
    pub fn attach_tcx(&mut self, side: Side, interface: &str, program: ProgFd) -> Outcome<()> {
        self.on(side, |sys| {
            let link = find(sys, interface)?;
            sys.tcx_attach(link.index, Hook::Ingress, program, Place::First)
        })
    }

    /// A devmap of interfaces.
    ///
    /// # Errors
    /// A system call failed.
    pub fn devmap(&mut self, side: Side, interfaces: &[&str]) -> Outcome<MapFd> {
        self.on(side, |sys| {
            let entries = u32::try_from(interfaces.len()).expect("a handful");
            let spec = MapSpec { max_entries: entries, ..map(MapKind::DEVMAP, 4, "bench_devmap") };
            let map = sys.map_create(&spec)?;
            for (key, interface) in (0u32..).zip(interfaces) {
                let link = find(sys, interface)?;
                sys.map_update(map, &key.to_ne_bytes(), &link.index.to_ne_bytes())?;
            }
            Ok(map)
        })
    }

    /// An `ARRAY` of one value.
    ///
    /// # Errors
    /// The system call failed.
    pub fn array(&mut self, value_octets: u32) -> Outcome<MapFd> {
        Ok(self.sys.map_create(&map(MapKind::ARRAY, value_octets, "bench_array"))?)
    }

    /// The number of an interface.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn index(&mut self, side: Side, interface: &str) -> Outcome<u32> {
        self.on(side, |sys| find(sys, interface).map(|link| link.index))
    }

    /// XDP that lets everything pass: frames enter the stack, and the far end may redirect to here.
    ///
    /// # Errors
    /// A system call failed.
    pub fn pass_xdp(&mut self, shared: &Shared, side: Side, interface: &str) -> Outcome<()> {
        self.attach_xdp(side, interface, shared.pass)
    }

    /// XDP that drops. The interface counts what XDP saw: with a native program, `rx_packets` of a veth is that.
    ///
    /// # Errors
    /// A system call failed.
    pub fn sink_xdp(&mut self, shared: &Shared, side: Side, interface: &str) -> Outcome<Sink> {
        self.attach_xdp(side, interface, shared.drop)?;
        Ok(Sink { interface: interface.to_owned(), counter: Counter::Interface(side) })
    }

    /// tcx that counts and drops.
    ///
    /// # Errors
    /// A system call failed.
    pub fn sink_tcx(&mut self, side: Side, interface: &str) -> Outcome<Sink> {
        let map = self.sys.map_create(&map(MapKind::PERCPU_ARRAY, 8, "bench_count"))?;
        let program = assembled(bpf::bench::tc_sink())?;
        let program = self.load(&program, &[(COUNT, map)], &[])?;
        self.attach_tcx(side, interface, program)?;
        Ok(Sink { interface: interface.to_owned(), counter: Counter::Map(map) })
    }

    /// XDP that sends to interfaces and does nothing else.
    ///
    /// # Errors
    /// A system call failed.
    pub fn forward_xdp(&mut self, side: Side, to: &[&str]) -> Outcome<ProgFd> {
        let devmap = self.devmap(side, to)?;
        let program = if to.len() == 1 { assembled(bpf::bench::forward())? } else { broadcast()? };
        self.load(&program, &[(DEVMAP, devmap)], &[])
    }

    /// tc that sends a copy to an interface, where one is given, and the frame to another, and nothing else.
    ///
    /// # Errors
    /// A system call failed.
    pub fn forward_tc(&mut self, side: Side, to: &str, copy: Option<&str>) -> Outcome<ProgFd> {
        let (frame, clone) = (PortId(0), PortId(1));
        let mut interfaces = vec![(frame, self.index(side, to)?)];
        let mut asm = Assembler::new("bench_redirect", Kind::Tc);
        asm.mov(Reg::R6, Reg::R1);
        if let Some(copy) = copy {
            interfaces.push((clone, self.index(side, copy)?));
            asm.load_symbol(Reg::R2, Symbol::Interface(clone));
            asm.mov(Reg::R3, 0);
            asm.call(Helper::CloneRedirect);
        }
        asm.load_symbol(Reg::R1, Symbol::Interface(frame));
        asm.mov(Reg::R2, 0);
        asm.call(Helper::Redirect);
        asm.exit();
        let program = assembled(asm.finish())?;
        self.load(&program, &[], &interfaces)
    }

    /// How many frames came to a sink so far.
    ///
    /// # Errors
    /// A system call failed.
    pub fn count(&mut self, sink: &Sink) -> Outcome<u64> {
        let map = match sink.counter {
            Counter::Map(map) => map,
            Counter::Interface(side) => {
                return self.on(side, |sys| find(sys, &sink.interface).map(|link| link.stats.rx_packets));
            }
        };
        let values = self.sys.map_lookup_percpu(map, &0u32.to_ne_bytes())?.unwrap_or_default();
        let number = |bytes: &Vec<u8>| bytes.first_chunk().map_or(0, |chunk| u64::from_ne_bytes(*chunk));
        Ok(values.iter().map(number).sum())
    }

    /// Runs a program on a frame, many times, and lets the frames go.
    ///
    /// # Errors
    /// The system call failed.
    pub fn generate(&mut self, program: ProgFd, frame: &[u8], repeat: u32) -> Outcome<()> {
        let run = sys::TestRun { data: frame, repeat, live: true, ..sys::TestRun::default() };
        self.sys.prog_test_run(program, &run)?;
        Ok(())
    }
}

/// Where frames end, and are counted.
pub struct Sink {
    /// The interface that they ended at.
    pub interface: String,
    counter: Counter,
}

/// Who counts at a sink.
enum Counter {
    Map(MapFd),
    Interface(Side),
}

/// A program of a peer that runs among the taps. It is ended when this is dropped.
pub struct Peer {
    child: Child,
    name: String,
}

impl Peer {
    /// CPU time that it has used, in nanoseconds.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_ns(&self) -> Outcome<u64> {
        cpu_ns_of(self.child.id()).ok_or_else(|| Failure::new(&self.name, "it has ended"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nobody to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of the first thread of a process, in nanoseconds; the peers have one thread.
pub fn cpu_ns_of(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Loads a program with the maps and the interfaces that it names.
fn load(
    sys: &mut Linux,
    program: &Program,
    maps: &[(MapRef, MapFd)],
    ports: &[(PortId, u32)],
) -> Outcome<ProgFd> {
    let resolve = |symbol| match symbol {
        Symbol::Map(map) => maps.iter().find(|(known, _)| *known == map).map(|(_, fd)| fd.0),
        Symbol::Interface(port) => {
            ports.iter().find(|(known, _)| *known == port).and_then(|(_, index)| i32::try_from(*index).ok())
        }
        Symbol::Hop(_) => None,
    };
    let insns = program.link(resolve).map_err(|error| Failure::new(&program.name, error))?;
    let spec = ProgSpec {
        kind: ProgKind(program.kind.program_type()),
        attach_type: program.kind.expected_attach_type(),
        insns: &insns,
        license: LICENSE,
        name: &program.name,
        flags: 0,
    };
    Ok(sys.prog_load(&spec)?)
}

/// An interface that must be there.
pub fn find(sys: &mut Linux, name: &str) -> sys::Result<Link> {
    // 19 is ENODEV: what the kernel would say of a name that is none.
    sys.link_by_name(name)?.ok_or_else(|| sys::SysError::new("RTM_GETLINK", name, 19))
}

fn map(kind: MapKind, value_bytes: u32, name: &str) -> MapSpec {
    MapSpec { kind, key_bytes: 4, value_bytes, max_entries: 1, flags: 0, name: name.to_owned() }
}

fn constant(kind: Kind, verdict: i32) -> Outcome<Program> {
    assembled(bpf::asm::constant("bench_pass", kind, verdict))
}

/// `BPF_F_BROADCAST`: to every entry of the map.
const BROADCAST: i32 = 8;

fn broadcast() -> Outcome<Program> {
    let mut asm = Assembler::new("bench_broadcast", Kind::Xdp);
    asm.load_map(Reg::R1, DEVMAP);
    asm.mov(Reg::R2, 0);
    asm.mov(Reg::R3, BROADCAST);
    asm.call(Helper::RedirectMap);
    asm.exit();
    assembled(asm.finish())
}

fn assembled(program: Result<Program, bpf::asm::AsmError>) -> Outcome<Program> {
    program.map_err(|error| Failure::new("measuring program", error))
}

/// A command of words; a `+` within a word stands for a space.
fn command(line: &str) -> Command {
    let mut words = line.split_whitespace().map(|word| word.replace('+', " "));
    let mut command = Command::new(words.next().unwrap_or_default());
    // As on a login as root: Debian keeps tc and nft in /usr/sbin.
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(words).stdin(Stdio::null()).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
