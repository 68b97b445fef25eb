//! The scenarios: one for each kind of device, as data.
//!
//! A scenario says which cables are cut, what is plugged in where, the config of each box that runs a plan, and
//! what each sensor should see. Never does I/O; `run` makes it happen.

use plan::{Compiled, Problems};
use wire::Frame;
use wire::headers::{protocol, walk};

use crate::enterprise::{BRIDGE, End, Jack, TAP};

mod steering;

/// How a scenario is to be laid out.
#[derive(Clone, Debug)]
pub struct Options {
    /// `attach` of the ports that frames enter by, as it stands in a config.
    pub attach: Option<String>,
    /// Complete sets of monitor ports of the regeneration taps, 1 to [`COPIES_MAX`].
    pub copies: usize,
}

/// The most complete sets that a regeneration tap is asked for here.
pub const COPIES_MAX: usize = 16;

/// A kind of device shown at work.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The kind of device.
    pub name: &'static str,
    /// What it shows, in a line.
    pub summary: &'static str,
    /// The layout.
    pub lay: fn(&Options) -> Layout,
}

/// What a scenario adds to the enterprise.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Where the boxes and sensors stand, drawn.
    pub drawing: String,
    /// Cables that are cut, and the ports of the tap box that their ends go to.
    pub cuts: Vec<Cut>,
    /// Further cables, from a box that copies to one that watches.
    pub feeds: Vec<(End, End)>,
    /// Boxes that run a plan, in the order in which they are brought up.
    pub boxes: Vec<BoxPlan>,
    /// What is captured, and what must be seen there.
    pub sensors: Vec<Sensor>,
    /// What crosses the enterprise.
    pub traffic: Traffic,
}

/// What crosses the enterprise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Traffic {
    /// Ping, DNS, HTTP and mail, both ways.
    #[default]
    Enterprise,
    /// The same, and hosts of the DMZ that talk in the management VLAN.
    Management,
    /// One name looked up and one page fetched.
    WebFetch,
}

/// A cable with the tap box in it.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The cable's ends, as `enterprise::CABLES` names them.
    pub cable: (Jack, Jack),
    /// The tap box's interfaces towards each.
    pub interfaces: (String, String),
}

/// A host that runs a plan.
#[derive(Clone, Debug)]
pub struct BoxPlan {
    /// The host.
    pub host: String,
    /// The name that its config is shown under.
    pub file: String,
    /// The config.
    pub text: String,
    /// The files that the config names, and what is in them.
    pub files: Vec<(&'static str, &'static str)>,
    /// What the ledger of its ports must agree with.
    pub ports: Vec<PortTruth>,
}

impl BoxPlan {
    /// The plan of its config, and what is advised.
    ///
    /// # Errors
    /// What is wrong with the config, or with a file that it names.
    pub fn compile(&self) -> Result<Compiled, Problems> {
        let files = |name: &str| {
            let found = self.files.iter().find(|(known, _)| *known == name);
            found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "the lab has no such file".to_owned())
        };
        plan::compile_with(&self.file, &self.text, &files)
    }
}

/// A port of a plan, and the ends of cables that say what should have entered.
#[derive(Clone, Debug)]
pub struct PortTruth {
    /// The port's name in the config.
    pub port: String,
    /// What entered.
    pub entered: Vec<Passing>,
    /// The far end that every one of those frames must have reached, unchanged and in order.
    pub passed_to: Option<End>,
}

/// Frames that pass one end of a cable, one way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passing {
    /// The end.
    pub end: End,
    /// Sent by it, or received.
    pub way: Way,
    /// Only some of them.
    pub only: Option<Only>,
}

/// Some of the frames that pass an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Only {
    /// Those whose outer tag is of this VLAN.
    Vlan(u16),
    /// TCP from or to port 80.
    Web,
    /// TCP of all other ports, UDP, and ICMP of IPv4.
    Rest,
}

