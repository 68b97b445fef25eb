//! How fast captures are bonded, beside mergecap, tcpslice and dd over the same octets.
//!
//! `cargo bench -p offline --bench bond -- [--from CAPTURE] [--host ADDRESS] [--mib N] [--rounds N] [--dir DIR]
//! [--save FILE]`: makes two halves of N MiB in all (1000) of the packets of a capture, or of made-up traffic; packets
//! go to the halves in turns, or by whether a host sent them. Then runs, in turn and so many times (7): a bond in a
//! process of its own, `mergecap -F pcap` and `tcpslice -D`, each to /dev/null and to a file that is there already, and
//! `dd bs=1M` of the halves to /dev/null. Prints medians and ratios; `--save` keeps every round as JSON. The file that
//! the bond wrote must be the one that mergecap wrote, octet by octet, but for the file header.

#[path = "../replay/captures.rs"]
#[allow(dead_code, reason = "another benchmark needs the rest")]
mod captures;
#[path = "../replay/cost.rs"]
mod cost;
mod halves;

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use offline::bond::{Options, bond};
use offline::{Source, Target};
use serde_json::json;

use cost::{Cost, children_cpu_s, median, timed};
use halves::{Halves, Split};

struct Args {
    from: Option<PathBuf>,
    split: Split,
    mib: u64,
    rounds: usize,
    dir: PathBuf,
    save: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let dir = std::env::temp_dir();
    let mut args = Args { from: None, split: Split::Turns, mib: 1000, rounds: 7, dir, save: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "once" => return once(&value()?, words.map(PathBuf::from)),
            "--from" => args.from = Some(value()?.into()),
            "--host" => args.split = Split::Host(value()?.parse()?),
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

/// One bond; says on stdout how many frames it has, and what it took in memory.
fn once(output: &str, captures: impl Iterator<Item = PathBuf>) -> Result<(), Box<dyn Error>> {
    let inputs = captures.map(Source::File).collect();
    let report = bond(inputs, &Options::default(), Some(Target::File(output.into())), |_| {})?;
    if !report.is_whole() || !report.merged.ordered {
        return Err(format!("a bond that is not right: {report}").into());
    }
    println!("{} {}", report.merged.frames, peak_kib().unwrap_or(0));
    Ok(())
}

/// The most memory that this process ever held, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A folder that goes with this.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind lies where the caller said.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const NAMES: [&str; 7] = [
    "bond to /dev/null",
    "mergecap to /dev/null",
    "tcpslice to /dev/null",
    "dd to /dev/null",
    "bond to a file",
    "mergecap to a file",
    "tcpslice to a file",
];

fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = Folder(args.dir.join(format!("tapwright-bond-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0)?;
    let given = match &args.from {
        Some(given) => given.clone(),
        None => {
            let made = folder.0.join("made.pcap");
            captures::make(&made, 1, 16)?;
            made
        }
    };
    let halves = halves::make(&folder.0, &given, args.split, args.mib)?;
    let outputs = ["bond.pcap", "mergecap.pcap", "tcpslice.pcap"].map(|name| folder.0.join(name));
    let mut rounds = Vec::new();
    let mut peak_kib = 0;
    // The first round makes the files and fills the page cache, and is thrown away.
    for round in 0..=args.rounds {
        let (costs, kib) = measure(&halves, &outputs)?;
        peak_kib = kib.max(peak_kib);
        if round == 0 {
            same(&outputs[0], &outputs[1])?;
            continue;
        }
        println!("round {round}");
        for (name, cost) in NAMES.iter().zip(&costs) {
            println!("  {name:22} {cost}");
        }
        rounds.push(costs);
    }
    drop(folder);
    say(args, &halves, &rounds, peak_kib)
}

/// One round: everything once.
fn measure(halves: &Halves, outputs: &[PathBuf; 3]) -> Result<(Vec<Cost>, u64), Box<dyn Error>> {
    let null = Path::new("/dev/null");
    let mergecap = |output: &Path| {
        let mut command = Command::new("mergecap");
        // Of equal times it takes the last-named first.
        command.args(["-F", "pcap", "-w"]).arg(output).args(halves.files.iter().rev());
        command
    };
    let tcpslice = |output: &Path| {
        let mut command = Command::new("tcpslice");
        command.args(["-D", "-w"]).arg(output).args(&halves.files);
        command
    };
    let (null_bond, null_kib) = run_once(halves, null)?;
    let null_mergecap = run(mergecap(null))?;
    let null_tcpslice = run(tcpslice(null))?;
    let dd = timed(&halves.files, |file| {
        let mut command = Command::new("dd");
        command.arg(format!("if={}", file.display())).args(["of=/dev/null", "bs=1M"]);
        command
    })?;
    let (file_bond, file_kib) = run_once(halves, &outputs[0])?;
    let file_mergecap = run(mergecap(&outputs[1]))?;
    let file_tcpslice = run(tcpslice(&outputs[2]))?;
    let costs = vec![null_bond, null_mergecap, null_tcpslice, dd, file_bond, file_mergecap, file_tcpslice];
    Ok((costs, null_kib.max(file_kib)))
}

fn run(mut command: Command) -> Result<Cost, Box<dyn Error>> {
    let (start, cpu) = (Instant::now(), children_cpu_s());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(Cost { clock_s: start.elapsed().as_secs_f64(), cpu_s: children_cpu_s() - cpu })
}

/// A bond in a process of its own, and the peak of its memory in KiB.
fn run_once(halves: &Halves, output: &Path) -> Result<(Cost, u64), Box<dyn Error>> {
    let (start, cpu) = (Instant::now(), children_cpu_s());
    let mut command = Command::new(std::env::current_exe()?);
    let done = command.arg("once").arg(output).args(&halves.files).output()?;
    let cost = Cost { clock_s: start.elapsed().as_secs_f64(), cpu_s: children_cpu_s() - cpu };
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into());
    }
    let said = String::from_utf8(done.stdout)?;
    let (packets, kib) = said.trim().split_once(' ').ok_or("once said nothing")?;
    if packets.parse::<u64>()? != halves.packets {
        return Err(format!("{packets} packets of {}", halves.packets).into());
    }
    Ok((cost, kib.parse()?))
}

/// That two captures hold the same packets in the same order.
fn same(one: &Path, other: &Path) -> Result<(), Box<dyn Error>> {
    let mut readers = Vec::new();
    for path in [one, other] {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        // File headers differ in their snapshot lengths.
        reader.read_exact(&mut [0; 24])?;
        readers.push(reader.bytes());
    }
    let [ours, theirs] = &mut readers[..] else { return Err("two files".into()) };
    let mut at = 24u64;
    loop {
        match (ours.next().transpose()?, theirs.next().transpose()?) {
            (None, None) => return Ok(()),
            (ours, theirs) if ours == theirs => at += 1,
            _ => return Err(format!("the bond is not what mergecap makes, from octet {at} on").into()),
        }
    }
}

fn say(args: &Args, halves: &Halves, rounds: &[Vec<Cost>], peak_kib: u64) -> Result<(), Box<dyn Error>> {
    let of = |who: usize| Cost {
        clock_s: median(rounds.iter().map(|round| round[who].clock_s)),
        cpu_s: median(rounds.iter().map(|round| round[who].cpu_s)),
    };
    let medians: Vec<Cost> = (0..NAMES.len()).map(of).collect();
    let Halves { packets, octets, .. } = halves;
    println!("medians over {octets} octets, {packets} packets:");
    for (name, cost) in NAMES.iter().zip(&medians) {
        println!("  {name:22} {cost}, {:.2} GB/s", *octets as f64 / cost.clock_s / 1e9);
    }
    let ratio = |one: usize, other: usize| {
        (medians[one].clock_s / medians[other].clock_s, medians[one].cpu_s / medians[other].cpu_s)
    };
    let ratios = [
        ("mergecap over bond, /dev/null", ratio(1, 0)),
        ("tcpslice over bond, /dev/null", ratio(2, 0)),
        ("bond over dd, /dev/null", ratio(0, 3)),
        ("mergecap over bond, file", ratio(5, 4)),
        ("tcpslice over bond, file", ratio(6, 4)),
    ];
    for (what, (clock, cpu)) in &ratios {
        println!("  {what}: {clock:.2} by the clock, {cpu:.2} by CPU");
    }
    println!("peak memory of the bond {peak_kib} KiB");
    if let Some(path) = &args.save {
        let named = |costs: &[Cost]| -> serde_json::Value {
            let cost = |cost: &Cost| json!({ "clock_s": cost.clock_s, "cpu_s": cost.cpu_s });
            NAMES.iter().zip(costs).map(|(name, it)| ((*name).to_owned(), cost(it))).collect()
        };
        let split = match args.split {
            Split::Turns => "in turns".to_owned(),
            Split::Host(host) => format!("by whether {host} sent them"),
        };
        let ratios: serde_json::Value = ratios
            .iter()
            .map(|(what, (clock, cpu))| ((*what).to_owned(), json!({ "clock": clock, "cpu": cpu })))
            .collect();
        let result = json!({
            "what": format!("two halves, packets go to them {split}; bond, mergecap -F pcap, tcpslice -D, dd bs=1M"),
            "octets": octets,
            "packets": packets,
            "machine": machine(),
            "rounds": rounds.iter().map(|round| named(round)).collect::<Vec<_>>(),
            "median": named(&medians),
            "ratios": ratios,
            "peak_kib": peak_kib,
        });
        std::fs::write(path, format!("{result:#}\n"))?;
    }
    Ok(())
}

fn machine() -> serde_json::Value {
    let first = |command: &str, word: &str| {
        let said = Command::new(command).arg(word).output().map(|done| done.stdout).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": cpu.trim_start_matches([':', ' ', '\t']),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": first("uname", "-r"),
        "mergecap": first("mergecap", "--version"),
        "load_at_the_end": load.trim(),
    })
}
