//! Traffic as people write it: `cbr:90Mbit:1500@0s-1s`, `capture:web.pcap:3`, `web.pcap`.
//!
//! Only reads the words: whether a file exists is not its business. Never guesses: a word that looks like a pattern
//! and is none is refused, and not taken for a file.

use std::path::PathBuf;

use super::{Pattern, Size, Traffic};
use crate::plan::Plan;
use crate::problem::{Refusal, nearest, shown};
use crate::units::{self, UnitError};

/// The shortest frame of a pattern, octets: an Ethernet header.
pub const SIZE_MIN: u32 = 14;
/// The longest frame of a pattern, octets.
pub const SIZE_MAX: u32 = 65_535;
/// The most flows of one source.
pub const FLOWS_MAX: u32 = 1_000_000;
/// The fastest replay of a capture, in thousandths of its own speed.
const SPEED_MAX_MILLI: u64 = 1_000_000_000;

/// The forms of a source.
const FORMS: [(&str, &str); 4] = [
    ("cbr", "cbr:RATE:SIZE"),
    ("poisson", "poisson:RATE:SIZE"),
    ("onoff", "onoff:RATE:SIZE:ON:OFF"),
    ("capture", "capture:FILE[:SPEED]"),
];

/// What comes, before it is known where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// What comes.
    pub pattern: Pattern,
    /// When it begins, nanoseconds of virtual time.
    pub from_ns: u64,
    /// When it ends.
    pub until_ns: Option<u64>,
    /// How many flows its frames belong to in turn.
    pub flows: u32,
    /// Frames in a million that arrive damaged.
    pub errors_ppm: u32,
}

impl Spec {
    /// The traffic at a point.
    pub fn at(self, at: crate::plan::Point) -> Traffic {
        let Self { pattern, from_ns, until_ns, flows, errors_ppm } = self;
        Traffic { at, pattern, from_ns, until_ns, flows, errors_ppm }
    }
}

/// Reads `PORT=SPEC`, where PORT is a source of the plan: `a`, or `eth0:rx` for a watched interface.
///
/// # Errors
/// What is wrong with either, or that frames are not judged there.
pub fn port_spec(plan: &Plan, text: &str) -> Result<Traffic, Refusal> {
    let Some((port, spec)) = text.split_once('=') else {
        let what = format!("{} names no port", shown(text));
        return Err(Refusal::new(what, "write PORT=SPEC, as in a=cbr:90Mbit:1500"));
    };
    let at = plan.point(port)?;
    let spec = traffic_spec(spec)?;
    if plan.hook_at(at).is_none() {
        let what = format!("nothing is copied from {}, nor passed on: its frames lead nowhere", shown(port));
        let sources: Vec<String> = plan.hooks.iter().map(|hook| plan.source_name(hook)).collect();
        let help = format!("the plan's sources are {}", crate::problem::listed(&sources));
        return Err(Refusal::new(what, help));
    }
    Ok(spec.at(at))
}

/// Reads the words for what comes: `cbr:RATE:SIZE`, `poisson:RATE:SIZE`, `onoff:RATE:SIZE:ON:OFF`,
/// `capture:FILE[:SPEED]` or a path, then options `:flows=N` and `:errors=N%`, then `@FROM-UNTIL`.
///
/// # Errors
/// The first thing that is wrong, and what to write.
pub fn traffic_spec(text: &str) -> Result<Spec, Refusal> {
    let (rest, window) = window(text)?;
    let (from_ns, until_ns) = window.unwrap_or((0, None));
    let Some((word, arguments)) = rest.split_once(':') else {
        let pattern = plain(rest)?;
        return Ok(Spec { pattern, from_ns, until_ns, flows: 1, errors_ppm: 0 });
    };
    let Some((word, form)) = FORMS.iter().find(|(name, _)| *name == word) else {
        return Err(unknown(word));
    };
    let (arguments, flows, errors_ppm) = options(arguments, *word == "capture")?;
    let wrong_count = || Refusal::new(format!("{} has too many or too few parts", shown(rest)), wanted(form));
    let parts: Vec<&str> = arguments.split(':').collect();
    let pattern = match (*word, parts.as_slice()) {
        ("cbr", [rate, size]) => Pattern::Constant { rate_bits: self::rate(rate)?, size: self::size(size)? },
        ("poisson", [rate, size]) => {
            Pattern::Poisson { rate_bits: self::rate(rate)?, size: self::size(size)? }
        }
        ("onoff", [rate, size, on, off]) => Pattern::OnOff {
            rate_bits: self::rate(rate)?,
            size: self::size(size)?,
            on_ns: some_time(on)?,
            off_ns: some_time(off)?,
        },
        ("capture", _) => capture(arguments)?,
        _ => return Err(wrong_count()),
    };
    Ok(Spec { pattern, from_ns, until_ns, flows, errors_ppm })
}

