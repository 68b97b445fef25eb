//! Signals and processes: asking to stop, being asked to stop, and dying on purpose in a test.
//!
//! A signal is counted and does nothing else; whoever runs a loop looks with [`stop_requested`].

use crate::error::{Result, SysError};
use std::sync::atomic::{AtomicU32, Ordering};

/// How many signals have come that ask to stop.
static STOPS: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_signal(_signal: libc::c_int) {
    STOPS.fetch_add(1, Ordering::SeqCst);
}

/// From now on SIGINT and SIGTERM make [`stop_requested`] true instead of ending the process. A second
/// signal of the same kind ends it: a loop that hangs can still be interrupted.
///
/// # Errors
/// `sigaction`, which cannot fail for these signals.
pub fn catch_stop_signals() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // System calls that wait are to return with EINTR: no SA_RESTART.
        set_handler(signal, on_signal as *const () as libc::sighandler_t, libc::SA_RESETHAND)?;
    }
    Ok(())
}

/// From now on SIGINT, SIGTERM and SIGHUP are counted instead of ending the process, each time that they come: for
/// what has to put something back at its end. Where SIGHUP is ignored (`nohup`) it stays so. SIGQUIT still ends the
/// process.
///
/// # Errors
/// `sigaction`, which cannot fail for these signals.
pub fn count_stop_signals() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        if signal == libc::SIGHUP && handler_of(signal)? == libc::SIG_IGN {
            continue;
        }
        set_handler(signal, on_signal as *const () as libc::sighandler_t, 0)?;
    }
    Ok(())
}

/// Whether a signal has come since [`catch_stop_signals`] or [`count_stop_signals`].
#[must_use]
pub fn stop_requested() -> bool {
    stop_requests() > 0
}

/// How many signals have come since [`count_stop_signals`]; two of a kind at once may count as one.
#[must_use]
pub fn stop_requests() -> u32 {
    STOPS.load(Ordering::SeqCst)
}

/// A write to a closed pipe ends the process, as in any Unix filter. (The Rust runtime ignores the signal, and
/// `println!` then panics.)
///
/// # Errors
/// `sigaction`, which cannot fail for this signal.
pub fn default_sigpipe() -> Result<()> {
    set_handler(libc::SIGPIPE, libc::SIG_DFL, 0)
}

fn handler_of(signal: libc::c_int) -> Result<libc::sighandler_t> {
    // SAFETY: a zeroed sigaction is valid: no flags, an empty mask, the default handler.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action is given, and `action` may be written.
    if unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } != 0 {
        return Err(SysError::last("sigaction", format!("signal {signal}")));
    }
    Ok(action.sa_sigaction)
}

fn set_handler(signal: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) -> Result<()> {
    // SAFETY: a zeroed sigaction is valid: no flags, an empty mask, the default handler.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: `action` is valid, the handler only adds to an atomic, and the old action is not asked for.
    if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(SysError::last("sigaction", format!("signal {signal}")));
    }
    Ok(())
}

/// Sends a signal to one process.
///
/// # Errors
/// `ESRCH` if it is gone, `EPERM` if it is not ours; `EINVAL` for a number that would mean a group.
pub fn kill(pid: u32, signal: i32) -> Result<()> {
    let object = format!("process {pid}");
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    let Some(pid) = pid else { return Err(SysError::new("kill", object, libc::EINVAL)) };
    // SAFETY: kill takes no pointers.
    if unsafe { libc::kill(pid, signal) } != 0 {
        return Err(SysError::last("kill", object));
    }
    Ok(())
}

/// Ends this process as `kill -9` does: nothing is unwound, dropped or written.
pub(crate) fn kill_self() -> ! {
    // SAFETY: kill and getpid take no pointers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    // The signal is pending for the whole process; it is taken at the latest on return from a system call.
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_sets_the_flag() {
        catch_stop_signals().unwrap();
        assert!(!stop_requested());
        kill(std::process::id(), libc::SIGTERM).unwrap();
        // Any thread of the process may take the signal; it has been taken when the flag is set.
        let start = std::time::Instant::now();
        while !stop_requested() {
            assert!(start.elapsed().as_secs() < 10, "the signal never came");
            std::thread::yield_now();
        }
    }

    #[test]
    fn signals_are_counted() {
        count_stop_signals().unwrap();
        for (sent, signal) in (1..).zip([libc::SIGHUP, libc::SIGINT, libc::SIGINT]) {
            kill(std::process::id(), signal).unwrap();
            let start = std::time::Instant::now();
            while stop_requests() < sent {
                assert!(start.elapsed().as_secs() < 10, "signal {sent} never came");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn refuses_to_signal_a_group() {
        assert_eq!(kill(0, libc::SIGTERM).unwrap_err().errno, libc::EINVAL);
        assert_eq!(kill(u32::MAX, libc::SIGTERM).unwrap_err().errno, libc::EINVAL);
    }
}
