//! How runs in user space begin and end: beside a tap of the kernel's, killed, hung up on, in a hurry; and who puts right
//! what a killed one leaves.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr};

use proof::binary::{self, ConfigFile};
use proof::device::{Attach, Device, PORT_AGGREGATOR};
use proof::rig::Rig;
use proof::sender::uniform;
use proof::wait;
use sys::{
    ClassicInsn, ClassicSpec, H_CLSACT, H_EGRESS, H_INGRESS, Linux, Matcher, ProgKind, ProgSpec, QdiscSpec,
    Sys, XdpMode,
};

const HANG_UP: i32 = 1;
const INTERRUPT: i32 = 2;

fn rig() -> Rig {
    let rig = Rig::new(&PORT_AGGREGATOR.cables(), 1500);
    for port in rig.ports() {
        let path = format!("ipv6/conf/{port}/disable_ipv6");
        rig.at(&rig.near(port), |sys, _| sys.sysctl_write(&path, "1"));
    }
    rig
}

/// The aggregator with a config that `run` and `up` take.
fn config_of(device: &Device, attach: Attach) -> ConfigFile {
    ConfigFile::new(&device.config(attach))
}

/// Starts a run and waits until it carries frames.
fn running(rig: &Rig, arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut child = binary::start(rig, arguments);
    let mut said = BufReader::new(child.stderr.take().expect("it was piped"));
    let (mut line, mut all) = (String::new(), String::new());
    while !line.contains("the wire stops with it") {
        line.clear();
        assert_ne!(
            said.read_line(&mut line).expect("it speaks text"),
            0,
            "it ended before it was ready: {all}"
        );
        all.push_str(&line);
    }
    (child, said)
}

fn kill(mut child: Child) {
    child.kill().expect("it runs");
    child.wait().expect("it is our child");
}

/// The classic filters of a port, both sides, by preference and handle.
fn filters(rig: &Rig, port: &str) -> Vec<(u16, u32)> {
    rig.on_tap(|sys| {
        let index = sys.link_by_name(port).expect("links are listed").expect("it is there").index;
        let found = [H_EGRESS, H_INGRESS].map(|parent| sys.classic_filters(index, parent));
        found
            .into_iter()
            .flat_map(|it| it.expect("filters are listed"))
            .map(|it| (it.priority, it.handle))
            .collect()
    })
}

fn has_clsact(rig: &Rig, port: &str) -> bool {
    rig.on_tap(|sys| {
        let index = sys.link_by_name(port).expect("links are listed").expect("it is there").index;
        sys.qdiscs(index).expect("they are listed").iter().any(|qdisc| qdisc.kind == "clsact")
    })
}

/// Frames sent into `a` arrive at `b`.
fn passes(rig: &Rig) {
    let (frame, before) = (uniform(1, 100), rig.counts(rig.far("b")).rx_packets);
    rig.send(rig.far("a"), &[frame.as_slice(); 50]);
    wait::until("frames pass", || rig.counts(rig.far("b")).rx_packets - before, |came| *came >= 50);
}

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn privileged_up_after_a_killed_run_passes_frames() {
    let _alone = proof::alone();
    for attach in [Attach::Tcx, Attach::Clsact, Attach::Classic] {
        let rig = rig();
        let config = config_of(&PORT_AGGREGATOR, attach);
        kill(running(&rig, &["run", config.path()]).0);
        assert_eq!(filters(&rig, "a").len(), 2);
        let up = binary::run(&rig, &["up", config.path()]);
        assert_eq!(up.status.code(), Some(0), "{attach:?}: {}", said(&up));
        assert!(said(&up).contains("a `run` was killed here"), "{attach:?}: {}", said(&up));
        passes(&rig);
        let down = binary::run(&rig, &["down"]);
        assert_eq!(down.status.code(), Some(0), "{attach:?}: {}", said(&down));
        for port in ["a", "b", "m1"] {
            assert!(!has_clsact(&rig, port), "{attach:?}: {port} keeps a clsact");
        }
    }
}

/// Somebody else's filter, of the shape of ours: drops all that enters.
fn add_theirs(rig: &Rig, port: &str, with_clsact: bool) {
    rig.at(&rig.near(port), |sys, index| {
        if with_clsact {
            sys.add_qdisc(index, H_CLSACT, 0xffff_0000, &QdiscSpec::Clsact, false)?;
        }
        let drop = ClassicInsn { code: 6, jt: 0, jf: 0, k: 2 };
        let spec = ClassicSpec {
            chain: 0,
            priority: 1,
            handle: 1,
            replace: false,
            with_clsact: false,
            matcher: Matcher::Program { insns: vec![drop], direct: true },
            class: 0,
            acts: Vec::new(),
        };
        sys.add_classic(index, H_INGRESS, &spec)
    });
}

