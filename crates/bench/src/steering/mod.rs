//! What rules cost: the device `distributor` beside the same link without a rule, and beside nft.
//!
//! Every tap here is on the link of `a` and `b` with monitors from `m1` on, and is set up by the program that
//! users run. Frames enter at `a`.

pub mod rules;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use wire::headers::protocol;

use crate::error::{Failure, Outcome};
use crate::files::{self, Files};
use crate::frame::{self, Ends, PORTS_AT};
use crate::generator::{SENT, Vary, generator};
use crate::jobs::View;
use crate::stand::{Shared, Side, Stand};
use crate::standing::{Arrival, Load, Standing};
use rules::{Set, Shape};

/// A tap or a peer.
pub struct Tap {
    name: String,
    steered: Steered,
    monitors: usize,
    sent: Vec<Sent>,
}

/// By what copies are made.
enum Steered {
    /// Tapwright's device `tap`: every frame to the first monitor.
    Plainly(Attach),
    /// The device `distributor` by pf rules.
    Rules(Attach, String),
    /// The device `distributor` by copies as they stand in its config.
    Copies(Attach, String),
    /// nft by a script; how slow it is.
    Nft(String, u32),
}

/// How Tapwright is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attach {
    /// Native XDP.
    Xdp,
    /// tcx.
    Tcx,
}

impl Attach {
    /// As in configs and in names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tcx => "tcx",
        }
    }
}

/// What is sent at a tap.
enum Sent {
    /// TCP to port 80 and to another in turn: each half to a monitor of its own.
    Split,
    /// The same, and all of it to the first monitor.
    Unsplit,
    /// What the last rule matches: to the first monitor.
    Hit(Ends),
    /// What no rule matches: to none.
    Miss,
    /// 1,024 conversations, to one monitor or another.
    Flows,
}

/// The names that targets speak of.
pub mod name {
    /// Without a rule.
    pub const PLAIN: &str = "no rule, 1 copy";
    /// A split by pf rules.
    pub const SPLIT_PF: &str = "port 80 split, pf rules";
    /// A split by expressions.
    pub const SPLIT_EXPRESSIONS: &str = "port 80 split, expressions";
    /// Frames that the last rule matches, and frames that none does.
    pub const MET: [&str; 2] = ["hit", "miss"];
}

/// The name of a set of rules.
pub fn set_name(shape: Shape, count: usize) -> String {
    let rules = match shape {
        Shape::Tuples => "five-tuples",
        Shape::Networks => "networks",
        Shape::Mixed => "mixed rules",
        Shape::Arbitrary => "arbitrary rules",
    };
    format!("{count} {rules}")
}

/// The name of networks in a table.
pub const TABLE: &str = "10000 networks in a table";

/// Sets of rules that are measured under XDP and tcx.
const SETS: [(Shape, usize); 9] = [
    (Shape::Tuples, 1),
    (Shape::Tuples, 10),
    (Shape::Tuples, 100),
    (Shape::Tuples, 1_000),
    (Shape::Tuples, 10_000),
    (Shape::Networks, 1),
    (Shape::Networks, 10_000),
    (Shape::Mixed, 1_000),
    (Shape::Arbitrary, 30_000),
];

/// Sets of rules that nft tries one after the other, and the part of frames that it gets.
const LINEAR: [(Shape, usize, u32); 6] = [
    (Shape::Tuples, 1, 1),
    (Shape::Tuples, 10, 1),
    (Shape::Tuples, 100, 10),
    (Shape::Tuples, 1_000, 100),
    (Shape::Networks, 1, 1),
    (Shape::Mixed, 1_000, 100),
];

/// All of them, in the order of the table.
pub fn taps() -> Vec<Tap> {
    let mut taps = Vec::new();
    for attach in [Attach::Xdp, Attach::Tcx] {
        taps.extend(tapwrights(attach));
    }
    taps.extend(nfts());
    taps
}

