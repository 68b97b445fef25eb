//! Rules from outside: what `explain` says of frames, and what `check` prints of rule files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use corpus::{Case, Golden};
use wire::capture::{PcapWriter, Timestamp};
use wire::{Frame, LinkType};

use super::{Ended, golden, tapwright};

fn case(name: &str) -> Case {
    let found = corpus::cases().unwrap().into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("no case {name}"))
}

/// The frames of a case that cross one place, as a capture.
fn capture(case: &Case, source: &str) -> PathBuf {
    let at = case.plan.point(source).unwrap();
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut out);
    for input in case.frames.iter().filter(|input| input.at == at) {
        let time = Timestamp(i128::from(input.time.0));
        writer.packet(time, &Frame::ethernet(&input.data).unwrap(), &mut out).unwrap();
    }
    // Tests run side by side, and none may read what another is writing.
    static CAPTURES: AtomicUsize = AtomicUsize::new(0);
    let number = CAPTURES.fetch_add(1, Ordering::Relaxed);
    let file = format!("explain-{}-{}-{number}.pcap", case.name, source.replace(':', "-"));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    fs::write(&path, out).unwrap();
    path
}

fn explain(case: &Case, source: &str, more: &[&str]) -> Ended {
    let capture = capture(case, source);
    let mut words = vec!["explain", "config.toml", "--port", source, "--read", capture.to_str().unwrap()];
    words.extend(more);
    tapwright(&case.dir, &words)
}

#[test]
fn a_page_for_each_frame_and_a_table() {
    let mut golden_texts = Golden::from_environment();
    for (name, source) in [
        ("038-pf-block-on-a-link", "sf0"),
        ("039-pf-tags", "sf0"),
        ("043-pf-pool-round-robin", "sf0"),
        ("047-pf-on-spans", "x"),
        ("049-pf-on-watched-interfaces", "veth7:rx"),
        ("050-expressions", "a"),
        ("058-balance-inner", "a"),
        ("060-distributor-vlans", "a"),
    ] {
        let ended = explain(&case(name), source, &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
        golden_texts.check(&golden().join(format!("explain-{name}.txt")), &ended.stdout);
    }
    golden_texts.finish();
}

#[test]
fn one_frame_has_its_turn_as_in_a_replay() {
    let mut golden_texts = Golden::from_environment();
    let case = case("043-pf-pool-round-robin");
    let page = explain(&case, "sf0", &["--frame", "3"]);
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    golden_texts.check(&golden().join("explain-frame.txt"), &page.stdout);
    let all = explain(&case, "sf0", &[]).stdout;
    assert!(all.contains(&page.stdout), "{all}");
    let json = explain(&case, "sf0", &["--frame", "3", "--json"]);
    assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""));
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value["frames"][0]["frame"], 3);
    assert_eq!(value["frames"][0]["copies"][0]["to"], "m3");
    golden_texts.check(&golden().join("explain-frame.json"), &json.stdout);
    golden_texts.finish();
    let many: serde_json::Value = serde_json::from_str(&explain(&case, "sf0", &["--json"]).stdout).unwrap();
    assert_eq!(many["frames"].as_array().map(Vec::len), Some(7));
    assert_eq!(many["rules"][0]["decided"], 7);
}

/// The frames before the one that is asked for are judged only, and what they leave behind must be the same.
#[test]
fn the_last_frame_alone_is_explained_as_among_all() {
    for (name, source) in [
        ("043-pf-pool-round-robin", "sf0"),
        ("045-pf-chance", "sf0"),
        ("054-balance-by-flow-fragments", "a"),
        ("056-balance-in-turn", "a"),
    ] {
        let case = case(name);
        let all = explain(&case, source, &[]).stdout;
        let starts: Vec<usize> = all.match_indices("frame ").map(|(at, _)| at).collect();
        let starts = starts.iter().filter(|at| **at == 0 || all.as_bytes()[**at - 1] == b'\n');
        let count = starts.count();
        assert!(count >= 3, "{name}: {all}");
        let last = explain(&case, source, &["--frame", &count.to_string()]);
        assert_eq!((last.code, last.stderr.as_str()), (Some(0), ""), "{name}");
        assert!(
            last.stdout.contains("copy to ") && all.contains(&last.stdout),
            "{name}: {}{all}",
            last.stdout
        );
    }
}