fn wanted(form: &str) -> String {
    format!("write {form}, then :flows=N, :errors=N% and @FROM-UNTIL if they are wanted")
}

fn unknown(word: &str) -> Refusal {
    let near = nearest(word, FORMS.iter().map(|(name, _)| *name));
    let help = match near.and_then(|near| FORMS.iter().find(|(name, _)| *name == near)) {
        Some((_, form)) => format!("did you mean {form}? A file with a `:` in its name is capture:FILE"),
        None => {
            let forms = FORMS.map(|(_, form)| form);
            format!("there are {} and FILE", forms.join(", "))
        }
    };
    Refusal::new(format!("{} is no kind of traffic", shown(word)), help)
}

/// A path without any `:`.
fn plain(path: &str) -> Result<Pattern, Refusal> {
    if let Some((_, form)) = FORMS.iter().find(|(name, _)| *name == path) {
        return Err(Refusal::new(format!("{} alone says nothing of what comes", shown(path)), wanted(form)));
    }
    if path.is_empty() {
        let help = "write cbr:RATE:SIZE, or name a capture";
        return Err(Refusal::new("a source without a word", help));
    }
    Ok(Pattern::Capture { file: PathBuf::from(path), speed_milli: 1000 })
}

/// `FILE[:SPEED]`; a file may have a `:` in its name, if its last part is no number.
fn capture(text: &str) -> Result<Pattern, Refusal> {
    let (file, speed) = match text.rsplit_once(':') {
        Some((file, speed)) if speed.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            match speed.chars().all(|c| c.is_ascii_digit() || c == '.') {
                true => (file, Some(speed)),
                false => (text, None),
            }
        }
        _ => (text, None),
    };
    if file.is_empty() {
        return Err(Refusal::new("a capture without a name", wanted("capture:FILE[:SPEED]")));
    }
    let speed_milli = speed.map_or(Ok(1000), speed_of)?;
    Ok(Pattern::Capture { file: PathBuf::from(file), speed_milli })
}

fn speed_of(text: &str) -> Result<u64, Refusal> {
    let milli = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = fraction.len();
        if digits > 3 || whole.len() > 9 {
            return None;
        }
        let fraction = fraction.parse::<u64>().ok()? * 10u64.pow(u32::try_from(3 - digits).ok()?);
        let milli = whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(fraction)?;
        (1..=SPEED_MAX_MILLI).contains(&milli).then_some(milli)
    };
    milli().ok_or_else(|| {
        let help = "write how many times faster it is to go: 0.001 to 1000000, with at most 3 decimals";
        Refusal::new(format!("{} is no speed", shown(text)), help)
    })
}

