//! Rules on a live link: who gets a copy, what is stopped, and that everything else passes as it came.

use std::collections::BTreeMap;

use lab::frames::odd;
use plan::plan::Plan;
use proof::binary::{self, ConfigFile};
use proof::device::Attach;
use proof::ip::{Carried, Talk, conversation};
use proof::rig::Rig;
use proof::steer::{Steered, by_eval, link_config, plan, rig, send};
use proof::{stacks, wait};

const MONITORS: [&str; 2] = ["m1", "m2"];
const CABLES: [&str; 4] = ["a", "b", "m1", "m2"];

/// Frames that carry no IP, and that every path takes: those of the MTU, and no tag without anything behind it.
fn not_ip() -> Vec<Vec<u8>> {
    let carries_ip = |frame: &[u8]| {
        let mut at = 12;
        while let Some([0x81, 0x00] | [0x88, 0xa8] | [0x91, 0x00]) = frame.get(at..at + 2) {
            at += 4;
        }
        matches!(frame.get(at..at + 2), Some([0x08, 0x00] | [0x86, 0xdd]))
    };
    let usable = odd().into_iter().filter(|frame| frame.name != "802.1Q, tag and EtherType only");
    let frames = usable.map(|frame| frame.bytes).filter(|frame| frame.len() <= 1514 && !carries_ip(frame));
    frames.collect()
}

/// Packets of every kind that the rules of these tests tell apart, and some that they do not, in and out of VLANs.
fn packets() -> Vec<Talk> {
    let mut packets = Vec::new();
    for source in ["10.0.0.6", "203.0.113.9", "2001:db8::6"] {
        let destination = if source.contains(':') { "2001:db8:1::1" } else { "192.0.2.1" };
        for port in [23, 53, 80, 443] {
            let tcp = Talk::tcp(source, 40_000 + port, destination, port);
            let udp = tcp.clone().carrying(Carried::Udp);
            let icmp = tcp.clone().carrying(Carried::Icmp(8, 0));
            let other = tcp.clone().carrying(Carried::Other(47));
            packets.extend([
                tcp.clone(),
                tcp.clone().answer(),
                udp.clone(),
                udp.clone().answer(),
                icmp,
                other,
            ]);
            packets.extend([
                tcp.clone().in_vlan(10),
                udp.in_vlan(10).in_vlan(20),
                tcp.carrying(Carried::Tcp(2)),
            ]);
        }
    }
    packets
}

fn numbered_frames(packets: &[Talk]) -> Vec<Vec<u8>> {
    (0u64..).zip(packets).map(|(number, packet)| packet.frame(number)).collect()
}

/// Frames of the second between those of the first, so that each sort has the other around it.
fn mixed(first: Vec<Steered>, second: Vec<Steered>) -> Vec<Steered> {
    let mut second = second.into_iter();
    let mut all: Vec<Steered> =
        first.into_iter().flat_map(|frame| [Some(frame), second.next()]).flatten().collect();
    all.extend(second);
    all
}

/// What was foreseen by hand is what the plan means.
fn eval_agrees(plan: &Plan, from: &str, frames: &[Steered]) {
    let judged = by_eval(plan, from, frames.iter().map(|frame| frame.bytes.clone()).collect());
    for (number, (judged, frame)) in judged.iter().zip(frames).enumerate() {
        assert_eq!(judged, frame, "frame {number} of those that enter at {from}");
    }
}

const BLOCKING: &str = "\
block in on a inet proto tcp from any to any port 23
block out on a proto udp from any port 53 to any
block in quick on a from 203.0.113.0/24 to any
pass in on a dup-to (m1 192.0.2.254) inet proto tcp from any to any port 80
pass out on a dup-to (m1 192.0.2.254) inet proto tcp from any port 80 to any
pass in on a dup-to (m2 192.0.2.253) inet proto udp from any to any
";

