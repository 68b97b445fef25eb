//! What a program must find out about a frame before it does anything with it: the same in both views.
//!
//! Each test of a step is run once, however many steps ask for it or for its opposite, and each set of rules
//! names its winner. What they said lies beside the copy of the frame (see [`super::frame`]), where the verifier
//! does not follow it: a test costs the instructions it has, not those of all ways through the tests before.
//! All of it comes before the first clone.

use plan::plan::{Hook, HookId, Pass, PortId};
use rules::form::{
    CopyIndex, Handed, LoadSize, Method, Number, RuleId, RuleSet, Ruled, Spread, SpreadIndex, Test,
};

use super::chance::{self, Chooser};
use super::frame::{self, FRAME, Looks, SAID, WAITING_MAX, WINDOW};
use super::number::{self, Folded, Reckoner, folded};
use super::stock::{Lists, Remembers, Stock};
use super::truth::{Truth, Ways as Exits};
use super::{Context, EmitError, fields, inner, stack};
use crate::asm::{Assembler, Cond, MapRef, Origin, Reg, Size};
use crate::layout::{asked, block_rules, copy_port};
use crate::sets::{self, Lowered};
use crate::tables::TableId;

/// The most octets of the table that tests leave their words in: what an offset reaches.
const SCRATCH_MAX: usize = 32_000;

/// One of the things that a decision may come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Way {
    /// Nothing is done.
    Nobody,
    /// The frame does not pass.
    Block,
    /// A copy to one of the sinks of a spread.
    Spread(SpreadIndex),
    /// A copy to this port.
    Port(PortId),
}

/// A set of rules, and what follows from its winner.
pub(super) struct Decided {
    lowered: Lowered,
    /// For each winner the way (4 octets, an index into `ways`) and the row of counters (4 octets).
    verdicts: TableId,
    /// The ways that are there, each once.
    pub(super) ways: Vec<Way>,
    /// Where the winner lies beside the copy of the frame.
    winner: i16,
}

/// A test and who asks for it.
struct Asked<'a> {
    test: &'a Test,
    /// The first rule that does; names the instructions.
    rule: RuleId,
    holds: bool,
    fails: bool,
}

/// How to ask whether a step acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Said {
    /// Which test.
    pub(super) test: usize,
    /// What it must have said.
    pub(super) word: u8,
}

/// What is found out about the frames of one hook.
pub(super) struct Judge<'a> {
    pub(super) looks: Looks,
    hook: &'a Hook,
    tests: Vec<Asked<'a>>,
    /// For each step how to ask whether it acts, where that is for a test of its own.
    said: Vec<Option<Said>>,
    scratch: Option<TableId>,
    asks_vlan: bool,
    asks_fields: bool,
    asks_inner: bool,
    draws: Option<TableId>,
    seed: u64,
    lists: Lists,
    pub(super) sets: Vec<Decided>,
    spreads: Vec<Option<Chooser>>,
    copies: Vec<CopyIndex>,
    blocking: Vec<RuleId>,
}

/// A test without the `Not`s around it, and whether they turn it round.
fn bare(test: &Test) -> (&Test, bool) {
    match test {
        Test::Not(inner) => {
            let (test, turned) = bare(inner);
            (test, !turned)
        }
        test => (test, false),
    }
}

impl<'a> Judge<'a> {
    /// Decides how everything that the program of a hook asks for is found out.
    pub(super) fn of(
        context: &Context<'_>,
        id: HookId,
        hook: &'a Hook,
        stock: &mut Stock,
    ) -> Result<Self, EmitError> {
        let looks = Looks {
            view: context.wiring.view(hook),
            link_type: context.plan.port(hook.at.port).link_type,
            window: 16,
        };
        let mut judge = Self {
            looks,
            hook,
            tests: Vec::new(),
            said: Vec::new(),
            scratch: None,
            asks_vlan: false,
            asks_fields: !hook.program.rule_sets.is_empty(),
            asks_inner: false,
            draws: None,
            seed: context.wiring.seed,
            lists: Lists::default(),
            sets: Vec::new(),
            spreads: Vec::new(),
            copies: asked(hook).into_iter().collect(),
            blocking: block_rules(hook).into_iter().collect(),
        };
        judge.intern(stock);
        judge.measure(id)?;
        judge.remember(context, id, stock)?;
        for set in &hook.program.rule_sets {
            judge.decide(context, id, set, stock)?;
        }
        judge.make_scratch(context, id, stock)?;
        Ok(judge)
    }

