//! Fuzzing with libFuzzer: random bytes, led by which branches they reach.
//!
//! The targets of `fuzz/` are built by cargo alone, with the compiler that builds everything else: LLVM's
//! coverage pass is reached by stable options. There is no address sanitizer, which is what needs a nightly
//! compiler, because no parser contains unsafe code. `cargo fuzz` works on the same targets.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;

use crate::steps::{Outcome, Steps, cargo, command, root, run as run_command, say, target};

/// Every target, and the directories below the project whose files it begins with.
const TARGETS: &[(&str, &[&str])] = &[
    ("config", &["fuzz/seeds/config", "corpus"]),
    ("plan_text", &["fuzz/seeds/plan_text", "corpus"]),
    ("pcap", &["fuzz/seeds/pcap"]),
    ("pcapng", &["fuzz/seeds/pcapng"]),
    ("bond", &["fuzz/seeds/bond"]),
    ("frame", &["fuzz/seeds/frame"]),
    ("expr", &["fuzz/seeds/expr"]),
    ("pf", &["corpus/pf"]),
    ("causal", &["fuzz/seeds/causal"]),
];

/// What libFuzzer needs of a target: a counter at each edge, the table of edges, and the operands of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Inputs that a target must manage at the very least: below that it is stuck, not slow.
const RUNS_MIN: u64 = 1000;

/// Builds the targets and runs each for `seconds`.
pub fn run(steps: &mut Steps, seconds: u32) {
    if !steps.step("fuzz: build", build) {
        return; // What lies in the target directory is of another day.
    }
    for (name, seeds) in TARGETS {
        steps.step(&format!("fuzz: {name}"), || smoke(name, seeds, seconds));
    }
}

fn build() -> Outcome {
    let mut build = cargo(&["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    // With a target named, the options do not reach build scripts.
    build.args(["--target", &triple()]).env("RUSTFLAGS", COVERAGE);
    build.env("CARGO_TARGET_DIR", target().join("fuzz"));
    run_command(&mut build)
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn smoke(name: &str, seeds: &[&str], seconds: u32) -> Outcome {
    let (found, crashes) = (fresh("found", name)?, target().join("fuzz/crashes").join(name));
    std::fs::create_dir_all(&crashes).map_err(|error| format!("{}: {error}", crashes.display()))?;
    let artifacts = format!("-artifact_prefix={}/", crashes.display());
    let nothing = libfuzzer(name, &["-runs=0", &artifacts], &[fresh("nothing", name)?])?;
    let dirs: Vec<PathBuf> = std::iter::once(found).chain(seeds.iter().map(|dir| root().join(dir))).collect();
    let seconds = format!("-max_total_time={seconds}");
    let all = libfuzzer(name, &["-max_len=8192", &seconds, &artifacts], &dirs)?;
    let Report { runs, edges } = all;
    if runs < RUNS_MIN || edges <= nothing.edges {
        return Err(format!("does not explore: {runs} inputs, {edges} edges, {} by no input", nothing.edges));
    }
    Ok(format!("{runs} inputs reach {edges} edges, no input {}", nothing.edges))
}

/// An empty directory below the target directory.
fn fresh(kind: &str, name: &str) -> Result<PathBuf, String> {
    let dir = target().join("fuzz").join(kind).join(name);
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(format!("{}: {error}", dir.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(dir)
}

/// Runs a target. One input may take 5 s and 2 GiB, far more than any needs.
fn libfuzzer(name: &str, options: &[&str], dirs: &[PathBuf]) -> Result<Report, String> {
    let mut fuzz = command(target().join("fuzz").join(triple()).join("release").join(name));
    fuzz.args(["-timeout=5", "-rss_limit_mb=2048", "-print_final_stats=1"]).args(options).args(dirs);
    let output =
        fuzz.stdout(Stdio::null()).output().map_err(|error| format!("cannot start {name}: {error}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        say(&log);
        return Err(format!("{}; libFuzzer names the file of the input above", output.status));
    }
    report(&log).ok_or_else(|| format!("no statistics in what {name} printed:\n{log}"))
}

/// What a run amounted to.
#[derive(PartialEq, Eq, Debug)]
struct Report {
    /// Inputs tried.
    runs: u64,
    /// Edges reached in all.
    edges: u64,
}

/// Reads libFuzzer's own account: lines as `#123 NEW    cov: 45 ft: 67 ...`, and the statistics at the end.
fn report(log: &str) -> Option<Report> {
    let cov = |line: &str| line.split_once(" cov: ")?.1.split_whitespace().next()?.parse().ok();
    let runs = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    Some(Report { runs: runs.trim().parse().ok()?, edges: log.lines().filter_map(cov).max()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_of_libfuzzer_is_read() {
        let log = "#2\tINITED cov: 12 ft: 13 corp: 1/1b\n#9\tNEW    cov: 40 ft: 50\n#99\tDONE   cov: 40 ft: 9\n\
                   stat::number_of_executed_units: 99\nstat::average_exec_per_sec:     11\n";
        assert_eq!(report(log), Some(Report { runs: 99, edges: 40 }));
        assert_eq!(report("#2\tINITED cov: 12 ft: 13"), None);
    }
}
