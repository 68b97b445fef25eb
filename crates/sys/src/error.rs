//! What went wrong in a system call: the call, the object, the errno, and what the kernel said about it.

use std::fmt;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, SysError>;

/// A system call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysError {
    /// The call, as the kernel's documentation names it (`BPF_PROG_ATTACH`, `RTM_NEWQDISC`, ...).
    pub call: &'static str,
    /// What it was done to (`tcx ingress of eth1`).
    pub object: String,
    /// The errno, positive.
    pub errno: i32,
    /// What the kernel said beside the errno: netlink's extended ack, or the verifier's last useful line.
    pub detail: Option<String>,
    /// The verifier's whole log, where there is one.
    pub log: Option<String>,
}

impl SysError {
    /// A failure without anything said beside the errno.
    #[must_use]
    pub fn new(call: &'static str, object: impl Into<String>, errno: i32) -> Self {
        Self { call, object: object.into(), errno, detail: None, log: None }
    }

    /// The failure that `errno` of the calling thread stands for.
    #[must_use]
    pub fn last(call: &'static str, object: impl Into<String>) -> Self {
        Self::io(call, object, &std::io::Error::last_os_error())
    }

    /// The failure that an I/O error stands for; one without an errno counts as `EIO`.
    #[must_use]
    pub fn io(call: &'static str, object: impl Into<String>, error: &std::io::Error) -> Self {
        Self::new(call, object, error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The same failure with what the kernel said about it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl std::error::Error for SysError {}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        // The standard library is the only safe way to strerror; it adds its own reading of the number.
        let text = std::io::Error::from_raw_os_error(self.errno).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        match errno_name(self.errno) {
            Some(name) => write!(f, ": {text} ({name})")?,
            None => write!(f, ": {text} (errno {})", self.errno)?,
        }
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

/// The symbol of an errno, for those that these calls are known to give.
fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ESRCH => "ESRCH",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::ENXIO => "ENXIO",
        libc::E2BIG => "E2BIG",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::ENODEV => "ENODEV",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ENOSPC => "ENOSPC",
        libc::EROFS => "EROFS",
        libc::EPIPE => "EPIPE",
        libc::ERANGE => "ERANGE",
        libc::ENOSYS => "ENOSYS",
        libc::ENODATA => "ENODATA",
        libc::EOVERFLOW => "EOVERFLOW",
        libc::ENOTSOCK => "ENOTSOCK",
        libc::EMSGSIZE => "EMSGSIZE",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ENOBUFS => "ENOBUFS",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ESTALE => "ESTALE",
        libc::EOWNERDEAD => "EOWNERDEAD",
        524 => "ENOTSUPP",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_call_object_and_errno() {
        let error = SysError::new("BPF_PROG_ATTACH", "tcx ingress of eth1", libc::EPERM);
        assert_eq!(error.to_string(), "BPF_PROG_ATTACH tcx ingress of eth1: Operation not permitted (EPERM)");
        let error = error.with_detail("no room");
        assert!(error.to_string().ends_with("(EPERM): no room"), "{error}");
    }

    #[test]
    fn an_errno_without_a_name_keeps_its_number() {
        let text = SysError::new("ioctl", "", 4095).to_string();
        assert!(text.starts_with("ioctl: ") && text.ends_with("(errno 4095)"), "{text}");
    }
}