    /// Gives each test that steps ask for a number.
    fn intern(&mut self, stock: &mut Stock) {
        let mut known = std::collections::BTreeMap::new();
        for step in &self.hook.program.steps {
            if step.when.is_by_vlan() {
                self.asks_vlan |= step.when != Test::Always;
                self.said.push(None);
                continue;
            }
            let (test, turned) = bare(&step.when);
            let at = *known.entry(test).or_insert_with(|| {
                self.lists.add(test, stock);
                self.tests.push(Asked { test, rule: step.rule, holds: false, fails: false });
                self.tests.len() - 1
            });
            self.tests[at].holds |= !turned;
            self.tests[at].fails |= turned;
            self.said.push(Some(Said { test: at, word: if turned { 2 } else { 1 } }));
        }
    }

    /// How far tests look, and whether they can be computed.
    fn measure(&mut self, id: HookId) -> Result<(), EmitError> {
        let (mut vlan, mut fields, mut window, mut deep) = (false, false, self.looks.window, false);
        let mut number = |number: &Number| {
            deep |= number::waiting(number) + 1 > WAITING_MAX;
            number::each(number, &mut |part| match part {
                Number::Field(_) => fields = true,
                Number::Load { size, at } => window = window.max(reach(*size, at)),
                _ => {}
            });
        };
        let mut address = false;
        let mut chain = false;
        for asked in &self.tests {
            visit(asked.test, &mut |test| match test {
                Test::Vlan(_) => vlan = true,
                Test::Within(value, _) => number(value),
                Test::Compare(left, _, right) => {
                    number(left);
                    number(right);
                }
                Test::Chain(found) => {
                    number(&found.at);
                    chain = true;
                }
                Test::Address(..) => address = true,
                _ => {}
            });
        }
        if deep {
            return Err(EmitError::TooDeep { hook: id });
        }
        self.asks_vlan |= vlan;
        self.asks_fields |= fields || address;
        self.looks.window = if chain { WINDOW } else { window };
        Ok(())
    }

    /// Makes the tables of spreads, of chance and of fragments.
    fn remember(&mut self, context: &Context<'_>, id: HookId, stock: &mut Stock) -> Result<(), EmitError> {
        let program = &self.hook.program;
        let used = used_spreads(self.hook);
        let spread = |index: &SpreadIndex| program.spreads.get(usize::from(index.0));
        let by = |method: Method| used.iter().filter_map(spread).any(|spread| spread.method() == method);
        let chance = program.rule_sets.iter().any(RuleSet::asks_chance)
            || program.spreads.iter().any(|spread| spread.method() == Method::Random);
        let flow = by(Method::Flow);
        let by_fields = |spread: &&Spread| matches!(spread.method(), Method::Flow | Method::Source);
        for spread in used.iter().filter_map(spread).filter(by_fields) {
            self.asks_inner |= spread.is_inner();
            self.asks_fields |= !spread.is_inner();
        }
        let octets = chance::octets(program.spreads.len());
        if octets > crate::layout::BLOCK_MAX_BYTES {
            return Err(EmitError::TooManySpreads { hook: id, spreads: program.spreads.len() });
        }
        let source = context.plan.source_name(self.hook);
        let memory = (chance || flow || by(Method::RoundRobin)).then(|| {
            stock.memory(&format!("what {source} remembers: draws, fragments forgotten, turns"), octets, 1)
        });
        let fragments =
            flow.then(|| stock.memory(&format!("first fragments at {source}"), 16, rules::form::FRAGMENTS));
        stock.memories.extend(memory.map(|memory| Remembers { hook: id, memory, fragments }));
        self.draws = memory.filter(|_| chance);
        for (index, spread) in (0u16..).zip(&program.spreads) {
            let chooser = used.contains(&SpreadIndex(index)).then(|| {
                let slots = spread.table();
                let what = format!("spread {index} of {source}: {} slots", slots.len());
                // Its value holds an octet for each slot.
                let size = u32::try_from(slots.len()).unwrap_or(u32::MAX);
                let slots = stock.array(&what, size, vec![slots.to_vec()]);
                let (method, count) = (spread.method(), spread.table().len());
                let record = if spread.is_inner() { stack::INNER } else { stack::FIELDS };
                Chooser { index, method, slots, count, record, memory, fragments }
            });
            self.spreads.push(chooser);
        }
        Ok(())
    }

