//! One figure a port: rate, queue and losses over time, and how long frames took.
//!
//! An SVG as a string; nothing is written anywhere. Colours are those of Okabe and Ito (2008), which those who are
//! colour-blind can tell apart, on white in every viewer.

mod axis;
mod svg;

use plan::units::{ShownRate, ShownSize};

use super::count;
use super::report::PortReport;
use super::series::{PEAK_NS, Series, SideSeries};
use super::show::Time;
use axis::{Axis, RATES, SIZES, TIMES, number, unit};
use svg::{Anchor, Drawing};

/// Sides in the order of the plan; what is beyond them shares one more.
const COLOURS: [&str; 7] = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#7F6BB3"];
const OTHERS: &str = "#999999";
const LOSS: &str = "#D55E00";

const WIDTH: f64 = 960.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 936.0;
/// The least width of a step of a rate, in parts of the whole: with fewer frames in each, steps are noise.
const RATE_STEPS: usize = 240;

const GRID: &str = "stroke=\"#e4e4e4\" stroke-width=\"1\" fill=\"none\"";
const FRAME: &str = "stroke=\"#888\" stroke-width=\"1\" fill=\"none\"";
const LIMIT: &str = "stroke=\"#222\" stroke-width=\"1.3\" stroke-dasharray=\"6 4\" fill=\"none\"";
const PEAK: &str = "stroke=\"#777\" stroke-width=\"1\" fill=\"none\"";
const FIRST_LOSS: &str = "stroke=\"#D55E00\" stroke-width=\"1.3\" stroke-dasharray=\"2 3\" fill=\"none\"";
const SMALL: &str = " font-size=\"12\" fill=\"#444\"";

/// A figure of one port.
pub fn svg(report: &PortReport, series: &Series) -> String {
    let curves = curves(series);
    let waits = series.delays.last().is_some_and(|(ns, _)| *ns > 0);
    let lost = report.total.dropped.frames > 0;
    let mut top = 84.0;
    let mut panel = |height: f64, gap: f64| {
        let panel = (top, top + height);
        top += height + gap;
        panel
    };
    let rate = panel(190.0, 16.0);
    let waited = report.total.queue.deepest_bytes > 0 || report.buffer_bytes.is_some();
    let queue = panel(if waited { 150.0 } else { 34.0 }, 16.0);
    let losses = panel(if lost { 110.0 } else { 34.0 }, 66.0);
    let delays = waits.then(|| panel(120.0, 66.0));
    let mut figure = Figure::new(report, series, curves, top - 14.0);
    figure.heading(report);
    figure.rates(rate);
    if waited {
        figure.queues(queue);
    } else {
        figure.empty(queue, "waiting", "nothing waits");
    }
    if lost {
        figure.losses(losses);
    } else {
        figure.empty(losses, "lost", "no frame is lost");
    }
    figure.time(&[rate, queue, losses], losses.1);
    figure.first_loss(rate.0, losses.1);
    if let Some(delays) = delays {
        figure.delays(delays);
    }
    figure.drawing.finish()
}

/// What is drawn in one colour: a side, or all that have no colour of their own.
struct Curve {
    side: SideSeries,
    colour: &'static str,
}

fn curves(series: &Series) -> Vec<Curve> {
    let sides = &series.sides;
    let own = if sides.len() > COLOURS.len() { COLOURS.len() - 1 } else { sides.len() };
    let mut curves: Vec<Curve> = sides
        .iter()
        .zip(COLOURS)
        .take(own)
        .map(|(side, colour)| Curve { side: side.clone(), colour })
        .collect();
    if let Some((first, rest)) = sides[own..].split_first() {
        let mut side = first.clone();
        for other in rest {
            side.join(other);
        }
        side.name = format!("{} other sides", rest.len() + 1);
        curves.push(Curve { side, colour: OTHERS });
    }
    curves
}

struct Figure<'a> {
    drawing: Drawing,
    report: &'a PortReport,
    series: &'a Series,
    curves: Vec<Curve>,
    /// Nanoseconds of virtual time.
    time: Axis,
    /// Nanoseconds that are shown.
    span: f64,
}

#[allow(clippy::cast_precision_loss, reason = "a picture")]
impl<'a> Figure<'a> {
    fn new(report: &'a PortReport, series: &'a Series, curves: Vec<Curve>, height: f64) -> Self {
        let bins = series.sides.first().map_or(0, |side| side.offered.len());
        let span = count(bins).saturating_mul(series.width_ns) as f64;
        let drawing = Drawing::new(WIDTH, height, &report.name);
        Self { drawing, report, series, curves, time: Axis::new(0.0, span, (LEFT, RIGHT)), span }
    }

