//! Plans whose programs choose the sensor: tests on octets, fields and addresses, sets of rules, spreads.

use std::collections::BTreeSet;
use std::sync::Arc;

use rules::form::{
    Action, AddressTable, Addresses, Chain, Choice, CopyIndex, End, Entry, Field, Handed, LoadSize, Method,
    Network, Number, Operator, Ranges, Relation, RuleId, RuleSet, Ruled, Ruling, Spread, SpreadIndex, Step,
    TagIndex, Test, sink_key,
};

use super::{Random, pool, vlan_test};
use crate::plan::{Copy, Hook, Plan, Rule, SinkId};

const FIELDS: [Field; 8] = [
    Field::Version,
    Field::Protocol,
    Field::Tos,
    Field::SourcePort,
    Field::DestinationPort,
    Field::TcpFlags,
    Field::IcmpType,
    Field::IcmpCode,
];

const OPERATORS: [Operator; 10] = [
    Operator::Add,
    Operator::Subtract,
    Operator::Multiply,
    Operator::Divide,
    Operator::Remainder,
    Operator::And,
    Operator::Or,
    Operator::ExclusiveOr,
    Operator::ShiftLeft,
    Operator::ShiftRight,
];

/// Offsets at which Ethernet, IPv4 and IPv6 have something to say.
const OFFSETS: [u32; 22] =
    [0, 4, 6, 10, 12, 14, 15, 16, 18, 20, 22, 23, 26, 30, 34, 36, 38, 46, 47, 54, 56, 67];

/// A plan like those of [`super::plan`], with programs that also hold what steering needs: tests of every
/// kind, spreads, and sets of rules, mostly small, once in 40 hooks of 100 to 3,000 rules.
pub fn steering_plan(random: &mut Random) -> Plan {
    let mut plan = super::plan(random);
    let tables: Vec<Arc<AddressTable>> = (0..random.below(4)).map(|at| table(random, at)).collect();
    for at in 0..plan.hooks.len() {
        let mut hook = plan.hooks[at].clone();
        Steering { random, plan: &mut plan, hook: &mut hook, tables: &tables }.fill();
        plan.hooks[at] = hook;
    }
    plan
}

/// Steps, spreads and sets of one hook.
struct Steering<'a> {
    random: &'a mut Random,
    plan: &'a mut Plan,
    hook: &'a mut Hook,
    tables: &'a [Arc<AddressTable>],
}