/// What [`BLOCKING`] says of a packet, by hand: the line that stops it, or who gets a copy.
fn judged(packet: &Talk, enters_at_a: bool) -> Result<&'static [&'static str], u32> {
    let (v4, from) = (packet.source.is_ipv4(), packet.source.to_string());
    let tcp = matches!(packet.carried, Carried::Tcp(_));
    let udp = packet.carried == Carried::Udp;
    let (source, destination) = packet.ports;
    match enters_at_a {
        true if from.starts_with("203.0.113.") => Err(3),
        true if v4 && udp => Ok(&["m2"]),
        true if v4 && tcp && destination == 80 => Ok(&["m1"]),
        true if v4 && tcp && destination == 23 => Err(1),
        false if v4 && tcp && source == 80 => Ok(&["m1"]),
        false if udp && source == 53 => Err(2),
        _ => Ok(&[]),
    }
}

fn blocks_and_copies(attach: Attach) {
    let _alone = proof::alone();
    let rig = rig(&CABLES, attach);
    let config = link_config(attach, &MONITORS, "rules = \"pf.conf\"\n");
    let plan = plan(&config, &[("pf.conf", BLOCKING)]);
    rig.up_plan(&plan);
    let mut stopped: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for (from, to) in [("a", "b"), ("b", "a")] {
        let judge = |(number, packet): (u64, &Talk)| match judged(packet, from == "a") {
            Ok(monitors) => Steered::passes(packet.frame(number), monitors),
            Err(_) => Steered::is_stopped(packet.frame(number)),
        };
        let packets = packets();
        for line in packets.iter().filter_map(|packet| judged(packet, from == "a").err()) {
            *stopped.entry((from, line)).or_default() += 1;
        }
        let ip = (0u64..).zip(&packets).map(judge).collect();
        let others = not_ip().into_iter().map(|bytes| Steered::passes(bytes, &[])).collect();
        let frames = mixed(others, ip);
        eval_agrees(&plan, from, &frames);
        send(&rig, from, to, &MONITORS, &frames);
    }
    let status = rig.settled();
    assert_eq!(stopped.len(), 3, "each line of the rules stopped something");
    for ((port, line), frames) in &stopped {
        let rule = format!("pf.conf:{line}");
        assert_eq!(status.ports[*port].blocked_by.get(&rule), Some(frames), "{attach}\n{status}");
        let row = status.blocked.iter().find(|row| row.rule == rule && row.source == *port);
        assert_eq!(row.map(|row| row.blocked), Some(*frames), "{attach}\n{status}");
    }
    for port in ["a", "b"] {
        let of_port = stopped.iter().filter(|((stopped_at, _), _)| *stopped_at == port);
        assert_eq!(status.ports[port].blocked, of_port.map(|(_, frames)| frames).sum::<u64>(), "{status}");
        assert!(status.ports[port].errors.is_empty(), "{attach}\n{status}");
    }
    assert_eq!(status.unaccounted, 0, "{attach}\n{status}");
    rig.down();
}

#[test]
fn privileged_rules_block_and_copy_by_tcx() {
    blocks_and_copies(Attach::Tcx);
}

#[test]
fn privileged_rules_block_and_copy_by_clsact() {
    blocks_and_copies(Attach::Clsact);
}

#[test]
fn privileged_rules_block_and_copy_by_xdp() {
    blocks_and_copies(Attach::Xdp);
}

/// What the chapter says of its rules, by hand: web traffic to sensor 1; other TCP, UDP and ICMP to sensor 2.
fn by_the_book(packet: &Talk, from_intranet: bool) -> &'static [&'static str] {
    if !packet.source.is_ipv4() {
        return &[];
    }
    let server = if from_intranet { packet.ports.1 } else { packet.ports.0 };
    match packet.carried {
        Carried::Tcp(_) if server == 80 => &["sf2"],
        Carried::Tcp(_) | Carried::Udp | Carried::Icmp(..) => &["sf3"],
        Carried::Other(_) => &[],
    }
}

