//! How even flows are spread, and what moves when a sensor goes. Counted, not timed: no kernel is asked.

use std::net::IpAddr;

use rules::form::{
    Action, Choice, CopyIndex, GOLDEN, Method, Program, RuleId, Spread, SpreadIndex, Step, Test, mixed,
    sink_key,
};
use wire::Frame;
use wire::headers::protocol;

use crate::error::{Failure, Outcome};
use crate::frame::{Ends, between};

/// Conversations.
pub const FLOWS: u32 = 20_000;

/// Weights of sensors.
const WEIGHTS: [&[u8]; 6] =
    [&[1, 1], &[1, 2], &[1, 1, 1, 1], &[4, 3, 2, 1], &[1, 1, 1, 1, 1, 1, 1], &[7, 6, 5, 4, 3, 2, 1]];

/// How one spread did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Balance {
    /// Weights of the sensors.
    pub weights: Vec<u8>,
    /// Flows at each.
    pub flows: Vec<u64>,
    /// The largest distance from a sensor's due, in percent of all flows.
    pub worst_of_all_percent: f64,
    /// The largest distance from a sensor's due, in percent of that due.
    pub worst_of_due_percent: f64,
    /// Flows of which frames went to two sensors.
    pub split: u64,
}

/// What happened when one sensor of eight was taken away.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Removal {
    /// Which one.
    pub removed: usize,
    /// Flows that it had.
    pub had: u64,
    /// Flows of the others that went elsewhere.
    pub moved_of_others: u64,
}

/// Spreads all flows.
///
/// # Errors
/// None that the flows here can cause.
pub fn spreads() -> Outcome<Vec<Balance>> {
    WEIGHTS.iter().map(|weights| balance(weights)).collect()
}

fn balance(weights: &[u8]) -> Outcome<Balance> {
    let program = spread(&weights.iter().copied().enumerate().collect::<Vec<_>>())?;
    let mut flows = vec![0u64; weights.len()];
    let mut split = 0;
    for number in 0..FLOWS {
        let there = sensor(&program, &ends(number))?;
        split += u64::from(sensor(&program, &back(&ends(number)))? != there);
        flows[there] += 1;
    }
    let (total, all) = (weights.iter().copied().map(f64::from).sum::<f64>(), f64::from(FLOWS));
    let off = |of: &dyn Fn(f64) -> f64| {
        let each = flows.iter().zip(weights).map(|(flows, weight)| {
            let due = f64::from(*weight) / total * all;
            (crate::run::to_f64(*flows) - due).abs() / of(due) * 100.0
        });
        each.fold(0.0, f64::max)
    };
    let (worst_of_all_percent, worst_of_due_percent) = (off(&|_| all), off(&|due| due));
    Ok(Balance { weights: weights.to_vec(), flows, worst_of_all_percent, worst_of_due_percent, split })
}

/// Takes each of eight sensors away.
///
/// # Errors
/// None that the flows here can cause.
pub fn removals() -> Outcome<Vec<Removal>> {
    let sensors: Vec<(usize, u8)> = (0..8).map(|sensor| (sensor, 1)).collect();
    let whole = spread(&sensors)?;
    let mut removals = Vec::new();
    for removed in 0..sensors.len() {
        let left: Vec<(usize, u8)> =
            sensors.iter().copied().filter(|(sensor, _)| *sensor != removed).collect();
        let rest = spread(&left)?;
        let (mut had, mut moved_of_others) = (0, 0);
        for number in 0..FLOWS {
            let (before, after) = (sensor(&whole, &ends(number))?, sensor(&rest, &ends(number))?);
            had += u64::from(before == removed);
            moved_of_others += u64::from(before != removed && before != after);
        }
        removals.push(Removal { removed, had, moved_of_others });
    }
    Ok(removals)
}

/// A program that spreads over sensors by flow: number and weight of each.
fn spread(sensors: &[(usize, u8)]) -> Outcome<Program> {
    let choice = |(sensor, weight): &(usize, u8)| Choice {
        copy: CopyIndex(u16::try_from(*sensor).expect("a handful")),
        weight: *weight,
        key: sink_key(&format!("sensor{sensor}")),
    };
    let spread = Spread::new(Method::Flow, sensors.iter().map(choice).collect(), false);
    let spread = spread.ok_or_else(|| Failure::new("spread", "refused"))?;
    let step = Step { rule: RuleId(0), when: Test::Always, then: Action::Spread(SpreadIndex(0)) };
    Ok(Program { steps: vec![step], spreads: vec![spread], ..Program::default() })
}

/// Which sensor a frame goes to.
fn sensor(program: &Program, ends: &Ends) -> Outcome<usize> {
    let data = between(ends, 60)?;
    let frame = Frame::ethernet(&data).ok_or_else(|| Failure::new("frame", "too long"))?;
    let copies = program.run(&frame).copies;
    copies.first().map(|copy| usize::from(copy.0)).ok_or_else(|| Failure::new("spread", "no copy was made"))
}

/// A conversation of a client in a campus with a server somewhere; one in four over IPv6.
fn ends(number: u32) -> Ends {
    let random = mixed(u64::from(number).wrapping_add(1).wrapping_mul(GOLDEN)).to_be_bytes();
    let [a, b, c, d, e, f, g, h] = random;
    let (source, destination) = match number % 4 {
        0 => {
            let mut server = [0; 16];
            server[..8].copy_from_slice(&[0x20, 1, 0xd, 0xb8, c, d, e, f]);
            let mut client = [0; 16];
            client[..8].copy_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 1]);
            client[14..].copy_from_slice(&[a, b]);
            (IpAddr::from(client), IpAddr::from(server))
        }
        _ => (IpAddr::from([10, 1, a, b]), IpAddr::from([c | 1, d, e, f])),
    };
    Ends {
        protocol: if number % 8 == 1 { protocol::UDP } else { protocol::TCP },
        source,
        source_port: u16::from_be_bytes([g | 0x80, h]),
        destination,
        destination_port: if number.is_multiple_of(3) { 80 } else { 443 },
    }
}

/// The other direction.
fn back(ends: &Ends) -> Ends {
    Ends {
        source: ends.destination,
        source_port: ends.destination_port,
        destination: ends.source,
        destination_port: ends.source_port,
        ..*ends
    }
}
