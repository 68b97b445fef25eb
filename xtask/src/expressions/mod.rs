//! Holds tcpdump expressions against libpcap: answers that are on record, and a run over generated ones.

mod frames;
mod generate;
mod oracle;
mod random;
mod recorded;

use std::collections::BTreeMap;
use std::path::Path;

use rules::expr;
use rules::form::Test;
use wire::LinkType;

pub use recorded::check as recorded;

use crate::steps::{Outcome, say};
use frames::Owned;
use generate::Generator;
use oracle::{Compiler, Program};
use random::Random;

/// How a generated run is made.
pub struct Plan {
    /// Of the first expression; each that follows has the next.
    pub seed: u64,
    /// Expressions to make.
    pub expressions: u64,
    /// Frames to try each of them on.
    pub frames: usize,
}

/// What one expression came to.
#[derive(Default)]
struct Tally {
    /// Expressions that both read.
    read: u64,
    /// Expressions that both refuse.
    refused: u64,
    /// Frames that both decide alike.
    agreed: u64,
    /// Frames that pass.
    passed: u64,
    /// Differences that have a reason, by reason.
    explained: BTreeMap<String, u64>,
    /// Differences that have none.
    wrong: Vec<String>,
}

impl Tally {
    fn explain(&mut self, reason: &str) {
        *self.explained.entry(reason.to_owned()).or_default() += 1;
    }
}

/// Link types to try, as often as they stand here.
const LINK_TYPES: [LinkType; 14] = [
    LinkType::ETHERNET,
    LinkType::ETHERNET,
    LinkType::ETHERNET,
    LinkType::ETHERNET,
    LinkType::ETHERNET,
    LinkType::RAW,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType::IEEE802_11,
    LinkType::IEEE802_11_RADIOTAP,
    LinkType::ETHERNET,
    LinkType(9),
    LinkType(228),
    LinkType(229),
];

/// Frames of one link type, and what compiles for it.
struct Bench {
    compiler: Compiler,
    frames: Vec<Owned>,
}

