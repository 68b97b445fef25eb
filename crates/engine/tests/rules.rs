//! Plans with rules on a machine in memory: the maps that rules need, and how ports with rules are attached.

#![allow(clippy::unwrap_used, reason = "a test that meets an error ends there")]

use std::fmt::Write;

use plan::plan::Plan;
use sys::{Card, Fake, Sys};

fn config(monitor_keys: &str, attach: &str) -> String {
    format!(
        "[ports]\na = {{ interface = \"eth1\", attach = \"{attach}\" }}\n\
         b = {{ interface = \"eth2\", attach = \"{attach}\" }}\n\
         m1 = {{ interface = \"eth3\"{monitor_keys} }}\nm2 = \"eth4\"\n\
         [[device]]\nname = \"steer\"\nkind = \"distributor\"\nlink = [\"a\", \"b\"]\nrules = \"pf.conf\"\n"
    )
}

fn plan(config: &str, rules: &str) -> Plan {
    let compiled = plan::compile_with("tap.toml", config, &|_| Ok(rules.to_owned()));
    compiled.unwrap_or_else(|problems| panic!("{problems}")).plan
}

/// A machine whose four interfaces are up, on cards of this driver.
fn machine(driver: &str) -> Fake {
    let mut fake = Fake::new();
    for name in ["eth1", "eth2", "eth3", "eth4"] {
        let index = fake.add_card(name, Card::physical(driver));
        fake.set_link_flags(index, sys::IFF_UP, 0).unwrap();
    }
    fake
}

