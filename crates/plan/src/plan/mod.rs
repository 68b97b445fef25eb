//! The plan: for each hook, the ports a frame passes to and one program that decides copies and blocks.
//!
//! Pure data. The plan knows no devices: those are expanded before it exists.

pub(crate) mod devices;
mod places;
pub(crate) mod steering;

use std::collections::BTreeSet;
use std::fmt;

use rules::form::{CopyIndex, Program, RuleId};
use wire::LinkType;

/// Index into [`Plan::ports`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub u16);

/// Index into [`Plan::sinks`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SinkId(pub u16);

/// Index into [`Plan::hooks`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HookId(pub u16);

/// What must be true on one machine (strictly: in one network namespace).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Interfaces that the plan touches, in the order of the config.
    pub ports: Vec<Port>,
    /// Where copies go.
    pub sinks: Vec<Sink>,
    /// Stable identities that counters are kept under.
    pub rules: Vec<Rule>,
    /// Where frames are judged: at most one hook for a port and direction.
    pub hooks: Vec<Hook>,
}

/// A Linux interface under the user's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// The user's name.
    pub name: String,
    /// The Linux interface, 1 to 15 octets.
    pub interface: String,
    /// What the port is there for.
    pub role: Role,
    /// How its frames begin.
    pub link_type: LinkType,
    /// How programs are attached, as the user asked.
    pub attach: Attach,
    /// Capacity, where the port is a monitor port with one.
    pub queue: Option<Queue>,
}

/// What a port is there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// One of the two ends of a link: frames enter and leave.
    Network,
    /// Receives already-mirrored traffic; nothing is passed on.
    Span,
    /// An interface of this host whose own traffic is copied and otherwise left alone.
    Watched,
    /// Feeds a sensor: it only sends.
    Monitor,
    /// An interface made by Tapwright that sniffers on this host open; `interface` is what they open.
    Virtual,
}

/// How programs are attached to a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Attach {
    /// The backend chooses and says why.
    #[default]
    Auto,
    /// Native XDP.
    Xdp,
    /// `BPF_TCX_INGRESS`, Linux 6.6.
    Tcx,
    /// The clsact queueing discipline with a direct-action filter, Linux 4.5.
    Clsact,
    /// clsact with classic BPF and mirred, where eBPF may not be loaded.
    Classic,
}

/// The capacity of a monitor port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Bits a second on the wire (frame + 24 octets, at least 84).
    pub rate_bits: u64,
    /// Octets of frames that each side's buffer holds.
    pub buffer_bytes: u64,
}

/// Where copies go. Later: tunnels, files, streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sink {
    /// A port of role [`Role::Monitor`] or [`Role::Virtual`].
    Port(PortId),
}

/// What a counter is kept under: outlives programs and processes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Rule {
    /// The name shown to the user: the device's name, or `file:line` of a rule.
    pub label: String,
    /// Where it was written, where that is known.
    pub origin: Option<Origin>,
}

/// A place in a file, counted from 1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Which way frames cross a port at a hook.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// Frames that enter the machine at the port.
    In,
    /// Frames that leave by it (watched interfaces only).
    Out,
}

/// Where a frame is judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Point {
    /// The port.
    pub port: PortId,
    /// Entering or leaving.
    pub direction: Direction,
}

/// What happens to the frame itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pass {
    /// Left alone: the host goes on with it as if we were not there.
    Leave,
    /// Passed to these ports, byte for byte; to none, it is consumed (a SPAN port).
    To(BTreeSet<PortId>),
}

/// A copy that a program can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// The rule that its counters belong to.
    pub rule: RuleId,
    /// Where it goes.
    pub sink: SinkId,
}

/// One place where frames are judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    /// Where.
    pub at: Point,
    /// What becomes of the frame.
    pub pass: Pass,
    /// What `Action::Copy` of the program refers to.
    pub copies: Vec<Copy>,
    /// Which copies, and whether to block.
    pub program: Program,
}

/// A side of a monitor port: the way by which frames came to it. One buffer each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Side {
    /// `a` for what enters at port a; `eth0:rx`, `eth0:tx` for a watched interface; a group's name where sides fold.
    pub name: String,
    /// The hooks whose copies it takes.
    pub hooks: Vec<HookId>,
}

/// The most sides that one monitor port keeps apart; more fold into two groups.
pub const SIDES_MAX: usize = 16;

impl Plan {
    /// The port of an id that belongs to this plan.
    pub fn port(&self, id: PortId) -> &Port {
        &self.ports[usize::from(id.0)]
    }

    /// The sink of an id that belongs to this plan.
    pub fn sink(&self, id: SinkId) -> &Sink {
        &self.sinks[usize::from(id.0)]
    }

    /// The rule of an id that belongs to this plan. Ids are below 2^32, and so fit a `usize` on Linux.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.0 as usize]
    }

    /// The hook of an id that belongs to this plan.
    pub fn hook(&self, id: HookId) -> &Hook {
        &self.hooks[usize::from(id.0)]
    }

    /// The hook at a point, if frames are judged there.
    pub fn hook_at(&self, point: Point) -> Option<(HookId, &Hook)> {
        self.hooks().find(|(_, hook)| hook.at == point)
    }

    /// Every hook with its id.
    pub fn hooks(&self) -> impl Iterator<Item = (HookId, &Hook)> {
        self.hooks.iter().zip(0u16..).map(|(hook, id)| (HookId(id), hook))
    }

    /// Every port with its id.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &Port)> {
        self.ports.iter().zip(0u16..).map(|(port, id)| (PortId(id), port))
    }

    /// Every sink with its id.
    pub fn sinks(&self) -> impl Iterator<Item = (SinkId, &Sink)> {
        self.sinks.iter().zip(0u16..).map(|(sink, id)| (SinkId(id), sink))
    }

    /// The name that users know a sink by.
    pub fn sink_name(&self, id: SinkId) -> &str {
        match self.sink(id) {
            Sink::Port(port) => &self.port(*port).name,
        }
    }

    /// The name of the source that a hook is: `a`, or `eth0:rx` and `eth0:tx` for a watched interface.
    pub fn source_name(&self, hook: &Hook) -> String {
        let port = self.port(hook.at.port);
        match (port.role, hook.at.direction) {
            (Role::Watched, Direction::In) => format!("{}:rx", port.name),
            (Role::Watched, Direction::Out) => format!("{}:tx", port.name),
            _ => port.name.clone(),
        }
    }

    /// The sides of a sink, in hook order. Above [`SIDES_MAX`] they fold into two groups, `even` and
    /// `odd` by position, so that the two directions of a link stay apart.
    pub fn sides(&self, sink: SinkId) -> Vec<Side> {
        let sides: Vec<Side> = self
            .hooks()
            .filter(|(_, hook)| hook.copies.iter().any(|copy| copy.sink == sink))
            .map(|(id, hook)| Side { name: self.source_name(hook), hooks: vec![id] })
            .collect();
        if sides.len() <= SIDES_MAX {
            return sides;
        }
        let group = |name: &str, rest: usize| Side {
            name: name.to_owned(),
            hooks: sides.iter().skip(rest).step_by(2).flat_map(|side| side.hooks.clone()).collect(),
        };
        vec![group("even", 0), group("odd", 1)]
    }

    /// The copy of an index that belongs to a program of this hook.
    pub fn copy(hook: &Hook, index: CopyIndex) -> Copy {
        hook.copies[usize::from(index.0)]
    }
}
