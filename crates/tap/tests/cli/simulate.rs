//! `tapwright simulate` from outside: the report, captures and plots, what is wrong with arguments.

use std::fs;
use std::path::{Path, PathBuf};

use corpus::Golden;
use wire::capture::{PcapWriter, Reader, Timestamp};
use wire::{Frame, LinkType};

use super::{Ended, golden, tapwright};

/// An empty directory of a test's own, with the example of the manual.
fn directory(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => fs::create_dir_all(&dir).unwrap(),
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    fs::copy(examples.join("simulate.toml"), dir.join("simulate.toml")).unwrap();
    fs::copy(golden().join("aggregator.toml"), dir.join("tap.toml")).unwrap();
    dir
}

fn simulate(dir: &Path, file: &str, arguments: &str) -> Ended {
    let words: Vec<&str> = ["simulate", file].into_iter().chain(arguments.split_whitespace()).collect();
    tapwright(dir, &words)
}

/// The times of a capture, nanoseconds.
fn times(path: &Path) -> Vec<i128> {
    let capture = fs::read(path).unwrap();
    let (mut reader, mut input) = (Reader::new(), &capture[..]);
    let mut times = Vec::new();
    while let Some(packet) = reader.next(&mut input).unwrap() {
        times.push(packet.timestamp.unwrap().0);
    }
    times
}

#[test]
fn the_example_loses_what_the_manual_says() {
    let dir = directory("simulate-example");
    let ended = simulate(&dir, "simulate.toml", "");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let mut golden_texts = Golden::from_environment();
    golden_texts.check(&golden().join("simulate.txt"), &ended.stdout);
    golden_texts.finish();
    let json = simulate(&dir, "simulate.toml", "--json");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["monitors"]["ids"]["dropped"]["buffer"], serde_json::json!({ "a": 2667, "b": 0 }));
    assert_eq!((&json["unaccounted"], &json["measured"][0]["name"]), (&0.into(), &"ids".into()));
    // Said of the second second alone, by hand: a burst of 90 + 50 for 0.2 s fits.
    let fits = "--source a=cbr:90Mbit:1500@0s-199ms --source b=cbr:50Mbit:1500@0s-199ms --json";
    let json: serde_json::Value =
        serde_json::from_str(&simulate(&dir, "simulate.toml", fits).stdout).unwrap();
    assert_eq!(json["monitors"]["ids"]["dropped"]["buffer"], serde_json::json!({ "a": 0, "b": 0 }));
}