fn tapwrights(attach: Attach) -> Vec<Tap> {
    let tap = |name: &str, steered, monitors, sent| Tap {
        name: format!("{}: {name}", attach.name()),
        steered,
        monitors,
        sent,
    };
    let split = "pass in on a dup-to (m2 192.0.2.2) proto tcp from any to any port != 80\n\
                 pass in on a dup-to (m1 192.0.2.1) proto tcp from any to any port 80\n";
    let copies = "[[device.copy]]\nmatch = \"tcp port 80\"\nto = [\"m1\"]\n\n\
                  [[device.copy]]\nmatch = \"not tcp port 80\"\nto = [\"m2\"]\n";
    let mut taps = vec![
        tap(name::PLAIN, Steered::Plainly(attach), 2, vec![Sent::Unsplit, Sent::Flows]),
        tap(name::SPLIT_PF, Steered::Rules(attach, split.to_owned()), 2, vec![Sent::Split]),
        tap(name::SPLIT_EXPRESSIONS, Steered::Copies(attach, copies.to_owned()), 2, vec![Sent::Split]),
    ];
    for (shape, count) in SETS {
        let set = Set::new(shape, count);
        let sent = vec![Sent::Hit(set.hit), Sent::Miss];
        taps.push(tap(&set_name(shape, count), Steered::Rules(attach, set.pf()), 2, sent));
    }
    let set = Set::new(Shape::Networks, 10_000);
    let sent = vec![Sent::Hit(set.hit), Sent::Miss];
    taps.push(tap(TABLE, Steered::Rules(attach, set.pf_table()), 2, sent));
    for monitors in [2, 4, 8] {
        let names: Vec<String> = (1..=monitors).map(|number| format!("\"m{number}\"")).collect();
        let copy = format!("[[device.copy]]\nto = [{}]\nbalance = \"flow\"\n", names.join(", "));
        let name = format!("balance by flow over {monitors}");
        taps.push(tap(&name, Steered::Copies(attach, copy), monitors, vec![Sent::Flows]));
    }
    taps
}

fn nfts() -> Vec<Tap> {
    let tap = |name: &str, steered, sent| Tap { name: format!("nft: {name}"), steered, monitors: 2, sent };
    let chain = |rules: &[&str]| rules::chain(rules.iter().map(|rule| (*rule).to_owned()));
    let plain = chain(&["dup to \"m1\" fwd to \"b\""]);
    let split = chain(&["tcp dport 80 dup to \"m1\" fwd to \"b\"", "dup to \"m2\" fwd to \"b\""]);
    let mut taps = vec![
        tap(name::PLAIN, Steered::Nft(plain, 1), vec![Sent::Unsplit]),
        tap("port 80 split", Steered::Nft(split, 1), vec![Sent::Split]),
    ];
    for (shape, count, part) in LINEAR {
        let set = Set::new(shape, count);
        let sent = vec![Sent::Hit(set.hit), Sent::Miss];
        taps.push(tap(&set_name(shape, count), Steered::Nft(set.nft(), part), sent));
    }
    for (shape, name) in [(Shape::Tuples, "10000 five-tuples in a set"), (Shape::Networks, TABLE)] {
        let set = Set::new(shape, 10_000);
        let sent = vec![Sent::Hit(set.hit), Sent::Miss];
        taps.push(tap(name, Steered::Nft(set.nft_set(shape), 1), sent));
    }
    taps
}

impl Tap {
    /// Leaves out what is sent under names that do not contain this; whether anything is left.
    pub fn keep(&mut self, only: &str) -> bool {
        let Self { name, sent, .. } = self;
        sent.retain(|sent| sent.name(name).contains(only));
        !sent.is_empty()
    }

    fn view(&self) -> View {
        match self.steered {
            Steered::Plainly(Attach::Xdp)
            | Steered::Rules(Attach::Xdp, _)
            | Steered::Copies(Attach::Xdp, _) => View::Xdp,
            _ => View::Skb,
        }
    }

