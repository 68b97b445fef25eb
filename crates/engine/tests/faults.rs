//! `up` and `down` broken at every system call, by an error and by SIGKILL: afterwards the machine is as it was.
//!
//! What "as it was" means is said by `ip`, `tc`, `ethtool` and /proc, not by this project. Needs root, and fails
//! without. Each test works in a network namespace of its own that ends with it.

#![allow(clippy::unwrap_used, reason = "a test that meets an error ends there")]

use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use plan::plan::Plan;
use sys::netns::Namespace;
use sys::{Call, Fault, FaultKind, Hook, Linux, Sys};

/// Says which child a re-executed test is: the plan's number, what it does, and the call at which it dies.
const CHILD: &str = "TAPWRIGHT_TEST_CHILD";
const EIO: i32 = 5;
const SIGKILL: i32 = 9;

/// Plans that between them take every step that `up` knows.
const PLANS: [&str; 6] = [
    // tcx, a queue on the monitor port
    r#"
[ports]
a = "a0"
b = "b0"
ids = { interface = "m0", rate = "100Mbit", buffer = "1MiB" }
[[device]]
name = "perimeter"
kind = "port-aggregator"
link = ["a", "b"]
monitors = ["ids"]
"#,
    // clsact, a virtual interface, a watched interface
    r#"
[ports]
a = { interface = "a0", attach = "clsact" }
b = { interface = "b0", attach = "clsact" }
w = { interface = "m0", attach = "clsact" }
s = "s0"
[[device]]
name = "both"
kind = "bond"
spans = ["a", "b"]
interface = "ngeth0"
[[device]]
name = "host"
kind = "watch"
interfaces = ["w"]
monitors = ["s"]
"#,
    // xdp, with the hop to a queue
    r#"
[ports]
a = { interface = "a0", attach = "xdp" }
b = { interface = "b0", attach = "xdp" }
ids = { interface = "m0", rate = "100Mbit", buffer = "1MiB" }
all = "s0"
[[device]]
name = "perimeter"
kind = "dual-port-aggregator"
link = ["a", "b"]
monitors = ["ids", "all"]
"#,
    // tcx, rules that need every kind of table
    r#"
[ports]
a = "a0"
b = "b0"
web = "m0"
rest = "s0"
[[device]]
name = "steer"
kind = "distributor"
link = ["a", "b"]
rules = "pf.conf"
"#,
    // classic filters, a queue on the monitor port
    r#"
[ports]
a = { interface = "a0", attach = "classic" }
b = "b0"
ids = { interface = "m0", rate = "100Mbit", buffer = "1MiB" }
[[device]]
name = "perimeter"
kind = "port-aggregator"
link = ["a", "b"]
monitors = ["ids"]
"#,
    // classic filters, a virtual interface, a watched interface
    r#"
[ports]
a = { interface = "a0", attach = "classic" }
b = "b0"
w = "m0"
s = "s0"
[[device]]
name = "both"
kind = "bond"
spans = ["a", "b"]
interface = "ngeth0"
[[device]]
name = "host"
kind = "watch"
interfaces = ["w"]
monitors = ["s"]
"#,
];
/// The plan with rules.
const STEERED: usize = 3;
/// The plans of classic filters.
const CLASSIC: [usize; 2] = [4, 5];

/// Rules for as small a plan as has a hash table, prefixes, counters in rows of their own, and a memory.
fn rules() -> String {
    // IPv4 networks are found in arrays, those of IPv6 by their prefixes.
    let networks: Vec<String> =
        (0..40).flat_map(|n| [format!("10.{n}.0.0/{}", 16 + n % 9), format!("2001:db8:{n}::/48")]).collect();
    let mut text = format!("table <nets> const {{ {} }}\n", networks.join(" "));
    for n in 0..150 {
        let _ = writeln!(
            text,
            "block in quick on a inet proto tcp from 192.0.2.{n} port 1024 to 198.51.100.1 port 80"
        );
    }
    text.push_str("pass in on a dup-to { web, rest } round-robin from <nets> to any\n");
    text
}

fn plan(number: usize) -> Plan {
    let files = |name: &str| match name {
        "pf.conf" => Ok(rules()),
        _ => Err(format!("no such file: {name}")),
    };
    let compiled = plan::compile_with("fault.toml", PLANS[number], &files);
    compiled.unwrap_or_else(|problems| panic!("{problems}")).plan
}