impl Only {
    /// Whether a frame is one of them.
    pub fn keeps(self, frame: &Frame<'_>) -> bool {
        let headers = walk(frame);
        let port = |at: usize| frame.data.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
        let web = headers.transport.is_some_and(|header| {
            header.protocol == protocol::TCP && [header.at, header.at + 2].map(port).contains(&Some(80))
        });
        match self {
            Self::Vlan(vlan) => frame.outer_tag().is_some_and(|tag| tag.vlan().id() == vlan),
            Self::Web => web,
            Self::Rest => {
                let known = [protocol::TCP, protocol::UDP, protocol::ICMP];
                !web && headers.ip.is_some_and(|ip| known.contains(&ip.protocol))
            }
        }
    }
}

impl std::fmt::Display for Only {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vlan(vlan) => write!(f, "vlan {vlan}"),
            Self::Web => f.write_str("of TCP port 80"),
            Self::Rest => f.write_str("of other ports, UDP and ICMP"),
        }
    }
}

/// Which way frames pass an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Sent by the end.
    Sent,
    /// Received by the end.
    Received,
}

impl std::fmt::Display for Passing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.end, if self.way == Way::Sent { "tx" } else { "rx" })?;
        self.only.map_or(Ok(()), |only| write!(f, " {only}"))
    }
}

/// An interface that a capture is opened on.
#[derive(Clone, Debug)]
pub struct Sensor {
    /// The interface.
    pub end: End,
    /// The box whose monitor feeds it, and the monitor's name there.
    pub fed_by: (String, String),
    /// What must be seen.
    pub sees: Vec<Passing>,
    /// Whether the interface belongs to the sensor alone and must not send anything.
    pub silent: bool,
}

/// Every scenario, in the order of the chapter.
pub const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "tap",
        summary: "traditional tap between router and firewall: each direction on a monitor port of its own",
        lay: tap,
    },
    Scenario {
        name: "port-aggregator",
        summary: "both directions of the link between router and firewall into one sensor port",
        lay: port_aggregator,
    },
    Scenario {
        name: "dual-port-aggregator",
        summary: "the same stream for two sensors",
        lay: dual_port_aggregator,
    },
    Scenario {
        name: "regeneration",
        summary: "each direction apart, in as many complete sets as there are sensors (--copies, 2 by default)",
        lay: regeneration,
    },
    Scenario {
        name: "span-regeneration",
        summary: "SPAN ports of the DMZ switch and the intranet switch, regenerated for two sensors",
        lay: span_regeneration,
    },
    Scenario {
        name: "link-aggregator",
        summary: "the links of three DMZ hosts into one sensor port",
        lay: link_aggregator,
    },
    Scenario {
        name: "bond",
        summary: "the two outputs of a tap become ngeth0, which a capture opens on the sensor itself",
        lay: bond,
    },
    Scenario {
        name: "watch",
        summary: "a SPAN session on members of the DMZ switch: one host both ways, and one VLAN",
        lay: watch,
    },
    Scenario {
        name: "pf-dup-to",
        summary: "rules of pf choose the sensor: TCP port 80 to one, the rest to another, on a link between the two",
        lay: steering::pf_dup_to,
    },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

const PERIMETER_LINK: (Jack, Jack) = (("perimeter", "lan"), ("firewall", "outside"));

fn sent(host: &str, interface: &str) -> Passing {
    Passing { end: End::new(host, interface), way: Way::Sent, only: None }
}

fn received(host: &str, interface: &str) -> Passing {
    Passing { end: End::new(host, interface), way: Way::Received, only: None }
}

fn in_vlan(passing: Passing, vlan: u16) -> Passing {
    Passing { only: Some(Only::Vlan(vlan)), ..passing }
}

/// `name = "eth1"`, or with `attach` where that was asked for. Names are padded to `width`.
fn port_line(options: &Options, name: &str, interface: &str, width: usize) -> String {
    match &options.attach {
        None => format!("{name:<width$} = \"{interface}\"\n"),
        Some(attach) => {
            format!("{name:<width$} = {{ interface = \"{interface}\", attach = \"{attach}\" }}\n")
        }
    }
}

/// The link between perimeter router and firewall, cut: `a` is eth1, `b` is eth2.
fn perimeter_cut() -> Cut {
    Cut { cable: PERIMETER_LINK, interfaces: ("eth1".into(), "eth2".into()) }
}

