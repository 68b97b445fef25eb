//! `tapwright bond` from outside: captures in, one out, what is said of it, what is refused.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corpus::Golden;
use wire::capture::{PcapWriter, Timestamp};
use wire::{Frame, LinkType};

use super::{Ended, binary, ended, golden, tapwright};

/// An empty directory of a test's own, with two halves: client.pcap and server.pcap.
fn directory(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => fs::create_dir_all(&dir).unwrap(),
    }
    fs::write(dir.join("client.pcap"), pcap(&[(10, 1), (20, 2), (40, 4)])).unwrap();
    fs::write(dir.join("server.pcap"), pcap(&[(20, 3), (15, 5), (50, 6)])).unwrap();
    dir
}

/// A pcap of frames of 60 octets: microsecond and what they are filled with.
fn pcap(packets: &[(i128, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut out);
    for (us, fill) in packets {
        writer.packet(Timestamp(us * 1000), &Frame::ethernet(&[*fill; 60]).unwrap(), &mut out).unwrap();
    }
    out
}

fn merged() -> Vec<u8> {
    pcap(&[(10, 1), (15, 5), (20, 2), (20, 3), (40, 4), (50, 6)])
}

fn bond(dir: &Path, arguments: &str) -> Ended {
    let words: Vec<&str> = std::iter::once("bond").chain(arguments.split_whitespace()).collect();
    tapwright(dir, &words)
}

#[test]
fn two_halves_become_one_capture_in_order() {
    let dir = directory("bond-two");
    let ended = bond(&dir, "client.pcap server.pcap -w both.pcap");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let mut golden_texts = Golden::from_environment();
    golden_texts.check(&golden().join("bond.txt"), &ended.stdout);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bond-files.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(&ended.stdout), "docs/bond-files.md shows this:\n{}", ended.stdout);
    assert_eq!(fs::read(dir.join("both.pcap")).unwrap(), merged());
    let stats = bond(&dir, "client.pcap server.pcap -w both.pcap --stats");
    golden_texts.check(&golden().join("bond-stats.txt"), &stats.stdout);
    let json = bond(&dir, "client.pcap server.pcap -w both.pcap --stats --json");
    assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""));
    golden_texts.check(&golden().join("bond.json"), &json.stdout);
    golden_texts.finish();
    let quiet = bond(&dir, "client.pcap server.pcap -w both.pcap --quiet");
    assert_eq!(quiet, Ended { code: Some(0), stdout: String::new(), stderr: String::new() });
}

#[test]
fn a_window_of_nothing_leaves_each_capture_as_it_is() {
    let dir = directory("bond-window");
    let ended = bond(&dir, "client.pcap server.pcap -w both.pcap --window 0");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let note = "note: 1 frame lies before others of its own capture in time, and keeps its place\n";
    assert!(ended.stdout.contains("ordered no\n") && ended.stdout.ends_with(note), "{}", ended.stdout);
    let expected = pcap(&[(10, 1), (20, 2), (20, 3), (15, 5), (40, 4), (50, 6)]);
    assert_eq!(fs::read(dir.join("both.pcap")).unwrap(), expected);
}

#[test]
fn packed_captures_pipes_and_fifos_are_captures_too() {
    let dir = directory("bond-packed");
    let script = "gzip -k client.pcap && zstd -q server.pcap && mkfifo fifo && (cat server.pcap > fifo &) && \
                  \"$0\" bond client.pcap.gz server.pcap.zst -w packed.pcap --quiet && \
                  \"$0\" bond client.pcap fifo -w fifo.pcap --quiet && \
                  cat client.pcap | \"$0\" bond - server.pcap -w - --quiet | cat > piped.pcap";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, binary()]).current_dir(&dir);
    assert_eq!(ended(&mut shell), Ended { code: Some(0), stdout: String::new(), stderr: String::new() });
    for file in ["packed.pcap", "fifo.pcap", "piped.pcap"] {
        assert_eq!(fs::read(dir.join(file)).unwrap(), merged(), "{file}");
    }
}

#[test]
fn from_standard_input_to_standard_output_with_the_summary_on_stderr() {
    let dir = directory("bond-stdin");
    for target in ["-", "/dev/stdout"] {
        let mut command = Command::new(binary());
        command.args(["bond", "client.pcap", "-", "-w", target]).current_dir(&dir);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&fs::read(dir.join("server.pcap")).unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(0), merged()), "{target}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("CAPTURE ") && said.contains("\nstandard input "), "{said}");
    }
}