#[test]
fn privileged_what_a_killed_run_left_goes_and_nothing_else() {
    let _alone = proof::alone();
    let config = config_of(&PORT_AGGREGATOR, Attach::Tcx);
    let rig = rig();
    // Theirs was there before the run.
    add_theirs(&rig, "a", true);
    kill(running(&rig, &["run", config.path()]).0);
    // And came afterwards.
    add_theirs(&rig, "b", false);
    assert_eq!(filters(&rig, "a").len(), 3);
    // The next run finds the place taken by nobody.
    kill(running(&rig, &["run", config.path()]).0);
    assert_eq!([filters(&rig, "a").len(), filters(&rig, "b").len()], [3, 3]);
    let down = binary::run(&rig, &["down"]);
    assert_eq!(down.status.code(), Some(0), "{}", said(&down));
    assert_eq!([filters(&rig, "a"), filters(&rig, "b")], [[(1, 1)], [(1, 1)]]);
    assert!(!has_clsact(&rig, "m1"));
    let again = binary::run(&rig, &["down"]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[test]
fn privileged_a_run_beside_a_tap_that_is_up_is_refused() {
    let _alone = proof::alone();
    for attach in [Attach::Tcx, Attach::Clsact, Attach::Xdp, Attach::Classic] {
        let rig = rig();
        if attach == Attach::Xdp {
            rig.prepare_for_xdp();
        }
        let config = PORT_AGGREGATOR.config(attach);
        rig.up(&config);
        let run = binary::run(&rig, &["run", ConfigFile::new(&config).path(), "--duration", "1s"]);
        assert_eq!(run.status.code(), Some(1), "{attach:?}: {}", said(&run));
        assert!(said(&run).contains("is up in this network namespace"), "{attach:?}: {}", said(&run));
        passes(&rig);
        rig.down();
    }
}

#[test]
fn privileged_a_virtual_interface_of_a_killed_run_goes_with_down() {
    let _alone = proof::alone();
    let rig = rig();
    let text = "[ports]\na = \"a\"\nb = \"b\"\n\n[[device]]\nname = \"d\"\nkind = \"bond\"\nspans = [\"a\", \"b\"]\n\
                interface = \"ids0\"\n";
    let config = ConfigFile::new(text);
    kill(running(&rig, &["run", config.path()]).0);
    let pairs =
        |sys: &mut Linux| sys.links().expect("listed").iter().filter(|it| it.name.starts_with("tw-")).count();
    assert_eq!(rig.on_tap(pairs), 1);
    let down = binary::run(&rig, &["down"]);
    assert_eq!((down.status.code(), rig.on_tap(pairs)), (Some(0), 0), "{}", said(&down));
    let run = binary::run(&rig, &["run", config.path(), "--duration", "50ms"]);
    assert_eq!((run.status.code(), rig.on_tap(pairs)), (Some(0), 0), "{}", said(&run));
}

#[test]
fn privileged_a_run_that_is_hung_up_on_restores() {
    let _alone = proof::alone();
    let rig = rig();
    let config = config_of(&PORT_AGGREGATOR, Attach::Tcx);
    // Nobody listens any more: the next line meets a closed pipe, and then the ledger another one.
    let (mut child, said) = running(&rig, &["run", config.path(), "--stats", "10ms", "--duration", "500ms"]);
    drop(said);
    drop(child.stdout.take());
    let status = child.wait().expect("it is our child");
    assert_eq!((status.code(), filters(&rig, "a")), (Some(0), Vec::new()));
    // The terminal is gone.
    let (mut child, _said) = running(&rig, &["run", config.path()]);
    sys::process::kill(child.id(), HANG_UP).expect("it runs");
    let status = child.wait().expect("it is our child");
    assert_eq!((status.code(), filters(&rig, "a")), (Some(0), Vec::new()));
}

#[test]
fn privileged_a_second_signal_ends_the_wait_and_restores() {
    let _alone = proof::alone();
    let rig = rig();
    // 100 kB at 80 kbit/s take ten seconds.
    let text = PORT_AGGREGATOR.config_with(Attach::Tcx, ", rate = \"80kbit\", buffer = \"200kB\"");
    let config = ConfigFile::new(&text);
    let (mut child, mut said) = running(&rig, &["run", config.path()]);
    let (frame, before) = (uniform(1, 1000), rig.counts(rig.far("b")).rx_packets);
    rig.send(rig.far("a"), &[frame.as_slice(); 100]);
    wait::until("frames pass", || rig.counts(rig.far("b")).rx_packets - before, |came| *came >= 100);
    sys::process::kill(child.id(), INTERRUPT).expect("it runs");
    let mut line = String::new();
    while !line.contains("Ctrl-C drops them") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("it speaks text"), 0, "it did not wait");
    }
    sys::process::kill(child.id(), INTERRUPT).expect("it waits");
    let status = child.wait().expect("it is our child");
    assert_eq!((status.code(), filters(&rig, "a")), (Some(0), Vec::new()));
    assert!(!has_clsact(&rig, "m1"));
    let arrived = rig.counts(rig.far("m1")).rx_packets;
    assert!(arrived < 100, "it waited until all {arrived} were gone");
}

#[test]
fn privileged_a_run_behind_an_xdp_program_is_refused() {
    let _alone = proof::alone();
    let rig = rig();
    rig.at(&rig.near("a"), |sys, index| {
        // r0 = XDP_PASS; exit
        let insns = [0x0000_0002_0000_00b7, 0x95];
        let spec = ProgSpec {
            kind: ProgKind::XDP,
            attach_type: 0,
            insns: &insns,
            license: "GPL",
            name: "theirs",
            flags: 0,
        };
        let prog = sys.prog_load(&spec)?;
        sys.xdp_attach(index, XdpMode::Generic, prog, None)
    });
    let config = config_of(&PORT_AGGREGATOR, Attach::Tcx);
    let run = binary::run(&rig, &["run", config.path(), "--duration", "1s"]);
    assert_eq!((run.status.code(), filters(&rig, "a")), (Some(1), Vec::new()), "{}", said(&run));
    assert!(said(&run).contains("has an XDP program"), "{}", said(&run));
}
