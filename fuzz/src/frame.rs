//! Frames: the printer gives one line that a terminal can show, for any octets.

use wire::print::Printer;
use wire::{Frame, LinkType};

/// Link types that the printer treats apart, and one that it does not know.
const LINK_TYPES: [LinkType; 4] = [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL, LinkType(9999)];

/// Prints the frames of `input` with one printer, so that what it remembers is at work too. Of each frame the
/// first octet is the link type, the second what was cut off, the third and fourth the length.
pub fn print(mut input: &[u8]) {
    let (mut printer, mut again) = (Printer::new(), Printer::new());
    while let Some(([link_type, cut, high, low], rest)) = input.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (data, rest) = rest.split_at(length);
        let wire_len = u32::try_from(length).expect("at most 65535") + u32::from(*cut);
        let link_type = LINK_TYPES[usize::from(*link_type) % LINK_TYPES.len()];
        let frame = Frame { data, wire_len, link_type };
        let line = line(&mut printer, &frame);
        assert!(!line.is_empty());
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert_eq!(line, self::line(&mut again, &frame));
        input = rest;
    }
}

fn line(printer: &mut Printer, frame: &Frame<'_>) -> String {
    let mut line = String::new();
    printer.frame(frame, &mut line).expect("a string takes all that is written to it");
    line
}