    /// Lowers a set of rules, and says what follows from each winner.
    fn decide(
        &mut self,
        context: &Context<'_>,
        id: HookId,
        set: &RuleSet,
        stock: &mut Stock,
    ) -> Result<(), EmitError> {
        let lowered =
            sets::lower(set, &mut stock.next).map_err(|error| EmitError::Set { hook: id, error })?;
        stock.tables.extend(lowered.tables().iter().cloned());
        let source = context.plan.source_name(self.hook);
        let number = self.sets.len() + 1;
        for line in lowered.describe() {
            stock.notes.push(format!("set {number} of {source}: {line}"));
        }
        self.asks_vlan |= lowered.asks_vlan();
        let mut ways = vec![Way::Nobody];
        let mut values = vec![(0, 0)];
        for ruling in set.rulings() {
            let (way, row) = match ruling.verdict {
                Ruled::Block if self.hook.pass != Pass::Leave => (Way::Block, self.block_row(ruling.rule)),
                Ruled::Pass(Handed::Copy(copy)) => (self.port(context, copy), self.copy_row(copy)),
                Ruled::Pass(Handed::Spread(spread)) if self.spread(spread).is_some() => {
                    (Way::Spread(spread), 0)
                }
                _ => (Way::Nobody, 0),
            };
            let at = ways.iter().position(|known| *known == way).unwrap_or_else(|| {
                ways.push(way);
                ways.len() - 1
            });
            values.push((u32::try_from(at).unwrap_or(0), row));
        }
        self.add_choices(context, &mut ways);
        let octets = |(way, row): &(u32, u32)| [way.to_ne_bytes(), row.to_ne_bytes()].concat();
        let what = format!("what the rules of set {number} of {source} decide");
        let verdicts = stock.array(&what, 8, values.iter().map(octets).collect());
        self.sets.push(Decided { lowered, verdicts, ways, winner: 0 });
        Ok(())
    }

    /// Adds the ports that the spreads among the ways may choose.
    fn add_choices(&self, context: &Context<'_>, ways: &mut Vec<Way>) {
        let spreads: Vec<SpreadIndex> = ways
            .iter()
            .filter_map(|way| if let Way::Spread(spread) = way { Some(*spread) } else { None })
            .collect();
        for spread in spreads {
            for (way, _) in self.choices(context, spread) {
                if !ways.contains(&way) {
                    ways.push(way);
                }
            }
        }
    }

    /// The ways that a step by a spread may take: the spread first.
    pub(super) fn spread_ways(&self, context: &Context<'_>, spread: SpreadIndex) -> Vec<Way> {
        let mut ways = vec![Way::Spread(spread)];
        self.add_choices(context, &mut ways);
        ways
    }

    /// For each choice of a spread the port and the row of counters of its copy.
    pub(super) fn choices(&self, context: &Context<'_>, spread: SpreadIndex) -> Vec<(Way, u32)> {
        let spread = self.hook.program.spreads.get(usize::from(spread.0));
        let choices = spread.iter().flat_map(|spread| spread.choices());
        choices.map(|choice| (self.port(context, choice.copy), self.copy_row(choice.copy))).collect()
    }

