//! A lab that outlives the process: its namespaces get names under `/run/netns`, as `ip netns` gives them.
//!
//! Naming is the last thing that is done, so that a run that fails or is interrupted leaves nothing behind.

use std::path::Path;
use std::time::Duration;

use sys::netns::{self, Namespace};
use sys::process;

use crate::network::{LabError, Network};
use crate::run::Lab;
use crate::traffic;

/// What the names of kept namespaces begin with, on the command line.
pub const PREFIX: &str = "tw-lab-";
/// Where `ip netns` looks for names.
const NAMED: &str = "/run/netns";

/// The names of kept namespaces that begin with `prefix`, sorted.
fn kept(prefix: &str) -> Result<Vec<String>, LabError> {
    let directory = match Path::new(NAMED).read_dir() {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LabError::new(NAMED, error)),
    };
    let mut names = Vec::new();
    for entry in directory {
        let entry = entry.map_err(|error| LabError::new(NAMED, error))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| name.starts_with(prefix)));
    }
    names.sort();
    Ok(names)
}

/// Fails where a lab was kept already: there is one at a time.
pub fn refuse_if_kept(prefix: &str) -> Result<(), LabError> {
    match kept(prefix)?.as_slice() {
        [] => Ok(()),
        names => {
            let what = format!(
                "a lab was kept already ({} namespaces)\nhelp: tapwright lab --clean takes it away",
                names.len()
            );
            Err(LabError::new(NAMED, what))
        }
    }
}

/// Names the namespaces of a lab, all or none, and tells how to look at it.
pub fn keep(lab: &Lab, prefix: &str) -> Result<String, LabError> {
    let mut done: Vec<String> = Vec::new();
    for (host, namespace) in lab.network().hosts() {
        let name = format!("{prefix}{host}");
        if let Err(error) = namespace.bind(&name) {
            for name in done {
                // What is left over is found by the next `--clean`; the error that stopped us counts.
                let _ = netns::remove(&name);
            }
            return Err(LabError::new(name, error));
        }
        done.push(name);
    }
    Ok(how_to_look(lab, prefix))
}

fn how_to_look(lab: &Lab, prefix: &str) -> String {
    let mut text = String::from("ip netns list shows the namespaces. To look around:\n\n");
    for plan in &lab.layout().boxes {
        text.push_str(&format!("ip netns exec {prefix}{} tapwright status\n", plan.host));
    }
    for sensor in &lab.layout().sensors {
        text.push_str(&format!(
            "ip netns exec {prefix}{} tcpdump -n -i {}\n",
            sensor.end.host, sensor.end.interface
        ));
    }
    text.push_str(&format!("ip netns exec {prefix}ws1 ping -c 3 203.0.113.10\n"));
    text.push_str("tapwright lab --serve    # the HTTP, DNS and mail servers again, until interrupted\n");
    text.push_str(&format!("ip netns exec {prefix}ws1 curl http://203.0.113.10/\n"));
    text.push_str("tapwright lab --clean    # takes it all away\n");
    text
}

/// Takes a kept lab away; gives the names that were removed.
pub fn clean(prefix: &str) -> Result<Vec<String>, LabError> {
    let names = kept(prefix)?;
    for name in &names {
        netns::remove(name).map_err(|error| LabError::new(name, error))?;
    }
    Ok(names)
}

/// Runs the servers of a kept lab until SIGINT or SIGTERM.
pub fn serve(prefix: &str) -> Result<(), LabError> {
    let mut network = Network::new();
    for name in kept(prefix)? {
        let namespace = Namespace::named(&name).map_err(|error| LabError::new(&name, error))?;
        network.adopt(name.trim_start_matches(prefix), namespace);
    }
    if network.hosts().next().is_none() {
        return Err(LabError::new(NAMED, "no lab was kept\nhelp: tapwright lab --keep keeps one"));
    }
    process::catch_stop_signals().map_err(|error| LabError::new("signals", error))?;
    let servers = traffic::serve(&network)?;
    while !process::stop_requested() {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    drop(servers);
    Ok(())
}
