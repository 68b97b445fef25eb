//! The canonical text of a plan: for people to read and compare, and read back to the same plan.
//!
//! ```text
//! plan 1
//!
//! port  a    eth1  network
//! port  ids  eth3  monitor  rate 100Mbit  buffer 1MiB
//!
//! sink  port ids
//!
//! rule  perimeter  tapwright.toml:6:1
//!
//! hook  a  in   pass b
//!   copy  ids  by perimeter  when vlan 10,20-29
//! ```
//!
//! One line a port, sink, rule, hook, step, spread and rule of a set. A `copy` is an entry of its hook's table
//! and the step that asks for it; where a program asks otherwise, `entry SINK by RULE` is an entry alone, and
//! `copy #N` a step that asks for entry N. A rule of a set names the first entry of its rule and sink, and
//! makes it where there is none. Rules that a hook shares with one before are one line, `like HOOK FROM-TO`.
//! Words stand in quotes only where they must; `#N` stands for a port or a rule whose name is not its own.
//! Never prints what it could not read.

mod chance;
mod parse;
mod program;
mod tables;

use std::collections::HashMap;
use std::fmt;

use rules::form::{AddressTable, Method, RuleId};
use wire::LinkType;

use program::{Known, Lines, ProgramPrinter};
use tables::Tables;

use crate::plan::{Attach, Direction, Hook, Pass, Plan, Port, PortId, Role, Rule, Sink, SinkId};
use crate::units::{ShownRate, ShownSize};

pub use parse::{
    COPIES_MAX, ENTRIES_MAX, EXPANDED_MAX, RULE_LABELS_MAX, RULES_MAX, SET_RULES_MAX, SPREADS_MAX, STEPS_MAX,
    TABLES_MAX, TEXT_MAX, WEIGHTS_MAX, parse, parse_named,
};
pub(crate) use tables::table_lines;

/// The version that this prints and reads.
pub const VERSION: &str = "1";

const ROLES: [(&str, Role); 5] = [
    ("network", Role::Network),
    ("span", Role::Span),
    ("watched", Role::Watched),
    ("monitor", Role::Monitor),
    ("virtual", Role::Virtual),
];

const MODES: [(&str, Attach); 5] = [
    ("auto", Attach::Auto),
    ("xdp", Attach::Xdp),
    ("tcx", Attach::Tcx),
    ("clsact", Attach::Clsact),
    ("classic", Attach::Classic),
];

const DIRECTIONS: [(&str, Direction); 2] = [("in", Direction::In), ("out", Direction::Out)];

const METHODS: [(&str, Method); 4] = [
    ("flow", Method::Flow),
    ("source", Method::Source),
    ("round-robin", Method::RoundRobin),
    ("random", Method::Random),
];

/// Whether a text is a plan (and not a config): its first line that says something begins with `plan`.
pub fn is_plan(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let says = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let first = text.lines().map(str::trim).find(says);
    let mut words = first.unwrap_or("").split_whitespace();
    words.next() == Some("plan") && words.next().is_some_and(|word| !word.starts_with('='))
}

/// Prints the canonical text of a plan.
///
/// # Errors
/// Those of the writer.
pub fn print(plan: &Plan, out: &mut impl fmt::Write) -> fmt::Result {
    Printer::new(plan).print(plan, out)
}

/// What a role is called, here and in the ledger.
pub fn role_name(role: Role) -> &'static str {
    name_of(&ROLES, role)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, f)
    }
}

struct Printer {
    ports: Vec<String>,
    rules: Vec<String>,
    tables: Tables,
}

impl Printer {
    fn new(plan: &Plan) -> Self {
        Self {
            ports: references(plan.ports.iter().map(|port| port.name.as_str())),
            rules: references(plan.rules.iter().map(|rule| rule.label.as_str())),
            tables: Tables::new(plan),
        }
    }

    fn port(&self, id: PortId) -> String {
        self.ports.get(usize::from(id.0)).cloned().unwrap_or_else(|| format!("#{}", id.0))
    }

