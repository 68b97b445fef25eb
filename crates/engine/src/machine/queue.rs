//! The queueing discipline that gives a monitor port its capacity.
//!
//! ```text
//! htb 7477:                      the port
//!   class 7477:ffff  rate        wire bytes: frame + 24, at least 84
//!     class 7477:1   side 1      an equal share, and all that others leave; served byte-fair
//!       tbf 7478:    buffer      cuts super-frames into wire frames, holds `buffer` octets of frames, then drops
//!     class 7477:2   side 2
//!       tbf 7479:
//! ```
//! The `tbf` leaves never wait: they are there because tbf is the discipline that segments what it takes in,
//! so that buffers and drops are counted in wire frames. The entry program puts each copy into its class by
//! `skb->priority`.

use plan::plan::{Plan, Queue, SinkId};
use sys::{HtbClass, QdiscSpec, Result, Sys};

/// Major number of the handle of every discipline of ours that is a root.
pub const HANDLE: u16 = bpf::emit::QDISC_HANDLE;
/// Minor number of the class that is the port itself.
const PORT_CLASS: u16 = 0xffff;
/// Octets a frame has on the wire beyond itself: FCS 4, preamble and start 8, gap 12 (IEEE 802.3).
const WIRE_OVERHEAD: u16 = 24;
/// The least that a frame takes on the wire: 64 with FCS, preamble, gap.
const WIRE_MINIMUM: u16 = 84;
/// So fast that a leaf never waits, within what 64 bits of octets a second and nanoseconds can count.
const LEAF_RATE_BYTES_S: u64 = 1 << 40;
/// The part of a second whose rate a port may send at once after it waited: 4 ms, so that a timer which is that
/// late does not lower the rate. On an idle virtual machine 1 ms is not enough: it took 4 % off 100 Mbit/s.
const BURST_PARTS: u64 = 250;
/// And never less than this.
const BURST_MIN_BYTES: u64 = 16 * 1024;
/// And never more than this.
const BURST_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Ethernet header and two tags.
const HEADER_BYTES: u32 = 22;

/// The handle of the leaf of a side, counted from 0.
pub fn leaf_handle(side: u16) -> u32 {
    sys::handle(HANDLE + 1 + side, 0)
}

/// The class of a side, counted from 0: what the program writes to `skb->priority`.
pub fn class_handle(side: u16) -> u32 {
    sys::handle(HANDLE, 1 + side)
}

/// The largest MTU of a monitor port and of the interfaces that send to it; `mtu_of` knows interfaces by name.
pub fn largest(plan: &Plan, sink: SinkId, own: u32, mtu_of: impl Fn(&str) -> Option<u32>) -> u32 {
    let fed_by = plan.hooks.iter().filter(|hook| hook.copies.iter().any(|copy| copy.sink == sink));
    let mtus = fed_by.filter_map(|hook| mtu_of(&plan.port(hook.at.port).interface));
    mtus.chain([own]).max().unwrap_or(own)
}

/// Builds the tree on the egress of a monitor port, in place of the default discipline.
///
/// # Errors
/// A system call that failed; `ENOENT` where the kernel has no sch_htb or sch_tbf.
pub fn build(sys: &mut impl Sys, ifindex: u32, mtu: u32, queue: Queue, sides: u16) -> Result<()> {
    let root = sys::handle(HANDLE, 0);
    let spec = QdiscSpec::Htb { default_class: 1, direct_packets: 1 };
    sys.add_qdisc(ifindex, sys::H_ROOT, root, &spec, true)?;
    let rate = (queue.rate_bits / 8).max(1);
    let burst = (rate / BURST_PARTS).clamp(BURST_MIN_BYTES, BURST_MAX_BYTES);
    let burst = u32::try_from(burst).expect("clamped below 4 MiB");
    let frame = mtu + HEADER_BYTES;
    let class = |share: u64| HtbClass {
        rate_bytes_s: (rate / share).max(1),
        ceil_bytes_s: rate,
        burst_bytes: burst.max(frame),
        cburst_bytes: burst.max(frame),
        quantum_bytes: frame,
        overhead_bytes: WIRE_OVERHEAD,
        mpu_bytes: WIRE_MINIMUM,
        priority: 0,
    };
    let port = sys::handle(HANDLE, PORT_CLASS);
    sys.set_class(ifindex, root, port, &class(1))?;
    for side in 0..sides {
        sys.set_class(ifindex, port, class_handle(side), &class(u64::from(sides)))?;
        let leaf = QdiscSpec::Tbf {
            rate_bytes_s: LEAF_RATE_BYTES_S,
            burst_bytes: frame,
            limit_bytes: u32::try_from(queue.buffer_bytes).unwrap_or(u32::MAX),
        };
        sys.add_qdisc(ifindex, class_handle(side), leaf_handle(side), &leaf, false)?;
    }
    Ok(())
}
