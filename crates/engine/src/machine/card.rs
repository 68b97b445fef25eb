//! What an interface must be like while it is a port: one table, from which `up` takes its changes and the
//! documentation its list. Names are those of the kernel's `netdev_features_strings` (net/ethtool/common.c).
//!
//! Pure: it looks at what it is given and never at the machine.

use plan::plan::Role;

/// A feature that a port must have on or off, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    /// The kernel's name of the feature.
    pub feature: &'static str,
    /// The setting that is wanted.
    pub on: bool,
    /// The reason, for users.
    pub why: &'static str,
}

/// What decides which wishes apply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// What the port is there for.
    pub role: Role,
    /// Whether the interface has no card behind it (veth, tap, ...).
    pub is_virtual: bool,
    /// Whether its program is an XDP program.
    pub xdp: bool,
}

const MERGED: &str = "merged frames are not what was on the wire";
const UNSEEN: &str = "frames of VLANs that the host has not joined must be seen too";
const IN_DATA: &str = "an XDP program sees only what is in the data";
const CUT: &str = "a sensor gets wire-sized frames";
const SUMMED: &str = "a sensor gets finished checksums";
const DAMAGED: &str = "damaged frames are evidence";

/// Receive side of every port that frames enter by.
const RECEIVE: &[Wish] = &[
    off("rx-gro", MERGED),
    off("rx-gro-hw", MERGED),
    off("rx-gro-list", MERGED),
    off("rx-udp-gro-forwarding", MERGED),
    off("rx-lro", MERGED),
    off("rx-vlan-filter", UNSEEN),
    off("rx-vlan-stag-filter", UNSEEN),
];

/// The same under XDP.
const RECEIVE_XDP: &[Wish] = &[off("rx-vlan-hw-parse", IN_DATA), off("rx-vlan-stag-hw-parse", IN_DATA)];

/// A SPAN port passes nothing on, so that a damaged frame does no harm there. On a link it would leave
/// with a fresh FCS, and look sound to the far end; `rx-fcs` would make every frame 4 octets longer.
const RECEIVE_SPAN: &[Wish] = &[Wish { feature: "rx-all", on: true, why: DAMAGED }];

/// Send side of a monitor port: segmentation.
const SEND: &[Wish] = &[
    off("tx-tcp-segmentation", CUT),
    off("tx-tcp-ecn-segmentation", CUT),
    off("tx-tcp-mangleid-segmentation", CUT),
    off("tx-tcp6-segmentation", CUT),
    off("tx-tcp-accecn-segmentation", CUT),
    off("tx-udp-segmentation", CUT),
    off("tx-gre-segmentation", CUT),
    off("tx-gre-csum-segmentation", CUT),
    off("tx-ipxip4-segmentation", CUT),
    off("tx-ipxip6-segmentation", CUT),
    off("tx-udp_tnl-segmentation", CUT),
    off("tx-udp_tnl-csum-segmentation", CUT),
    off("tx-gso-partial", CUT),
    off("tx-tunnel-remcsum-segmentation", CUT),
    off("tx-sctp-segmentation", CUT),
    off("tx-esp-segmentation", CUT),
    off("tx-gso-list", CUT),
    off("tx-generic-segmentation", CUT),
];

/// Send side of a monitor port without a card: nobody downstream would finish what is half done.
const SEND_VIRTUAL: &[Wish] = &[
    off("tx-checksum-ipv4", SUMMED),
    off("tx-checksum-ipv6", SUMMED),
    off("tx-checksum-ip-generic", SUMMED),
    off("tx-checksum-sctp", SUMMED),
    off("tx-checksum-fcoe-crc", SUMMED),
];

const fn off(feature: &'static str, why: &'static str) -> Wish {
    Wish { feature, on: false, why }
}

/// What a port in this place must be like, in the order in which it is set.
pub fn wishes(place: Place) -> Vec<Wish> {
    let parts: &[&[Wish]] = match (place.role, place.xdp, place.is_virtual) {
        (Role::Watched, _, _) => &[],
        (Role::Network, false, _) => &[RECEIVE],
        (Role::Network, true, _) => &[RECEIVE, RECEIVE_XDP],
        (Role::Span, false, _) => &[RECEIVE, RECEIVE_SPAN],
        (Role::Span, true, _) => &[RECEIVE, RECEIVE_XDP, RECEIVE_SPAN],
        (Role::Monitor | Role::Virtual, _, false) => &[SEND],
        (Role::Monitor | Role::Virtual, _, true) => &[SEND, SEND_VIRTUAL],
    };
    parts.concat()
}

/// Drivers whose native XDP forwards with `ndo_xdp_xmit` and keeps every frame on one queue in order; `auto`
/// takes XDP on no others. From the kernel's drivers that implement both (6.6 and later).
pub const XDP_DRIVERS: &[&str] =
    &["bnxt_en", "i40e", "ice", "igb", "igc", "ixgbe", "ixgbevf", "mlx5_core", "sfc", "stmmac"];

/// Drivers of interfaces that have no card: the far end's offloads cannot be seen from here.
pub fn is_virtual(driver: &str, kind: Option<&str>) -> bool {
    kind.is_some()
        || matches!(driver, "veth" | "tun" | "virtio_net" | "xen_netfront" | "hv_netvsc" | "vmxnet3")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(role: Role) -> Place {
        Place { role, is_virtual: false, xdp: false }
    }

    fn names(place: Place) -> Vec<&'static str> {
        wishes(place).into_iter().map(|wish| wish.feature).collect()
    }

    #[test]
    fn watched_interfaces_keep_their_offloads() {
        assert!(wishes(Place { is_virtual: true, xdp: true, ..place(Role::Watched) }).is_empty());
    }

    #[test]
    fn links_never_take_damaged_frames_and_spans_do() {
        assert!(!names(place(Role::Network)).contains(&"rx-all"));
        let rx_all = wishes(place(Role::Span)).into_iter().find(|wish| wish.feature == "rx-all");
        assert!(rx_all.is_some_and(|wish| wish.on));
    }

    #[test]
    fn nothing_is_wished_for_twice() {
        for role in [Role::Network, Role::Span, Role::Monitor, Role::Virtual] {
            for (is_virtual, xdp) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut found = names(Place { role, is_virtual, xdp });
                let count = found.len();
                found.sort_unstable();
                found.dedup();
                assert_eq!(found.len(), count);
            }
        }
    }
}