#[test]
fn the_plan_with_rules_has_every_kind_of_map() {
    use bpf::tables::TableKind;
    let plan = plan(STEERED);
    let wiring = bpf::layout::Wiring::all(&plan, bpf::layout::View::Tc);
    let emitted = bpf::emit::emit(&plan, &wiring, bpf::emit::Mode::Attach).unwrap();
    for kind in [TableKind::Hash, TableKind::Lpm, TableKind::Array] {
        assert!(emitted.tables.iter().any(|table| table.kind == kind), "no {kind:?}");
    }
    assert!(emitted.tables.iter().any(|table| table.per_cpu && table.writable), "no memory");
    assert!(emitted.layout.tallies() > 0, "no rows of counters");
}

fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed (packages iproute2, ethtool): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Four pairs in the namespace of this thread: one port down, one up, one with settings of its own.
fn build() {
    for name in ["a", "b", "m", "s"] {
        let (port, outside) = (format!("{name}0"), format!("{name}1"));
        command("ip", &["link", "add", &port, "type", "veth", "peer", "name", &outside]);
        // Ends that take redirected frames, for the plan with XDP.
        command("ethtool", &["-K", &outside, "gro", "on"]);
        command("ip", &["link", "set", &outside, "up"]);
    }
    for port in ["a0", "b0", "m0", "s0"] {
        command("ip", &["link", "set", port, "up"]);
    }
    // Down, but not as new: a first `up` gives an interface its queueing discipline for good, and its far end a
    // link-local address.
    settle(&["a0", "b0", "m0", "s0", "a1", "b1", "m1", "s1"]);
    command("ip", &["link", "set", "a0", "down"]);
    settle(&["b0", "m0", "s0", "b1", "m1", "s1"]);
    command("ip", &["addr", "add", "169.254.7.7/16", "scope", "link", "dev", "b0"]);
    command("ip", &["link", "set", "b0", "promisc", "on"]);
    command("ethtool", &["-K", "m0", "tso", "off"]);
    command("ethtool", &["-K", "b0", "gro", "on"]);
}

/// Waits until these interfaces have a carrier, and every one that has, the link-local address that IPv6 gives it
/// some time after.
fn settle(names: &[&str]) {
    let mut linux = Linux::new();
    linux.wait_ready(names, Duration::from_secs(30)).unwrap();
    let begun = Instant::now();
    loop {
        let addresses = linux.addresses().unwrap();
        let links = linux.links().unwrap();
        let mut ready = links.iter().filter(|link| link.name != "lo" && link.ready());
        if ready.all(|link| addresses.iter().any(|it| it.ifindex == link.index && it.ip.is_ipv6())) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no link-local addresses: {addresses:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everything that is to be the same afterwards, as other tools and /proc tell it.
fn dump() -> String {
    let mut text = String::new();
    for link in command("ip", &["-d", "-o", "link", "show"]).lines() {
        let _ = writeln!(text, "{}", without_carrier(link));
    }
    for address in command("ip", &["-o", "addr", "show"]).lines() {
        let _ = writeln!(text, "{}", address.replace(" tentative", ""));
    }
    text.push_str(&command("tc", &["qdisc", "show"]));
    // Pins: none are made, and none may be. Where no bpffs is mounted there is nothing to list.
    let pins = std::fs::read_dir("/sys/fs/bpf").into_iter().flatten();
    let mut pins: Vec<_> = pins.map(|pin| pin.unwrap().file_name()).collect();
    pins.sort();
    let _ = writeln!(text, "bpffs {pins:?}");
    let mut linux = Linux::new();
    for link in linux.links().unwrap() {
        let name = &link.name;
        for feature in linux.features(name).unwrap() {
            let _ = writeln!(text, "{name} {} {} {}", feature.name, feature.active, feature.wanted);
        }
        for hook in [Hook::Ingress, Hook::Egress] {
            let programs = linux.tcx_query(link.index, hook).unwrap().len();
            let _ = writeln!(text, "{name} tcx {hook} {programs}, xdp {:?}", link.xdp);
        }
        for family in ["ipv4", "ipv6"] {
            settings(&Path::new("/proc/sys/net").join(family).join("conf").join(name), &mut text);
            settings(&Path::new("/proc/sys/net").join(family).join("neigh").join(name), &mut text);
        }
    }
    text
}

/// `ip link` without what follows the carrier, which comes and goes by itself after a port went up or down.
fn without_carrier(text: &str) -> String {
    let words =
        text.split_whitespace().filter(|word| !matches!(*word, "UP" | "DOWN" | "LOWERLAYERDOWN" | "UNKNOWN"));
    let mut text = words.collect::<Vec<_>>().join(" ");
    for flag in ["NO-CARRIER,", ",LOWER_UP", ",M-DOWN"] {
        text = text.replace(flag, "");
    }
    text
}

fn settings(folder: &Path, text: &mut String) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        // Some are made anew whenever the interface goes up, or cannot be read.
        if file.ends_with("stable_secret") {
            continue;
        }
        let value = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = writeln!(text, "{} {}", file.display(), value.trim());
    }
}

/// Where two dumps differ, line by line.
#[track_caller]
fn assert_same(before: &str, after: &str, when: &str) {
    let lost: Vec<&str> = before.lines().filter(|line| !after.lines().any(|other| other == *line)).collect();
    let new: Vec<&str> = after.lines().filter(|line| !before.lines().any(|other| other == *line)).collect();
    assert!(
        before == after,
        "{when}: the machine is not as it was\n- {}\n+ {}",
        lost.join("\n- "),
        new.join("\n+ ")
    );
}

/// Takes away what is there, if anything is.
fn down_if_up() {
    match engine::down(&mut Linux::new()) {
        Ok(_) | Err(engine::Error::NothingUp) => {}
        Err(error) => panic!("down: {error}"),
    }
}

/// While it lives, changes wait less for the kernel's readers: hundreds of taps go up and down here, each some
/// ten changes, each 16 ms. Whoever ends last of those who run at once leaves the machine slow again.
struct Hurry;

impl Hurry {
    const SWITCH: &str = "/sys/kernel/rcu_expedited";

    fn begin() -> Self {
        // Where it cannot be written all goes on, only slower.
        let _ = std::fs::write(Self::SWITCH, "1");
        Self
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::SWITCH, "0");
    }
}

