//! Tokens to a test, in one pass over them: what is read moves where what follows looks (see [`super::scope`]).
//!
//! The grammar is that of libpcap: `and` and `or` are equally strong and taken from the left, `not` is
//! stronger. An *operand* (an address, a number, a name) needs qualifiers in front of it, or takes over those of
//! the operand before the last `and` or `or`; everything else is a *term*.

use std::ops::Range;

use super::names::{self, Kind, Mask, Qualifier};
use super::ports::{self, Direction};
use super::scope::{Scope, never};
use super::token::{Lexeme, Token};
use super::wlan::{self, Said};
use super::words::{self, Protocol};
use super::{FLAWS_MAX, LEVELS_MAX, Refusal, arithmetic, hosts, link};
use crate::Flaw;
use crate::form::{LoadSize, Test};

/// The rest of the text makes no sense any more; why has been noted.
#[derive(Debug)]
pub(super) struct Stop;

/// Reads one text.
pub(super) struct Parser<'t> {
    text: &'t str,
    tokens: &'t [Lexeme<'t>],
    at: usize,
    /// For each opening bracket the place of the one that closes it.
    closing: Vec<Option<usize>>,
    pub(super) scope: Scope,
    flaws: Vec<Flaw>,
}

/// Something between `and`s and `or`s.
struct Piece {
    test: Test,
    /// Whether it is an operand that takes the qualifiers over.
    is_operand: bool,
    /// What an operand behind it takes over.
    qualifier: Option<Qualifier>,
    /// How deep the test is.
    level: usize,
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str, tokens: &'t [Lexeme<'t>], scope: Scope) -> Self {
        let mut closing = vec![None; tokens.len()];
        let mut open = Vec::new();
        for (at, (token, _)) in tokens.iter().enumerate() {
            match token {
                Token::Sign("(") => open.push(at),
                Token::Sign(")") => {
                    if let Some(opened) = open.pop() {
                        closing[opened] = Some(at);
                    }
                }
                _ => {}
            }
        }
        Self { text, tokens, at: 0, closing, scope, flaws: Vec::new() }
    }

    /// Reads all of it.
    pub(super) fn whole(mut self) -> Result<(Test, Scope), Vec<Flaw>> {
        let test = if self.tokens.is_empty() { Ok(Test::Always) } else { self.read_all() };
        match test {
            Ok(test) if self.flaws.is_empty() => Ok((test, self.scope)),
            _ => Err(self.flaws),
        }
    }

    fn read_all(&mut self) -> Result<Test, Stop> {
        let whole = self.expression(None, 0)?;
        if self.at == self.tokens.len() {
            return Ok(whole.test);
        }
        let span = self.span();
        let word = self.text[span.clone()].to_owned();
        let before = self.tokens.get(self.at.wrapping_sub(1)).map(|(token, _)| *token);
        let protocol = match before {
            Some(Token::Keyword(before)) => Protocol::of(before),
            _ => None,
        };
        let (what, help) = match (self.peek(), protocol) {
            (Some(Token::Sign(")")), _) => {
                ("a `)` that nothing opened".into(), "take it away, or open it".into())
            }
            (Some(token), Some(protocol)) if !matches!(token, Token::Keyword(_) | Token::Sign(_)) => {
                (format!("`{}` is followed by `{word}`", protocol.word()), continued(protocol, token, &word))
            }
            (Some(Token::Name(name)), _) => (
                format!("`{word}` does not continue what stands before it"),
                self.hint(name, "join it with `and` or `or`"),
            ),
            _ => (
                format!("`{word}` does not continue what stands before it"),
                "join it with `and` or `or`".into(),
            ),
        };
        Err(self.stop(span, what, help))
    }

    /// Help about a word that may be a slip of the pen.
    fn hint(&self, typed: &str, otherwise: &str) -> String {
        if let Some(help) = words::instead(typed) {
            return help.to_owned();
        }
        match words::nearest(typed, words::keywords().chain(words::value_names())) {
            Some(word) => format!("was `{word}` meant?"),
            None => otherwise.to_owned(),
        }
    }

    /// Terms and operands, joined. The first must be a term.
    fn expression(&mut self, context: Option<Qualifier>, level: usize) -> Result<Piece, Stop> {
        let begin = self.start();
        let first = self.piece(context, level)?;
        if first.is_operand && context.is_none() {
            return Err(self.unqualified(begin));
        }
        self.joined(first, level)
    }

    fn unqualified(&mut self, begin: usize) -> Stop {
        let span = begin..self.end();
        let shown = self.text[span.clone()].to_owned();
        self.stop(
            span,
            format!("`{shown}` stands alone"),
            format!("say what it is, as in `host {shown}` or `port {shown}`"),
        )
    }

    /// All that is joined to the first piece. Operands join operands alone, as `(80 or 443)` behind `port`.
    fn joined(&mut self, first: Piece, level: usize) -> Result<Piece, Stop> {
        let operands_only = first.is_operand;
        let mut piece = first;
        let mut joined: Option<(bool, Vec<Test>)> = None;
        loop {
            let is_and = match self.peek() {
                Some(Token::Keyword("and")) => true,
                Some(Token::Keyword("or")) => false,
                _ => break,
            };
            self.step();
            let begin = self.start();
            let next = self.piece(piece.qualifier, level)?;
            if operands_only && !next.is_operand {
                let what = "between these brackets stand operands, and this is none";
                return Err(self.stop(begin..self.end(), what, "close the brackets before it"));
            }
            let deepest = piece.level.max(next.level);
            let test = std::mem::replace(&mut piece.test, Test::Always);
            let (tests, level) = match joined.take() {
                Some((was_and, mut tests)) if was_and == is_and => {
                    tests.push(next.test);
                    (tests, deepest)
                }
                Some((was_and, tests)) => (vec![join(was_and, tests), next.test], deepest + 1),
                None => (vec![test, next.test], deepest + 1),
            };
            piece.level = level;
            piece.qualifier = next.qualifier;
            joined = Some((is_and, tests));
            self.check_level(level)?;
        }
        if let Some((is_and, tests)) = joined {
            piece.test = join(is_and, tests);
        }
        Ok(piece)
    }

    /// One term or operand.
    fn piece(&mut self, context: Option<Qualifier>, level: usize) -> Result<Piece, Stop> {
        self.check_level(level)?;
        let next = self.tokens.get(self.at + 1).map(|(token, _)| *token);
        match self.peek() {
            Some(Token::Sign("!")) => {
                self.step();
                let mut piece = self.piece(context, level + 1)?;
                piece.test = Test::Not(Box::new(piece.test));
                piece.level += 1;
                Ok(piece)
            }
            Some(Token::Sign("(")) if !self.closes_before_operator() => self.brackets(context, level),
            Some(Token::Sign("(" | "-") | Token::Keyword("len")) => self.compared(level),
            Some(Token::Number(_)) if next.is_some_and(arithmetic::joins_numbers) => self.compared(level),
            Some(Token::Keyword(word)) if Protocol::of(word).is_some() && next == Some(Token::Sign("[")) => {
                self.compared(level)
            }
            Some(Token::Keyword(word)) => self.term(word, level),
            Some(Token::Sign(_)) | None => {
                Err(self.expected("a test", "as in `tcp`, `host 10.0.0.1`, `port 80` or `ip[9] = 6`"))
            }
            Some(_) => self.operand(context, level),
        }
    }

    fn compared(&mut self, level: usize) -> Result<Piece, Stop> {
        Ok(Piece { test: self.relation(level)?, is_operand: false, qualifier: None, level: 1 })
    }

    /// Whether the bracket that opens here closes in front of something that joins or compares numbers.
    fn closes_before_operator(&self) -> bool {
        let close = self.closing.get(self.at).copied().flatten();
        let behind = close.and_then(|close| self.tokens.get(close + 1));
        behind.is_some_and(|(token, _)| arithmetic::joins_numbers(*token))
    }

    fn brackets(&mut self, context: Option<Qualifier>, level: usize) -> Result<Piece, Stop> {
        let begin = self.start();
        self.step();
        let inner = self.start();
        let first = self.piece(context, level + 1)?;
        if first.is_operand && context.is_none() {
            return Err(self.unqualified(inner));
        }
        let is_operand = first.is_operand;
        let inside = self.joined(first, level + 1)?;
        if self.peek() != Some(Token::Sign(")")) {
            let what = "this bracket is not closed";
            return Err(self.stop(begin..begin + 1, what, "close it with `)`"));
        }
        self.step();
        let qualifier = if is_operand { inside.qualifier } else { context };
        Ok(Piece { test: inside.test, is_operand, qualifier, level: inside.level + 1 })
    }

    /// An operand under the qualifiers before it.
    fn operand(&mut self, context: Option<Qualifier>, level: usize) -> Result<Piece, Stop> {
        self.check_level(level)?;
        let begin = self.start();
        let Some(by) = context else {
            return Err(self.bare_operand());
        };
        let token = self.peek();
        self.step();
        let slash = |parser: &mut Self| -> Result<Option<u32>, Stop> {
            if parser.sign_if(|sign| sign == "/").is_none() {
                return Ok(None);
            }
            let Some(Token::Number(bits)) = parser.peek() else {
                return Err(parser.expected("the bits of a prefix", "as in `net 10.0.0.0/8`"));
            };
            parser.step();
            Ok(Some(bits))
        };
        let test = match token {
            Some(Token::Number(value)) => names::number(&mut self.scope, value, by),
            Some(Token::Dotted(text)) => {
                let mask = match slash(self)? {
                    Some(bits) => Some(Mask::Bits(bits)),
                    None => self.mask()?,
                };
                match mask {
                    Some(mask) => names::network(&mut self.scope, text, mask, by),
                    None => names::dotted(&mut self.scope, text, by),
                }
            }
            Some(Token::Ip6(address)) => {
                let bits = slash(self)?;
                names::ip6(&mut self.scope, address, bits, by)
            }
            Some(Token::Mac(mac)) => names::mac(&mut self.scope, &mac, by),
            Some(Token::Arcnet) => {
                Err(super::refusal("an ARCnet address", "frames of ARCnet cannot be read: leave it out"))
            }
            Some(Token::Name(name)) => names::name(&mut self.scope, name, by),
            _ => return Err(self.expected("an operand", "an address, a number or a name")),
        };
        let test = self.settled(begin..self.end(), test);
        Ok(Piece { test, is_operand: true, qualifier: context, level: 1 })
    }

    /// `mask 255.0.0.0`.
    fn mask(&mut self) -> Result<Option<Mask<'t>>, Stop> {
        if self.peek() != Some(Token::Keyword("mask")) {
            return Ok(None);
        }
        self.step();
        let Some(Token::Dotted(mask)) = self.peek() else {
            return Err(self.expected("a mask", "as in `net 10.0.0.0 mask 255.0.0.0`"));
        };
        self.step();
        Ok(Some(Mask::Address(mask)))
    }

    fn bare_operand(&mut self) -> Stop {
        let span = self.span();
        let shown = self.text[span.clone()].to_owned();
        if let Some(Token::Name(name)) = self.peek() {
            let help = self.hint(
                name,
                &format!("for a host give its address, as in `host 10.0.0.1`; for a port say `port {shown}`"),
            );
            return self.stop(span, format!("`{shown}` is no word of expressions"), help);
        }
        let help = match self.peek() {
            Some(Token::Mac(_)) => format!("say what it is, as in `ether host {shown}`"),
            Some(Token::Number(_)) => format!("say what it is, as in `port {shown}`"),
            _ => format!("say what it is, as in `host {shown}`"),
        };
        self.stop(span, format!("`{shown}` stands alone"), help)
    }

    /// What begins with a word of the grammar.
    fn term(&mut self, word: &'static str, level: usize) -> Result<Piece, Stop> {
        let begin = self.start();
        if let Some(protocol) = Protocol::of(word) {
            self.step();
            return self.qualified(Some(protocol), begin, level);
        }
        let simple = |test| Ok(Piece { test, is_operand: false, qualifier: None, level: 1 });
        match word {
            "src" | "dst" | "host" | "net" | "port" | "portrange" | "proto" | "protochain" | "gateway"
            | "broadcast" | "multicast" | "type" | "subtype" | "dir" | "direction" | "ra" | "ta"
            | "addr1" | "addr2" | "addr3" | "addr4" | "address1" | "address2" | "address3" | "address4" => {
                return self.qualified(None, begin, level);
            }
            _ => {}
        }
        self.step();
        match word {
            "less" | "greater" => simple(self.length(word == "greater")?),
            "byte" => simple(self.byte()?),
            "vlan" | "mpls" | "pppoes" | "geneve" => {
                let number = self.bracketed_number(level)?;
                let scope = &mut self.scope;
                let test = match word {
                    "vlan" => link::vlan(scope, number),
                    "mpls" => link::mpls(scope, number),
                    "pppoes" => link::pppoes(scope, number),
                    _ => link::geneve(scope, number),
                };
                simple(self.settled(begin..self.end(), test))
            }
            "pppoed" => {
                let test = link::carries(&mut self.scope, super::scope::ethertype::PPPOE_DISCOVERY);
                simple(self.settled(begin..self.end(), test))
            }
            "llc" => {
                let kind = match self.peek() {
                    Some(Token::Name(name)) => Some(name),
                    Some(Token::Keyword("rnr")) => Some("rnr"),
                    _ => None,
                };
                if kind.is_some() {
                    self.step();
                }
                let test = link::llc(&mut self.scope, kind);
                simple(self.settled(begin..self.end(), test))
            }
            "inbound" | "outbound" => {
                let test = self.sent(word == "outbound");
                simple(self.settled(begin..self.end(), test))
            }
            "ifindex" => {
                let Some(Token::Number(number)) = self.peek() else {
                    return Err(self.expected("the index of an interface", "as in `ifindex 2`"));
                };
                self.step();
                let test = self.interface(number);
                simple(self.settled(begin..self.end(), test))
            }
            _ => {
                let (what, help) = misplaced(word);
                Err(self.stop(begin..self.end(), what, help))
            }
        }
    }

    /// `outbound` and `inbound`, where the capture says which.
    fn sent(&mut self, outbound: bool) -> Result<Test, Refusal> {
        use super::scope::{From, Link};
        /// What Linux writes for a packet that it sent.
        const OUTGOING: u32 = 4;
        let sent = match self.scope.link {
            Link::Cooked => self.scope.equal(From::LinkHeader, 0, LoadSize::Two, OUTGOING),
            Link::Cooked2 => self.scope.equal(From::LinkHeader, 10, LoadSize::One, OUTGOING),
            _ => {
                let help = "choose the side by the source of the copy, or by `in` and `out` of pf rules";
                return Err(super::refusal("a frame does not say which way it went", help));
            }
        };
        Ok(if outbound { sent } else { Test::Not(Box::new(sent)) })
    }

    fn interface(&mut self, index: u32) -> Result<Test, Refusal> {
        use super::scope::{From, Link};
        if self.scope.link != Link::Cooked2 {
            let help = "choose the port by the source of the copy, or by `on` of pf rules";
            return Err(super::refusal("a frame does not say which interface it used", help));
        }
        Ok(self.scope.equal(From::LinkHeader, 4, LoadSize::Four, index))
    }

    /// A number, perhaps in brackets.
    fn bracketed_number(&mut self, level: usize) -> Result<Option<u32>, Stop> {
        let mut open = 0;
        while self.peek() == Some(Token::Sign("(")) {
            open += 1;
            self.check_level(level + open)?;
            self.step();
        }
        let number = match self.peek() {
            Some(Token::Number(number)) => Some(number),
            _ if open > 0 => return Err(self.expected("a number", "or `and` in front of the bracket")),
            _ => return Ok(None),
        };
        self.step();
        for _ in 0..open {
            self.close(")", "a bracket that opened before the number")?;
        }
        Ok(number)
    }

    /// What stands behind a protocol, or at a qualifier without one.
    fn qualified(&mut self, protocol: Option<Protocol>, begin: usize, level: usize) -> Result<Piece, Stop> {
        let simple = |test| Ok(Piece { test, is_operand: false, qualifier: None, level: 1 });
        let direction = self.direction()?;
        let kind = match self.peek() {
            Some(Token::Keyword("host")) => Kind::Host,
            Some(Token::Keyword("net")) => Kind::Net,
            Some(Token::Keyword("port")) => Kind::Port,
            Some(Token::Keyword("portrange")) => Kind::PortRange,
            Some(Token::Keyword("proto")) if direction.is_none() => Kind::Proto,
            Some(Token::Keyword("protochain")) if direction.is_none() => Kind::ProtoChain,
            Some(Token::Keyword("gateway")) if direction.is_none() => Kind::Gateway,
            Some(Token::Keyword(word @ ("broadcast" | "multicast"))) if direction.is_none() => {
                self.step();
                let test = match word {
                    "broadcast" => hosts::broadcast(&mut self.scope, protocol),
                    _ => hosts::multicast(&mut self.scope, protocol),
                };
                return simple(self.settled(begin..self.end(), test));
            }
            Some(Token::Keyword(word @ ("type" | "subtype" | "dir" | "direction")))
                if direction.is_none() =>
            {
                self.step();
                return simple(self.wlan(word, begin)?);
            }
            _ if direction.is_some() => Kind::Unsaid,
            _ => {
                let test = match protocol {
                    Some(protocol) => ports::abbreviation(&mut self.scope, protocol),
                    None => return Err(self.expected("a test", "as in `host 10.0.0.1`")),
                };
                return simple(self.settled(begin..self.end(), test));
            }
        };
        if kind != Kind::Unsaid {
            self.step();
        }
        let by = Qualifier { protocol, direction: direction.unwrap_or_default(), kind };
        let first = self.at;
        let piece = self.piece(Some(by), level + 1)?;
        if !piece.is_operand {
            let span = self.tokens[first].1.start..self.end();
            return Err(self.stop(
                span,
                "this is no operand for the words before it",
                "give an address, a number or a name",
            ));
        }
        Ok(Piece { is_operand: false, qualifier: Some(by), ..piece })
    }

    /// `src`, `src or dst`, `addr1`.
    fn direction(&mut self) -> Result<Option<Direction>, Stop> {
        let Some(Token::Keyword(word)) = self.peek() else { return Ok(None) };
        let (one, other) = match word {
            "src" => (Direction::Src, "dst"),
            "dst" => (Direction::Dst, "src"),
            "addr1" | "address1" => (Direction::Address(1), ""),
            "addr2" | "address2" => (Direction::Address(2), ""),
            "addr3" | "address3" => (Direction::Address(3), ""),
            "addr4" | "address4" => (Direction::Address(4), ""),
            "ra" => (Direction::Receiver, ""),
            "ta" => (Direction::Transmitter, ""),
            _ => return Ok(None),
        };
        self.step();
        let joined = match self.peek() {
            Some(Token::Keyword("or")) if !other.is_empty() => Direction::Either,
            Some(Token::Keyword("and")) if !other.is_empty() => Direction::Both,
            _ => return Ok(Some(one)),
        };
        self.step();
        if self.peek() != Some(Token::Keyword(other)) {
            return Err(self.expected(&format!("`{other}`"), &format!("as in `{word} or {other} port 80`")));
        }
        self.step();
        Ok(Some(joined))
    }

    /// What stands behind `type`, `subtype` and `dir`.
    fn wlan(&mut self, word: &str, begin: usize) -> Result<Test, Stop> {
        let said = self.said()?;
        let test = if let "dir" | "direction" = word {
            wlan::direction(&mut self.scope, said)
        } else if word == "subtype" {
            wlan::subtype(None, said).and_then(|bits| wlan::of_kind(&mut self.scope, bits, true))
        } else {
            let kind = wlan::kind(said);
            if self.peek() == Some(Token::Keyword("subtype")) {
                self.step();
                let said = self.said()?;
                let bits = kind.and_then(|kind| wlan::subtype(Some(kind), said));
                bits.and_then(|bits| wlan::of_kind(&mut self.scope, bits, true))
            } else {
                kind.and_then(|bits| wlan::of_kind(&mut self.scope, bits, false))
            }
        };
        Ok(self.settled(begin..self.end(), test))
    }

    fn said(&mut self) -> Result<Said<'t>, Stop> {
        let said = match self.peek() {
            Some(Token::Number(number)) => Said::Number(number),
            Some(Token::Name(name)) => Said::Name(name),
            _ => return Err(self.expected("a name or number", "as in `type mgt subtype beacon`, `dir tods`")),
        };
        self.step();
        Ok(said)
    }

    // What follows moves over tokens and notes flaws.

    pub(super) fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.at).map(|(token, _)| *token)
    }

    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    /// The sign that comes next, stepped over if it is one of these.
    pub(super) fn sign_if(&mut self, wanted: impl Fn(&str) -> bool) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Sign(sign)) if wanted(sign) => {
                self.step();
                Some(sign)
            }
            _ => None,
        }
    }

    pub(super) fn close(&mut self, sign: &str, of: &str) -> Result<(), Stop> {
        match self.sign_if(|next| next == sign) {
            Some(_) => Ok(()),
            None => Err(self.expected(&format!("`{sign}`"), &format!("{of} needs it"))),
        }
    }

    /// Octets of the token that comes next; at the end, nothing.
    fn span(&self) -> Range<usize> {
        let end = self.text.len();
        self.tokens.get(self.at).map_or(end..end, |(_, span)| span.clone())
    }

    pub(super) fn start(&self) -> usize {
        self.span().start
    }

    /// Where the token before this one ends.
    pub(super) fn end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |(_, span)| span.end)
    }

    pub(super) fn flaw(&mut self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(Flaw::new(span, printable(what.into()), printable(help.into())));
        }
    }

    pub(super) fn stop(
        &mut self,
        span: Range<usize>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Stop {
        self.flaw(span, what, help);
        Stop
    }

    /// Something else was expected here.
    pub(super) fn expected(&mut self, what: &str, help: &str) -> Stop {
        let span = self.span();
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(_) => format!("`{}`", &self.text[span.clone()]),
        };
        self.stop(span, format!("{what} is missing in front of {found}"), help)
    }

    pub(super) fn check_level(&mut self, level: usize) -> Result<(), Stop> {
        if level < LEVELS_MAX {
            return Ok(());
        }
        let what =
            format!("deeper than {LEVELS_MAX} levels of brackets, `not`, and changes between `and` and `or`");
        Err(self.stop(self.span(), what, "take it apart into several rules"))
    }

    /// The test; where there is none, why is noted, and the rest is read.
    fn settled(&mut self, span: Range<usize>, test: Result<Test, Refusal>) -> Test {
        test.unwrap_or_else(|(what, help)| {
            self.flaw(span, what, help);
            never()
        })
    }
}

