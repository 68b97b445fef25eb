use std::path::Path;

use super::super::{Measured, PortMeter, Spec};
use super::*;

/// 90 and 50 Mbit/s for a second on 100 Mbit/s, by a fluid that is good enough for a picture.
fn measured(sides: &[&str], rate_bits: Option<u64>) -> Measured {
    let mut meter = PortMeter::new(Spec {
        name: "<ids> & \"co\"".into(),
        sides: sides.iter().map(|side| (*side).to_owned()).collect(),
        rate_bits,
        buffer_bytes: rate_bits.map(|_| 1 << 20),
        plots: true,
        cure: true,
        ..Spec::default()
    });
    for number in 0..1000u64 {
        let side = u16::try_from(number % sides.len() as u64).unwrap();
        let at = number * 1_000_000;
        meter.offered(at, side, 1476, 1500);
        meter.depth(at, side, number * 1500);
        match number {
            0..700 => meter.departed(at, at + number * 10_000, side, 1476),
            _ => meter.dropped(at, side, 1476),
        }
    }
    meter.finish(1_000_000_000)
}

fn figure(sides: &[&str], rate_bits: Option<u64>) -> String {
    let measured = measured(sides, rate_bits);
    svg(&measured.report, &measured.series.unwrap())
}

#[test]
fn a_figure_has_titles_units_a_legend_and_escaped_names() {
    let text = figure(&["a<", "b"], Some(100_000_000));
    let has = [
        "Monitor port &lt;ids&gt; &amp; &quot;co&quot;: 100Mbit, buffer 1MiB a side",
        "1000 frames offered, 300 lost (30.00 %), the first at 700 ms",
        ">a&lt;</text>",
        ">offered (Mbit/s)</text>",
        ">waiting (MB)</text>",
        ">lost (frames)</text>",
        ">time (s)</text>",
        ">first loss 700 ms</text>",
        ">took no longer than</text>",
        ">limit of the port</text>",
    ];
    for part in has {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert!(text.len() < 100_000, "{} octets", text.len());
}

#[test]
fn elements_are_closed() {
    for text in [figure(&["a"], None), figure(&["a"; 16], Some(1_000_000)), empty()] {
        let mut open = Vec::new();
        for tag in text.split('<').skip(1) {
            let name = tag.split([' ', '>', '/']).next().unwrap();
            match tag.strip_prefix('/') {
                Some(end) => assert_eq!(open.pop(), end.split('>').next(), "{text}"),
                None if tag.trim_end().ends_with("/>") => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

fn empty() -> String {
    let measured = PortMeter::new(Spec { plots: true, ..Spec::default() }).finish(5);
    let series = measured.series.unwrap();
    svg(&measured.report, &series)
}

#[test]
fn more_sides_than_colours_share_one() {
    let text = figure(&["a"; 16], Some(100_000_000));
    assert!(text.contains(">10 other sides</text>"), "{text}");
}

/// A small figure, whole: what it looks like is looked at with `rsvg-convert`, what changes is seen here.
#[test]
fn the_golden_figure() {
    let mut meter = PortMeter::new(Spec {
        name: "ids".into(),
        sides: vec!["a".into()],
        rate_bits: Some(8_000_000),
        buffer_bytes: Some(1000),
        framing: plan::simulation::Framing::NONE,
        plots: true,
        ..Spec::default()
    });
    meter.offered(0, 0, 1000, 1000);
    meter.departed(0, 0, 0, 1000);
    meter.offered(500_000, 0, 1000, 1000);
    meter.depth(500_000, 0, 1000);
    meter.offered(750_000, 0, 1000, 1000);
    meter.dropped(750_000, 0, 1000);
    meter.depth(1_000_000, 0, 0);
    meter.departed(500_000, 1_000_000, 0, 1000);
    let measured = meter.finish(2_000_000);
    let text = svg(&measured.report, &measured.series.unwrap());
    let mut golden = corpus::Golden::from_environment();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/meter/plot");
    golden.check(&folder.join("golden.svg"), &text);
    golden.finish();
}
