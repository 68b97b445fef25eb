//! What the kernel says about interfaces, addresses and routes. Plain data, the same from every [`crate::Sys`].

use std::fmt;
use std::net::IpAddr;

/// Interface flag: administratively up.
pub const IFF_UP: u32 = 0x1;
/// Interface flag: does not answer or ask ARP.
pub const IFF_NOARP: u32 = 0x80;
/// Interface flag: receives every frame. Says what user space asked for with this flag, not the count of all users.
pub const IFF_PROMISC: u32 = 0x100;
/// Interface flag: has a carrier.
pub const IFF_LOWER_UP: u32 = 0x1_0000;

/// The version of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The 6 of 6.18.44.
    pub major: u32,
    /// The 18 of 6.18.44.
    pub minor: u32,
    /// The whole release, as `uname -r` says it.
    pub release: String,
}

impl KernelVersion {
    /// Whether this kernel is of version `major.minor` or later.
    #[must_use]
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// Reads the release text of `uname -r`; what is not a number counts as 0.
    #[must_use]
    pub fn parse(release: &str) -> Self {
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or_default());
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        Self { major, minor, release: release.to_owned() }
    }
}

/// What this thread may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one for each capability of the kernel")]
pub struct Capabilities {
    /// `CAP_NET_ADMIN`: interfaces, queueing disciplines, attaching programs.
    pub net_admin: bool,
    /// `CAP_NET_RAW`: packet sockets.
    pub net_raw: bool,
    /// `CAP_BPF`: loading programs (kernel 5.8).
    pub bpf: bool,
    /// `CAP_SYS_ADMIN`: the older right to all of that, and ids to descriptors.
    pub sys_admin: bool,
    /// Whether the user namespace is the machine's own. In any other one no program can be loaded.
    pub machine_owner: bool,
}

/// Counters of an interface since it was made (`rtnl_link_stats64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the kernel's, documented in linux/if_link.h")]
pub struct LinkStats {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub multicast: u64,
    pub collisions: u64,
    pub rx_length_errors: u64,
    pub rx_over_errors: u64,
    pub rx_crc_errors: u64,
    pub rx_frame_errors: u64,
    pub rx_fifo_errors: u64,
    pub rx_missed_errors: u64,
    pub tx_aborted_errors: u64,
    pub tx_carrier_errors: u64,
    pub tx_fifo_errors: u64,
    pub tx_heartbeat_errors: u64,
    pub tx_window_errors: u64,
    pub rx_compressed: u64,
    pub tx_compressed: u64,
    pub rx_nohandler: u64,
}

/// The XDP program of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp {
    /// Where it runs.
    pub mode: crate::XdpMode,
    /// Its program id.
    pub prog_id: u32,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The driver's kind where it is a virtual one: `veth`, `bridge`, `bond`, `tun`, ... `None` for hardware.
    pub kind: Option<String>,
    /// The link layer (`ARPHRD_*`): 1 is Ethernet, 772 loopback, 65534 none (tun, WireGuard), 512 PPP.
    pub arphrd: u16,
    /// `IFF_*`.
    pub flags: u32,
    /// Largest payload of a frame in bytes, without the Ethernet header.
    pub mtu: u32,
    /// The least MTU the driver takes, 0 where it does not say.
    pub min_mtu: u32,
    /// The largest MTU the driver takes, 0 where it does not say.
    pub max_mtu: u32,
    /// Hardware address.
    pub address: Vec<u8>,
    /// Index of the bridge, bond or VRF it is enslaved to.
    pub master: Option<u32>,
    /// Index of the veth peer (or of the lower interface), in the namespace of `peer_netns`.
    pub peer: Option<u32>,
    /// The id, as this namespace knows it, of the namespace that `peer` is in; `None` for this one.
    pub peer_netns: Option<i32>,
    /// Whether there is a carrier.
    pub carrier: bool,
    /// Operational state of RFC 2863: 6 is up, 2 down, 7 lower layer down, 0 unknown.
    pub operstate: u8,
    /// Name of the root queueing discipline.
    pub qdisc: String,
    /// Number of transmit queues.
    pub tx_queues: u32,
    /// Number of receive queues.
    pub rx_queues: u32,
    /// How many users hold it promiscuous (packet sockets, bridges, the flag).
    pub promiscuity: u32,
    /// The XDP program attached; with several, the native one.
    pub xdp: Option<Xdp>,
    /// How IPv6 makes link-local addresses: 0 EUI-64, 1 none, 2 stable secret, 3 random. `None` without IPv6.
    pub addr_gen_mode: Option<u8>,
    /// Counters.
    pub stats: LinkStats,
}

