//! Entries in the XDP view whose programs look at more than the VLAN: every decision is a digit of a number,
//! and the number says whom one redirect sends to.
//!
//! Digits: for the VLAN sets of steps a bit each, for each test of steps what it said, for each spread and each
//! set of rules which port it chose, and whether anything blocked the frame. All numbers that digits can make
//! are looked at when the program is emitted; each leads to one of at most [`OUTCOMES_MAX`] sets of targets.

use std::collections::{BTreeMap, BTreeSet};

use plan::plan::{Hook, HookId, PortId};
use rules::form::{Action, Test};
use wire::Vlan;

use super::hand::{self, Hand};
use super::judge::{Judge, Way};
use super::outcome::{Outcome, intern, masks};
use super::stock::Stock;
use super::vlan::ranges;
use super::{CTX, Context, EmitError, OUTCOMES_MAX, XDP_ABORTED, assembler, stack, tc, vlan, xdp, xdp_md};
use crate::asm::{Alu, Assembler, Cond, Kind, Origin, Program, Reg, Size};
use crate::layout::{Counter, Part, Rows, Target, block_rules, copy_port, passes_to};

/// The most numbers that digits may make.
const CODES_MAX: usize = 4096;
/// The most VLAN sets among them: a bit of the number each.
const SETS_MAX: usize = 12;

/// What a digit is of.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Of {
    /// Bit n: the n-th of the VLAN sets holds.
    Vlans,
    /// What a test said.
    Test(usize),
    /// The step by a spread: 0, or 1 and the place of the port that was chosen.
    Step(usize, Vec<PortId>),
    /// The set of rules, likewise.
    Set(usize, Vec<PortId>),
    /// 1 where a rule blocks.
    Blocked,
}

/// One digit.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Digit {
    of: Of,
    /// What it counts for.
    stride: u32,
    /// What it can be.
    values: Vec<u32>,
}

/// How frames of one number end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Ending {
    blocked: bool,
    /// Index into the outcomes; `None` where it goes to nobody.
    outcome: Option<u16>,
}

/// All digits of a hook and what their numbers lead to.
struct Codes<'a> {
    digits: Vec<Digit>,
    /// The VLAN sets of steps that copy.
    sets: Vec<&'a BTreeSet<Vlan>>,
    endings: BTreeMap<u32, Ending>,
    outcomes: Vec<Outcome>,
}

/// The program that judges the frames of a hook, and the devmaps that it sends by.
pub(super) fn entry(
    context: &Context<'_>,
    id: HookId,
    hook: &Hook,
    stock: &mut Stock,
) -> Result<(Program, Vec<Outcome>), EmitError> {
    if context.layout.block(Part::Hop(id)).is_some() {
        return Err(EmitError::HopByRules { hook: id });
    }
    let judge = Judge::of(context, id, hook, stock)?;
    let codes = Codes::of(context, id, hook, &judge)?;
    let mut asm = assembler(format!("tw_in_{}", hook.at.port.0), Kind::Xdp);
    let asm = &mut asm;
    asm.origin_text(format!("frames of {}", context.plan.source_name(hook)));
    asm.mov(CTX, Reg::R1);
    if judge.asks_vlan() {
        asm.load(Size::Word, Reg::R2, CTX, xdp_md::DATA);
        asm.load(Size::Word, Reg::R3, CTX, xdp_md::DATA_END);
        vlan::from_data(asm, judge.looks.link_type, [Reg::R2, Reg::R3, Reg::R4], Reg::R5);
        asm.store(Size::Half, Reg::R10, stack::VLAN, Reg::R5);
    }
    judge.prepare(asm, XDP_ABORTED);
    asm.origin_text(format!("frames of {}", context.plan.source_name(hook)));
    judge.looks.length(asm, xdp::OCTETS);
    context.load_block(asm, Part::Entry(id), XDP_ABORTED);
    context.count(asm, Counter::In(id), 1);
    context.count(asm, Counter::InBytes(id), xdp::OCTETS);
    if !codes.digits.is_empty() {
        asm.store(Size::Word, Reg::R10, stack::CODE, 0);
    }
    if !block_rules(hook).is_empty() {
        asm.store(Size::Half, Reg::R10, stack::BLOCKED, 0);
    }
    let hand = Hand { context, id, hook, judge: &judge };
    codes.steps(asm, &hand);
    codes.rule_sets(asm, &hand);
    asm.origin_text(format!("what becomes of frames of {}", context.plan.source_name(hook)));
    codes.read(asm);
    codes.dispatch(asm, &hand);
    let program = std::mem::replace(asm, assembler(String::new(), Kind::Xdp)).finish()?;
    Ok((program, codes.outcomes))
}