impl Steering<'_> {
    fn fill(&mut self) {
        for _ in 0..[0, 0, 0, 0, 0, 1, 1, 2][self.random.below(8)] {
            let spread = self.spread();
            self.hook.program.spreads.push(spread);
        }
        for _ in 0..self.random.below(4) {
            let (rule, when) = (self.rule(), expression(self.random, self.tables, 3));
            let then = match self.handed(rule) {
                Handed::Copy(copy) => Action::Copy(copy),
                Handed::Spread(spread) => Action::Spread(spread),
                Handed::Nobody => Action::Block,
            };
            self.hook.program.steps.push(Step { rule, when, then });
        }
        for _ in 0..[0, 1, 1, 1, 2][self.random.below(5)] {
            let set = self.rule_set();
            self.hook.program.rule_sets.push(set);
        }
    }

    fn rule(&mut self) -> RuleId {
        RuleId(self.random.word_below(self.plan.rules.len()))
    }

    /// A copy of the table, or a new one.
    fn copy(&mut self, rule: RuleId) -> CopyIndex {
        let known = self.hook.copies.len();
        if known > 0 && self.random.one_in(2) {
            return CopyIndex(short(self.random.below(known)));
        }
        let sink = SinkId(short(self.random.below(self.plan.sinks.len())));
        // A second entry of the same rule and sink would be counted apart; now and then there is one.
        let copy = Copy { rule, sink };
        let found = self.hook.copies.iter().position(|other| *other == copy);
        if let Some(found) = found.filter(|_| !self.random.one_in(16)) {
            return CopyIndex(short(found));
        }
        self.hook.copies.push(copy);
        CopyIndex(short(known))
    }

    fn handed(&mut self, rule: RuleId) -> Handed {
        let spreads = self.hook.program.spreads.len();
        match self.random.below(6) {
            0 => Handed::Nobody,
            1 | 2 if spreads > 0 => Handed::Spread(SpreadIndex(short(self.random.below(spreads)))),
            _ => Handed::Copy(self.copy(rule)),
        }
    }

    fn spread(&mut self) -> Spread {
        let rule = self.rule();
        // Few and light: a table takes 65,536 steps for each.
        let count = if self.random.one_in(20) { 7 } else { 1 + self.random.below(3) };
        let choices = (0..count).map(|_| {
            let copy = self.copy(rule);
            let sink = self.hook.copies[usize::from(copy.0)].sink;
            let named = sink_key(self.plan.sink_name(sink));
            let key = if self.random.one_in(8) { self.random.bits() } else { named };
            let weight = *self.random.pick(&[1, 1, 1, 1, 2, 3]);
            let weight = if self.random.one_in(400) { 100 } else { weight };
            Choice { copy, weight, key }
        });
        let choices = choices.collect();
        let methods = [Method::Flow, Method::Flow, Method::Source, Method::RoundRobin, Method::Random];
        let method = *self.random.pick(&methods);
        let inner = self.random.one_in(4);
        Spread::new(method, choices, inner).expect("1 to 7 choices of weights 1 to 100")
    }

    fn rule_set(&mut self) -> RuleSet {
        if self.random.one_in(40) {
            return self.large_set();
        }
        let names = ["web", "a tag", "\"", "DMZ", "not"];
        let tags: Vec<String> =
            names.iter().take(self.random.below(4)).map(|tag| (*tag).to_owned()).collect();
        let tag = |random: &mut Random| TagIndex(short(random.below(tags.len())));
        let chances = self.random.one_in(5);
        let mut rulings = Vec::new();
        for _ in 0..=self.random.below(12) {
            let rule = self.rule();
            let when = match self.random.below(8) {
                0 => Test::Always,
                1 => vlan_test(self.random),
                _ => by_fields(self.random, self.tables, 2),
            };
            let tagged = (!tags.is_empty() && self.random.one_in(3))
                .then(|| (tag(self.random), self.random.one_in(3)));
            let sets_tag = !tags.is_empty() && self.random.one_in(3);
            rulings.push(Ruling {
                rule,
                when,
                tagged,
                chance: (chances && self.random.one_in(2)).then(|| self.share()),
                quick: self.random.one_in(5),
                verdict: self.verdict(rule),
                tag: sets_tag.then(|| tag(self.random)),
            });
        }
        RuleSet::new(rulings, tags)
    }

    fn share(&mut self) -> u32 {
        let any = self.random.word();
        *self.random.pick(&[0, 1, 1 << 31, 1 << 30, 1_417_339_207, u32::MAX, any])
    }

    fn verdict(&mut self, rule: RuleId) -> Ruled {
        match self.random.below(8) {
            0 => Ruled::Match,
            1 | 2 => Ruled::Block,
            _ => Ruled::Pass(self.handed(rule)),
        }
    }

    /// Many rules of few shapes, such as lowering turns into maps.
    fn large_set(&mut self) -> RuleSet {
        let count = 100 + self.random.below(2901);
        let first = u32::try_from(self.plan.rules.len()).unwrap_or(0);
        let own_rules = self.random.one_in(2);
        if own_rules {
            let labels = (0..count).map(|line| format!("pf.conf:{line}"));
            self.plan.rules.extend(labels.map(|label| Rule { label, origin: None }));
        }
        let shape = self.random.below(5);
        let quick = self.random.below(3);
        let rulings = (0..count).map(|at| {
            let own = RuleId(first + u32::try_from(at).unwrap_or(0));
            let rule = if own_rules { own } else { self.rule() };
            Ruling {
                rule,
                when: grouped(self.random, self.tables, shape),
                tagged: None,
                chance: None,
                quick: quick == 0 || quick == 1 && self.random.one_in(50),
                verdict: self.verdict(rule),
                tag: None,
            }
        });
        let rulings = rulings.collect();
        RuleSet::new(rulings, Vec::new())
    }
}

/// An index into one of the tables of a hook, none of which grows beyond 65,536 rows here.
fn short(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(0)
}