    /// How a spread chooses; `None` where the program holds none of this number.
    pub(super) fn spread(&self, spread: SpreadIndex) -> Option<Chooser> {
        self.spreads.get(usize::from(spread.0)).copied().flatten()
    }

    fn port(&self, context: &Context<'_>, copy: CopyIndex) -> Way {
        Way::Port(copy_port(context.plan, self.hook, copy))
    }

    /// The row of a copy among those that the program asks for.
    pub(super) fn copy_row(&self, copy: CopyIndex) -> u32 {
        // At most 2^16 copies.
        self.copies.binary_search(&copy).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or(0)
    }

    /// The row of a rule among those that block.
    pub(super) fn block_row(&self, rule: RuleId) -> u32 {
        self.blocking.binary_search(&rule).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or(0)
    }

    fn make_scratch(
        &mut self,
        context: &Context<'_>,
        id: HookId,
        stock: &mut Stock,
    ) -> Result<(), EmitError> {
        if self.asks_fields || self.asks_inner {
            self.looks.window = WINDOW;
        }
        if self.tests.is_empty() && !self.asks_fields && !self.asks_inner {
            return Ok(());
        }
        let winners = usize::from(SAID.unsigned_abs()) + self.tests.len().next_multiple_of(2);
        let octets = winners + self.sets.len() * 2;
        if octets > SCRATCH_MAX {
            return Err(EmitError::TooManyTests { hook: id, tests: self.tests.len(), most: SCRATCH_MAX });
        }
        for (set, at) in self.sets.iter_mut().zip((winners..).step_by(2)) {
            set.winner = i16::try_from(at).unwrap_or(i16::MAX);
        }
        let what = format!("a frame of {} and what its tests said", context.plan.source_name(self.hook));
        let size = u32::try_from(octets.next_multiple_of(8)).unwrap_or(u32::MAX);
        self.scratch = Some(stock.memory(&what, size, 1));
        Ok(())
    }

    /// Whether the VLAN must lie at [`stack::VLAN`].
    pub(super) fn asks_vlan(&self) -> bool {
        self.asks_vlan
    }

    /// How to ask whether a step of this index acts, where that is for a test of its own.
    pub(super) fn said(&self, step: usize) -> Option<Said> {
        self.said.get(step).copied().flatten()
    }

    /// What a test may say.
    pub(super) fn words(&self, test: usize) -> Vec<u32> {
        let asked = self.tests.get(test).map_or((false, false), |asked| (asked.holds, asked.fails));
        let words = [(true, 0), (asked.0, 1), (asked.1, 2)];
        words.into_iter().filter(|(said, _)| *said).map(|(_, word)| word).collect()
    }

    /// Finds everything out. Asks for the VLAN. Ends the program with `otherwise` where a table is not there.
    /// Loses `R0` to `R5` and `R7` to `R9`.
    pub(super) fn prepare(&self, asm: &mut Assembler, otherwise: i32) {
        if let Some(scratch) = self.scratch {
            frame::copy(asm, self.looks, scratch, otherwise);
        }
        if self.asks_fields {
            fields::parse(asm, self.looks);
        }
        if self.asks_inner {
            inner::parse(asm, self.looks);
        }
        if let Some(memory) = self.draws {
            chance::draw(asm, memory, self.seed);
        }
        for (at, asked) in (0i16..).zip(&self.tests) {
            asm.origin(Origin::Rule(asked.rule));
            self.test(asm, asked, SAID.saturating_add(at));
        }
        let place =
            sets::Place { fields: stack::FIELDS, vlan: stack::VLAN, draw: stack::DRAW, scratch: stack::SETS };
        for set in &self.sets {
            set.lowered.emit(asm, &place);
            asm.store(Size::Half, FRAME, set.winner, Reg::R0);
        }
    }

