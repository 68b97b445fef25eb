//! Text to tokens, by the rules of libpcap's scanner: the longest match counts, and of equally long ones the
//! more special (`10-20-30-40-50-60` is an Ethernet address, `80-90` a range of ports).

use std::net::Ipv6Addr;
use std::ops::Range;

use super::words;
use crate::Flaw;

/// One token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'a> {
    /// A word of the grammar.
    Keyword(&'static str),
    /// Any other word, or one behind a backslash.
    Name(&'a str),
    /// A number, or a name that stands for one.
    Number(u32),
    /// Two to four numbers with points between them.
    Dotted(&'a str),
    /// An IPv6 address.
    Ip6(Ipv6Addr),
    /// An Ethernet address.
    Mac([u8; 6]),
    /// An ARCnet address.
    Arcnet,
    /// A sign, in its usual form (`=` for `==`, `!` for `not`).
    Sign(&'static str),
}

/// A token and its octets of the text.
pub(super) type Lexeme<'a> = (Token<'a>, Range<usize>);

/// Signs, longer ones first, and the usual form of each.
const SIGNS: &[(&str, &str)] = &[
    ("&&", "and"),
    ("||", "or"),
    (">=", ">="),
    ("<=", "<="),
    ("!=", "!="),
    ("==", "="),
    ("<<", "<<"),
    (">>", ">>"),
    ("+", "+"),
    ("-", "-"),
    ("*", "*"),
    ("/", "/"),
    ("%", "%"),
    (":", ":"),
    ("[", "["),
    ("]", "]"),
    ("!", "!"),
    ("<", "<"),
    (">", ">"),
    ("(", "("),
    (")", ")"),
    ("&", "&"),
    ("|", "|"),
    ("^", "^"),
    ("=", "="),
];

/// The tokens of a text, or the first octets that are none.
pub(super) fn tokens(text: &str) -> Result<Vec<Lexeme<'_>>, Flaw> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text.as_bytes().get(at) {
        if matches!(first, b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let (token, len) = token(text, at)?;
        tokens.push((token, at..at + len));
        at += len;
    }
    Ok(tokens)
}

fn token(text: &str, at: usize) -> Result<(Token<'_>, usize), Flaw> {
    let rest = &text[at..];
    if let Some(behind) = rest.strip_prefix('\\') {
        let end = behind.find([' ', '!', '(', ')', '\n', '\t']).unwrap_or(behind.len());
        if end > 0 {
            return Ok((Token::Name(&behind[..end]), end + 1));
        }
        return Err(Flaw::new(
            at..at + 1,
            "nothing stands behind `\\`",
            "write a name behind it, as in `\\tcp`",
        ));
    }
    if let Some(behind) = rest.strip_prefix('$') {
        let digits = behind.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
        if digits > 0 {
            return Ok((Token::Arcnet, digits + 1));
        }
    }
    let word = word_len(rest.as_bytes());
    let mac = mac(rest.as_bytes()).filter(|(_, len)| *len >= word);
    let ip6 = ip6(rest).filter(|(_, len)| *len > word && mac.is_none_or(|(_, mac)| *len > mac));
    if let Some((address, len)) = ip6 {
        return Ok((Token::Ip6(address), len));
    }
    if let Some((mac, len)) = mac {
        return Ok((Token::Mac(mac), len));
    }
    if word > 0 {
        return word_token(&rest[..word], at).map(|token| (token, word));
    }
    if let Some((sign, usual)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
        let token = match words::keyword(usual) {
            Some(keyword) => Token::Keyword(keyword),
            None => Token::Sign(usual),
        };
        return Ok((token, sign.len()));
    }
    let len = rest.chars().next().map_or(1, char::len_utf8);
    let sign = &rest[..len];
    let what = match sign.contains(char::is_control) {
        true => format!("`{}` has no meaning here", sign.escape_default()),
        false => format!("`{sign}` has no meaning here"),
    };
    Err(Flaw::new(at..at + len, what, "an expression is words, numbers, addresses, brackets and operators"))
}

/// Letters, digits, `-`, `_` and `.`, beginning with a letter or digit and not ending with `-` or `_`.
fn word_len(octets: &[u8]) -> usize {
    if !octets.first().is_some_and(u8::is_ascii_alphanumeric) {
        return 0;
    }
    let inside = |octet: &&u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let run = octets.iter().take_while(inside).count();
    octets[..run].iter().rposition(|octet| !matches!(octet, b'-' | b'_')).map_or(0, |last| last + 1)
}

fn word_token(word: &str, at: usize) -> Result<Token<'_>, Flaw> {
    if is_number(word) {
        return number(word)
            .map(Token::Number)
            .map_err(|(what, help)| Flaw::new(at..at + word.len(), what, help));
    }
    let parts = word.split('.').count();
    if (2..=4).contains(&parts) && word.split('.').all(is_number) {
        return Ok(Token::Dotted(word));
    }
    Ok(match (words::keyword(word), words::value(word)) {
        (Some("not"), _) => Token::Sign("!"),
        (Some("length"), _) => Token::Keyword("len"),
        (Some(keyword), _) => Token::Keyword(keyword),
        (None, Some(value)) => Token::Number(value),
        (None, None) => Token::Name(word),
    })
}

fn hexadecimal(word: &str) -> Option<&str> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"))?;
    (!digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_hexdigit())).then_some(digits)
}

fn is_number(word: &str) -> bool {
    let decimal = !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit());
    decimal || hexadecimal(word).is_some()
}