/// The ledger of a link's two ports.
fn link_truth(a: &str, b: &str, cable: (Jack, Jack)) -> Vec<PortTruth> {
    let ((host_a, interface_a), (host_b, interface_b)) = cable;
    let one = |port: &str, from: Passing, to: End| PortTruth {
        port: port.to_owned(),
        entered: vec![from],
        passed_to: Some(to),
    };
    vec![
        one(a, sent(host_a, interface_a), End::new(host_b, interface_b)),
        one(b, sent(host_b, interface_b), End::new(host_a, interface_a)),
    ]
}

/// What enters at `a` and at `b` of the perimeter link.
fn perimeter_sides() -> [Passing; 2] {
    [sent("perimeter", "lan"), sent("firewall", "outside")]
}

/// A monitor port of the tap box, and the sensor it feeds.
struct Monitor {
    name: String,
    interface: String,
    sensor: End,
    sees: Vec<Passing>,
}

/// The monitor `name` on `interface`, feeding `sensor` (`host.interface`) with `sees`.
fn monitor(name: &str, interface: &str, sensor: (&str, &str), sees: &[Passing]) -> Monitor {
    Monitor {
        name: name.to_owned(),
        interface: interface.to_owned(),
        sensor: End::new(sensor.0, sensor.1),
        sees: sees.to_vec(),
    }
}

/// A pair of monitors `m1a`, `m1b`, `m2a`, ... for each set; the sensors' interfaces are sf0, sf1, ... as in
/// the chapter. The first monitor is on the interface `eth<first>`.
fn pairs(copies: usize, first: usize, a: &[Passing], b: &[Passing]) -> Vec<Monitor> {
    let set = |number: usize| {
        let sensor = format!("sensor{}", number + 1);
        let half = move |half: usize, letter: char, sees: &[Passing]| {
            let index = 2 * number + half;
            let name = format!("m{}{letter}", number + 1);
            monitor(&name, &format!("eth{}", first + index), (&sensor, &format!("sf{index}")), sees)
        };
        [half(0, 'a', a), half(1, 'b', b)]
    };
    (0..copies.clamp(1, COPIES_MAX)).flat_map(set).collect()
}

/// `[["m1a", "m1b"], ["m2a", "m2b"]]`
fn pair_list(monitors: &[Monitor]) -> String {
    let pairs: Vec<String> = monitors
        .chunks(2)
        .map(|pair| {
            let names: Vec<String> = pair.iter().map(|monitor| format!("\"{}\"", monitor.name)).collect();
            format!("[{}]", names.join(", "))
        })
        .collect();
    format!("[{}]", pairs.join(", "))
}

/// A config: a comment, the ports that frames enter by, the monitors, the device.
fn config(
    options: &Options,
    comment: &str,
    entries: &[(&str, &str)],
    monitors: &[Monitor],
    device: &str,
) -> String {
    let names = entries.iter().map(|(name, _)| name.len()).chain(monitors.iter().map(|m| m.name.len()));
    let width = names.max().unwrap_or(0);
    let mut text = format!("# {comment}\n[ports]\n");
    for (name, interface) in entries {
        text.push_str(&port_line(options, name, interface, width));
    }
    for Monitor { name, interface, .. } in monitors {
        text.push_str(&format!("{name:<width$} = \"{interface}\"\n"));
    }
    text.push_str("\n[[device]]\n");
    text.push_str(device);
    text
}

/// The cables from a box to the sensors of its monitors.
fn feeds(host: &str, monitors: &[Monitor]) -> Vec<(End, End)> {
    monitors.iter().map(|m| (End::new(host, &m.interface), m.sensor.clone())).collect()
}

/// The sensors of a box's monitors.
fn sensors(host: &str, monitors: &[Monitor]) -> Vec<Sensor> {
    let sensor = |m: &Monitor| Sensor {
        end: m.sensor.clone(),
        fed_by: (host.to_owned(), m.name.clone()),
        sees: m.sees.clone(),
        silent: true,
    };
    monitors.iter().map(sensor).collect()
}

