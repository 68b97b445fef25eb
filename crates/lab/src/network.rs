//! Hosts as network namespaces, and the cables between them.
//!
//! Namespaces are anonymous: they are held by descriptors and by the threads in them, so that the kernel takes
//! everything away when the process ends, however it ends. Interfaces come up silent, without addresses and
//! with IPv6 off, and switches are off until the enterprise is woken, so that the first frame crosses a cable only
//! after the captures are open.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use sys::netns::Namespace;
use sys::{IFF_UP, Link, Linux, Sys, SysError, VethSpec};

use crate::enterprise::{ADDRESSES, BRIDGE, CABLES, End, HOSTS, Kind, TAP, routes};
use crate::scenario::Layout;

/// What went wrong in the lab itself, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabError {
    /// The host, interface or file.
    pub object: String,
    /// What it was.
    pub what: String,
}

impl LabError {
    /// `error` happened to `object`.
    pub fn new(object: impl Into<String>, error: impl fmt::Display) -> Self {
        Self { object: object.into(), what: error.to_string() }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)
    }
}

impl std::error::Error for LabError {}

/// How long a virtual cable may take to come up.
const CARRIER: Duration = Duration::from_secs(5);

/// How a cable is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CableSpec {
    /// The MTU of both ends in octets.
    pub mtu: u32,
    /// Transmit and receive queues of each end; 0 leaves it to the kernel.
    pub queues: u32,
}

/// Namespaces by name. When it is dropped they are gone, with everything in them.
#[derive(Debug, Default)]
pub struct Network {
    hosts: BTreeMap<String, Namespace>,
    /// The ends of all cables.
    ends: Vec<End>,
    /// Where the two ends of a cable are made, before each is carried to its host.
    workshop: Option<Namespace>,
    cables: u8,
}

impl Network {
    /// A network without hosts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a host as the kernel makes it: its interfaces will talk IPv6 as soon as they are up.
    pub fn add_box(&mut self, name: &str) -> Result<(), LabError> {
        let namespace = Namespace::create().map_err(|error| LabError::new(name, privilege(&error)))?;
        self.hosts.insert(name.to_owned(), namespace);
        Ok(())
    }

    /// Adds a host whose interfaces have IPv6 off until [`Network::address`]; loopback is up.
    pub fn add_host(&mut self, name: &str) -> Result<(), LabError> {
        self.add_box(name)?;
        self.on(name, |sys| {
            for scope in ["all", "default"] {
                sys.sysctl_write(&format!("ipv6/conf/{scope}/disable_ipv6"), "1")?;
            }
            // Loopback alone has it: servers bind [::], and talk to themselves when they stop.
            sys.sysctl_write("ipv6/conf/lo/disable_ipv6", "0")?;
            let loopback = find(sys, "lo")?;
            sys.set_link_flags(loopback.index, IFF_UP, 0)
        })
    }

    /// Takes a namespace that is there already as a host.
    pub fn adopt(&mut self, name: &str, namespace: Namespace) {
        self.hosts.insert(name.to_owned(), namespace);
    }

