//! Chance from a seed: equal seeds, equal outcomes, on every machine.

use plan::arbitrary::Random;

/// 2^-53: the last place of a number in 0 to 1.
const ULP: f64 = 1.0 / 9_007_199_254_740_992.0;

/// Numbers with an exponential distribution and a mean of 1.
#[allow(clippy::cast_precision_loss, reason = "53 bits are kept exactly")]
pub(super) fn exponential(random: &mut Random) -> f64 {
    // Above 0 and at most 1.
    let uniform = ((random.bits() >> 11) + 1) as f64 * ULP;
    -logarithm(uniform)
}

/// The natural logarithm of a positive normal number, of nothing but operations whose results IEEE 754 prescribes: the
/// system's own may differ in the last place from one machine to another, and a simulation with it.
fn logarithm(value: f64) -> f64 {
    let bits = value.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).expect("11 bits") - 1023;
    // 1 to 2, and from there to the half that is nearer to 1 on both sides.
    let mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    let (mantissa, exponent) = if mantissa > std::f64::consts::SQRT_2 {
        (mantissa / 2.0, exponent + 1)
    } else {
        (mantissa, exponent)
    };
    // ln m = 2 artanh((m - 1) / (m + 1)), and the argument is below 0.172: 11 terms are exact to 2^-55.
    let small = (mantissa - 1.0) / (mantissa + 1.0);
    let square = small * small;
    let series = (0..11).rev().fold(0.0, |sum, term| sum * square + 1.0 / f64::from(2 * term + 1));
    2.0 * small * series + f64::from(exponent) * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_system() {
        let mut random = Random::new(7);
        for value in (0..10_000).map(|_| (random.bits() >> 11) as f64 * ULP + ULP).chain([ULP, 0.5, 1.0]) {
            let (mine, system) = (logarithm(value), value.ln());
            assert!((mine - system).abs() <= 4e-16 * system.abs().max(1.0), "{value}: {mine}, {system}");
        }
    }

    #[test]
    fn gaps_have_the_mean_and_the_spread_that_they_must() {
        let mut random = Random::new(3);
        let drawn: Vec<f64> = (0..200_000).map(|_| exponential(&mut random)).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let square = drawn.iter().map(|it| it * it).sum::<f64>() / drawn.len() as f64;
        assert!((mean - 1.0).abs() < 0.01 && (square - 2.0).abs() < 0.05, "{mean}, {square}");
        assert!(drawn.iter().all(|it| *it >= 0.0 && *it < 37.0));
    }
}
