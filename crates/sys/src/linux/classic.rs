//! Classic classifiers and their actions over routing netlink (linux/pkt_cls.h, linux/tc_act/*.h).

use super::netlink::{
    Answer, Attrs, F_CREATE, F_EXCL, F_REPLACE, Reader, Request, change, change_both, dump, find, i32_at,
    text_of, u16_at, u32_at,
};
use super::queue::{
    RTM_DELTFILTER, RTM_GETTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER, TCA_BPF_FLAG_ACT_DIRECT, TCA_BPF_FLAGS,
    TCA_KIND, TCA_OPTIONS, delete, filter_info, halves, message, stats_in, tcmsg,
};
use crate::classic::{Act, ActFound, ActStats, ClassicFilter, ClassicInsn, ClassicSpec, Matcher, Then};
use crate::error::{Result, SysError};
use crate::queue::{H_CLSACT, QueueStats, handle};

const TCA_CHAIN: u16 = 11;

const TCA_BPF_ACT: u16 = 1;
const TCA_BPF_CLASSID: u16 = 3;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;

const TCA_U32_CLASSID: u16 = 1;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_U32_INDEV: u16 = 8;
/// `TC_U32_TERMINAL`: a match decides.
const TERMINAL: u8 = 1;
/// The node of a `u32` handle; the other bits name its table, which the kernel numbers.
const NODE: u32 = 0xFFF;
/// Node and bucket of a `u32` handle; 0 is the table itself.
const KEY: u32 = 0xF_FFFF;

const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_STATS: u16 = 4;
/// `TCA_MIRRED_PARMS`: `tc_gen` (index 0, capab 4, action 8, refcnt 12, bindcnt 16), eaction 20, ifindex 24.
const PARMS: u16 = 2;
const EGRESS_REDIRECT: i32 = 1;
const EGRESS_MIRROR: i32 = 2;

fn verdict(then: Then) -> i32 {
    match then {
        Then::Continue => -1,
        Then::Ok => 0,
        Then::Drop => 2,
        Then::Pipe => 3,
        Then::Stolen => 4,
        Then::Other(number) => number,
    }
}

fn then(verdict: i32) -> Then {
    match verdict {
        -1 => Then::Continue,
        0 => Then::Ok,
        2 => Then::Drop,
        3 => Then::Pipe,
        4 => Then::Stolen,
        other => Then::Other(other),
    }
}

/// One action as the kernel takes it; `None` for one that we make none of.
fn encode(act: &Act) -> Option<Attrs> {
    let (eaction, to, then) = match act {
        Act::Mirror { to, then } => (EGRESS_MIRROR, *to, *then),
        Act::Redirect { to } => (EGRESS_REDIRECT, *to, Then::Stolen),
        Act::Other { .. } => return None,
    };
    let words = [0, 0, verdict(then).cast_unsigned(), 0, 0, eaction.cast_unsigned(), to];
    let parms: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let options = Attrs::default().attr(PARMS, &parms);
    Some(Attrs::default().text(TCA_ACT_KIND, "mirred").nest(TCA_ACT_OPTIONS, &options))
}

fn decode(bytes: &[u8]) -> ActFound {
    let kind = find(bytes, TCA_ACT_KIND).map(text_of).unwrap_or_default();
    let options = find(bytes, TCA_ACT_OPTIONS).unwrap_or_default();
    let parms = find(options, PARMS).unwrap_or_default();
    let next = i32_at(parms, 8).map_or(Then::Continue, then);
    let act = match (kind.as_str(), i32_at(parms, 20), u32_at(parms, 24)) {
        ("mirred", Some(EGRESS_MIRROR), Some(to)) => Act::Mirror { to, then: next },
        ("mirred", Some(EGRESS_REDIRECT), Some(to)) => Act::Redirect { to },
        _ => Act::Other { kind },
    };
    let QueueStats { bytes, packets, drops, overlimits, .. } =
        stats_in(find(bytes, TCA_ACT_STATS).unwrap_or_default());
    ActFound { act, stats: ActStats { bytes, packets, drops, overlimits } }
}

