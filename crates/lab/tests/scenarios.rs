//! Every scenario, under every way to attach that it takes: what the sensors saw, and the ledger. Needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use lab::report::{self, Style};
use lab::run;
use lab::scenario::{Options, SCENARIOS, find};

/// Runs a scenario; a failure prints the whole report.
fn must_hold(name: &str, attach: Option<&str>, copies: usize) {
    let scenario = find(name).unwrap();
    let options = Options { attach: attach.map(str::to_owned), copies };
    let (_lab, report) =
        run::run(scenario, &options).expect("this test makes network namespaces: run it as root");
    let style = Style { frames: Some(0), bold: false };
    assert!(report.ok(), "{}", report::text(&report, style, None));
    for sensor in &report.sensors {
        assert!(!sensor.frames.is_empty(), "{name}: {} saw nothing", sensor.end);
    }
}

#[test]
fn every_scenario_holds_as_it_is() {
    for scenario in &SCENARIOS {
        must_hold(scenario.name, None, 2);
    }
}

#[test]
fn every_scenario_holds_over_clsact() {
    for scenario in &SCENARIOS {
        must_hold(scenario.name, Some("clsact"), 2);
    }
}

#[test]
fn every_scenario_holds_over_classic_filters() {
    for scenario in &SCENARIOS {
        must_hold(scenario.name, Some("classic"), 2);
    }
}

#[test]
fn every_scenario_with_links_or_span_ports_holds_in_xdp() {
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name != "watch") {
        must_hold(scenario.name, Some("xdp"), 2);
    }
}

#[test]
fn a_regeneration_tap_serves_eight_sensors() {
    must_hold("regeneration", None, 8);
}

#[test]
fn a_watched_interface_cannot_take_xdp_and_the_lab_says_so() {
    let options = Options { attach: Some("xdp".into()), copies: 2 };
    let error = run::run(find("watch").unwrap(), &options).unwrap_err();
    assert!(error.to_string().contains("only a network port or a SPAN port can take XDP"), "{error}");
}
