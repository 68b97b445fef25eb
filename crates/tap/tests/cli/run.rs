//! `tapwright run` from outside: what it refuses, and a run that ends by itself.

use std::process::Command;

use super::{Ended, binary, ended, golden, in_namespace, tapwright};

#[test]
fn every_option_that_makes_no_sense_is_named_at_once() {
    let run = tapwright(
        &golden(),
        &["run", "aggregator.toml", "--duration", "soon", "--stats", "1ns", "--ring", "2TB"],
    );
    let said = "--duration `soon`: not a time\nhelp: write a number with a unit, as in 10s, 500ms, 5min\n\
                --stats `1ns`: too short\nhelp: at least 10 ms\n\
                --ring `2TB`: not a size\nhelp: write a number with a unit, as in 16MiB\n";
    assert_eq!(run, Ended { code: Some(1), stdout: String::new(), stderr: said.into() });
    let large = tapwright(&golden(), &["run", "aggregator.toml", "--ring", "2GiB"]);
    let said = "--ring `2GiB`: too large\nhelp: at most 1024 MiB\n";
    assert_eq!(large, Ended { code: Some(1), stdout: String::new(), stderr: said.into() });
}

#[test]
fn run_names_every_interface_that_is_missing() {
    let help = "help: this network namespace has no interface but lo\n";
    let missing = [("a", "eth1"), ("b", "eth2"), ("ids", "eth3")];
    let lines =
        missing.map(|(port, interface)| format!("port {port}: there is no interface {interface}\n{help}"));
    let said = format!("{}nothing was changed\n", lines.concat());
    let run = in_namespace(&["run", "aggregator.toml"]);
    assert_eq!(run, Ended { code: Some(1), stdout: String::new(), stderr: said });
}

#[test]
fn run_says_which_privilege_is_missing() {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all", "--inh-caps", "-all", binary(), "run", "aggregator.toml"]);
    // No capability is left to it, whoever it is.
    let run = ended(command.current_dir(golden()));
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    assert!(
        run.stderr.starts_with("not enough privilege to open packet sockets\nhelp: run as root"),
        "{}",
        run.stderr
    );
}

/// Interfaces of the names that the config has, and a run in the namespace of them.
const RUN: &str = "for name in eth1 eth2 eth3; do ip link add name $name type veth peer name far$name; done; \
                   exec \"$0\" run aggregator.toml --duration 50ms";

#[test]
fn a_run_says_at_the_start_that_the_wire_stops_with_it_and_prints_the_ledger_at_the_end() {
    let mut shell = Command::new("unshare");
    shell.args(["--net", "sh", "-c", RUN, binary()]).current_dir(golden());
    let run = ended(&mut shell);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("the wire stops with it (`tapwright up` makes one"), "{}", run.stderr);
    assert!(run.stdout.ends_with("unaccounted 0\n"), "{}", run.stdout);
    let mut shell = Command::new("unshare");
    shell.args(["--net", "sh", "-c", &format!("{RUN} --json"), binary()]).current_dir(golden());
    let run = ended(&mut shell);
    assert!(run.stdout.contains("\"backend\": \"userspace\""), "{}", run.stdout);
    let mut shell = Command::new("unshare");
    shell.args(["--net", "sh", "-c", &format!("{RUN} --quiet"), binary()]).current_dir(golden());
    assert_eq!(ended(&mut shell), Ended { code: Some(0), stdout: String::new(), stderr: String::new() });
}