    fn rule(&self, id: RuleId) -> String {
        let known = usize::try_from(id.0).ok().and_then(|index| self.rules.get(index));
        known.cloned().unwrap_or_else(|| format!("#{}", id.0))
    }

    fn sink(&self, plan: &Plan, id: SinkId) -> String {
        match plan.sinks.get(usize::from(id.0)) {
            Some(Sink::Port(port)) => self.port(*port),
            None => format!("#{}", id.0),
        }
    }

    fn print(&self, plan: &Plan, out: &mut impl fmt::Write) -> fmt::Result {
        writeln!(out, "plan {VERSION}")?;
        section(out, plan.ports.is_empty())?;
        let ports = plan.ports.iter().map(port_columns);
        aligned(out, "port", &ports.collect::<Vec<_>>())?;
        section(out, plan.sinks.is_empty())?;
        for Sink::Port(port) in &plan.sinks {
            writeln!(out, "sink  port {}", self.port(*port))?;
        }
        section(out, plan.rules.is_empty())?;
        let rules = plan.rules.iter().map(rule_columns);
        aligned(out, "rule", &rules.collect::<Vec<_>>())?;
        section(out, self.tables.is_empty())?;
        self.tables.print(out)?;
        section(out, plan.hooks.is_empty())?;
        let hooks = plan.hooks.iter().map(|hook| self.hook_columns(hook));
        let hooks: Vec<Vec<String>> = hooks.collect();
        let names: Vec<String> = hooks.iter().map(|columns| columns[..2].join(" ")).collect();
        let widths = widths(&hooks);
        let mut known = Known::new();
        for (at, (hook, columns)) in plan.hooks.iter().zip(&hooks).enumerate() {
            line(out, "hook", columns, &widths)?;
            let lines = ProgramPrinter::new(self, plan, hook).lines();
            step_lines(out, &lines)?;
            let sets = lines.short_sets(at, &names, &mut known);
            sets.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        Ok(())
    }

    fn hook_columns(&self, hook: &Hook) -> Vec<String> {
        let pass = match &hook.pass {
            Pass::Leave => "leave".to_owned(),
            Pass::To(ports) if ports.is_empty() => "consume".to_owned(),
            Pass::To(ports) => {
                let ports: Vec<String> = ports.iter().map(|port| self.port(*port)).collect();
                format!("pass {}", ports.join(" "))
            }
        };
        vec![self.port(hook.at.port), name_of(&DIRECTIONS, hook.at.direction).to_owned(), pass]
    }
}

/// Entries and steps in columns.
fn step_lines(out: &mut impl fmt::Write, lines: &Lines) -> fmt::Result {
    // A line of one column is a spread, whose words stand in no columns.
    let widths = widths(lines.steps.iter().filter(|columns| columns.len() > 1));
    for columns in &lines.steps {
        let (verb, rest) = columns.split_first().expect("a step begins with its verb");
        let width = widths.first().copied().unwrap_or(0);
        line(out, &format!("  {verb:width$}"), rest, widths.get(1..).unwrap_or_default())?;
    }
    Ok(())
}

fn port_columns(port: &Port) -> Vec<String> {
    let mut columns = vec![word(&port.name), word(&port.interface), role_name(port.role).to_owned()];
    if port.attach != Attach::Auto {
        columns.push(format!("attach {}", name_of(&MODES, port.attach)));
    }
    if port.link_type != LinkType::ETHERNET {
        columns.push(format!("type {}", port.link_type.0));
    }
    if let Some(queue) = port.queue {
        columns.push(format!("rate {}", ShownRate(queue.rate_bits)));
        columns.push(format!("buffer {}", ShownSize(queue.buffer_bytes)));
    }
    columns
}

fn rule_columns(rule: &Rule) -> Vec<String> {
    let place = rule.origin.as_ref().map(|at| format!("{}:{}:{}", word(&at.file), at.line, at.column));
    vec![word(&rule.label), place.unwrap_or_else(|| "-".to_owned())]
}

/// The line of a port.
pub(crate) fn port_line(port: &Port) -> String {
    format!("port  {}", port_columns(port).join("  "))
}

/// The line of a sink that is the port of this name.
pub(crate) fn sink_line(name: &str) -> String {
    format!("sink  port {}", word(name))
}

/// The line of a rule.
pub(crate) fn rule_line(rule: &Rule) -> String {
    format!("rule  {}", rule_columns(rule).join("  "))
}

/// The lines of each hook: its own, then those of its program in full.
pub(crate) fn hook_lines(plan: &Plan) -> Vec<Vec<String>> {
    let printer = Printer::new(plan);
    let lines = |hook: &Hook| {
        let own = format!("hook  {}", printer.hook_columns(hook).join("  "));
        let lines = ProgramPrinter::new(&printer, plan, hook).lines();
        let steps: Vec<String> =
            lines.steps.iter().map(|columns| format!("  {}", columns.join("  "))).collect();
        std::iter::once(own).chain(steps).chain(lines.full_sets()).collect()
    };
    plan.hooks.iter().map(lines).collect()
}

/// The tables of addresses that the programs of a plan name.
pub(crate) fn tables(plan: &Plan) -> Vec<AddressTable> {
    Tables::new(plan).list().iter().map(|table| AddressTable::clone(table)).collect()
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}

/// How each of these names is referred to: by itself where it is its own, else by its number.
fn references<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Vec<String> {
    references_by(names, word)
}

/// The same, where `show` says how a name stands in the text.
fn references_by<'n>(
    names: impl Iterator<Item = &'n str> + Clone,
    show: impl Fn(&str) -> String,
) -> Vec<String> {
    let mut count: HashMap<&str, u32> = HashMap::new();
    for name in names.clone() {
        *count.entry(name).or_default() += 1;
    }
    let unique = |name: &str| count.get(name) == Some(&1);
    let refer = |(index, name)| if unique(name) { show(name) } else { format!("#{index}") };
    names.enumerate().map(refer).collect()
}

