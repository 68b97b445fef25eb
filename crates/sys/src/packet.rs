//! Packet sockets: sends frames as given, receives them as they were on the wire.
//!
//! The kernel takes the outer VLAN tag out of received frames and hands it over beside them
//! (`PACKET_AUXDATA`); it is put back here. Nothing else is changed, and nothing is looked at.

use crate::classic::ClassicInsn;
use crate::clock::timespec_ns;
use crate::error::{Result, SysError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

const SOL_PACKET: i32 = 263;
const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_STATISTICS: i32 = 6;
const PACKET_AUXDATA: i32 = 8;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_OUTGOING: u8 = 4;
const MEMBERSHIP_PROMISCUOUS: u16 = 1;
const ETH_P_ALL: u16 = 3;
const SO_TIMESTAMPNS: i32 = 35;
/// `TP_STATUS_*` of the auxiliary data.
const CHECKSUM_NOT_READY: u32 = 1 << 3;
const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;
/// Room in front of a received frame for the tag that is put back.
const TAG_BYTES: usize = 4;
/// The largest frame that is received whole: any IPv4 super-frame with its headers, and then some.
const MOST_BYTES: usize = 256 << 10;
/// Frames handed to the kernel in one call.
const BATCH: usize = 64;

/// How a packet socket is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches of a socket")]
pub struct Options {
    /// Receives. One that only sends costs the receiving side nothing.
    pub receive: bool,
    /// Holds the interface promiscuous while it is open.
    pub promiscuous: bool,
    /// Sends past the queueing discipline.
    pub bypass_queue: bool,
    /// What is sent begins with a `struct virtio_net_hdr` of 10 bytes, so that it can be a super-frame or have a
    /// checksum that is still to be worked out. Only for a socket that does not receive.
    pub offload_header: bool,
    /// Room in bytes for frames that were received, or, on a socket that only sends, for frames that wait in a
    /// queueing discipline: when it is full, sending waits. Beyond the system's limit if need be; 0 leaves it to
    /// the kernel.
    pub buffer_bytes: usize,
}

/// A raw packet socket on one interface of the namespace it was opened in.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    object: String,
    buffer: Vec<u8>,
}

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The frame with its VLAN tags, without FCS.
    pub data: &'a [u8],
    /// When the kernel got it, in nanoseconds since 1970.
    pub time_ns: u64,
    /// It was sent by this host, and is on its way out.
    pub outgoing: bool,
    /// Its checksum is still to be worked out by whoever puts it on a wire: what stands in it is half done.
    pub checksum_not_ready: bool,
}

/// What a socket's buffer did since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames that came, the dropped ones among them.
    pub received: u64,
    /// Frames that found the buffer full.
    pub dropped: u64,
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[allow(clippy::missing_errors_doc, reason = "each error names the system call that failed")]
impl PacketSocket {
    /// Opens a socket on an interface. Needs `CAP_NET_RAW`.
    pub fn open(ifindex: u32, options: Options) -> Result<Self> {
        let object = format!("packet socket on interface {ifindex}");
        let index =
            i32::try_from(ifindex).map_err(|_| SysError::new("bind", object.clone(), libc::ENODEV))?;
        // Without a protocol nothing is received, so nothing of other interfaces gets in before the bind.
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(SysError::last("socket", object));
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let buffer = vec![0; if options.receive { MOST_BYTES + TAG_BYTES } else { 0 }];
        let socket = Self { fd, object, buffer };
        if options.receive {
            socket.set(SOL_PACKET, PACKET_AUXDATA, &1_i32)?;
            socket.set(libc::SOL_SOCKET, SO_TIMESTAMPNS, &1_i32)?;
        }
        if options.bypass_queue {
            socket.set(SOL_PACKET, PACKET_QDISC_BYPASS, &1_i32)?;
        }
        if options.offload_header {
            if options.receive {
                return Err(SysError::new("setsockopt", socket.object, libc::EINVAL));
            }
            socket.set(SOL_PACKET, PACKET_VNET_HDR, &1_i32)?;
        }
        if options.buffer_bytes != 0 {
            // The kernel doubles it, for its own bookkeeping.
            let bytes = i32::try_from(options.buffer_bytes / 2).unwrap_or(i32::MAX / 2);
            let (beyond, within) = if options.receive {
                (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)
            } else {
                (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)
            };
            if socket.set(libc::SOL_SOCKET, beyond, &bytes).is_err() {
                socket.set(libc::SOL_SOCKET, within, &bytes)?;
            }
        }
        socket.bind(index, options.receive)?;
        if options.promiscuous {
            let request =
                Membership { index, kind: MEMBERSHIP_PROMISCUOUS, address_bytes: 0, address: [0; 8] };
            socket.set(SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request)?;
        }
        Ok(socket)
    }

