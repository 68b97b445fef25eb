//! The lab of an ordinary user: everything in a user namespace, where the user is the owner of the network
//! namespaces that are made. eBPF may not be loaded there, so the taps are made of classic filters.

use std::fs;

use sys::{Linux, Sys};

use crate::network::LabError;

/// What is said when the lab works so.
pub const SAID: &str = "without privileges: all of it in a user namespace, the taps made of classic filters";

/// Ways to attach that load eBPF.
const EBPF: [&str; 3] = ["tcx", "xdp", "clsact"];

/// Whether this process lacks what it takes to make network namespaces.
///
/// # Errors
/// A system call that failed.
pub fn is_needed() -> Result<bool, LabError> {
    let may = Linux::new().capabilities().map_err(|error| LabError::new("capabilities", error))?;
    Ok(!(may.sys_admin && may.net_admin))
}

/// Refuses an `attach` that loads eBPF.
///
/// # Errors
/// It does.
pub fn refuse(attach: Option<&str>) -> Result<(), LabError> {
    match attach {
        Some(attach) if EBPF.contains(&attach) => {
            let what =
                format!("{attach} loads eBPF, which nobody but root may\nhelp: --attach classic, or none");
            Err(LabError::new("--attach", what))
        }
        _ => Ok(()),
    }
}

/// Moves this process, which must have one thread only, into a user namespace of its own for good.
///
/// # Errors
/// The kernel or a policy of the machine forbids it: what to change is said.
pub fn enter() -> Result<(), LabError> {
    sys::user::enter().map_err(|error| {
        let help = hindrance(|file| fs::read_to_string(file).ok());
        LabError::new("user namespace", format!("{error}\nhelp: {help}"))
    })
}

/// What keeps ordinary users from making user namespaces, as far as settings say it.
fn hindrance(read: impl Fn(&str) -> Option<String>) -> String {
    let is = |file: &str, value: &str| read(file).is_some_and(|text| text.trim() == value);
    for (setting, forbids, allows) in [
        ("user.max_user_namespaces", "0", "10000"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ] {
        if is(&format!("/proc/sys/{}", setting.replace('.', "/")), forbids) {
            return format!(
                "`sysctl {setting}={allows}` lets ordinary users make them; or run the lab as root"
            );
        }
    }
    "a policy of this machine or container (seccomp, SELinux) forbids them; or run the lab as root".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_hinders_is_named() {
        let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        let said = hindrance(|file| (file == apparmor).then(|| "1\n".to_owned()));
        assert!(said.contains("sysctl kernel.apparmor_restrict_unprivileged_userns=0"), "{said}");
        let said =
            hindrance(|file| Some(if file.ends_with("max_user_namespaces") { "0\n" } else { "1" }.into()));
        assert!(said.contains("sysctl user.max_user_namespaces=10000"), "{said}");
        assert!(hindrance(|_| None).contains("policy"));
    }

    #[test]
    fn ways_that_load_ebpf_are_refused() {
        assert!(refuse(Some("classic")).is_ok() && refuse(None).is_ok());
        assert!(refuse(Some("xdp")).unwrap_err().to_string().contains("--attach classic"));
    }
}
