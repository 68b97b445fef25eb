//! Chains of headers behind an IP header (`protochain`), unrolled: classic BPF has no loop.

use ::rules::form::{CHAIN_MAX, Chain, LoadSize};

use super::Why;
use super::asm::{Label, To, op};
use super::code::{Code, WAITING};
use super::test::{OFFSETS, bounds};

/// Where the header begins that `NEXT` names.
const HEADER: u32 = WAITING;
const NEXT: u32 = WAITING + 1;
const OCTETS: u32 = WAITING + 2;
/// For loads.
const SPARE: u32 = WAITING + 3;

const NO_NEXT: u32 = 59;
const AUTHENTICATION: u32 = 51;
/// Hop-by-hop options, destination options, routing, fragment: of IPv6 only.
const OF_IPV6: [u32; 4] = [0, 60, 43, 44];

impl Code {
    /// Goes to `yes` or `no` by whether the chain holds the protocol, to `self.cut` where an octet is missing.
    pub(super) fn chain(&mut self, chain: &Chain, yes: Label, no: Label) -> Result<(), Why> {
        let least = bounds(&chain.at).0;
        self.number(&chain.at, self.cut, WAITING)?;
        self.asm.when(op::JGE, OFFSETS, self.cut, To::Next);
        self.asm.store(HEADER);
        let protocol_at = if chain.version == 4 { 9 } else { 6 };
        self.octet_behind(protocol_at, least)?;
        self.asm.store(NEXT);
        let mut least = match chain.version {
            4 => {
                self.octet_behind(0, least)?;
                self.asm.alu(op::AND, 0x0f);
                self.asm.alu(op::LSH, 2);
                self.asm.load_x(HEADER);
                self.asm.alu_x(op::ADD);
                least
            }
            _ => {
                self.asm.load_word(HEADER);
                self.asm.alu(op::ADD, 40);
                least.saturating_add(40)
            }
        };
        self.asm.store(HEADER);
        for _ in 0..CHAIN_MAX {
            self.link(chain, least, yes, no)?;
            // No header is shorter.
            least = least.saturating_add(8);
        }
        self.asm.load_word(NEXT);
        self.asm.when(op::JEQ, u32::from(chain.protocol), yes, no);
        Ok(())
    }

    /// Follows one header.
    fn link(&mut self, chain: &Chain, least: u32, yes: Label, no: Label) -> Result<(), Why> {
        let (sized, options, authentication) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.load_word(NEXT);
        self.asm.when(op::JEQ, u32::from(chain.protocol), yes, To::Next);
        self.asm.when(op::JEQ, NO_NEXT, no, To::Next);
        if chain.version == 6 {
            for number in OF_IPV6 {
                self.asm.when(op::JEQ, number, options, To::Next);
            }
        }
        self.asm.when(op::JEQ, AUTHENTICATION, authentication, no);
        if chain.version == 6 {
            self.asm.place(options);
            self.octet_behind(1, least)?;
            self.asm.alu(op::ADD, 1);
            self.asm.alu(op::LSH, 3);
            self.asm.jump(sized);
        }
        self.asm.place(authentication);
        self.octet_behind(1, least)?;
        self.asm.alu(op::ADD, 2);
        self.asm.alu(op::LSH, 2);
        self.asm.place(sized);
        self.asm.store(OCTETS);
        self.octet_behind(0, least)?;
        self.asm.store(NEXT);
        self.asm.load_word(OCTETS);
        self.asm.load_x(HEADER);
        self.asm.alu_x(op::ADD);
        self.asm.store(HEADER);
        Ok(())
    }

    /// A = the octet so far behind where the header begins, which is at `least` or behind it.
    fn octet_behind(&mut self, far: u32, least: u32) -> Result<(), Why> {
        self.asm.load_word(HEADER);
        self.asm.alu(op::ADD, far);
        self.load_at_a(LoadSize::One, least.saturating_add(far), SPARE)
    }
}