/// One rule of a large set: exact tuples, networks, ports, pairs of networks, or all of them mixed.
fn grouped(random: &mut Random, tables: &[Arc<AddressTable>], shape: usize) -> Test {
    let within = |field, value: u32| Test::Within(Number::Field(field), Ranges::one(value));
    match shape {
        0 => {
            let protocol = *random.pick(&[6, 6, 17]);
            let version = *random.pick(&[4, 4, 4, 6]);
            let mut host = |end| Test::Address(end, Addresses::Network(many_hosts(random, version)));
            let ends = [host(End::Source), host(End::Destination)];
            let ports = [Field::SourcePort, Field::DestinationPort];
            let ports = ports.map(|field| within(field, u32::from(random.half())));
            Test::All([within(Field::Protocol, protocol)].into_iter().chain(ends).chain(ports).collect())
        }
        1 => {
            let version = if random.one_in(4) { 6 } else { 4 };
            let host = many_hosts(random, version);
            let len = u8::try_from(8 + random.below(25)).unwrap_or(8);
            let network = Network::new(host.address(), len).unwrap_or(host);
            Test::Address(End::Destination, Addresses::Network(network))
        }
        2 => {
            let first = u32::from(random.half());
            let last = if random.one_in(2) { first } else { (first + random.word_below(100)).min(65535) };
            let ports = Test::Within(Number::Field(Field::DestinationPort), Ranges::new([(first, last)]));
            Test::All(vec![within(Field::Protocol, *random.pick(&[6, 17])), ports])
        }
        3 => {
            let networks = [End::Source, End::Destination]
                .map(|end| Test::Address(end, Addresses::Network(pool::network(random))));
            Test::All(networks.into())
        }
        _ => match random.below(5) {
            shape @ 0..=3 => grouped(random, tables, shape),
            _ => by_fields(random, tables, 1),
        },
    }
}

fn many_hosts(random: &mut Random, version: u32) -> Network {
    let low = random.half();
    match version {
        4 => Network::host(std::net::Ipv4Addr::from(0x0a00_0000 | u32::from(low)).into()),
        _ => Network::host(std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low)).into()),
    }
}

fn table(random: &mut Random, at: usize) -> Arc<AddressTable> {
    let count = if random.one_in(10) { random.below(300) } else { random.below(8) };
    let entries: BTreeSet<Entry> =
        (0..count).map(|_| Entry { network: pool::network(random), negated: random.one_in(4) }).collect();
    let names = ["web", "sensors_2", "a table", "<"];
    Arc::new(AddressTable::new(names[at.min(3)], entries))
}

/// A test that asks for fields, addresses and VLANs only, as the rules of a set do.
fn by_fields(random: &mut Random, tables: &[Arc<AddressTable>], depth: usize) -> Test {
    let leaf = depth == 0;
    match random.below(if leaf { 5 } else { 9 }) {
        0 | 1 => Test::Address(pool::end(random), addresses(random, tables)),
        2..=4 => field_test(random),
        5 => Test::Not(Box::new(by_fields(random, tables, depth - 1))),
        6 => {
            let count = random.below(4);
            Test::Any((0..count).map(|_| by_fields(random, tables, depth - 1)).collect())
        }
        _ => {
            let count = random.below(4);
            Test::All((0..count).map(|_| by_fields(random, tables, depth - 1)).collect())
        }
    }
}

fn addresses(random: &mut Random, tables: &[Arc<AddressTable>]) -> Addresses {
    match random.below(6) {
        0 | 1 if !tables.is_empty() => Addresses::Table(Arc::clone(random.pick(tables))),
        2 => {
            let version = *random.pick(&[4, 6]);
            let ends = [pool::address_of(random, version), pool::address_of(random, version)];
            Addresses::Range(ends[0].min(ends[1]), ends[0].max(ends[1]))
        }
        _ => Addresses::Network(pool::network(random)),
    }
}

fn field_test(random: &mut Random) -> Test {
    let field = *random.pick(&FIELDS);
    let value = pool::field_value(random, field);
    match random.below(8) {
        0 => Test::Compare(Number::Field(field), relation(random), Number::Constant(value)),
        1 => {
            // flags S/SA
            let mask = *random.pick(&[0x02, 0x12, 0x3f, 0xff, 0]);
            let masked = Number::Field(field).with(Operator::And, Number::Constant(mask));
            Test::Within(masked, Ranges::one(value & mask))
        }
        2 => {
            let most = if random.one_in(8) { 60 } else { 4 };
            let count = 1 + random.below(most);
            let ranges = (0..count).map(|_| {
                let first = pool::field_value(random, field);
                (first, first + random.word_below(20))
            });
            Test::Within(Number::Field(field), Ranges::new(ranges.collect::<Vec<_>>()))
        }
        3 => Test::Within(Number::Field(field), Ranges::one(value).complement(0xffff)),
        4 => {
            let other = *random.pick(&FIELDS);
            Test::Compare(Number::Field(field), relation(random), Number::Field(other))
        }
        _ => Test::Within(Number::Field(field), Ranges::one(value)),
    }
}

