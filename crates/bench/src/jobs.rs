//! The jobs: what stands between the generator and the sinks.
//!
//! Jobs of one view share the way in and the way out, so that they differ by the tap alone. In the XDP view
//! frames stay XDP frames up to sinks in XDP; in the skb view an XDP program at `a` lets them into the stack,
//! and sinks are tcx programs at the far ends.

use crate::error::Outcome;
use crate::stand::{Shared, Side, Stand};
use crate::standing::{Arrival, Load, Standing};

/// How frames travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// As XDP frames.
    Xdp,
    /// As socket buffers.
    Skb,
}

/// What stands between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tap {
    /// Nothing: frames end at `a`.
    Limit,
    /// A bare program that forwards, and makes a copy where the job has one.
    Bare,
    /// Tapwright with this many copies, attached so.
    Tapwright {
        /// Monitors that get a copy.
        copies: usize,
        /// As in the config.
        attach: &'static str,
    },
    /// Commands of a peer, one a line.
    Commands(&'static str),
    /// A process of a peer: it is beside the path of the frames, so they end at `a` too.
    Process(&'static str),
}

/// One job.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Its name in tables and results.
    pub name: &'static str,
    /// How its frames travel.
    pub view: View,
    /// What stands between.
    pub tap: Tap,
    /// Whether frames reach the far end of `b`.
    pub forwards: bool,
    /// How many monitors get a copy.
    pub copies: usize,
}

const fn tapwright(name: &'static str, view: View, attach: &'static str, copies: usize) -> Job {
    Job { name, view, tap: Tap::Tapwright { copies, attach }, forwards: true, copies }
}

const fn peer(name: &'static str, commands: &'static str, copies: usize) -> Job {
    Job { name, view: View::Skb, tap: Tap::Commands(commands), forwards: true, copies }
}

const fn limit(name: &'static str, view: View) -> Job {
    Job { name, view, tap: Tap::Limit, forwards: false, copies: 0 }
}

const fn bare(name: &'static str, view: View, copies: usize) -> Job {
    Job { name, view, tap: Tap::Bare, forwards: true, copies }
}

/// The names that targets speak of.
pub mod name {
    pub const XDP_FORWARD: &str = "XDP forward alone";
    pub const XDP: [&str; 4] =
        ["tapwright xdp", "tapwright xdp + 1", "tapwright xdp + 2", "tapwright xdp + 4"];
    pub const TCX: [&str; 2] = ["tapwright tcx + 1", "tapwright tcx + 2"];
    pub const CLSACT: &str = "tapwright clsact + 1";
    pub const CLASSIC: [&str; 2] = ["tapwright classic + 1", "tapwright classic + 2"];
    pub const NFT: [&str; 2] = ["nft dup + fwd, 1", "nft dup + fwd, 2"];
    pub const MIRRED: [&str; 2] = ["tc u32 mirror + redirect, 1", "tc u32 mirror + redirect, 2"];
    pub const BRIDGE_MIRRED: &str = "linux bridge + tc u32 mirror, 1";
}

/// All jobs, in the order of the table.
pub const JOBS: &[Job] = &[
    limit("generator, XDP drop", View::Xdp),
    bare(name::XDP_FORWARD, View::Xdp, 0),
    bare("XDP broadcast alone, 1", View::Xdp, 1),
    tapwright(name::XDP[0], View::Xdp, "xdp", 0),
    tapwright(name::XDP[1], View::Xdp, "xdp", 1),
    tapwright(name::XDP[2], View::Xdp, "xdp", 2),
    tapwright(name::XDP[3], View::Xdp, "xdp", 4),
    limit("generator, skb drop", View::Skb),
    bare("tcx redirect alone", View::Skb, 0),
    bare("tcx clone + redirect alone, 1", View::Skb, 1),
    tapwright(name::TCX[0], View::Skb, "tcx", 1),
    tapwright(name::TCX[1], View::Skb, "tcx", 2),
    tapwright(name::CLSACT, View::Skb, "clsact", 1),
    tapwright(name::CLASSIC[0], View::Skb, "classic", 1),
    tapwright(name::CLASSIC[1], View::Skb, "classic", 2),
    peer(
        name::NFT[0],
        "nft add table netdev t
         nft add chain netdev t c { type filter hook ingress device a priority 0 ; }
         nft add rule netdev t c dup to m1 fwd to b",
        1,
    ),
    peer(
        name::NFT[1],
        "nft add table netdev t
         nft add chain netdev t c { type filter hook ingress device a priority 0 ; }
         nft add rule netdev t c dup to m1 dup to m2 fwd to b",
        2,
    ),
    peer(
        name::MIRRED[0],
        "tc qdisc add dev a ingress
         tc filter add dev a parent ffff: protocol all u32 match u32 0 0 \
            action mirred egress mirror dev m1 action mirred egress redirect dev b",
        1,
    ),
    peer(
        name::MIRRED[1],
        "tc qdisc add dev a ingress
         tc filter add dev a parent ffff: protocol all u32 match u32 0 0 \
            action mirred egress mirror dev m1 action mirred egress mirror dev m2 \
            action mirred egress redirect dev b",
        2,
    ),
    peer(
        "tc classic bpf mirror + redirect, 1",
        "tc qdisc add dev a ingress
         tc filter add dev a parent ffff: protocol all bpf bytecode 1,6+0+0+4294967295 \
            action mirred egress mirror dev m1 action mirred egress redirect dev b",
        1,
    ),
    peer(
        "linux bridge",
        "ip link add br0 up type bridge
         ip link set dev a master br0
         ip link set dev b master br0",
        0,
    ),
    peer(
        name::BRIDGE_MIRRED,
        "ip link add br0 up type bridge
         ip link set dev a master br0
         ip link set dev b master br0
         tc qdisc add dev a ingress
         tc filter add dev a parent ffff: protocol all u32 match u32 0 0 \
            action mirred egress mirror dev m1",
        1,
    ),
    Job {
        name: "daemonlogger -i A -o M, copies only",
        view: View::Skb,
        tap: Tap::Process("daemonlogger -i a -o m1"),
        forwards: false,
        copies: 1,
    },
    Job {
        name: "tcpbridge, forwards only",
        view: View::Skb,
        tap: Tap::Process("tcpbridge --unidir --intf1=a --intf2=b"),
        forwards: true,
        copies: 0,
    },
];

