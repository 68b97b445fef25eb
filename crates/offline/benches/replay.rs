//! How fast a port aggregator replays two captures, beside tcpdump and dd over the same octets.
//!
//! `cargo bench -p offline -- [--mib N] [--rounds N] [--dir DIR] [--save FILE]`: makes two captures of N
//! MiB each (500), then runs, in turn and so many times (7): a replay in a process of its own with only
//! the monitor's output written, to /dev/null; `tcpdump -r FILE -w /dev/null` over both files; `dd` of
//! both files to /dev/null. Prints medians and ratios; `--save` keeps every round as JSON. Seconds of
//! CPU are kept beside those of the clock, because they tell more on a machine that does other things.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use offline::{Input, Outputs, Source, Target, replay};
use plan::plan::Plan;
use serde_json::json;
use wire::capture::{PcapWriter, Timestamp};
use wire::{Frame, LinkType};

const CONFIG: &str = r#"
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

struct Args {
    mib: u64,
    rounds: usize,
    dir: PathBuf,
    save: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut args = Args { mib: 500, rounds: 7, dir: std::env::temp_dir(), save: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "once" => return once(Path::new(&value()?), Path::new(&value()?)),
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

/// One replay; says on stdout what it took in memory.
fn once(a: &Path, b: &Path) -> Result<(), Box<dyn Error>> {
    let plan = aggregator()?;
    let input = |name: &str, file: &Path| -> Result<Input, Box<dyn Error>> {
        let at = plan.point(name).map_err(|refusal| refusal.to_string())?;
        Ok(Input { at, source: Source::File(file.to_owned()) })
    };
    let inputs = vec![input("a", a)?, input("b", b)?];
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

fn aggregator() -> Result<Plan, Box<dyn Error>> {
    Ok(plan::compile("bench", CONFIG).map_err(|problems| problems.to_string())?.0)
}

/// The most memory that this process ever held, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let tenth = [make(args, "a", args.mib / 10)?, make(args, "b", args.mib / 10)?];
    let small_kib = run_once(&tenth)?.2;
    tenth.iter().try_for_each(std::fs::remove_file)?;
    let files = [make(args, "a", args.mib)?, make(args, "b", args.mib)?];
    let octets: u64 = files.iter().map(|file| file.metadata().map(|it| it.len())).sum::<Result<_, _>>()?;
    let mut rounds = Vec::new();
    let (mut packets, mut peak_kib) = (0, 0);
    for round in 0..args.rounds {
        let (replay, sent, kib) = run_once(&files)?;
        (packets, peak_kib) = (sent, kib.max(peak_kib));
        let tcpdump = timed(&files, |file| {
            let mut command = Command::new("tcpdump");
            command.arg("-r").arg(file).args(["-w", "/dev/null"]);
            command
        })?;
        let dd = timed(&files, |file| {
            let mut command = Command::new("dd");
            command.arg(format!("if={}", file.display())).args(["of=/dev/null", "bs=1M"]);
            command
        })?;
        println!("round {round}: replay {replay}, tcpdump {tcpdump}, dd {dd}");
        rounds.push([replay, tcpdump, dd]);
    }
    files.iter().try_for_each(std::fs::remove_file)?;
    let of = |who: usize| Cost {
        clock_s: median(rounds.iter().map(|round| round[who].clock_s)),
        cpu_s: median(rounds.iter().map(|round| round[who].cpu_s)),
    };
    let medians = [of(0), of(1), of(2)];
    println!("medians over {octets} octets, {packets} packets:");
    for (name, cost) in NAMES.iter().zip(&medians) {
        println!("  {name:8} {cost}, {:.2} GB/s", octets as f64 / cost.clock_s / 1e9);
    }
    let [replay, tcpdump, _] = &medians;
    let ratios = (tcpdump.clock_s / replay.clock_s, tcpdump.cpu_s / replay.cpu_s);
    println!("replay is {:.2} times as fast as tcpdump, and takes 1/{:.2} of its CPU", ratios.0, ratios.1);
    println!("peak memory {peak_kib} KiB; over a tenth of the octets {small_kib} KiB");
    if let Some(path) = &args.save {
        let result = json!({
            "what": "replay of a port aggregator, monitor only, to /dev/null; tcpdump -r FILE -w /dev/null; dd bs=1M",
            "octets": octets,
            "packets": packets,
            "machine": machine(),
            "rounds": rounds.iter().map(named).collect::<Vec<_>>(),
            "median": named(&medians),
            "tcpdump_over_replay": { "clock": ratios.0, "cpu": ratios.1 },
            "peak_kib": peak_kib,
            "peak_kib_over_a_tenth": small_kib,
        });
        std::fs::write(path, format!("{result:#}\n"))?;
    }
    Ok(())
}

const NAMES: [&str; 3] = ["replay", "tcpdump", "dd"];

/// What a run took.
struct Cost {
    clock_s: f64,
    /// Of all threads, user and system; 0 where the system does not tell.
    cpu_s: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} s ({:.2} s of CPU)", self.clock_s, self.cpu_s)
    }
}

