//! Scales: from values to places, and the round numbers that are written beside them.

/// A line of places for values.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    /// Where `from` and `to` are drawn.
    at: (f64, f64),
}

impl Axis {
    /// From `from` to `to`, drawn between two places.
    pub(super) const fn new(from: f64, to: f64, at: (f64, f64)) -> Self {
        Self { from, to, at }
    }

    /// Where a value is drawn; values beyond an end are drawn at it.
    pub(super) fn place(self, value: f64) -> f64 {
        let span = self.to - self.from;
        let part = if span > 0.0 { ((value - self.from) / span).clamp(0.0, 1.0) } else { 0.0 };
        self.at.0 + part * (self.at.1 - self.at.0)
    }

    /// Round values on it, about so many.
    pub(super) fn ticks(self, about: f64) -> Vec<f64> {
        let step = round_step((self.to - self.from) / about);
        if step <= 0.0 {
            return Vec::new();
        }
        let mut ticks = Vec::new();
        let mut value = (self.from / step).ceil() * step;
        while value <= self.to + step * 1e-9 && ticks.len() < 32 {
            ticks.push(value);
            value += step;
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    if !least.is_finite() || least <= 0.0 {
        return 0.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Round values of an axis of logarithms, from the power of ten below `least` to the one above `most`: powers of ten,
/// and twice and five times as much where that leaves room.
pub(super) fn decades(least: f64, most: f64) -> Vec<f64> {
    let powers = |value: f64| value.max(1.0).log10();
    let (from, to) = (powers(least).floor(), powers(most).ceil());
    let steps: &[f64] = if to - from <= 4.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut values = Vec::new();
    let mut power = from;
    while power <= to && values.len() < 64 {
        values.extend(
            steps.iter().map(|step| step * 10f64.powf(power)).filter(|value| value.log10() <= to + 1e-9),
        );
        power += 1.0;
    }
    values
}

/// A unit in which the largest value is between 1 and 1000 where there is one: how many of the least unit it is, and its
/// name.
pub(super) fn unit(most: f64, units: &[(f64, &'static str)]) -> (f64, &'static str) {
    let fits = units.iter().rev().find(|(scale, _)| most >= *scale);
    fits.or(units.first()).copied().unwrap_or((1.0, ""))
}

/// A round number as it is written beside an axis: no more decimals than it needs.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Bits a second.
pub(super) const RATES: [(f64, &str); 5] =
    [(1.0, "bit/s"), (1e3, "kbit/s"), (1e6, "Mbit/s"), (1e9, "Gbit/s"), (1e12, "Tbit/s")];
/// Octets.
pub(super) const SIZES: [(f64, &str); 4] = [(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")];
/// Nanoseconds.
pub(super) const TIMES: [(f64, &str); 4] = [(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_axis() {
        let ticks = |to: f64, about: f64| Axis::new(0.0, to, (0.0, 1.0)).ticks(about);
        assert_eq!(ticks(140.0, 5.0), [0.0, 50.0, 100.0]);
        assert_eq!(
            ticks(1.0, 5.0).iter().map(|tick| number(*tick)).collect::<Vec<_>>(),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
        assert_eq!(ticks(0.0, 5.0), [0.0; 0]);
        assert_eq!(ticks(f64::NAN, 5.0), [0.0; 0]);
    }

    #[test]
    fn decades_have_values_between_where_there_is_room() {
        let texts = |least, most| decades(least, most).into_iter().map(number).collect::<Vec<_>>();
        assert_eq!(texts(30.0, 90.0), ["10", "20", "50", "100"]);
        assert_eq!(texts(1.0, 99_000.0), ["1", "10", "100", "1000", "10000", "100000"]);
    }

    #[test]
    fn values_beyond_an_end_are_drawn_at_it() {
        let axis = Axis::new(0.0, 10.0, (100.0, 0.0));
        assert_eq!(
            [-1.0, 0.0, 5.0, 10.0, 11.0].map(|value| axis.place(value)),
            [100.0, 100.0, 50.0, 0.0, 0.0]
        );
        assert_eq!(Axis::new(0.0, 0.0, (3.0, 9.0)).place(1.0), 3.0);
    }

    #[test]
    fn units_keep_numbers_short() {
        assert_eq!(unit(140e6, &RATES).1, "Mbit/s");
        assert_eq!(unit(0.0, &RATES).1, "bit/s");
        assert_eq!(unit(5e15, &RATES).1, "Tbit/s");
    }
}
