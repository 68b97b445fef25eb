//! Rings of packet sockets (`TPACKET_V3`): frames received into memory that kernel and process share, and frames
//! sent from where they lie, without a copy of ours in between.
//!
//! ```text
//! mapping   | block 0            | block 1            | ...        a block is the kernel's or ours
//! block     | header | frame | frame | ...                         ours until it is released
//! frame     | tpacket3_hdr | sockaddr_ll | room | virtio_net_hdr | octets
//! ```
//! A frame is lent, not given: it may be changed in place, and stays where it is until [`Ring::release`]. The kernel takes
//! the outer VLAN tag out of received frames and hands it over beside them; it is put back here, into the room in
//! front. What a card was to do (checksums, segments) is said with each frame, and done by whoever asks for it.
//!
//! Never looks at what is in a frame.

mod send;

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::error::{Result, SysError};

pub use send::{SendOptions, Sender};

const SOL_PACKET: i32 = 263;
const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_RX_RING: i32 = 5;
const PACKET_STATISTICS: i32 = 6;
const PACKET_VERSION: i32 = 10;
const PACKET_RESERVE: i32 = 12;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const TPACKET_V3: i32 = 2;
const PACKET_OUTGOING: u8 = 4;
const MEMBERSHIP_PROMISCUOUS: u16 = 1;
const ETH_P_ALL: u16 = 3;
/// `TP_STATUS_*`: of a block, it is ours; of a frame, it is there. The kernel takes it from a frame's slot when it reserves
/// the slot, and sets it when the frame is in it.
const STATUS_USER: u32 = 1;
/// Of a frame: its tag is beside it, and so is what announces the tag.
const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;
/// Octets of a tag, and where it stands: behind two addresses.
const TAG_BYTES: usize = 4;
const TAG_AT: usize = 12;
/// Room that the kernel leaves in front of each frame: for the tag, rounded up.
const RESERVE_BYTES: i32 = 16;
/// `struct virtio_net_hdr`.
const OFFLOAD_BYTES: usize = 10;
/// Where `struct sockaddr_ll` begins behind the start of a frame's header, and how far its packet type is in it.
const ADDRESS_AT: usize = 48;
const PACKET_TYPE_AT: usize = 10;
/// The least distance of a frame from its header: behind the packet type and what the frame leaves to a card.
const MAC_MIN: usize = ADDRESS_AT + PACKET_TYPE_AT + 1 + OFFLOAD_BYTES;
/// The least block: the largest super-frame (64 KiB and headers) fits, and the frames of several pages beside it.
pub const BLOCK_BYTES_MIN: usize = 128 << 10;
/// Classic BPF: loads the type of a packet (`SKF_AD_OFF + SKF_AD_PKTTYPE`), and takes only those that go out
/// ([`PACKET_OUTGOING`]).
const RETURN: u16 = 0x06;
const ONLY_OUTGOING: [(u16, u8, u8, u32); 4] =
    [(0x20, 0, 0, 0xffff_f004), (0x15, 0, 1, 4), (RETURN, 0, 0, u32::MAX), (RETURN, 0, 0, 0)];
/// What a frame's slot would take, where slots had a fixed size: the kernel wants a number that divides the block.
const FRAME_BYTES: u32 = 2048;

/// How a ring is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Memory for frames that wait, rounded up to whole blocks, two at least.
    pub ring_bytes: usize,
    /// One block: rounded up to a power of two, and to [`BLOCK_BYTES_MIN`]. Frames are handed over by the block.
    pub block_bytes: usize,
    /// After so many milliseconds a block is handed over with what is in it; 1 at least.
    pub retire_ms: u32,
    /// Holds the interface promiscuous while the ring is open.
    pub promiscuous: bool,
    /// Receives what comes in.
    pub incoming: bool,
    /// Receives what this host sends, past what bypasses queueing disciplines.
    pub outgoing: bool,
}

