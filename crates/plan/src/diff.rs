//! What changes from one plan to another: pure, printable, in an order that depends on nothing else.
//!
//! Things are told apart by what they are to the user: a port or a sink by its name, a hook by its port
//! and direction, a rule by its label and place. Never carries anything out.

use std::collections::BTreeMap;
use std::fmt;

use rules::form::AddressTable;

use crate::plan::{Direction, Plan, Port, Rule};
use crate::text;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<T> {
    /// Only the new plan has it.
    Added(T),
    /// Only the old plan has it.
    Removed(T),
    /// Both have it, and it is not the same.
    Changed {
        /// In the old plan.
        from: T,
        /// In the new plan.
        to: T,
    },
}

/// Every change, kind by kind: what went or changed in the old plan's order, then what came in the new one's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diff {
    /// Ports.
    pub ports: Vec<Change<Port>>,
    /// Sinks, by name: added or removed, for they have nothing that could change.
    pub sinks: Vec<Change<String>>,
    /// Rules: added or removed, for they have nothing that could change.
    pub rules: Vec<Change<Rule>>,
    /// Tables of addresses, by name and by how many of that name stand before.
    pub tables: Vec<Change<NamedTable>>,
    /// Hooks.
    pub hooks: Vec<Change<NamedHook>>,
}

/// A table of addresses that programs name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedTable {
    /// Tables of the same name that stand before it.
    pub before: usize,
    /// The table.
    pub table: AddressTable,
}

/// A hook in names, so that hooks of two plans can be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedHook {
    /// The name of its port.
    pub port: String,
    /// Entering or leaving.
    pub direction: Direction,
    /// The hook and its program, as lines of plan text.
    pub lines: Vec<String>,
}

/// What changes from `old` to `new`.
pub fn diff(old: &Plan, new: &Plan) -> Diff {
    Diff {
        ports: changes(&old.ports, &new.ports, |port| port.name.clone()),
        sinks: changes(&sink_names(old), &sink_names(new), String::clone),
        rules: changes(&old.rules, &new.rules, Rule::clone),
        tables: changes(&named_tables(old), &named_tables(new), |table| {
            (table.table.name().to_owned(), table.before)
        }),
        hooks: changes(&named_hooks(old), &named_hooks(new), |hook| (hook.port.clone(), hook.direction)),
    }
}

impl Diff {
    /// Whether nothing changes. Two plans that differ in nothing but the order of their tables have no difference.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, &self.ports, |port| vec![text::port_line(port)])?;
        print(f, &self.sinks, |name| vec![text::sink_line(name)])?;
        print(f, &self.rules, |rule| vec![text::rule_line(rule)])?;
        print(f, &self.tables, |table| text::table_lines(&table.table))?;
        print(f, &self.hooks, |hook| hook.lines.clone())
    }
}

/// Lines that go with `-`, lines that come with `+`.
fn print<T>(
    f: &mut fmt::Formatter<'_>,
    list: &[Change<T>],
    lines: impl Fn(&T) -> Vec<String>,
) -> fmt::Result {
    let mut all = |sign, thing: &T| lines(thing).iter().try_for_each(|line| writeln!(f, "{sign} {line}"));
    list.iter().try_for_each(|change| match change {
        Change::Added(to) => all('+', to),
        Change::Removed(from) => all('-', from),
        Change::Changed { from, to } => all('-', from).and_then(|()| all('+', to)),
    })
}

fn sink_names(plan: &Plan) -> Vec<String> {
    plan.sinks().map(|(id, _)| plan.sink_name(id).to_owned()).collect()
}

fn named_hooks(plan: &Plan) -> Vec<NamedHook> {
    let lines = text::hook_lines(plan);
    let name = |(hook, lines): (&crate::plan::Hook, _)| {
        let port = plan.port(hook.at.port).name.clone();
        NamedHook { port, direction: hook.at.direction, lines }
    };
    plan.hooks.iter().zip(lines).map(name).collect()
}

fn named_tables(plan: &Plan) -> Vec<NamedTable> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let named = text::tables(plan).into_iter().map(|table| {
        let count = count.entry(table.name().to_owned()).or_default();
        *count += 1;
        NamedTable { before: *count - 1, table }
    });
    named.collect()
}

