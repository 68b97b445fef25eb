//! The filters that keep the host's own stack away from a port, by handles that nobody else's filters bear.
//!
//! A run that is killed leaves them, and with them a wire that nothing passes. So `up`, `down` and the next run look
//! for them on every interface and take exactly these away: the filters, and the clsact that came with them if nothing
//! else is in it by then.

use sys::{
    ClassicFilter, ClassicInsn, ClassicSpec, H_CLSACT, H_EGRESS, H_INGRESS, Link, Matcher, Result, Sys,
};

use crate::machine::gone_is_fine;

/// What our frames bear where they pass a guard.
pub const MARK: u32 = bpf::emit::OUR_MARK;

/// Preference of the guards: the first to run.
const FIRST: u16 = 1;
/// The handle of a guard in a clsact that was there before ("run" and 0).
const IN_THEIRS: u32 = 0x7275_6e00;
/// The handle of a guard in a clsact that came with the guards.
const IN_OURS: u32 = 0x7275_6e01;
/// The handle of clsact.
const CLSACT: u32 = 0xffff_0000;
/// What a kernel says that has no such classifier or action: `ENOENT`, `EOPNOTSUPP`.
const UNKNOWN_KINDS: [i32; 2] = [2, 95];
/// `BPF_LD | BPF_W | BPF_ABS` of `SKF_AD_OFF + SKF_AD_MARK`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
const LOAD_MARK: ClassicInsn = ClassicInsn { code: 0x20, jt: 0, jf: 0, k: 0xffff_f014 };
const JUMP_IF: u16 = 0x15;
const RETURN: u16 = 0x06;
/// `TC_ACT_OK`, `TC_ACT_SHOT`.
const OK: u32 = 0;
const DROP: u32 = 2;

/// One filter that drops what it sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    ifindex: u32,
    /// The side of clsact.
    parent: u32,
    handle: u32,
}

/// What a guard lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lets {
    /// Nothing.
    Nothing,
    /// Frames that bear [`MARK`].
    Marked,
}

/// Puts guards on sides of an interface, clsact first with `make_clsact`; each that is on is added to `on`. Gives what
/// the kernel says that has no such classifier: then none is on, and no other one could be.
///
/// # Errors
/// A system call that failed.
pub fn put_on(
    sys: &mut impl Sys,
    ifindex: u32,
    sides: &[(u32, Lets)],
    make_clsact: bool,
    on: &mut Vec<Guard>,
) -> Result<Option<String>> {
    let handle = if make_clsact { IN_OURS } else { IN_THEIRS };
    for (number, (parent, lets)) in sides.iter().enumerate() {
        let drop = ClassicInsn { code: RETURN, jt: 0, jf: 0, k: DROP };
        let insns = match lets {
            Lets::Nothing => vec![drop],
            Lets::Marked => {
                let ours = ClassicInsn { code: JUMP_IF, jt: 0, jf: 1, k: MARK };
                vec![LOAD_MARK, ours, ClassicInsn { k: OK, ..drop }, drop]
            }
        };
        let spec = ClassicSpec {
            chain: 0,
            priority: FIRST,
            handle,
            replace: false,
            with_clsact: make_clsact && number == 0,
            matcher: Matcher::Program { insns, direct: true },
            class: 0,
            // What counts drops (`act_gact`) is not in every kernel.
            acts: Vec::new(),
        };
        match sys.add_classic(ifindex, *parent, &spec) {
            Ok(()) => on.push(Guard { ifindex, parent: *parent, handle }),
            // Where the first one is refused, clsact has gone with it: the next would fail for the lack of that.
            Err(error) if number == 0 && UNKNOWN_KINDS.contains(&error.errno) => {
                return Ok(Some(error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Takes a guard off, and clsact with it where both came together and nobody else's filter is there by now: in one
/// step, so that no empty clsact is left if we end here.
///
/// # Errors
/// A system call that failed; `ENOENT`, `ENODEV` where it is gone.
pub fn take_off(sys: &mut impl Sys, guard: &Guard) -> Result<()> {
    let Guard { ifindex, parent, handle } = *guard;
    if handle == IN_OURS {
        let mut found = sys.classic_filters(ifindex, H_EGRESS)?;
        found.extend(sys.classic_filters(ifindex, H_INGRESS)?);
        if found.is_empty() {
            // It went with the guard of the other side.
            return Ok(());
        }
        // Filters of every kind are in these lists.
        if found.iter().all(is_guard) {
            return sys.delete_qdisc(ifindex, H_CLSACT, CLSACT);
        }
    }
    sys.delete_classic(ifindex, parent, 0, FIRST, handle)
}

/// The guards on these interfaces. While no run is at work here, all are of one that was killed.
///
/// # Errors
/// A system call that failed.
pub fn find(sys: &mut impl Sys, links: &[Link]) -> Result<Vec<Guard>> {
    let mut found = Vec::new();
    for link in links {
        for parent in [H_EGRESS, H_INGRESS] {
            let filters = match sys.classic_filters(link.index, parent) {
                // It went away since the interfaces were listed.
                Err(error) if error.errno == 19 => Vec::new(),
                other => other?,
            };
            let guards = filters.iter().filter(|it| is_guard(it));
            found.extend(guards.map(|it| Guard { ifindex: link.index, parent, handle: it.handle }));
        }
    }
    Ok(found)
}

/// Takes guards away that a killed run left; gives what to say about it.
///
/// # Errors
/// A system call that failed.
pub fn take_away(sys: &mut impl Sys, links: &[Link], left: &[Guard]) -> Result<Option<String>> {
    for guard in left {
        gone_is_fine(take_off(sys, guard))?;
    }
    let of = |link: &&Link| left.iter().any(|guard| guard.ifindex == link.index);
    let names: Vec<&str> = links.iter().filter(of).map(|link| link.name.as_str()).collect();
    Ok((!names.is_empty()).then(|| {
        format!(
            "a `run` was killed here: its filters were taken away from {}; what else it had changed (offloads, IPv6, \
             link-local addresses, queueing disciplines) is nowhere written down, and stays",
            names.join(", ")
        )
    }))
}

/// Whether a filter is a guard: its place, its handle and what it does.
fn is_guard(found: &ClassicFilter) -> bool {
    let place = (found.chain, found.priority) == (0, FIRST) && matches!(found.handle, IN_OURS | IN_THEIRS);
    let drops = |insns: &[ClassicInsn]| insns.last().is_some_and(|it| (it.code, it.k) == (RETURN, DROP));
    place && matches!(&found.matcher, Matcher::Program { insns, direct: true } if drops(insns))
}