fn relation(random: &mut Random) -> Relation {
    *random.pick(&[Relation::Equal, Relation::Equal, Relation::Greater, Relation::AtLeast])
}

/// A test as an expression of pcap-filter(7) becomes one: octets, arithmetic, fields, nested.
fn expression(random: &mut Random, tables: &[Arc<AddressTable>], depth: usize) -> Test {
    let leaf = depth == 0;
    match random.below(if leaf { 7 } else { 12 }) {
        0 => by_fields(random, tables, 0),
        1 => vlan_test(random),
        2 | 3 => octets(random),
        4 => Test::Compare(number(random, 3), relation(random), number(random, 2)),
        5 => {
            let most = if random.one_in(10) { 300 } else { 5 };
            let number = number(random, 2);
            let ranges = (0..=random.below(most)).map(|_| {
                let first = random.word_below(0x1_0000);
                (first, first + random.word_below(64))
            });
            Test::Within(number, Ranges::new(ranges.collect::<Vec<_>>()))
        }
        6 if random.one_in(2) => {
            let at = if random.one_in(8) { number(random, 1) } else { Number::Constant(14) };
            let protocol = *random.pick(&[0, 6, 17, 44, 51, 58, 59, 60]);
            Test::Chain(Chain { at, version: *random.pick(&[4, 6]), protocol })
        }
        6 => Test::Within(Number::Length, Ranges::new([(0, *random.pick(&[59, 60, 100, 1514]))])),
        7 => Test::Not(Box::new(expression(random, tables, depth - 1))),
        8 | 9 => {
            let count = if random.one_in(20) { 60 } else { random.below(4) };
            Test::Any((0..count).map(|_| expression(random, tables, depth - 1)).collect())
        }
        _ => {
            let count = random.below(4);
            Test::All((0..count).map(|_| expression(random, tables, depth - 1)).collect())
        }
    }
}

/// Octets at an offset that headers have, against what may well stand there.
fn octets(random: &mut Random) -> Test {
    let (size, at, value) = match random.below(8) {
        0 => (LoadSize::Two, 12, *random.pick(&[0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806])),
        1 => (LoadSize::One, 23, u32::from(pool::protocol(random))),
        2 => (LoadSize::Four, *random.pick(&[26, 30]), 0x0a00_0000 | random.word_below(6)),
        3 => (LoadSize::Two, *random.pick(&[34, 36, 54, 56]), u32::from(pool::port(random))),
        4 => (LoadSize::One, 14, *random.pick(&[0x45, 0x46, 0x60])),
        5 => (LoadSize::One, 20, u32::from(pool::protocol(random))),
        _ => (load_size(random), *random.pick(&OFFSETS), random.word_below(256)),
    };
    let load = Number::load(size, at);
    match random.below(4) {
        0 => {
            let mask = *random.pick(&[0xff, 0xf0, 0x0f, 0x1fff, 0xffff_ff00]);
            let masked = load.with(Operator::And, Number::Constant(mask));
            Test::Compare(masked, Relation::Equal, Number::Constant(value & mask))
        }
        1 => Test::Compare(load, relation(random), Number::Constant(value)),
        _ => Test::Within(load, Ranges::one(value)),
    }
}

fn load_size(random: &mut Random) -> LoadSize {
    *random.pick(&[LoadSize::One, LoadSize::Two, LoadSize::Four])
}

fn number(random: &mut Random, depth: usize) -> Number {
    let leaf = depth == 0;
    match random.below(if leaf { 5 } else { 9 }) {
        0 => {
            let any = random.word();
            Number::Constant(*random.pick(&[0, 1, 2, 14, 31, 32, 255, 1500, u32::MAX, any]))
        }
        1 => Number::Length,
        2 => Number::Field(*random.pick(&FIELDS)),
        3 | 4 => Number::load(load_size(random), offset(random)),
        5 => {
            let at = number(random, depth - 1);
            Number::Load { size: load_size(random), at: Box::new(at) }
        }
        6 => {
            // The header behind IPv4: its length is four times the low half of its first octet.
            let header = Number::load(LoadSize::One, 14).with(Operator::And, Number::Constant(0x0f));
            let behind = header.with(Operator::ShiftLeft, Number::Constant(2));
            let at = behind.with(Operator::Add, Number::Constant(offset(random)));
            Number::Load { size: load_size(random), at: Box::new(at) }
        }
        _ => {
            let operator = *random.pick(&OPERATORS);
            let right = match random.below(3) {
                0 => number(random, depth - 1),
                _ => Number::Constant(*random.pick(&[0, 1, 2, 3, 15, 31, 32, 255, 0xffff])),
            };
            number(random, depth - 1).with(operator, right)
        }
    }
}

