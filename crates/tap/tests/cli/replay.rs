//! `tapwright replay` from outside: captures in and out, the ledger, what is wrong with either.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corpus::Golden;
use wire::capture::{PcapWriter, PcapngWriter, Timestamp};
use wire::{Frame, LinkType};

use super::{Ended, binary, golden, tapwright};

const WATCH: &str = "[ports]\nids = \"eth3\"\nwan = \"eth1\"\n[[device]]\nname = \"host\"\nkind = \"watch\"\n\
                     interfaces = [\"wan\"]\ndirection = \"both\"\nmonitors = [\"ids\"]\n";

/// An empty directory of a test's own, with the config of an aggregator of a and b into ids.
fn directory(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => fs::create_dir_all(&dir).unwrap(),
    }
    fs::copy(golden().join("aggregator.toml"), dir.join("tap.toml")).unwrap();
    dir
}

/// A pcap of frames of 60 octets: microsecond and what they are filled with.
fn pcap(packets: &[(i128, u8)]) -> Vec<u8> {
    pcap_of(false, packets)
}

fn pcap_of(nanoseconds: bool, packets: &[(i128, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, nanoseconds, &mut out);
    for (us, fill) in packets {
        writer.packet(Timestamp(us * 1000), &Frame::ethernet(&[*fill; 60]).unwrap(), &mut out).unwrap();
    }
    out
}

fn pcapng(packets: &[(i128, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PcapngWriter::new(&mut out);
    let id = writer.interface(LinkType::ETHERNET, "a", &mut out);
    for (us, fill) in packets {
        writer.packet(id, Timestamp(us * 1000), &Frame::ethernet(&[*fill; 60]).unwrap(), &mut out).unwrap();
    }
    out
}

fn replay(dir: &Path, arguments: &str) -> Ended {
    let words: Vec<&str> = ["replay", "tap.toml"].into_iter().chain(arguments.split_whitespace()).collect();
    tapwright(dir, &words)
}

/// Runs a replay that reads this as its standard input, and that nobody reads from where `hang_up`.
fn fed(dir: &Path, arguments: &str, input: &[u8], hang_up: bool) -> (Option<i32>, Vec<u8>, String) {
    let mut command = Command::new(binary());
    command.args(["replay", "tap.toml"]).args(arguments.split_whitespace()).current_dir(dir);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if hang_up {
        drop(child.stdout.take());
    }
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

fn names(dir: &Path) -> Vec<String> {
    super::entries(dir).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn two_captures_become_one_for_each_port_and_a_ledger() {
    let dir = directory("replay-two");
    fs::write(dir.join("a.pcap"), pcap(&[(10, 1), (20, 2)])).unwrap();
    fs::write(dir.join("b.pcapng"), pcapng(&[(10, 3), (15, 4)])).unwrap();
    let ended = replay(&dir, "--read a=a.pcap --read b=b.pcapng --write-dir out");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let mut golden_texts = Golden::from_environment();
    golden_texts.check(&golden().join("replay.txt"), &ended.stdout);
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/replay.md")).unwrap();
    assert!(page.contains(&ended.stdout), "docs/replay.md shows this:\n{}", ended.stdout);
    assert_eq!(names(&dir.join("out")), ["a.pcap", "b.pcap", "ids.pcap"]);
    // The pcapng has nanoseconds, so all that is written has. Of equal times the first-named input goes first.
    let merged = pcap_of(true, &[(10, 1), (10, 3), (15, 4), (20, 2)]);
    assert_eq!(fs::read(dir.join("out/ids.pcap")).unwrap(), merged);
    assert_eq!(fs::read(dir.join("out/b.pcap")).unwrap(), pcap_of(true, &[(10, 1), (20, 2)]));
    let json = replay(&dir, "--read a=a.pcap --read b=b.pcapng --json");
    assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""));
    golden_texts.check(&golden().join("replay.json"), &json.stdout);
    golden_texts.finish();
    let quiet = replay(&dir, "--read a=a.pcap --read b=b.pcapng --quiet");
    assert_eq!(quiet, Ended { code: Some(0), stdout: String::new(), stderr: String::new() });
}

#[test]
fn a_plan_does_as_well_as_its_config_and_a_file_may_be_read_twice() {
    let dir = directory("replay-plan");
    let plan = tapwright(&dir, &["check", "tap.toml"]).stdout;
    fs::write(dir.join("tap.plan"), plan).unwrap();
    fs::write(dir.join("x.pcap"), pcap(&[(1, 1), (2, 2)])).unwrap();
    let words = ["replay", "tap.plan", "--read", "a=x.pcap", "--read", "b=x.pcap", "--write", "ids=y.pcap"];
    assert_eq!(tapwright(&dir, &words).code, Some(0));
    assert_eq!(fs::read(dir.join("y.pcap")).unwrap(), pcap(&[(1, 1), (1, 1), (2, 2), (2, 2)]));
}

#[test]
fn a_truncated_pcap_gives_what_it_has_and_says_where_it_ends() {
    let dir = directory("replay-truncated");
    let whole = pcap(&[(1, 1), (3, 3)]);
    fs::write(dir.join("cut.pcap"), &whole[..whole.len() - 5]).unwrap();
    fs::write(dir.join("b.pcap"), pcap(&[(2, 2), (4, 4)])).unwrap();
    let ended = replay(&dir, "--read a=cut.pcap --read b=b.pcap --write ids=ids.pcap");
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        "cut.pcap: 1 packet (60 bytes) read, then at offset 100: truncated inside a packet record: \
         76 bytes needed, 71 present\nhelp: what could be read of it was replayed\n"
    );
    assert!(ended.stdout.ends_with("\nunaccounted 0\n"), "{}", ended.stdout);
    assert_eq!(fs::read(dir.join("ids.pcap")).unwrap(), pcap(&[(1, 1), (2, 2), (4, 4)]));
}

#[test]
fn a_corrupt_pcapng_gives_what_it_has_and_says_where_it_breaks() {
    let dir = directory("replay-corrupt");
    let mut capture = pcapng(&[(1, 1), (2, 2)]);
    let first = pcapng(&[(1, 1)]).len();
    // The length of the second packet's block is no multiple of four.
    capture[first + 4] = 0x0d;
    fs::write(dir.join("a.pcapng"), &capture).unwrap();
    let ended = replay(&dir, "--read a=a.pcapng --write ids=ids.pcap --quiet");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let said = format!("a.pcapng: 1 packet (60 bytes) read, then at offset {first}: ");
    assert!(ended.stderr.starts_with(&said), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("\nhelp: what could be read of it was replayed\n"), "{}", ended.stderr);
    assert_eq!(wire_packets(&dir.join("ids.pcap")), 1);
}

fn wire_packets(path: &Path) -> usize {
    let mut count = 0;
    wire::capture::read(&fs::read(path).unwrap(), |_, _| count += 1).unwrap();
    count
}

#[test]
fn every_mistake_in_the_arguments_is_named_at_once_and_nothing_is_written() {
    let dir = directory("replay-mistakes");
    fs::write(dir.join("a.pcap"), pcap(&[(1, 1)])).unwrap();
    let ended = replay(
        &dir,
        "--read idz=a.pcap --read a --read ids=a.pcap --read a=none --read eth2=a.pcap --read b:rx=a.pcap \
         --read a=- --read b=- --write b=a.pcap --write a=x --write a=y --write-dir a.pcap",
    );
    let said = "--read `idz=a.pcap`: `idz` is no port\n\
                help: did you mean `ids`?\n\
                --read `a`: no port and file\n\
                help: write PORT=FILE, as in a=a.pcap\n\
                --read `eth2=a.pcap`: `eth2` is no port\n\
                help: `eth2` is the interface of port `b`\n\
                --read `b:rx=a.pcap`: `b:rx` names a way, and `b` is no watched interface\n\
                help: write b: frames enter there\n\
                --write `a=y`: the port has another file already\n\
                help: name one file for each port\n\
                no frames enter at ids: it is a monitor and only sends\n\
                help: frames enter at a and b\n\
                none: cannot be opened: No such file or directory (os error 2)\n\
                help: name a pcap or pcapng file that can be read, or `-` for standard input\n\
                standard input is read more than once\n\
                help: only one input can come from it: write the others to files\n\
                a.pcap: is no directory\n\
                help: name a directory; it is made where it is missing\n\
                a.pcap: would be overwritten with the frames of port b, and is read\n\
                help: write to another file or directory\n";
    assert_eq!(ended, Ended { code: Some(1), stdout: String::new(), stderr: said.into() });
    assert_eq!(names(&dir), ["a.pcap", "tap.toml"]);
    assert_eq!(fs::read(dir.join("a.pcap")).unwrap(), pcap(&[(1, 1)]));
}

#[test]
fn a_watched_interface_has_two_ways() {
    let dir = directory("replay-watch");
    fs::write(dir.join("tap.toml"), WATCH).unwrap();
    fs::write(dir.join("rx.pcap"), pcap(&[(1, 1), (3, 3)])).unwrap();
    fs::write(dir.join("tx.pcap"), pcap(&[(2, 2)])).unwrap();
    let ended = replay(&dir, "--read wan:rx=rx.pcap --read wan:tx=tx.pcap --write-dir . --json");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["ports"]["wan"]["left"], &json["unaccounted"]), (&3.into(), &0.into()));
    assert_eq!(fs::read(dir.join("ids.pcap")).unwrap(), pcap(&[(1, 1), (2, 2), (3, 3)]));
    let said = "--read `wan=rx.pcap`: `wan` is a watched interface: which way did its frames go?\n\
                help: write wan:rx or wan:tx\n";
    let expected = Ended { code: Some(1), stdout: String::new(), stderr: said.into() };
    assert_eq!(replay(&dir, "--read wan=rx.pcap"), expected);
}