/// Makes expressions and compares what we and libpcap say of frames of the captures below `dir`, of the same
/// frames cut and changed, and of made frames.
///
/// # Errors
/// Differences without a reason.
pub fn generated(dir: &Path, plan: &Plan) -> Outcome {
    let benches = benches(dir, plan.seed)?;
    let threads =
        std::thread::available_parallelism().map_or(1, |count| u64::try_from(count.get()).unwrap_or(1));
    let results: Vec<Result<Tally, String>> = std::thread::scope(|scope| {
        let run = |thread| {
            let benches = &benches;
            scope.spawn(move || {
                let mut tally = Tally::default();
                let mut number = thread;
                while number < plan.expressions {
                    one(benches, plan, plan.seed.wrapping_add(number), &mut tally)?;
                    number += threads;
                }
                Ok(tally)
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect()
    });
    let mut whole = Tally::default();
    for tally in results {
        let tally = tally?;
        whole.read += tally.read;
        whole.refused += tally.refused;
        whole.agreed += tally.agreed;
        whole.passed += tally.passed;
        for (reason, count) in tally.explained {
            *whole.explained.entry(reason).or_default() += count;
        }
        whole.wrong.extend(tally.wrong);
    }
    report(&whole, plan)
}

fn report(tally: &Tally, plan: &Plan) -> Outcome {
    for (reason, count) in &tally.explained {
        say(&format!("{count:>9} explained: {reason}"));
    }
    for line in tally.wrong.iter().take(20) {
        say(line);
    }
    let Tally { read, refused, agreed, passed, wrong, .. } = tally;
    let seeds = format!("seeds {} to {}", plan.seed, plan.seed + plan.expressions);
    if !wrong.is_empty() || *read == 0 || *passed == 0 {
        return Err(format!(
            "{} differences without a reason, {read} expressions read, {seeds}",
            wrong.len()
        ));
    }
    let explained: u64 = tally.explained.values().sum();
    Ok(format!(
        "{read} expressions over {agreed} frames as libpcap decides ({passed} pass), {refused} refused by both, \
         {explained} differences explained, {seeds}"
    ))
}

fn benches(dir: &Path, seed: u64) -> Result<BTreeMap<LinkType, Bench>, String> {
    let mut files = Vec::new();
    crate::captures::find(dir, &mut files)?;
    files.sort();
    let mut benches = BTreeMap::new();
    let mut random = Random::new(seed);
    for link_type in LINK_TYPES {
        let made = (0..1500).map(|_| frames::made(link_type, &mut random)).collect();
        let bench = Bench { compiler: Compiler::new(link_type)?, frames: made };
        benches.entry(link_type).or_insert(bench);
    }
    for file in &files {
        for frame in frames::of_capture(file, 1200)? {
            if let Some(bench) = benches.get_mut(&frame.link_type) {
                bench.frames.push(frame);
            }
        }
    }
    Ok(benches)
}

/// Makes one expression and tries it.
fn one(benches: &BTreeMap<LinkType, Bench>, plan: &Plan, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed);
    let link_type = random.pick(&LINK_TYPES);
    let text = Generator::new(&mut random, link_type).expression();
    let bench = benches.get(&link_type).ok_or("no frames of a link type")?;
    let theirs = bench.compiler.compile(&text, false)?;
    let ours = expr::parse(&text, link_type);
    let about = format!("seed {seed}, link type {}: {text}", link_type.0);
    match (ours, theirs) {
        (Ok(test), Ok(program)) => {
            tally.read += 1;
            decide(bench, plan, (&about, &text), &test, &program, &mut random, tally)?;
        }
        (Err(_), Err(_)) => tally.refused += 1,
        (Ok(_), Err(why)) => match reason_to_accept(&why) {
            Some(reason) => tally.explain(reason),
            None => tally.wrong.push(format!("{about}\n    libpcap refuses: {why}")),
        },
        (Err(flaws), Ok(program)) => {
            let what = flaws.first().map(|flaw| flaw.what.clone()).unwrap_or_default();
            let passing = || bench.frames.iter().any(|frame| program.run(&frame.frame()).passes);
            if what != "no frame can pass this" {
                tally.wrong.push(format!("{about}\n    we refuse: {what}"));
            } else if passing() {
                tally.wrong.push(format!("{about}\n    refused, and frames pass"));
            } else {
                tally.explain("no frame can pass: refused, as libpcap does when it optimizes");
            }
        }
    }
    Ok(())
}

/// Why we read what libpcap refuses. We refuse constants of that kind too, so that what is left is no constant.
fn reason_to_accept(theirs: &str) -> Option<&'static str> {
    if theirs.contains("too many registers") {
        return Some("libpcap has sixteen registers for arithmetic");
    }
    let nonsense = ["division by zero", "modulus by zero", "shift by more than 31 bits"];
    let of_constant = nonsense.iter().any(|what| theirs.contains(what));
    of_constant.then_some("libpcap takes the first number of a right operand for a constant divisor or shift")
}

/// Compares decisions about frames, whole, cut and changed.
fn decide(
    bench: &Bench,
    plan: &Plan,
    (about, text): (&str, &str),
    test: &Test,
    program: &Program,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut optimized = None;
    let is_wlan = matches!(bench.frames[0].link_type, LinkType::IEEE802_11 | LinkType::IEEE802_11_RADIOTAP);
    for _ in 0..plan.frames {
        let whole = &bench.frames[random.below(bench.frames.len())];
        let owned = match random.below(4) {
            0 => frames::cut(whole, random),
            1 => frames::changed(whole, random),
            _ => whole.clone(),
        };
        let frame = owned.frame();
        let (ours, theirs) = (test.holds(&frame), program.run(&frame));
        if ours == theirs.passes {
            tally.agreed += 1;
            tally.passed += u64::from(ours);
        } else if theirs.undefined {
            tally.explain(
                "libpcap reads a register that holds something else: a `geneve` did not hold, or 802.11",
            );
        } else if theirs.lost {
            tally.explain("libpcap loses its place behind an authentication header in `protochain`");
        } else if is_wlan && (text.contains("geneve") || text.contains("pppoes")) {
            tally.explain("libpcap forgets where 802.11 payloads begin once a tunnel is looked into");
        } else if text.contains("[0xfffffffe") || text.contains("[4294967295") {
            tally
                .explain("a constant index below 0: libpcap's optimizer computes it as we do, where it runs");
        } else if theirs.headers > rules::form::CHAIN_MAX {
            tally.explain("a chain of more headers than `protochain` follows here");
        } else {
            if optimized.is_none() {
                optimized = Some(bench.compiler.compile(text, true)?);
            }
            if let Some(Ok(optimized)) = &optimized
                && optimized.run(&frame).passes == ours
            {
                tally.explain("libpcap's optimizer computes what overflows, as we do");
                continue;
            }
            tally.wrong.push(format!(
                "{about}\n    passes: {ours}, to libpcap {}: {:02x?}",
                theirs.passes, owned.data
            ));
            return Ok(());
        }
    }
    Ok(())
}