    fn heading(&mut self, report: &PortReport) {
        let mut title = format!("Monitor port {}", report.name);
        if let Some(rate) = report.rate_bits {
            title += &format!(": {}", ShownRate(rate));
        }
        if let Some(buffer) = report.buffer_bytes {
            title += &format!(", buffer {} a side", ShownSize(buffer));
        }
        self.drawing.text(LEFT, 28.0, Anchor::Start, " font-size=\"18\" font-weight=\"bold\"", &title);
        let (offered, dropped) = (report.total.offered.frames, report.total.dropped);
        let what = match dropped.first_ns {
            None => format!("{offered} frames offered, none lost"),
            Some(first) => format!(
                "{offered} frames offered, {} lost ({:.2} %), the first at {}",
                dropped.frames,
                dropped.percent,
                Time(first),
            ),
        };
        self.drawing.text(LEFT, 48.0, Anchor::Start, SMALL, &what);
        self.legend(70.0);
    }

    fn legend(&mut self, y: f64) {
        let mut x = LEFT;
        let mut next = |name: &str| {
            let at = x;
            x += 34.0 + 7.2 * name.chars().count() as f64;
            at
        };
        for curve in &self.curves {
            let name = if curve.side.name.is_empty() { "offered" } else { &curve.side.name };
            let at = next(name);
            self.drawing.square(at, y - 10.0, 11.0, curve.colour);
            self.drawing.text(at + 16.0, y, Anchor::Start, "", name);
        }
        let at = next("carried");
        self.drawing.line(
            (at, y - 4.5),
            (at + 14.0, y - 4.5),
            "stroke=\"#222\" stroke-width=\"2\" fill=\"none\"",
        );
        self.drawing.text(at + 19.0, y, Anchor::Start, "", "carried");
        if self.peaks().is_some() {
            let at = next("offered, peak of 1 ms");
            self.drawing.line((at, y - 4.5), (at + 14.0, y - 4.5), PEAK);
            self.drawing.text(at + 19.0, y, Anchor::Start, "", "offered, peak of 1 ms");
        }
        if self.report.rate_bits.or(self.report.buffer_bytes).is_some() {
            let at = next("limit of the port");
            self.drawing.line((at, y - 4.5), (at + 20.0, y - 4.5), LIMIT);
            self.drawing.text(at + 25.0, y, Anchor::Start, "", "limit of the port");
        }
    }

    /// The grid of a panel with values from 0 to `most`, and its axis.
    fn panel(&mut self, (top, bottom): (f64, f64), most: f64, scale: f64, label: &str) -> Axis {
        let axis = Axis::new(0.0, most, (bottom, top));
        let about = ((bottom - top) / 34.0).max(1.0);
        for tick in Axis::new(0.0, most / scale, (0.0, 1.0)).ticks(about) {
            let y = axis.place(tick * scale);
            self.drawing.line((LEFT, y), (RIGHT, y), GRID);
            self.drawing.text(LEFT - 7.0, y + 4.5, Anchor::End, SMALL, &number(tick));
        }
        self.drawing.upright(20.0, f64::midpoint(top, bottom), label);
        axis
    }

    /// How many bins make a step of rates.
    fn bins_a_step(&self) -> usize {
        let bins = self.series.sides.first().map_or(0, |side| side.offered.len());
        bins.div_ceil(RATE_STEPS).max(1)
    }

    /// Octets of each step as rates; the last step may be shorter.
    fn rate_of(&self, octets: &[u64]) -> Vec<f64> {
        let rate = |bins: &[u64]| {
            let ns = (count(bins.len()) * self.series.width_ns) as f64;
            bins.iter().sum::<u64>() as f64 * 8e9 / ns
        };
        octets.chunks(self.bins_a_step()).map(rate).collect()
    }

    /// Corners of steps of so many bins.
    fn steps(&self, values: &[f64], bins: usize, axis: Axis) -> Vec<(f64, f64)> {
        let width = bins as f64 * self.series.width_ns as f64;
        let corners = |(index, value): (usize, &f64)| {
            let y = axis.place(*value);
            let x = |index: usize| self.time.place((index as f64 * width).min(self.span));
            [(x(index), y), (x(index + 1), y)]
        };
        values.iter().enumerate().flat_map(corners).collect()
    }