/// A ring that receives what passes one interface of the namespace it was opened in.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
    object: String,
    map: Mapping,
    block_bytes: usize,
    blocks: usize,
    /// Where we are. Frames are lent through a shared reference, so that many may be held at once.
    at: Cell<Place>,
}

/// How far a ring has been read.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The block that the next frame is in.
    block: usize,
    /// Where in the mapping its header is.
    next: usize,
    /// Frames of the block that have not been lent.
    left: u32,
    /// Blocks before this one that are read to their end and not released.
    held: usize,
}

/// Where a frame lies, within the bounds of its slot.
#[derive(Clone, Copy)]
struct Slot {
    /// Its header.
    at: usize,
    /// The frame itself.
    start: usize,
    length: usize,
    header: Header,
}

/// A frame that lies in a ring.
#[derive(Debug, PartialEq, Eq)]
pub struct Lent<'r> {
    /// The frame with its VLAN tags, without FCS.
    pub data: &'r mut [u8],
    /// Octets that it had; more than `data` where it did not fit into a block.
    pub wire_len: u32,
    /// When the kernel got it, in nanoseconds since 1970.
    pub time_ns: u64,
    /// It was sent by this host, and is on its way out.
    pub outgoing: bool,
    /// What is left to a card.
    pub offload: Offload,
}

/// What the sender of a frame left to a card (`struct virtio_net_hdr`). Offsets are into [`Lent::data`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum at `start + offset` is that of the octets from `start` on; what stands there now is the sum of the
    /// pseudo-header.
    pub checksum: Option<Checksum>,
    /// The frame stands for several.
    pub segments: Option<Segments>,
}

/// Where a checksum is to be worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where the octets that it protects begin.
    pub start: usize,
    /// Where it stands, from `start` on.
    pub offset: usize,
}

/// How a super-frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// What is cut.
    pub kind: SegmentKind,
    /// Octets of payload in each frame but the last; not 0.
    pub payload_bytes: usize,
}

/// What a super-frame is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// Datagrams of UDP, one after the other.
    Udp,
    /// Something that this release does not know (`VIRTIO_NET_HDR_GSO_*`).
    Other(u8),
}

/// What a ring did since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingStatistics {
    /// Frames that came, the dropped ones among them.
    pub received: u64,
    /// Frames that found no room.
    pub dropped: u64,
    /// How often the ring was full.
    pub freezes: u64,
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[allow(clippy::missing_errors_doc, reason = "each error names the system call that failed")]
impl Ring {
    /// Opens a ring on an interface. Needs `CAP_NET_RAW`.
    pub fn open(ifindex: u32, options: RingOptions) -> Result<Self> {
        let object = format!("packet ring on interface {ifindex}");
        let index =
            i32::try_from(ifindex).map_err(|_| SysError::new("bind", object.clone(), libc::ENODEV))?;
        let block_bytes = options.block_bytes.clamp(BLOCK_BYTES_MIN, 1 << 28).next_power_of_two();
        let blocks = options.ring_bytes.div_ceil(block_bytes).max(2);
        // Without a protocol nothing is received before the ring is there and the socket is bound.
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(SysError::last("socket", object));
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Socket { fd: &fd, object: &object };
        socket.set(PACKET_VERSION, &TPACKET_V3)?;
        socket.set(PACKET_RESERVE, &RESERVE_BYTES)?;
        socket.set(PACKET_VNET_HDR, &1_i32)?;
        if !options.outgoing {
            socket.set(PACKET_IGNORE_OUTGOING, &1_i32)?;
        }
        let too_large = || SysError::new("PACKET_RX_RING", object.clone(), libc::EINVAL);
        let block = u32::try_from(block_bytes).map_err(|_| too_large())?;
        let number = u32::try_from(blocks).map_err(|_| too_large())?;
        let request = Request {
            block_bytes: block,
            blocks: number,
            frame_bytes: FRAME_BYTES,
            frames: (block / FRAME_BYTES).checked_mul(number).ok_or_else(too_large)?,
            retire_ms: options.retire_ms.max(1),
            private_bytes: 0,
            features: 0,
        };
        if !options.incoming {
            socket.filter(&mut ONLY_OUTGOING.map(|(code, jt, jf, k)| libc::sock_filter {
                code,
                jt,
                jf,
                k,
            }))?;
        }
        socket.set(PACKET_RX_RING, &request)?;
        let map = Mapping::of(&fd, block_bytes * blocks, &object)?;
        socket.bind(index, ETH_P_ALL)?;
        if options.promiscuous {
            let request =
                Membership { index, kind: MEMBERSHIP_PROMISCUOUS, address_bytes: 0, address: [0; 8] };
            socket.set(PACKET_ADD_MEMBERSHIP, &request)?;
        }
        let at = Cell::new(Place { block: 0, next: 0, left: 0, held: 0 });
        Ok(Self { fd, object, map, block_bytes, blocks, at })
    }

