//! Expressions as of tcpdump: the language of pcap-filter(7), as libpcap 1.10.3 reads it for capture files.
//!
//! [`parse`] makes one [`Test`] of a text and the link type of the frames that it is for. Tests are about the
//! octets of a frame, VLAN tags included, and mean what libpcap's programs mean: a load of octets that are not
//! there ends the whole expression. Never looks a name up anywhere but in the tables of [`crate::services`],
//! never panics, and never goes deeper into brackets than [`LEVELS_MAX`].

mod arithmetic;
mod hosts;
mod link;
mod names;
mod parse;
mod ports;
mod scope;
mod token;
mod wlan;
mod words;

use wire::LinkType;

use crate::Flaw;
use crate::form::{Test, simplify};
use parse::Parser;
use scope::Scope;

/// Octets of the longest text that is read.
pub const TEXT_MAX: usize = 4 << 20;

/// How deep brackets, `not`, and changes between `and` and `or` may go.
pub const LEVELS_MAX: usize = 128;

/// Flaws that are told of one text.
pub const FLAWS_MAX: usize = 20;

/// What is wrong, and what to do; whoever knows where makes a [`Flaw`] of it.
type Refusal = (String, String);

fn refusal(what: impl Into<String>, help: impl Into<String>) -> Refusal {
    (what.into(), help.into())
}

/// Reads an expression for frames of a link type. An empty one holds for every frame.
///
/// # Errors
/// All that is wrong with the text, at most [`FLAWS_MAX`] flaws, in the order of the text. An expression that no
/// frame can pass is refused too, as libpcap's optimizer does.
pub fn parse(text: &str, link_type: LinkType) -> Result<Test, Vec<Flaw>> {
    if text.len() > TEXT_MAX {
        let what = format!("the expression has {} octets", text.len());
        return Err(vec![Flaw::new(TEXT_MAX..text.len(), what, format!("at most {TEXT_MAX} are read"))]);
    }
    let Some(scope) = Scope::new(link_type) else {
        let what = format!("no expression can be read for frames of link type {}", link_type.0);
        let help = "1 (Ethernet), 9, 101, 105, 113, 127, 228, 229 and 276 can";
        return Err(vec![Flaw::new(0..text.len(), what, help)]);
    };
    let tokens = token::tokens(text).map_err(|flaw| vec![flaw])?;
    if let Some((token::Token::Sign("-"), span)) = tokens.first() {
        let what = "an expression that begins with `-` looks like an option to tcpdump, which refuses it";
        return Err(vec![Flaw::new(span.clone(), what, "put brackets round the number")]);
    }
    let (test, scope) = Parser::new(text, &tokens, scope).whole()?;
    let mut tests = scope.prelude();
    tests.push(test);
    let test = simplify(Test::All(tests));
    if test == scope::never() {
        return Err(vec![Flaw::new(
            0..text.len(),
            "no frame can pass this",
            "leave it out, or ask for less at once",
        )]);
    }
    Ok(test)
}