#[test]
fn what_cannot_be_explained_is_an_answer_of_no() {
    let case = case("038-pf-block-on-a-link");
    let capture = capture(&case, "sf1");
    let capture = capture.to_str().unwrap();
    let run = |port: &str, read: &str, more: &[&str]| {
        let mut words = vec!["explain", "config.toml", "--port", port, "--read", read];
        words.extend(more);
        let ended = tapwright(&case.dir, &words);
        (ended.code, ended.stderr)
    };
    let refused = |what: &str| (Some(1), what.to_owned());
    assert_eq!(run("sf", capture, &[]), refused("--port sf: `sf` is no port\nhelp: did you mean `sf0`?\n"));
    assert_eq!(
        run("rest", capture, &[]),
        refused("--port rest: no frames are judged there\nhelp: frames enter at sf0 and sf1\n")
    );
    let none = "no-such.pcap: cannot be opened: No such file or directory (os error 2)\n\
                help: name a capture that can be read\n";
    assert_eq!(run("sf0", "no-such.pcap", &[]), refused(none));
    let few = format!("{capture} has no frame 9\nhelp: it has 3, counted from 1\n");
    assert_eq!(run("sf1", capture, &["--frame", "9"]), refused(&few));
    assert_eq!(run("sf1", capture, &["--frame", "0"]).0, Some(2));
    let broken = Path::new(env!("CARGO_TARGET_TMPDIR")).join("explain-cut.pcap");
    let octets = fs::read(capture).unwrap();
    fs::write(&broken, &octets[..octets.len() - 1]).unwrap();
    let (code, stderr) = run("sf1", broken.to_str().unwrap(), &[]);
    assert!(code == Some(1) && stderr.ends_with("help: the frames before are explained\n"), "{stderr}");
}

#[test]
fn rules_are_printed_as_they_are_meant_and_read_back() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check-rules");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let files = |case: &&Case| {
        let names = super::entries(&case.dir).into_iter();
        names.filter(|path| path.extension().is_some_and(|end| end == "conf")).count()
    };
    for case in corpus::cases().unwrap().iter().filter(|case| files(case) == 1) {
        let first = tapwright(&case.dir, &["check", "--rules", "config.toml"]);
        assert_eq!(first.code, Some(0), "{}", case.name);
        fs::write(dir.join("config.toml"), &case.config).unwrap();
        fs::write(dir.join("pf.conf"), &first.stdout).unwrap();
        let again = tapwright(&dir, &["check", "--rules", "config.toml"]);
        assert_eq!((again.code, &again.stdout), (Some(0), &first.stdout), "{}", case.name);
    }
    let none = tapwright(&golden(), &["check", "--rules", "aggregator.toml"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    assert_eq!(none.stderr, "no device names a file of pf rules\n");
}

/// A config in a new folder, whose distributor reads its rules from `pf.conf` there.
fn distributor(folder: &str, more: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let ports = "[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\n";
    let device = "[[device]]\nname = 'd'\nkind = 'distributor'\nlink = ['a', 'b']\n";
    fs::write(dir.join("config.toml"), format!("{ports}{device}{more}")).unwrap();
    dir
}

#[test]
fn rules_and_tables_are_read_from_regular_files_only() {
    let check = |dir: &Path| {
        let ended = tapwright(dir, &["check", "config.toml"]);
        (ended.code, ended.stdout, ended.stderr)
    };
    let refused = |rules: &str, why: &str| {
        let dir = distributor("irregular", &format!("rules = '{rules}'\n"));
        let fifo = std::process::Command::new("mkfifo").arg(dir.join("fifo")).status().unwrap();
        assert!(fifo.success(), "mkfifo: {fifo}");
        fs::File::create(dir.join("long")).unwrap().set_len((16 << 20) + 1).unwrap();
        let said = format!(
            "config.toml:9:9: `{rules}` cannot be read: {why}\n\
             help: name a file of pf rules; its place is relative to this config\n"
        );
        assert_eq!(check(&dir), (Some(1), String::new(), said));
    };
    refused("fifo", "it is a FIFO, and no regular file");
    refused(".", "it is a directory, and no regular file");
    refused("/dev/zero", "it is a device, and no regular file");
    refused("long", "larger than 16777216 bytes");
    let dir = distributor("irregular-table", "rules = 'pf.conf'\n");
    fs::write(dir.join("pf.conf"), "table <t> file \"/dev/zero\"\npass in from <t> dup-to m\n").unwrap();
    let (code, stdout, stderr) = check(&dir);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("/dev/zero` cannot be read: it is a device, and no regular file\n"), "{stderr}");
}

