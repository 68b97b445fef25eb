//! One change at a time in a network namespace.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::error::{Result, SysError};

/// Name of the socket that stands for the right to change taps.
const NAME: &[u8] = b"tapwright/change";

/// The right to change taps in the network namespace that it was taken in. Ends with the value, and with the
/// process however that ends: it is an abstract Unix socket (unix(7)), which belongs to the namespace and
/// leaves no file.
#[derive(Debug)]
pub struct Lock {
    _socket: UnixListener,
}

impl Lock {
    /// Takes it, or fails at once.
    ///
    /// # Errors
    /// `EADDRINUSE` while another process holds it.
    pub fn take() -> Result<Self> {
        let fail = |error: std::io::Error| SysError::io("bind", "the lock of this network namespace", &error);
        let address = SocketAddr::from_abstract_name(NAME).map_err(fail)?;
        Ok(Self { _socket: UnixListener::bind_addr(&address).map_err(fail)? })
    }

    /// Whether an error of [`Lock::take`] says that another process is at work.
    #[must_use]
    pub fn is_taken(error: &SysError) -> bool {
        error.errno == libc::EADDRINUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Namespace;

    #[test]
    fn one_holds_it_until_it_goes() {
        let namespace = Namespace::create().unwrap();
        namespace
            .run(|| {
                let first = Lock::take().unwrap();
                assert!(Lock::is_taken(&Lock::take().unwrap_err()));
                drop(first);
                Lock::take().unwrap();
            })
            .unwrap();
    }

    #[test]
    fn each_namespace_has_its_own() {
        let (one, other) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        let _held = one.run(|| Lock::take().unwrap()).unwrap();
        other.run(|| drop(Lock::take().unwrap())).unwrap();
    }
}
