//! Spreads: whole conversations, even shares, and few moves when a sensor goes.

use std::collections::BTreeMap;

use rules::form::{
    Action, Choice, CopyIndex, Memory, Method, Program, RuleId, SLOTS, Spread, SpreadIndex, Step, Test,
    sink_key,
};
use wire::Frame;

use crate::frames::{Flow, ethernet, fragment, ip};

fn choices(weights: &[u8]) -> Vec<Choice> {
    let choice = |(at, weight): (u16, &u8)| Choice {
        copy: CopyIndex(at),
        weight: *weight,
        key: sink_key(&format!("sensor{at}")),
    };
    (0..).zip(weights).map(choice).collect()
}

fn program(method: Method, choices: Vec<Choice>, inner: bool) -> Program {
    let then = Action::Spread(SpreadIndex(0));
    Program {
        steps: vec![Step { rule: RuleId(0), when: Test::Always, then }],
        spreads: vec![Spread::new(method, choices, inner).unwrap()],
        ..Program::default()
    }
}

fn chosen(program: &Program, memory: &mut Memory, data: &[u8]) -> u16 {
    let mut copies = Vec::new();
    program.run_into(&Frame::ethernet(data).unwrap(), memory, 0, &mut copies);
    assert_eq!(copies.len(), 1);
    copies[0].0
}

/// 20,000 conversations in several manners: one client with many ports, many clients of one server, a
/// network that talks among itself, IPv6.
fn flows(manner: usize) -> Vec<Flow> {
    let at = |number: u16| match manner {
        0 => Flow::new("10.0.0.6", "192.0.2.80", 6, (20_000 + number, 80)),
        1 => Flow::new(&format!("10.1.{}.{}", number >> 8, number & 255), "192.0.2.53", 17, (4000, 53)),
        2 => {
            let (one, other) = (number % 200, number / 200);
            let ends = [format!("10.0.0.{one}"), format!("10.0.1.{other}")];
            Flow::new(&ends[0], &ends[1], 6, (1024 + number % 7, 443))
        }
        3 => Flow::new(&format!("2001:db8::{number:x}"), "2001:db8:1::1", 6, (50_000, 443)),
        _ => {
            let bits = rules::form::mixed(u64::from(number));
            let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
            let ports = (u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]));
            Flow::new(&format!("{a}.{b}.{c}.{d}"), &format!("{d}.{c}.{b}.{a}"), 6, ports)
        }
    };
    (0..20_000).map(at).collect()
}

#[test]
fn twenty_thousand_flows_share_by_weight_and_none_is_split() {
    let weights: [&[u8]; 7] =
        [&[1, 1], &[1, 1, 1, 1], &[1; 7], &[3, 1], &[1, 2, 3, 4], &[1, 1, 2, 2, 3, 3, 4], &[100, 50, 25, 25]];
    let mut worst: f64 = 0.0;
    for weights in weights {
        let program = program(Method::Flow, choices(weights), false);
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for manner in 0..5 {
            let flows = flows(manner);
            let mut memory = Memory::default();
            let mut counts = BTreeMap::<u16, u32>::new();
            for flow in &flows {
                let sensor = chosen(&program, &mut memory, &flow.frame());
                assert_eq!(chosen(&program, &mut memory, &flow.reversed().frame()), sensor, "{flow:?}");
                *counts.entry(sensor).or_default() += 1;
            }
            let all = f64::from(u32::try_from(flows.len()).unwrap());
            let mut relative: f64 = 0.0;
            for (sensor, weight) in (0..).zip(weights) {
                let share = f64::from(counts.get(&sensor).copied().unwrap_or(0)) / all;
                let even = f64::from(*weight) / total;
                relative = relative.max((share / even - 1.0).abs());
                worst = worst.max((share - even).abs());
                assert!((share - even).abs() < 0.01, "{weights:?}, manner {manner}: {sensor} has {share}");
            }
            println!("{weights:?} manner {manner}: {counts:?}, off its own share {:.2} %", relative * 100.0);
        }
    }
    println!("at most {:.2} % of all flows off", worst * 100.0);
}

