//! Sends frames from where they lie: many in one call, and each with an answer of its own.
//!
//! `sendmmsg` is given the addresses of the frames, so that the kernel's copy into a socket buffer is the only one. A ring
//! to send by (`PACKET_TX_RING`) was measured beside it and is no faster: it wants the frame copied into it first. But it
//! lets frames pass that are longer than the MTU by more than one 802.1Q tag, which a plain send refuses; so these few
//! go by it.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{Mapping, OFFLOAD_BYTES, PACKET_VERSION, PACKET_VNET_HDR, Socket};
use crate::error::{Result, SysError};
use crate::packet::{Options, PacketSocket};

const PACKET_TX_RING: i32 = 13;
const PACKET_QDISC_BYPASS: i32 = 20;
const TPACKET_V2: i32 = 1;
const STATUS_AVAILABLE: u32 = 0;
const STATUS_SEND_REQUEST: u32 = 1;
/// `struct tpacket2_hdr`; the frame follows.
const SLOT_HEADER_BYTES: usize = 32;
/// Where its length is.
const SLOT_LENGTH_AT: usize = 4;
/// The longest frame that the ring for long ones takes.
const LONG_MAX: usize = 68 << 10;
/// Its memory, and how many slots it has. A slot is free again when the card has sent what was in it, and cards send
/// hundreds of frames behind: so slots are as long as the frames ask for.
const LONG_RING_BYTES: usize = 4 << 20;
const SLOTS_MIN: usize = 16;
const SLOTS_MAX: usize = 512;
const SLOT_BYTES_MIN: usize = 2 << 10;
/// One piece of that memory, unless a slot is longer: a multiple of every size of a page.
const LONG_BLOCK_BYTES: usize = 64 << 10;
/// How long to wait where only time helps: a card that is busy does not tell when it is not.
const PAUSE: Duration = Duration::from_micros(50);

/// How frames are to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// Past the queueing discipline.
    pub bypass_queue: bool,
    /// `skb->priority` of the frames: the handle of a class, for `htb`.
    pub priority: u32,
    /// `skb->mark` of the frames; 0 asks for none. Another one needs `CAP_NET_ADMIN`.
    pub mark: u32,
    /// Kernel memory that frames on their way may take; 0 leaves it to the kernel.
    pub buffer_bytes: usize,
}

/// A socket that sends by one interface.
#[derive(Debug)]
pub struct Sender {
    socket: PacketSocket,
    ifindex: u32,
    options: SendOptions,
    parts: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
    long: Option<LongRing>,
}

// SAFETY: the pointers in `messages` lead to `parts`, and those in `parts` are used only within `send`, which sets them.
unsafe impl Send for Sender {}

#[allow(clippy::missing_errors_doc, reason = "each error names the system call that failed")]
impl Sender {
    /// Opens a socket that sends up to `batch` frames in one call. Needs `CAP_NET_RAW`.
    pub fn open(ifindex: u32, batch: usize, options: SendOptions) -> Result<Self> {
        let wanted = Options {
            bypass_queue: options.bypass_queue,
            buffer_bytes: options.buffer_bytes,
            ..Options::default()
        };
        let socket = PacketSocket::open(ifindex, wanted)?;
        if options.priority != 0 {
            socket.set_priority(options.priority)?;
        }
        if options.mark != 0 {
            socket.set_mark(options.mark)?;
        }
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut parts = vec![nothing; batch.max(1)];
        let message = |part: &mut libc::iovec| {
            // SAFETY: a zeroed mmsghdr is valid: no address, no parts, no control data.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = &raw mut *part;
            message.msg_hdr.msg_iovlen = 1;
            message
        };
        let messages = parts.iter_mut().map(message).collect();
        Ok(Self { socket, ifindex, options, parts, messages, long: None })
    }

    /// Sends frames in order, and tells the number and errno of each that could not be sent; those behind it are sent
    /// all the same. Never waits: `EAGAIN` is an answer.
    pub fn send(&mut self, frames: &[&[u8]], failed: impl FnMut(usize, i32)) {
        let mut none = Duration::ZERO;
        self.send_within(&mut none, frames, failed);
    }