/// Runs a test in a namespace of its own, with its four pairs.
fn in_namespace(work: impl FnOnce() + Send) {
    let namespace = Namespace::create().expect("needs root: these tests make network namespaces");
    namespace
        .run(|| {
            let _hurry = Hurry::begin();
            build();
            work();
        })
        .unwrap();
}

/// Brings the plan up, and gives the calls that it took.
fn calls_of_up(plan: &Plan) -> Vec<Call> {
    let mut linux = Linux::new();
    linux.gate().start_trace();
    engine::up(&mut linux, plan, "fault.toml").unwrap_or_else(|error| panic!("up: {error}"));
    linux.gate().trace().to_vec()
}

/// Takes it down, and gives the calls that it took.
fn calls_of_down() -> Vec<Call> {
    let mut linux = Linux::new();
    linux.gate().start_trace();
    engine::down(&mut linux).unwrap_or_else(|error| panic!("down: {error}"));
    linux.gate().trace().to_vec()
}

/// The calls to die at. To die before a call that only reads is to die before the next one that changes.
fn changes(calls: &[Call]) -> impl Iterator<Item = u64> {
    calls.iter().filter(|call| call.changes).map(|call| call.number)
}

fn up_fails_at_every_call(number: usize) {
    in_namespace(|| {
        let plan = plan(number);
        let before = dump();
        let calls = calls_of_up(&plan);
        down_if_up();
        assert_same(&before, &dump(), "up and down without a fault");
        // The first plan at every call; the others, which read by the same code, at every change.
        let all = (1u64..).take(calls.len()).filter(|_| number == 0);
        let changing = changes(&calls).filter(|_| number > 0);
        let calls = calls.len();
        for at in all.chain(changing) {
            let mut linux = Linux::with_fault(Fault { at, kind: FaultKind::Fail(EIO) });
            let outcome = engine::up(&mut linux, &plan, "fault.toml");
            if outcome.is_ok() {
                // A reading that `up` can do without.
                down_if_up();
            }
            assert_same(&before, &dump(), &format!("up failed at call {at} of {calls}: {outcome:?}"));
        }
        println!("plan {number}: up failed at each call that was to fail, of {calls}");
    });
}

fn down_fails_at_every_change(number: usize) {
    in_namespace(|| {
        let plan = plan(number);
        let before = dump();
        calls_of_up(&plan);
        let calls = calls_of_down();
        for at in changes(&calls) {
            calls_of_up(&plan);
            let mut linux = Linux::with_fault(Fault { at, kind: FaultKind::Fail(EIO) });
            let outcome = engine::down(&mut linux);
            down_if_up();
            assert_same(
                &before,
                &dump(),
                &format!("down failed at call {at} of {}: {outcome:?}", calls.len()),
            );
        }
        println!("plan {number}: down failed at each change, {} calls", calls.len());
    });
}

/// Re-executes this test binary in the namespace of this thread, to be killed at a call.
fn die(test: &str, number: usize, what: &str, at: u64) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, format!("{number} {what} {at}"))
        .output()
        .unwrap();
    output.status.signal() == Some(SIGKILL)
}

/// In the child: does what it was told, and dies on the way. Gives false in the parent.
fn is_child() -> bool {
    let Ok(task) = std::env::var(CHILD) else { return false };
    let words: Vec<&str> = task.split(' ').collect();
    let (number, at) = (words[0].parse().unwrap(), words[2].parse().unwrap());
    let mut linux = Linux::with_fault(Fault { at, kind: FaultKind::Kill });
    match words[1] {
        "up" => drop(engine::up(&mut linux, &plan(number), "fault.toml")),
        _ => drop(engine::down(&mut linux)),
    }
    true
}

