//! The golden cases of `corpus/`: configs, frames in, and what must become of them.
//!
//! A case is a folder `NNN-name/`:
//!
//! | file | holds |
//! |---|---|
//! | `config.toml` | the config |
//! | `*.conf` | rule files and tables that it names |
//! | `frames.txt` | frames in: `PORT[:rx\|:tx] TIME_NS HEX`, a line each, where `00*46` repeats an octet |
//! | `plan.txt` | the canonical plan text |
//! | `advice.txt` | the advice, where there is any |
//! | `out.txt` | for each port that can be sent to, the frames it was sent, by number from 0, in order |
//! | `listing*.txt` | what is emitted for it, in some cases; compared where it is emitted |
//! | `counters.txt` | the ledger: ports, copies, monitors by side |
//!
//! `classic-refused.txt` says what of which case classic filters refuse.
//!
//! `bad/NNN-name.toml` and `bad/NNN-name.plan` are texts that are refused, with the exact messages in
//! `bad/NNN-name.err`; rule files beside them are `*.conf`. Tests compare; with `TAPWRIGHT_BLESS=1` in the environment they write instead.
//!
//! For tests only: this reads and writes files, and nothing that runs in production depends on it.

mod golden;
mod outcome;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use plan::eval::{State, Time, Verdict, eval};
use plan::plan::{Plan, Point};
use plan::{Compiled, Problems};
use wire::Frame;

pub use golden::Golden;
pub use outcome::{HookCount, Outcome};

/// The folder of the cases.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus")
}

/// A case that was read.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
    /// The config.
    pub config: String,
    /// What it asks for.
    pub plan: Plan,
    /// The advice that goes with it, as it is printed.
    pub advice: String,
    /// Frames in, in order.
    pub frames: Vec<Input>,
}

/// A frame in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Where it crosses a port.
    pub at: Point,
    /// When.
    pub time: Time,
    /// The whole frame, without FCS.
    pub data: Vec<u8>,
}

impl Input {
    /// The frame.
    ///
    /// # Panics
    /// Never: cases are shorter than 4 GiB.
    pub fn frame(&self) -> Frame<'_> {
        Frame::ethernet(&self.data).expect("a frame of a case is shorter than 4 GiB")
    }
}

/// What is wrong with a case itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseError(pub String);

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CaseError {}

/// Every case, in the order of their names.
///
/// # Errors
/// A case that cannot be read, or whose config is refused; a corpus without cases.
pub fn cases() -> Result<Vec<Case>, CaseError> {
    let folders = entries(&root(), |path| path.is_dir() && !path.ends_with("bad") && !path.ends_with("pf"))?;
    folders.iter().map(|dir| case(dir)).collect()
}

/// The texts that are refused, in the order of their names.
///
/// # Errors
/// A folder that cannot be read; a corpus without such texts.
pub fn bad_texts() -> Result<Vec<PathBuf>, CaseError> {
    let is_text = |path: &Path| path.extension().is_some_and(|end| end == "toml" || end == "plan");
    entries(&root().join("bad"), is_text)
}

/// What is printed about a text that is refused, or that it was not.
///
/// # Errors
/// A file that cannot be read.
pub fn refusal(path: &Path) -> Result<String, CaseError> {
    let octets = fs::read(path).map_err(|error| CaseError(format!("{}: {error}", path.display())))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let dir = path.parent().unwrap_or(Path::new("."));
    let compiled = plan::utf8(&name, &octets).and_then(|text| compile(dir, &name, text));
    Ok(match compiled {
        Ok(_) => "this text is not refused\n".to_owned(),
        Err(problems) => problems.to_string(),
    })
}

/// Reads a text as `check` does, with the rule files of a folder.
///
/// # Errors
/// Everything that is wrong with it.
pub fn compile(dir: &Path, name: &str, text: &str) -> Result<Compiled, Problems> {
    let files = |path: &str| fs::read_to_string(dir.join(path)).map_err(|error| error.to_string());
    plan::compile_with(name, text, &files)
}