/// Sets a job up.
///
/// # Errors
/// What could not be made, attached or started.
pub fn set_up(job: Job, frame: &[u8], shared: &Shared) -> Outcome<Standing> {
    // Regeneration takes monitors in pairs, one for each direction.
    let mut stand = Stand::new(2 * job.copies.max(1))?;
    let mut sinks = Vec::new();
    let far = (1..=job.copies).map(|number| format!("f{number}"));
    let ends: Vec<String> = job.forwards.then(|| "fb".to_owned()).into_iter().chain(far).collect();
    match job.view {
        View::Xdp => {
            stand.pass_xdp(shared, Side::Far, "fa")?;
            for end in &ends {
                sinks.push(stand.sink_xdp(shared, Side::Far, end)?);
            }
            for number in job.copies + 1..=2 * job.copies.max(1) {
                stand.pass_xdp(shared, Side::Far, &format!("f{number}"))?;
            }
        }
        View::Skb => {
            stand.pass_xdp(shared, Side::Tap, "a")?;
            for end in &ends {
                sinks.push(stand.sink_tcx(Side::Far, end)?);
            }
        }
    }
    let mut process = None;
    match (job.tap, job.view) {
        (Tap::Limit, View::Xdp) => sinks.push(stand.sink_xdp(shared, Side::Tap, "a")?),
        (Tap::Limit, View::Skb) => sinks.push(stand.sink_tcx(Side::Tap, "a")?),
        (Tap::Bare, View::Xdp) => {
            let to: &[&str] = if job.copies == 0 { &["b"] } else { &["b", "m1"] };
            let program = stand.forward_xdp(Side::Tap, to)?;
            stand.attach_xdp(Side::Tap, "a", program)?;
        }
        (Tap::Bare, View::Skb) => {
            let copy = (job.copies > 0).then_some("m1");
            let program = stand.forward_tc(Side::Tap, "b", copy)?;
            stand.attach_tcx(Side::Tap, "a", program)?;
        }
        (Tap::Tapwright { copies, attach }, _) => stand.up(&config(copies, attach))?,
        (Tap::Commands(lines), _) => lines.lines().try_for_each(|line| stand.run(line))?,
        (Tap::Process(line), _) => {
            // Frames go no further than the process, as at the limit that it is compared with.
            stand.sink_tcx(Side::Tap, "a")?;
            process = Some(stand.start(line)?);
        }
    }
    let load = Load {
        name: job.name.to_owned(),
        view: job.view,
        may_lose: process.is_some(),
        frame: frame.to_vec(),
        generator: stand.forward_xdp(Side::Far, &["fa"])?,
        part: 1,
        arrivals: (0..sinks.len()).map(Arrival::all).collect(),
    };
    let has_ledger = matches!(job.tap, Tap::Tapwright { .. });
    Ok(Standing { stand, sinks, process, has_ledger, loads: vec![load] })
}

/// A config with so many copies of what enters at `a`; without any there is no device for it, so the plan
/// itself is given.
fn config(copies: usize, attach: &str) -> String {
    if copies == 0 {
        return format!(
            "plan 1\n\nport  a  a  network  attach {attach}\nport  b  b  network  attach {attach}\n\n\
             hook  a  in  pass b\nhook  b  in  pass a\n"
        );
    }
    let port = |name: &str| format!("{name} = {{ interface = \"{name}\", attach = \"{attach}\" }}\n");
    // A monitor is attached as the ports are, but never by XDP.
    let monitor = |number: usize| match attach {
        "xdp" => format!("m{number} = \"m{number}\"\n"),
        _ => port(&format!("m{number}")),
    };
    let monitors: String = (1..=2 * copies).map(monitor).collect();
    let pairs: Vec<String> =
        (1..=copies).map(|number| format!("[\"m{number}\", \"m{}\"]", copies + number)).collect();
    format!(
        "[ports]\n{}{}{monitors}\n[[device]]\nname = \"bench\"\nkind = \"regeneration\"\nlink = [\"a\", \"b\"]\n\
         monitors = [{}]\n",
        port("a"),
        port("b"),
        pairs.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_config_copies_what_enters_at_a_as_often_as_it_says() {
        for job in JOBS {
            let Tap::Tapwright { copies, attach } = job.tap else { continue };
            let (plan, _) = plan::compile("bench", &config(copies, attach)).unwrap();
            assert_eq!(plan.hooks[0].copies.len(), copies, "{}", job.name);
            assert_eq!(plan.source_name(&plan.hooks[0]), "a");
        }
    }

    #[test]
    fn names_are_unique() {
        for (at, job) in JOBS.iter().enumerate() {
            assert!(JOBS[..at].iter().all(|other| other.name != job.name), "{}", job.name);
        }
    }
}
