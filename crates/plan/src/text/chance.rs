//! Shares of frames as percent: the shortest decimal that reads back to the same part of 2^32.

const WHOLE: u128 = 1 << 32;
/// More than enough to tell one part of 2^32 from the next.
const DECIMALS_MAX: u32 = 10;

/// `50%`, for a part of 2^32.
pub(super) fn shown(share: u32) -> String {
    for decimals in 0..=DECIMALS_MAX {
        let unit = 10u128.pow(decimals);
        let scaled = (u128::from(share) * 100 * unit + WHOLE / 2) / WHOLE;
        if part(scaled, unit) == Some(share) {
            let (whole, fraction) = (scaled / unit, scaled % unit);
            return match decimals {
                0 => format!("{whole}%"),
                _ => format!("{whole}.{fraction:0width$}%", width = decimals as usize),
            };
        }
    }
    // Not reached: ten decimals tell every part from the next.
    format!("{share}/{WHOLE}")
}

/// The part of 2^32 that is nearest to a percentage below 100.
pub(super) fn read(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if !(1..=3).contains(&whole.len()) || fraction.len() > 10 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    if digits.ends_with('.') {
        return None;
    }
    let scaled: u128 = format!("{whole}{fraction}").parse().ok()?;
    part(scaled, 10u128.pow(u32::try_from(fraction.len()).ok()?))
}

/// `scaled / unit` percent as a part of 2^32.
fn part(scaled: u128, unit: u128) -> Option<u32> {
    u32::try_from((scaled * WHOLE + 50 * unit) / (100 * unit)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_back() {
        for (share, text) in [
            (0, "0%"),
            (1 << 31, "50%"),
            (1 << 30, "25%"),
            (1, "0.00000002%"),
            (u32::MAX, "99.99999998%"),
            (1_417_339_208, "33%"),
        ] {
            assert_eq!(shown(share), text);
        }
        let mut share = 1u32;
        for _ in 0..20_000 {
            share = share.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            assert_eq!(read(&shown(share)), Some(share));
        }
        for text in ["", "%", "50", "100%", "1000%", "-1%", "+1%", "5.%", ".5%", "0.00000000001%", "1e1%"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
