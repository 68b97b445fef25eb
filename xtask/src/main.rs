//! What developers and CI run: `cargo xtask test` and its parts.
//!
//! Every check is a step with a heading, its own output and a result. A step that fails does not keep the
//! others from running, and nothing is ever tried again. Besides Debian packages that are missing, nothing
//! outside the target directory is changed.

mod bench;
mod bond;
mod captures;
mod causal;
mod distributor;
mod expressions;
mod fuzz;
mod lab;
mod machine;
mod steps;
mod tests;

use std::process::ExitCode;

use steps::{Outcome, Steps};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test             everything that must hold: format, lints, licences, tests, fuzzing, the lab (root on Debian)
  fuzz [SECONDS]   throws bytes at every parser, for so long each (8)
  lab              every scenario of the lab, with the release build (root)
  bench [ARGS]     taps and rules beside their peers, `up` with many of either (root on Debian, a quiet machine)
  bless            rewrites the golden files (corpus, listings, help); review them as code
  check-data DIR   reads every capture below DIR and compares each packet with what tshark reads,
                   what expressions select with what tcpdump selects, and what the sensors of the book's
                   distributor are sent with what tcpdump counts; splits the book's capture, shifts a half,
                   and looks whether the shift is found
  expressions DIR SEED COUNT
                   compares COUNT generated expressions with libpcap, over frames of the captures below DIR
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut steps = Steps::default();
    match words.as_slice() {
        ["test"] => test(&mut steps),
        ["fuzz"] => fuzz::run(&mut steps, 8),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(&mut steps, seconds),
            Err(_) => return usage(),
        },
        ["lab"] => lab::run(&mut steps),
        ["bench", arguments @ ..] => bench::run(&mut steps, arguments),
        ["bless"] => {
            steps.step("bless", tests::bless);
        }
        ["check-data", dir] => {
            steps.step("Debian packages", || machine::packages(machine::CAPTURES));
            steps.step("captures", || captures::check(dir.as_ref()));
            steps.step("the book's distributor", || distributor::check(dir.as_ref()));
            steps.step("clocks that differ", || causal::check(dir.as_ref()));
            steps.step("two halves bonded", || bond::check(dir.as_ref()));
            steps.step("expressions on record", || expressions::recorded(dir.as_ref()));
            let plan = expressions::Plan { seed: 1, expressions: 3000, frames: 300 };
            steps.step("generated expressions", || expressions::generated(dir.as_ref(), &plan));
        }
        ["expressions", dir, seed, count] => {
            let (Ok(seed), Ok(expressions)) = (seed.parse(), count.parse()) else { return usage() };
            let plan = expressions::Plan { seed, expressions, frames: 400 };
            steps.step("Debian packages", || machine::packages(machine::CAPTURES));
            steps.step("generated expressions", || expressions::generated(dir.as_ref(), &plan));
        }
        _ => return usage(),
    }
    steps.finish()
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}

/// Everything, in the order in which a mistake shows soonest.
fn test(steps: &mut Steps) {
    if let Err(why) = machine::is_fit() {
        // Nothing is skipped: a run that could not do all of it is no run.
        steps.step("machine", || -> Outcome { Err(why) });
        return;
    }
    steps.step("Debian packages", || machine::packages(machine::TESTS));
    steps.step("format", tests::format);
    steps.step("lints", tests::lints);
    steps.step("docs", tests::docs);
    steps.step("dependencies", tests::dependencies);
    tests::run(steps);
    fuzz::run(steps, 8);
    lab::run(steps);
}