impl<'a> Codes<'a> {
    fn of(context: &Context<'_>, id: HookId, hook: &'a Hook, judge: &Judge<'_>) -> Result<Self, EmitError> {
        let mut codes =
            Self { digits: Vec::new(), sets: Vec::new(), endings: BTreeMap::new(), outcomes: Vec::new() };
        let mut tests = BTreeSet::new();
        let mut kinds: Vec<(Of, Vec<u32>)> = Vec::new();
        let ports = |ways: &[Way]| -> Vec<PortId> {
            ways.iter().filter_map(|way| if let Way::Port(port) = way { Some(*port) } else { None }).collect()
        };
        let upto = |count: usize| (0u32..).take(count).collect::<Vec<u32>>();
        for (at, step) in hook.program.steps.iter().enumerate() {
            match (step.then, &step.when, judge.said(at)) {
                (Action::Copy(_), Test::Vlan(set), _) if !codes.sets.contains(&set) => codes.sets.push(set),
                (Action::Copy(_), _, Some(said)) => {
                    tests.insert(said.test);
                }
                (Action::Spread(spread), ..) => {
                    let ports = ports(&judge.spread_ways(context, spread));
                    let values = upto(ports.len() + 1);
                    kinds.push((Of::Step(at, ports), values));
                }
                _ => {}
            }
        }
        for test in tests {
            kinds.push((Of::Test(test), judge.words(test)));
        }
        for (at, set) in judge.sets.iter().enumerate() {
            let ports = ports(&set.ways);
            let values = upto(ports.len() + 1);
            kinds.push((Of::Set(at, ports), values));
        }
        if !block_rules(hook).is_empty() {
            kinds.push((Of::Blocked, vec![0, 1]));
        }
        if !codes.sets.is_empty() {
            if codes.sets.len() > SETS_MAX {
                let tests = codes.sets.len();
                return Err(EmitError::TooManyTests { hook: id, tests, most: SETS_MAX });
            }
            let ranges: Vec<_> = codes.sets.iter().map(|set| (ranges(set), Vec::new())).collect();
            let masks = masks(judge.looks.link_type, &ranges, id)?;
            kinds.push((Of::Vlans, masks.into_iter().collect()));
        }
        codes.number(id, kinds)?;
        codes.judge_all(context, id, hook, judge)?;
        Ok(codes)
    }

    /// Gives each digit its stride.
    fn number(&mut self, id: HookId, kinds: Vec<(Of, Vec<u32>)>) -> Result<(), EmitError> {
        let (mut stride, mut count) = (1u32, 1usize);
        for (of, values) in kinds.into_iter().filter(|(_, values)| values.len() > 1) {
            count = count.saturating_mul(values.len());
            let radix = values.iter().max().map_or(1, |most| most.saturating_add(1));
            let next = stride.checked_mul(radix).filter(|next| i32::try_from(*next).is_ok());
            let Some(next) = next.filter(|_| count <= CODES_MAX) else {
                return Err(EmitError::TooManyOutcomes { hook: id, outcomes: count });
            };
            self.digits.push(Digit { of, stride, values });
            stride = next;
        }
        Ok(())
    }

    /// Finds how every number ends.
    fn judge_all(
        &mut self,
        context: &Context<'_>,
        id: HookId,
        hook: &Hook,
        judge: &Judge<'_>,
    ) -> Result<(), EmitError> {
        let mut numbers: Vec<(u32, Vec<u32>)> = vec![(0, Vec::new())];
        for digit in &self.digits {
            let longer = |(code, values): &(u32, Vec<u32>)| {
                let (code, values) = (*code, values.clone());
                let add = move |value: &u32| {
                    let mut longer = values.clone();
                    longer.push(*value);
                    (code + value * digit.stride, longer)
                };
                digit.values.iter().map(add).collect::<Vec<_>>()
            };
            numbers = numbers.iter().flat_map(longer).collect();
        }
        let mut outcomes = Vec::new();
        for (code, values) in numbers {
            let (blocked, targets) = self.targets(context, hook, judge, &values);
            let outcome = if targets.is_empty() { None } else { Some(intern(&mut outcomes, id, targets)) };
            if outcomes.len() > OUTCOMES_MAX {
                return Err(EmitError::TooManyOutcomes { hook: id, outcomes: outcomes.len() });
            }
            self.endings.insert(code, Ending { blocked, outcome });
        }
        self.outcomes = outcomes;
        Ok(())
    }

