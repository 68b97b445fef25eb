//! Waiting less for the kernel's readers while many programs are attached or taken away.
//!
//! Each change of a tcx hook waits for an RCU grace period with the RTNL held (`tcx_entry_sync`,
//! include/net/tcx.h), 3 to 4 ticks of the kernel: 16 ms at 250 Hz, one after another, whatever threads do.
//! Expedited grace periods take a tenth of a millisecond. They are asked for machine-wide, by
//! `/sys/kernel/rcu_expedited`, and interrupt every CPU each; so a small tap does without, and a machine
//! booted with `rcupdate.rcu_normal=1` never obeys.
//!
//! The saved state says that they are on before they are, and the switch is turned back before the state
//! goes, so that the next `up` or `down` turns back what a killed one left.

use sys::Sys;

/// Fewer changes than this take half a second at most, and are waited for.
const CHANGES_MIN: usize = 32;

/// Whether so many changes are worth it, and nobody has it on already.
pub fn is_worth_it(sys: &mut impl Sys, changes: usize) -> sys::Result<bool> {
    Ok(changes >= CHANGES_MIN && sys.expedited()? == Some(false))
}

/// Turns it on, where that is allowed: in a read-only `/sys` all goes on, only slower.
pub fn begin(sys: &mut impl Sys) {
    let _ = sys.set_expedited(true);
}

/// Turns it off again.
///
/// # Errors
/// The system call that failed; nothing where it was never allowed.
pub fn end(sys: &mut impl Sys) -> sys::Result<()> {
    if sys.expedited()? == Some(true) { sys.set_expedited(false) } else { Ok(()) }
}