    /// Receives from now on only frames for which this program does not return 0; what waits already stays.
    /// Fails with `EINVAL` for a program that the kernel does not take.
    pub fn set_filter(&self, insns: &[ClassicInsn]) -> Result<()> {
        const SO_ATTACH_FILTER: i32 = 26;
        // struct sock_fprog: length, and where they are.
        #[derive(Clone, Copy)]
        #[repr(C)]
        struct Program {
            len: u16,
            filter: *const libc::sock_filter,
        }
        let filter: Vec<libc::sock_filter> = insns
            .iter()
            .map(|insn| libc::sock_filter { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k })
            .collect();
        let fail = |errno| SysError::new("setsockopt", self.object.clone(), errno);
        let len = u16::try_from(filter.len()).map_err(|_| fail(libc::EINVAL))?;
        // The kernel copies what it points to before the call returns, and so before `filter` goes.
        self.set(libc::SOL_SOCKET, SO_ATTACH_FILTER, &Program { len, filter: filter.as_ptr() })
    }

    fn bind(&self, index: i32, receive: bool) -> Result<()> {
        // SAFETY: a zeroed sockaddr_ll is valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = 17;
        address.sll_ifindex = index;
        address.sll_protocol = if receive { ETH_P_ALL.to_be() } else { 0 };
        // SAFETY: the address is as long as the call is told.
        let result = unsafe {
            libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), socklen::<libc::sockaddr_ll>())
        };
        if result != 0 { Err(self.last("bind")) } else { Ok(()) }
    }

    fn set<T: Copy>(&self, level: i32, option: i32, value: &T) -> Result<()> {
        // SAFETY: the value is plain data, as long as the call is told.
        let result = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, option, (&raw const *value).cast(), socklen::<T>())
        };
        if result != 0 { Err(self.last("setsockopt")) } else { Ok(()) }
    }

    fn last(&self, call: &'static str) -> SysError {
        SysError::last(call, self.object.clone())
    }

    /// Frames sent from now on carry this mark (`skb->mark`), as long as they are on this host.
    pub fn set_mark(&self, mark: u32) -> Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_MARK, &mark)
    }

    /// Frames sent from now on carry this priority (`skb->priority`): the handle of a class, for `htb`.
    pub fn set_priority(&self, priority: u32) -> Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_PRIORITY, &priority)
    }

    /// Sends one frame, Ethernet header first, without FCS. Fails with `ENOBUFS` if the queueing discipline
    /// drops it, with `EMSGSIZE` if it is larger than the MTU allows, with `EINVAL` below 14 bytes.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the frame is as long as the call is told.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(self.last("send")) } else { Ok(()) }
    }

    /// Sends frames in order, up to 64 in one call. Fails at the first that cannot be sent; those before it are
    /// on their way, and `detail` says how many.
    pub fn send_all(&self, frames: &[&[u8]]) -> Result<()> {
        let mut done = 0;
        while done < frames.len() {
            let batch = &frames[done..frames.len().min(done + BATCH)];
            let sent = self.send_batch(batch).map_err(|e| e.with_detail(format!("after {done} frames")))?;
            done += sent;
        }
        Ok(())
    }

    fn send_batch(&self, frames: &[&[u8]]) -> Result<usize> {
        let mut parts: Vec<libc::iovec> = frames
            .iter()
            .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: a zeroed mmsghdr is valid: no address, no parts, no control data.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = &raw mut *part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let count = libc::c_uint::try_from(messages.len()).expect("at most 64");
        // SAFETY: every message points to a part, and every part to a frame, that live until the call is over;
        // sending does not write to frames.
        let sent = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| self.last("sendmmsg"))
    }

    /// The next frame; `None` when `timeout` is over without one, or a signal came. `Duration::ZERO` does not
    /// wait. Fails with `ENETDOWN` once if the interface goes down, and with `EINVAL` if the socket only sends.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<Received<'_>>> {
        if self.buffer.is_empty() {
            return Err(SysError::new("recvmsg", self.object.clone(), libc::EINVAL));
        }
        let mut head = self.receive_now();
        if matches!(&head, Err(error) if error.kind() == io::ErrorKind::WouldBlock) && self.wait(timeout)? {
            head = self.receive_now();
        }
        match head {
            Ok(head) => Ok(Some(self.restore_tag(head))),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(None),
                _ => Err(SysError::io("recvmsg", self.object.clone(), &error)),
            },
        }
    }

    /// Whether there is something to receive before the time is over.
    fn wait(&self, timeout: Duration) -> Result<bool> {
        if timeout.is_zero() {
            return Ok(false);
        }
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // Rounded up, so that a wait of less than a millisecond is one.
        let timeout_ms = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: one pollfd is given.
        match unsafe { libc::poll(&raw mut poll, 1, timeout_ms) } {
            0 => Ok(false),
            ready if ready > 0 => Ok(true),
            _ => {
                let error = self.last("poll");
                if error.errno == libc::EINTR { Ok(false) } else { Err(error) }
            }
        }
    }

    fn receive_now(&mut self) -> io::Result<Head> {
        let space = &mut self.buffer[TAG_BYTES..];
        let mut part = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
        let mut control = [0_u64; 16];
        // SAFETY: a zeroed sockaddr_ll is valid.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        // SAFETY: a zeroed msghdr is valid: no address, no parts, no control data.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = socklen::<libc::sockaddr_ll>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: address, part and control data are as long as the message says, and live until the call is over.
        let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
        let mut head = Head {
            length,
            time_ns: 0,
            tag: None,
            outgoing: from.sll_pkttype == PACKET_OUTGOING,
            half_done: false,
        };
        // SAFETY: the kernel has filled in the message; its macros walk the control data it has written.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        while !next.is_null() {
            // SAFETY: `next` points to a header within `control`, which is aligned to 8 bytes.
            let (level, kind, data) =
                unsafe { ((*next).cmsg_level, (*next).cmsg_type, libc::CMSG_DATA(next.cast_const())) };
            if level == SOL_PACKET && kind == PACKET_AUXDATA {
                // SAFETY: the kernel writes a whole tpacket_auxdata.
                head.take_auxdata(unsafe { data.cast::<Auxdata>().read_unaligned() });
            } else if level == libc::SOL_SOCKET && kind == SO_TIMESTAMPNS {
                // SAFETY: the kernel writes a whole timespec.
                head.time_ns = timespec_ns(unsafe { data.cast::<libc::timespec>().read_unaligned() });
            }
            // SAFETY: as for the first.
            next = unsafe { libc::CMSG_NXTHDR(&raw const message, next) };
        }
        Ok(head)
    }

    /// Puts the tag back behind the addresses.
    fn restore_tag(&mut self, head: Head) -> Received<'_> {
        let end = TAG_BYTES + head.length;
        let start = match head.tag {
            Some(tag) if head.length >= 12 => {
                self.buffer.copy_within(TAG_BYTES..TAG_BYTES + 12, 0);
                self.buffer[12..12 + TAG_BYTES].copy_from_slice(&tag);
                0
            }
            _ => TAG_BYTES,
        };
        Received {
            data: &self.buffer[start..end],
            time_ns: head.time_ns,
            outgoing: head.outgoing,
            checksum_not_ready: head.half_done,
        }
    }

    /// What the buffer did since this was last asked.
    pub fn statistics(&self) -> Result<Statistics> {
        let mut counts = [0_u32; 2];
        let mut length = socklen::<[u32; 2]>();
        // SAFETY: the buffer is as long as the call is told.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                SOL_PACKET,
                PACKET_STATISTICS,
                counts.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(self.last("getsockopt"));
        }
        Ok(Statistics { received: u64::from(counts[0]), dropped: u64::from(counts[1]) })
    }
}