#[test]
fn captures_have_departure_times_and_plots_are_drawn() {
    let dir = directory("simulate-outputs");
    // 3 frames at once of 1230 octets: at 100 Mbit/s each takes 98.4 us.
    let source = "--source a=cbr:100Gbit:1230@0us-290ns --source b=cbr:1Mbit:60@500ms-500001us";
    let ended = simulate(&dir, "simulate.toml", &format!("{source} --write-dir out --plot plots --quiet"));
    assert_eq!(ended, Ended { code: Some(0), stdout: String::new(), stderr: String::new() });
    assert_eq!(times(&dir.join("out/ids.pcap")), [0, 98_400, 196_800, 500_000_000]);
    // The line of port a has 100 Mbit/s, too: its sender waits for it.
    assert_eq!(times(&dir.join("out/b.pcap")), [0, 98_400, 196_800]);
    let plot = fs::read_to_string(dir.join("plots/ids.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.trim_end().ends_with("</svg>"));
}

#[test]
fn a_capture_is_sent_again_at_a_speed() {
    let dir = directory("simulate-capture");
    let mut capture = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut capture);
    for us in [5_000_000, 5_000_300, 5_000_900] {
        writer.packet(Timestamp(us * 1000), &Frame::ethernet(&[7; 60]).unwrap(), &mut capture).unwrap();
    }
    fs::write(dir.join("a.pcap"), capture).unwrap();
    let written = |source: &str| {
        let ended = simulate(&dir, "tap.toml", &format!("--source {source} --write-dir out --quiet"));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        times(&dir.join("out/b.pcap"))
    };
    assert_eq!(written("a=a.pcap"), [0, 300_000, 900_000]);
    assert_eq!(written("a=capture:a.pcap:3"), [0, 100_000, 300_000]);
    assert_eq!(written("a=capture:a.pcap:0.5@1s-1001ms"), [1_000_000_000, 1_000_600_000]);
}

#[test]
fn a_seed_decides() {
    let dir = directory("simulate-seed");
    let run = |seed: u64| {
        let arguments = format!("--source a=poisson:60Mbit:mix --duration 50ms --seed {seed}");
        simulate(&dir, "simulate.toml", &arguments).stdout
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn every_mistake_is_named_at_once() {
    let dir = directory("simulate-mistakes");
    let refused = |file: &str, arguments: &str| {
        let ended = simulate(&dir, file, arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        ended.stderr
    };
    let said = refused("simulate.toml", "--source x=cbr:1Mbit:60 --source a=cbr:fast:60 --duration soon");
    assert!(said.contains("--source `x=cbr:1Mbit:60`: "), "{said}");
    assert!(said.contains("--source `a=cbr:fast:60`: "), "{said}");
    assert!(said.contains("--duration `soon` is no time\nhelp: write a number and ns"), "{said}");
    assert_eq!(
        refused("tap.toml", ""),
        "nothing comes: there is nothing to simulate\n\
         help: say what comes, in [simulate] of the config or by --source PORT=TRAFFIC\n"
    );
    let said = refused("tap.toml", "--source a=cbr:1Mbit:60");
    assert!(said.starts_with("what comes to a never ends\nhelp: "), "{said}");
    fs::write(dir.join("plots"), "").unwrap();
    let said = refused("simulate.toml", "--duration 1ms --plot plots");
    assert!(said.starts_with("plots: is no directory\n"), "{said}");
    // The config under the name of a plot, by another name of the same file.
    fs::create_dir(dir.join("drawn")).unwrap();
    fs::hard_link(dir.join("simulate.toml"), dir.join("drawn/ids.svg")).unwrap();
    let said = refused("simulate.toml", "--duration 1ms --plot drawn");
    assert!(said.starts_with("drawn/ids.svg: would be overwritten"), "{said}");
    assert!(said.contains(", and belongs to the config\n"), "{said}");
}

#[test]
fn what_did_not_come_is_not_counted() {
    let dir = directory("simulate-ahead");
    let mut capture = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut capture);
    for us in [0, 1000, 200_000] {
        writer.packet(Timestamp(us * 1000), &Frame::ethernet(&[7; 60]).unwrap(), &mut capture).unwrap();
    }
    fs::write(dir.join("a.pcap"), capture).unwrap();
    let json = simulate(&dir, "simulate.toml", "--source a=a.pcap --duration 100ms --json").stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let inputs = json["inputs"].as_array().unwrap();
    let input = inputs.iter().find(|input| input["file"] == "a.pcap").unwrap();
    assert_eq!((&input["packets"], &input["bytes"]), (&2.into(), &120.into()));
}

#[test]
fn a_plan_says_what_it_does_not_have() {
    let dir = directory("simulate-plan");
    fs::write(dir.join("tap.plan"), tapwright(&dir, &["check", "simulate.toml"]).stdout).unwrap();
    let ended = simulate(&dir, "tap.plan", "--source a=cbr:1Mbit:60 --duration 1ms");
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stderr.starts_with("note: tap.plan: a plan has no [simulate], speeds or hubs"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_report_that_cannot_be_written_is_trouble() {
    let dir = directory("simulate-full");
    for words in [&["simulate", "simulate.toml", "--duration", "1ms"][..], &["check", "simulate.toml"]] {
        let full = fs::File::create("/dev/full").unwrap();
        let mut command = std::process::Command::new(super::binary());
        let ended = command.args(words).current_dir(&dir).stdout(full).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains("cannot write to standard output"), "{said}");
    }
}
