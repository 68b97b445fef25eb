//! IEEE 802.11: types, directions and the four addresses of a frame (IEEE 802.11-2020, 9.2 to 9.3).

use super::ports::Direction;
use super::scope::{From, Scope};
use super::{Refusal, refusal};
use crate::form::{LoadSize, Test};

/// Bits of the first octet of frame control that are the type, and that are the subtype.
const TYPE: u32 = 0x0c;
const SUBTYPE: u32 = 0xf0;
const MANAGEMENT: u32 = 0x00;
const CONTROL: u32 = 0x04;
const DATA: u32 = 0x08;
/// Subtypes of control frames.
const CLEAR_TO_SEND: u32 = 0xc0;
const ACKNOWLEDGEMENT: u32 = 0xd0;
/// Bits of the second octet: to, and from, the distribution system.
const TO_DS: u32 = 0x01;
const FROM_DS: u32 = 0x02;

const TYPES: &[(&str, u32)] = &[
    ("data", DATA),
    ("mgt", MANAGEMENT),
    ("management", MANAGEMENT),
    ("ctl", CONTROL),
    ("control", CONTROL),
];

/// Subtypes by name; the type stands in the lower bits.
const SUBTYPES: &[(&str, u32)] = &[
    ("assocreq", 0x00),
    ("assoc-req", 0x00),
    ("assocresp", 0x10),
    ("assoc-resp", 0x10),
    ("reassocreq", 0x20),
    ("reassoc-req", 0x20),
    ("reassocresp", 0x30),
    ("reassoc-resp", 0x30),
    ("probereq", 0x40),
    ("probe-req", 0x40),
    ("proberesp", 0x50),
    ("probe-resp", 0x50),
    ("beacon", 0x80),
    ("atim", 0x90),
    ("disassoc", 0xa0),
    ("disassociation", 0xa0),
    ("auth", 0xb0),
    ("authentication", 0xb0),
    ("deauth", 0xc0),
    ("deauthentication", 0xc0),
    ("ps-poll", 0xa4),
    ("rts", 0xb4),
    ("cts", 0xc4),
    ("ack", 0xd4),
    ("cf-end", 0xe4),
    ("cf-end-ack", 0xf4),
    ("data", 0x08),
    ("data-cf-ack", 0x18),
    ("data-cf-poll", 0x28),
    ("data-cf-ack-poll", 0x38),
    ("null", 0x48),
    ("cf-ack", 0x58),
    ("cf-poll", 0x68),
    ("cf-ack-poll", 0x78),
    ("qos-data", 0x88),
    ("qos-data-cf-ack", 0x98),
    ("qos-data-cf-poll", 0xa8),
    ("qos-data-cf-ack-poll", 0xb8),
    ("qos", 0xc8),
    ("qos-cf-poll", 0xe8),
    ("qos-cf-ack-poll", 0xf8),
];

/// A name or a number in the place of a type, subtype or direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said<'a> {
    Name(&'a str),
    Number(u32),
}

fn not(test: Test) -> Test {
    Test::Not(Box::new(test))
}

fn frames(scope: &Scope) -> Result<(), Refusal> {
    if scope.link.is_wlan() {
        return Ok(());
    }
    let what = format!("types and directions are of 802.11 frames, and this is {}", scope.link.name());
    Err(refusal(what, "use it where frames have 802.11 headers: link types 105 and 127"))
}

fn names(of: &[(&'static str, u32)]) -> String {
    of.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The bits of a type.
///
/// # Errors
/// Names and numbers that are none.
pub(super) fn kind(said: Said<'_>) -> Result<u32, Refusal> {
    match said {
        Said::Number(number) if number & !TYPE == 0 => Ok(number),
        Said::Number(number) => {
            Err(refusal(format!("{number} is no type of 802.11 frame"), "0, 4, 8 and 12 are"))
        }
        Said::Name(name) => find(TYPES, name).ok_or_else(|| {
            refusal(format!("`{name}` is no type of 802.11 frame"), format!("{} are", names(TYPES)))
        }),
    }
}

fn find(table: &[(&str, u32)], name: &str) -> Option<u32> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, bits)| *bits)
}

/// The bits of a subtype, of one type or of whichever has a subtype of that name.
///
/// # Errors
/// Names and numbers that are none.
pub(super) fn subtype(of: Option<u32>, said: Said<'_>) -> Result<u32, Refusal> {
    let fits = |bits: u32| of.is_none_or(|kind| bits & TYPE == kind);
    match said {
        Said::Number(number) if of.is_some() && number & !SUBTYPE == 0 => Ok(number | of.unwrap_or(0)),
        Said::Number(number) => {
            let help = "behind a type: multiples of 16 up to 240; elsewhere a name";
            Err(refusal(format!("{number} is no subtype here"), help))
        }
        Said::Name(name) => {
            let mut known = SUBTYPES.iter().filter(|(_, bits)| fits(*bits));
            let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, bits)| *bits).ok_or_else(|| {
                let all: Vec<_> = SUBTYPES.iter().filter(|(_, bits)| fits(*bits)).copied().collect();
                refusal(format!("`{name}` is no subtype of such frames"), format!("{} are", names(&all)))
            })
        }
    }
}

/// `type T`, `subtype S`, `type T subtype S`: the bits, and which of them were said.
///
/// # Errors
/// Links without 802.11 headers.
pub(super) fn of_kind(scope: &mut Scope, bits: u32, with_subtype: bool) -> Result<Test, Refusal> {
    frames(scope)?;
    let mask = if with_subtype { TYPE | SUBTYPE } else { TYPE };
    Ok(scope.equal_in(From::LinkHeader, 0, LoadSize::One, bits, mask))
}