/// Seconds of CPU that children took which have ended (proc(5): cutime and cstime, in ticks of 10 ms).
fn children_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn named(costs: &[Cost; 3]) -> serde_json::Value {
    let cost = |cost: &Cost| json!({ "clock_s": cost.clock_s, "cpu_s": cost.cpu_s });
    let pairs = NAMES.iter().zip(costs).map(|(name, it)| ((*name).to_owned(), cost(it)));
    serde_json::Value::Object(pairs.collect())
}

/// Cost, packets, and the peak of memory in KiB of a replay in a process of its own.
fn run_once(files: &[PathBuf; 2]) -> Result<(Cost, u64, u64), Box<dyn Error>> {
    let (start, cpu) = (Instant::now(), children_cpu_s());
    let done = Command::new(std::env::current_exe()?).arg("once").args(files).output()?;
    let cost = Cost { clock_s: start.elapsed().as_secs_f64(), cpu_s: children_cpu_s() - cpu };
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into());
    }
    let said = String::from_utf8(done.stdout)?;
    let (packets, kib) = said.trim().split_once(' ').ok_or("once said nothing")?;
    Ok((cost, packets.parse()?, kib.parse()?))
}

/// What a command takes over both files, one after the other.
fn timed(files: &[PathBuf; 2], command: impl Fn(&Path) -> Command) -> Result<Cost, Box<dyn Error>> {
    let (start, cpu) = (Instant::now(), children_cpu_s());
    for file in files {
        let status = command(file).stderr(Stdio::null()).status()?;
        if !status.success() {
            return Err(format!("{:?}: {status}", command(file)).into());
        }
    }
    Ok(Cost { clock_s: start.elapsed().as_secs_f64(), cpu_s: children_cpu_s() - cpu })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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

/// Numbers that are the same on every machine (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// A capture that looks like TCP: acknowledgements, full segments, a few in between; 700 octets on average.
fn make(args: &Args, side: &str, mib: u64) -> Result<PathBuf, Box<dyn Error>> {
    let path = args.dir.join(format!("tapwright-bench-{}-{side}.pcap", std::process::id()));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let mut dice = Dice(if side == "a" { 0x9e37_79b9_7f4a_7c15 } else { 0xbf58_476d_1ce4_e5b9 });
    let mut frame = [0u8; 1514];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[23] = 6;
    frame[46] = 0x50;
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut out);
    let mut written = 0;
    let mut ns = 1_700_000_000_000_000_000;
    while written < mib << 20 {
        let len = match dice.below(100) {
            0..45 => 66,
            45..80 => 1514,
            _ => usize::try_from(100 + dice.below(1_000))?,
        };
        ns += i128::from(1_000 * (1 + dice.below(20)));
        frame[16..18].copy_from_slice(&u16::try_from(len - 14)?.to_be_bytes());
        frame[26..38].copy_from_slice(&dice.below(4096).to_be_bytes().repeat(2)[..12]);
        writer.packet(Timestamp(ns), &Frame::ethernet(&frame[..len]).ok_or("too long")?, &mut out)?;
        written += u64::try_from(out.len())?;
        file.write_all(&out)?;
        out.clear();
    }
    file.flush()?;
    Ok(path)
}
