//! The kernel's clocks, in nanoseconds. The only place where Tapwright asks for the time.

use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_THREAD_CPUTIME_ID, clockid_t, timespec};

/// Nanoseconds since 1970, as captures are stamped. May jump.
#[must_use]
pub fn realtime_ns() -> u64 {
    now_ns(CLOCK_REALTIME)
}

/// Nanoseconds since some point before this process, as `bpf_ktime_get_ns` counts them. Never jumps.
#[must_use]
pub fn monotonic_ns() -> u64 {
    now_ns(CLOCK_MONOTONIC)
}

/// Nanoseconds of CPU time that the calling thread has used, with the interrupt work done in its name. For
/// measurements.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    now_ns(CLOCK_THREAD_CPUTIME_ID)
}

fn now_ns(clock: clockid_t) -> u64 {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "these clocks exist on every Linux");
    timespec_ns(time)
}

/// A time of the kernel in nanoseconds; one before 1970 counts as 0.
pub(crate) fn timespec_ns(time: timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_forward() {
        let before = (monotonic_ns(), realtime_ns());
        let after = (monotonic_ns(), realtime_ns());
        assert!(after.0 >= before.0 && before.1 > 1_600_000_000_000_000_000, "{before:?} {after:?}");
    }
}