#[test]
fn of_eight_sensors_only_the_share_of_the_one_removed_moves() {
    let eight = choices(&[1, 2, 1, 1, 3, 1, 1, 1]);
    for gone in 0..8 {
        let mut seven = eight.clone();
        seven.remove(gone);
        // They are known by name, and not by their place in the list.
        seven.reverse();
        let [before, after] = [&eight, &seven].map(|choices| {
            let spread = Spread::new(Method::Flow, choices.clone(), false).unwrap();
            let copies = spread.table().iter().map(|at| choices[usize::from(*at)].copy);
            copies.collect::<Vec<_>>()
        });
        assert_eq!(before.len(), SLOTS);
        let gone = eight[gone].copy;
        let mut moved = BTreeMap::<CopyIndex, u32>::new();
        for (before, after) in before.iter().zip(&after) {
            if *before == gone {
                *moved.entry(*after).or_default() += 1;
            } else {
                assert_eq!(before, after, "a flow that had another sensor moved");
            }
        }
        assert_eq!(moved.len(), 7, "all others take some of it: {moved:?}");
    }
}

#[test]
fn flows_keep_their_sensor_when_another_goes() {
    let eight = choices(&[1; 8]);
    let mut seven = eight.clone();
    let gone = seven.remove(3).copy.0;
    let [before, after] = [eight, seven].map(|choices| program(Method::Flow, choices, false));
    let (mut moved, mut all) = (0u32, 0u32);
    for flow in (0..5).flat_map(flows) {
        let data = flow.frame();
        let was = chosen(&before, &mut Memory::default(), &data);
        let is = chosen(&after, &mut Memory::default(), &data);
        assert!(was == gone || was == is, "{flow:?}");
        assert_ne!(is, gone);
        (moved, all) = (moved + u32::from(was != is), all + 1);
    }
    assert!(moved * 8 > all * 9 / 10 && moved * 8 < all * 11 / 10, "{moved} of {all} moved");
}

#[test]
fn both_directions_of_any_packet_go_to_one_sensor() {
    let program = program(Method::Flow, choices(&[1, 1, 1, 1, 1]), false);
    let mut known = BTreeMap::<u16, u32>::new();
    for flow in flows(4) {
        for protocol in [6, 17, 47] {
            let flow = Flow { protocol, ..flow };
            let there = chosen(&program, &mut Memory::default(), &flow.frame());
            let back = chosen(&program, &mut Memory::default(), &flow.reversed().frame());
            assert_eq!(there, back, "{flow:?}");
            *known.entry(there).or_default() += 1;
        }
    }
    assert_eq!(known.len(), 5);
}

#[test]
fn fragments_follow_their_first_one() {
    let program = program(Method::Flow, choices(&[1, 1, 1, 1, 1, 1, 1]), false);
    let mut memory = Memory::default();
    let (mut by_addresses, mut all) = (0u32, 0u32);
    for (flow, id) in flows(0).into_iter().take(3000).zip(0u16..) {
        let flow = Flow { protocol: 17, ..flow };
        let whole = chosen(&program, &mut memory, &flow.frame());
        let first = chosen(&program, &mut memory, &fragment(flow.frame(), id, 0, true));
        assert_eq!(first, whole, "the first fragment bears the ports");
        // The octets of a later fragment are no header.
        let later = ethernet(&ip(flow.source, flow.destination, 17, &[0xaa; 24]));
        for (offset, more) in [(1480, true), (2960, true), (4440, false)] {
            assert_eq!(chosen(&program, &mut memory, &fragment(later.clone(), id, offset, more)), first);
        }
        let unknown = chosen(&program, &mut Memory::default(), &fragment(later, id, 1480, false));
        (by_addresses, all) = (by_addresses + u32::from(unknown == first), all + 1);
    }
    // Without their first one they go by addresses, and so mostly elsewhere.
    assert!(by_addresses * 7 < all * 2, "{by_addresses} of {all}");
}

#[test]
fn ids_of_fragments_are_of_two_ends_and_a_protocol() {
    let program = program(Method::Flow, choices(&[1; 7]), false);
    let mut memory = Memory::default();
    let udp = Flow::new("10.0.0.1", "10.0.0.2", 17, (1000, 53));
    let later = |flow: Flow| {
        fragment(ethernet(&ip(flow.source, flow.destination, flow.protocol, &[0; 24])), 7, 800, false)
    };
    let first = chosen(&program, &mut memory, &fragment(udp.frame(), 7, 0, true));
    assert_eq!(chosen(&program, &mut memory, &later(udp)), first);
    for other in [Flow { protocol: 6, ..udp }, udp.reversed(), Flow::new("10.0.0.1", "10.0.0.3", 17, (0, 0))]
    {
        let alone = chosen(&program, &mut Memory::default(), &later(other));
        assert_eq!(chosen(&program, &mut memory, &later(other)), alone, "{other:?} is another packet");
    }
}

