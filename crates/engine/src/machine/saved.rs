//! What `down` needs to put the machine back, and `status` to read the ledger: kept with what is attached, so that
//! it lives exactly as long. Where and how it is kept is each backend's own business.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use plan::ledger::Count;

/// How far `up` or `down` had come when the text was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// `up` is at work, or was killed.
    Applying,
    /// All of the plan is true.
    Live,
    /// `down` is at work, or was killed.
    Removing,
}

/// Everything that is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// How far the change had come.
    pub phase: Phase,
    /// The plan in its canonical text.
    pub plan: String,
    /// The config's name as the user gave it.
    pub file: String,
    /// How each port is attached, in plan order.
    pub choices: Vec<Choice>,
    /// Interfaces that existed before, as they were; in plan order, each once.
    pub interfaces: Vec<SavedInterface>,
    /// Pairs that `up` makes, and `down` deletes.
    pub pairs: Vec<Pair>,
    /// Whether `up` or `down` turned expedited grace periods on, and off again when it is done.
    #[serde(default)]
    pub hurried: bool,
}

/// How a port is attached, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// `tcx`, `xdp`, `clsact` or `classic`.
    pub attach: String,
    /// The reason in a few words.
    pub why: String,
}

/// A veth pair of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// The end that frames are sent into.
    pub near: String,
    /// The end that they arrive at.
    pub far: String,
}

/// An interface as it was, as far as `up` changes it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SavedInterface {
    /// Its name.
    pub name: String,
    /// Its index; a new device of the same name has another.
    pub index: u32,
    /// Whether it was up.
    pub up: bool,
    /// Whether it was promiscuous by flag.
    pub promiscuous: bool,
    /// Features as requested before, of those that `up` changes.
    pub features: Vec<(String, bool)>,
    /// Settings below /proc/sys/net, of those that `up` changes.
    pub sysctls: Vec<(String, String)>,
    /// Its link-local addresses.
    pub addresses: Vec<SavedAddress>,
    /// Pause parameters where `up` changes them: autonegotiation, receive, transmit.
    pub pause: Option<(bool, bool, bool)>,
    /// Whether `up` puts a root queueing discipline of its own in place of the default one.
    pub root_qdisc: bool,
    /// Whether `up` adds the clsact discipline.
    pub clsact: bool,
    /// The device's counters when counting began.
    pub baseline: Baseline,
}

/// A link-local address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// Its broadcast address, where it has one.
    pub broadcast: Option<Ipv4Addr>,
}

/// The device counters that the ledger takes differences of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Frames sent.
    pub tx: Count,
    /// Frames that the device could not send.
    pub tx_lost: u64,
    /// Frames that its root queueing discipline dropped.
    pub root_drops: u64,
    /// Frames missed on receipt, by the device's own reason.
    pub rx_lost: BTreeMap<String, u64>,
}

impl Saved {
    /// The text that is kept.
    pub fn to_text(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the state has string keys only, which JSON always takes")
    }

    /// Reads the text back.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_text(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }
}
