//! The rule language of pf, after pf.conf(5) of OpenBSD: text in, rules out.
//!
//! [`parse`] reads a file, expands macros and lists as pfctl(8) does, and tells of all that is wrong with it
//! at once. What it accepts has a canonical text ([`Parsed`] prints it, in the manner of `pfctl -nv`) that
//! reads back to itself. Words of pf that a tap cannot honour are refused, each with its reason.
//! Never does I/O: what a table reads from a file is handed in. Never knows ports: names of interfaces are
//! whatever was written.

mod cursor;
mod draft;
mod expand;
mod host;
mod lex;
mod names;
mod options;
mod pool;
mod print;
mod report;
mod rule;
mod set;
mod statement;
mod table;
mod words;

use std::ops::Range;
use std::sync::Arc;

use crate::form::AddressTable;

pub use report::{REMARKS_MAX, Refused, Remark};
pub use rule::{
    Action, Direction, Family, Flags, Host, Icmp, On, Peer, Pool, PoolMethod, PortMatch, Rule, Target,
};

/// The most octets that a rule file may have.
pub const TEXT_MAX: usize = 16 << 20;
/// The most rules that a file may expand to.
pub const RULES_MAX: usize = 65_535;
/// The most entries that the tables of a file may have together.
pub const ENTRIES_MAX: usize = 1_000_000;
/// How deep lists may stand in lists.
pub const DEPTH_MAX: usize = 16;
/// The most octets that the value of a macro may have, once the macros in it are replaced.
pub const MACRO_MAX: usize = 64 << 10;
/// The most octets that the macros of a file may be replaced by.
pub const EXPANSION_MAX: usize = 16 << 20;

/// Hands over the text of a file that a table names, or says why it cannot be had.
pub type Files<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// A rule file that was read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// The tables, in order.
    pub tables: Vec<Arc<AddressTable>>,
    /// The names of all tags that rules set or ask for, in order of appearance.
    pub tags: Vec<String>,
    /// What is accepted and may not mean what it means in pf.
    pub advice: Vec<Remark>,
    /// The macros in order of definition.
    pub macros: Vec<Macro>,
    /// The canonical text of each table.
    table_lines: Vec<String>,
}

/// A macro, `name = "value"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Macro {
    /// The name.
    pub name: String,
    /// The value, in which the macros are replaced already.
    pub value: String,
    /// Octets of the rule file that define it.
    pub span: Range<usize>,
}

/// Reads a rule file. `file` is what messages call it, `files` hands over what tables read.
///
/// # Errors
/// Everything that is wrong with the file and with those that its tables name.
pub fn parse(file: &str, text: &str, files: &Files<'_>) -> Result<Parsed, Refused> {
    statement::parse(file, text, files)
}
