//! The command line from outside: help, exit codes, what goes to stdout and what to stderr. `TAPWRIGHT_BLESS=1`
//! writes the golden help texts. Commands that look at the machine run in a network namespace of their own.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "cli/bond.rs"]
mod bond;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/manual.rs"]
mod manual;
#[path = "cli/replay.rs"]
mod replay;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/simulate.rs"]
mod simulate;
#[path = "cli/steering.rs"]
mod steering;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corpus::Golden;

/// How a command ended.
#[derive(PartialEq, Eq, Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn ended(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_tapwright")
}

/// Runs tapwright in a directory, so that files have the names that golden texts use.
fn tapwright(dir: &Path, arguments: &[&str]) -> Ended {
    ended(Command::new(binary()).args(arguments).current_dir(dir))
}

/// Runs tapwright in a new network namespace, which has no interface but lo.
fn in_namespace(arguments: &[&str]) -> Ended {
    ended(Command::new("unshare").arg("--net").arg(binary()).args(arguments).current_dir(golden()))
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn help_is_as_reviewed() {
    let mut golden_texts = Golden::from_environment();
    let help = tapwright(&golden(), &["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    golden_texts.check(&golden().join("help.txt"), &help.stdout);
    let commands = commands(&help.stdout);
    assert!(commands.contains(&"check"), "{commands:?}");
    for command in commands {
        let help = tapwright(&golden(), &[command, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{command}");
        golden_texts.check(&golden().join(format!("help-{command}.txt")), &help.stdout);
    }
    golden_texts.finish();
}

/// The commands that the help lists.
fn commands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[test]
fn wrong_usage_is_trouble_and_says_so_on_stderr() {
    for arguments in [&["explode"][..], &["check"], &["up"], &["status", "--colour"], &["down", "now"]] {
        let wrong = tapwright(&golden(), arguments);
        assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(wrong.stderr.contains("Usage: tapwright"), "{arguments:?}: {}", wrong.stderr);
    }
}

#[test]
fn every_refused_text_of_the_corpus_exits_1_with_its_message() {
    let bad = corpus::root().join("bad");
    let mut count = 0;
    for path in corpus::bad_texts().unwrap() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let message = fs::read_to_string(path.with_extension("err")).unwrap();
        let expected = Ended { code: Some(1), stdout: String::new(), stderr: message };
        assert_eq!(tapwright(&bad, &["check", name]), expected, "{name}");
        count += 1;
    }
    assert!(count >= 40, "{count} texts");
}

#[test]
fn check_prints_the_plan_of_each_case_and_reads_it_back() {
    for case in corpus::cases().unwrap() {
        let plan = fs::read_to_string(case.dir.join("plan.txt")).unwrap();
        let of_config = tapwright(&case.dir, &["check", "config.toml"]);
        let expected = Ended { code: Some(0), stdout: plan.clone(), stderr: case.advice.clone() };
        assert_eq!(of_config, expected, "{}", case.name);
        let of_plan = tapwright(&case.dir, &["check", "plan.txt"]);
        assert_eq!((of_plan.code, of_plan.stdout), (Some(0), plan), "{}", case.name);
    }
}

#[test]
fn a_file_that_is_not_there_is_an_answer_of_no() {
    for command in ["check", "up"] {
        let missing = tapwright(&golden(), &[command, "no-such.toml"]);
        let said = "no-such.toml: cannot be read: No such file or directory (os error 2)\n\
                    help: name a config file that can be read\n";
        let expected = Ended { code: Some(1), stdout: String::new(), stderr: said.into() };
        assert_eq!(missing, expected, "{command}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // The listing is far more than a pipe holds, so that printing goes on after the reader has gone.
    let listing = tapwright(&golden(), &["check", "--listing", "many-links.toml"]);
    assert!(listing.stdout.len() > 1 << 17, "{} octets fit in a pipe", listing.stdout.len());
    let first = listing.stdout.lines().next().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" check --listing many-links.toml | head -n 1", binary()]).current_dir(golden());
    let expected = Ended { code: Some(0), stdout: format!("{first}\n"), stderr: listing.stderr };
    assert_eq!(ended(&mut shell), expected);
}

#[test]
fn where_nothing_is_up_status_and_down_say_no() {
    for command in ["status", "down"] {
        let said = "no tap is up in this network namespace\nhelp: `tapwright up FILE`\n";
        let expected = Ended { code: Some(1), stdout: String::new(), stderr: said.into() };
        assert_eq!(in_namespace(&[command]), expected, "{command}");
    }
}

#[test]
fn up_names_every_interface_that_is_missing_and_changes_nothing() {
    let said = "port a: there is no interface eth1\nhelp: this network namespace has no interface but lo\n\
                port b: there is no interface eth2\nhelp: this network namespace has no interface but lo\n\
                port ids: there is no interface eth3\nhelp: this network namespace has no interface but lo\n";
    let config = "aggregator.toml";
    let up = in_namespace(&["up", config]);
    let expected = format!("{said}nothing was changed\n");
    assert_eq!(up, Ended { code: Some(1), stdout: String::new(), stderr: expected });
    let check = in_namespace(&["check", "--here", config]);
    assert_eq!(check, Ended { code: Some(1), stdout: String::new(), stderr: said.into() });
}

#[test]
fn a_listing_names_the_line_that_each_block_comes_from() {
    let listing = tapwright(&golden(), &["check", "--listing", "aggregator.toml"]);
    assert_eq!((listing.code, listing.stderr.as_str()), (Some(0), ""));
    assert!(listing.stdout.contains("aggregator.toml:6"), "{}", listing.stdout);
    assert!(listing.stdout.contains("exit"), "{}", listing.stdout);
}
