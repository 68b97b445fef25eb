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
    pin_to(0)
}

/// From now on the calling thread, and threads that it starts, run on one CPU: that of this number among those that
/// it may run on, counted from 0; where there are fewer, the counting begins again.
///
/// # Errors
/// `sched_getaffinity`, `sched_setaffinity`.
pub fn pin_to(number: usize) -> Result<()> {
    let bytes = std::mem::size_of::<libc::cpu_set_t>();
    // SAFETY: a zeroed cpu_set_t is an empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `allowed` is a valid set of the length given; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, bytes, &raw mut allowed) } != 0 {
        return Err(SysError::last("sched_getaffinity", ""));
    }
    let most = bytes * 8;
    // SAFETY: `cpu` is below the number of bits in the set.
    let cpus: Vec<usize> = (0..most).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) }).collect();
    let Some(cpu) = number.checked_rem(cpus.len()).and_then(|number| cpus.get(number)) else {
        return Err(SysError::new("sched_getaffinity", "", libc::EINVAL));
    };
    // SAFETY: a zeroed cpu_set_t is an empty set.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is below the number of bits in the set.
    unsafe { libc::CPU_SET(*cpu, &mut one) };
    // SAFETY: `one` is a valid set of the length given; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, bytes, &raw const one) } != 0 {
        return Err(SysError::last("sched_setaffinity", format!("cpu {cpu}")));
    }
    Ok(())
}

/// From now on the calling thread runs before all that have no such priority (`SCHED_FIFO`, 1 to 99). What it
/// starts does not inherit it.
///
/// # Errors
/// `sched_setscheduler`: `EPERM` without `CAP_SYS_NICE`, `EINVAL` for another priority.
pub fn run_first(priority: i32) -> Result<()> {
    // SAFETY: a zeroed sched_param is valid.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `parameters` is valid; 0 is the calling thread.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } != 0 {
        return Err(SysError::last("sched_setscheduler", format!("SCHED_FIFO {priority}")));
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

    #[test]
    fn a_priority_is_for_one_thread_and_within_bounds() {
        let (first, child) = std::thread::spawn(|| {
            run_first(1).expect("tests run as root");
            // SAFETY: takes no pointers; 0 is the calling thread.
            let policy = || unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
            (policy(), std::thread::spawn(policy).join().unwrap())
        })
        .join()
        .unwrap();
        assert_eq!((first, child), (libc::SCHED_FIFO, libc::SCHED_OTHER));
        assert_eq!(run_first(1000).unwrap_err().errno, libc::EINVAL);
    }
}
