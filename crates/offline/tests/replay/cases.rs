//! The golden cases of the corpus: a replay gives the frames and the counters that stand there.

use std::collections::BTreeMap;
use std::fs;

use corpus::{Case, HookCount, Outcome};
use offline::Report;
use plan::plan::{Plan, Point, Role};
use wire::LinkType;
use wire::capture::{PcapWriter, Timestamp};

use super::scratch::{Packet, replay_all, stream};

/// A capture for each place where frames of the case are judged.
fn captures(case: &Case) -> BTreeMap<Point, Vec<u8>> {
    let mut captures: BTreeMap<Point, (PcapWriter, Vec<u8>)> = BTreeMap::new();
    for input in case.frames.iter().filter(|input| case.plan.hook_at(input.at).is_some()) {
        let (writer, out) = captures.entry(input.at).or_insert_with(|| {
            let mut out = Vec::new();
            // With nanoseconds, so that times stay exact.
            (PcapWriter::new(LinkType::ETHERNET, true, &mut out), out)
        });
        writer.packet(Timestamp(i128::from(input.time.0)), &input.frame(), out).unwrap();
    }
    captures.into_iter().map(|(at, (_, out))| (at, out)).collect()
}

/// What the corpus says of a case, from what a replay says.
fn outcome(case: &Case, report: &Report, written: &BTreeMap<String, Vec<Packet>>) -> Outcome {
    let plan = &case.plan;
    // The times of a case are all different, so a frame is known by its time.
    let number = |packet: &Packet| {
        let at = case.frames.iter().position(|input| i128::from(input.time.0) == packet.0);
        let at = at.unwrap_or_else(|| panic!("{}: a frame at {} ns", case.name, packet.0));
        assert_eq!(case.frames[at].data, packet.3, "{}: frame {at}", case.name);
        at
    };
    let sent = plan.ports.iter().filter_map(|port| written.get(&port.name).map(|packets| (port, packets)));
    let sent = sent.map(|(port, packets)| (port.name.clone(), packets.iter().map(number).collect()));
    let mut copies: Vec<((String, String, String), u64)> = Vec::new();
    for copy in &report.ledger.copies {
        let key = (copy.rule.clone(), copy.source.clone(), copy.monitor.clone());
        match copies.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) => *count += copy.copied,
            None => copies.push((key, copy.copied)),
        }
    }
    let blocked = report.ledger.blocked.iter();
    let blocked = blocked.map(|by| ((by.rule.clone(), by.source.clone()), by.blocked)).collect();
    let judged: u64 = report.inputs.iter().map(|input| input.packets).sum();
    Outcome {
        sent: sent.collect(),
        hooks: plan.hooks.iter().map(|hook| hook_count(plan, hook.at, report)).collect(),
        sides: sides(plan, &copies),
        copies,
        blocked,
        not_judged: case.frames.len() as u64 - judged,
    }
}

/// What passed a hook. Fates are counted by port: of a watched interface, with two hooks, all frames are left.
fn hook_count(plan: &Plan, at: Point, report: &Report) -> HookCount {
    let source = plan.source_name(plan.hook_at(at).unwrap().1);
    let input = report.inputs.iter().find(|input| input.source == source);
    let (frames, bytes) = input.map_or((0, 0), |input| (input.packets, input.bytes));
    let port = &report.ledger.ports[&plan.port(at.port).name];
    let fates = match plan.port(at.port).role {
        Role::Watched => vec![("left", frames)],
        _ => vec![("passed", port.passed), ("blocked", port.blocked), ("consumed", port.consumed)],
    };
    HookCount { source, frames, bytes, fates: fates.into_iter().filter(|(_, count)| *count > 0).collect() }
}

type Copied = ((String, String, String), u64);

fn sides(plan: &Plan, copies: &[Copied]) -> Vec<(String, Vec<(String, u64)>)> {
    let sides = plan.sinks().map(|(id, _)| {
        let monitor = plan.sink_name(id);
        let of_side = plan.sides(id).into_iter().map(|side| {
            let sources: Vec<String> =
                side.hooks.iter().map(|hook| plan.source_name(plan.hook(*hook))).collect();
            let mine = copies.iter().filter(|((_, source, to), _)| to == monitor && sources.contains(source));
            (side.name, mine.map(|(_, count)| count).sum())
        });
        (monitor.to_owned(), of_side.collect())
    });
    sides.collect()
}

#[test]
fn every_case_of_the_corpus_comes_out_as_it_stands_there() {
    let cases = corpus::cases().unwrap();
    assert!(cases.len() >= 25, "{} cases", cases.len());
    for case in cases {
        let rising = case.frames.windows(2).all(|pair| pair[0].time < pair[1].time);
        assert!(rising, "{}: times that do not rise do not tell frames apart", case.name);
        // What a case says of copies is what is sent towards ports: as if none had a rate.
        let mut plan = case.plan.clone();
        plan.ports.iter_mut().for_each(|port| port.queue = None);
        let inputs = captures(&case).into_iter().map(|(at, capture)| stream(at, capture)).collect();
        let (report, written) = replay_all(&plan, inputs);
        let outcome = outcome(&case, &report, &written);
        let golden = |name: &str| fs::read_to_string(case.dir.join(name)).unwrap();
        assert_eq!(outcome.sent_text(), golden("out.txt"), "{}", case.name);
        assert_eq!(outcome.counters_text(), golden("counters.txt"), "{}", case.name);
        assert_eq!((report.ledger.unaccounted, report.is_whole()), (0, true), "{}", case.name);
    }
}

#[test]
fn cases_with_rates_copy_the_same_and_account_for_what_waits_and_is_dropped() {
    let mut rated = 0;
    for case in corpus::cases().unwrap() {
        if case.plan.ports.iter().all(|port| port.queue.is_none()) {
            continue;
        }
        rated += 1;
        let inputs = || captures(&case).into_iter().map(|(at, capture)| stream(at, capture)).collect();
        let mut fast = case.plan.clone();
        fast.ports.iter_mut().for_each(|port| port.queue = None);
        let (expected, at_once) = replay_all(&fast, inputs());
        let (report, written) = replay_all(&case.plan, inputs());
        let (ledger, name) = (&report.ledger, &case.name);
        assert_eq!(
            (&ledger.ports, &ledger.copies),
            (&expected.ledger.ports, &expected.ledger.copies),
            "{name}"
        );
        assert_eq!((ledger.unaccounted, ledger.notes.len()), (0, 0), "{name}");
        for port in &case.plan.ports {
            let [all, sent] = [at_once.get(&port.name), written.get(&port.name)];
            if port.queue.is_none() {
                assert_eq!(sent, all, "{name}, {}", port.name);
                continue;
            }
            let monitor = &ledger.monitors[&port.name];
            let count = |packets: Option<&Vec<Packet>>| packets.map_or(0, |packets| packets.len() as u64);
            let dropped: u64 = monitor.dropped.buffer.values().sum();
            assert_eq!((monitor.sent, monitor.queued), (count(sent), 0), "{name}, {}", port.name);
            assert_eq!(monitor.sent + dropped, count(all), "{name}, {}", port.name);
            let measured = report.measured.iter().find(|it| it.name == port.name).unwrap();
            assert_eq!(measured.total.offered.frames, count(all), "{name}, {}", port.name);
            assert_eq!(measured.total.dropped.frames, dropped, "{name}, {}", port.name);
        }
    }
    assert!(rated >= 3, "{rated} cases with rates");
}
