//! `tapwright check --read` from outside: buffers against captures; and what hubs cost beside taps.

use std::fs;
use std::path::{Path, PathBuf};

use wire::capture::{PcapWriter, Timestamp};
use wire::{Frame, LinkType};

use super::{golden, tapwright};

/// An empty directory of a test's own.
fn directory(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => fs::create_dir_all(&dir).unwrap(),
    }
    dir
}

/// A burst: so many frames of 1500 octets, a microsecond apart.
fn burst(frames: i128) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut out);
    for us in 0..frames {
        writer.packet(Timestamp(us * 1000), &Frame::ethernet(&[0; 1500]).unwrap(), &mut out).unwrap();
    }
    out
}

fn config(rate: &str, buffer: &str) -> String {
    format!(
        "[ports]\na = \"eth1\"\nb = \"eth2\"\nids = {{ interface = \"eth3\", rate = \"{rate}\", buffer = \"{buffer}\" }}\n\
         [[device]]\nname = \"t\"\nkind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"ids\"]\n"
    )
}

/// What stands between two phrases.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text}"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after:?} in {rest}")).0
}

#[test]
fn a_buffer_too_small_for_a_capture_is_told_with_cures_that_hold() {
    let dir = directory("check-read");
    fs::write(dir.join("burst.pcap"), burst(100)).unwrap();
    let check = |rate: &str, buffer: &str| {
        fs::write(dir.join("tap.toml"), config(rate, buffer)).unwrap();
        let ended = tapwright(&dir, &["check", "tap.toml", "--read", "a=burst.pcap"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.starts_with("plan 1\n"), "{ended:?}");
        ended.stderr
    };
    let said = check("1Mbit", "30kB");
    let what =
        "advice: the buffer of `ids`, 30kB a side at 1Mbit, is too small for what the captures bring: ";
    assert!(said.starts_with(what), "{said}");
    // One is on the line, and 20 wait in 30 kB; while the burst comes no other leaves.
    assert!(said.contains("79 of 100 frames would be lost (79 of `a`)"), "{said}");
    assert_eq!(check(between(&said, "rate = \"", "\""), "30kB"), "");
    assert_eq!(check("1Mbit", between(&said, "; buffer = \"", "\"")), "");
    assert_eq!(check("1Gbit", "1MiB"), "");
}

#[test]
fn captures_that_say_nothing_are_refused_all_at_once() {
    let dir = directory("check-read-refused");
    fs::write(dir.join("tap.toml"), fs::read(golden().join("aggregator.toml")).unwrap()).unwrap();
    let ended = tapwright(&dir, &["check", "tap.toml", "--read", "q=x.pcap", "--read", "x"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("--read `q=x.pcap`: `q` is no port\n"), "{ended:?}");
    assert!(ended.stderr.contains("--read `x`: no port and file\n"), "{ended:?}");
    fs::write(dir.join("rated.toml"), config("1Mbit", "30kB")).unwrap();
    let ended = tapwright(&dir, &["check", "rated.toml", "--read", "a=missing.pcap"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("missing.pcap"), "{ended:?}");
}

/// Two busy sides, 60 Mbit/s each: through a hub, from the outputs of a tap into a hub, and through a regeneration tap.
#[test]
fn a_hub_loses_what_a_regeneration_tap_does_not() {
    let dir = directory("hub-or-tap");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for name in ["hub.toml", "regeneration.toml"] {
        fs::copy(examples.join(name), dir.join(name)).unwrap();
    }
    let hub = fs::read_to_string(dir.join("hub.toml")).unwrap();
    fs::write(dir.join("taps.toml"), hub.replace("# taps = ", "taps = ")).unwrap();
    let simulate = |file: &str| {
        let sources = ["--source", "a=poisson:60Mbit:mix", "--source", "b=poisson:60Mbit:mix"];
        let all = [&["simulate", file, "--duration", "2s", "--seed", "7", "--json"][..], &sources].concat();
        let ended = tapwright(&dir, &all);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{file}");
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(report["unaccounted"], 0, "{file}");
        report
    };
    // Of each wire: offered, delivered.
    let wire = |report: &serde_json::Value| {
        let ports = report["hubs"][0]["ports"].as_array().unwrap().iter();
        let sum = |what: &str| ports.clone().map(|port| port[what].as_u64().unwrap()).sum::<u64>();
        (sum("offered"), sum("delivered"), sum("lost_of_tap"))
    };
    let (offered, delivered, of_tap) = wire(&simulate("hub.toml"));
    // 120 Mbit/s do not fit a wire of 100, of which hardly anything is wasted.
    assert!(
        of_tap == 0 && delivered * 100 < offered * 86 && delivered * 100 > offered * 80,
        "{delivered} of {offered}"
    );
    let (same, delivered, of_tap) = wire(&simulate("taps.toml"));
    assert_eq!(same, offered);
    assert!(delivered + of_tap == offered && delivered * 3 < offered, "{delivered} of {offered}");
    let report = simulate("regeneration.toml");
    let monitors = report["monitors"].as_object().unwrap();
    let sent = monitors.values().map(|monitor| monitor["sent"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sent, offered * u64::try_from(monitors.len() / 2).unwrap(), "each pair has all of it");
}