    /// When the next frame came, in nanoseconds since 1970; `None` where none is there.
    #[inline]
    pub fn head_ns(&self) -> Option<u64> {
        let (Slot { header, .. }, _) = self.head()?;
        Some(u64::from(header.seconds) * 1_000_000_000 + u64::from(header.nanoseconds))
    }

    /// The next frame, which stays where it is until [`Ring::release`]; `None` where none is there.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "every frame is lent once, and no two of them overlap")]
    pub fn take(&self) -> Option<Lent<'_>> {
        let (Slot { at, start, length, header }, behind) = self.head()?;
        self.at.set(behind);
        // SAFETY: from the packet type to the end of the frame it is within its slot (`slot` checks it), which no other
        // frame reaches into; and within a block that is ours until it is released, which takes a mutable reference.
        // Each frame is reached once.
        let (kind, offload) = unsafe {
            (
                self.map.start.add(at + ADDRESS_AT + PACKET_TYPE_AT).read(),
                self.map.start.add(start - OFFLOAD_BYTES).cast::<OffloadHeader>().read_unaligned(),
            )
        };
        let tag = tag(&header).filter(|_| length >= TAG_AT);
        let grown = if tag.is_some() { TAG_BYTES } else { 0 };
        // SAFETY: as above; the tag goes where the offload header was, which has been read.
        let data = unsafe {
            let begin = self.map.start.add(start - grown);
            if let Some(tag) = tag {
                std::ptr::copy(self.map.start.add(start).as_ptr(), begin.as_ptr(), TAG_AT);
                std::ptr::copy_nonoverlapping(tag.as_ptr(), begin.add(TAG_AT).as_ptr(), TAG_BYTES);
            }
            std::slice::from_raw_parts_mut(begin.as_ptr(), length + grown)
        };
        Some(Lent {
            data,
            wire_len: header.length.saturating_add(u32::try_from(grown).unwrap_or(0)),
            time_ns: u64::from(header.seconds) * 1_000_000_000 + u64::from(header.nanoseconds),
            outgoing: kind == PACKET_OUTGOING,
            offload: offload.said(grown),
        })
    }

    /// Gives back to the kernel what was lent, as far as whole blocks go.
    #[inline]
    pub fn release(&mut self) {
        let mut place = self.at.get();
        let first = (place.block + self.blocks - place.held) % self.blocks;
        for block in (0..place.held).map(|number| (first + number) % self.blocks) {
            // What was read and written of the block comes before.
            self.status(block).store(0, Ordering::Release);
        }
        place.held = 0;
        self.at.set(place);
    }

    /// Nothing more comes in from now on; what has come stays.
    pub fn close_entry(&self) -> Result<()> {
        let socket = Socket { fd: &self.fd, object: &self.object };
        socket.filter(&mut [libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 }])
    }

    /// What the ring did since this was last asked.
    pub fn statistics(&self) -> Result<RingStatistics> {
        let mut counts = [0_u32; 3];
        Socket { fd: &self.fd, object: &self.object }.read(SOL_PACKET, PACKET_STATISTICS, &mut counts)?;
        let [received, dropped, freezes] = counts.map(u64::from);
        Ok(RingStatistics { received, dropped, freezes })
    }

    /// The errno that the interface left behind (`ENETDOWN` each time it goes down), once.
    pub fn trouble(&self) -> Result<Option<i32>> {
        let mut errno = 0_i32;
        Socket { fd: &self.fd, object: &self.object }.read(libc::SOL_SOCKET, libc::SO_ERROR, &mut errno)?;
        Ok((errno != 0).then_some(errno))
    }

    /// The place of the next frame, in a block that is ours.
    #[inline]
    fn open_block(&self) -> Option<Place> {
        let mut place = self.at.get();
        while place.left == 0 {
            // All blocks may be read and not released: then the next one is the first of these.
            if place.held == self.blocks
                || self.status(place.block).load(Ordering::Acquire) & STATUS_USER == 0
            {
                return None;
            }
            let start = place.block * self.block_bytes;
            // SAFETY: a block header is at the start of every block; the block is ours.
            let header = unsafe { self.map.start.add(start).cast::<BlockHeader>().read() };
            place.left = header.frames;
            place.next = start.saturating_add(usize::try_from(header.first).unwrap_or(usize::MAX));
            if place.left == 0 {
                // A block that the timer retired before anything came into it.
                place = self.next_block(place);
            }
            self.at.set(place);
        }
        Some(place)
    }

    /// The next frame, and the place behind it. Passes over slots without a frame: the kernel reserves and counts a slot
    /// before it finds that it has no words for what a frame leaves to a card (SCTP to be cut), counts the frame as
    /// dropped, and leaves in the slot what was there before.
    #[inline]
    fn head(&self) -> Option<(Slot, Place)> {
        loop {
            let place = self.open_block()?;
            let (slot, next) = self.slot(place);
            let mut behind = match next {
                Some(next) => Place { left: place.left - 1, next, ..place },
                // Where the next header would be is not said: what may follow cannot be reached.
                None => Place { left: 0, ..place },
            };
            if behind.left == 0 {
                behind = self.next_block(behind);
            }
            match slot {
                Some(slot) => return Some((slot, behind)),
                None => self.at.set(behind),
            }
        }
    }

    /// The slot at a place, if a frame is in it, and where the next one begins; `None` where there cannot be one. The
    /// kernel keeps to its own layout; a length that does not is no reason to touch other memory than the slot's.
    #[inline]
    fn slot(&self, place: Place) -> (Option<Slot>, Option<usize>) {
        let at = place.next;
        let block_end = (place.block + 1) * self.block_bytes;
        if at < place.block * self.block_bytes || block_end.saturating_sub(at) < size_of::<Header>() {
            return (None, None);
        }
        // SAFETY: within a block that is ours, as has just been checked.
        let header = unsafe { self.map.start.add(at).cast::<Header>().read_unaligned() };
        let wide = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let end = match at.saturating_add(wide(header.next)) {
            // Behind the last frame nothing follows but the end of the block.
            _ if place.left == 1 => block_end,
            end if end >= at + size_of::<Header>() && end <= block_end => end,
            _ => return (None, None),
        };
        let (mac, length) = (usize::from(header.mac), wide(header.captured));
        let start = at + mac;
        let is_frame = header.status & STATUS_USER != 0
            && mac >= MAC_MIN
            && start.checked_add(length).is_some_and(|frame_end| frame_end <= end);
        (is_frame.then_some(Slot { at, start, length, header }), Some(end))
    }

    /// The place behind a block that is read to its end.
    #[inline]
    fn next_block(&self, place: Place) -> Place {
        Place { block: (place.block + 1) % self.blocks, held: place.held + 1, ..place }
    }

    /// Whose a block is.
    #[inline]
    fn status(&self, block: usize) -> &AtomicU32 {
        const STATUS_AT: usize = 8;
        debug_assert!(block < self.blocks);
        // SAFETY: every block begins with a header, whose status is at octet 8; blocks are aligned to pages; kernel and
        // process both take the status for a word of its own.
        unsafe { self.map.start.add(block * self.block_bytes + STATUS_AT).cast::<AtomicU32>().as_ref() }
    }
}

