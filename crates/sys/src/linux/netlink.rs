//! Netlink, as little of it as is needed: one request, its answers, the kernel's own words about an error.
//!
//! Sockets live for one request, so that they belong to the namespace the thread is in at that moment.
//! Integers are in host order unless the protocol says otherwise.

use crate::error::{Result, SysError};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Routing netlink.
pub(crate) const ROUTE: i32 = libc::NETLINK_ROUTE;
/// Generic netlink.
pub(crate) const GENERIC: i32 = libc::NETLINK_GENERIC;

pub(crate) const F_REQUEST: u16 = 0x1;
const F_ACK: u16 = 0x4;
pub(crate) const F_DUMP: u16 = 0x300;
pub(crate) const F_REPLACE: u16 = 0x100;
pub(crate) const F_EXCL: u16 = 0x200;
pub(crate) const F_CREATE: u16 = 0x400;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Flag of an answer: a dump was disturbed by a change and may lack something.
const F_DUMP_INTR: u16 = 0x10;
const NLA_F_NESTED: u16 = 0x8000;

/// A request under construction: header, the family's fixed part, attributes.
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of this type with the fixed part of its family.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0_u8; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | F_REQUEST).to_ne_bytes());
        bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut request = Self { bytes };
        request.pad();
        request
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Appends an attribute.
    pub(crate) fn attr(mut self, kind: u16, payload: &[u8]) -> Self {
        put_attr(&mut self.bytes, kind, payload);
        self
    }

    /// Appends a number.
    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends a text with the zero at its end.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let bytes: Vec<u8> = value.bytes().chain([0]).collect();
        self.attr(kind, &bytes)
    }

    /// Appends attributes within an attribute.
    pub(crate) fn nest(self, kind: u16, inner: &Attrs) -> Self {
        self.attr(kind | NLA_F_NESTED, &inner.0)
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("a request is a few hundred bytes");
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// Attributes that go into another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attrs(pub(crate) Vec<u8>);

impl Attrs {
    pub(crate) fn attr(mut self, kind: u16, payload: &[u8]) -> Self {
        put_attr(&mut self.0, kind, payload);
        self
    }

    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    pub(crate) fn u64(self, kind: u16, value: u64) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let bytes: Vec<u8> = value.bytes().chain([0]).collect();
        self.attr(kind, &bytes)
    }

    pub(crate) fn nest(self, kind: u16, inner: &Attrs) -> Self {
        self.attr(kind | NLA_F_NESTED, &inner.0)
    }
}

fn put_attr(bytes: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = u16::try_from(payload.len() + 4).expect("attributes are built here and are small");
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One answer: its type and what follows the header.
pub(crate) struct Answer {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

/// Attributes read one after the other; what is cut short ends them.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & 0x3FFF;
        let payload = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// The attribute of this type, or nothing at all.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    Reader(bytes).find(|(found, _)| *found == kind).map(|(_, payload)| payload)
}

pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2).map(|b| u16::from_ne_bytes([b[0], b[1]]))
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