/// `+--> sensor1.sf0  (ids)`, a line each, below the column of the box.
fn arrows(column: usize, monitors: &[Monitor]) -> String {
    monitors.iter().map(|m| format!("{:column$}+--> {}  ({})\n", "", m.sensor, m.name)).collect()
}

/// A tap box with the perimeter link, and these monitors.
fn on_the_perimeter(options: &Options, comment: &str, monitors: &[Monitor], device: &str) -> Layout {
    Layout {
        drawing: format!(
            "internet --- perimeter ---a[ tap ]b--- firewall --+-- dmz       web  dns  mail\n\
             {:30}|                   +-- intranet  ws1  ws2\n{}",
            "",
            arrows(30, monitors)
        ),
        cuts: vec![perimeter_cut()],
        feeds: feeds(TAP, monitors),
        boxes: vec![BoxPlan {
            host: TAP.into(),
            file: "perimeter.toml".into(),
            text: config(options, comment, &[("a", "eth1"), ("b", "eth2")], monitors, device),
            files: Vec::new(),
            ports: link_truth("a", "b", PERIMETER_LINK),
        }],
        sensors: sensors(TAP, monitors),
        traffic: Traffic::Enterprise,
    }
}

fn tap(options: &Options) -> Layout {
    let [a, b] = perimeter_sides();
    let monitors =
        [monitor("ma", "eth3", ("sensor1", "sf0"), &[a]), monitor("mb", "eth4", ("sensor1", "sf1"), &[b])];
    on_the_perimeter(
        options,
        "Frames that enter at a are copied to ma, those that enter at b to mb.",
        &monitors,
        "name     = \"perimeter\"\nkind     = \"tap\"\nlink     = [\"a\", \"b\"]\nmonitors = [[\"ma\", \"mb\"]]\n",
    )
}

fn port_aggregator(options: &Options) -> Layout {
    on_the_perimeter(
        options,
        "Both directions of the link between router and firewall, for one sensor.",
        &[monitor("ids", "eth3", ("sensor1", "sf0"), &perimeter_sides())],
        "name     = \"perimeter\"\nkind     = \"port-aggregator\"\nlink     = [\"a\", \"b\"]\nmonitors = [\"ids\"]\n",
    )
}

fn dual_port_aggregator(options: &Options) -> Layout {
    let sides = perimeter_sides();
    let monitors = [
        monitor("ids", "eth3", ("sensor1", "sf0"), &sides),
        monitor("meter", "eth4", ("sensor2", "sf1"), &sides),
    ];
    on_the_perimeter(
        options,
        "Both directions of the link, for an intrusion detection system and a bandwidth meter.",
        &monitors,
        "name     = \"perimeter\"\nkind     = \"dual-port-aggregator\"\nlink     = [\"a\", \"b\"]\n\
         monitors = [\"ids\", \"meter\"]\n",
    )
}

fn regeneration(options: &Options) -> Layout {
    let [a, b] = perimeter_sides();
    let monitors = pairs(options.copies, 3, &[a], &[b]);
    let device = format!(
        "name     = \"perimeter\"\nkind     = \"regeneration\"\nlink     = [\"a\", \"b\"]\nmonitors = {}\n",
        pair_list(&monitors)
    );
    on_the_perimeter(options, "Each pair of monitor ports is a complete set.", &monitors, &device)
}

/// The members of the DMZ switch, and what enters by them.
fn dmz_members() -> Vec<(&'static str, Passing)> {
    vec![
        ("uplink", sent("firewall", "dmz")),
        ("p-web", sent("web", "eth0")),
        ("p-dns", sent("dns", "eth0")),
        ("p-mail", sent("mail", "eth0")),
    ]
}

/// The members of the intranet switch, and what enters by them.
fn intranet_members() -> Vec<(&'static str, Passing)> {
    vec![
        ("uplink", sent("firewall", "inside")),
        ("p-ws1", sent("ws1", "eth0")),
        ("p-ws2", sent("ws2", "eth0")),
    ]
}