    /// Areas on top of each other.
    fn stacked(&mut self, levels: &[(Vec<f64>, &'static str)], bins: usize, axis: Axis) {
        let floor = vec![0.0; levels.first().map_or(0, |(level, _)| level.len())];
        let mut below = &floor;
        for (level, colour) in levels {
            let mut corners = self.steps(level, bins, axis);
            corners.extend(self.steps(below, bins, axis).into_iter().rev());
            self.drawing.path(corners, true, &format!("fill=\"{colour}\" fill-opacity=\"0.75\""));
            below = level;
        }
    }

    /// Each curve's values added to those below it.
    fn levels(&self, of: impl Fn(&SideSeries) -> Vec<f64>) -> Vec<(Vec<f64>, &'static str)> {
        let mut sum: Vec<f64> = Vec::new();
        let level = |curve: &Curve| {
            let values = of(&curve.side);
            sum.resize(values.len(), 0.0);
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            (sum.clone(), curve.colour)
        };
        self.curves.iter().map(level).collect()
    }

    /// The highest rate over a millisecond in each step, where steps are longer and these are clearly higher.
    fn peaks(&self) -> Option<Vec<f64>> {
        let bins = self.bins_a_step();
        if count(bins) * self.series.width_ns < 4 * PEAK_NS {
            return None;
        }
        let rate = |octets: u64| octets as f64 * 8e9 / PEAK_NS as f64;
        let highest_of = |bins: &[u64]| rate(bins.iter().copied().max().unwrap_or(0));
        let peaks: Vec<f64> = self.series.peaks.chunks(bins).map(highest_of).collect();
        let means = self.levels(|side| self.rate_of(&side.offered));
        let mean = means.last().map_or(0.0, |(level, _)| highest(level));
        (highest(&peaks) > 1.5 * mean).then_some(peaks)
    }

    fn rates(&mut self, place: (f64, f64)) {
        let levels = self.levels(|side| self.rate_of(&side.offered));
        let most = levels.last().map_or(0.0, |(level, _)| highest(level));
        let peaks = self.peaks();
        let most = peaks.as_deref().map_or(0.0, highest).max(most);
        let limit = self.report.rate_bits.map(|rate| rate as f64);
        // A port that is ten times as fast as what comes would press everything to the floor.
        let shown = limit.filter(|limit| *limit <= most * 10.0);
        let most = most.max(shown.unwrap_or(0.0)).max(1.0) * 1.08;
        let (scale, name) = unit(most, &RATES);
        let axis = self.panel(place, most, scale, &format!("offered ({name})"));
        self.stacked(&levels, self.bins_a_step(), axis);
        let mut carried = vec![0u64; self.series.sides.first().map_or(0, |side| side.carried.len())];
        for side in &self.series.sides {
            carried.iter_mut().zip(&side.carried).for_each(|(sum, octets)| *sum += octets);
        }
        let carried = self.rate_of(&carried);
        let corners = self.steps(&carried, self.bins_a_step(), axis);
        let style = "stroke=\"#222\" stroke-width=\"1.6\" fill=\"none\"";
        self.drawing.path(corners, false, style);
        if let Some(peaks) = peaks {
            let corners = self.steps(&peaks, self.bins_a_step(), axis);
            self.drawing.path(corners, false, PEAK);
        }
        self.limit(axis, shown);
        if limit.is_some() && shown.is_none() {
            let y = place.0 + 14.0;
            self.drawing.text(
                RIGHT - 6.0,
                y,
                Anchor::End,
                SMALL,
                "the limit of the port is beyond this scale",
            );
        }
    }

    /// The dashed line of what a port can.
    fn limit(&mut self, axis: Axis, limit: Option<f64>) {
        if let Some(limit) = limit {
            let y = axis.place(limit);
            self.drawing.line((LEFT, y), (RIGHT, y), LIMIT);
        }
    }

    fn queues(&mut self, place: (f64, f64)) {
        let deepest = |curve: &Curve| curve.side.deepest.iter().map(|bytes| *bytes as f64).collect();
        let curves: Vec<(Vec<f64>, &str)> =
            self.curves.iter().map(|curve| (deepest(curve), curve.colour)).collect();
        let most = curves.iter().map(|(values, _)| highest(values)).fold(0.0, f64::max);
        let limit = self.report.buffer_bytes.map(|buffer| buffer as f64);
        let most = most.max(limit.unwrap_or(0.0)).max(1.0) * 1.08;
        let (scale, name) = unit(most, &SIZES);
        let axis = self.panel(place, most, scale, &format!("waiting ({name})"));
        for (values, colour) in &curves {
            let style = format!("stroke=\"{colour}\" stroke-width=\"2\" fill=\"none\"");
            let corners = self.steps(values, 1, axis);
            self.drawing.path(corners, false, &style);
        }
        self.limit(axis, limit);
    }

    /// A panel in which there is nothing to draw.
    fn empty(&mut self, (top, bottom): (f64, f64), label: &str, text: &str) {
        let y = f64::midpoint(top, bottom);
        self.drawing.upright(20.0, y, label);
        self.drawing.text(f64::midpoint(LEFT, RIGHT), y + 4.5, Anchor::Middle, SMALL, text);
    }

    fn losses(&mut self, place: (f64, f64)) {
        let bins = self.bins_a_step();
        let sums = |side: &SideSeries| {
            side.dropped.chunks(bins).map(|bins| bins.iter().sum::<u64>() as f64).collect::<Vec<f64>>()
        };
        let levels = self.levels(sums);
        let most = levels.last().map_or(0.0, |(level, _)| highest(level)).max(1.0) * 1.08;
        let axis = self.panel(place, most, 1.0, "lost (frames)");
        self.stacked(&levels, bins, axis);
        let width = Time(count(bins) * self.series.width_ns);
        let x = RIGHT - 6.0;
        self.drawing.text(x, place.0 + 14.0, Anchor::End, SMALL, &format!("frames in each {width}"));
    }

    /// The time axis that panels share.
    fn time(&mut self, panels: &[(f64, f64)], bottom: f64) {
        let (scale, name) = unit(self.span, &TIMES);
        for tick in Axis::new(0.0, self.span / scale, (0.0, 1.0)).ticks(10.0) {
            let x = self.time.place(tick * scale);
            for (top, bottom) in panels {
                self.drawing.line(
                    (x, *bottom),
                    (x, *top),
                    "stroke=\"#000\" stroke-opacity=\"0.07\" fill=\"none\"",
                );
            }
            self.drawing.text(x, bottom + 17.0, Anchor::Middle, SMALL, &number(tick));
        }
        for (top, bottom) in panels {
            let corners = [(LEFT, *top), (RIGHT, *top), (RIGHT, *bottom), (LEFT, *bottom)];
            self.drawing.path(corners, true, FRAME);
        }
        let label = format!("time ({name})");
        self.drawing.text(f64::midpoint(LEFT, RIGHT), bottom + 36.0, Anchor::Middle, "", &label);
    }

    fn first_loss(&mut self, top: f64, bottom: f64) {
        let Some(first) = self.report.total.dropped.first_ns else { return };
        let x = self.time.place(first.saturating_sub(self.series.from_ns) as f64);
        self.drawing.line((x, top), (x, bottom), FIRST_LOSS);
        let style = format!(
            " font-size=\"12\" fill=\"{LOSS}\" font-weight=\"bold\" \
             stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\""
        );
        let text = format!("first loss {}", Time(first));
        let (x, anchor) =
            if x > f64::midpoint(LEFT, RIGHT) { (x - 5.0, Anchor::End) } else { (x + 5.0, Anchor::Start) };
        self.drawing.text(x, top + 14.0, anchor, &style, &text);
    }

    /// How many frames took how long, over a logarithm.
    fn delays(&mut self, place: (f64, f64)) {
        let (top, bottom) = place;
        let points: Vec<(f64, f64)> = self
            .series
            .delays
            .iter()
            .map(|(ns, part)| ((*ns).max(1) as f64, f64::from(*part) / 1e4))
            .collect();
        let most = points.last().map_or(1.0, |(ns, _)| *ns).max(10.0);
        // Where the first of 200 frames waits: what is before it is a line on the floor.
        let first = points.iter().find(|(ns, percent)| *ns > 1.0 && *percent > 0.5);
        let least = first.map_or(1.0, |(ns, _)| *ns).min(most / 10.0);
        let time = Axis::new(least.log10().floor(), most.log10().ceil(), (LEFT, RIGHT));
        let axis = self.panel(place, 100.0, 1.0, "frames (%)");
        for ns in axis::decades(least, most) {
            let x = time.place(ns.log10());
            let (scale, name) = unit(ns * 1.000_001, &TIMES);
            self.drawing.line((x, bottom), (x, top), "stroke=\"#000\" stroke-opacity=\"0.07\" fill=\"none\"");
            let text = format!("{} {name}", number((ns / scale).round()));
            self.drawing.text(x, bottom + 17.0, Anchor::Middle, SMALL, &text);
        }
        let mut corners = vec![(LEFT, bottom)];
        let mut before = bottom;
        for (ns, percent) in &points {
            let (x, y) = (time.place(ns.log10()), axis.place(*percent));
            corners.extend([(x, before), (x, y)]);
            before = y;
        }
        corners.push((RIGHT, before));
        self.drawing.path(
            corners,
            false,
            &format!("stroke=\"{}\" stroke-width=\"2\" fill=\"none\"", COLOURS[0]),
        );
        self.drawing.path([(LEFT, top), (RIGHT, top), (RIGHT, bottom), (LEFT, bottom)], true, FRAME);
        let label = "took no longer than";
        self.drawing.text(f64::midpoint(LEFT, RIGHT), bottom + 36.0, Anchor::Middle, "", label);
    }
}

fn highest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests;
