//! What a replay did: the ledger that every backend shares, and what was read and written.

use std::fmt;

use plan::ledger::{Status, Table};
use plan::plan::{Plan, PortId, Role};
use serde::Serialize;

use crate::hub::HubCounts;
use crate::meter::{PortReport, Reports};

/// What a replay did. As JSON, one object: the keys of the ledger, `inputs`, `outputs` and, where ports were looked at,
/// `measured`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The ledger, of the backend `offline`.
    #[serde(flatten)]
    pub ledger: Status,
    /// The inputs, as they were named.
    pub inputs: Vec<InputReport>,
    /// The captures that were written, in plan order.
    pub outputs: Vec<OutputReport>,
    /// What was measured at monitor ports, in plan order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<PortReport>,
    /// What was counted at hubs, in plan order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hubs: Vec<HubCounts>,
}

/// One input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InputReport {
    /// The file.
    pub file: String,
    /// The source its frames belong to: `a`, or `eth0:rx`.
    pub source: String,
    /// Packets that came.
    pub packets: u64,
    /// Octets of those packets, as captured.
    pub bytes: u64,
    /// Octets of the file that were read as whole records.
    pub offset: u64,
    /// Packets whose time lies before that of their predecessor in the file; they keep their place.
    pub out_of_order: u64,
    /// What broke, where something did: the packets before it were replayed.
    pub broken: Option<String>,
}

/// One output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OutputReport {
    /// The port that sent the frames.
    pub port: String,
    /// The file.
    pub file: String,
    /// Packets written.
    pub packets: u64,
    /// Octets of those packets, as captured.
    pub bytes: u64,
    /// Packets whose time the format cannot hold, written with the nearest that it can.
    pub times_clamped: u64,
    /// Whether whoever read it hung up; what came later was not written.
    pub closed: bool,
}

/// Inputs that are shown; all are in the JSON.
const INPUTS_MAX: usize = 64;

impl Report {
    /// Whether every input was read to its end.
    pub fn is_whole(&self) -> bool {
        self.inputs.iter().all(|input| input.broken.is_none())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut inputs = Table::new(["INPUT", "SOURCE", "PACKETS", "BYTES", "OUT OF ORDER"], 2);
        for input in self.inputs.iter().take(INPUTS_MAX) {
            let numbers = [input.packets, input.bytes, input.out_of_order].map(|number| number.to_string());
            inputs.row([input.file.clone(), input.source.clone()].into_iter().chain(numbers));
        }
        inputs.print(f)?;
        if let Some(others) = self.inputs.len().checked_sub(INPUTS_MAX).filter(|others| *others > 0) {
            writeln!(f, "and {others} more")?;
        }
        f.write_str("\n")?;
        if !self.outputs.is_empty() {
            let mut outputs = Table::new(["OUTPUT", "PORT", "PACKETS", "BYTES", "TIMES CLAMPED"], 2);
            for output in &self.outputs {
                let numbers = [output.packets, output.bytes, output.times_clamped];
                let numbers = numbers.map(|number| number.to_string());
                outputs.row([output.file.clone(), output.port.clone()].into_iter().chain(numbers));
            }
            outputs.print(f)?;
            f.write_str("\n")?;
        }
        if !self.measured.is_empty() {
            writeln!(f, "{}", Reports(&self.measured))?;
        }
        if !self.hubs.is_empty() {
            hubs(&self.hubs).print(f)?;
            self.hubs.iter().try_for_each(|hub| writeln!(f, "{hub}"))?;
            f.write_str("\n")?;
        }
        self.ledger.fmt(f)
    }
}

/// What became of frames on the wires of hubs.
fn hubs(hubs: &[HubCounts]) -> Table {
    let titles =
        ["HUB", "PORT", "OFFERED", "DELIVERED", "DEFERRED", "LOST IN COLLISION", "GIVEN UP", "QUEUE FULL"];
    let mut table = Table::new(titles, 2);
    for hub in hubs {
        for port in &hub.ports {
            let name = if port.tap { format!("{} (tap)", port.name) } else { port.name.clone() };
            let lost = [port.lost_of_tap + port.unheard, port.excessive, port.overflow];
            let numbers = [port.offered, port.delivered, port.deferred].into_iter().chain(lost);
            table.row([hub.name.clone(), name].into_iter().chain(numbers.map(|number| number.to_string())));
        }
    }
    table
}

/// Whether frames leave by a port: then it may have an output.
pub(crate) fn sends(plan: &Plan, port: PortId) -> bool {
    matches!(plan.port(port).role, Role::Network | Role::Monitor | Role::Virtual)
}