/// `dir D`.
///
/// # Errors
/// Links without 802.11 headers; names that are no direction.
pub(super) fn direction(scope: &mut Scope, said: Said<'_>) -> Result<Test, Refusal> {
    frames(scope)?;
    let bits = match said {
        Said::Number(number) => number,
        Said::Name(name) => match name.to_ascii_lowercase().as_str() {
            "nods" => 0,
            "tods" => TO_DS,
            "fromds" => FROM_DS,
            "dstods" => TO_DS | FROM_DS,
            _ => {
                let what = format!("`{name}` is no direction of 802.11 frames");
                return Err(refusal(what, "nods, tods, fromds and dstods are"));
            }
        },
    };
    Ok(scope.equal_in(From::LinkHeader, 1, LoadSize::One, bits, TO_DS | FROM_DS))
}

/// A data frame.
pub(super) fn is_data(scope: &mut Scope) -> Test {
    let other = scope.any_bit(From::LinkHeader, 0, LoadSize::One, 0x04);
    Test::All(vec![not(other), scope.any_bit(From::LinkHeader, 0, LoadSize::One, DATA)])
}

/// Something of the address at an offset of the 802.11 header.
type OfAddress<'a> = dyn FnMut(&mut Scope, u32) -> Test + 'a;

/// Where the source stands: 10; in data frames from the distribution system 16, or 24 where also to it.
fn source(scope: &mut Scope, at: &mut OfAddress<'_>) -> Test {
    let control = scope.any_bit(From::LinkHeader, 0, LoadSize::One, 0x04);
    let high = scope.any_bit(From::LinkHeader, 0, LoadSize::One, DATA);
    let from = scope.any_bit(From::LinkHeader, 1, LoadSize::One, FROM_DS);
    let to = scope.any_bit(From::LinkHeader, 1, LoadSize::One, TO_DS);
    let behind =
        Test::Any(vec![Test::All(vec![not(to.clone()), at(scope, 16)]), Test::All(vec![to, at(scope, 24)])]);
    let data =
        Test::Any(vec![Test::All(vec![not(from.clone()), at(scope, 10)]), Test::All(vec![from, behind])]);
    let management = Test::All(vec![not(high.clone()), at(scope, 10)]);
    Test::All(vec![not(control), Test::Any(vec![management, Test::All(vec![high, data])])])
}

/// Where the destination stands: 4, or 16 in data frames to the distribution system.
pub(super) fn destination(scope: &mut Scope, at: &mut OfAddress<'_>) -> Test {
    let control = scope.any_bit(From::LinkHeader, 0, LoadSize::One, 0x04);
    let high = scope.any_bit(From::LinkHeader, 0, LoadSize::One, DATA);
    let to = scope.any_bit(From::LinkHeader, 1, LoadSize::One, TO_DS);
    let data =
        Test::Any(vec![Test::All(vec![not(to.clone()), at(scope, 4)]), Test::All(vec![to, at(scope, 16)])]);
    let management = Test::All(vec![not(high.clone()), at(scope, 4)]);
    Test::All(vec![not(control), Test::Any(vec![management, Test::All(vec![high, data])])])
}

/// Neither of the control frames that have one address only.
fn has_second_address(scope: &mut Scope) -> Test {
    let control = scope.equal_in(From::LinkHeader, 0, LoadSize::One, CONTROL, TYPE);
    let clear = scope.equal_in(From::LinkHeader, 0, LoadSize::One, CLEAR_TO_SEND, SUBTYPE);
    let acknowledges = scope.equal_in(From::LinkHeader, 0, LoadSize::One, ACKNOWLEDGEMENT, SUBTYPE);
    Test::Any(vec![not(control), Test::All(vec![not(clear), not(acknowledges)])])
}

/// Frames from or to an address.
pub(super) fn host(scope: &mut Scope, mac: &[u8; 6], direction: Direction) -> Test {
    let mut at = |scope: &mut Scope, at: u32| scope.octets(From::LinkHeader, at, mac);
    match direction {
        Direction::Src => source(scope, &mut at),
        Direction::Dst => destination(scope, &mut at),
        Direction::Both => Test::All(vec![source(scope, &mut at), destination(scope, &mut at)]),
        Direction::Unsaid | Direction::Either => {
            Test::Any(vec![source(scope, &mut at), destination(scope, &mut at)])
        }
        Direction::Address(2) => Test::All(vec![has_second_address(scope), at(scope, 10)]),
        Direction::Address(3) => {
            let control = scope.equal_in(From::LinkHeader, 0, LoadSize::One, CONTROL, TYPE);
            Test::All(vec![not(control), at(scope, 16)])
        }
        Direction::Address(4) => {
            let both = TO_DS | FROM_DS;
            let between = scope.equal_in(From::LinkHeader, 1, LoadSize::One, both, both);
            Test::All(vec![between, at(scope, 24)])
        }
        Direction::Address(_) => at(scope, 4),
        Direction::Receiver => {
            let high = scope.any_bit(From::LinkHeader, 0, LoadSize::One, DATA);
            Test::All(vec![high, at(scope, 4)])
        }
        Direction::Transmitter => {
            let high = scope.any_bit(From::LinkHeader, 0, LoadSize::One, DATA);
            Test::All(vec![high, has_second_address(scope), at(scope, 10)])
        }
    }
}