    /// Sets it up.
    ///
    /// # Errors
    /// What could not be made, attached or started.
    pub fn set_up(self, octets: usize, shared: &Shared, files: &Files) -> Outcome<Standing> {
        let named = |error| Failure::new(&self.name, error);
        let mut stand = Stand::new(self.monitors).map_err(named)?;
        let far = (1..=self.monitors).map(|number| format!("f{number}"));
        let ends: Vec<String> = std::iter::once("fb".to_owned()).chain(far).collect();
        match self.view() {
            View::Xdp => stand.pass_xdp(shared, Side::Far, "fa")?,
            View::Skb => stand.pass_xdp(shared, Side::Tap, "a")?,
        }
        let mut sinks = Vec::new();
        for end in &ends {
            sinks.push(match self.view() {
                View::Xdp => stand.sink_xdp(shared, Side::Far, end)?,
                View::Skb => stand.sink_tcx(Side::Far, end)?,
            });
        }
        self.start(&stand, files).map_err(named)?;
        let loads = self.sent.iter().map(|sent| self.load(sent, octets, &mut stand));
        let loads = loads.collect::<Outcome<Vec<Load>>>().map_err(named)?;
        let has_ledger = !matches!(self.steered, Steered::Nft(..));
        Ok(Standing { stand, sinks, process: None, has_ledger, loads })
    }

    fn start(&self, stand: &Stand, files: &Files) -> Outcome<()> {
        let (config, rules) = match &self.steered {
            Steered::Nft(script, _) => {
                let path = files.write("rules.nft", script)?;
                return stand.run(&format!("nft -f {}", path.display()));
            }
            _ => self.config(),
        };
        files.write("rules.pf", rules)?;
        let path = files.write("bench.toml", &config)?;
        stand.in_tap(|| files::run(&mut files.tapwright(&[Path::new("up"), &path])))?
    }

    /// The config of a tap, and the rules that it may name.
    fn config(&self) -> (String, &str) {
        match &self.steered {
            Steered::Nft(..) => (String::new(), ""),
            Steered::Plainly(attach) => {
                let device = "kind = \"tap\"\nlink = [\"a\", \"b\"]\nmonitors = [[\"m1\", \"m2\"]]\n";
                (config(*attach, self.monitors, device), "")
            }
            Steered::Rules(attach, rules) => (config(*attach, self.monitors, DISTRIBUTOR_BY_RULES), rules),
            Steered::Copies(attach, copies) => {
                let device = format!("kind = \"distributor\"\nlink = [\"a\", \"b\"]\n\n{copies}");
                (config(*attach, self.monitors, &device), "")
            }
        }
    }

    fn load(&self, sent: &Sent, octets: usize, stand: &mut Stand) -> Outcome<Load> {
        let (ends, vary) = sent.frames();
        Ok(Load {
            name: sent.name(&self.name),
            view: self.view(),
            may_lose: false,
            frame: frame::between(&ends, octets)?,
            generator: stand
                .generator(&generator(vary).map_err(|error| Failure::new("generator", error))?)?,
            part: if let Steered::Nft(_, part) = self.steered { part } else { 1 },
            arrivals: self.arrivals(sent),
        })
    }

    /// Sink 0 is the far end of the link, the others are monitors.
    fn arrivals(&self, sent: &Sent) -> Vec<Arrival> {
        let monitors = match sent {
            Sent::Split => vec![(vec![1], 2), (vec![2], 2)],
            Sent::Unsplit | Sent::Hit(_) => vec![(vec![1], 1), ((2..=self.monitors).collect(), 0)],
            Sent::Miss => vec![((1..=self.monitors).collect(), 0)],
            Sent::Flows => vec![((1..=self.monitors).collect(), 1)],
        };
        let monitors = monitors.into_iter().map(|(sinks, one_of)| Arrival { sinks, one_of });
        std::iter::once(Arrival::all(0)).chain(monitors).collect()
    }
}