impl Link {
    /// Whether frames can leave it. An interface that has just come up has a carrier before its queues run; what
    /// it is given in between is dropped, uncounted.
    #[must_use]
    pub fn ready(&self) -> bool {
        const IF_OPER_UP: u8 = 6;
        self.has(IFF_UP) && self.carrier && self.operstate == IF_OPER_UP
    }

    /// Whether all of these `IFF_*` flags are set.
    #[must_use]
    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The interface.
    pub ifindex: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
    /// `RT_SCOPE_*`: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// The broadcast address of IPv4, where one is set.
    pub broadcast: Option<std::net::Ipv4Addr>,
    /// `IFA_F_*`: 0x80 permanent, 0x40 tentative, 0x08 duplicate, 0x200 without a prefix route.
    pub flags: u32,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on interface {}", self.ip, self.prefix, self.ifindex)
    }
}

/// One unicast route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to, and the bits that count; `None` is the default route.
    pub destination: Option<(IpAddr, u8)>,
    /// Whether it is a route of IPv6 (the destination of a default route does not say).
    pub v6: bool,
    /// The next router.
    pub via: Option<IpAddr>,
    /// The interfaces it leaves by; several where it has several paths.
    pub ifindexes: Vec<u32>,
}

/// A pair of virtual interfaces to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethSpec {
    /// One end.
    pub name: String,
    /// The other.
    pub peer: String,
    /// Transmit and receive queues of each end; 0 leaves it to the kernel.
    pub queues: u32,
    /// The MTU of both ends; 0 leaves it to the kernel.
    pub mtu: u32,
}

impl VethSpec {
    /// A pair as the kernel makes it by default.
    #[must_use]
    pub fn new(name: &str, peer: &str) -> Self {
        Self { name: name.to_owned(), peer: peer.to_owned(), queues: 0, mtu: 0 }
    }
}

/// One offload or other feature of an interface, as `ethtool -k` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the four bits of the kernel's own table")]
pub struct Feature {
    /// The kernel's name (`rx-gro`, `tx-tcp-segmentation`, `rx-vlan-filter`, ...).
    pub name: String,
    /// In force.
    pub active: bool,
    /// Asked for; in force when what it depends on is. This is what a restore must put back.
    pub wanted: bool,
    /// The user can change it (software features always; others if the driver allows it).
    pub available: bool,
    /// No driver lets it change.
    pub never_changed: bool,
}

impl Feature {
    /// Whether it can be switched at all.
    #[must_use]
    pub fn changeable(&self) -> bool {
        self.available && !self.never_changed
    }
}

/// Who drives an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// The driver's name (`veth`, `ixgbe`, ...).
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where the device is on its bus; empty for a virtual one.
    pub bus: String,
}

/// Ethernet flow control of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Negotiated with the other end.
    pub autoneg: bool,
    /// Obeys PAUSE frames (and so eats them).
    pub rx: bool,
    /// Sends PAUSE frames.
    pub tx: bool,
}

/// What a driver says that it can do with XDP (`netdev` family, kernel 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures {
    /// The bits as the kernel gives them (`enum netdev_xdp_act`).
    pub bits: u64,
}

impl XdpFeatures {
    /// Runs native programs that pass, drop, abort and transmit.
    #[must_use]
    pub fn native(self) -> bool {
        self.bits & 1 != 0
    }

    /// Native programs can redirect from it.
    #[must_use]
    pub fn redirect(self) -> bool {
        self.bits & 2 != 0
    }

    /// Frames can be redirected to it (`ndo_xdp_xmit` is there, now).
    #[must_use]
    pub fn redirect_target(self) -> bool {
        self.bits & 4 != 0
    }

    /// Native programs see frames of several fragments.
    #[must_use]
    pub fn fragments(self) -> bool {
        self.bits & 32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_compare_by_number() {
        let version = KernelVersion::parse("6.18.44-fc-v595");
        assert_eq!((version.major, version.minor), (6, 18));
        assert!(version.at_least(6, 6) && version.at_least(5, 15) && !version.at_least(7, 0));
        assert!(!KernelVersion::parse("6.5.0").at_least(6, 6));
        assert_eq!(KernelVersion::parse("odd").major, 0);
    }
}
