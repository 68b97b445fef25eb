//! Nothing that happens to our processes hurts the wire: a million frames while they are killed.

use std::io::{Read, Write, pipe};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use lab::enterprise::TAP;
use proof::binary::{self, ConfigFile};
use proof::device::{Attach, PORT_AGGREGATOR};
use proof::rig::Rig;
use proof::sender::{Stream, numbered, send_in_window};
use proof::wait;

/// Frames of each direction.
const FRAMES: u64 = 500_000;
/// Octets of each.
const LEN: usize = 64;
/// SIGKILL.
const KILL: i32 = 9;
/// What a pipe holds (pipe(7)), and so what makes it full.
const PIPE_BYTES: usize = 65_536;

/// Kills a child, which must not have ended by itself before.
fn kill(child: &mut Child) {
    sys::process::kill(child.id(), KILL).expect("it is our child, and not waited for");
    assert_eq!(
        child.wait().expect("it is our child").signal(),
        Some(KILL),
        "it had ended before it was killed"
    );
}

/// `tapwright up` that has done its work, cannot say so because nobody reads, and is killed then.
fn up_and_killed(rig: &Rig, config: &ConfigFile) {
    let (mut reader, mut writer) = pipe().expect("a pipe");
    writer.write_all(&[0; PIPE_BYTES]).expect("an empty pipe takes so much");
    let mut command = Command::new(binary::path());
    command.args(["up", config.path()]).stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    let mut child =
        rig.network().inside(TAP, || command.spawn()).expect("it can be entered").expect("it starts");
    drop(command);
    let live = || rig.on_tap(engine::status).is_ok_and(|status| status.notes.is_empty());
    wait::until("it is up", live, |live| *live);
    kill(&mut child);
    let mut said = Vec::new();
    reader.read_to_end(&mut said).expect("the pipe is at its end");
    assert_eq!(said.len(), PIPE_BYTES, "it was killed before it said anything");
}

/// Starts processes that look at the tap, or put it up again, and kills them at every stage of their lives; gives how
/// many were still running.
fn kill_again_and_again(rig: &Rig, config: &ConfigFile, stop: &AtomicBool) -> u32 {
    let commands = [&["status", "--json"][..], &["up", config.path()], &["status", "--watch", "0.1"]];
    let mut killed = 0;
    for round in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let index = usize::try_from(round).expect("a count of processes");
        let mut child = binary::start(rig, commands[index % commands.len()]);
        // From at once to longer than it lives; what it has to say goes nowhere.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round % 8) * 3));
        sys::process::kill(child.id(), KILL).expect("it is our child, and not waited for");
        killed += u32::from(child.wait().expect("it is our child").signal() == Some(KILL));
    }
    killed
}

fn a_million_frames(attach: Attach) {
    let _alone = proof::alone();
    let rig = Rig::new(&PORT_AGGREGATOR.cables(), 1500);
    if attach == Attach::Xdp {
        rig.prepare_for_xdp();
    }
    let config = ConfigFile::new(&PORT_AGGREGATOR.config(attach));
    up_and_killed(&rig, &config);
    assert_eq!(binary::alive(), [""; 0], "a process of ours is alive");
    let ends = ["a", "b", "m1"].map(|port| rig.far(port).clone());
    let before = ends.each_ref().map(|end| rig.counts(end));
    let stop = AtomicBool::new(false);
    let killed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_again_and_again(&rig, &config, &stop));
        let frame = |sender| {
            move |number| {
                let mut frame = numbered(sender, number);
                frame.truncate(LEN);
                frame
            }
        };
        let (from_a, from_b) = (frame(1), frame(2));
        let streams = [
            Stream { from: ends[0].clone(), frame: &from_a },
            Stream { from: ends[1].clone(), frame: &from_b },
        ];
        let seen_at = [(ends[0].clone(), 1), (ends[1].clone(), 1), (ends[2].clone(), 2)];
        send_in_window(&rig, &streams, &seen_at, FRAMES);
        stop.store(true, Ordering::Relaxed);
        killer.join().expect("it ends when it is told to")
    });
    assert!(killed > 10, "only {killed} processes were killed while they ran");
    assert_eq!(binary::alive(), [""; 0], "a process of ours is alive");

    let status = binary::status(&rig);
    let after = ends.each_ref().map(|end| rig.counts(end));
    for (at, port) in [(0, "a"), (1, "b")] {
        let other = 1 - at;
        assert_eq!(after[at].tx_packets - before[at].tx_packets, FRAMES, "frames sent at {port}");
        assert_eq!(
            after[other].rx_packets - before[other].rx_packets,
            FRAMES,
            "frames of {port} at the far end"
        );
        let ledger = &status.ports[port];
        assert_eq!((ledger.entered.frames, ledger.passed), (FRAMES, FRAMES), "{port}\n{status}");
    }
    let monitor = &status.monitors["m1"];
    assert_eq!(after[2].rx_packets - before[2].rx_packets, monitor.sent, "frames at the sensor\n{status}");
    assert_eq!((monitor.sent, status.unaccounted), (2 * FRAMES, 0), "{status}");
    println!("{attach}: {killed} processes killed");
    rig.down();
}

#[test]
fn privileged_a_million_frames_while_processes_are_killed_by_tcx() {
    a_million_frames(Attach::Tcx);
}

#[test]
fn privileged_a_million_frames_while_processes_are_killed_by_classic_filters() {
    a_million_frames(Attach::Classic);
}

#[test]
fn privileged_a_million_frames_while_processes_are_killed_by_xdp() {
    a_million_frames(Attach::Xdp);
}
