//! What a tap promises, shown on the real kernel: the rig that the tests of this crate stand on.
//!
//! A rig is a tap box and what is plugged into it, all of it network namespaces. Tests put a device up with the
//! engine, send frames by packet sockets, and compare what arrived outside, byte by byte and count by count. The
//! expectations are taken from what was sent, never from the ledger that is being proved.
//!
//! Nothing here ever touches an interface that it did not make, sends outside its namespaces, or skips: a test
//! that cannot run fails and says why.

pub mod binary;
pub mod device;
pub mod ip;
pub mod rig;
pub mod sender;
pub mod sniffer;
pub mod stacks;
pub mod steer;
pub mod wait;

use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Held by each test while it runs: tests that measure must not run beside each other. (nextest has a serial
/// group for the crate; this is for plain `cargo test`.)
///
/// # Panics
/// Where the tests are not run by root.
pub fn alone() -> MutexGuard<'static, ()> {
    let may =
        sys::Sys::capabilities(&mut sys::Linux::new()).expect("the kernel tells a thread what it may do");
    assert!(
        may.net_admin && may.sys_admin && may.machine_owner,
        "not root: these tests make network namespaces and load eBPF programs: run them as root"
    );
    // A test that failed leaves nothing behind that the next one needs.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}