/// What stands where a protocol was expected to be said more of.
fn continued(protocol: Protocol, token: Token<'_>, word: &str) -> String {
    let name = protocol.word();
    let is_address = matches!(token, Token::Dotted(_) | Token::Ip6(_));
    match protocol {
        Protocol::Tcp | Protocol::Udp | Protocol::Sctp if is_address => {
            format!("write `{name} and host {word}`")
        }
        Protocol::Tcp | Protocol::Udp | Protocol::Sctp => format!("write `{name} port {word}`"),
        Protocol::Ip | Protocol::Arp | Protocol::Rarp | Protocol::Ip6 if is_address => {
            format!("write `{name} host {word}`")
        }
        Protocol::Ip | Protocol::Ip6 => format!("write `{name} proto {word}`"),
        Protocol::Link => format!("write `{name} host {word}` or `{name} proto {word}`"),
        _ => "join it with `and` or `or`".into(),
    }
}

/// Words of a message as a terminal can show them.
fn printable(text: String) -> String {
    /// Letters of the longest message.
    const LONGEST: usize = 1000;
    let needs = |letter: char| letter.is_control();
    if text.len() <= LONGEST && !text.contains(needs) {
        return text;
    }
    let shown =
        |letter: char| if needs(letter) { letter.escape_default().to_string() } else { letter.to_string() };
    let mut short: String = text.chars().take(LONGEST).map(shown).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push_str("...");
    }
    short
}

fn join(is_and: bool, tests: Vec<Test>) -> Test {
    if is_and { Test::All(tests) } else { Test::Any(tests) }
}

/// A word of the grammar where it has no place.
fn misplaced(word: &str) -> (String, String) {
    match (word, words::elsewhere(word)) {
        ("on" | "ifname", _) => {
            let help = "choose the port by the source of the copy, or by `on` of pf rules";
            (format!("`{word}` asks for an interface, and a frame does not say which it used"), help.into())
        }
        (_, Some(place)) => {
            (format!("`{word}` {place}, and no such frames are read here"), "leave it out".into())
        }
        ("and" | "or", None) => {
            (format!("nothing stands in front of `{word}`"), "begin with a test, as in `tcp`".into())
        }
        (_, None) => (
            format!("`{word}` has no place here"),
            "begin with a test, as in `tcp` or `host 10.0.0.1`".into(),
        ),
    }
}