impl Sent {
    fn name(&self, tap: &str) -> String {
        match self {
            Self::Split | Self::Unsplit => tap.to_owned(),
            Self::Hit(_) => format!("{tap}, {}", name::MET[0]),
            Self::Miss => format!("{tap}, {}", name::MET[1]),
            Self::Flows if tap.ends_with(name::PLAIN) => format!("{tap}, of many flows"),
            Self::Flows => tap.to_owned(),
        }
    }

    fn frames(&self) -> (Ends, Option<Vary>) {
        let web = Ends {
            protocol: protocol::TCP,
            source: IpAddr::V4(Ipv4Addr::new(10, 9, 9, 1)),
            source_port: 40_000,
            destination: IpAddr::V4(Ipv4Addr::new(10, 9, 9, 2)),
            destination_port: 80,
        };
        match self {
            Self::Split | Self::Unsplit => (web, Some(Vary::between(PORTS_AT[1], [80, 443]))),
            Self::Hit(ends) => (*ends, None),
            Self::Miss => (Set::MISS, None),
            Self::Flows => (web, Some(Vary::many(PORTS_AT[0], 1024))),
        }
    }
}

/// A device that takes its rules from the file that stands beside its config.
pub const DISTRIBUTOR_BY_RULES: &str =
    "kind = \"distributor\"\nlink = [\"a\", \"b\"]\nrules = \"rules.pf\"\n";

/// A config of the ports of a stand and one device.
pub fn config(attach: Attach, monitors: usize, device: &str) -> String {
    let port =
        |name: &str| format!("{name} = {{ interface = \"{name}\", attach = \"{}\" }}\n", attach.name());
    // A monitor is attached as the ports are, but never by XDP.
    let monitor = |number: usize| match attach {
        Attach::Xdp => format!("m{number} = \"m{number}\"\n"),
        Attach::Tcx => port(&format!("m{number}")),
    };
    let monitors: String = (1..=monitors).map(monitor).collect();
    format!("[ports]\n{}{}{monitors}\n[[device]]\nname = \"bench\"\n{device}", port("a"), port("b"))
}

impl Stand {
    /// A generator of frames that come out of `fa`.
    ///
    /// # Errors
    /// A system call failed.
    fn generator(&mut self, program: &bpf::asm::Program) -> Outcome<sys::ProgFd> {
        let devmap = self.devmap(Side::Far, &["fa"])?;
        let sent = self.array(8)?;
        self.load(program, &[(bpf::bench::DEVMAP, devmap), (SENT, sent)], &[])
    }
}

#[cfg(test)]
mod tests {
    use plan::eval::{State, Time, eval};

    use super::*;

    /// The first frame of a load goes where all of its frames must, as far as one frame can tell.
    #[test]
    fn every_tap_means_what_is_measured() {
        for tap in taps().iter().filter(|tap| !matches!(tap.steered, Steered::Nft(..))) {
            let (config, rules) = tap.config();
            let files = |_: &str| Ok(rules.to_owned());
            let compiled =
                plan::compile_with("bench.toml", &config, &files).expect("every config here is right");
            let plan = compiled.plan;
            let point = plan.point("a").unwrap();
            for sent in &tap.sent {
                let data = frame::between(&sent.frames().0, 60).unwrap();
                let frame = wire::Frame::ethernet(&data).unwrap();
                let verdict = eval(&plan, &mut State::default(), Time(0), 0, point, &frame).unwrap();
                let (_, hook) = plan.hook_at(point).unwrap();
                let to = verdict
                    .copies
                    .iter()
                    .map(|copy| plan.sink_name(plan::plan::Plan::copy(hook, *copy).sink));
                let to: Vec<&str> = to.collect();
                let name = sent.name(&tap.name);
                match sent {
                    Sent::Split | Sent::Unsplit | Sent::Hit(_) => assert_eq!(to, ["m1"], "{name}"),
                    Sent::Miss => assert!(to.is_empty(), "{name}: {to:?}"),
                    Sent::Flows => assert_eq!(to.len(), 1, "{name}"),
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> =
            taps().iter().flat_map(|tap| tap.sent.iter().map(|sent| sent.name(&tap.name))).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