/// A SPAN session on a switch: what its members receive goes out of its port `span`.
fn span_session(host: &str, members: &[(&'static str, Passing)]) -> BoxPlan {
    let names: Vec<String> = members.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let text = format!(
        "# A SPAN session on the {host} switch: what enters by its ports, once each.\n\
         [ports]\nspan = \"span\"\n\n\
         [[device]]\nname       = \"{host}\"\nkind       = \"watch\"\ninterfaces = [{}]\n\
         direction  = \"rx\"\nmonitors   = [\"span\"]\n",
        names.join(", ")
    );
    let truth = |(name, passing): &(&str, Passing)| PortTruth {
        port: (*name).to_owned(),
        entered: vec![passing.clone()],
        passed_to: None,
    };
    BoxPlan {
        host: host.to_owned(),
        file: format!("{host}.toml"),
        text,
        files: Vec::new(),
        ports: members.iter().map(truth).collect(),
    }
}

/// The two switches, and the tap box at their SPAN ports with its monitors.
fn span_drawing(monitors: &[Monitor]) -> String {
    let mut drawing = String::from("internet --- perimeter --- firewall --+-- dmz       web  dns  mail\n");
    let rows = monitors.len().max(3);
    for row in 0..rows {
        let span = match row {
            0 => "+--- SPAN ---x",
            _ if row == rows - 1 => "+--- SPAN ---y",
            _ => "",
        };
        let name = if row == 1 { "[ tap ]" } else { "[     ]" };
        let arrow = monitors.get(row).map(|m| format!("--> {}  ({})", m.sensor, m.name)).unwrap_or_default();
        drawing.push_str(&format!("{:38}|     {span:<14}{name}{arrow}\n", ""));
    }
    drawing.push_str(&format!("{:38}+-- intranet  ws1  ws2\n", ""));
    drawing
}

fn span_regeneration(options: &Options) -> Layout {
    let (dmz, intranet) = (dmz_members(), intranet_members());
    let of =
        |members: &[(&str, Passing)]| -> Vec<Passing> { members.iter().map(|(_, p)| p.clone()).collect() };
    let monitors = pairs(options.copies, 3, &of(&dmz), &of(&intranet));
    let device = format!(
        "name     = \"spans\"\nkind     = \"span-regeneration\"\nspans    = [\"x\", \"y\"]\nmonitors = {}\n",
        pair_list(&monitors)
    );
    let comment =
        "What comes from SPAN port x goes to the first of each pair, what comes from y to the second.";
    let mut all_feeds = vec![
        (End::new("dmz", "span"), End::new(TAP, "eth1")),
        (End::new("intranet", "span"), End::new(TAP, "eth2")),
    ];
    all_feeds.extend(feeds(TAP, &monitors));
    let truth =
        |port: &str, entered: Vec<Passing>| PortTruth { port: port.to_owned(), entered, passed_to: None };
    let tap = BoxPlan {
        host: TAP.into(),
        file: "spans.toml".into(),
        text: config(options, comment, &[("x", "eth1"), ("y", "eth2")], &monitors, &device),
        files: Vec::new(),
        ports: vec![truth("x", of(&dmz)), truth("y", of(&intranet))],
    };
    Layout {
        drawing: span_drawing(&monitors),
        cuts: Vec::new(),
        feeds: all_feeds,
        boxes: vec![span_session("dmz", &dmz), span_session("intranet", &intranet), tap],
        sensors: sensors(TAP, &monitors),
        traffic: Traffic::Enterprise,
    }
}

fn link_aggregator(options: &Options) -> Layout {
    let links: [(&str, &str, &str, &str); 3] =
        [("dmz", "p-web", "web", "eth0"), ("dmz", "p-dns", "dns", "eth0"), ("dmz", "p-mail", "mail", "eth0")];
    let mut layout = Layout::default();
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut sides = Vec::new();
    let mut truths = Vec::new();
    for (number, (switch, member, host, interface)) in links.into_iter().enumerate() {
        let cable = ((switch, member), (host, interface));
        let interfaces = (format!("eth{}", 2 * number + 1), format!("eth{}", 2 * number + 2));
        let names = (format!("{host}-switch"), host.to_owned());
        truths.extend(link_truth(&names.0, &names.1, cable));
        sides.extend([sent(switch, member), sent(host, interface)]);
        entries.extend([(names.0, interfaces.0.clone()), (names.1, interfaces.1.clone())]);
        layout.cuts.push(Cut { cable, interfaces });
    }
    let monitors = [monitor("ids", "eth7", ("sensor1", "sf0"), &sides)];
    let entries: Vec<(&str, &str)> = entries.iter().map(|(n, i)| (n.as_str(), i.as_str())).collect();
    let pairs: Vec<String> =
        entries.chunks(2).map(|pair| format!("[\"{}\", \"{}\"]", pair[0].0, pair[1].0)).collect();
    let device = format!(
        "name     = \"dmz\"\nkind     = \"link-aggregator\"\nlinks    = [{}]\nmonitors = [\"ids\"]\n",
        pairs.join(", ")
    );
    let comment = "Three links of the DMZ, both directions of each, into one faster port.";
    layout.drawing = format!(
        "internet --- perimeter --- firewall --+-- dmz  ===[     ]=== web\n\
         {:38}|        ===[ tap ]=== dns\n\
         {:38}|        ===[     ]=== mail\n\
         {:38}|              +--> sensor1.sf0  (ids)\n\
         {:38}+-- intranet  ws1  ws2\n",
        "", "", "", ""
    );
    layout.feeds = feeds(TAP, &monitors);
    layout.sensors = sensors(TAP, &monitors);
    layout.boxes = vec![BoxPlan {
        host: TAP.into(),
        file: "dmz.toml".into(),
        text: config(options, comment, &entries, &monitors, &device),
        files: Vec::new(),
        ports: truths,
    }];
    layout
}

fn bond(options: &Options) -> Layout {
    let [a, b] = perimeter_sides();
    let monitors = [
        monitor("ma", "eth3", ("sensor1", "fxp1"), std::slice::from_ref(&a)),
        monitor("mb", "eth4", ("sensor1", "fxp2"), std::slice::from_ref(&b)),
    ];
    let mut layout = on_the_perimeter(
        options,
        "The tap: frames that enter at a are copied to ma, those that enter at b to mb.",
        &monitors,
        "name     = \"perimeter\"\nkind     = \"tap\"\nlink     = [\"a\", \"b\"]\nmonitors = [[\"ma\", \"mb\"]]\n",
    );
    layout.drawing.push_str(&format!("{:35}fxp1 + fxp2 --> ngeth0\n", ""));
    let text = "# On the sensor: the two outputs of the tap become one interface that sniffers open.\n\
                [ports]\nx = \"fxp1\"\ny = \"fxp2\"\n\n\
                [[device]]\nname      = \"stream\"\nkind      = \"bond\"\nspans     = [\"x\", \"y\"]\n\
                interface = \"ngeth0\"\n";
    let truth = |port: &str, from: &Passing| PortTruth {
        port: port.to_owned(),
        entered: vec![from.clone()],
        passed_to: None,
    };
    layout.boxes.push(BoxPlan {
        host: "sensor1".into(),
        file: "bond.toml".into(),
        text: text.to_owned(),
        files: Vec::new(),
        ports: vec![truth("x", &a), truth("y", &b)],
    });
    layout.sensors.push(Sensor {
        end: End::new("sensor1", "ngeth0"),
        fed_by: ("sensor1".into(), "ngeth0".into()),
        sees: vec![a, b],
        silent: false,
    });
    layout
}

fn watch(options: &Options) -> Layout {
    let web = [sent("web", "eth0"), received("web", "eth0")];
    let vlan = crate::enterprise::MANAGEMENT_VLAN;
    let managed = [in_vlan(sent("web", "eth0"), vlan), in_vlan(sent("mail", "eth0"), vlan)];
    let monitors = [
        monitor("ids", "mon1", ("sensor1", "sf0"), &web),
        monitor("admin", "mon2", ("sensor2", "sf1"), &managed),
    ];
    let device = format!(
        "name       = \"web\"\nkind       = \"watch\"\ninterfaces = [\"web\"]\ndirection  = \"both\"\n\
         monitors   = [\"ids\"]\n\n\
         [[device]]\nname       = \"management\"\nkind       = \"watch\"\ninterfaces = [\"web\", \"mail\"]\n\
         direction  = \"rx\"\nvlans      = [{vlan}]\nmonitors   = [\"admin\"]\n"
    );
    let comment = format!("Members of the bridge {BRIDGE} are watched; the bridge goes on as before.");
    let truth = |port: &str, entered: &[Passing]| PortTruth {
        port: port.to_owned(),
        entered: entered.to_vec(),
        passed_to: None,
    };
    let entries = [("web", "p-web"), ("mail", "p-mail")];
    Layout {
        drawing: format!(
            "internet --- perimeter --- firewall --+-- dmz[ tap ]  web  dns  mail   (vlan {vlan}: web, mail)\n\
             {:38}|        |\n{}\
             {:38}+-- intranet  ws1  ws2\n",
            "",
            monitors
                .iter()
                .map(|m| format!("{:38}|        +--> {}  ({})\n", "", m.sensor, m.name))
                .collect::<String>(),
            ""
        ),
        cuts: Vec::new(),
        feeds: feeds("dmz", &monitors),
        boxes: vec![BoxPlan {
            host: "dmz".into(),
            file: "dmz.toml".into(),
            text: config(options, &comment, &entries, &monitors, &device),
            files: Vec::new(),
            ports: vec![truth("web", &web), truth("mail", &[sent("mail", "eth0")])],
        }],
        sensors: sensors("dmz", &monitors),
        traffic: Traffic::Management,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::enterprise::CABLES;

    fn layouts() -> Vec<(&'static str, Layout)> {
        let options = Options { attach: None, copies: 3 };
        SCENARIOS.iter().map(|scenario| (scenario.name, (scenario.lay)(&options))).collect()
    }

    #[test]
    fn cuts_are_of_cables_that_exist_and_no_interface_is_used_twice() {
        for (name, layout) in layouts() {
            let mut used = BTreeSet::new();
            for cut in &layout.cuts {
                assert!(CABLES.contains(&cut.cable), "{name}");
                for interface in [&cut.interfaces.0, &cut.interfaces.1] {
                    assert!(used.insert(End::new(TAP, interface)), "{name}: {interface}");
                }
            }
            for end in layout.feeds.iter().flat_map(|(a, b)| [a, b]) {
                assert!(used.insert(end.clone()), "{name}: {end}");
            }
        }
    }

    #[test]
    fn every_sensor_is_at_the_end_of_a_feed_or_made_by_a_plan() {
        for (name, layout) in layouts() {
            assert!(!layout.sensors.is_empty(), "{name}");
            for sensor in &layout.sensors {
                let fed = layout.feeds.iter().any(|(_, end)| *end == sensor.end);
                assert!(fed || !sensor.silent, "{name}: {}", sensor.end);
            }
        }
    }

    #[test]
    fn a_regeneration_tap_has_as_many_sets_as_were_asked_for() {
        for copies in [1, 2, 8] {
            let layout = regeneration(&Options { attach: None, copies });
            assert_eq!(layout.sensors.len(), 2 * copies);
        }
        assert!(
            regeneration(&Options { attach: None, copies: 2 }).boxes[0]
                .text
                .contains("monitors = [[\"m1a\", \"m1b\"], [\"m2a\", \"m2b\"]]")
        );
    }

    #[test]
    fn the_attachment_asked_for_stands_at_the_ports_that_frames_enter_by() {
        let options = Options { attach: Some("clsact".into()), copies: 2 };
        let text = &port_aggregator(&options).boxes[0].text;
        assert!(text.contains("a   = { interface = \"eth1\", attach = \"clsact\" }\n"), "{text}");
        assert!(text.contains("ids = \"eth3\"\n"), "{text}");
    }

    #[test]
    fn every_config_compiles_without_a_word_of_advice() {
        for (name, layout) in layouts() {
            for plan in &layout.boxes {
                let compiled = plan.compile().expect(name);
                assert!(compiled.advice.is_empty(), "{name}: {:?}", compiled.advice);
                for truth in &plan.ports {
                    assert!(
                        compiled.plan.ports.iter().any(|port| port.name == truth.port),
                        "{name}: {}",
                        truth.port
                    );
                }
            }
        }
    }
}
