//! Steps and sets of rules as programs: one for each thing that may become of a frame.
//!
//! A set has one program for each outcome, which asks whether the rule that decides is one with this outcome.
//! Without tags no state is needed: of the quick rules the first that matches ends the trying; where none does,
//! the last of the others decides, so they are tried from the end. With tags the rules are tried in order, and
//! two scratch words remember the tag and the decision.

use ::rules::form::{
    Action, CopyIndex, Handed, Program, RuleId, RuleSet, Ruled, Ruling, Spread, SpreadIndex, Test,
};

use super::asm::{Insn, Label, To, op};
use super::code::{self, Code, DECIDED, TAG, VERSION};
use super::{Duty, Why};

/// Takes a filter in the making.
type Add<'a> = &'a mut dyn FnMut(Duty, RuleId, Result<Vec<Insn>, Why>);

/// The filters that copy, in program order.
pub(super) fn copies(program: &Program, add: Add<'_>) {
    for step in &program.steps {
        match step.then {
            Action::Copy(copy) => add(Duty::Copy(copy), step.rule, code::of_test(&step.when, None)),
            Action::Spread(index) => {
                for (spread, copy) in choices(program, index) {
                    let chosen = code::of_test(&step.when, Some((spread, copy)));
                    add(Duty::Copy(copy), step.rule, chosen);
                }
            }
            Action::Block => {}
        }
    }
    for set in &program.rule_sets {
        let mut known: Vec<Handed> = Vec::new();
        for ruling in set.rulings() {
            let Ruled::Pass(handed) = ruling.verdict else { continue };
            if known.contains(&handed) {
                continue;
            }
            known.push(handed);
            let asked = |other: &Ruling| other.verdict == Ruled::Pass(handed);
            match handed {
                Handed::Nobody => {}
                Handed::Copy(copy) => add(Duty::Copy(copy), ruling.rule, of_set(set, None, asked)),
                Handed::Spread(index) => {
                    for (spread, copy) in choices(program, index) {
                        add(Duty::Copy(copy), ruling.rule, of_set(set, Some((spread, copy)), asked));
                    }
                }
            }
        }
    }
}

/// The copies that a spread chooses from, each once; none where the program holds no such spread.
fn choices(program: &Program, index: SpreadIndex) -> Vec<(&Spread, CopyIndex)> {
    let Some(spread) = program.spreads.get(usize::from(index.0)) else { return Vec::new() };
    let mut known = Vec::new();
    for choice in spread.choices() {
        if !known.contains(&(spread, choice.copy)) {
            known.push((spread, choice.copy));
        }
    }
    known
}

/// The filters that block, in the order in which the first one counts.
pub(super) fn blocks(program: &Program, add: Add<'_>) {
    for step in program.steps.iter().filter(|step| step.then == Action::Block) {
        add(Duty::Block(step.rule), step.rule, code::of_test(&step.when, None));
    }
    for set in &program.rule_sets {
        let mut known: Vec<RuleId> = Vec::new();
        for ruling in set.rulings().iter().filter(|ruling| ruling.verdict == Ruled::Block) {
            if !known.contains(&ruling.rule) {
                known.push(ruling.rule);
                let asked = |other: &Ruling| other.verdict == Ruled::Block && other.rule == ruling.rule;
                add(Duty::Block(ruling.rule), ruling.rule, of_set(set, None, asked));
            }
        }
    }
}

/// Chooses the frames of which a rule that is asked for decides, and which the spread, if there is one, gives to the
/// copy.
fn of_set(
    set: &RuleSet,
    spread: Option<(&Spread, CopyIndex)>,
    asked: impl Fn(&Ruling) -> bool,
) -> Result<Vec<Insn>, Why> {
    let mut tests: Vec<&Test> = set.rulings().iter().map(|ruling| &ruling.when).collect();
    // A set decides about IP alone.
    let any_ip = Test::Address(
        ::rules::form::End::Source,
        ::rules::form::Addresses::Range([0; 4].into(), [0; 4].into()),
    );
    tests.push(&any_ip);
    Code::program(&tests, spread, |code, chosen, passed_by| {
        code.asm.load_word(VERSION);
        code.asm.when(op::JEQ, 0, passed_by, To::Next);
        if set.asks_tags() {
            with_tags(code, set, &asked, chosen, passed_by)
        } else {
            without_tags(code, set, &asked, chosen, passed_by)
        }
    })
}

