//! DNS messages (RFC 1035) in tcpdump's short form: `27655+ A? www.example.com. (37)`.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{character, text, u16_at};

/// Labels and pointers that are followed in one name (a name has at most 255 octets).
const NAME_STEPS_MAX: usize = 256;

/// Octets of the message header.
const HEADER: usize = 12;

const OPERATIONS: [&str; 16] = [
    "",
    " inv_q",
    " stat",
    " op3",
    " notify",
    " update",
    " op6",
    " op7",
    " op8",
    " updateA",
    " updateD",
    " updateDA",
    " updateM",
    " updateMA",
    " zoneInit",
    " zoneRef",
];

const RESPONSES: [&str; 16] = [
    "",
    " FormErr",
    " ServFail",
    " NXDomain",
    " NotImp",
    " Refused",
    " YXDomain",
    " YXRRSet",
    " NXRRSet",
    " NotAuth",
    " NotZone",
    " Resp11",
    " Resp12",
    " Resp13",
    " Resp14",
    " Resp15",
];

/// Prints a message of `len` octets, of which `message` was captured.
pub(super) fn print(message: &[u8], len: usize, out: &mut dyn Write) -> fmt::Result {
    if len < HEADER {
        return write!(out, "domain [length {len} < {HEADER}] (invalid)");
    }
    let Some(header) = message.first_chunk::<HEADER>() else { return out.write_str("[|domain]") };
    let [ia, ib, fa, fb, counts @ ..] = *header;
    let id = u16::from_be_bytes([ia, ib]);
    let operation = OPERATIONS[usize::from(fa >> 3 & 0x0f)];
    let [qa, qb, aa, ab, na, nb, ra, rb] = counts;
    let [questions, answers, authorities, others] =
        [[qa, qb], [aa, ab], [na, nb], [ra, rb]].map(u16::from_be_bytes);
    let whole = if fa & 0x80 == 0 {
        write!(out, "{id}{operation}{}{}", flag(fa, 0x01, "+"), flag(fb, 0x10, "%"))?;
        for (count, name) in [(answers, "a"), (authorities, "n"), (others, "au")] {
            if count > 0 {
                write!(out, " [{count}{name}]")?;
            }
        }
        if questions != 1 {
            write!(out, " [{questions}q]")?;
        }
        print_questions(message, questions, out)?
    } else {
        let response = RESPONSES[usize::from(fb & 0x0f)];
        let recursion = if fb & 0x80 == 0 { "-" } else { "" };
        let authoritative = flag(fa, 0x04, "*");
        let (cut, authentic) = (flag(fa, 0x02, "|"), flag(fb, 0x20, "$"));
        write!(out, "{id}{operation}{response}{authoritative}{recursion}{cut}{authentic}")?;
        if questions != 1 {
            write!(out, " [{questions}q]")?;
        }
        let at = (0..questions).try_fold(HEADER, |at, _| skip_name(message, at).map(|at| at + 4));
        write!(out, " {answers}/{authorities}/{others}")?;
        print_answers(message, at, answers, out)?
    };
    if whole { write!(out, " ({len})") } else { out.write_str(" [|domain]") }
}