fn changes<T: Clone + PartialEq, K: Ord>(old: &[T], new: &[T], key: impl Fn(&T) -> K) -> Vec<Change<T>> {
    let was: BTreeMap<K, &T> = old.iter().map(|thing| (key(thing), thing)).collect();
    let is: BTreeMap<K, &T> = new.iter().map(|thing| (key(thing), thing)).collect();
    let gone = old.iter().filter_map(|from| match is.get(&key(from)) {
        None => Some(Change::Removed(from.clone())),
        Some(to) if *to != from => Some(Change::Changed { from: from.clone(), to: (*to).clone() }),
        Some(_) => None,
    });
    let come = new.iter().filter(|to| !was.contains_key(&key(to)));
    gone.chain(come.cloned().map(Change::Added)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbitrary::{self, Random};
    use crate::compile;

    const BEFORE: &str = "[ports]\na='e1'\nb='e2'\nm='e3'\n[[device]]\nname='t'\nkind='port-aggregator'\n\
                          link=['a','b']\nmonitors=['m']\n";

    #[test]
    fn a_new_monitor_and_a_new_rate() {
        let after = BEFORE
            .replace("m='e3'", "m={interface='e3',rate='1Gbit'}\nn='e4'")
            .replace("['m']", "['m','n']")
            .replace("port-agg", "dual-port-agg")
            .replace("name='t'", "vlans=['1-3']\nname='t'");
        let plan = |config: &str| compile("f", config).unwrap_or_else(|problems| panic!("{problems}")).0;
        let diff = diff(&plan(BEFORE), &plan(&after));
        assert_eq!(
            diff.to_string(),
            "- port  m  e3  monitor\n\
             + port  m  e3  monitor  rate 1Gbit  buffer 1MiB\n\
             + port  n  e4  monitor\n\
             + sink  port n\n\
             - rule  t  f:5:1\n\
             + rule  t  f:6:1\n\
             - hook  a  in  pass b\n-   copy  m  by t\n\
             + hook  a  in  pass b\n+   copy  m  by t  when vlan 1-3\n+   copy  n  by t  when vlan 1-3\n\
             - hook  b  in  pass a\n-   copy  m  by t\n\
             + hook  b  in  pass a\n+   copy  m  by t  when vlan 1-3\n+   copy  n  by t  when vlan 1-3\n"
        );
    }

    #[test]
    fn a_plan_differs_from_others_and_not_from_itself() {
        for seed in 0..500 {
            let mut random = Random::new(seed);
            let (one, two) = (arbitrary::plan(&mut random), arbitrary::plan(&mut random));
            assert!(diff(&one, &one).is_empty(), "seed {seed}");
            assert_eq!(diff(&one, &two).is_empty(), one == two, "seed {seed}");
        }
    }

    const STEERING: &str = "plan 1\n\
        port  m  e3  monitor\nport  n  e4  monitor\nport  s  e1  span\n\
        sink  port m\nsink  port n\nrule  r  f:1:1\n\
        table  <web>\n  holds  10.0.0.0/8\n\
        hook  s  in  consume\n  balance  flow  by r  to m  to n\n  spread  #0  by r  when length in 0-99\n  rules\n    \
          pass  copy m  by r  when source in <web>\n    block  by r  tagged t  chance 50%\n";

    #[test]
    fn one_word_of_a_program_is_a_difference() {
        let plan = |text: &str| crate::text::parse(text).unwrap_or_else(|problems| panic!("{problems}"));
        let before = plan(STEERING);
        assert!(diff(&before, &before).is_empty());
        for (word, other, signs) in [
            ("10.0.0.0/8", "!10.0.0.0/8", 4),
            ("flow", "source", 12),
            ("flow", "flow inner", 12),
            ("to n", "to n weight 2", 12),
            ("to n", "to n key 7", 12),
            ("0-99", "0-98", 12),
            ("pass  copy m", "pass  copy n", 12),
            ("pass", "pass  quick", 12),
            ("tagged t", "not tagged t", 12),
            ("50%", "51%", 12),
            ("block", "match", 12),
            ("length", "length + 0", 12),
        ] {
            let after = plan(&STEERING.replacen(word, other, 1));
            let printed = diff(&before, &after).to_string();
            assert_eq!(printed.lines().count(), signs, "{word} -> {other}\n{printed}");
        }
    }
}