/// `struct tpacket_auxdata` of linux/if_packet.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Auxdata {
    status: u32,
    length: u32,
    captured: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// What comes beside a frame.
struct Head {
    length: usize,
    time_ns: u64,
    tag: Option<[u8; TAG_BYTES]>,
    outgoing: bool,
    half_done: bool,
}

impl Head {
    fn take_auxdata(&mut self, aux: Auxdata) {
        self.half_done = aux.status & CHECKSUM_NOT_READY != 0;
        if aux.status & VLAN_VALID != 0 {
            let tpid = if aux.status & VLAN_TPID_VALID != 0 { aux.vlan_tpid } else { 0x8100 };
            let ([a, b], [c, d]) = (tpid.to_be_bytes(), aux.vlan_tci.to_be_bytes());
            self.tag = Some([a, b, c, d]);
        }
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
    use crate::netns::Namespace;
    use crate::{IFF_UP, Linux, Sys, VethSpec};

    /// Two sockets, one at each end of a pair, in a namespace where nothing else speaks.
    fn ends() -> (PacketSocket, PacketSocket, u32) {
        let mut linux = Linux::new();
        linux.create_veth(&VethSpec::new("a0", "b0")).unwrap();
        let [a, b] = ["a0", "b0"].map(|name| linux.link_by_name(name).unwrap().unwrap().index);
        for (name, index) in [("a0", a), ("b0", b)] {
            linux.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "1").unwrap();
            linux.set_link_flags(index, IFF_UP, 0).unwrap();
        }
        linux.wait_ready(&["a0", "b0"], Duration::from_secs(30)).unwrap();
        let send = PacketSocket::open(a, Options::default()).unwrap();
        let receive =
            Options { receive: true, promiscuous: true, buffer_bytes: 4 << 20, ..Options::default() };
        (send, PacketSocket::open(b, receive).unwrap(), b)
    }