/// Kind and options of a filter; `None` where it, or an action of it, is one that we make none of.
fn options(spec: &ClassicSpec) -> Option<(&'static str, Attrs)> {
    let mut acts = Attrs::default();
    for (order, act) in (1..).zip(&spec.acts) {
        acts = acts.nest(order, &encode(act)?);
    }
    let (kind, mut options, classid, act) = match &spec.matcher {
        Matcher::Program { insns, direct } => {
            let count = u16::try_from(insns.len()).ok()?;
            let octets: Vec<u8> = insns.iter().flat_map(octets).collect();
            let options =
                Attrs::default().attr(TCA_BPF_OPS_LEN, &count.to_ne_bytes()).attr(TCA_BPF_OPS, &octets);
            let flags = if *direct { TCA_BPF_FLAG_ACT_DIRECT } else { 0 };
            ("bpf", options.u32(TCA_BPF_FLAGS, flags), TCA_BPF_CLASSID, TCA_BPF_ACT)
        }
        Matcher::CameBy(_) | Matcher::All => {
            // struct tc_u32_sel: flags 0, offshift 1, nkeys 2, offmask 4, off 6, offoff 8, hoff 10, hmask 12.
            let mut sel = [0; 16];
            sel[0] = TERMINAL;
            let options = Attrs::default().attr(TCA_U32_SEL, &sel);
            let options = match &spec.matcher {
                Matcher::CameBy(name) => options.text(TCA_U32_INDEV, name),
                _ => options,
            };
            ("u32", options, TCA_U32_CLASSID, TCA_U32_ACT)
        }
        Matcher::Other => return None,
    };
    if spec.class != 0 {
        options = options.u32(classid, spec.class);
    }
    if !spec.acts.is_empty() {
        options = options.nest(act, &acts);
    }
    Some((kind, options))
}

fn octets(insn: &ClassicInsn) -> [u8; 8] {
    let [a, b] = insn.code.to_ne_bytes();
    let [c, d, e, f] = insn.k.to_ne_bytes();
    [a, b, insn.jt, insn.jf, c, d, e, f]
}

fn insn(octets: &[u8]) -> Option<ClassicInsn> {
    Some(ClassicInsn {
        code: u16_at(octets, 0)?,
        jt: *octets.get(2)?,
        jf: *octets.get(3)?,
        k: u32_at(octets, 4)?,
    })
}

pub(super) fn list(ifindex: u32, parent: u32) -> Result<Vec<ClassicFilter>> {
    Ok(listed(ifindex, parent)?.into_iter().map(|(_, filter)| filter).collect())
}

/// Filters with their handles as the kernel has them.
fn listed(ifindex: u32, parent: u32) -> Result<Vec<(u32, ClassicFilter)>> {
    let object = format!("at {parent:x} of interface {ifindex}");
    let request = || Request::new(RTM_GETTFILTER, 0, &tcmsg((ifindex, parent, 0), 0));
    let answers = match dump("RTM_GETTFILTER", &object, request) {
        // Without the queueing discipline there is nothing to ask.
        Err(error) if error.errno == libc::EINVAL || error.errno == libc::ENOENT => return Ok(Vec::new()),
        other => other?,
    };
    Ok(answers.iter().filter_map(|answer| filter(answer, ifindex)).collect())
}

fn filter(answer: &Answer, ifindex: u32) -> Option<(u32, ClassicFilter)> {
    let found = message(answer, RTM_NEWTFILTER, ifindex)?;
    let (priority, protocol) = halves(found.info);
    let raw = found.at.2;
    let number = |bytes, kind| find(bytes, kind).and_then(|value| u32_at(value, 0));
    let chain = number(found.attrs, TCA_CHAIN).unwrap_or_default();
    let (handle, class, acts, matcher) = match found.kind.as_str() {
        "bpf" => (raw, TCA_BPF_CLASSID, TCA_BPF_ACT, program(found.options)),
        // The tables that hold filters are listed too.
        "u32" if raw & KEY == 0 => return None,
        "u32" => (raw & NODE, TCA_U32_CLASSID, TCA_U32_ACT, keyless(found.options)),
        _ => (raw, 0, 0, Matcher::Other),
    };
    // The head of each preference is listed too, with handle 0.
    if handle == 0 {
        return None;
    }
    let ours = found.kind == "bpf" || found.kind == "u32";
    let acts = find(found.options, acts).filter(|_| ours).unwrap_or_default();
    let filter = ClassicFilter {
        chain,
        priority,
        protocol,
        handle,
        matcher,
        class: if ours { number(found.options, class).unwrap_or_default() } else { 0 },
        acts: Reader(acts).map(|(_, act)| decode(act)).collect(),
        kind: found.kind,
    };
    Some((raw, filter))
}