#[test]
fn listings_are_for_the_view_that_is_asked_for() {
    let case = case("035-distributor-pf-dup-to");
    let listing = |view: &str| tapwright(&case.dir, &["check", "--listing", "--view", view, "config.toml"]);
    let (xdp, tc) = (listing("xdp"), listing("tc"));
    assert_eq!((xdp.code, tc.code), (Some(0), Some(0)), "{}{}", xdp.stderr, tc.stderr);
    assert!(xdp.stdout.contains("tw_in_0: xdp,") && tc.stdout.contains("tw_in_0: tc,"));
}

/// Each test looks at other octets, so that nothing is shared and every one is a decision of its own.
fn copies(count: usize) -> String {
    let copy = |n: usize| {
        let test = format!("ether[{}:4] & {} + {n} = ether[{}:4]", n % 90, n + 7, n % 80);
        format!("[[device.copy]]\nmatch = '{test}'\nto = ['m']\n")
    };
    (0..count).map(copy).collect()
}

#[test]
fn what_would_not_load_is_a_problem_of_check() {
    let check = |folder: &str, more: &str, ports: &str| {
        let dir = distributor(folder, more);
        let config = fs::read_to_string(dir.join("config.toml")).unwrap();
        fs::write(dir.join("config.toml"), config.replace("[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\n", ports))
            .unwrap();
        let mut ended = tapwright(&dir, &["check", "config.toml"]);
        ended.stdout.truncate(6);
        (ended.code, ended.stdout, ended.stderr)
    };
    let (plain, refused) = ("[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\n", (Some(1), String::new()));
    let (code, stdout, stderr) = check("many-copies", &copies(4000), plain);
    assert_eq!((code, stdout), refused);
    // Behind the advice; how many they are is the emitter's affair.
    let (_, stderr) = stderr.rsplit_once("different monitors\n").unwrap();
    let (_, many) = stderr.split_once(|c: char| c.is_ascii_digit()).unwrap();
    let many = many.trim_start_matches(|c: char| c.is_ascii_digit());
    let said = " decisions one after the other, the kernel takes 8192\nhelp: use fewer or simpler rules\n";
    assert!(stderr.starts_with("a: ") && many == said, "{stderr}");

    let one = "[[device.copy]]\nmatch = 'tcp'\nto = ['m']\n";
    let ports = |attach: &str| {
        let a = format!("a = {{ interface = 'e1', attach = '{attach}' }}\n");
        format!("[ports]\n{a}b = 'e2'\nm = {{ interface = 'e3', rate = '1Gbit' }}\n")
    };
    let (code, stdout, stderr) = check("xdp-copies", one, &ports("xdp"));
    assert_eq!((code, stdout), refused);
    let said = "port a: e1 cannot be attached with xdp: a: in XDP, rules that look beyond the VLAN cannot copy to a \
                port with a rate\n\
                help: use attach = \"auto\" or \"tcx\", or fewer and simpler rules\n";
    assert!(stderr.ends_with(said), "{stderr}");
    assert_eq!(check("any-copies", one, &ports("auto")), (Some(0), "plan 1".to_owned(), String::new()));
}

#[test]
fn check_lists_the_programs_of_classic_filters_or_says_what_they_cannot() {
    let case = case("026-watch-tx-by-vlan");
    let listing = tapwright(&case.dir, &["check", "--listing", "--view", "classic", "config.toml"]);
    let expected = fs::read_to_string(case.dir.join("listing-classic.txt")).unwrap();
    assert_eq!((listing.code, listing.stdout), (Some(0), expected));
    let refused = self::case("045-pf-chance");
    let ended = tapwright(&refused.dir, &["check", "--listing", "--view", "classic", "config.toml"]);
    let why = |source: &str| {
        format!(
            "pf.conf:2:1: pf.conf:2, frames of {source}: classic BPF has no chance that the other backends could \
             repeat\n"
        )
    };
    let said = ended.stderr.lines().filter(|line| line.starts_with("pf.conf")).collect::<Vec<_>>().join("\n");
    assert_eq!((ended.code, said + "\n"), (Some(1), why("sf0") + &why("sf1")), "{}", ended.stderr);
}