    /// Whom frames go to whose digits are these.
    fn targets(
        &self,
        context: &Context<'_>,
        hook: &Hook,
        judge: &Judge<'_>,
        values: &[u32],
    ) -> (bool, Vec<Target>) {
        let value = |of: &dyn Fn(&Of) -> bool| {
            let found = self.digits.iter().position(|digit| of(&digit.of));
            found.and_then(|at| values.get(at)).copied().unwrap_or(0)
        };
        let chosen = |ports: &[PortId], value: u32| {
            let at = usize::try_from(value).ok().and_then(|value| value.checked_sub(1));
            at.and_then(|at| ports.get(at)).copied()
        };
        let mut ports = Vec::new();
        let blocked = value(&|of| *of == Of::Blocked) == 1;
        if !blocked {
            ports.extend(passes_to(hook));
        }
        for (at, step) in hook.program.steps.iter().enumerate() {
            match step.then {
                Action::Copy(copy) => {
                    let acts = match (&step.when, judge.said(at)) {
                        (_, Some(said)) => value(&|of| *of == Of::Test(said.test)) == u32::from(said.word),
                        (Test::Vlan(set), None) => {
                            let bit = self.sets.iter().position(|known| *known == set).unwrap_or(0);
                            value(&|of| *of == Of::Vlans) >> bit & 1 == 1
                        }
                        _ => true,
                    };
                    ports.extend(acts.then(|| copy_port(context.plan, hook, copy)));
                }
                Action::Spread(_) => ports.extend(self.port_of(values, &chosen, |of| match of {
                    Of::Step(known, ports) if *known == at => Some(ports),
                    _ => None,
                })),
                Action::Block => {}
            }
        }
        for set in 0..judge.sets.len() {
            ports.extend(self.port_of(values, &chosen, |of| match of {
                Of::Set(known, ports) if *known == set => Some(ports),
                _ => None,
            }));
        }
        (blocked, ports.into_iter().map(Target::Port).collect())
    }

    /// The port that a digit stands for.
    fn port_of(
        &self,
        values: &[u32],
        chosen: &impl Fn(&[PortId], u32) -> Option<PortId>,
        wanted: impl Fn(&Of) -> Option<&Vec<PortId>>,
    ) -> Option<PortId> {
        let digits = self.digits.iter().zip(values);
        digits
            .filter_map(|(digit, value)| Some((wanted(&digit.of)?, value)))
            .find_map(|(ports, value)| chosen(ports, *value))
    }

    fn stride(&self, of: impl Fn(&Of) -> bool) -> Option<u32> {
        self.digits.iter().find(|digit| of(&digit.of)).map(|digit| digit.stride)
    }

    /// Counts what steps match, lets spreads choose, remembers who blocks.
    fn steps(&self, asm: &mut Assembler, hand: &Hand<'_, '_>) {
        for (at, step) in hand.hook.program.steps.iter().enumerate() {
            asm.origin(Origin::Rule(step.rule));
            tc::when(asm, hand.judge, at, &step.when, |asm| match step.then {
                Action::Copy(copy) => match hand.context.layout.copy_rows(hand.id, hand.hook) {
                    Rows::Block { .. } => {
                        hand.context.count(asm, Counter::Matched(hand.id, copy), 1);
                        hand.context.count(asm, Counter::MatchedBytes(hand.id, copy), xdp::OCTETS);
                    }
                    Rows::Tallies { .. } => {
                        let row = hand.judge.copy_row(copy).cast_signed();
                        asm.store(Size::Word, Reg::R10, stack::RANK, row);
                        matched(asm, hand);
                    }
                },
                Action::Spread(spread) => {
                    let stride = self.stride(|of| matches!(of, Of::Step(known, _) if *known == at));
                    let done = asm.label();
                    let ways = hand.judge.spread_ways(hand.context, spread);
                    hand.take(asm, &ways, false, done, |asm, port, _| chosen(asm, hand, stride, port));
                    asm.place(done);
                }
                Action::Block => hand::block(asm, hand.judge.block_row(step.rule)),
            });
        }
    }

    fn rule_sets(&self, asm: &mut Assembler, hand: &Hand<'_, '_>) {
        for (at, set) in hand.judge.sets.iter().enumerate() {
            asm.origin_text("what the rule of a set decides");
            let stride = self.stride(|of| matches!(of, Of::Set(known, _) if *known == at));
            let done = asm.label();
            Judge::verdict(asm, set, done);
            hand.take(asm, &set.ways, true, done, |asm, port, _| chosen(asm, hand, stride, port));
            asm.place(done);
        }
    }