    /// As [`Sender::send`], but waits for room (`EAGAIN`, `ENOBUFS`), in order, as long as `patience` lasts; what it took
    /// is taken from it. Gives how often a device refused a frame that was tried again: it may have counted each as a
    /// loss.
    pub fn send_within(
        &mut self,
        patience: &mut Duration,
        frames: &[&[u8]],
        mut failed: impl FnMut(usize, i32),
    ) -> u64 {
        let mut in_vain = 0;
        for (number, batch) in frames.chunks(self.parts.len()).enumerate() {
            let first = number * self.parts.len();
            for (part, frame) in self.parts.iter_mut().zip(batch) {
                *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            }
            let mut done = 0;
            while done < batch.len() {
                let errno = match self.send_from(done, batch.len()) {
                    Ok(sent) => {
                        done += sent.max(1);
                        continue;
                    }
                    // A signal; what was sent before it has been told as sent.
                    Err(libc::EINTR) => continue,
                    Err(libc::EMSGSIZE) => match self.send_long(batch[done]) {
                        Ok(()) => {
                            done += 1;
                            continue;
                        }
                        Err(errno) => errno,
                    },
                    Err(errno) => errno,
                };
                if matches!(errno, libc::EAGAIN | libc::ENOBUFS) && !patience.is_zero() {
                    in_vain += u64::from(errno == libc::ENOBUFS);
                    self.pause(errno, patience);
                    continue;
                }
                failed(first + done, errno);
                done += 1;
            }
        }
        in_vain
    }