/// Decimal, `0x` hexadecimal, or octal behind a 0.
fn number(word: &str) -> Result<u32, (String, String)> {
    let too_large = |_| (format!("{word} is too large"), format!("numbers end at {}", u32::MAX));
    if let Some(digits) = hexadecimal(word) {
        return u32::from_str_radix(digits, 16).map_err(too_large);
    }
    match word.strip_prefix('0') {
        None | Some("") => word.parse().map_err(too_large),
        Some(digits) if digits.bytes().any(|digit| digit > b'7') => Err((
            format!("{word} begins with 0 and is therefore octal, but has a digit above 7"),
            format!("write {}", digits.trim_start_matches('0')),
        )),
        Some(digits) => u32::from_str_radix(digits, 8).map_err(too_large),
    }
}

/// An Ethernet address at the start: six groups of one or two digits, three of four, or twelve digits.
fn mac(octets: &[u8]) -> Option<([u8; 6], usize)> {
    let digits = |at: usize| octets.iter().skip(at).take_while(|octet| octet.is_ascii_hexdigit()).count();
    let value = |range: Range<usize>| {
        range
            .filter_map(|at| char::from(octets[at]).to_digit(16))
            .fold(0u32, |value, digit| value << 4 | digit)
    };
    let low = |value: u32| value.to_be_bytes()[3];
    let mut mac = [0; 6];
    let first = digits(0);
    let separator = octets.get(first).copied();
    match (first, separator) {
        (12.., _) => {
            for (group, octet) in mac.iter_mut().enumerate() {
                *octet = low(value(group * 2..group * 2 + 2));
            }
            return Some((mac, 12));
        }
        (4, Some(b'.')) if digits(5) == 4 && octets.get(9) == Some(&b'.') && digits(10) >= 4 => {
            for (group, octet) in mac.iter_mut().enumerate() {
                let at = group / 2 * 5 + group % 2 * 2;
                *octet = low(value(at..at + 2));
            }
            return Some((mac, 14));
        }
        (1 | 2, Some(b':' | b'-' | b'.')) => {}
        _ => return None,
    }
    let mut at = 0;
    for (group, octet) in mac.iter_mut().enumerate() {
        let len = if group == 5 { digits(at).min(2) } else { digits(at) };
        let ends = group == 5 || octets.get(at + len).copied() == separator;
        if !(1..=2).contains(&len) || !ends {
            return None;
        }
        *octet = low(value(at..at + len));
        at += len + 1;
    }
    Some((mac, at - 1))
}

/// The longest IPv6 address at the start.
fn ip6(rest: &str) -> Option<(Ipv6Addr, usize)> {
    /// Octets of the longest one: `ffff:` six times and a dotted quad.
    const LONGEST: usize = 6 * 5 + 15;
    let inside = |octet: &u8| octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.');
    let run = rest.bytes().take(LONGEST).take_while(inside).count();
    let colons = rest[..run].bytes().filter(|octet| *octet == b':').count();
    if colons < 2 {
        return None;
    }
    (2..=run).rev().find_map(|len| rest[..len].parse().ok().map(|address| (address, len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Token<'_> {
        let tokens = tokens(text).unwrap();
        assert_eq!(tokens.len(), 1, "{text}: {tokens:?}");
        assert_eq!(tokens[0].1, 0..text.len());
        tokens[0].0
    }

    #[test]
    fn the_longest_match_counts() {
        let mac = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60];
        for text in
            ["10:20:30:40:50:60", "10-20-30-40-50-60", "10.20.30.40.50.60", "1020.3040.5060", "102030405060"]
        {
            assert_eq!(only(text), Token::Mac(mac), "{text}");
        }
        assert_eq!(only("80-90"), Token::Name("80-90"));
        assert_eq!(only("1.2.3"), Token::Dotted("1.2.3"));
        assert_eq!(only("1.2.3.4.5"), Token::Name("1.2.3.4.5"));
        assert_eq!(only("::1"), Token::Ip6("::1".parse().unwrap()));
        assert_eq!(only("::ffff:1.2.3.4"), Token::Ip6("::ffff:1.2.3.4".parse().unwrap()));
        assert_eq!(only("1:2:3:4:5:6:7:8"), Token::Ip6("1:2:3:4:5:6:7:8".parse().unwrap()));
        assert_eq!(only("fe80::"), Token::Ip6("fe80::".parse().unwrap()));
        assert_eq!(
            (only("0x1F"), only("017"), only("0")),
            (Token::Number(31), Token::Number(15), Token::Number(0))
        );
        assert_eq!((only("tcp-syn"), only("tcp-x")), (Token::Number(2), Token::Name("tcp-x")));
        assert_eq!((only("\\tcp"), only("tcp")), (Token::Name("tcp"), Token::Keyword("tcp")));
        assert_eq!((only("$0f"), only("not")), (Token::Arcnet, Token::Sign("!")));
    }

    #[test]
    fn signs_need_no_space_around_them() {
        let signs: Vec<_> =
            tokens("tcp[2:2]>=80&&!ip").unwrap().into_iter().map(|(token, _)| token).collect();
        let expected = [
            Token::Keyword("tcp"),
            Token::Sign("["),
            Token::Number(2),
            Token::Sign(":"),
            Token::Number(2),
            Token::Sign("]"),
            Token::Sign(">="),
            Token::Number(80),
            Token::Keyword("and"),
            Token::Sign("!"),
            Token::Keyword("ip"),
        ];
        assert_eq!(signs, expected);
    }
}