#[test]
fn from_standard_input_to_standard_output_with_the_ledger_on_stderr() {
    let dir = directory("replay-stdin");
    let capture = pcap(&[(1, 1), (2, 2)]);
    for target in ["-", "/dev/stdout"] {
        let (code, stdout, stderr) = fed(&dir, &format!("--read a=- --write ids={target}"), &capture, false);
        assert_eq!((code, stdout), (Some(0), capture.clone()), "{target}");
        assert!(stderr.starts_with("INPUT ") && stderr.ends_with("\nunaccounted 0\n"), "{target}: {stderr}");
    }
    let (code, stdout, stderr) = fed(&dir, "--read a=- --write ids=- --quiet", &capture, false);
    assert_eq!((code, stdout, stderr.as_str()), (Some(0), capture, ""));
}

#[test]
fn a_reader_that_hangs_up_ends_its_own_capture_and_no_other() {
    let dir = directory("replay-hang-up");
    // Far more than a pipe and the buffers before it hold.
    let packets: Vec<(i128, u8)> = (0..40_000).map(|us| (us, 7)).collect();
    let capture = pcap(&packets);
    let (code, _, stderr) = fed(&dir, "--read a=- --write ids=- --write b=b.pcap --json", &capture, true);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(fs::read(dir.join("b.pcap")).unwrap() == capture);
    let json: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!((&json["outputs"][1]["closed"], &json["unaccounted"]), (&true.into(), &0.into()));
    // Nobody reads the ledger either: that is no error.
    let (code, _, stderr) = fed(&dir, "--read a=-", &capture, true);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[test]
fn devices_are_no_files() {
    let dir = directory("replay-devices");
    fs::write(dir.join("a.pcap"), pcap(&[(1, 1)])).unwrap();
    let nowhere = replay(&dir, "--read a=a.pcap --write ids=/dev/null --write b=/dev/null --quiet");
    assert_eq!(nowhere, Ended { code: Some(0), stdout: String::new(), stderr: String::new() });
    let empty = replay(&dir, "--read a=/dev/null --write ids=ids.pcap --quiet");
    let said = "/dev/null: 0 packets (0 bytes) read, then at offset 0: the capture is empty\n\
                help: what could be read of it was replayed\n";
    assert_eq!(empty, Ended { code: Some(1), stdout: String::new(), stderr: said.into() });
    assert_eq!(fs::read(dir.join("ids.pcap")).unwrap(), pcap(&[]));
    let full = replay(&dir, "--read a=a.pcap --write ids=/dev/full");
    let said = "/dev/full: cannot be written: No space left on device (os error 28)\n";
    assert_eq!(full, Ended { code: Some(2), stdout: String::new(), stderr: said.into() });
}

#[test]
fn a_port_with_a_rate_queues_and_traffic_may_come_beside_captures() {
    let dir = directory("replay-rate");
    let config = fs::read_to_string(dir.join("tap.toml")).unwrap();
    let slow = config.replace("\"eth3\"", "{ interface = \"eth3\", rate = \"1Mbit\", buffer = \"100B\" }");
    assert_ne!(config, slow);
    fs::write(dir.join("tap.toml"), slow).unwrap();
    fs::write(dir.join("a.pcap"), pcap(&[(10, 1), (20, 2), (30, 3), (5000, 4)])).unwrap();
    let ended = replay(&dir, "--read a=a.pcap --write-dir out --json");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["monitors"]["ids"]["dropped"]["buffer"], serde_json::json!({ "a": 1, "b": 0 }));
    assert_eq!((&json["unaccounted"], &json["notes"]), (&0.into(), &serde_json::json!([])));
    assert_eq!(json["measured"][0]["dropped"]["frames"], 1);
    // 84 octets of wire take 672 us.
    assert_eq!(wire_times(&dir.join("out/ids.pcap")), [10_000, 682_000, 5_000_000]);
    assert_eq!(wire_times(&dir.join("out/b.pcap")), [10_000, 20_000, 30_000, 5_000_000]);
    let ended = replay(&dir, "--read a=a.pcap --source b=cbr:100kbit:60@3ms-4ms --json");
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&json["ports"]["b"]["in"]["frames"], &json["monitors"]["ids"]["sent"]),
        (&1.into(), &4.into())
    );
    assert_eq!(json["inputs"].as_array().map(Vec::len), Some(2));
}