fn flag(octet: u8, bit: u8, mark: &'static str) -> &'static str {
    if octet & bit == 0 { "" } else { mark }
}

/// Whether all of them were there.
fn print_questions(message: &[u8], count: u16, out: &mut dyn Write) -> Result<bool, fmt::Error> {
    let mut at = HEADER;
    for _ in 0..count {
        let fields = skip_name(message, at);
        let Some((behind, kind, class)) =
            fields.and_then(|end| Some((end + 4, u16_at(message, end)?, u16_at(message, end + 2)?)))
        else {
            return Ok(false);
        };
        out.write_char(' ')?;
        print_type(kind, out)?;
        // In multicast DNS the top bit asks for a unicast answer (RFC 6762, section 5.4).
        print_class(class & 0x7fff, out)?;
        if class & 0x8000 != 0 {
            out.write_str(" (QU)")?;
        }
        out.write_str("? ")?;
        if !name(message, at, out)? {
            return Ok(false);
        }
        at = behind;
    }
    Ok(true)
}

/// Whether all of them were there.
fn print_answers(
    message: &[u8],
    at: Option<usize>,
    count: u16,
    out: &mut dyn Write,
) -> Result<bool, fmt::Error> {
    let mut at = at;
    for index in 0..count {
        let Some(fields) = at.and_then(|at| skip_name(message, at)) else { return Ok(false) };
        let (Some(kind), Some(class), Some(len)) =
            (u16_at(message, fields), u16_at(message, fields + 2), u16_at(message, fields + 8))
        else {
            return Ok(false);
        };
        out.write_str(if index == 0 { " " } else { ", " })?;
        if class & 0x8000 != 0 {
            out.write_str("(Cache flush) ")?;
        }
        if class & 0x7fff != 1 {
            print_class(class & 0x7fff, out)?;
            out.write_char(' ')?;
        }
        print_type(kind, out)?;
        let start = fields + 10;
        let end = start + usize::from(len);
        if message.len() < end || !record(message, kind, start, end, out)? {
            return Ok(false);
        }
        at = Some(end);
    }
    Ok(true)
}

/// The data of a record, where it has a short form. Whether it was whole.
fn record(
    message: &[u8],
    kind: u16,
    start: usize,
    end: usize,
    out: &mut dyn Write,
) -> Result<bool, fmt::Error> {
    let data = message.get(start..end).unwrap_or_default();
    match (kind, data) {
        (1, _) => match <[u8; 4]>::try_from(data) {
            Ok(octets) => write!(out, " {}", Ipv4Addr::from(octets))?,
            Err(_) => return Ok(false),
        },
        (28, _) => match <[u8; 16]>::try_from(data) {
            Ok(octets) => write!(out, " {}", Ipv6Addr::from(octets))?,
            Err(_) => return Ok(false),
        },
        (2 | 5 | 12 | 39, _) => {
            out.write_char(' ')?;
            return name(message, start, out);
        }
        (15, [a, b, ..]) => {
            out.write_char(' ')?;
            if !name(message, start + 2, out)? {
                return Ok(false);
            }
            write!(out, " {}", u16::from_be_bytes([*a, *b]))?;
        }
        (16, mut data) => {
            while let [len, rest @ ..] = data {
                let Some((string, behind)) = rest.split_at_checked(usize::from(*len)) else {
                    return Ok(false);
                };
                out.write_str(" \"")?;
                text(string, out)?;
                out.write_char('"')?;
                data = behind;
            }
        }
        (33, [a, b, c, d, e, f, ..]) => {
            let [priority, weight, port] = [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_be_bytes);
            out.write_char(' ')?;
            if !name(message, start + 6, out)? {
                return Ok(false);
            }
            write!(out, ":{port} {priority} {weight}")?;
        }
        _ => {}
    }
    Ok(true)
}

/// Where a name ends that begins at `at`, if it does.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..NAME_STEPS_MAX {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len @ 1..0x40 => at += 1 + usize::from(len),
            0xc0.. => return (at + 2 <= message.len()).then_some(at + 2),
            // Extended labels died with RFC 6891.
            0x40..0xc0 => return None,
        }
    }
    None
}

/// Prints a name and a dot behind each label. Whether it was whole. Pointers only lead backwards.
fn name(message: &[u8], mut at: usize, out: &mut dyn Write) -> Result<bool, fmt::Error> {
    let mut first = true;
    let mut lowest = at;
    for _ in 0..NAME_STEPS_MAX {
        let Some(len) = message.get(at) else { return Ok(false) };
        match *len {
            0 => {
                if first {
                    out.write_char('.')?;
                }
                return Ok(true);
            }
            len @ 1..0x40 => {
                let label = message.get(at + 1..at + 1 + usize::from(len));
                let Some(label) = label else { return Ok(false) };
                label.iter().try_for_each(|octet| character(*octet, out))?;
                out.write_char('.')?;
                at += 1 + label.len();
                first = false;
            }
            0xc0.. => {
                let Some(pointer) = u16_at(message, at) else { return Ok(false) };
                let target = usize::from(pointer & 0x3fff);
                if target >= lowest {
                    out.write_str("<BAD PTR>")?;
                    return Ok(false);
                }
                (at, lowest) = (target, target);
            }
            0x40..0xc0 => return Ok(false),
        }
    }
    Ok(false)
}

fn print_class(class: u16, out: &mut dyn Write) -> fmt::Result {
    match class {
        1 => Ok(()),
        3 => out.write_str(" CHAOS"),
        4 => out.write_str(" HS"),
        255 => out.write_str(" ANY"),
        other => write!(out, " Class{other}"),
    }
}

fn print_type(kind: u16, out: &mut dyn Write) -> fmt::Result {
    let name = match kind {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        17 => "RP",
        24 => "SIG",
        25 => "KEY",
        28 => "AAAA",
        29 => "LOC",
        33 => "SRV",
        35 => "NAPTR",
        37 => "CERT",
        39 => "DNAME",
        41 => "OPT",
        43 => "DS",
        44 => "SSHFP",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        99 => "SPF",
        250 => "TSIG",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        other => return write!(out, "Type{other}"),
    };
    out.write_str(name)
}