    /// Adds the digits that are not chosen on the way: tests, VLANs, blocks.
    fn read(&self, asm: &mut Assembler) {
        for digit in &self.digits {
            match &digit.of {
                Of::Test(test) => {
                    Judge::recall(asm, *test, Reg::R1);
                    asm.alu(Alu::Mul, Reg::R1, digit.stride.cast_signed());
                    add(asm, Reg::R1);
                }
                Of::Vlans => {
                    for (bit, set) in (0u32..).zip(&self.sets) {
                        let (hit, miss) = (asm.label(), asm.label());
                        asm.load(Size::Half, Reg::R1, Reg::R10, stack::VLAN);
                        vlan::search(asm, Reg::R1, &ranges(set), hit, miss);
                        if asm.place_used(hit) {
                            add(asm, (digit.stride << bit).cast_signed());
                        }
                        asm.place(miss);
                    }
                }
                Of::Blocked => {
                    let free = asm.label();
                    asm.load(Size::Half, Reg::R1, Reg::R10, stack::BLOCKED);
                    asm.jump_if(Reg::R1, Cond::Eq, 0, free);
                    add(asm, digit.stride.cast_signed());
                    asm.place(free);
                }
                Of::Step(..) | Of::Set(..) => {}
            }
        }
    }

    /// From the number to what becomes of the frame.
    fn dispatch(&self, asm: &mut Assembler, hand: &Hand<'_, '_>) {
        let endings: BTreeSet<Ending> = self.endings.values().copied().collect();
        let labels: BTreeMap<Ending, _> = endings.into_iter().map(|ending| (ending, asm.label())).collect();
        let mut runs: Vec<(u32, Ending)> = Vec::new();
        for (code, ending) in &self.endings {
            if runs.last().is_none_or(|(_, last)| last != ending) {
                runs.push((*code, *ending));
            }
        }
        if !self.digits.is_empty() {
            asm.load(Size::Word, Reg::R1, Reg::R10, stack::CODE);
        }
        tree(asm, &runs, &labels);
        for (ending, label) in &labels {
            asm.place(*label);
            self.end(asm, hand, *ending);
        }
    }

    fn end(&self, asm: &mut Assembler, hand: &Hand<'_, '_>, ending: Ending) {
        let (context, id) = (hand.context, hand.id);
        let ports = passes_to(hand.hook);
        if ending.blocked {
            asm.note("the rule that blocks");
            let counted = asm.label();
            let first = hand.block_row(asm, counted);
            hand::count(asm, first, 0, 1);
            asm.place(counted);
        } else if ports.is_empty() {
            context.count(asm, Counter::Consumed(id), 1);
        } else {
            for port in ports {
                context.count(asm, Counter::Handed(id, port), 1);
                context.count(asm, Counter::HandedBytes(id, port), xdp::OCTETS);
            }
        }
        let outcome = ending.outcome.and_then(|number| self.outcomes.get(usize::from(number)));
        let sent = outcome.map(|outcome| (outcome.number, outcome.targets.len()));
        xdp::send(context, asm, id, sent);
    }
}

/// Goes to the ending of the number in `R1`: each run is of the numbers up to the next.
fn tree(asm: &mut Assembler, runs: &[(u32, Ending)], labels: &BTreeMap<Ending, crate::asm::Label>) {
    match runs {
        [] => {}
        [(_, only)] => {
            if let Some(label) = labels.get(only) {
                asm.jump(*label);
            }
        }
        _ => {
            let (left, right) = runs.split_at(runs.len() / 2);
            let above = asm.label();
            let middle = right.first().map_or(0, |(code, _)| code.cast_signed());
            asm.jump_if(Reg::R1, Cond::Ge, middle, above);
            tree(asm, left, labels);
            asm.place(above);
            tree(asm, right, labels);
        }
    }
}

/// Counts the copy whose row [`stack::RANK`] names as matched.
fn matched(asm: &mut Assembler, hand: &Hand<'_, '_>) {
    let nobody = asm.label();
    let first = hand.row(asm, nobody);
    hand::count(asm, first, 0, 1);
    hand::count(asm, first, 1, xdp::OCTETS);
    asm.place(nobody);
}

/// The same for a copy that was chosen, to the port at this place.
fn chosen(asm: &mut Assembler, hand: &Hand<'_, '_>, stride: Option<u32>, port: usize) {
    matched(asm, hand);
    if let Some(stride) = stride {
        // Strides times places stay below 2^31: `number` sees to it.
        let place = u32::try_from(port).unwrap_or(0).saturating_add(1);
        add(asm, stride.saturating_mul(place).cast_signed());
    }
}

/// The number grows by so much. Loses `R2`.
fn add(asm: &mut Assembler, by: impl Into<crate::asm::Src>) {
    asm.load(Size::Word, Reg::R2, Reg::R10, stack::CODE);
    asm.alu(Alu::Add, Reg::R2, by);
    asm.store(Size::Word, Reg::R10, stack::CODE, Reg::R2);
}