    fn inside(test: impl FnOnce() + Send) {
        Namespace::create().expect("tests run as root").run(test).unwrap();
    }

    #[test]
    fn frames_arrive_as_sent_with_their_tags() {
        inside(|| {
            let (send, mut receive, _) = ends();
            let addresses = [[2, 0, 0, 0, 0, 9].as_slice(), &[2, 0, 0, 0, 0, 8]].concat();
            let behind: [&[u8]; 5] = [
                &[0x88, 0xB5],
                &[0x81, 0x00, 0xE0, 0x07, 0x88, 0xB5],
                &[0x81, 0x00, 0x00, 0x00, 0x88, 0xB5],
                &[0x88, 0xA8, 0x00, 0x64, 0x81, 0x00, 0x00, 0x07, 0x88, 0xB5],
                &[0x88, 0x08, 0x00, 0x01],
            ];
            let frames: Vec<Vec<u8>> =
                behind.iter().map(|b| [addresses.as_slice(), b, &[7; 46]].concat()).collect();
            let parts: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            send.send_all(&parts).unwrap();
            for frame in &frames {
                let got = receive.receive(Duration::from_secs(5)).unwrap().expect("a veth delivers at once");
                assert_eq!(got.data, frame.as_slice());
                assert!(!got.outgoing && !got.checksum_not_ready);
                assert!(crate::clock::realtime_ns() - got.time_ns < 10_000_000_000);
            }
            assert_eq!(receive.receive(Duration::ZERO).unwrap(), None);
            assert_eq!(receive.receive(Duration::from_millis(1)).unwrap(), None);
            assert_eq!(receive.statistics().unwrap(), Statistics { received: 5, dropped: 0 });
            assert_eq!(receive.statistics().unwrap(), Statistics::default());
        });
    }

    #[test]
    fn what_the_buffer_drops_is_counted() {
        inside(|| {
            let (send, _, b) = ends();
            let options = Options { receive: true, buffer_bytes: 8192, ..Options::default() };
            let mut small = PacketSocket::open(b, options).unwrap();
            let frame = [0xFF; 1000];
            let many: Vec<&[u8]> = vec![&frame; 300];
            send.send_all(&many).unwrap();
            let mut read = 0;
            while small.receive(Duration::from_millis(1)).unwrap().is_some() {
                read += 1;
            }
            let statistics = small.statistics().unwrap();
            assert_eq!((statistics.received, statistics.dropped), (300, 300 - read));
            assert!(read > 0 && read < 300, "{read}");
        });
    }

    #[test]
    fn sending_says_what_is_wrong() {
        inside(|| {
            let (mut send, mut receive, b) = ends();
            assert_eq!(send.send(&[0; 13]).unwrap_err().errno, libc::EINVAL);
            assert_eq!(send.send(&[0; 1519]).unwrap_err().errno, libc::EMSGSIZE);
            let error = send.send_all(&[&[0xFF; 60], &[0; 4000]]).unwrap_err();
            assert_eq!((error.errno, error.detail.as_deref()), (libc::EMSGSIZE, Some("after 1 frames")));
            assert_eq!(send.receive(Duration::ZERO).unwrap_err().errno, libc::EINVAL);
            assert!(receive.receive(Duration::from_secs(5)).unwrap().is_some());
            // What goes out at this end is seen here too, marked.
            let out = PacketSocket::open(b, Options::default()).unwrap();
            out.set_mark(7).unwrap();
            out.send(&[0xFF; 60]).unwrap();
            assert!(receive.receive(Duration::from_secs(5)).unwrap().unwrap().outgoing);
            assert_eq!(PacketSocket::open(9999, Options::default()).unwrap_err().errno, libc::ENODEV);
        });
    }
}
