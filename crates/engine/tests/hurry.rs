//! Expedited grace periods: asked for while many programs are attached, and never left on.

#![allow(clippy::unwrap_used, reason = "a test that meets an error ends there")]

use std::fmt::Write;

use plan::plan::Plan;
use sys::{Card, Fake, Fault, FaultKind, Sys};

/// So many links, each with two monitors.
fn plan(links: usize) -> Plan {
    let mut text = String::from("[ports]\n");
    for port in ["a", "b", "m", "n"] {
        (0..links).for_each(|link| writeln!(text, "{port}{link} = \"{port}{link}\"").unwrap());
    }
    for link in 0..links {
        writeln!(
            text,
            "[[device]]\nname = \"d{link}\"\nkind = \"dual-port-aggregator\"\nlink = [\"a{link}\", \"b{link}\"]\n\
             monitors = [\"m{link}\", \"n{link}\"]"
        )
        .unwrap();
    }
    plan::compile("hurry.toml", &text).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn machine(links: usize) -> Fake {
    let mut fake = Fake::new();
    for link in 0..links {
        for port in ["a", "b", "m", "n"] {
            fake.add_card(&format!("{port}{link}"), Card::veth());
        }
    }
    fake
}

/// What was asked of the switch, in order.
fn asked(fake: &mut Fake) -> usize {
    fake.gate()
        .trace()
        .iter()
        .filter(|call| call.name == "write" && call.object.contains("expedited"))
        .count()
}

#[test]
fn many_programs_are_attached_in_a_hurry_and_few_are_not() {
    for (links, writes) in [(1, 0), (4, 2)] {
        let mut fake = machine(links);
        let before = fake.snapshot();
        fake.gate().start_trace();
        engine::up(&mut fake, &plan(links), "hurry.toml").unwrap();
        assert_eq!((asked(&mut fake), fake.expedited().unwrap()), (writes, Some(false)), "up, {links} links");
        fake.gate().start_trace();
        engine::down(&mut fake).unwrap();
        assert_eq!(
            (asked(&mut fake), fake.expedited().unwrap()),
            (writes, Some(false)),
            "down, {links} links"
        );
        fake.restart();
        assert!(fake.snapshot() == before, "{}", before.difference(&fake.snapshot()));
    }
}

#[test]
fn a_machine_that_hurries_already_goes_on() {
    let mut fake = machine(4);
    fake.set_expedited(true).unwrap();
    engine::up(&mut fake, &plan(4), "hurry.toml").unwrap();
    engine::down(&mut fake).unwrap();
    assert_eq!(fake.expedited().unwrap(), Some(true));
}

#[test]
fn killed_at_any_call_of_up_or_down_it_is_off_after_the_next_down() {
    let plan = plan(4);
    let mut up = machine(4);
    let before = up.snapshot();
    up.gate().start_trace();
    engine::up(&mut up, &plan, "hurry.toml").unwrap();
    let ups = changes(&mut up);
    up.restart();
    let mut down = up.clone();
    down.gate().start_trace();
    engine::down(&mut down).unwrap();
    for (of_up, calls) in [(true, ups), (false, changes(&mut down))] {
        for at in calls {
            let mut fake = if of_up { machine(4) } else { up.clone() };
            fake.gate().set_fault(Some(Fault { at, kind: FaultKind::Kill }));
            let done = if of_up {
                engine::up(&mut fake, &plan, "hurry.toml").is_ok()
            } else {
                engine::down(&mut fake).is_ok()
            };
            assert!(!done, "call {at} was not made");
            fake.restart();
            match engine::down(&mut fake) {
                Ok(_) | Err(engine::Error::NothingUp) => {}
                Err(error) => panic!("killed at call {at}: {error}"),
            }
            fake.restart();
            let after = fake.snapshot();
            assert!(after == before, "killed at call {at}: {}", before.difference(&after));
        }
    }
}

/// The numbers of the calls that changed something: before any of them, all is as it was.
fn changes(fake: &mut Fake) -> Vec<u64> {
    fake.gate().trace().iter().filter(|call| call.changes).map(|call| call.number).collect()
}