/// Whether a word can stand without quotes.
fn is_bare(word: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "_.-@+/:=%,~".contains(c);
    !word.is_empty() && word.chars().all(fits)
}

fn word(word: &str) -> String {
    if is_bare(word) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            c if c.is_control() || ('\u{200b}'..='\u{202e}').contains(&c) => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn section(out: &mut impl fmt::Write, empty: bool) -> fmt::Result {
    if empty { Ok(()) } else { out.write_char('\n') }
}

/// The widest word of each column.
fn widths<'l>(lines: impl IntoIterator<Item = &'l Vec<String>>) -> Vec<usize> {
    let mut widths = Vec::new();
    for line in lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (width, word) in widths.iter_mut().zip(line) {
            *width = word.chars().count().max(*width);
        }
    }
    widths
}

fn aligned(out: &mut impl fmt::Write, verb: &str, lines: &[Vec<String>]) -> fmt::Result {
    let widths = widths(lines);
    lines.iter().try_for_each(|columns| line(out, verb, columns, &widths))
}

/// A line of columns, without blanks at its end.
fn line(out: &mut impl fmt::Write, verb: &str, columns: &[String], widths: &[usize]) -> fmt::Result {
    out.write_str(if columns.is_empty() { verb.trim_end() } else { verb })?;
    for (index, (column, width)) in columns.iter().zip(widths).enumerate() {
        let width = if index + 1 == columns.len() { 0 } else { *width };
        write!(out, "  {column:width$}")?;
    }
    out.write_char('\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Copy, Origin, Point, Queue};
    use rules::form::{Action, CopyIndex, Program, Step, Test};

    fn port(name: &str, role: Role) -> Port {
        let interface = format!("if-{name}").chars().take(15).collect();
        let queue =
            (role == Role::Monitor).then_some(Queue { rate_bits: 100_000_000, buffer_bytes: 1 << 20 });
        Port {
            name: name.to_owned(),
            interface,
            role,
            link_type: LinkType::ETHERNET,
            attach: Attach::Auto,
            queue,
        }
    }

    #[test]
    fn a_plan_whose_program_is_unlike_its_table_reads_back() {
        let rule = |label: &str| Rule { label: label.to_owned(), origin: None };
        let place = Origin { file: "C:\\my file".to_owned(), line: 3, column: 4 };
        let step = |rule, when, then| Step { rule: RuleId(rule), when, then };
        let steps = vec![
            step(0, Test::Always, Action::Copy(CopyIndex(2))),
            step(1, Test::Vlan([].into()), Action::Block),
            step(1, Test::Always, Action::Copy(CopyIndex(0))),
            step(1, Test::Always, Action::Copy(CopyIndex(0))),
        ];
        let copy = |rule| Copy { rule: RuleId(rule), sink: SinkId(0) };
        let hook = Hook {
            at: Point { port: PortId(1), direction: Direction::In },
            pass: Pass::To([].into()),
            copies: vec![copy(0), copy(1), copy(1), copy(0)],
            program: Program { steps, ..Program::default() },
        };
        let plan = Plan {
            ports: vec![port("mo", Role::Monitor), port("söf", Role::Span)],
            sinks: vec![Sink::Port(PortId(0))],
            rules: vec![rule("same \"\u{7}"), Rule { origin: Some(place), ..rule("#1") }],
            hooks: vec![hook],
        };
        let text = plan.to_string();
        assert_eq!(
            text,
            "plan 1\n\n\
             port  mo   if-mo   monitor  rate 100Mbit  buffer 1MiB\n\
             port  söf  if-söf  span\n\n\
             sink  port mo\n\n\
             rule  \"same \\\"\\u{7}\"  -\n\
             rule  \"#1\"            \"C:\\\\my file\":3:4\n\n\
             hook  söf  in  consume\n  \
               entry  mo       by \"same \\\"\\u{7}\"\n  \
               entry  mo       by \"#1\"\n  \
               entry  mo       by \"#1\"\n  \
               copy   #2       by \"same \\\"\\u{7}\"\n  \
               block  by \"#1\"  when vlan none\n  \
               copy   #0       by \"#1\"\n  \
               copy   #0       by \"#1\"\n  \
               entry  mo       by \"same \\\"\\u{7}\"\n"
        );
        assert_eq!(parse(&text), Ok(plan));
    }

    #[test]
    fn labels_that_are_not_their_own_are_numbered() {
        let mut plan = Plan::default();
        for _ in 0..2 {
            plan.rules.push(Rule { label: "twice".to_owned(), origin: None });
        }
        plan.ports.push(port("s", Role::Span));
        let at = Point { port: PortId(0), direction: Direction::In };
        let steps = vec![Step { rule: RuleId(1), when: Test::Always, then: Action::Block }];
        let program = Program { steps, ..Program::default() };
        plan.hooks.push(Hook { at, pass: Pass::To([].into()), copies: vec![], program });
        assert!(plan.to_string().ends_with("  block  by #1\n"));
        assert_eq!(parse(&plan.to_string()), Ok(plan));
    }

    #[test]
    fn ids_of_another_plan_are_printed_and_not_read() {
        let at = Point { port: PortId(7), direction: Direction::In };
        let steps =
            vec![Step { rule: RuleId(u32::MAX), when: Test::Always, then: Action::Copy(CopyIndex(9)) }];
        let copies = vec![Copy { rule: RuleId(5), sink: SinkId(6) }];
        let hooks = vec![Hook {
            at,
            pass: Pass::To([PortId(8)].into()),
            copies,
            program: Program { steps, ..Program::default() },
        }];
        let plan = Plan { hooks, ..Plan::default() };
        assert!(parse(&plan.to_string()).is_err());
    }

    #[test]
    fn a_plan_is_told_from_a_config() {
        assert!(is_plan("\u{feff}# mine\n\n  plan 1\n"));
        assert!(is_plan("plan 2"));
        for config in ["", "[ports]\n", "plan = 1\n", "plan=1", "plan", "# plan 1\n"] {
            assert!(!is_plan(config), "{config:?}");
        }
    }
}