    /// Waits until there may be room, and at most as long as the patience.
    fn pause(&self, errno: i32, patience: &mut Duration) {
        let begun = Instant::now();
        let mut polled =
            libc::pollfd { fd: self.socket.as_fd().as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        let wait = libc::timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        // SAFETY: one descriptor and a time are given, and no mask of signals.
        let ready = unsafe { libc::ppoll(&raw mut polled, 1, &raw const wait, std::ptr::null()) };
        // The socket has room, so it is the device, or the ring for long frames, that has none.
        if ready != 0 && (errno == libc::ENOBUFS || begun.elapsed() < PAUSE) {
            std::thread::sleep(PAUSE.min(*patience));
        }
        *patience = patience.saturating_sub(begun.elapsed());
    }

    /// Sends the messages from `done` on, up to `all`; gives how many, or why not the first of them.
    fn send_from(&mut self, done: usize, all: usize) -> std::result::Result<usize, i32> {
        let messages = &mut self.messages[done..all];
        let count = libc::c_uint::try_from(messages.len()).unwrap_or(1);
        // SAFETY: every message points to a part, and every part to a frame that the caller of `send` lends; sending
        // does not write to frames. There are `count` messages.
        let sent = unsafe {
            libc::sendmmsg(self.socket.as_fd().as_raw_fd(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        usize::try_from(sent).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// Sends a frame that is longer than the MTU and one tag.
    fn send_long(&mut self, frame: &[u8]) -> std::result::Result<(), i32> {
        if frame.len() > LONG_MAX {
            return Err(libc::EMSGSIZE);
        }
        let needed = frame.len() + SLOT_HEADER_BYTES + OFFLOAD_BYTES;
        if self.long.as_ref().is_none_or(|ring| ring.slot_bytes < needed) {
            // What is on its way from a ring with shorter slots keeps its memory until it is sent.
            let ring = LongRing::open(self.ifindex, self.options, needed).map_err(|error| error.errno)?;
            self.long = Some(ring);
        }
        self.long.as_mut().map_or(Err(libc::EIO), |ring| ring.send(frame))
    }
}

/// A ring to send by, for long frames.
#[derive(Debug)]
struct LongRing {
    fd: OwnedFd,
    map: Mapping,
    slot_bytes: usize,
    slots: usize,
    next: usize,
}

impl LongRing {
    /// Opens a ring whose slots have so many octets at least.
    fn open(ifindex: u32, options: SendOptions, needed: usize) -> Result<Self> {
        let object = format!("packet ring to send by interface {ifindex}");
        let index =
            i32::try_from(ifindex).map_err(|_| SysError::new("bind", object.clone(), libc::ENODEV))?;
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(SysError::last("socket", object));
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Socket { fd: &fd, object: &object };
        socket.set(PACKET_VERSION, &TPACKET_V2)?;
        // With it the kernel leaves it to the device how long a frame may be.
        socket.set(PACKET_VNET_HDR, &1_i32)?;
        if options.bypass_queue {
            socket.set(PACKET_QDISC_BYPASS, &1_i32)?;
        }
        if options.priority != 0 {
            socket.set_at(libc::SOL_SOCKET, libc::SO_PRIORITY, &options.priority)?;
        }
        if options.mark != 0 {
            socket.set_at(libc::SOL_SOCKET, libc::SO_MARK, &options.mark)?;
        }
        if options.buffer_bytes != 0 {
            let bytes = i32::try_from(options.buffer_bytes / 2).unwrap_or(i32::MAX / 2);
            if socket.set_at(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes).is_err() {
                socket.set_at(libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes)?;
            }
        }
        // Powers of two all of them, so that slots follow each other without gaps.
        let slot_bytes = needed.next_power_of_two().max(SLOT_BYTES_MIN);
        let slots = (LONG_RING_BYTES / slot_bytes).clamp(SLOTS_MIN, SLOTS_MAX);
        let block_bytes = slot_bytes.max(LONG_BLOCK_BYTES);
        let blocks = slot_bytes * slots / block_bytes;
        // `struct tpacket_req`.
        let request =
            [block_bytes, blocks, slot_bytes, slots].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        socket.set(PACKET_TX_RING, &request)?;
        let map = Mapping::of(&fd, slot_bytes * slots, &object)?;
        socket.bind(index, 0)?;
        Ok(Self { fd, map, slot_bytes, slots, next: 0 })
    }

    fn send(&mut self, frame: &[u8]) -> std::result::Result<(), i32> {
        // Asked before there is such a ring, and once more, as memory depends on it.
        if frame.len() + SLOT_HEADER_BYTES + OFFLOAD_BYTES > self.slot_bytes {
            return Err(libc::EMSGSIZE);
        }
        let slot = self.next * self.slot_bytes;
        // SAFETY: every slot begins with its status; slots are aligned to 2 KiB; kernel and process both take it for a
        // word of its own.
        let status = unsafe { self.map.start.add(slot).cast::<AtomicU32>().as_ref() };
        if status.load(Ordering::Acquire) != STATUS_AVAILABLE {
            return Err(libc::EAGAIN);
        }
        let length = u32::try_from(frame.len() + OFFLOAD_BYTES).map_err(|_| libc::EMSGSIZE)?;
        // SAFETY: the slot is ours while it is available; header, offload header and frame fit into it (see above).
        unsafe {
            self.map.start.add(slot + SLOT_LENGTH_AT).cast::<u32>().write(length);
            let data = self.map.start.add(slot + SLOT_HEADER_BYTES);
            // No offload is asked for.
            data.write_bytes(0, OFFLOAD_BYTES);
            std::ptr::copy_nonoverlapping(frame.as_ptr(), data.add(OFFLOAD_BYTES).as_ptr(), frame.len());
        }
        status.store(STATUS_SEND_REQUEST, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
        // SAFETY: nothing but the ring is given.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT) };
        if sent >= 0 {
            return Ok(());
        }
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        // What the kernel would not even look at is ours again, and so is its slot.
        if status.load(Ordering::Acquire) != STATUS_AVAILABLE {
            status.store(STATUS_AVAILABLE, Ordering::Release);
            self.next = (self.next + self.slots - 1) % self.slots;
        }
        Err(errno)
    }
}
