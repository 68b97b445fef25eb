//! Classic BPF classifiers of traffic control and what they do with a frame: what is to be made, and what the
//! kernel counts. Plain data.
//!
//! None of it needs the right to load eBPF: `CAP_NET_ADMIN` in the user namespace that owns the network
//! namespace is enough. Filters stay on the device when this process ends, and the kernel gives back every
//! instruction of them.
//!
//! What the kernel does, found on 6.18 and held by `tests/classic.rs`:
//! - filters run by preference. Within one, of kind `bpf` the last added runs first (one put in the place of
//!   another keeps its turn), of kind `u32` they run by handle: whoever wants an order gives each its own;
//! - a program that returns 0 does not match, and the next filter is tried. A program that loads behind the
//!   end of the frame returns 0. In a direct program 0 is `ok` instead, and ends the filters;
//! - an action at ingress counts bytes without the Ethernet header, on egress with it; a tag beside the data is
//!   in neither. Frames are wire frames where the super-frame says how many it stands for;
//! - a copy that the other interface refuses (down, no carrier, dropped by its own filters or queue) counts in
//!   `overlimits` of the action.

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClassicInsn {
    /// What it does.
    pub code: u16,
    /// Instructions to skip where a condition holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// The number in it.
    pub k: u32,
}

/// The most instructions that the kernel takes in one program (`BPF_MAXINSNS`).
pub const CLASSIC_INSNS_MAX: usize = 4096;

/// What becomes of a frame behind an action (`TC_ACT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// The next filter is tried (`continue`, -1).
    Continue,
    /// The next action of this filter (`pipe`, 3).
    Pipe,
    /// No further filter; the frame goes on (`ok`, 0).
    Ok,
    /// Dropped (`drop`, 2).
    Drop,
    /// Dropped as a matter of course (`stolen`, 4).
    Stolen,
    /// Any other number of the kernel's.
    Other(i32),
}

/// One action of a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// A copy leaves by an interface (`mirred egress mirror`).
    Mirror {
        /// Index of the interface.
        to: u32,
        /// What becomes of the frame itself.
        then: Then,
    },
    /// The frame leaves by an interface (`mirred egress redirect`), and is gone from here.
    Redirect {
        /// Index of the interface.
        to: u32,
    },
    /// Another kind, that we make none of. It cannot be added.
    Other {
        /// The kernel's name of it.
        kind: String,
    },
}

/// What a filter looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// A program (kind `bpf`): 0 does not match.
    Program {
        /// At most [`CLASSIC_INSNS_MAX`] instructions.
        insns: Vec<ClassicInsn>,
        /// Whether what it returns is what becomes of the frame (`TC_ACT_*`), without any action: -1 goes on to the next
        /// filter, 0 is `ok`, 2 drops, 4 steals.
        direct: bool,
    },
    /// All frames that came by an interface of this name, or were sent here by `mirred` from it (kind `u32`,
    /// `indev`). Where one was handed on more than once, the last interface counts.
    CameBy(String),
    /// All frames (kind `u32` without a key).
    All,
    /// Another kind, or one that we make none of. It cannot be added.
    Other,
}

/// A filter to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicSpec {
    /// The chain: 0 is the one that runs. A filter in another is stored, and runs only where an action goes there.
    pub chain: u32,
    /// Preference: the lowest runs first. At least 1. One preference of one chain holds filters of one kind.
    pub priority: u16,
    /// The handle within the preference. At least 1; at most 0xFFE for `u32` (the kernel shows it as `800::n`).
    pub handle: u32,
    /// Put it in the place of the one with this chain, preference and handle, in one step, if there is one.
    /// The kernel cannot do that with those of kind `u32` in place.
    pub replace: bool,
    /// Make clsact first, in the same step: a process that is killed leaves neither or both. Fails with
    /// `EEXIST` where clsact is there.
    pub with_clsact: bool,
    /// What it looks at.
    pub matcher: Matcher,
    /// The class of a queueing discipline (`flowid`) for frames that match; 0 for none.
    pub class: u32,
    /// What it does, in order. Without any, a frame that matches goes on, and no further filter is tried.
    pub acts: Vec<Act>,
}

/// What an action counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActStats {
    /// Bytes of the frames that it was done to: at ingress without the Ethernet header, on egress with it, nowhere with
    /// a tag beside the data.
    pub bytes: u64,
    /// Frames that it was done to.
    pub packets: u64,
    /// Frames that it dropped.
    pub drops: u64,
    /// Frames that it could not send (`mirred`).
    pub overlimits: u64,
}

/// An action that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActFound {
    /// What it does.
    pub act: Act,
    /// What it counted.
    pub stats: ActStats,
}

/// A filter that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicFilter {
    /// Its kind (`bpf`, `u32`, ...).
    pub kind: String,
    /// Its chain.
    pub chain: u32,
    /// Preference.
    pub priority: u16,
    /// EtherType it is for, 3 for all.
    pub protocol: u16,
    /// Handle within the preference, as in [`ClassicSpec::handle`].
    pub handle: u32,
    /// What it looks at.
    pub matcher: Matcher,
    /// The class for frames that match; 0 for none.
    pub class: u32,
    /// What it does, and what that counted.
    pub acts: Vec<ActFound>,
}
