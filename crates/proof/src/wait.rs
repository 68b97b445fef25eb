//! Waiting for what must happen, with a bound: never for a time that is hoped to be enough.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long anything may take that should be there at once.
pub const SOON: Duration = Duration::from_secs(20);
/// Looks without a pause: most of what is waited for is there at once.
const EAGER: u32 = 50;
/// Between two looks after that.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks again and again until what is seen is good; gives that.
///
/// # Panics
/// With the last thing seen, where it never became good.
pub fn until<T: Debug>(what: &str, mut look: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + SOON;
    for looks in 0u32.. {
        let seen = look();
        if good(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}; at last {seen:#?}");
        if looks < EAGER {
            std::thread::yield_now();
        } else {
            std::thread::sleep(PAUSE);
        }
    }
    unreachable!("the deadline comes first")
}