#[test]
fn a_reader_that_hangs_up_is_no_error() {
    let dir = directory("bond-hang-up");
    let packets: Vec<(i128, u8)> = (0..200_000).map(|us| (us, 7)).collect();
    fs::write(dir.join("long.pcap"), pcap(&packets)).unwrap();
    let script = "{ \"$0\" bond long.pcap client.pcap -w - ; echo $? > code ; } | head -c 100 | wc -c";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, binary()]).current_dir(&dir);
    let ended = ended(&mut shell);
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "100"));
    assert!(ended.stderr.contains("its reader hung up, and nothing more was read"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(dir.join("code")).unwrap(), "0\n");
}

#[test]
fn every_mistake_in_the_arguments_is_named_at_once_and_nothing_is_written() {
    let dir = directory("bond-mistakes");
    fs::hard_link(dir.join("client.pcap"), dir.join("link.pcap")).unwrap();
    let ended = bond(
        &dir,
        "client.pcap none . - - -w link.pcap --window soon --offset 9=1ms --offset none=x --causal",
    );
    let said = "--window `soon`: no time\n\
                help: write a time as 10ms or 1s, or 0 to leave frames where they are\n\
                --offset `9=1ms`: there is no such capture\n\
                help: name one of the captures, or its number from 1 to 5\n\
                --offset `none=x`: no time\n\
                help: write CAPTURE=TIME, as 2=+40ms or b.pcap=-1s\n\
                none: cannot be opened: No such file or directory (os error 2)\n\
                help: name a pcap or pcapng file that can be read, packed with gzip or zstd or not, or `-`\n\
                .: cannot be opened: is a directory\n\
                help: name a pcap or pcapng file that can be read, packed with gzip or zstd or not, or `-`\n\
                standard input is read more than once\n\
                help: only one capture can come from it: write the others to files\n\
                link.pcap: would be overwritten, and is read\n\
                help: write to another file\n\
                standard input: cannot be read twice, which causal order takes\n\
                help: write it to a file first, or give the offset (--offset)\n\
                standard input: cannot be read twice, which causal order takes\n\
                help: write it to a file first, or give the offset (--offset)\n";
    assert_eq!(ended, Ended { code: Some(1), stdout: String::new(), stderr: said.into() });
    assert_eq!(fs::read(dir.join("client.pcap")).unwrap(), pcap(&[(10, 1), (20, 2), (40, 4)]));
}

#[test]
fn a_cut_capture_is_bonded_as_far_as_it_goes_and_an_output_that_is_full_is_trouble() {
    let dir = directory("bond-cut");
    let whole = fs::read(dir.join("client.pcap")).unwrap();
    fs::write(dir.join("cut.pcap"), &whole[..whole.len() - 5]).unwrap();
    let ended = bond(&dir, "cut.pcap server.pcap -w both.pcap --quiet");
    let said = "cut.pcap: 2 packets (120 bytes) read, then at offset 176: truncated inside a packet record: \
                76 bytes needed, 71 present\nhelp: what could be read of it was bonded\n";
    assert_eq!(ended, Ended { code: Some(1), stdout: String::new(), stderr: said.into() });
    let expected = pcap(&[(10, 1), (15, 5), (20, 2), (20, 3), (50, 6)]);
    assert_eq!(fs::read(dir.join("both.pcap")).unwrap(), expected);
    let full = bond(&dir, "client.pcap server.pcap -w /dev/full --quiet");
    let said = "/dev/full: cannot be written: No space left on device (os error 28)\n";
    assert_eq!(full, Ended { code: Some(2), stdout: String::new(), stderr: said.into() });
}

#[test]
fn an_offset_moves_a_half_by_number_or_name() {
    let dir = directory("bond-offset");
    for which in ["2", "server.pcap"] {
        let ended =
            bond(&dir, &format!("client.pcap server.pcap -w both.pcap --quiet --offset {which}=-15us"));
        assert_eq!(ended, Ended { code: Some(0), stdout: String::new(), stderr: String::new() });
        let expected = pcap(&[(0, 5), (5, 3), (10, 1), (20, 2), (35, 6), (40, 4)]);
        assert_eq!(fs::read(dir.join("both.pcap")).unwrap(), expected, "{which}");
    }
}
