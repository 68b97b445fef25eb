//! Every system call that Tapwright makes, and the only unsafe code of the project.
//!
//! [`Sys`] is the one seam: [`Linux`] is the machine, [`Fake`] a machine in memory, for tests of what is built
//! on it. Both let every call through one [`Gate`], which counts, traces, and can make the n-th call fail or
//! be the last thing the process does.
//!
//! Everything works in the network namespace of the calling thread, at the time of the call: netlink and
//! ioctl sockets are opened for one request. Nothing here relies on `/sys` or on a bpffs, because
//! `ip netns exec`, containers and hardened units mount their own.
//!
//! This crate never decides anything: what to attach, switch off or restore is the engine's.

#![allow(unsafe_code)]

mod classic;
mod error;
mod fake;
mod gate;
mod linux;
mod net;
mod object;
mod queue;
mod seam;

pub mod clock;
pub mod cpu;
pub mod lock;
pub mod netns;
pub mod packet;
pub mod process;
pub mod ring;
pub mod user;

pub use classic::{
    Act, ActFound, ActStats, CLASSIC_INSNS_MAX, ClassicFilter, ClassicInsn, ClassicSpec, Matcher, Then,
};
pub use error::{Result, SysError};
pub use fake::{Card, Fake, Snapshot};
pub use gate::{Call, Fault, FaultKind, Gate};
pub use linux::Linux;
pub use net::{
    Address, Capabilities, Driver, Feature, IFF_LOWER_UP, IFF_NOARP, IFF_PROMISC, IFF_UP, KernelVersion,
    Link, LinkStats, Pause, Route, VethSpec, Xdp, XdpFeatures,
};
pub use object::{
    Attached, Filter, FilterSpec, Hook, MAP_NO_PREALLOC, MAP_READ_ONLY_PROG, MapFd, MapInfo, MapKind,
    MapSpec, Place, ProgFd, ProgInfo, ProgKind, ProgSpec, TestRun, TestRunResult, XdpMode,
};
pub use queue::{
    Class, H_CLSACT, H_EGRESS, H_INGRESS, H_ROOT, HtbClass, Qdisc, QdiscSpec, QueueStats, handle,
};
pub use seam::Sys;