/// Waits until one of these can be read (or has trouble), until the time is over, or until a signal comes.
///
/// # Errors
/// `poll`.
pub fn wait(sources: &[BorrowedFd<'_>], timeout: Duration) -> Result<()> {
    let of = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled: Vec<libc::pollfd> = sources.iter().map(of).collect();
    let count = libc::nfds_t::try_from(polled.len()).unwrap_or(0);
    let timeout_ms = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: as many are given as the call is told.
    if unsafe { libc::poll(polled.as_mut_ptr(), count, timeout_ms) } < 0 {
        let error = SysError::last("poll", "packet rings");
        return if error.errno == libc::EINTR { Ok(()) } else { Err(error) };
    }
    Ok(())
}

/// The tag that the kernel took out of a frame, as it stood on the wire.
#[inline]
fn tag(header: &Header) -> Option<[u8; TAG_BYTES]> {
    if header.status & VLAN_VALID == 0 {
        return None;
    }
    let tpid = if header.status & VLAN_TPID_VALID != 0 { header.vlan_tpid } else { 0x8100 };
    // The kernel keeps 16 bits of it in 32.
    let tci = u16::try_from(header.vlan_tci & 0xffff).unwrap_or(0);
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    Some([a, b, c, d])
}

/// A socket in the making, with what errors call it.
struct Socket<'a> {
    fd: &'a OwnedFd,
    object: &'a str,
}