#[test]
fn fragments_of_ipv6_follow_their_first_one_behind_any_header() {
    let program = program(Method::Flow, choices(&[1; 7]), false);
    let mut elsewhere = 0;
    for (flow, id) in flows(3).into_iter().take(500).zip(0u8..=255) {
        let mut memory = Memory::default();
        let fragment = |next: u8, offset: u16, more: u16, payload: &[u8]| {
            let [high, low] = (offset | more).to_be_bytes();
            let header = [&[next, 0, high, low, 0, 0, 0, id], payload].concat();
            ethernet(&ip(flow.source, flow.destination, 44, &header))
        };
        // Destination options stand behind the fragment header, and TCP behind them.
        let first = [&[6, 0, 1, 4, 0, 0, 0, 0], &flow.segment()[..]].concat();
        let first = chosen(&program, &mut memory, &fragment(60, 0, 1, &first));
        assert_eq!(first, chosen(&program, &mut memory, &flow.frame()));
        let later = fragment(60, 1448, 0, &[0x55; 40]);
        assert_eq!(chosen(&program, &mut memory, &later), first);
        elsewhere += i32::from(chosen(&program, &mut Memory::default(), &later) != first);
    }
    assert!(elsewhere > 100, "{elsewhere}");
}

#[test]
fn turns_are_exact() {
    let program = program(Method::RoundRobin, choices(&[1, 2, 3]), false);
    let mut memory = Memory::default();
    let frame = vec![0; 60];
    let turns: Vec<u16> = (0..6000).map(|_| chosen(&program, &mut memory, &frame)).collect();
    for round in turns.chunks(6) {
        let count = |sensor| round.iter().filter(|chosen| **chosen == sensor).count();
        assert_eq!([0, 1, 2].map(count), [1, 2, 3]);
    }
    assert_eq!(turns[..6], [2, 1, 0, 2, 1, 2], "and as evenly spaced as may be");
}

#[test]
fn chance_follows_the_weights() {
    let program = program(Method::Random, choices(&[1, 2, 5]), false);
    let mut memory = Memory::default();
    let mut counts = [0i32; 3];
    for _ in 0..80_000 {
        counts[usize::from(chosen(&program, &mut memory, &[0; 60]))] += 1;
    }
    for (count, weight) in counts.into_iter().zip([1, 2, 5]) {
        assert!((count - weight * 10_000).abs() < 500, "{counts:?}");
    }
}

#[test]
fn one_source_has_one_sensor() {
    let program = program(Method::Source, choices(&[1; 7]), false);
    let mut sensors = BTreeMap::new();
    for flow in (0..5).flat_map(flows) {
        let sensor = chosen(&program, &mut Memory::default(), &flow.frame());
        let vlan = [&[0x81, 0x00, 0, 9], &flow.frame()[12..]].concat();
        let tagged = [&[2; 12], &vlan[..]].concat();
        assert_eq!(chosen(&program, &mut Memory::default(), &tagged), sensor, "a tag is no matter");
        assert_eq!(*sensors.entry(flow.source).or_insert(sensor), sensor, "{flow:?}");
    }
    let mut counts = [0i32; 7];
    sensors.values().for_each(|sensor| counts[usize::from(*sensor)] += 1);
    let even = i32::try_from(sensors.len() / 7).unwrap();
    assert!(counts.iter().all(|count| (count - even).abs() < even / 10), "{counts:?}");
}

#[test]
fn tunnelled_flows_share_by_what_they_carry() {
    let outer = Flow::new("192.0.2.1", "192.0.2.2", 47, (0, 0));
    let carried = |flow: Flow| {
        let gre = [&[0, 0, 8, 0], &flow.packet()[..]].concat();
        ethernet(&ip(outer.source, outer.destination, 47, &gre))
    };
    let [by_outer, by_inner] = [false, true].map(|inner| program(Method::Flow, choices(&[1; 4]), inner));
    let mut counts = [0u32; 4];
    let all = chosen(&by_outer, &mut Memory::default(), &carried(flows(0)[0]));
    for flow in flows(2) {
        let sensor = chosen(&by_inner, &mut Memory::default(), &carried(flow));
        assert_eq!(sensor, chosen(&by_inner, &mut Memory::default(), &flow.frame()));
        assert_eq!(sensor, chosen(&by_inner, &mut Memory::default(), &carried(flow.reversed())));
        counts[usize::from(sensor)] += 1;
        assert_eq!(chosen(&by_outer, &mut Memory::default(), &carried(flow)), all);
    }
    assert!(counts.iter().all(|count| count.abs_diff(5_000) < 200), "{counts:?}");
}
