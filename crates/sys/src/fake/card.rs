//! The hardware of a machine in memory: what its drivers offer and how they start out.

use crate::net::{Driver, Feature, Pause};

/// One interface's driver, as it is told to a [`crate::Fake`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The kind of a virtual interface; `None` is hardware.
    pub kind: Option<String>,
    /// Who drives it.
    pub driver: Driver,
    /// Its features, in order.
    pub features: Vec<Feature>,
    /// Flow control; `None` if it has none.
    pub pause: Option<Pause>,
    /// The driver's own counters.
    pub stats: Vec<(String, u64)>,
    /// Bits of `enum netdev_xdp_act`.
    pub xdp_bits: u64,
    /// Payload of a frame in bytes.
    pub mtu: u32,
    /// The queueing discipline that the kernel gives it.
    pub default_qdisc: &'static str,
}

/// A feature that can be switched, or one that is fixed as it is.
fn feature(name: &str, active: bool, available: bool) -> Feature {
    Feature { name: name.to_owned(), active, wanted: active, available, never_changed: false }
}

impl Card {
    /// One end of a pair, as veth starts out: everything outgoing is offloaded, GRO is off.
    #[must_use]
    pub fn veth() -> Self {
        let features = [
            ("tx-scatter-gather", true, true),
            ("tx-checksum-ip-generic", true, true),
            ("rx-vlan-filter", false, false),
            ("rx-vlan-hw-parse", true, true),
            ("tx-generic-segmentation", true, true),
            ("tx-tcp-segmentation", true, true),
            ("tx-tcp6-segmentation", true, true),
            ("tx-udp-segmentation", true, true),
            ("rx-gro", false, true),
            ("rx-gro-list", false, true),
            ("rx-udp-gro-forwarding", false, true),
            ("rx-checksum", true, true),
            ("rx-lro", false, false),
            ("rx-gro-hw", false, false),
            ("rx-fcs", false, false),
            ("rx-all", false, false),
        ];
        Self {
            kind: Some("veth".to_owned()),
            driver: Driver { name: "veth".to_owned(), version: "1.0".to_owned(), bus: String::new() },
            features: features.iter().map(|(name, active, can)| feature(name, *active, *can)).collect(),
            pause: None,
            stats: vec![("peer_ifindex".to_owned(), 0)],
            xdp_bits: 1 | 2 | 32,
            mtu: 1500,
            default_qdisc: "noqueue",
        }
    }

    /// A server's card that starts out with everything a tap must undo: VLAN filter and VLAN offload, LRO, GRO in
    /// software and hardware, flow control negotiated; and that offers `rx-all` and `rx-fcs`.
    #[must_use]
    pub fn physical(driver: &str) -> Self {
        let features = [
            ("tx-scatter-gather", true, true),
            ("tx-checksum-ip-generic", true, true),
            ("tx-vlan-hw-insert", true, true),
            ("rx-vlan-hw-parse", true, true),
            ("rx-vlan-filter", true, true),
            ("tx-generic-segmentation", true, true),
            ("tx-tcp-segmentation", true, true),
            ("tx-tcp6-segmentation", true, true),
            ("rx-lro", true, true),
            ("rx-gro", true, true),
            ("rx-gro-hw", true, true),
            ("rx-checksum", true, true),
            ("rx-hashing", true, true),
            ("rx-fcs", false, true),
            ("rx-all", false, true),
        ];
        Self {
            kind: None,
            driver: Driver {
                name: driver.to_owned(),
                version: "6.1".to_owned(),
                bus: "0000:01:00.0".to_owned(),
            },
            features: features.iter().map(|(name, active, can)| feature(name, *active, *can)).collect(),
            pause: Some(Pause { autoneg: true, rx: true, tx: true }),
            stats: vec![("rx_crc_errors".to_owned(), 0), ("rx_missed_errors".to_owned(), 0)],
            xdp_bits: 1 | 2 | 4 | 8,
            mtu: 1500,
            default_qdisc: "mq",
        }
    }

    /// A cheap card: its VLAN filter is on and fixed, `rx-all` and `rx-fcs` are not offered, it knows no XDP, and
    /// its flow control cannot be set.
    #[must_use]
    pub fn stubborn() -> Self {
        let mut card = Self::physical("r8169");
        card.features
            .retain(|feature| !matches!(feature.name.as_str(), "rx-fcs" | "rx-all" | "rx-lro" | "rx-gro-hw"));
        for feature in &mut card.features {
            if feature.name == "rx-vlan-filter" {
                feature.available = false;
            }
        }
        card.pause = None;
        card.xdp_bits = 0;
        card.default_qdisc = "fq_codel";
        card
    }

    /// Puts features in force as far as they allow each other, as `netdev_fix_features` does: none that merges
    /// frames can keep the FCS of each.
    pub(super) fn settle(&mut self) {
        let keeps_fcs = self.features.iter().any(|feature| feature.name == "rx-fcs" && feature.wanted);
        for feature in &mut self.features {
            if feature.changeable() {
                let merges = matches!(feature.name.as_str(), "rx-lro" | "rx-gro-hw");
                feature.active = feature.wanted && !(keeps_fcs && merges);
            }
        }
    }
}
