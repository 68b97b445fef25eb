//! The book's distributor over a real capture: `examples/distributor.toml`, replayed, beside what tcpdump counts.

use std::path::Path;

use offline::{Input, Outputs, Source};
use wire::capture::{self, PcapWriter};

use crate::steps::{Outcome, command, output};

/// The host behind sf0 in `web.pcap`: its frames enter there, all others at sf1.
const INSIDE: &str = "10.0.0.6";
/// The capture below the directory of data.
pub const CAPTURE: &str = "web.pcap";
const CONFIG: &str = "distributor.toml";

/// What each sensor should see, as tcpdump says it, with the host's own frames first.
const SENSORS: [(&str, [&str; 2]); 2] = [
    ("sf2", ["tcp dst port 80", "tcp src port 80"]),
    ("sf3", ["tcp and not dst port 80 or udp or icmp", "tcp and not src port 80 or udp or icmp"]),
];

/// Replays the capture, and compares what each sensor is sent.
///
/// # Errors
/// Every difference; a ledger that does not balance; where the capture or tcpdump is not there.
pub fn check(dir: &Path) -> Outcome {
    let file = dir.join(CAPTURE);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let read = |name: &str| {
        let path = examples.join(name);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let plan =
        plan::compile_with(CONFIG, &read(CONFIG)?, &read).map_err(|problems| problems.to_string())?.plan;
    let mut inputs = Vec::new();
    for (port, octets) in ["sf0", "sf1"].into_iter().zip(halves(&file)?) {
        let at = plan.point(port).map_err(|refusal| refusal.to_string())?;
        let source = Source::Stream(port.to_owned(), Box::new(std::io::Cursor::new(octets)));
        inputs.push(Input { at, source });
    }
    let report =
        offline::replay(&plan, inputs, Outputs::default(), |_| {}).map_err(|error| error.to_string())?;
    if report.ledger.unaccounted != 0 {
        return Err(format!("unaccounted {}", report.ledger.unaccounted));
    }
    let mut said = Vec::new();
    for (monitor, [inside, outside]) in SENSORS {
        let mut expected = Vec::new();
        for (source, way, expression) in [("sf0", "", inside), ("sf1", "not ", outside)] {
            let wanted = counted(&file, &format!("{way}src host {INSIDE} and ({expression})"))?;
            let copies = report.ledger.copies.iter();
            let copies = copies.filter(|copy| copy.monitor == monitor && copy.source == source);
            let copied: u64 = copies.map(|copy| copy.copied).sum();
            if copied != wanted {
                return Err(format!(
                    "{monitor} is sent {copied} frames of {source}, and tcpdump counts {wanted}"
                ));
            }
            expected.push(wanted.to_string());
        }
        let sent = report.ledger.monitors.get(monitor).map_or(0, |monitor| monitor.sent);
        said.push(format!("{sent} frames to {monitor} ({})", expected.join(" + ")));
    }
    Ok(format!("{}, as tcpdump counts them", said.join(", ")))
}

/// The frames of the host inside, and all others, as captures.
pub fn halves(file: &Path) -> Result<[Vec<u8>; 2], String> {
    let octets = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut halves = [Vec::new(), Vec::new()];
    let writers = halves.each_mut().map(|half| PcapWriter::new(wire::LinkType::ETHERNET, false, half));
    let mut trouble = None;
    let inside = INSIDE.parse().ok();
    capture::read(&octets, |_, packet| {
        let source = rules::form::Fields::of(&packet.frame).ip.map(|ip| ip.source);
        let half = usize::from(source != inside);
        let time = packet.timestamp.unwrap_or_default();
        if let Err(error) = writers[half].packet(time, &packet.frame, &mut halves[half]) {
            trouble = Some(error.to_string());
        }
    })
    .map_err(|broken| broken.to_string())?;
    trouble.map_or(Ok(halves), Err)
}

fn counted(file: &Path, expression: &str) -> Result<u64, String> {
    let text = output(command("tcpdump").args(["--count", "-n", "-r"]).arg(file).arg(expression))?;
    let count = text.split_whitespace().next().and_then(|count| count.parse().ok());
    count.ok_or_else(|| format!("tcpdump --count said {text:?}"))
}
