//! How fast captures are replayed, beside tcpdump and dd over the same octets.
//!
//! `cargo bench -p offline --bench replay -- [--match EXPRESSION | --rules N] [--from CAPTURE] [--mib N]
//! [--rounds N] [--dir DIR] [--save FILE]`: makes captures of N MiB in all (1000), then runs, in turn and
//! so many times (7): a replay in a process of its own with only the monitor's output written, to
//! /dev/null; `tcpdump -r FILE -w /dev/null` over the same files; `dd` of them to /dev/null. Prints medians
//! and ratios; `--save` keeps every round as JSON. Seconds of CPU are kept beside those of the clock, because
//! they tell more on a machine that does other things.
//!
//! The replay is a port aggregator over two captures; with `--match` a distributor that copies what an
//! expression selects out of one, with tcpdump given the same expression; with `--rules` a distributor by so
//! many pf rules, none of which matches but the last, `port 80`, with tcpdump given that. `--from` repeats a
//! pcap file that is given, instead of making up traffic.

mod captures;
mod cost;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use offline::{Input, Outputs, Source, Target, replay};
use serde_json::json;

use cost::{Cost, children_cpu_s, median, timed};

const AGGREGATOR: &str = r#"
[ports]
a = "eth1"
b = "eth2"
m = "eth3"

[[device]]
name = "perimeter"
kind = "port-aggregator"
link = ["a", "b"]
monitors = ["m"]
"#;

const DISTRIBUTOR: &str = r#"
[ports]
a = "eth1"
m = "eth3"

[[device]]
name = "split"
kind = "distributor"
spans = ["a"]
"#;

/// The ports that the captures of a scenario enter at.
const PORTS: [&str; 2] = ["a", "b"];

/// What is replayed.
struct Scenario {
    what: String,
    config: String,
    /// The file that the config may name as `rules.pf`.
    rules: String,
    /// How many captures there are.
    captures: usize,
    /// What tcpdump is told to select.
    expression: Option<String>,
}

