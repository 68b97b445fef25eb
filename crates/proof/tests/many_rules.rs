//! Thousands of rules on a live link: they load, and they decide as few do.

use std::fmt::Write;

use proof::device::Attach;
use proof::ip::{Carried, Talk};
use proof::steer::{Steered, by_eval, link_config, plan, rig, send};

const MONITORS: [&str; 2] = ["m1", "m2"];
const CABLES: [&str; 4] = ["a", "b", "m1", "m2"];
const TO: [&str; 2] = ["(m1 192.0.2.254)", "(m2 192.0.2.253)"];

/// The conversation that the exact rule of a number is about.
fn exact(number: u32) -> Talk {
    let [_, high, middle, low] = number.to_be_bytes();
    let port = u16::try_from(1024 + number % 60_000).expect("it is below 61024");
    Talk::tcp(&format!("10.{high}.{middle}.{low}"), port, &format!("172.16.{middle}.{low}"), 80)
}

/// Rules about one conversation each: every third blocks, the others copy to one sensor or the other.
fn exact_rules(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        let talk = exact(number);
        let what = match number % 3 {
            0 => "block in on a".to_owned(),
            n => format!("pass in on a dup-to {}", TO[usize::from(n == 1)]),
        };
        let (from, to) = (talk.ports.0, talk.ports.1);
        let (source, destination) = (talk.source, talk.destination);
        let _ = writeln!(text, "{what} inet proto tcp from {source} port {from} to {destination} port {to}");
    }
    text
}

/// Rules of six shapes; a fourth of them ask for ranges and negations, of which no two can be merged.
fn shapeless_rules(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        let [_, high, middle, low] = number.to_be_bytes();
        let (to, port) = (TO[usize::from(number % 4 == 0)], number % 60_000);
        let host = format!("10.{high}.{middle}.{low}");
        let _ = match number % 12 {
            0 => writeln!(
                text,
                "pass in on a dup-to {to} inet proto tcp from {host} to any port {port}:{}",
                port + 7
            ),
            1 => writeln!(
                text,
                "block in on a inet proto udp from any to 172.16.{middle}.{low} port != {port}"
            ),
            2 => writeln!(
                text,
                "pass in quick on a dup-to {to} inet proto tcp from ! 10.{high}.{middle}.0/24 to 192.168.{middle}.{low} port > {port} flags S/SA"
            ),
            3 => writeln!(
                text,
                "pass out on a dup-to {to} inet proto icmp from 10.{high}.{middle}.0/25 to any icmp-type echoreq"
            ),
            4 => writeln!(
                text,
                "block in on a inet6 proto tcp from 2001:db8:{middle:x}{low:02x}::/48 port {port} to any"
            ),
            _ => writeln!(
                text,
                "pass in on a dup-to {to} inet proto udp from {host} to 172.16.0.0/12 port {port}"
            ),
        };
    }
    text
}

fn steers(attach: Attach, rules: &str, packets: &[Talk]) {
    let rig = rig(&CABLES, attach);
    let config = link_config(attach, &MONITORS, "rules = \"pf.conf\"\n");
    let plan = plan(&config, &[("pf.conf", rules)]);
    rig.up_plan(&plan);
    let frames = (0u64..).zip(packets).map(|(number, packet)| packet.frame(number)).collect();
    let frames: Vec<Steered> = by_eval(&plan, "a", frames);
    let chosen =
        |to: &str| frames.iter().filter(|frame| frame.copied_to.iter().any(|name| name == to)).count();
    let stopped = frames.iter().filter(|frame| !frame.passes).count();
    let counts = (chosen("m1"), chosen("m2"), stopped);
    assert!(counts.0 > 10 && counts.1 > 10 && counts.2 > 10, "rules of each kind decide: {counts:?}");
    send(&rig, "a", "b", &MONITORS, &frames);
    let status = rig.settled();
    assert_eq!(usize::try_from(status.ports["a"].blocked), Ok(stopped), "{attach}\n{status}");
    assert_eq!(usize::try_from(status.monitors["m1"].sent), Ok(counts.0), "{attach}\n{status}");
    assert_eq!(usize::try_from(status.monitors["m2"].sent), Ok(counts.1), "{attach}\n{status}");
    assert_eq!(status.unaccounted, 0, "{attach}\n{status}");
    rig.down();
}

#[test]
fn privileged_ten_thousand_conversations_are_told_apart() {
    let _alone = proof::alone();
    let rules = exact_rules(10_000);
    let mut packets: Vec<Talk> = (0..10_000).step_by(61).map(exact).collect();
    packets.extend((0..100).map(|number| exact(number).answer()));
    packets.extend((0..100).map(|number| exact(number).carrying(Carried::Udp)));
    for attach in [Attach::Tcx, Attach::Xdp] {
        steers(attach, &rules, &packets);
    }
}

#[test]
fn privileged_thirty_thousand_rules_of_any_shape_decide() {
    let _alone = proof::alone();
    let rules = shapeless_rules(30_000);
    let mut packets = Vec::new();
    for number in (0u32..30_000).step_by(199) {
        let [_, high, middle, low] = number.to_be_bytes();
        let port = u16::try_from(number % 60_000).expect("it is below 60000");
        let host = format!("10.{high}.{middle}.{low}");
        packets.push(Talk::tcp(&host, 9, "198.51.100.1", port));
        packets.push(Talk::tcp(&host, 9, &format!("172.16.{middle}.{low}"), port).carrying(Carried::Udp));
        let other = Talk::tcp("203.0.113.1", 9, &format!("192.168.{middle}.{low}"), 65_000);
        packets.push(other.carrying(Carried::Tcp(2)));
        packets.push(Talk::tcp(&format!("2001:db8:{middle:x}{low:02x}::1"), port, "2001:db8::2", 443));
    }
    steers(Attach::Tcx, &rules, &packets);
}