fn up_is_killed_at_every_change(test: &str, number: usize) {
    if is_child() {
        return;
    }
    in_namespace(|| {
        let plan = plan(number);
        let before = dump();
        let calls = calls_of_up(&plan);
        down_if_up();
        for at in changes(&calls) {
            assert!(die(test, number, "up", at), "the child did not come to call {at}");
            if at % 2 == 0 {
                // The next `up` puts it right too, and is whole.
                engine::up(&mut Linux::new(), &plan, "fault.toml")
                    .unwrap_or_else(|error| panic!("up after a death at call {at}: {error}"));
                let status = engine::status(&mut Linux::new()).unwrap();
                assert_eq!(status.notes, Vec::<String>::new(), "after a death at call {at}");
            }
            down_if_up();
            assert_same(&before, &dump(), &format!("up was killed at call {at} of {}", calls.len()));
        }
        println!("plan {number}: up was killed at each change, {} calls", calls.len());
    });
}

fn down_is_killed_at_every_change(test: &str, number: usize) {
    if is_child() {
        return;
    }
    in_namespace(|| {
        let plan = plan(number);
        let before = dump();
        calls_of_up(&plan);
        let calls = calls_of_down();
        for at in changes(&calls) {
            calls_of_up(&plan);
            assert!(die(test, number, "down", at), "the child did not come to call {at}");
            down_if_up();
            assert_same(&before, &dump(), &format!("down was killed at call {at} of {}", calls.len()));
        }
        println!("plan {number}: down was killed at each change, {} calls", calls.len());
    });
}

#[test]
fn privileged_up_fails_tcx() {
    up_fails_at_every_call(0);
}

#[test]
fn privileged_up_fails_clsact() {
    up_fails_at_every_call(1);
}

#[test]
fn privileged_up_fails_xdp() {
    up_fails_at_every_call(2);
}

/// What `down` takes away is no more with rules than without: programs, which hold the tables.
#[test]
fn privileged_up_fails_steered() {
    up_fails_at_every_call(STEERED);
}

#[test]
fn privileged_up_killed_steered() {
    up_is_killed_at_every_change("privileged_up_killed_steered", STEERED);
}

#[test]
fn privileged_up_killed_tcx() {
    up_is_killed_at_every_change("privileged_up_killed_tcx", 0);
}

#[test]
fn privileged_up_killed_clsact() {
    up_is_killed_at_every_change("privileged_up_killed_clsact", 1);
}

#[test]
fn privileged_up_killed_xdp() {
    up_is_killed_at_every_change("privileged_up_killed_xdp", 2);
}

#[test]
fn privileged_down_fails_tcx() {
    down_fails_at_every_change(0);
}

#[test]
fn privileged_down_fails_clsact() {
    down_fails_at_every_change(1);
}

#[test]
fn privileged_down_fails_xdp() {
    down_fails_at_every_change(2);
}

#[test]
fn privileged_down_killed_tcx() {
    down_is_killed_at_every_change("privileged_down_killed_tcx", 0);
}

#[test]
fn privileged_down_killed_clsact() {
    down_is_killed_at_every_change("privileged_down_killed_clsact", 1);
}

#[test]
fn privileged_down_killed_xdp() {
    down_is_killed_at_every_change("privileged_down_killed_xdp", 2);
}

#[test]
fn privileged_up_fails_classic_link() {
    up_fails_at_every_call(CLASSIC[0]);
}

#[test]
fn privileged_up_fails_classic_virtual() {
    up_fails_at_every_call(CLASSIC[1]);
}

#[test]
fn privileged_down_fails_classic_link() {
    down_fails_at_every_change(CLASSIC[0]);
}

#[test]
fn privileged_down_fails_classic_virtual() {
    down_fails_at_every_change(CLASSIC[1]);
}

#[test]
fn privileged_up_killed_classic_link() {
    up_is_killed_at_every_change("privileged_up_killed_classic_link", CLASSIC[0]);
}

#[test]
fn privileged_up_killed_classic_virtual() {
    up_is_killed_at_every_change("privileged_up_killed_classic_virtual", CLASSIC[1]);
}

#[test]
fn privileged_down_killed_classic_link() {
    down_is_killed_at_every_change("privileged_down_killed_classic_link", CLASSIC[0]);
}

#[test]
fn privileged_down_killed_classic_virtual() {
    down_is_killed_at_every_change("privileged_down_killed_classic_virtual", CLASSIC[1]);
}