impl Socket<'_> {
    fn set<T: Copy>(&self, option: i32, value: &T) -> Result<()> {
        self.set_at(SOL_PACKET, option, value)
    }

    fn set_at<T: Copy>(&self, level: i32, option: i32, value: &T) -> Result<()> {
        // SAFETY: the value is plain data, as long as the call is told; what it points to lives until the call is over.
        let result = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, option, (&raw const *value).cast(), socklen::<T>())
        };
        if result != 0 { Err(self.last("setsockopt")) } else { Ok(()) }
    }

    fn read<T: Copy>(&self, level: i32, option: i32, value: &mut T) -> Result<()> {
        let mut length = socklen::<T>();
        // SAFETY: the value is plain data, as long as the call is told.
        let result = unsafe {
            libc::getsockopt(self.fd.as_raw_fd(), level, option, (&raw mut *value).cast(), &raw mut length)
        };
        if result != 0 { Err(self.last("getsockopt")) } else { Ok(()) }
    }

    /// Only what this program takes comes in from now on.
    fn filter(&self, program: &mut [libc::sock_filter]) -> Result<()> {
        let len = u16::try_from(program.len()).unwrap_or(u16::MAX);
        let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
        self.set_at(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    fn bind(&self, index: i32, protocol: u16) -> Result<()> {
        // SAFETY: a zeroed sockaddr_ll is valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = 17;
        address.sll_ifindex = index;
        address.sll_protocol = protocol.to_be();
        // SAFETY: the address is as long as the call is told.
        let result = unsafe {
            libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), socklen::<libc::sockaddr_ll>())
        };
        if result != 0 { Err(self.last("bind")) } else { Ok(()) }
    }

    fn last(&self, call: &'static str) -> SysError {
        SysError::last(call, self.object.to_owned())
    }
}

