//! What the machine must have: root, Debian, and the programs that tests measure us against.

use std::path::Path;

use crate::steps::{Outcome, command, run};

/// A program that some check calls, and the Debian package that has it.
type Program = (&'static str, &'static str);

/// What `cargo xtask test` calls.
pub const TESTS: &[Program] = &[
    ("c++", "g++"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("timeout", "coreutils"),
    ("unshare", "util-linux"),
];

/// What `cargo xtask check-data` calls.
pub const CAPTURES: &[Program] =
    &[("mergecap", "wireshark-common"), ("tcpdump", "tcpdump"), ("tshark", "tshark")];

/// Whether all of the checks can be run here.
///
/// # Errors
/// The reason why not, and what to do.
pub fn is_fit() -> Result<(), String> {
    if !is_root()? {
        return Err("not root: the lab and the tests of the kernel backend load eBPF programs and make \
                    network namespaces\nhelp: run `cargo xtask test` as root"
            .into());
    }
    let missing = missing(TESTS);
    if !missing.is_empty() && !is_program("apt-get") {
        return Err(format!("not Debian, and these programs are missing: {}", missing.join(", ")));
    }
    Ok(())
}

/// The effective user, from `/proc/self/status`: real, effective, saved, file system.
fn is_root() -> Result<bool, String> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("/proc/self/status: {error}"))?;
    let ids =
        status.lines().find_map(|line| line.strip_prefix("Uid:")).ok_or("/proc/self/status has no Uid")?;
    Ok(ids.split_whitespace().nth(1) == Some("0"))
}

/// Installs the Debian packages of programs that are missing.
///
/// # Errors
/// Where apt-get fails, or a program is missing all the same.
pub fn packages(programs: &[Program]) -> Outcome {
    let names = missing(programs);
    if names.is_empty() {
        return Ok("nothing is missing".into());
    }
    let mut packages: Vec<&str> =
        programs.iter().filter(|(program, _)| names.contains(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    let quiet = |arguments: &[&str]| {
        let mut apt = command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet").args(arguments);
        run(&mut apt)
    };
    quiet(&["update"])?;
    quiet(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    let names = missing(programs);
    if names.is_empty() {
        Ok(format!("installed {}", packages.join(", ")))
    } else {
        Err(format!("still missing: {}", names.join(", ")))
    }
}

/// Programs that are not on the path.
fn missing(programs: &[Program]) -> Vec<&'static str> {
    programs.iter().map(|(program, _)| *program).filter(|program| !is_program(program)).collect()
}

/// Whether a program is on the path, or where Debian keeps those of root.
pub fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_root = ["/usr/sbin", "/sbin"].map(Path::new).map(Path::to_path_buf);
    std::env::split_paths(&path).chain(of_root).any(|dir| dir.join(name).is_file())
}