pub(crate) fn i32_at(bytes: &[u8], offset: usize) -> Option<i32> {
    u32_at(bytes, offset).map(u32::cast_signed)
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes
        .get(offset..offset + 8)
        .map(|b| u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
}

/// A text up to its zero.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Makes a change, and waits until the kernel says that it is done.
pub(crate) fn change(call: &'static str, object: &str, request: Request) -> Result<()> {
    talk(call, object, ROUTE, request, F_ACK).map(|_| ())
}

/// Makes two changes with one message to the kernel, which carries them out one after the other whatever
/// becomes of this process. The first failure of the two is the answer.
pub(crate) fn change_both(call: &'static str, object: &str, first: Request, second: Request) -> Result<()> {
    let mut bytes = first.finish();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let last = bytes.len();
    bytes.extend(second.finish());
    exchange(call, object, ROUTE, bytes, last, F_ACK).map(|_| ())
}

/// Asks one question of generic netlink.
pub(crate) fn ask(call: &'static str, object: &str, protocol: i32, request: Request) -> Result<Vec<Answer>> {
    talk(call, object, protocol, request, F_ACK)
}

/// Lists everything of a kind. A list that was disturbed by a change is asked for again, at most 8 times; then
/// it is an error (`EAGAIN`), because a list that may lack something is worse than none.
pub(crate) fn dump(call: &'static str, object: &str, make: impl Fn() -> Request) -> Result<Vec<Answer>> {
    for _ in 0..8 {
        match talk(call, object, ROUTE, make(), F_DUMP) {
            Err(error) if error.errno == libc::EAGAIN => {}
            other => return other,
        }
    }
    Err(SysError::new(call, object, libc::EAGAIN).with_detail("the list kept changing"))
}

fn talk(
    call: &'static str,
    object: &str,
    protocol: i32,
    request: Request,
    flags: u16,
) -> Result<Vec<Answer>> {
    exchange(call, object, protocol, request.finish(), 0, flags)
}

/// Sends one or more requests and reads what comes back. The one that begins at `last` gets the flags, and by
/// them says when all is said.
fn exchange(
    call: &'static str,
    object: &str,
    protocol: i32,
    mut bytes: Vec<u8>,
    last: usize,
    flags: u16,
) -> Result<Vec<Answer>> {
    let fail = |error: io::Error| SysError::io(call, object, &error);
    let socket = open(protocol).map_err(fail)?;
    let flags = flags | u16_at(&bytes, last + 6).unwrap_or_default();
    bytes[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the buffer is as long as the call is told.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 {
        return Err(fail(io::Error::last_os_error()));
    }
    let mut answers = Vec::new();
    let mut disturbed = false;
    let mut buffer = vec![0_u8; 256 << 10];
    loop {
        let length = receive(&socket, &mut buffer).map_err(fail)?;
        let mut rest = &buffer[..length];
        while let (Some(length), Some(kind), Some(flags)) =
            (u32_at(rest, 0), u16_at(rest, 4), u16_at(rest, 6))
        {
            let length = usize::try_from(length).unwrap_or(0);
            let Some(body) = rest.get(16..length) else { break };
            disturbed |= flags & F_DUMP_INTR != 0;
            match kind {
                NLMSG_ERROR | NLMSG_DONE => {
                    let errno = i32_at(body, 0).unwrap_or_default().saturating_neg();
                    if errno > 0 {
                        let mut error = SysError::new(call, object, errno);
                        error.detail = extended_ack(kind, flags, body);
                        return Err(error);
                    }
                    return if disturbed {
                        Err(SysError::new(call, object, libc::EAGAIN))
                    } else {
                        Ok(answers)
                    };
                }
                _ => answers.push(Answer { kind, body: body.to_vec() }),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// What the kernel says in words: `NLMSGERR_ATTR_MSG` behind the errno and the header it answers to.
fn extended_ack(kind: u16, flags: u16, body: &[u8]) -> Option<String> {
    const CAPPED: u16 = 0x100;
    const ACK_TLVS: u16 = 0x200;
    const MSG: u16 = 1;
    if flags & ACK_TLVS == 0 {
        return None;
    }
    let start = match (kind, flags & CAPPED) {
        (NLMSG_DONE, _) => 4,
        (_, 0) => 4 + usize::try_from(u32_at(body, 4)?).ok()?.next_multiple_of(4),
        _ => 20,
    };
    find(body.get(start..)?, MSG).map(text_of).filter(|text| !text.is_empty())
}

fn open(protocol: i32) -> io::Result<OwnedFd> {
    const NETLINK_CAP_ACK: i32 = 10;
    const NETLINK_EXT_ACK: i32 = 11;
    // SAFETY: socket takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK] {
        let on: i32 = 1;
        // SAFETY: `on` is four bytes long. Kernels without the option say so; they then say less about errors.
        let _ = unsafe { libc::setsockopt(fd, libc::SOL_NETLINK, option, (&raw const on).cast(), 4) };
    }
    // The kernel answers at once or never; the bound is for a kernel that is broken.
    let wait = libc::timeval { tv_sec: 30, tv_usec: 0 };
    let size = libc::socklen_t::try_from(size_of::<libc::timeval>()).expect("16 bytes");
    // SAFETY: `wait` is `size` bytes long.
    if unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const wait).cast(), size) }
        < 0
    {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the buffer is as long as the call is told.
        let length = unsafe {
            libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_TRUNC)
        };
        match usize::try_from(length) {
            Ok(length) if length > buffer.len() => return Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
            Ok(length) => return Ok(length),
            Err(_) => {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
                    _ => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let inner = Attrs::default().text(1, "abc").u32(2, 7).nest(3, &Attrs::default().u64(9, 1));
        assert_eq!(inner.0.len(), 8 + 8 + 16);
        let read: Vec<(u16, usize)> = Reader(&inner.0).map(|(kind, payload)| (kind, payload.len())).collect();
        assert_eq!(read, [(1, 4), (2, 4), (3, 12)]);
        assert_eq!(find(&inner.0, 1).map(text_of).as_deref(), Some("abc"));
        assert_eq!(find(find(&inner.0, 3).unwrap(), 9).and_then(|p| u64_at(p, 0)), Some(1));
    }

    #[test]
    fn cut_attributes_end_the_reading() {
        assert_eq!(Reader(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(Reader(&[9, 0, 1, 0, 5]).count(), 0);
        assert_eq!(Reader(&[4, 0, 1, 0, 9, 9]).count(), 1);
        assert_eq!(Reader(&[0, 0, 0, 0]).count(), 0);
    }
}