#[test]
fn privileged_the_rules_of_the_book_choose_the_sensor() {
    let _alone = proof::alone();
    let rules = include_str!("../../../examples/pf.conf.dup-to");
    for attach in Attach::ALL {
        let rig = rig(&["sf0", "sf1", "sf2", "sf3"], attach);
        let port =
            |name: &str, attach| format!("{name} = {{ interface = \"{name}\", attach = \"{attach}\" }}\n");
        let monitors = if attach == Attach::Xdp { Attach::Tcx } else { attach };
        let ports = [port("sf0", attach), port("sf1", attach), port("sf2", monitors), port("sf3", monitors)];
        let config = format!(
            "[ports]\n{}[[device]]\nname = \"book\"\nkind = \"distributor\"\nlink = [\"sf0\", \"sf1\"]\n\
             rules = \"pf.conf.dup-to\"\n",
            ports.concat()
        );
        let plan = plan(&config, &[("pf.conf.dup-to", rules)]);
        rig.up_plan(&plan);
        for (from, to) in [("sf0", "sf1"), ("sf1", "sf0")] {
            let steer = |(number, packet): (u64, &Talk)| {
                Steered::passes(packet.frame(number), by_the_book(packet, from == "sf0"))
            };
            let frames: Vec<Steered> = (0u64..).zip(&packets()).map(steer).collect();
            eval_agrees(&plan, from, &frames);
            send(&rig, from, to, &["sf2", "sf3"], &frames);
        }
        assert_eq!(rig.settled().unaccounted, 0, "{attach}");
        rig.down();
    }
}

const SENSORS: [&str; 4] = ["m1", "m2", "m3", "m4"];

fn balanced(attach: Attach, method: &str) -> (Rig, Plan) {
    let rig = rig(&["a", "b", "m1", "m2", "m3", "m4"], attach);
    let copy = format!(
        "[[device.copy]]\nmatch = \"ip or ip6\"\nto = [\"m1\", \"m2\", \"m3\", \"m4\"]\nbalance = \"{method}\"\n"
    );
    let plan = plan(&link_config(attach, &SENSORS, &copy), &[]);
    rig.up_plan(&plan);
    (rig, plan)
}

/// Packets of many conversations, one of each in turn, and datagrams in fragments, the first first.
fn conversations(back: bool) -> Vec<Talk> {
    let way = |talk: Talk| if back { talk.answer() } else { talk };
    let mut packets: Vec<Talk> = Vec::new();
    for _ in 0..3 {
        packets.extend((0..200).map(|number| way(conversation(number))));
    }
    for number in 0..40u16 {
        let whole = way(Talk::tcp("10.1.1.1", 5000 + number, "10.2.2.2", 53)).carrying(Carried::Udp);
        for part in [0x2000, 0x2000 | 6, 12] {
            packets.push(Talk { fragment: (number, part), ..whole.clone() });
        }
    }
    packets
}

/// What the packets of one conversation, or the fragments of one datagram, have in common, whichever way they go.
fn flow(packet: &Talk) -> String {
    let mut ends = [(packet.source, packet.ports.0), (packet.destination, packet.ports.1)];
    ends.sort_unstable();
    format!("{ends:?} {}", packet.fragment.0)
}

#[test]
fn privileged_a_balanced_copy_splits_no_flow() {
    let _alone = proof::alone();
    for attach in Attach::ALL {
        let (rig, plan) = balanced(attach, "flow");
        let mut sensor_of: BTreeMap<String, String> = BTreeMap::new();
        for (from, to) in [("a", "b"), ("b", "a")] {
            let packets = conversations(from == "b");
            let frames = by_eval(&plan, from, numbered_frames(&packets));
            for (packet, frame) in packets.iter().zip(&frames) {
                let [sensor] = &frame.copied_to[..] else { panic!("one copy of each: {frame:?}") };
                let known = sensor_of.entry(flow(packet)).or_insert_with(|| sensor.clone());
                assert_eq!(known, sensor, "{packet:?}");
            }
            // What arrives is what was foreseen, so no flow is split on the wire either.
            send(&rig, from, to, &SENSORS, &frames);
        }
        let status = rig.settled();
        assert!(SENSORS.iter().all(|sensor| status.monitors[*sensor].sent > 100), "{attach}\n{status}");
        rig.down();
    }
}

