//! The tables of addresses that the programs of a plan name: each once, under a name of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rules::form::{AddressTable, Addresses, RuleSet, Test, table_name};

use super::references_by;
use crate::plan::Plan;

/// Entries of a table that stand on one line.
const ENTRIES_A_LINE: usize = 8;

/// The tables of a plan in the order in which its programs name them.
pub(super) struct Tables {
    list: Vec<Arc<AddressTable>>,
    /// What stands between `<` and `>`, for each of `list`.
    names: Vec<String>,
    /// Tests may hold one table in several places of memory.
    by_place: HashMap<*const AddressTable, usize>,
}

impl Tables {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut tables = Self { list: Vec::new(), names: Vec::new(), by_place: HashMap::new() };
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for hook in &plan.hooks {
            let steps = hook.program.steps.iter().map(|step| &step.when);
            let rulings = hook.program.rule_sets.iter().flat_map(RuleSet::rulings);
            for test in steps.chain(rulings.map(|ruling| &ruling.when)) {
                each_table(test, &mut |table| tables.add(table, &mut by_name));
            }
        }
        tables.names = references_by(tables.list.iter().map(|table| table.name()), table_name);
        tables
    }

    fn add(&mut self, table: &Arc<AddressTable>, by_name: &mut HashMap<String, Vec<usize>>) {
        let place = Arc::as_ptr(table);
        if self.by_place.contains_key(&place) {
            return;
        }
        let alike = by_name.entry(table.name().to_owned()).or_default();
        let known = alike.iter().copied().find(|at| self.list[*at] == *table);
        let at = known.unwrap_or_else(|| {
            alike.push(self.list.len());
            self.list.push(Arc::clone(table));
            self.list.len() - 1
        });
        self.by_place.insert(place, at);
    }

    /// What stands between `<` and `>` for a table of this plan.
    pub(super) fn name(&self, table: &AddressTable) -> String {
        let at = self.by_place.get(&std::ptr::from_ref(table));
        at.map_or_else(|| table_name(table.name()), |at| self.names[*at].clone())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn print(&self, out: &mut impl fmt::Write) -> fmt::Result {
        for table in &self.list {
            table_lines(table).iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        Ok(())
    }

    pub(super) fn list(&self) -> &[Arc<AddressTable>] {
        &self.list
    }
}

/// The lines of a table: its own, then its entries.
pub(crate) fn table_lines(table: &AddressTable) -> Vec<String> {
    let entry = |entry: &rules::form::Entry| {
        let sign = if entry.negated { "!" } else { "" };
        format!("{sign}{}", entry.network)
    };
    let entries: Vec<_> = table.entries().collect();
    let rows = entries.chunks(ENTRIES_A_LINE);
    let rows = rows.map(|row| format!("  holds  {}", row.iter().map(entry).collect::<Vec<_>>().join("  ")));
    std::iter::once(format!("table  <{}>", table_name(table.name()))).chain(rows).collect()
}

fn each_table(test: &Test, tell: &mut impl FnMut(&Arc<AddressTable>)) {
    match test {
        Test::Not(test) => each_table(test, tell),
        Test::All(tests) | Test::Any(tests) => tests.iter().for_each(|test| each_table(test, tell)),
        Test::Address(_, Addresses::Table(table)) => tell(table),
        Test::Always
        | Test::Vlan(_)
        | Test::Within(..)
        | Test::Compare(..)
        | Test::Address(..)
        | Test::Chain(_) => {}
    }
}
