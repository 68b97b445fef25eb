//! Classic BPF as text, in the words of `tcpdump -d` and `bpf_asm`, under the rules that it came from.

use std::fmt::Write;

use plan::plan::{Plan, PortId, Sink};

use super::asm::{Insn, op};
use super::{Duty, Filter, Lowered};

/// A program, one line an instruction: `(007) jeq  #0x800  jt 8  jf 12`.
#[must_use]
pub fn disassemble(program: &[Insn]) -> String {
    let mut text = String::new();
    for (at, insn) in program.iter().enumerate() {
        let line = words(at, insn);
        let _ = writeln!(text, "({at:03}) {}", line.trim_end());
    }
    text
}

fn words(at: usize, insn: &Insn) -> String {
    let (code, k) = (insn.code, insn.k);
    let size = match code & 0x18 {
        op::H => "h",
        op::B => "b",
        _ => "",
    };
    let source = if code & op::X == 0 { format!("#{k:#x}") } else { "x".to_owned() };
    let mnemonic = |name: &str, operand: String| format!("{name:<9}{operand}");
    match code & 0x07 {
        op::LD => match code & 0xe0 {
            op::IMM => mnemonic("ld", format!("#{k:#x}")),
            op::MEM => mnemonic("ld", format!("M[{k}]")),
            op::LEN => mnemonic("ld", "#pktlen".to_owned()),
            op::ABS if k >= op::BESIDE => mnemonic("ld", beside(k)),
            op::ABS => mnemonic(&format!("ld{size}"), format!("[{k}]")),
            _ => mnemonic(&format!("ld{size}"), format!("[x + {k}]")),
        },
        op::LDX => match code & 0xe0 {
            op::IMM => mnemonic("ldx", format!("#{k:#x}")),
            op::MEM => mnemonic("ldx", format!("M[{k}]")),
            op::LEN => mnemonic("ldx", "#pktlen".to_owned()),
            _ => mnemonic("ldxb", format!("4*([{k}]&0xf)")),
        },
        op::ST => mnemonic("st", format!("M[{k}]")),
        op::STX => mnemonic("stx", format!("M[{k}]")),
        op::ALU => mnemonic(operation(code), if code & 0xf0 == op::NEG { String::new() } else { source }),
        op::JMP if code & 0xf0 == op::JA => {
            mnemonic("ja", (at + 1 + usize::try_from(k).unwrap_or_default()).to_string())
        }
        op::JMP => {
            let (jt, jf) = (at + 1 + usize::from(insn.jt), at + 1 + usize::from(insn.jf));
            mnemonic(condition(code), format!("{source:<16} jt {jt:<4} jf {jf}"))
        }
        op::RET if code & op::A != 0 => mnemonic("ret", "a".to_owned()),
        op::RET => mnemonic("ret", format!("#{}", k.cast_signed())),
        _ if code & 0xf8 == op::TXA => "txa".to_owned(),
        _ => "tax".to_owned(),
    }
}

fn beside(k: u32) -> String {
    match k {
        op::VLAN_TAG => "#vlan_tci".to_owned(),
        op::VLAN_PRESENT => "#vlan_avail".to_owned(),
        op::VLAN_PROTOCOL => "#vlan_tpid".to_owned(),
        _ => format!("[{k:#x}]"),
    }
}

fn operation(code: u16) -> &'static str {
    match code & 0xf0 {
        op::ADD => "add",
        op::SUB => "sub",
        op::MUL => "mul",
        op::DIV => "div",
        op::MOD => "mod",
        op::OR => "or",
        op::AND => "and",
        op::XOR => "xor",
        op::LSH => "lsh",
        op::RSH => "rsh",
        _ => "neg",
    }
}

fn condition(code: u16) -> &'static str {
    match code & 0xf0 {
        op::JEQ => "jeq",
        op::JGT => "jgt",
        op::JGE => "jge",
        _ => "jset",
    }
}

/// Every program of a plan, under what it is for and the rule that it came from.
#[must_use]
pub fn listing(plan: &Plan, lowered: &Lowered) -> String {
    let mut text = String::new();
    for filters in &lowered.hooks {
        let hook = plan.hook(filters.hook);
        for (at, filter) in (1..).zip(&filters.filters) {
            if !text.is_empty() {
                text.push('\n');
            }
            let source = plan.source_name(hook);
            let _ = writeln!(text, "; frames of {source}, filter {at}: {}", does(plan, hook, filter));
            if let Some(rule) = filter.rule.map(|rule| plan.rule(rule)) {
                let origin = rule.origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
                let _ = writeln!(text, "; {}{origin}", rule.label);
            }
            text.push_str(&disassemble(&filter.program));
        }
    }
    text
}

fn does(plan: &Plan, hook: &plan::plan::Hook, filter: &Filter) -> String {
    let name = |port: &PortId| plan.port(*port).name.as_str();
    match &filter.duty {
        Duty::Copy(copy) => {
            let Sink::Port(port) = plan.sink(Plan::copy(hook, *copy).sink);
            format!("mirror to {}, continue", name(port))
        }
        Duty::Block(_) => "count as blocked, drop".to_owned(),
        Duty::Consume => "count as consumed, drop".to_owned(),
        Duty::Leave => "leave to the host".to_owned(),
        Duty::Pass(ports) => {
            let (last, others) = ports.split_last().expect("nobody to pass to is Duty::Consume");
            let mirrors: String = others.iter().map(|port| format!("mirror to {}, ", name(port))).collect();
            format!("{mirrors}redirect to {}", name(last))
        }
    }
}