    /// The namespaces with their names.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, &Namespace)> {
        self.hosts.iter().map(|(name, namespace)| (name.as_str(), namespace))
    }

    /// Runs something on a thread in the namespace of a host. Sockets and threads made there stay there.
    pub fn inside<T: Send>(&self, host: &str, run: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let namespace = self.hosts.get(host).ok_or_else(|| LabError::new(host, "no such host"))?;
        namespace.run(run).map_err(|error| LabError::new(host, error))
    }

    /// Asks the kernel for something in the namespace of a host.
    pub fn on<T: Send>(
        &self,
        host: &str,
        ask: impl FnOnce(&mut Linux) -> sys::Result<T> + Send,
    ) -> Result<T, LabError> {
        self.inside(host, || ask(&mut Linux::new()))?.map_err(|error| LabError::new(host, error))
    }

    /// An interface as the kernel shows it.
    pub fn link(&self, end: &End) -> Result<Link, LabError> {
        self.on(&end.host, |sys| find(sys, &end.interface))
    }

    /// Puts a cable between two hosts. Both ends are down and without addresses.
    pub fn cable(&mut self, a: &End, b: &End, spec: CableSpec) -> Result<(), LabError> {
        for end in [a, b] {
            if !self.hosts.contains_key(&end.host) {
                self.add_host(&end.host)?;
            }
        }
        if self.workshop.is_none() {
            let workshop =
                Namespace::create().map_err(|error| LabError::new("workshop", privilege(&error)))?;
            self.workshop = Some(workshop);
        }
        let workshop = self.workshop.as_ref().expect("made above");
        let carry =
            |end: &End| self.hosts.get(&end.host).ok_or_else(|| LabError::new(&end.host, "no such host"));
        let (home_a, home_b) = (carry(a)?, carry(b)?);
        let made = workshop.run(|| -> sys::Result<()> {
            let mut sys = Linux::new();
            let pair =
                VethSpec { name: "left".into(), peer: "right".into(), queues: spec.queues, mtu: spec.mtu };
            sys.create_veth(&pair)?;
            for (name, home) in [("left", home_a), ("right", home_b)] {
                let link = find(&mut sys, name)?;
                sys.move_link(link.index, home)?;
            }
            Ok(())
        });
        let failed = |error: SysError| LabError::new(format!("cable {a} - {b}"), error);
        made.map_err(failed)?.map_err(failed)?;
        for (end, name) in [(a, "left"), (b, "right")] {
            self.cables = self.cables.saturating_add(1);
            let address = [0x02, 0, 0, 0, 0, self.cables];
            self.on(&end.host, |sys| {
                let link = find(sys, name)?;
                sys.rename_link(link.index, &end.interface)?;
                sys.set_hardware_address(link.index, address)
            })?;
            self.ends.push(end.clone());
        }
        Ok(())
    }

    /// Sets an interface up.
    pub fn raise(&self, end: &End) -> Result<(), LabError> {
        self.on(&end.host, |sys| {
            let link = find(sys, &end.interface)?;
            sys.set_link_flags(link.index, IFF_UP, 0)
        })
    }

    /// Waits until an interface sends: the kernel hears of a carrier some time after the far end came up, and
    /// drops what it is given until then.
    pub fn await_carrier(&self, end: &End) -> Result<(), LabError> {
        let deadline = Instant::now() + CARRIER;
        loop {
            let link = self.link(end)?;
            if link.ready() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(LabError::new(end.to_string(), "the cable does not come up"));
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Bridges these interfaces of a host, as a switch does. The bridge is down, and forwards nothing, until
    /// it is raised.
    pub fn bridge(&self, host: &str, members: &[&str]) -> Result<(), LabError> {
        self.on(host, |sys| {
            sys.create_bridge(BRIDGE)?;
            let bridge = find(sys, BRIDGE)?;
            for member in members {
                let link = find(sys, member)?;
                sys.set_master(link.index, Some(bridge.index))?;
            }
            Ok(())
        })
    }

    /// Gives an interface its addresses, and IPv6. From here on it speaks.
    pub fn address(&self, end: &End, v4: (Ipv4Addr, u8), v6: (Ipv6Addr, u8)) -> Result<(), LabError> {
        self.on(&end.host, |sys| {
            let conf = format!("ipv6/conf/{}", end.interface);
            for (name, value) in [("accept_ra", "0"), ("accept_dad", "0"), ("router_solicitations", "0")] {
                sys.sysctl_write(&format!("{conf}/{name}"), value)?;
            }
            sys.sysctl_write(&format!("{conf}/disable_ipv6"), "0")?;
            let ifindex = find(sys, &end.interface)?.index;
            for (ip, prefix) in [(IpAddr::V4(v4.0), v4.1), (IpAddr::V6(v6.0), v6.1)] {
                // 0x80 is IFA_F_PERMANENT, 0x02 IFA_F_NODAD.
                let flags = if ip.is_ipv6() { 0x82 } else { 0x80 };
                sys.add_address(&sys::Address { ifindex, ip, prefix, scope: 0, broadcast: None, flags })?;
            }
            Ok(())
        })
    }

    /// Lays the enterprise out, with a scenario's boxes in it. Every cable is up, and no host speaks before
    /// [`Network::wake`]: none has an address, and the switches are off.
    pub fn enterprise(layout: &Layout, mtu: u32) -> Result<Self, LabError> {
        let mut network = Self::new();
        let spec = CableSpec { mtu, queues: 0 };
        for (host, _) in HOSTS {
            network.add_host(host)?;
        }
        // The tap box is left as any machine is: that its ports are silent is for the tap to see to.
        network.add_box(TAP)?;
        for cable @ ((host_a, interface_a), (host_b, interface_b)) in CABLES {
            let (a, b) = (End::new(host_a, interface_a), End::new(host_b, interface_b));
            match layout.cuts.iter().find(|cut| cut.cable == cable) {
                None => network.cable(&a, &b, spec)?,
                Some(cut) => {
                    let (tap_a, tap_b) = (&cut.interfaces.0, &cut.interfaces.1);
                    let (tap_a, tap_b) = (End::new(TAP, tap_a), End::new(TAP, tap_b));
                    network.cable(&a, &tap_a, spec)?;
                    network.cable(&tap_b, &b, spec)?;
                }
            }
        }
        for (from, to) in &layout.feeds {
            network.cable(from, to, spec)?;
        }
        network.ends.iter().try_for_each(|end| network.raise(end))?;
        network.ends.iter().try_for_each(|end| network.await_carrier(end))?;
        for (host, kind) in HOSTS {
            match kind {
                Kind::Host => {}
                Kind::Router => network.route_packets(host)?,
                Kind::Switch => {
                    let jacks = CABLES.iter().flat_map(|(a, b)| [a, b]);
                    let members: Vec<&str> =
                        jacks.filter(|(name, _)| *name == host).map(|(_, interface)| *interface).collect();
                    network.bridge(host, &members)?;
                }
            }
        }
        Ok(network)
    }

    fn route_packets(&self, host: &str) -> Result<(), LabError> {
        self.on(host, |sys| {
            sys.sysctl_write("ipv4/ip_forward", "1")?;
            sys.sysctl_write("ipv6/conf/all/forwarding", "1")
        })
    }

    /// Switches the switches on and gives hosts their addresses and routes: from here on there is traffic.
    pub fn wake(&self) -> Result<(), LabError> {
        for (host, _) in HOSTS.iter().filter(|(_, kind)| *kind == Kind::Switch) {
            self.raise(&End::new(host, BRIDGE))?;
        }
        for (host, interface, v4, v6) in ADDRESSES {
            self.address(&End::new(host, interface), (v4, 24), (v6, 64))?;
        }
        for (host, destination, via) in routes() {
            self.on(host, |sys| {
                let ifindex = interface_towards(host, via, sys)?;
                let route =
                    sys::Route { destination, v6: via.is_ipv6(), via: Some(via), ifindexes: vec![ifindex] };
                sys.add_route(&route)
            })?;
        }
        Ok(())
    }
}

/// The interface of a host whose network a router is in.
fn interface_towards(host: &str, via: IpAddr, sys: &mut Linux) -> sys::Result<u32> {
    let same = |(name, _, v4, v6): &&(&str, &str, Ipv4Addr, Ipv6Addr)| {
        *name == host
            && match via {
                IpAddr::V4(via) => v4.octets()[..3] == via.octets()[..3],
                IpAddr::V6(via) => v6.segments()[..4] == via.segments()[..4],
            }
    };
    let (_, interface, ..) =
        ADDRESSES.iter().find(same).expect("every router of the table is in a network of its host");
    Ok(find(sys, interface)?.index)
}

/// An interface that must be there.
pub(crate) fn find(sys: &mut Linux, name: &str) -> sys::Result<Link> {
    // 19 is ENODEV: what the kernel would say of a name that is none.
    sys.link_by_name(name)?.ok_or_else(|| SysError::new("RTM_GETLINK", name, 19))
}

/// What a user can do about it.
fn privilege(error: &SysError) -> String {
    if error.errno == 1 {
        format!("{error}\nhelp: the lab makes network namespaces: run it as root")
    } else {
        error.to_string()
    }
}
