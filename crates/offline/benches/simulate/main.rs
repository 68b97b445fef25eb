//! How many frames a second virtual time takes, and in how much memory.
//!
//! `cargo bench -p offline --bench simulate -- [--rounds N] [--save FILE]`: runs each scenario in a process of its own,
//! all of them in turn and so many times (5), on one thread. Prints frames for each second of CPU, medians over the
//! rounds, and the most memory that a process held; `--save` keeps every round as JSON. A scenario that runs for an hour
//! of virtual time stands beside the same for ten seconds.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use offline::{Look, Outputs, simulate};
use plan::simulation::{Simulation, port_spec};
use serde_json::json;

/// One thing to simulate.
struct Scenario {
    name: &'static str,
    what: &'static str,
    /// Port aggregators of two ports and a monitor.
    taps: usize,
    /// What comes to the two ports of each.
    sources: [&'static str; 2],
    duration_s: u64,
    look: Look,
    write: bool,
}

const BASE: Scenario = Scenario {
    name: "aggregator",
    what: "a port aggregator at 100 Mbit/s, cbr of 90 and 50 Mbit/s, 1500 octets; ledger only",
    taps: 1,
    sources: ["cbr:90Mbit:1500", "cbr:50Mbit:1500"],
    duration_s: 1000,
    look: Look::Nowhere,
    write: false,
};

const SCENARIOS: [Scenario; 9] = [
    BASE,
    Scenario { name: "measured", what: "the same, measured", look: Look::All, ..BASE },
    Scenario { name: "plotted", what: "the same, with what plots need", look: Look::Plots, ..BASE },
    Scenario {
        name: "short",
        what: "the same ledger for 10 s of virtual time",
        duration_s: 10,
        look: Look::All,
        ..BASE
    },
    Scenario { name: "hour", what: "and for 1 h", duration_s: 3600, look: Look::All, ..BASE },
    Scenario {
        name: "fits",
        what: "30 and 50 Mbit/s: nothing is lost; ledger only",
        sources: ["cbr:30Mbit:1500", "cbr:50Mbit:1500"],
        ..BASE
    },
    Scenario {
        name: "poisson",
        what: "poisson of 90 and 50 Mbit/s, the Internet mix, 1000 flows; ledger only",
        sources: ["poisson:90Mbit:mix:flows=1000", "poisson:50Mbit:mix:flows=1000"],
        duration_s: 200,
        ..BASE
    },
    Scenario {
        name: "written",
        what: "the first with its monitor's capture written to /dev/null",
        duration_s: 200,
        write: true,
        ..BASE
    },
    Scenario {
        name: "thousand",
        what: "333 such aggregators at once: 999 ports, 666 sources; ledger only",
        taps: 333,
        duration_s: 5,
        ..BASE
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (mut rounds, mut save) = (5, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "once" => return once(&value()?),
            "--rounds" => rounds = value()?.parse()?,
            "--save" => save = Some(value()?),
            // What cargo puts there itself.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    compare(rounds, save.as_deref().map(Path::new))
}

fn config(taps: usize) -> String {
    let (mut ports, mut devices) = ("[ports]\n".to_owned(), String::new());
    for tap in 0..taps {
        // Writing to a string never fails.
        let _ = writeln!(ports, "a{tap} = \"a{tap}\"\nb{tap} = \"b{tap}\"");
        let _ =
            writeln!(ports, "m{tap} = {{ interface = \"m{tap}\", rate = \"100Mbit\", buffer = \"1MB\" }}");
        let _ = writeln!(
            devices,
            "[[device]]\nname = \"t{tap}\"\nkind = \"port-aggregator\"\nlink = [\"a{tap}\", \"b{tap}\"]\n\
             monitors = [\"m{tap}\"]"
        );
    }
    ports + &devices
}

/// One simulation; says on stdout how many frames entered, in which time, and what it took in memory.
fn once(name: &str) -> Result<(), Box<dyn Error>> {
    let scenario = SCENARIOS.iter().find(|it| it.name == name).ok_or("no such scenario")?;
    let (plan, _) =
        plan::compile("bench", &config(scenario.taps)).map_err(|problems| problems.to_string())?;
    let mut simulation =
        Simulation { duration_ns: Some(scenario.duration_s * 1_000_000_000), ..Simulation::default() };
    for tap in 0..scenario.taps {
        for (port, source) in ["a", "b"].iter().zip(scenario.sources) {
            let traffic = port_spec(&plan, &format!("{port}{tap}={source}"));
            simulation.traffic.push(traffic.map_err(|refusal| refusal.to_string())?);
        }
    }
    let mut outputs = Outputs::default();
    if scenario.write {
        let monitor = plan.port_named("m0").map_err(|refusal| refusal.to_string())?;
        outputs.ports.insert(monitor, offline::Target::File("/dev/null".into()));
    }
    let (start, cpu) = (Instant::now(), cpu_s());
    let simulated = simulate(&plan, &simulation, Vec::new(), outputs, scenario.look, |_| {})?;
    let (clock_s, cpu_s) = (start.elapsed().as_secs_f64(), cpu_s() - cpu);
    let ledger = simulated.report.ledger;
    let frames: u64 = ledger.ports.values().map(|port| port.entered.frames).sum();
    let sent: u64 = ledger.monitors.values().map(|monitor| monitor.sent).sum();
    if ledger.unaccounted != 0 || sent == 0 {
        return Err("a simulation that is not right".into());
    }
    println!("{frames} {clock_s} {cpu_s} {}", peak_kib().unwrap_or(0));
    Ok(())
}

/// Seconds of CPU of this process.
fn cpu_s() -> f64 {
    // Fields 14 and 15 behind the name, in hundredths (proc(5)).
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory that this process ever held, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What one run said.
struct Round {
    frames: f64,
    clock_s: f64,
    cpu_s: f64,
    peak_kib: f64,
}

impl Round {
    fn of(name: &str) -> Result<Self, Box<dyn Error>> {
        let done = Command::new(std::env::current_exe()?).args(["once", name]).output()?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into());
        }
        let said = String::from_utf8(done.stdout)?;
        let numbers: Vec<f64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [frames, clock_s, cpu_s, peak_kib] = numbers[..] else {
            return Err("once said something else".into());
        };
        Ok(Self { frames, clock_s, cpu_s, peak_kib })
    }
}

fn compare(rounds: usize, save: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let mut all: Vec<Vec<Round>> = SCENARIOS.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (scenario, rounds) in SCENARIOS.iter().zip(&mut all) {
            rounds.push(Round::of(scenario.name)?);
        }
    }
    let mut results = Vec::new();
    println!("{:11} {:>11} {:>12} {:>11}", "scenario", "frames", "Mframes/s", "peak KiB");
    for (scenario, rounds) in SCENARIOS.iter().zip(&all) {
        let per_cpu = median(rounds.iter().map(|it| it.frames / it.cpu_s.max(0.01)));
        let per_clock = median(rounds.iter().map(|it| it.frames / it.clock_s));
        let peak_kib = median(rounds.iter().map(|it| it.peak_kib));
        let frames = median(rounds.iter().map(|it| it.frames));
        println!("{:11} {frames:>11} {:>12.2} {peak_kib:>11}", scenario.name, per_cpu / 1e6);
        results.push(json!({
            "scenario": scenario.name,
            "what": scenario.what,
            "virtual_s": scenario.duration_s,
            "frames": frames,
            "median": { "frames_a_cpu_s": per_cpu, "frames_a_clock_s": per_clock, "peak_kib": peak_kib },
            "rounds": rounds.iter().map(|it| json!({
                "clock_s": it.clock_s, "cpu_s": it.cpu_s, "peak_kib": it.peak_kib,
            })).collect::<Vec<_>>(),
        }));
    }
    if let Some(path) = save {
        let result = json!({ "machine": machine(), "scenarios": results });
        std::fs::write(path, format!("{result:#}\n"))?;
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn machine() -> serde_json::Value {
    let release = Command::new("uname").arg("-r").output().map(|done| done.stdout).unwrap_or_default();
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "cpu": cpu.trim_start_matches([':', ' ', '\t']),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": String::from_utf8_lossy(&release).trim(),
    })
}