/// Memory that a ring shares with the kernel.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to whoever holds it, on any thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn of(fd: &OwnedFd, bytes: usize, object: &str) -> Result<Self> {
        // SAFETY: a new mapping of a descriptor that is open; nothing else is at the address that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(SysError::last("mmap", object.to_owned()));
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| SysError::new("mmap", object, libc::EINVAL))?;
        Ok(Self { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `of`, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// `struct tpacket_req3`; its first four are `struct tpacket_req`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    block_bytes: u32,
    blocks: u32,
    frame_bytes: u32,
    frames: u32,
    retire_ms: u32,
    private_bytes: u32,
    features: u32,
}

/// `struct tpacket_block_desc` up to what is asked for.
#[repr(C)]
#[derive(Clone, Copy)]
struct BlockHeader {
    version: u32,
    private_at: u32,
    status: u32,
    frames: u32,
    first: u32,
    length: u32,
}

/// `struct tpacket3_hdr`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    next: u32,
    seconds: u32,
    nanoseconds: u32,
    captured: u32,
    length: u32,
    status: u32,
    mac: u16,
    net: u16,
    hash: u32,
    vlan_tci: u32,
    vlan_tpid: u16,
    padding: [u8; 10],
}

/// `struct virtio_net_hdr`, in the machine's own order of octets.
#[repr(C)]
#[derive(Clone, Copy)]
struct OffloadHeader {
    flags: u8,
    kind: u8,
    header_bytes: u16,
    payload_bytes: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl OffloadHeader {
    /// What it says of a frame that has become longer by so many octets in front.
    #[inline]
    fn said(self, grown: usize) -> Offload {
        const NEEDS_CHECKSUM: u8 = 1;
        const ECN: u8 = 0x80;
        let checksum = (self.flags & NEEDS_CHECKSUM != 0).then(|| Checksum {
            start: usize::from(self.checksum_start) + grown,
            offset: usize::from(self.checksum_offset),
        });
        let segments = (self.kind != 0 && self.payload_bytes != 0).then(|| Segments {
            kind: match self.kind & !ECN {
                1 => SegmentKind::Tcp4,
                4 => SegmentKind::Tcp6,
                5 => SegmentKind::Udp,
                other => SegmentKind::Other(other),
            },
            payload_bytes: usize::from(self.payload_bytes),
        });
        Offload { checksum, segments }
    }
}

/// `struct packet_mreq`: ifindex, type and address length in 16 bits each, address.
#[repr(C)]
#[derive(Clone, Copy)]
struct Membership {
    index: i32,
    kind: u16,
    address_bytes: u16,
    address: [u8; 8],
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("structures of the socket interface are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = BLOCK_BYTES_MIN;
    const MAC: usize = 96;

    /// Two blocks of memory that no kernel writes to, both the kernel's.
    fn forged() -> Ring {
        // SAFETY: a new mapping of nothing, at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                2 * BLOCK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        let map = Mapping { start: NonNull::new(start.cast()).unwrap(), bytes: 2 * BLOCK };
        let at = Cell::new(Place { block: 0, next: 0, left: 0, held: 0 });
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        Ring { fd, object: "forged".into(), map, block_bytes: BLOCK, blocks: 2, at }
    }

    fn write<T>(ring: &Ring, at: usize, value: T) {
        assert!(at + size_of::<T>() <= ring.map.bytes);
        // SAFETY: within the mapping; nothing is lent.
        unsafe { ring.map.start.add(at).cast::<T>().write_unaligned(value) };
    }

    fn block(ring: &Ring, number: usize, frames: u32, first: u32) {
        let header = BlockHeader { version: 1, private_at: 0, status: STATUS_USER, frames, first, length: 0 };
        write(ring, number * BLOCK, header);
    }

    fn header(next: u32, seconds: u32, mac: u16, captured: u32, status: u32) -> Header {
        let (length, net, hash, vlan_tci, vlan_tpid) = (captured, 0, 0, 0, 0);
        let (nanoseconds, padding) = (0, [0; 10]);
        Header {
            next,
            seconds,
            nanoseconds,
            captured,
            length,
            status,
            mac,
            net,
            hash,
            vlan_tci,
            vlan_tpid,
            padding,
        }
    }

    /// Seconds and length of each frame that is lent.
    fn lent(ring: &Ring) -> Vec<(u64, usize)> {
        let mut lent = Vec::new();
        while let Some(time_ns) = ring.head_ns() {
            let frame = ring.take().expect("what has a time is there");
            assert_eq!(frame.time_ns, time_ns);
            frame.data.fill(0xff);
            lent.push((time_ns / 1_000_000_000, frame.data.len()));
        }
        assert_eq!(ring.take(), None);
        lent
    }

    fn mac() -> u16 {
        u16::try_from(MAC).unwrap()
    }

    #[test]
    fn reserved_slots_without_a_frame_are_passed_over() {
        let mut ring = forged();
        // First, between and last; and a block of nothing else.
        block(&ring, 0, 5, 64);
        for (number, status) in (0..).zip([0, 1, VLAN_VALID, 1, 0]) {
            let next = if number == 4 { 0 } else { 512 };
            let at = 64 + 512 * usize::try_from(number).unwrap();
            write(&ring, at, header(next, number, mac(), 60, status));
        }
        block(&ring, 1, 1, 64);
        write(&ring, BLOCK + 64, header(0, 9, mac(), 60, 0));
        assert_eq!(lent(&ring), [(1, 60), (3, 60)]);
        ring.release();
        // Both blocks were given back.
        assert!((0..2).all(|block| ring.status(block).load(Ordering::Acquire) == 0));
        assert_eq!(lent(&ring), []);
    }

    #[test]
    fn no_frame_reaches_out_of_its_slot() {
        let whole = u32::try_from(512 - MAC).unwrap();
        let last = u32::try_from(BLOCK - 64 - 512 - MAC).unwrap();
        for (mac, captured, fits) in [
            (mac(), whole, true),
            (mac(), whole + 1, false),
            (mac(), u32::MAX, false),
            (u16::MAX, 60, false),
            (10, 60, false),
        ] {
            let ring = forged();
            block(&ring, 0, 2, 64);
            write(&ring, 64, header(512, 1, mac, captured, STATUS_USER));
            write(&ring, 64 + 512, header(0, 2, 96, last, STATUS_USER));
            let first = fits.then_some((1, 416));
            let second = (2, usize::try_from(last).unwrap());
            assert_eq!(lent(&ring), first.into_iter().chain([second]).collect::<Vec<_>>());
        }
        let ring = forged();
        block(&ring, 0, 2, 64);
        write(&ring, 64, header(512, 1, mac(), 60, STATUS_USER));
        write(&ring, 64 + 512, header(0, 2, mac(), last + 1, STATUS_USER));
        assert_eq!(lent(&ring), [(1, 60)]);
    }

    #[test]
    fn a_chain_that_leaves_its_block_ends_there() {
        for next in [0, 8, u32::try_from(BLOCK).unwrap(), u32::MAX] {
            let ring = forged();
            block(&ring, 0, 3, 64);
            write(&ring, 64, header(512, 1, mac(), 60, STATUS_USER));
            write(&ring, 64 + 512, header(next, 2, mac(), 60, STATUS_USER));
            block(&ring, 1, 1, 64);
            write(&ring, BLOCK + 64, header(0, 3, mac(), 60, STATUS_USER));
            assert_eq!(lent(&ring), [(1, 60), (3, 60)], "{next}");
        }
        for first in [u32::try_from(BLOCK - 8).unwrap(), u32::try_from(BLOCK).unwrap(), u32::MAX] {
            let ring = forged();
            block(&ring, 0, 1, first);
            assert_eq!(lent(&ring), [], "{first}");
        }
    }
}