/// The times of a capture, nanoseconds.
fn wire_times(path: &Path) -> Vec<i128> {
    let capture = fs::read(path).unwrap();
    let (mut reader, mut input) = (wire::capture::Reader::new(), &capture[..]);
    let mut times = Vec::new();
    while let Some(packet) = reader.next(&mut input).unwrap() {
        times.push(packet.timestamp.unwrap().0);
    }
    times
}

#[test]
fn no_output_overwrites_what_is_read_or_the_config() {
    let dir = directory("replay-kept");
    fs::create_dir(dir.join("out")).unwrap();
    fs::write(dir.join("w.pcap"), pcap(&[(1, 1)])).unwrap();
    fs::hard_link(dir.join("w.pcap"), dir.join("out/ids.pcap")).unwrap();
    let ended = replay(&dir, "--read a=w.pcap --write-dir out");
    assert_eq!(ended.code, Some(1));
    let said = "out/ids.pcap: would be overwritten with the frames of port ids, and is read\n";
    assert!(ended.stderr.starts_with(said), "{}", ended.stderr);
    let config = fs::read(dir.join("tap.toml")).unwrap();
    let ended = replay(&dir, "--read a=w.pcap --write ids=tap.toml");
    assert_eq!(ended.code, Some(1));
    let said = "tap.toml: would be overwritten with the frames of port ids, and belongs to the config\n";
    assert!(ended.stderr.starts_with(said), "{}", ended.stderr);
    assert_eq!(fs::read(dir.join("tap.toml")).unwrap(), config);
    assert_eq!(fs::read(dir.join("w.pcap")).unwrap(), pcap(&[(1, 1)]));
}

#[test]
fn frames_beyond_the_end_of_time_are_not_lost() {
    let dir = directory("replay-time");
    let rated =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/simulate.toml"));
    fs::write(dir.join("tap.toml"), rated.unwrap()).unwrap();
    fs::write(dir.join("a.pcapng"), pcapng(&[(0, 1), (i128::from(u64::MAX / 1000), 2)])).unwrap();
    let capture = fs::read(dir.join("a.pcapng")).unwrap();
    // The last packet's time becomes 2^64 - 1, in the units of its interface.
    let data = [2; 60];
    let at = capture.windows(60).rposition(|octets| octets == data).unwrap();
    let mut far = capture;
    far[at - 16..at - 8].fill(0xff);
    fs::write(dir.join("a.pcapng"), far).unwrap();
    let ended = replay(&dir, "--read a=a.pcapng --json");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["inputs"][0]["packets"], 2);
    assert_eq!(json["monitors"]["ids"]["sent"], 2, "{}", ended.stdout);
}
