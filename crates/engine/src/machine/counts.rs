//! What devices and queues counted since `up`.

use plan::ledger::Count;
use plan::plan::{Plan, PortId, Role, Sink};
use sys::{Link, LinkStats, Result, Sys};

use super::pairs::egress_name;
use super::queue;
use super::saved::{Baseline, Choice, Saved, SavedInterface};
use crate::ledger::{GONE, PortReading};

/// The device counters that the ledger takes differences of.
pub fn baseline(stats: &LinkStats) -> Baseline {
    let named = stats.rx_crc_errors + stats.rx_length_errors + stats.rx_frame_errors + stats.rx_over_errors;
    let reasons = [
        ("crc", stats.rx_crc_errors),
        ("length", stats.rx_length_errors),
        ("frame", stats.rx_frame_errors),
        ("overrun", stats.rx_over_errors),
        ("fifo", stats.rx_fifo_errors),
        ("missed", stats.rx_missed_errors),
        ("dropped", stats.rx_dropped),
        ("other", stats.rx_errors.saturating_sub(named)),
    ];
    Baseline {
        tx: Count { frames: stats.tx_packets, bytes: stats.tx_bytes },
        tx_lost: stats.tx_dropped + stats.tx_errors,
        root_drops: 0,
        rx_lost: reasons.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
    }
}

/// What the device of a port counted, and the interface that it is now; `None` where that is gone.
pub fn port<'l>(
    plan: &Plan,
    links: &'l [Link],
    saved: &[SavedInterface],
    choice: &Choice,
    id: PortId,
) -> (PortReading, Option<&'l Link>) {
    let port = plan.port(id);
    let mut reading =
        PortReading { attach: choice.attach.clone(), why: choice.why.clone(), ..PortReading::default() };
    let before = saved.iter().find(|saved| saved.name == port.interface);
    let name = egress_name(plan, id);
    let same = |link: &&Link| link.name == name && before.is_none_or(|saved| saved.index == link.index);
    let Some(link) = links.iter().find(same) else {
        reading.trouble = Some(GONE);
        return (reading, None);
    };
    let (now, then) = (baseline(&link.stats), before.map(|saved| saved.baseline.clone()).unwrap_or_default());
    reading.sent = now.tx.frames.saturating_sub(then.tx.frames);
    reading.tx_lost = now.tx_lost.saturating_sub(then.tx_lost);
    let since = |(reason, count): (String, u64)| {
        let old = then.rx_lost.get(&reason).copied().unwrap_or(0);
        (reason, count.saturating_sub(old))
    };
    reading.rx_lost = now.rx_lost.into_iter().map(since).collect();
    if port.role == Role::Watched {
        // What the stack drops behind the tap is in `rx_dropped` too.
        reading.rx_lost.remove("dropped");
    }
    if !link.has(sys::IFF_UP) {
        reading.trouble = Some("down");
    } else if !link.carrier {
        reading.trouble = Some("no-carrier");
    }
    (reading, Some(link))
}

/// Adds what the queues of a port hold and dropped.
///
/// # Errors
/// A system call that failed.
pub fn queues(
    sys: &mut impl Sys,
    plan: &Plan,
    saved: &[SavedInterface],
    id: PortId,
    link: &Link,
    reading: &mut PortReading,
) -> Result<()> {
    if plan.port(id).queue.is_none() {
        let before = saved.iter().find(|saved| saved.name == plan.port(id).interface);
        let (drops, queued) = root(sys, link.index)?;
        reading.tx_lost += drops.saturating_sub(before.map_or(0, |saved| saved.baseline.root_drops));
        reading.queued += queued;
        return Ok(());
    }
    let qdiscs = sys.qdiscs(link.index)?;
    let sinks = plan.sinks().filter(|(_, sink)| **sink == Sink::Port(id));
    for (sink, _) in sinks {
        for side in (0u16..).take(plan.sides(sink).len()) {
            let leaf = qdiscs.iter().find(|qdisc| qdisc.handle == queue::leaf_handle(side));
            let stats = leaf.map(|leaf| leaf.stats).unwrap_or_default();
            reading.buffer_drops.push(stats.drops);
            reading.queued += u64::from(stats.queued_packets);
        }
    }
    Ok(())
}

/// What the root discipline of an interface dropped since it was made, and what waits in it. Devices do not count
/// these drops; where there is none, or it is `noqueue`, both are 0.
///
/// # Errors
/// A system call that failed.
pub fn root(sys: &mut impl Sys, ifindex: u32) -> Result<(u64, u64)> {
    let qdiscs = sys.qdiscs(ifindex)?;
    let root = qdiscs.iter().find(|qdisc| qdisc.parent == sys::H_ROOT);
    Ok(root.map_or((0, 0), |root| (root.stats.drops, u64::from(root.stats.queued_packets))))
}

/// Interfaces and pairs that a plan has and the machine has not, or not the same any more.
pub fn missing(links: &[Link], saved: &Saved) -> Vec<String> {
    let mut missing = Vec::new();
    for saved in &saved.interfaces {
        match links.iter().find(|link| link.name == saved.name) {
            None => missing.push(format!("interface {} is gone", saved.name)),
            Some(link) if link.index != saved.index => missing.push(format!(
                "interface {} is another one now: `tapwright up` attaches to it again",
                saved.name
            )),
            Some(_) => {}
        }
    }
    for pair in &saved.pairs {
        if !links.iter().any(|link| link.name == pair.near) {
            missing.push(format!("the virtual interface behind {} is gone", pair.far));
        }
    }
    missing
}