fn program(options: &[u8]) -> Matcher {
    let flags = find(options, TCA_BPF_FLAGS).and_then(|flags| u32_at(flags, 0)).unwrap_or_default();
    match find(options, TCA_BPF_OPS) {
        Some(octets) => Matcher::Program {
            insns: octets.chunks_exact(8).filter_map(insn).collect(),
            direct: flags & TCA_BPF_FLAG_ACT_DIRECT != 0,
        },
        // eBPF.
        None => Matcher::Other,
    }
}

fn keyless(options: &[u8]) -> Matcher {
    let keys = find(options, TCA_U32_SEL).and_then(|sel| sel.get(2).copied());
    match (keys, find(options, TCA_U32_INDEV).map(text_of)) {
        (Some(0), Some(name)) => Matcher::CameBy(name),
        (Some(0), None) => Matcher::All,
        _ => Matcher::Other,
    }
}

pub(super) fn add(object: &str, ifindex: u32, parent: u32, spec: &ClassicSpec) -> Result<()> {
    let Some((kind, options)) = options(spec) else {
        return Err(
            SysError::new("RTM_NEWTFILTER", object, libc::EINVAL).with_detail("of a kind not made here")
        );
    };
    let flags = if spec.replace { F_CREATE | F_REPLACE } else { F_CREATE | F_EXCL };
    let at = (ifindex, parent, spec.handle);
    let mut request = Request::new(RTM_NEWTFILTER, flags, &tcmsg(at, filter_info(spec.priority)));
    request = request.text(TCA_KIND, kind).attr(TCA_OPTIONS, &options.0);
    if spec.chain != 0 {
        request = request.u32(TCA_CHAIN, spec.chain);
    }
    if !spec.with_clsact {
        return change("RTM_NEWTFILTER", object, request);
    }
    let clsact = (ifindex, H_CLSACT, handle(0xffff, 0));
    let make = Request::new(RTM_NEWQDISC, F_CREATE | F_EXCL, &tcmsg(clsact, 0)).text(TCA_KIND, "clsact");
    let outcome = change_both("RTM_NEWTFILTER", object, make, request);
    // Where clsact was made and the filter refused, it goes again; where another made it, it stays.
    if outcome.as_ref().is_err_and(|error| error.errno != libc::EEXIST) {
        let _ = delete(object, clsact);
    }
    outcome
}

pub(super) fn remove(
    object: &str,
    (ifindex, parent): (u32, u32),
    (chain, priority, handle): (u32, u16, u32),
) -> Result<()> {
    let same =
        |filter: &ClassicFilter| (filter.chain, filter.priority, filter.handle) == (chain, priority, handle);
    let Some((raw, found)) = listed(ifindex, parent)?.into_iter().find(|(_, filter)| same(filter)) else {
        return Err(SysError::new("RTM_DELTFILTER", object, libc::ENOENT));
    };
    let request = Request::new(RTM_DELTFILTER, 0, &tcmsg((ifindex, parent, raw), filter_info(priority)));
    change("RTM_DELTFILTER", object, request.text(TCA_KIND, &found.kind).u32(TCA_CHAIN, chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_read_back() {
        for value in [Then::Continue, Then::Pipe, Then::Ok, Then::Drop, Then::Stolen, Then::Other(1)] {
            assert_eq!(then(verdict(value)), value);
        }
    }

    #[test]
    fn actions_read_back() {
        for act in [Act::Mirror { to: 7, then: Then::Continue }, Act::Redirect { to: 8 }] {
            assert_eq!(decode(&encode(&act).unwrap().0).act, act);
        }
        assert!(encode(&Act::Other { kind: "pedit".into() }).is_none());
        assert_eq!(decode(&[]).act, Act::Other { kind: String::new() });
    }
}