/// Goes to `matched` or `next` by whether a rule matches, tags aside.
fn matches(code: &mut Code, ruling: &Ruling, matched: Label, next: Label) -> Result<(), Why> {
    code.cut = next;
    code.test(&ruling.when, matched, next)
}

fn without_tags(
    code: &mut Code,
    set: &RuleSet,
    asked: &impl Fn(&Ruling) -> bool,
    chosen: Label,
    passed_by: Label,
) -> Result<(), Why> {
    // The quick rules in order. One that decides nothing still ends the trying: the rules before it decide.
    let mut ended = Vec::new();
    for (at, ruling) in set.rulings().iter().enumerate().filter(|(_, ruling)| ruling.quick) {
        let next = code.asm.label();
        let matched = match ruling.verdict {
            Ruled::Match => {
                let label = code.asm.label();
                ended.push((at, label));
                label
            }
            _ if asked(ruling) => chosen,
            _ => passed_by,
        };
        matches(code, ruling, matched, next)?;
        code.asm.place(next);
    }
    last(code, set.rulings(), asked, chosen, passed_by)?;
    for (at, label) in ended {
        code.asm.place(label);
        last(code, &set.rulings()[..at], asked, chosen, passed_by)?;
    }
    Ok(())
}

/// The last rule that matches and decides, of those that are not quick.
fn last(
    code: &mut Code,
    rulings: &[Ruling],
    asked: &impl Fn(&Ruling) -> bool,
    chosen: Label,
    passed_by: Label,
) -> Result<(), Why> {
    let decides = |ruling: &&Ruling| !ruling.quick && ruling.verdict != Ruled::Match;
    let first = rulings.iter().position(|ruling| decides(&ruling) && asked(ruling));
    let candidates = first.map_or(&[][..], |first| &rulings[first..]);
    for ruling in candidates.iter().rev().filter(decides) {
        let next = code.asm.label();
        matches(code, ruling, if asked(ruling) { chosen } else { passed_by }, next)?;
        code.asm.place(next);
    }
    code.asm.jump(passed_by);
    Ok(())
}

fn with_tags(
    code: &mut Code,
    set: &RuleSet,
    asked: &impl Fn(&Ruling) -> bool,
    chosen: Label,
    passed_by: Label,
) -> Result<(), Why> {
    let end = code.asm.label();
    code.asm.load_constant(0);
    code.asm.store(TAG);
    code.asm.store(DECIDED);
    for ruling in set.rulings() {
        let (matched, next) = (code.asm.label(), code.asm.label());
        if let Some((tag, not)) = ruling.tagged {
            code.asm.load_word(TAG);
            let bears = u32::from(tag.0) + 1;
            match not {
                true => code.asm.when(op::JEQ, bears, next, To::Next),
                false => code.asm.when(op::JEQ, bears, To::Next, next),
            }
        }
        matches(code, ruling, matched, next)?;
        code.asm.place(matched);
        if ruling.verdict != Ruled::Match {
            code.asm.load_constant(u32::from(asked(ruling)));
            code.asm.store(DECIDED);
        }
        if let Some(tag) = ruling.tag {
            code.asm.load_constant(u32::from(tag.0) + 1);
            code.asm.store(TAG);
        }
        if ruling.quick {
            code.asm.jump(end);
        }
        code.asm.place(next);
    }
    code.asm.place(end);
    code.asm.load_word(DECIDED);
    code.asm.when(op::JEQ, 0, passed_by, chosen);
    Ok(())
}