#[test]
fn privileged_a_copy_in_turn_goes_round() {
    let _alone = proof::alone();
    for attach in Attach::ALL {
        let (rig, plan) = balanced(attach, "round-robin");
        let frames = by_eval(&plan, "a", numbered_frames(&conversations(false)));
        let turns: Vec<&String> = frames.iter().flat_map(|frame| &frame.copied_to).take(5).collect();
        assert_eq!(turns[0], turns[4], "four sensors, one after the other");
        assert_eq!(turns[..4].iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        send(&rig, "a", "b", &SENSORS, &frames);
        let status = rig.settled();
        let sent: Vec<u64> = SENSORS.iter().map(|sensor| status.monitors[*sensor].sent).collect();
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(most - least <= 1, "{attach}: {sent:?}");
        rig.down();
    }
}

/// An expression, and what it says of a packet, by hand.
type Expressed = (&'static str, fn(&Talk) -> bool);

const EXPRESSIONS: [Expressed; 6] = [
    ("tcp port 80 and host 10.0.0.6", |packet| {
        // As tcpdump has it: what is behind a tag is none of its business.
        packet.tags.is_empty() && is_tcp(packet) && has_port(packet, 80) && has_host(packet, "10.0.0.6")
    }),
    ("vlan 10 and tcp port 80", |packet| {
        packet.tags == [(0x8100, 10)] && is_tcp(packet) && has_port(packet, 80)
    }),
    ("vlan 20 and vlan 10 and udp", |packet| {
        packet.tags == [(0x8100, 20), (0x8100, 10)] && packet.carried == Carried::Udp
    }),
    ("tcp[13] & 2 != 0", |packet| {
        packet.tags.is_empty() && packet.source.is_ipv4() && packet.carried == Carried::Tcp(2)
    }),
    ("ip proto 47", |packet| {
        packet.tags.is_empty() && packet.source.is_ipv4() && packet.carried == Carried::Other(47)
    }),
    ("not (ip or ip6)", |packet| !packet.tags.is_empty()),
];

fn is_tcp(packet: &Talk) -> bool {
    matches!(packet.carried, Carried::Tcp(_))
}

fn has_port(packet: &Talk, port: u16) -> bool {
    packet.ports.0 == port || packet.ports.1 == port
}

fn has_host(packet: &Talk, host: &str) -> bool {
    packet.source.to_string() == host || packet.destination.to_string() == host
}

#[test]
fn privileged_expressions_choose_the_sensor() {
    let _alone = proof::alone();
    for attach in Attach::ALL {
        // Six that hold or not each by itself are more cases than XDP keeps lists of targets for.
        let sensors = &["m1", "m2", "m3", "m4", "m5", "m6"][usize::from(attach == Attach::Xdp)..];
        let expressions = &EXPRESSIONS[usize::from(attach == Attach::Xdp)..];
        let copies = expressions.iter().zip(sensors).map(|((expression, _), sensor)| {
            format!("[[device.copy]]\nmatch = \"{expression}\"\nto = [\"{sensor}\"]\n")
        });
        let copies: String = copies.collect();
        let rig = rig(&["a", "b", "m1", "m2", "m3", "m4", "m5", "m6"], attach);
        let plan = plan(&link_config(attach, sensors, &copies), &[]);
        rig.up_plan(&plan);
        for (from, to) in [("a", "b"), ("b", "a")] {
            let steer = |(number, packet): (u64, &Talk)| {
                let hit = expressions.iter().zip(sensors).filter(|((_, says), _)| says(packet));
                let to: Vec<&str> = hit.map(|(_, sensor)| *sensor).collect();
                Steered::passes(packet.frame(number), &to)
            };
            let frames: Vec<Steered> = (0u64..).zip(&packets()).map(steer).collect();
            let chosen =
                |sensor: &&str| frames.iter().any(|frame| frame.copied_to.iter().any(|to| to == sensor));
            assert!(sensors.iter().all(chosen), "every expression holds for something");
            eval_agrees(&plan, from, &frames);
            send(&rig, from, to, sensors, &frames);
        }
        assert_eq!(rig.settled().unaccounted, 0, "{attach}");
        rig.down();
    }
}

#[test]
fn privileged_rules_see_tags_that_the_host_leaves_to_hardware() {
    let _alone = proof::alone();
    let rig = Rig::new(&["w", "m1", "m2"], 1500);
    rig.at(&rig.near("w"), |sys, _| sys::Sys::sysctl_write(sys, "ipv6/conf/w/disable_ipv6", "1"));
    let config = "[ports]\nw = \"w\"\nm1 = \"m1\"\nm2 = \"m2\"\n[[device]]\nname = \"steer\"\n\
                  kind = \"distributor\"\ninterfaces = [\"w\"]\n\
                  [[device.copy]]\nmatch = \"vlan 100 and tcp port 80\"\nto = [\"m1\"]\n\
                  [[device.copy]]\nmatch = \"tcp port 80\"\nto = [\"m2\"]\n";
    rig.up_plan(&plan(config, &[]));
    let web = Talk::tcp("10.0.0.6", 1025, "192.0.2.1", 80);
    let (tagged, other) = (web.clone().in_vlan(100), Talk { ports: (1025, 443), ..web.clone() });
    let mut sensors = MONITORS.map(|sensor| rig.capture(rig.far(sensor)));
    let mut arrive = |expected: [&[Vec<u8>]; 2]| {
        for (sensor, expected) in sensors.iter_mut().zip(expected) {
            let mut look = || {
                sensor.drain().expect("a capture can be drained");
                sensor
                    .frames()
                    .iter()
                    .filter(|frame| !frame.outgoing)
                    .map(|frame| frame.bytes.clone())
                    .collect()
            };
            let seen: Vec<Vec<u8>> =
                wait::until("a copy", &mut look, |seen: &Vec<Vec<u8>>| seen.len() >= expected.len());
            assert_eq!(seen, expected);
            sensor.take();
        }
    };
    // Received, the tag is beside the data; sent by a packet socket, it is in the data.
    rig.send(rig.far("w"), &[&tagged.frame(1), &web.frame(2), &other.frame(3)]);
    arrive([&[tagged.frame(1)], &[web.frame(2)]]);
    rig.send(&rig.near("w"), &[&tagged.frame(4), &web.frame(5), &other.frame(6)]);
    arrive([&[tagged.frame(4)], &[web.frame(5)]]);
    // From here on all that leaves by w has a tag beside the data, before the tap sees it.
    stacks::tag(&rig, &rig.near("w"), 100);
    rig.send(&rig.near("w"), &[&web.frame(7), &other.frame(8)]);
    arrive([&[tagged.frame(7)], &[]]);
    assert_eq!(rig.settled().unaccounted, 0);
    rig.down();
}

#[test]
fn privileged_rules_steer_while_every_process_is_killed() {
    const KILL: i32 = 9;
    let _alone = proof::alone();
    let rig = rig(&CABLES, Attach::Tcx);
    let rules = ConfigFile::new(BLOCKING);
    let rest = format!("rules = \"{}\"\n", rules.name());
    let config = ConfigFile::new(&link_config(Attach::Tcx, &MONITORS, &rest));
    let up = binary::run(&rig, &["up", config.path()]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    for arguments in [&["status", "--watch", "0.1"][..], &["up", config.path()]] {
        let mut child = binary::start(&rig, arguments);
        sys::process::kill(child.id(), KILL).expect("it is our child, and not waited for");
        child.wait().expect("it is our child");
    }
    assert_eq!(binary::alive(), [""; 0], "a process of ours is alive");
    let judge = |(number, packet): (u64, &Talk)| match judged(packet, true) {
        Ok(monitors) => Steered::passes(packet.frame(number), monitors),
        Err(_) => Steered::is_stopped(packet.frame(number)),
    };
    let frames: Vec<Steered> = (0u64..).zip(&packets()).map(judge).collect();
    send(&rig, "a", "b", &MONITORS, &frames);
    let status = binary::status(&rig);
    let stopped = frames.iter().filter(|frame| !frame.passes).count();
    assert_eq!(usize::try_from(status.ports["a"].blocked), Ok(stopped), "{status}");
    let lines: Vec<&String> = status.ports["a"].blocked_by.keys().collect();
    assert_eq!(lines, [&format!("{}:1", rules.name()), &format!("{}:3", rules.name())]);
    assert_eq!((status.unaccounted, binary::alive()), (0, Vec::new()), "{status}");
    let down = binary::run(&rig, &["down"]);
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
}
