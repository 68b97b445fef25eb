//! Ends a run from another thread.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A handle by which a run is told to end. Copies of it belong to the same run.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    asked: AtomicBool,
    /// Whether signals are heard too.
    signals: bool,
    /// Wakes a run that waits for frames.
    wake: UnixStream,
    woken: UnixStream,
}

impl Stop {
    /// A handle; with `signals` the run ends on signals too, if the process counts them
    /// ([`sys::process::count_stop_signals`]).
    ///
    /// # Errors
    /// `socketpair`.
    pub fn new(signals: bool) -> std::io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        Ok(Self(Arc::new(Shared { asked: AtomicBool::new(false), signals, wake, woken })))
    }

    /// Ends the run, as soon as the frames that have come are carried.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        // Where the pipe is full the run is woken already.
        let _ = (&self.0.wake).write(&[1]);
    }

    /// Whether it was asked for.
    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst) || (self.0.signals && sys::process::stop_requested())
    }

    /// Whether it was asked for more than once, by signals: nothing is waited for any more.
    pub fn hurried(&self) -> bool {
        self.0.signals && sys::process::stop_requests() > 1
    }

    /// What can be read once it was asked for.
    pub(super) fn woken(&self) -> BorrowedFd<'_> {
        self.0.woken.as_fd()
    }

    /// Takes the wake-up, so that the next wait waits.
    pub(super) fn taken(&self) {
        let mut octets = [0; 16];
        while matches!((&self.0.woken).read(&mut octets), Ok(read) if read > 0) {}
    }
}
