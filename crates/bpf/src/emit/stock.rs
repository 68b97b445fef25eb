//! The tables that the programs of a plan look things up in, as they are made, and what was chosen.

use std::net::IpAddr;
use std::sync::Arc;

use plan::plan::HookId;
use rules::form::{AddressTable, Test};

use crate::tables::{Table, TableId, TableKind};

/// What the programs of a plan need beside their instructions.
#[derive(Debug, Default)]
pub(super) struct Stock {
    /// The tables.
    pub(super) tables: Vec<Table>,
    /// The next free number.
    pub(super) next: u32,
    /// What was chosen, in words.
    pub(super) notes: Vec<String>,
    /// Where hooks remember.
    pub(super) memories: Vec<Remembers>,
}

/// Where the program of a hook keeps what `rules::form::Memory` holds, for each CPU by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remembers {
    /// The hook.
    pub hook: HookId,
    /// One entry of 64-bit numbers: draws, forgotten, and the turns of each spread.
    pub memory: TableId,
    /// `rules::form::FRAGMENTS` entries of two 64-bit numbers: key and slot.
    pub fragments: Option<TableId>,
}

impl Stock {
    /// A number for a table that is to be made.
    pub(super) fn number(&mut self) -> TableId {
        TableId::next(&mut self.next)
    }

    /// Adds an array of values that programs only read.
    pub(super) fn array(&mut self, what: &str, value_size: u32, values: Vec<Vec<u8>>) -> TableId {
        let id = self.number();
        self.notes.push(format!("table_{}: {what}", id.0));
        self.tables.push(Table::array(id, value_size, values));
        id
    }

    /// Adds an array whose values programs write, for each CPU its own.
    pub(super) fn memory(&mut self, what: &str, value_size: u32, count: usize) -> TableId {
        let id = self.number();
        self.notes.push(format!("table_{}: {what}", id.0));
        let blank = vec![0; usize::try_from(value_size).unwrap_or(0)];
        let table = Table::array(id, value_size, std::iter::repeat_n(blank, count));
        self.tables.push(Table { writable: true, per_cpu: true, ..table });
        id
    }
}

/// The tries of an address table; a family without entries has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tries {
    pub(super) v4: Option<TableId>,
    pub(super) v6: Option<TableId>,
}

/// The address tables that tests of one hook name.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<(Arc<AddressTable>, Tries)>);

impl Lists {
    /// Makes the tries of every table that the test names, each once.
    pub(super) fn add(&mut self, test: &Test, stock: &mut Stock) {
        match test {
            Test::Not(test) => self.add(test, stock),
            Test::All(tests) | Test::Any(tests) => tests.iter().for_each(|test| self.add(test, stock)),
            Test::Address(_, rules::form::Addresses::Table(table)) if !self.knows(table) => {
                let v4 = trie(table, 4, stock);
                let v6 = trie(table, 6, stock);
                self.0.push((Arc::clone(table), Tries { v4, v6 }));
            }
            _ => {}
        }
    }

    fn knows(&self, table: &Arc<AddressTable>) -> bool {
        self.0.iter().any(|(known, _)| known == table)
    }

    /// The tries of a table.
    pub(super) fn of(&self, table: &Arc<AddressTable>) -> Tries {
        self.0.iter().find(|(known, _)| known == table).map_or(Tries::default(), |(_, tries)| *tries)
    }
}

/// The networks of one family: 1 for those that are in the table, 0 for those that are not.
fn trie(table: &AddressTable, version: u8, stock: &mut Stock) -> Option<TableId> {
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for entry in table.entries() {
        let octets = match entry.network.address() {
            IpAddr::V4(v4) if version == 4 => v4.octets().to_vec(),
            IpAddr::V6(v6) if version == 6 => v6.octets().to_vec(),
            _ => continue,
        };
        let key = [&u32::from(entry.network.prefix_len()).to_ne_bytes()[..], &octets].concat();
        let value = u32::from(!entry.negated).to_ne_bytes().to_vec();
        // Of a network with and without `!`, the one without decides; it stands first.
        if entries.last().is_none_or(|(last, _)| *last != key) {
            entries.push((key, value));
        }
    }
    if entries.is_empty() {
        return None;
    }
    let id = stock.number();
    stock.notes.push(format!(
        "table_{}: IPv{version} of <{}>, {} networks",
        id.0,
        table.name(),
        entries.len()
    ));
    let key_size = if version == 4 { 8 } else { 20 };
    let kind = TableKind::Lpm;
    stock.tables.push(Table { id, kind, key_size, value_size: 4, entries, writable: false, per_cpu: false });
    Some(id)
}
