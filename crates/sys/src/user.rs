//! User namespaces: where an ordinary user is the owner of network namespaces of his own.
//!
//! In one, the process has every capability over what belongs to the namespace (interfaces, traffic control,
//! packet sockets, further network namespaces), and none over the machine: eBPF may not be loaded.

use crate::error::{Result, SysError};
use std::fs;

/// Both at once: a network namespace belongs to the user namespace that it is made in.
const BOTH: i32 = libc::CLONE_NEWUSER | libc::CLONE_NEWNET;

/// Moves this process, which must have one thread only, into a new user namespace and a new network namespace, for
/// good. In there the user is number 0, and so is the group; other numbers do not exist.
///
/// # Errors
/// `unshare`: `EINVAL` with more than one thread, `EPERM` where policy forbids it, `ENOSPC` or `EUSERS` where there are
/// too many; a file of `/proc/self` that cannot be written.
pub fn enter() -> Result<()> {
    // SAFETY: these take no pointers, and do not fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: unshare takes no pointers.
    if unsafe { libc::unshare(BOTH) } != 0 {
        return Err(SysError::last("unshare", "user and network namespace"));
    }
    // Without privileges groups can be mapped only where they can no more be dropped (user_namespaces(7)).
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        fs::write(file, text).map_err(|error| SysError::io("write", file, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Output};

    const NOBODY: u32 = 65_534;

    /// Runs a script as an ordinary user inside a namespace of his own.
    fn inside(script: &str) -> Output {
        let mut command = Command::new("sh");
        command.args(["-ec", script]).uid(NOBODY).gid(NOBODY);
        let moved = || {
            // Whoever changes his number cannot write to his own files of /proc until he runs another program.
            // SAFETY: prctl takes no pointer here.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
            enter().map_err(|error| std::io::Error::from_raw_os_error(error.errno))
        };
        // SAFETY: the child has one thread; what it allocates on the way is its own.
        unsafe { command.pre_exec(moved) };
        command.output().unwrap()
    }

    #[test]
    fn an_ordinary_user_enters_and_is_root_there() {
        let output = inside("id -u; id -g; cat /proc/self/setgroups; cat /proc/self/uid_map");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, ["0", "0", "deny", "0", "65534", "1"]);
    }

    #[test]
    fn interfaces_and_their_filters_are_his() {
        let output = inside(
            "ip link add v0 type veth peer name v1
            ip link set v0 up
            tc qdisc add dev v0 clsact
            tc filter add dev v0 ingress bpf bytecode '1,6 0 0 0' action mirred egress redirect dev v1",
        );
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    fn a_process_with_more_threads_is_refused() {
        // Test threads are more than one: this process is never moved.
        assert_eq!(enter().unwrap_err().errno, libc::EINVAL);
    }
}
