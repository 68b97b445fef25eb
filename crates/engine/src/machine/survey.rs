//! Holds a plan against the machine: which interface each port is, and every reason to refuse, at once.
//!
//! Only reads. Nothing is changed before all of this has passed.

use plan::plan::{Attach, Pass, Plan, Port, PortId, Role};
use sys::{Address, Capabilities, KernelVersion, Link, Result, Route, Sys};

pub use plan::Refusal;

/// The oldest kernel that the backend works on.
pub const KERNEL_OLDEST: (u32, u32) = (5, 15);

/// A machine as it was when it was read.
pub struct Machine {
    /// The running kernel.
    pub kernel: KernelVersion,
    /// What this process may do.
    pub capabilities: Capabilities,
    /// All interfaces.
    pub links: Vec<Link>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// The routes of the main table.
    pub routes: Vec<Route>,
}

impl Machine {
    /// Reads it.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn read(sys: &mut impl Sys) -> Result<Self> {
        Ok(Self {
            kernel: sys.kernel_version()?,
            capabilities: sys.capabilities()?,
            links: sys.links()?,
            addresses: sys.addresses()?,
            routes: sys.routes()?,
        })
    }

    /// The interface of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Whether tcx is there.
    pub fn has_tcx(&self) -> bool {
        self.kernel.at_least(6, 6)
    }

    /// Every reason why this plan cannot be made true on the interfaces here. Those in `ours` will be taken away
    /// before.
    pub fn refusals(&self, plan: &Plan, ours: &[String]) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for port in &plan.ports {
            match (self.link(&port.interface), port.role) {
                (None, Role::Virtual) => {}
                (Some(link), Role::Virtual) if ours.contains(&link.name) => {}
                (Some(_), Role::Virtual) => refusals.push(Refusal {
                    what: format!("port {}: an interface {} is there already", port.name, port.interface),
                    help: "choose another name for `interface`, or delete that one".into(),
                }),
                (None, _) => refusals.push(self.missing(port)),
                (Some(link), _) => self.of_a_link(port, link, &mut refusals),
            }
        }
        self.of_pairs(plan, &mut refusals);
        refusals
    }

    /// Why no plan at all can be made true here: the kernel is too old.
    fn of_the_kernel(&self) -> Vec<Refusal> {
        let (major, minor) = KERNEL_OLDEST;
        let mut refusals = Vec::new();
        if !self.kernel.at_least(major, minor) {
            refusals.push(Refusal {
                what: format!("kernel {} is too old", self.kernel.release),
                help: format!("Linux {major}.{minor} or later is needed"),
            });
        }
        refusals
    }

    /// Every reason why programs of eBPF cannot be loaded and attached here.
    pub fn of_ebpf(&self) -> Vec<Refusal> {
        let mut refusals = self.of_the_kernel();
        let may = self.capabilities;
        if !(may.net_admin && (may.bpf || may.sys_admin)) {
            refusals.push(Refusal {
                what: "not enough privilege to load programs and attach them".into(),
                help: "run as root, or with CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON".into(),
            });
        } else if !may.machine_owner {
            refusals.push(Refusal {
                what: "a user namespace of its own: the kernel loads no eBPF programs here".into(),
                help: "run outside the user namespace, or use attach = \"classic\"".into(),
            });
        }
        refusals
    }

    /// Every reason why classic filters cannot be attached here.
    pub fn of_classic(&self) -> Vec<Refusal> {
        let mut refusals = self.of_the_kernel();
        if !self.capabilities.net_admin {
            refusals.push(Refusal {
                what: "not enough privilege to attach filters".into(),
                help: "run as root, or with CAP_NET_ADMIN over this network namespace".into(),
            });
        }
        refusals
    }

    fn missing(&self, port: &Port) -> Refusal {
        let names: Vec<&str> =
            self.links.iter().map(|link| link.name.as_str()).filter(|name| *name != "lo").collect();
        let help = if names.is_empty() {
            "this network namespace has no interface but lo".to_owned()
        } else {
            format!("interfaces here: {}", names.join(", "))
        };
        Refusal { what: format!("port {}: there is no interface {}", port.name, port.interface), help }
    }

    fn of_a_link(&self, port: &Port, link: &Link, refusals: &mut Vec<Refusal>) {
        let mut refuse = |what: String, help: &str| {
            let what = format!("port {}: {} {what}", port.name, link.name);
            refusals.push(Refusal { what, help: help.to_owned() });
        };
        if link.arphrd != 1 && !(link.arphrd == 772 && port.role == Role::Watched) {
            refuse("is not an Ethernet interface".into(), "this release taps Ethernet interfaces only");
        }
        if port.attach == Attach::Tcx && !self.has_tcx() {
            let what = format!("asks for tcx, which kernel {} does not have", self.kernel.release);
            refuse(what, "tcx needs Linux 6.6; attach = \"clsact\" works from 5.15");
        }
        if port.role == Role::Watched {
            return;
        }
        if let Some(master) = link.master {
            let name = self.links.iter().find(|other| other.index == master).map_or("another", |m| &m.name);
            refuse(
                format!("belongs to {name}"),
                &format!("take it out with `ip link set {} nomaster`, or use a watch device", link.name),
            );
        }
        if self
            .routes
            .iter()
            .any(|route| route.destination.is_none() && route.ifindexes.contains(&link.index))
        {
            refuse(
                "carries the default route, and a port carries nothing of this host's own".into(),
                "use another interface, or a watch device, which leaves the host's traffic alone",
            );
        }
        let global = self.addresses.iter().filter(|a| a.ifindex == link.index && !is_link_local(a));
        for address in global {
            refuse(
                format!("has the address {}/{}, and a port has none", address.ip, address.prefix),
                &format!(
                    "`ip addr del {}/{} dev {}` if nothing needs it",
                    address.ip, address.prefix, link.name
                ),
            );
        }
    }

    fn of_pairs(&self, plan: &Plan, refusals: &mut Vec<Refusal>) {
        for hook in &plan.hooks {
            let Pass::To(targets) = &hook.pass else { continue };
            let here = plan.port(hook.at.port);
            for target in targets.iter().filter(|target| hook.at.port < **target) {
                let there = plan.port(*target);
                let (Some(a), Some(b)) = (self.link(&here.interface), self.link(&there.interface)) else {
                    continue;
                };
                if a.mtu != b.mtu {
                    let (low, high) = if a.mtu < b.mtu { (a, b) } else { (b, a) };
                    refusals.push(Refusal {
                        what: format!(
                            "link {} - {}: {} has MTU {}, {} has MTU {}",
                            here.name, there.name, a.name, a.mtu, b.name, b.mtu
                        ),
                        help: format!(
                            "frames of one side would not fit the other: `ip link set {} mtu {}`",
                            low.name, high.mtu
                        ),
                    });
                }
            }
        }
    }
}

/// Whether an address goes away with IPv6 switched off, or concerns the link only.
pub fn is_link_local(address: &Address) -> bool {
    match address.ip {
        std::net::IpAddr::V4(ip) => ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Notes on what is allowed but worth saying: a monitor that cannot carry the largest frames.
pub fn notes(plan: &Plan, machine: &Machine) -> Vec<String> {
    let mtu = |id: PortId| machine.link(&plan.port(id).interface).map(|link| link.mtu);
    let mut notes = Vec::new();
    for (sink, plan::plan::Sink::Port(port)) in plan.sinks() {
        let sources = plan.hooks.iter().filter(|hook| hook.copies.iter().any(|copy| copy.sink == sink));
        let largest = sources.filter_map(|hook| mtu(hook.at.port)).max();
        if let (Some(largest), Some(own)) = (largest, mtu(*port))
            && own < largest
        {
            notes.push(format!(
                "monitor {}: its MTU {own} is below the {largest} of what it watches: larger frames may be lost \
                 at its far end (`ip link set {} mtu {largest}`)",
                plan.port(*port).name,
                plan.port(*port).interface,
            ));
        }
    }
    notes
}
