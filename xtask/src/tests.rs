//! Format, lints, docs, dependencies and tests.

use crate::machine::is_program;
use crate::steps::{Outcome, Steps, cargo, command, run as run_command, target};

/// Crates whose tests measure, or send as fast as they can: nothing else may run then. `.config/nextest.toml`
/// says the same to nextest.
const ALONE: &[&str] = &["bench", "lab", "proof"];

/// Tests at once, of the others: they wait for the kernel more than they work.
const THREADS: &str = "--test-threads=6";

/// Tells the corpus tests to write what they would compare.
const BLESS: &str = "TAPWRIGHT_BLESS";

pub fn format() -> Outcome {
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    run_command(&mut cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

pub fn lints() -> Outcome {
    run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

pub fn docs() -> Outcome {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Bans, licences and sources, of the project and of the fuzz targets.
pub fn dependencies() -> Outcome {
    let deny = if is_program("cargo-deny") { "cargo-deny".into() } else { install_deny()? };
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut check = command(&deny);
        check.args(["--manifest-path", manifest, "--config", "deny.toml", "check"]);
        // What only the other of the two manifests needs is not encountered in this one.
        check.args(["--allow", "license-exception-not-encountered", "--allow", "license-not-encountered"]);
        check.args(["bans", "licenses", "sources"]);
        run_command(&mut check)?;
    }
    Ok(String::new())
}

/// Builds cargo-deny below the target directory, without optimisation: it runs for a second, and a release
/// build takes minutes.
fn install_deny() -> Result<std::path::PathBuf, String> {
    let tools = target().join("tools");
    let deny = tools.join("bin/cargo-deny");
    if !deny.is_file() {
        let mut install = cargo(&["install", "--locked", "--quiet", "cargo-deny", "--root"]);
        install.arg(&tools).env("CARGO_TARGET_DIR", tools.join("build"));
        install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256");
        run_command(&mut install)?;
    }
    Ok(deny)
}

/// All tests.
pub fn run(steps: &mut Steps) {
    if is_program("cargo-nextest") {
        steps.step("tests", || {
            run_command(&mut cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]))
        });
    } else {
        let test = ["test", "--all-targets", "--locked", "--no-fail-fast"];
        steps.step("tests", || {
            let mut test = cargo(&test);
            test.arg("--workspace").args(ALONE.iter().flat_map(|name| ["--exclude", name]));
            run_command(test.args(["--", THREADS]))
        });
        steps.step("tests that run alone", || {
            let mut test = cargo(&test);
            test.args(ALONE.iter().flat_map(|name| ["--package", name]));
            run_command(test.args(["--", "--test-threads=1"]))
        });
    }
    steps.step("tests in docs", || run_command(&mut cargo(&["test", "--workspace", "--doc", "--locked"])));
}

/// Rewrites the golden files: plans and outcomes, listings, help texts.
pub fn bless() -> Outcome {
    run_command(cargo(&["test", "--package", "corpus", "--locked"]).env(BLESS, "1"))?;
    run_command(cargo(&["test", "--package", "rules", "--test", "pf", "--locked"]).env(BLESS, "1"))?;
    run_command(cargo(&["test", "--package", "rules", "--test", "expr", "--locked"]).env(BLESS, "1"))?;
    run_command(cargo(&["test", "--package", "bpf", "--test", "listing", "--locked"]).env(BLESS, "1"))?;
    // As root: what classic filters refuse is asked of the engine, in a namespace.
    run_command(cargo(&["test", "--package", "proof", "--test", "backends", "--locked"]).env(BLESS, "1"))?;
    run_command(cargo(&["test", "--package", "offline", "--lib", "--locked", "golden"]).env(BLESS, "1"))?;
    run_command(cargo(&["test", "--package", "tapwright", "--test", "cli", "--locked"]).env(BLESS, "1"))
}
