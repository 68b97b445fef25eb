//! Queueing disciplines and their classes: what is to be made, and what the kernel counts. Plain data.
//!
//! What the kernel does with super-frames (one buffer that stands for many wire frames), found on 6.18 and held
//! by `tests/queues.rs`:
//! - a `tbf` leaf cuts them when they are enqueued; its own counters and those above it are in wire frames from
//!   then on, drops of a half-accepted one too;
//! - a `bfifo` or `pfifo` leaf lets them through whole. It counts the bytes of the segments, but frames by
//!   `gso_segs`, which is 0 where the super-frame came from a packet socket or a virtual machine; a dropped one
//!   counts as one drop.

/// Parent of a root queueing discipline.
pub const H_ROOT: u32 = 0xFFFF_FFFF;
/// Parent of clsact.
pub const H_CLSACT: u32 = 0xFFFF_FFF1;
/// Parent of the classifiers that see frames come in.
pub const H_INGRESS: u32 = 0xFFFF_FFF2;
/// Parent of the classifiers that see frames go out.
pub const H_EGRESS: u32 = 0xFFFF_FFF3;

/// The handle that `tc` writes as `major:minor`, both in hexadecimal.
#[must_use]
pub const fn handle(major: u16, minor: u16) -> u32 {
    // `u32::from` is not const; widening cannot lose anything.
    ((major as u32) << 16) | minor as u32
}

/// A queueing discipline to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QdiscSpec {
    /// The hook for classifiers, on both sides. Its parent is [`H_CLSACT`], its handle `ffff:0`.
    Clsact,
    /// First in, first out.
    Pfifo {
        /// Most frames that wait.
        limit_packets: u32,
    },
    /// First in, first out.
    Bfifo {
        /// Most bytes that wait: frames with their Ethernet header, without the FCS. A super-frame counts what
        /// its segments would.
        limit_bytes: u32,
    },
    /// Token bucket. Cuts a super-frame that is larger than `burst_bytes` into wire frames when it is enqueued.
    Tbf {
        /// Bytes of frames a second.
        rate_bytes_s: u64,
        /// Depth of the bucket, and the largest frame taken.
        burst_bytes: u32,
        /// Most bytes that wait in the `bfifo` inside.
        limit_bytes: u32,
    },
    /// Hierarchical token buckets: the root of a monitor port.
    Htb {
        /// Minor of the class that takes what nothing classifies; 0 lets it pass unqueued.
        default_class: u16,
        /// Most frames that wait in the direct queue.
        direct_packets: u32,
    },
    /// Any other, its options as the kernel takes them (`TCA_OPTIONS`).
    Raw {
        /// The kind.
        kind: String,
        /// The payload of `TCA_OPTIONS`; empty sends none.
        options: Vec<u8>,
    },
}

impl QdiscSpec {
    /// The kernel's name of this kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            QdiscSpec::Clsact => "clsact",
            QdiscSpec::Pfifo { .. } => "pfifo",
            QdiscSpec::Bfifo { .. } => "bfifo",
            QdiscSpec::Tbf { .. } => "tbf",
            QdiscSpec::Htb { .. } => "htb",
            QdiscSpec::Raw { kind, .. } => kind,
        }
    }
}

/// A class of `htb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HtbClass {
    /// Bytes a second that it may always send.
    pub rate_bytes_s: u64,
    /// Bytes a second that it may send when others leave room.
    pub ceil_bytes_s: u64,
    /// Bytes it may send at once at `rate_bytes_s`. At least one frame.
    pub burst_bytes: u32,
    /// Bytes it may send at once at `ceil_bytes_s`. At least one frame.
    pub cburst_bytes: u32,
    /// Bytes it sends in its turn when several wait. At least one frame.
    pub quantum_bytes: u32,
    /// Bytes added to each frame: 24 makes frame bytes into wire bytes.
    pub overhead_bytes: u16,
    /// The least that a frame counts after `overhead_bytes`: 84 on Ethernet. Kernels from 3.8 to 5.16 ignore it
    /// unless a stable update brought it back.
    pub mpu_bytes: u16,
    /// Priority, 0 (first) to 7.
    pub priority: u32,
}

/// What a queueing discipline or a class counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Bytes that left it.
    pub bytes: u64,
    /// Frames that left it (a super-frame counts its `gso_segs`, which may be 0).
    pub packets: u64,
    /// Dropped, because it was full or for another reason of its own. A super-frame is one.
    pub drops: u64,
    /// Times it had to wait for its rate.
    pub overlimits: u64,
    /// Frames the device handed back.
    pub requeues: u64,
    /// Frames that wait. A super-frame is one.
    pub queued_packets: u32,
    /// Bytes that wait.
    pub queued_bytes: u32,
}

/// A queueing discipline that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    /// The interface.
    pub ifindex: u32,
    /// Its kind.
    pub kind: String,
    /// Its handle; 0 for those the kernel made by itself.
    pub handle: u32,
    /// What it hangs on.
    pub parent: u32,
    /// Its options as the kernel writes them (`TCA_OPTIONS`), to tell one from another.
    pub options: Vec<u8>,
    /// Counters.
    pub stats: QueueStats,
}

/// A class of a queueing discipline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The interface.
    pub ifindex: u32,
    /// The kind of the queueing discipline it belongs to.
    pub kind: String,
    /// Its handle.
    pub handle: u32,
    /// What it hangs on.
    pub parent: u32,
    /// The handle of the queueing discipline inside, 0 for none.
    pub leaf: u32,
    /// Its options as the kernel writes them (`TCA_OPTIONS`).
    pub options: Vec<u8>,
    /// Counters.
    pub stats: QueueStats,
}