fn offset(random: &mut Random) -> u32 {
    match random.below(12) {
        0 => *random.pick(&[1513, 1514, 4095, u32::MAX, u32::MAX - 3]),
        1 | 2 => random.word_below(300),
        _ => *random.pick(&OFFSETS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbitrary::{packet, point};
    use crate::eval::{Fate, State, Time, eval};
    use crate::text;
    use rules::form::{Fields, Subject};
    use wire::Frame;

    #[test]
    fn the_same_seed_gives_the_same() {
        let make = |seed| {
            let mut random = Random::new(seed);
            let plan = steering_plan(&mut random);
            let packet = packet(&mut random, &plan);
            (plan, packet)
        };
        assert!(make(7) == make(7));
        assert!(make(7) != make(8));
    }

    #[test]
    fn steering_plans_read_back() {
        for seed in 0..100 {
            let plan = steering_plan(&mut Random::new(seed));
            let printed = plan.to_string();
            let read = text::parse(&printed).unwrap_or_else(|e| panic!("seed {seed}\n{e}\n{printed}"));
            assert!(read == plan, "seed {seed}\n{printed}");
            assert_eq!(read.to_string(), printed, "seed {seed}");
            assert!(crate::diff(&plan, &read).is_empty(), "seed {seed}");
        }
    }

    /// What is compared must reach both answers of most things, or nothing is compared.
    #[test]
    fn packets_reach_what_plans_decide() {
        let (mut frames, mut with_ip, mut with_ports, mut fragments) = (0, 0, 0, 0);
        let (mut tested, mut held, mut ruled, mut decided) = (0, 0, 0, 0);
        let (mut blocked, mut copied, mut large, mut carried) = (0, 0, 0, 0);
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let plan = steering_plan(&mut random);
            let mut state = State::default();
            for _ in 0..6 {
                let Some(at) = point(&mut random, &plan) else { continue };
                let data = packet(&mut random, &plan);
                let frame = Frame::ethernet(&data).expect("a frame of at most 9,500 octets");
                let fields = Fields::of(&frame);
                frames += 1;
                carried += i32::from(Fields::inner(&frame) != fields);
                with_ip += i32::from(fields.ip.is_some());
                with_ports += i32::from(fields.ports.is_some());
                fragments += i32::from(fields.ip.is_some_and(|ip| ip.fragment.is_some()));
                let (_, hook) = plan.hook_at(at).expect("the point is a hook's");
                let subject = Subject::new(frame);
                for step in &hook.program.steps {
                    tested += 1;
                    held += i32::from(step.when.holds_for(&subject));
                }
                for set in &hook.program.rule_sets {
                    ruled += 1;
                    decided += i32::from(set.deciding(&subject, 7).is_some());
                    large += i32::from(set.rulings().len() >= 100);
                }
                let verdict = eval(&plan, &mut state, Time(0), seed, at, &frame).expect("a hook");
                blocked += i32::from(matches!(verdict.fate, Fate::Blocked(_)));
                copied += i32::from(!verdict.copies.is_empty());
                assert!(verdict.copies.iter().all(|copy| usize::from(copy.0) < hook.copies.len()));
            }
        }
        let share = |part: i32, whole: i32, least: i32, most: i32| {
            assert!(part * 100 >= whole * least && part * 100 <= whole * most, "{part} of {whole}");
        };
        share(with_ip, frames, 60, 90);
        share(with_ports, frames, 30, 70);
        share(fragments, frames, 4, 20);
        share(held, tested, 20, 60);
        share(decided, ruled, 40, 80);
        share(blocked, frames, 10, 50);
        share(copied, frames, 30, 85);
        share(large, ruled, 1, 10);
        share(carried, frames, 4, 12);
    }
}