    fn test(&self, asm: &mut Assembler, asked: &Asked<'_>, at: i16) {
        let (hit, miss, done) = (asm.label(), asm.label(), asm.label());
        let cut = match (asked.holds, asked.fails) {
            (true, true) => asm.label(),
            (true, false) => miss,
            _ => hit,
        };
        let reckoner = Reckoner { asm, looks: self.looks, cut, proven: 0 };
        Truth { reckoner, lists: &self.lists }.test(asked.test, Exits { hit, miss });
        for (label, word) in [(hit, i32::from(asked.holds)), (miss, if asked.fails { 2 } else { 0 })] {
            if asm.place_used(label) {
                asm.store(Size::Byte, FRAME, at, word);
                asm.jump(done);
            }
        }
        if asked.holds && asked.fails && asm.place_used(cut) {
            asm.store(Size::Byte, FRAME, at, 0);
        }
        asm.place_used(done);
    }

    /// Goes to `miss` unless the test said so. Loses `R1`.
    pub(super) fn ask(asm: &mut Assembler, said: Said, miss: crate::asm::Label) {
        Self::recall(asm, said.test, Reg::R1);
        asm.jump_if(Reg::R1, Cond::Ne, i32::from(said.word), miss);
    }

    /// `reg` = what a test said: 0, 1 or 2.
    pub(super) fn recall(asm: &mut Assembler, test: usize, reg: Reg) {
        let at = SAID.saturating_add(i16::try_from(test).unwrap_or(i16::MAX));
        asm.load(Size::Double, reg, Reg::R10, stack::FRAME);
        asm.load(Size::Byte, reg, reg, at);
    }

    /// `R1` = the way that a set decided for, [`stack::RANK`] = the row of counters; goes to `nobody` where no
    /// table is there. Loses `R0` to `R5`.
    pub(super) fn verdict(asm: &mut Assembler, set: &Decided, nobody: crate::asm::Label) {
        asm.note("the rule that decides, from 1, or 0");
        asm.load(Size::Double, Reg::R1, Reg::R10, stack::FRAME);
        asm.load(Size::Half, Reg::R1, Reg::R1, set.winner);
        asm.store(Size::Word, Reg::R10, stack::KEY, Reg::R1);
        frame::lookup(asm, MapRef::Table(set.verdicts), stack::KEY);
        asm.jump_if(Reg::R0, Cond::Eq, 0, nobody);
        asm.load(Size::Word, Reg::R2, Reg::R0, 4);
        asm.store(Size::Word, Reg::R10, stack::RANK, Reg::R2);
        asm.load(Size::Word, Reg::R1, Reg::R0, 0);
    }
}

/// Octets of the frame that a load needs in the copy.
fn reach(size: LoadSize, at: &Number) -> u16 {
    match folded(at) {
        Folded::Known(at) => {
            let end = u16::try_from(at.saturating_add(size.octets())).ok().filter(|end| *end <= WINDOW);
            end.map_or(0, |end| end.next_multiple_of(8))
        }
        Folded::Cut => 0,
        Folded::Open => WINDOW,
    }
}

/// Calls back for every test within a test, itself included.
fn visit(test: &Test, tell: &mut impl FnMut(&Test)) {
    tell(test);
    match test {
        Test::Not(inner) => visit(inner, tell),
        Test::All(tests) | Test::Any(tests) => tests.iter().for_each(|test| visit(test, tell)),
        _ => {}
    }
}

/// The spreads that a step or a rule hands frames to.
fn used_spreads(hook: &Hook) -> std::collections::BTreeSet<SpreadIndex> {
    let steps = hook.program.steps.iter().filter_map(|step| match step.then {
        rules::form::Action::Spread(spread) => Some(spread),
        _ => None,
    });
    let rulings = hook.program.rule_sets.iter().flat_map(RuleSet::rulings);
    let ruled = rulings.filter_map(|ruling| match ruling.verdict {
        Ruled::Pass(Handed::Spread(spread)) => Some(spread),
        _ => None,
    });
    steps.chain(ruled).collect()
}