fn up(fake: &mut Fake, plan: &Plan) -> engine::UpReport {
    engine::up(fake, plan, "tap.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// Rules that need tables, and counters in rows of their own.
fn many() -> String {
    let mut rules = String::new();
    for n in 0..200 {
        let _ = writeln!(
            rules,
            "block in on a inet proto tcp from 192.0.2.{n} port 1024 to 198.51.100.1 port 80"
        );
    }
    rules.push_str("pass in quick on a dup-to (m1 192.0.2.254) inet proto udp from any to any port 53\n");
    rules
}

const FEW: &str = "pass in on a dup-to (m1 192.0.2.254) inet proto tcp from any to any port 80\n";

/// The names of the maps that are there.
fn maps(fake: &Fake) -> Vec<String> {
    let text = fake.snapshot().to_string();
    let names = text.lines().filter_map(|line| line.strip_prefix("map ")?.split(' ').nth(1));
    names.map(str::to_owned).collect()
}

#[test]
fn tables_live_as_long_as_the_programs_that_look_them_up() {
    let mut fake = machine("tg3");
    up(&mut fake, &plan(&config("", "auto"), &many()));
    fake.restart();
    let names = maps(&fake);
    for name in ["tw_state", "tw_counters", "tw_tallies"] {
        assert_eq!(names.iter().filter(|known| *known == name).count(), 1, "{names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("tw_table")), "{names:?}");
    let status = engine::status(&mut fake).unwrap();
    assert_eq!(status.notes, Vec::<String>::new());
    let lines: Vec<&str> = status.blocked.iter().map(|row| row.rule.as_str()).collect();
    assert_eq!((lines.len(), lines[0], lines[199]), (200, "pf.conf:1", "pf.conf:200"));
    engine::down(&mut fake).unwrap();
    fake.restart();
    assert_eq!(maps(&fake), [""; 0]);
}

#[test]
fn what_is_counted_in_rows_of_their_own_is_read_by_rule() {
    let mut fake = machine("tg3");
    up(&mut fake, &plan(&config("", "auto"), &many()));
    // Row 0 is that of the only copy, and rules that block follow in order: row 8 is that of line 8.
    let text = fake.snapshot().to_string();
    let line = text.lines().find(|line| line.contains("tw_tallies")).unwrap();
    let id = line.split(' ').nth(1).unwrap().parse().unwrap();
    let map = fake.map_by_id(id).unwrap();
    let mut each = [0; 48];
    each[0] = 3;
    fake.map_update(map, &8u32.to_ne_bytes(), &each.repeat(2)).unwrap();
    let status = engine::status(&mut fake).unwrap();
    let counted: Vec<_> = status.blocked.iter().filter(|row| row.blocked > 0).collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!((counted[0].rule.as_str(), counted[0].blocked), ("pf.conf:8", 6), "both CPUs");
    assert_eq!(status.ports["a"].blocked_by["pf.conf:8"], 6);
}

/// How port a is attached, and why.
fn attached(fake: &mut Fake, plan: &Plan) -> (String, String) {
    let report = up(fake, plan);
    (report.ports[0].attach.clone(), report.ports[0].why.clone())
}

#[test]
fn auto_takes_xdp_with_rules_and_says_why_where_it_does_not() {
    let both = |attach: &str, why: &str| (attach.to_owned(), why.to_owned());
    let plain = plan(&config("", "auto"), FEW);
    assert_eq!(attached(&mut machine("ice"), &plain), both("xdp", "ice runs it natively"));
    let mut old = machine("ice");
    old.set_kernel("5.17.0");
    let why = "not xdp: rules that look into frames need Linux 5.18 under xdp";
    assert_eq!(attached(&mut old, &plain), both("clsact", why));
    let rated = plan(&config(", rate = \"1Gbit\", buffer = \"1MiB\"", "auto"), FEW);
    let why = "not xdp: a: in XDP, rules that look beyond the VLAN cannot copy to a port with a rate";
    assert_eq!(attached(&mut machine("ice"), &rated), both("tcx", why));
}

#[test]
fn xdp_that_was_asked_for_is_refused_with_the_reason() {
    let mut fake = machine("ice");
    let before = fake.snapshot();
    let rated = plan(&config(", rate = \"1Gbit\", buffer = \"1MiB\"", "xdp"), FEW);
    let error = engine::up(&mut fake, &rated, "tap.toml").unwrap_err();
    let expected = "\
port a: eth1 cannot be attached with xdp: a: in XDP, rules that look beyond the VLAN cannot copy to a port with a rate
help: use attach = \"auto\" or \"tcx\", or fewer and simpler rules
nothing was changed
";
    assert_eq!(error.to_string(), expected);
    fake.restart();
    assert_eq!(before.difference(&fake.snapshot()), "");
}

#[test]
fn more_cases_than_xdp_keeps_apart_take_tcx() {
    let mut text = "[ports]\na = \"eth1\"\nb = \"eth2\"\n".to_owned();
    let mut copies = String::new();
    let mut fake = machine("ice");
    for n in 0..7 {
        let index = fake.add_card(&format!("mon{n}"), Card::physical("ice"));
        fake.set_link_flags(index, sys::IFF_UP, 0).unwrap();
        let _ = writeln!(text, "m{n} = \"mon{n}\"");
        let _ = writeln!(copies, "[[device.copy]]\nmatch = \"port {}\"\nto = [\"m{n}\"]", 80 + n);
    }
    text.push_str("[[device]]\nname = \"steer\"\nkind = \"distributor\"\nlink = [\"a\", \"b\"]\n");
    let (attach, why) = attached(&mut fake, &plan(&(text + &copies), ""));
    assert_eq!(attach, "tcx");
    assert!(why.starts_with("not xdp: a: ") && why.ends_with(" outcomes, XDP takes 64"), "{why}");
}

#[test]
fn chance_begins_with_a_number_of_the_kernel() {
    let chances = plan(
        &config("", "auto"),
        "pass in on a dup-to (m1 192.0.2.254) inet from any to any probability 30%\n",
    );
    let programs = |random, plan: &Plan| {
        let mut fake = machine("tg3");
        fake.set_random(random);
        up(&mut fake, plan);
        let index = fake.link_by_name("eth1").unwrap().unwrap().index;
        let ids = fake.tcx_query(index, sys::Hook::Ingress).unwrap();
        let prog = fake.prog_by_id(ids[0].prog_id).unwrap();
        fake.prog_info(prog).unwrap().tag
    };
    assert_eq!(programs(1, &chances), programs(1, &chances));
    assert_ne!(programs(1, &chances), programs(2, &chances));
    let certain = plan(&config("", "auto"), FEW);
    assert_eq!(programs(1, &certain), programs(2, &certain));
}
