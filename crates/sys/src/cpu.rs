//! Where threads run.

use crate::error::{Result, SysError};

/// From now on the calling thread, and threads that it starts, run on one CPU: the first that it may run on.
///
/// What such threads send over virtual interfaces is received on the same CPU, so that frames have one order
/// on the whole way; with several CPUs two of them may overtake each other.
///
/// # Errors
/// `sched_getaffinity`, `sched_setaffinity`.
pub fn pin_to_one() -> Result<()> {
    let bytes = std::mem::size_of::<libc::cpu_set_t>();
    // SAFETY: a zeroed cpu_set_t is an empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `allowed` is a valid set of the length given; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, bytes, &raw mut allowed) } != 0 {
        return Err(SysError::last("sched_getaffinity", ""));
    }
    let most = bytes * 8;
    // SAFETY: `cpu` is below the number of bits in the set.
    let first = (0..most).find(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) });
    let Some(first) = first else { return Err(SysError::new("sched_getaffinity", "", libc::EINVAL)) };
    // SAFETY: a zeroed cpu_set_t is an empty set.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `first` is below the number of bits in the set.
    unsafe { libc::CPU_SET(first, &mut one) };
    // SAFETY: `one` is a valid set of the length given; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, bytes, &raw const one) } != 0 {
        return Err(SysError::last("sched_setaffinity", format!("cpu {first}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_pinned_thread_are_pinned_too() {
        let cpus = std::thread::spawn(|| {
            pin_to_one().unwrap();
            std::thread::spawn(std::thread::available_parallelism).join().unwrap().unwrap()
        });
        assert_eq!(cpus.join().unwrap().get(), 1);
    }
}
