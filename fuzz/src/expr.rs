//! Expressions of tcpdump: what is read decides about any frame, small or not, and what is refused is explained.

use rules::expr::{self, FLAWS_MAX};
use rules::form::simplify;
use wire::{Frame, LinkType};

/// Link types that expressions are read for, and one that they are not.
const LINK_TYPES: [u16; 10] = [1, 9, 101, 105, 113, 127, 228, 229, 276, 9999];

/// The first octet is the link type. Octets behind a 0 are a frame, and those before it the expression.
pub fn expression(input: &[u8]) {
    let Some((link_type, rest)) = input.split_first() else { return };
    let link_type = LinkType(LINK_TYPES[usize::from(*link_type) % LINK_TYPES.len()]);
    let end = rest.iter().position(|octet| *octet == 0).unwrap_or(rest.len());
    let (text, data) = rest.split_at(end);
    let Ok(text) = std::str::from_utf8(text) else { return };
    match expr::parse(text, link_type) {
        Ok(test) => {
            let smaller = simplify(test.clone());
            for len in [data.len(), data.len() / 2, data.len().min(40), 0] {
                let frame = Frame { data: &data[..len], wire_len: 64, link_type };
                assert_eq!(test.holds(&frame), smaller.holds(&frame), "{text:?}");
            }
        }
        Err(flaws) => {
            assert!(!flaws.is_empty() && flaws.len() <= FLAWS_MAX);
            for flaw in flaws {
                assert!(text.get(flaw.span.clone()).is_some(), "{flaw:?}");
                let help = flaw.help.unwrap_or_default();
                assert!(!flaw.what.is_empty() && !help.is_empty());
                assert!(
                    !flaw.what.contains(char::is_control) && !help.contains(char::is_control),
                    "{:?}",
                    flaw.what
                );
            }
        }
    }
}
