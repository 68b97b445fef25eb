//! Runs the benchmarks: taps and their peers side by side, rules, `up` with many links and many rules, and captures
//! bonded beside mergecap, tcpslice and dd.

use crate::machine;
use crate::steps::{Outcome, Steps, cargo, command, run as run_command, target};

/// The peers, and what sets them up.
const PROGRAMS: &[(&str, &str)] = &[
    ("daemonlogger", "daemonlogger"),
    ("ip", "iproute2"),
    ("mergecap", "wireshark-common"),
    ("nft", "nftables"),
    ("tc", "iproute2"),
    ("tcpbridge", "tcpreplay"),
    ("tcpslice", "tcpslice"),
];

/// Installs the peers, builds the release, and measures. The arguments are those of the program `bench`; behind the word
/// `simulate` they are those of virtual time, which has no peers and needs no machine of its own.
pub fn run(steps: &mut Steps, arguments: &[&str]) {
    if let ["simulate", arguments @ ..] = arguments {
        steps.step("simulate", || simulate(arguments));
        return;
    }
    steps.step("Debian packages", || machine::packages(PROGRAMS));
    steps.step("bench", || bench(arguments));
    // Arguments choose among what the program measures.
    if arguments.is_empty() {
        steps.step("bond", bond);
    }
}

fn bench(arguments: &[&str]) -> Outcome {
    run_command(&mut cargo(&["build", "--release", "--locked", "--package=tapwright", "--package=bench"]))?;
    run_command(command(target().join("release/bench")).args(arguments))
}

fn simulate(arguments: &[&str]) -> Outcome {
    let bench = ["bench", "--locked", "--package=offline", "--bench=simulate", "--"];
    run_command(cargo(&bench).args(arguments))
}

fn bond() -> Outcome {
    run_command(&mut cargo(&["bench", "--locked", "--package=offline", "--bench=bond"]))
}