/// Takes the options off the end: what is left, flows, damaged frames in a million.
fn options(mut text: &str, is_capture: bool) -> Result<(&str, u32, u32), Refusal> {
    let (mut flows, mut errors_ppm) = (None, None);
    while let Some((rest, option)) = text.rsplit_once(':') {
        let Some((key, value)) = option.split_once('=') else { break };
        let twice = match key {
            "flows" if is_capture => {
                let what = "the frames of a capture have flows of their own";
                return Err(Refusal::new(what, "leave `flows` out"));
            }
            "flows" => flows.replace(flow_count(value)?).is_some(),
            "errors" => errors_ppm.replace(error_share(value)?).is_some(),
            _ if is_capture => break,
            _ => {
                let help = match nearest(key, ["flows", "errors"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "there are flows=N and errors=N%".to_owned(),
                };
                return Err(Refusal::new(format!("{} is no option of a source", shown(key)), help));
            }
        };
        if twice {
            return Err(Refusal::new(format!("`{key}` is said twice"), "say it once"));
        }
        text = rest;
    }
    Ok((text, flows.unwrap_or(1), errors_ppm.unwrap_or(0)))
}

fn flow_count(text: &str) -> Result<u32, Refusal> {
    let digits = text.chars().all(|c| c.is_ascii_digit());
    let count = text.parse().ok().filter(|count| digits && (1..=FLOWS_MAX).contains(count));
    let what = || format!("{} is no number of flows", shown(text));
    count.ok_or_else(|| Refusal::new(what(), format!("write 1 to {FLOWS_MAX}")))
}

fn error_share(text: &str) -> Result<u32, Refusal> {
    units::share(text).map_err(|_| {
        let help = "write 0% to 100%, with at most 4 decimals: errors=0.1%";
        Refusal::new(format!("{} is no share of damaged frames", shown(text)), help)
    })
}

/// What stands before `@FROM-UNTIL`, and the two; either may be left out. A last `@` that no time follows
/// belongs to the name of a file.
#[expect(clippy::type_complexity, reason = "a window is two times of which the second may be open")]
fn window(text: &str) -> Result<(&str, Option<(u64, Option<u64>)>), Refusal> {
    let Some((rest, times)) = text.rsplit_once('@') else { return Ok((text, None)) };
    let wrong = || {
        let what = format!("{} is no span of time", shown(times));
        Refusal::new(what, "write FROM-UNTIL, as in @0s-1.5s, or leave one of the two out")
    };
    let is_file = !rest.contains(':') || rest.starts_with("capture:");
    let begins = times.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let Some((from, until)) = times.split_once('-').filter(|_| begins) else {
        return if is_file { Ok((text, None)) } else { Err(wrong()) };
    };
    let read = |text: &str| match text {
        "" => Ok(None),
        text => units::time(text).map(Some),
    };
    match (read(from), read(until)) {
        (Ok(None), Ok(None)) => Err(wrong()),
        (Ok(from), Ok(until)) => {
            let from = from.unwrap_or(0);
            if until.is_some_and(|until| until <= from) {
                let what = format!("{} ends before it begins", shown(times));
                return Err(Refusal::new(what, "write FROM-UNTIL with FROM before UNTIL"));
            }
            Ok((rest, Some((from, until))))
        }
        _ if is_file => Ok((text, None)),
        _ => Err(wrong()),
    }
}

fn rate(text: &str) -> Result<u64, Refusal> {
    units::rate(text).map_err(|error| {
        let what = format!("{} is no rate", shown(text));
        let help = match error {
            UnitError::Form => "a number and bit, kbit, Mbit, Gbit or Tbit: 100Mbit",
            UnitError::Fraction => "write a whole number of bits, in a smaller unit",
            UnitError::Range => "a rate is 1kbit to 1Tbit",
        };
        Refusal::new(what, help)
    })
}

fn size(text: &str) -> Result<Size, Refusal> {
    if text == "mix" {
        return Ok(Size::Mix);
    }
    let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let octets = text.parse().ok().filter(|octets| digits && (SIZE_MIN..=SIZE_MAX).contains(octets));
    octets.map(Size::Fixed).ok_or_else(|| {
        let help = format!("write octets of a frame without its FCS, {SIZE_MIN} to {SIZE_MAX}, or mix");
        Refusal::new(format!("{} is no length of frames", shown(text)), help)
    })
}

/// A time that is not nothing.
fn some_time(text: &str) -> Result<u64, Refusal> {
    units::time(text).ok().filter(|ns| *ns > 0).ok_or_else(|| {
        let help = "a number and ns, us, ms, s, min or h, more than nothing: 500ms";
        Refusal::new(format!("{} is no length of time", shown(text)), help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(pattern: Pattern) -> Spec {
        Spec { pattern, from_ns: 0, until_ns: None, flows: 1, errors_ppm: 0 }
    }

    #[test]
    fn every_form_is_read() {
        let constant = Pattern::Constant { rate_bits: 90_000_000, size: Size::Fixed(1500) };
        assert_eq!(traffic_spec("cbr:90Mbit:1500"), Ok(bare(constant.clone())));
        assert_eq!(
            traffic_spec("cbr:90Mbit:1500:flows=16:errors=0.1%@500ms-1.5s"),
            Ok(Spec {
                pattern: constant,
                from_ns: 500_000_000,
                until_ns: Some(1_500_000_000),
                flows: 16,
                errors_ppm: 1000
            })
        );
        let poisson = Pattern::Poisson { rate_bits: 1_000_000, size: Size::Mix };
        assert_eq!(
            traffic_spec("poisson:1Mbit:mix@1s-"),
            Ok(Spec { from_ns: 1_000_000_000, ..bare(poisson) })
        );
        let onoff = Pattern::OnOff {
            rate_bits: 1_000_000_000,
            size: Size::Fixed(60),
            on_ns: 1_000_000,
            off_ns: 9_000_000,
        };
        assert_eq!(traffic_spec("onoff:1Gbit:60:1ms:9ms"), Ok(bare(onoff)));
    }

    #[test]
    fn captures_have_odd_names() {
        let capture = |file: &str, speed_milli| bare(Pattern::Capture { file: file.into(), speed_milli });
        for (text, file, speed) in [
            ("web.pcap", "web.pcap", 1000),
            ("-", "-", 1000),
            ("a@b.pcap", "a@b.pcap", 1000),
            ("a@1.pcap", "a@1.pcap", 1000),
            ("a@2-3.pcap", "a@2-3.pcap", 1000),
            ("capture:a:b.pcap", "a:b.pcap", 1000),
            ("capture:a:b.pcap:2.5", "a:b.pcap", 2500),
            ("capture:x=1:y=2", "x=1:y=2", 1000),
        ] {
            assert_eq!(traffic_spec(text), Ok(capture(file, speed)), "{text}");
        }
        let damaged = Spec { errors_ppm: 20_000, until_ns: Some(60_000_000_000), ..capture("w", 3000) };
        assert_eq!(traffic_spec("capture:w:3:errors=2%@-1min"), Ok(damaged));
    }

    #[test]
    fn broken_words_are_read_within_bounds_or_refused() {
        let seeds = [
            "cbr:90Mbit:1500:flows=16:errors=0.1%@500ms-1.5s",
            "onoff:1Gbit:mix:1ms:9ms@-2h",
            "capture:a:b:2.5",
        ];
        let letters: Vec<char> = "0159.:@-=%+ acflmnopsMGbitμ\0".chars().collect();
        let mut random = crate::arbitrary::Random::new(11);
        let mut good = 0;
        for _ in 0..40_000 {
            let mut text: Vec<char> = random.pick(&seeds).chars().collect();
            for _ in 0..=random.below(3) {
                let at = random.below(text.len());
                match random.below(3) {
                    0 => drop(text.remove(at)),
                    1 => text[at] = *random.pick(&letters),
                    _ => text.insert(at, *random.pick(&letters)),
                }
            }
            let text: String = text.into_iter().collect();
            match traffic_spec(&text) {
                Err(refusal) => assert!(!refusal.what.is_empty() && !refusal.help.is_empty(), "{text:?}"),
                Ok(spec) => {
                    good += 1;
                    assert!(
                        (1..=FLOWS_MAX).contains(&spec.flows) && spec.errors_ppm <= 1_000_000,
                        "{text:?}"
                    );
                    assert!(spec.until_ns.is_none_or(|until| spec.from_ns < until), "{text:?}");
                    if let Pattern::OnOff { rate_bits, on_ns, off_ns, .. } = spec.pattern {
                        assert!(rate_bits >= units::RATE_MIN && on_ns > 0 && off_ns > 0, "{text:?}");
                    }
                }
            }
        }
        assert!((1000..39_000).contains(&good), "{good}");
    }

    #[test]
    fn nonsense_is_refused_with_what_to_write() {
        for (text, what, help) in [
            ("cbx:1Mbit:60", "`cbx` is no kind of traffic", "did you mean cbr:RATE:SIZE?"),
            ("what:1Mbit", "`what` is no kind of traffic", "there are cbr:RATE:SIZE, poisson"),
            ("", "a source without a word", "write cbr:RATE:SIZE, or name a capture"),
            ("cbr", "`cbr` alone says nothing of what comes", "write cbr:RATE:SIZE, then"),
            ("cbr:1Mbit", "`cbr:1Mbit` has too many or too few parts", "write cbr:RATE:SIZE, then"),
            ("cbr:1Mbit:60:9", "`cbr:1Mbit:60:9` has too many", "write cbr:RATE:SIZE, then"),
            ("cbr:fast:60", "`fast` is no rate", "a number and bit"),
            ("cbr:2Tbit:60", "`2Tbit` is no rate", "a rate is 1kbit to 1Tbit"),
            ("cbr:1Mbit:13", "`13` is no length of frames", "write octets of a frame without its FCS, 14 to"),
            ("cbr:1Mbit:+60", "`+60` is no length of frames", "write octets"),
            ("cbr:1Mbit:60:flow=2", "`flow` is no option of a source", "did you mean `flows`?"),
            ("cbr:1Mbit:60:flows=0", "`0` is no number of flows", "write 1 to 1000000"),
            ("cbr:1Mbit:60:flows=1:flows=2", "`flows` is said twice", "say it once"),
            ("cbr:1Mbit:60:errors=1", "`1` is no share of damaged frames", "write 0% to 100%"),
            ("capture:x:flows=2", "the frames of a capture have flows of their own", "leave `flows` out"),
            ("capture::2", "a capture without a name", "write capture:FILE"),
            ("capture:x:0", "`0` is no speed", "write how many times faster"),
            ("capture:x:1.2.3", "`1.2.3` is no speed", "write how many times faster"),
            ("onoff:1Mbit:60:0s:1s", "`0s` is no length of time", "a number and ns"),
            ("cbr:1Mbit:60@2s-1s", "`2s-1s` ends before it begins", "write FROM-UNTIL with"),
            ("cbr:1Mbit:60@-", "`-` is no span of time", "write FROM-UNTIL, as in"),
            ("cbr:1Mbit:60@soon", "`soon` is no span of time", "write FROM-UNTIL, as in"),
        ] {
            let refusal = traffic_spec(text).expect_err(text);
            assert!(refusal.what.starts_with(what), "{text}: {}", refusal.what);
            assert!(refusal.help.starts_with(help), "{text}: {}", refusal.help);
        }
    }
}