fn entries(dir: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, CaseError> {
    let trouble = |error: std::io::Error| CaseError(format!("{}: {error}", dir.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(trouble)? {
        let path = entry.map_err(trouble)?.path();
        if wanted(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() { Err(CaseError(format!("{}: no cases", dir.display()))) } else { Ok(paths) }
}

fn case(dir: &Path) -> Result<Case, CaseError> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).map_err(|error| CaseError(format!("{}: {error}", path.display())))
    };
    let config = read("config.toml")?;
    let refused = |problems| CaseError(format!("{}\n{problems}", dir.display()));
    let compiled = compile(dir, "config.toml", &config).map_err(refused)?;
    let (plan, advice) = (compiled.plan, compiled.advice);
    let placed = |line: usize, what: &str| CaseError(format!("{}/frames.txt:{line}: {what}", dir.display()));
    let frames = read("frames.txt")?;
    let lines = frames.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    let frames = lines.map(|(line, number)| input(&plan, line).map_err(|what| placed(number, &what)));
    Ok(Case {
        name: dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        dir: dir.to_owned(),
        frames: frames.collect::<Result<_, _>>()?,
        advice: advice.iter().map(ToString::to_string).collect(),
        config,
        plan,
    })
}

fn input(plan: &Plan, line: &str) -> Result<Input, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [place, time, hex] = words[..] else { return Err("write PORT[:rx|:tx] TIME_NS HEX".into()) };
    let at = plan.point(place).map_err(|refusal| refusal.to_string())?;
    let time = Time(time.parse().map_err(|_| "no number of nanoseconds")?);
    Ok(Input { at, time, data: octets(hex).ok_or("no hexadecimal octets")? })
}

/// `ffee`, `00*46`; a lone `-` is a frame of no octets.
fn octets(text: &str) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut rest = if text == "-" { "" } else { text };
    while !rest.is_empty() {
        let octet = u8::from_str_radix(rest.get(..2)?, 16).ok()?;
        rest = &rest[2..];
        let mut times = 1;
        if let Some(count) = rest.strip_prefix('*') {
            let end = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
            // Counts end at a `.`, so that what follows may begin with a digit.
            times = count[..end].parse().ok().filter(|times| *times <= 10_000)?;
            rest = count[end..].strip_prefix('.').unwrap_or(&count[end..]);
        }
        data.extend(std::iter::repeat_n(octet, times));
    }
    Some(data)
}

impl Case {
    /// Runs the frames through whatever judges them, and books what it says.
    ///
    /// # Panics
    /// Where the judge names a hook or a copy that is not the plan's.
    pub fn run(&self, mut judge: impl FnMut(&Plan, &Input) -> Option<Verdict>) -> Outcome {
        let mut outcome = Outcome::new(&self.plan);
        for (index, input) in self.frames.iter().enumerate() {
            let verdict = judge(&self.plan, input);
            outcome.book(&self.plan, index, input, verdict.as_ref());
        }
        outcome
    }

    /// Runs the frames through [`eval`](plan::eval()).
    pub fn evaluate(&self) -> Outcome {
        let mut state = State::default();
        self.run(|plan, input| eval(plan, &mut state, input.time, 0, input.at, &input.frame()))
    }
}

/// The seed of this run: `TAPWRIGHT_SEED`, or the clock. Printed, so that a failure can be had again.
///
/// # Panics
/// Where `TAPWRIGHT_SEED` is no number.
pub fn seed() -> u64 {
    let seed = match std::env::var("TAPWRIGHT_SEED") {
        Ok(text) => text.parse().expect("TAPWRIGHT_SEED is a number"),
        Err(_) => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(since.subsec_nanos()) << 20 ^ since.as_secs()
        }
    };
    println!("TAPWRIGHT_SEED={seed}");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_repeat() {
        assert_eq!(octets("ff00*3.12ab"), Some(vec![0xff, 0, 0, 0, 0x12, 0xab]));
        assert_eq!(octets("-"), Some(vec![]));
        for bad in ["f", "fg", "00*", "00*99999", "*3", "é0"] {
            assert_eq!(octets(bad), None, "{bad}");
        }
    }
}