struct Args {
    scenario: Scenario,
    from: Option<PathBuf>,
    mib: u64,
    rounds: usize,
    dir: PathBuf,
    save: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let scenario = Scenario {
        what: "a port aggregator".to_owned(),
        config: AGGREGATOR.to_owned(),
        rules: String::new(),
        captures: 2,
        expression: None,
    };
    let dir = std::env::temp_dir();
    let mut args = Args { scenario, from: None, mib: 1000, rounds: 7, dir, save: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "once" => return once(Path::new(&value()?), words.map(PathBuf::from)),
            "--match" => args.scenario = matching(&value()?),
            "--rules" => args.scenario = ruled(value()?.parse()?),
            "--from" => args.from = Some(value()?.into()),
            "--mib" => args.mib = value()?.parse()?,
            "--rounds" => args.rounds = value()?.parse()?,
            "--dir" => args.dir = value()?.into(),
            "--save" => args.save = Some(value()?.into()),
            // What cargo puts there itself.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    compare(&args)
}

fn matching(expression: &str) -> Scenario {
    Scenario {
        what: format!("a distributor, match = \"{expression}\""),
        config: format!("{DISTRIBUTOR}[[device.copy]]\nmatch = \"{expression}\"\nto = [\"m\"]\n"),
        rules: String::new(),
        captures: 1,
        expression: Some(expression.to_owned()),
    }
}

fn ruled(count: u32) -> Scenario {
    let rule = |number: u32| {
        let [_, high, middle, low] = number.to_be_bytes();
        format!(
            "pass in on a dup-to (m 192.0.2.1) proto tcp from 198.18.{middle}.{low} port {} to 10.{high}.{low}.1 \
             port 443\n",
            1024 + number % 60_000
        )
    };
    let mut rules: String = (1..count).map(rule).collect();
    rules += "pass in on a dup-to (m 192.0.2.1) proto tcp from any to any port 80\n";
    Scenario {
        what: format!("a distributor, {count} pf rules"),
        config: format!("{DISTRIBUTOR}rules = \"rules.pf\"\n"),
        rules,
        captures: 1,
        expression: Some("tcp dst port 80".to_owned()),
    }
}

/// One replay; says on stdout how many frames the monitor was sent, and what it took in memory.
fn once(config: &Path, captures: impl Iterator<Item = PathBuf>) -> Result<(), Box<dyn Error>> {
    let folder = config.parent().unwrap_or(Path::new(""));
    let named = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
    let text = std::fs::read_to_string(config)?;
    let compiled = plan::compile_with("bench", &text, &named).map_err(|problems| problems.to_string())?;
    let plan = compiled.plan;
    let mut inputs = Vec::new();
    for (port, capture) in PORTS.iter().zip(captures) {
        let at = plan.point(port).map_err(|refusal| refusal.to_string())?;
        inputs.push(Input { at, source: Source::File(capture) });
    }
    let mut outputs = Outputs::default();
    let monitor = plan.port_named("m").map_err(|refusal| refusal.to_string())?;
    outputs.ports.insert(monitor, Target::File("/dev/null".into()));
    let report = replay(&plan, inputs, outputs, |_| {})?;
    let sent = report.ledger.monitors.get("m").map_or(0, |monitor| monitor.sent);
    if !report.is_whole() || report.ledger.unaccounted != 0 || sent == 0 {
        return Err(format!("a replay that is not right: {report:?}").into());
    }
    println!("{sent} {}", peak_kib().unwrap_or(0));
    Ok(())
}

/// The most memory that this process ever held, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The files of a run, in a folder of their own that goes with this.
struct Files {
    dir: PathBuf,
    config: PathBuf,
    captures: Vec<PathBuf>,
}

impl Files {
    fn new(args: &Args, mib: u64) -> Result<Self, Box<dyn Error>> {
        let dir = args.dir.join(format!("tapwright-bench-{}-{mib}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let config = dir.join("bench.toml");
        let captures = PORTS.iter().take(args.scenario.captures);
        let captures: Vec<PathBuf> = captures.map(|port| dir.join(format!("{port}.pcap"))).collect();
        let files = Self { dir, config, captures };
        std::fs::write(&files.config, &args.scenario.config)?;
        std::fs::write(files.dir.join("rules.pf"), &args.scenario.rules)?;
        let each = mib / u64::try_from(files.captures.len())?;
        for (capture, side) in files.captures.iter().zip(1..) {
            match &args.from {
                Some(given) => captures::repeat(capture, given, each)?,
                None => captures::make(capture, side, each)?,
            }
        }
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is left behind lies where the caller said.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let small_kib = run_once(&Files::new(args, args.mib / 10)?)?.2;
    let files = Files::new(args, args.mib)?;
    let octets: u64 =
        files.captures.iter().map(|file| file.metadata().map(|it| it.len())).sum::<Result<_, _>>()?;
    let mut rounds = Vec::new();
    let (mut packets, mut peak_kib) = (0, 0);
    for round in 0..args.rounds {
        let (replay, sent, kib) = run_once(&files)?;
        (packets, peak_kib) = (sent, kib.max(peak_kib));
        let tcpdump = timed(&files.captures, |file| {
            let mut command = Command::new("tcpdump");
            command.arg("-r").arg(file).args(["-w", "/dev/null"]).args(&args.scenario.expression);
            command
        })?;
        let dd = timed(&files.captures, |file| {
            let mut command = Command::new("dd");
            command.arg(format!("if={}", file.display())).args(["of=/dev/null", "bs=1M"]);
            command
        })?;
        println!("round {round}: replay {replay}, tcpdump {tcpdump}, dd {dd}");
        rounds.push([replay, tcpdump, dd]);
    }
    drop(files);
    let of = |who: usize| Cost {
        clock_s: median(rounds.iter().map(|round| round[who].clock_s)),
        cpu_s: median(rounds.iter().map(|round| round[who].cpu_s)),
    };
    let medians = [of(0), of(1), of(2)];
    println!("{}: medians over {octets} octets, {packets} packets written:", args.scenario.what);
    for (name, cost) in NAMES.iter().zip(&medians) {
        println!("  {name:8} {cost}, {:.2} GB/s", octets as f64 / cost.clock_s / 1e9);
    }
    let [replay, tcpdump, dd] = &medians;
    let over_tcpdump = (tcpdump.clock_s / replay.clock_s, tcpdump.cpu_s / replay.cpu_s);
    let of_dd = (replay.clock_s / dd.clock_s, replay.cpu_s / dd.cpu_s);
    println!(
        "replay is {:.2} times as fast as tcpdump, and takes 1/{:.2} of its CPU",
        over_tcpdump.0, over_tcpdump.1
    );
    println!("replay takes {:.2} times as long as dd, and {:.2} times its CPU", of_dd.0, of_dd.1);
    println!("peak memory {peak_kib} KiB; over a tenth of the octets {small_kib} KiB");
    if let Some(path) = &args.save {
        let result = json!({
            "what": format!("replay of {}, monitor only, to /dev/null; tcpdump -r FILE -w /dev/null; dd bs=1M", args.scenario.what),
            "octets": octets,
            "packets_written": packets,
            "machine": machine(),
            "rounds": rounds.iter().map(named).collect::<Vec<_>>(),
            "median": named(&medians),
            "tcpdump_over_replay": { "clock": over_tcpdump.0, "cpu": over_tcpdump.1 },
            "replay_over_dd": { "clock": of_dd.0, "cpu": of_dd.1 },
            "peak_kib": peak_kib,
            "peak_kib_over_a_tenth": small_kib,
        });
        std::fs::write(path, format!("{result:#}\n"))?;
    }
    Ok(())
}

const NAMES: [&str; 3] = ["replay", "tcpdump", "dd"];

fn named(costs: &[Cost; 3]) -> serde_json::Value {
    let cost = |cost: &Cost| json!({ "clock_s": cost.clock_s, "cpu_s": cost.cpu_s });
    let pairs = NAMES.iter().zip(costs).map(|(name, it)| ((*name).to_owned(), cost(it)));
    serde_json::Value::Object(pairs.collect())
}

/// Cost, packets, and the peak of memory in KiB of a replay in a process of its own.
fn run_once(files: &Files) -> Result<(Cost, u64, u64), Box<dyn Error>> {
    let (start, cpu) = (Instant::now(), children_cpu_s());
    let mut command = Command::new(std::env::current_exe()?);
    let done = command.arg("once").arg(&files.config).args(&files.captures).output()?;
    let cost = Cost { clock_s: start.elapsed().as_secs_f64(), cpu_s: children_cpu_s() - cpu };
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into());
    }
    let said = String::from_utf8(done.stdout)?;
    let (packets, kib) = said.trim().split_once(' ').ok_or("once said nothing")?;
    Ok((cost, packets.parse()?, kib.parse()?))
}

fn machine() -> serde_json::Value {
    let first = |command: &str, word: &str| {
        let said = Command::new(command).arg(word).output().map(|done| done.stdout).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "cpu": cpu.trim_start_matches([':', ' ', '\t']),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": first("uname", "-r"),
        "tcpdump": first("tcpdump", "--version"),
    })
}
