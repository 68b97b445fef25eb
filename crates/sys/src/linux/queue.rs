//! Queueing disciplines, classes and classifiers over routing netlink (linux/pkt_sched.h, linux/pkt_cls.h).
//!
//! Rates are given in 64 bits and with the link layer "Ethernet", so that the kernel needs no rate tables: it
//! reads `overhead` and `mpu` from the `tc_ratespec` itself (`psched_ratecfg_precompute`).

use super::netlink::{
    Answer, Attrs, F_CREATE, F_EXCL, F_REPLACE, Request, change, change_both, dump, find, text_of, u32_at,
    u64_at,
};
use crate::error::Result;
use crate::object::{Filter, FilterSpec, Hook};
use crate::queue::{Class, H_CLSACT, H_EGRESS, H_INGRESS, HtbClass, Qdisc, QdiscSpec, QueueStats, handle};

pub(super) const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTCLASS: u16 = 40;
const RTM_GETTCLASS: u16 = 42;
pub(super) const RTM_NEWTFILTER: u16 = 44;
pub(super) const RTM_DELTFILTER: u16 = 45;
pub(super) const RTM_GETTFILTER: u16 = 46;

pub(super) const TCA_KIND: u16 = 1;
pub(super) const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;

const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_PKT64: u16 = 8;

const TCA_HTB_PARMS: u16 = 1;
const TCA_HTB_INIT: u16 = 2;
const TCA_HTB_DIRECT_QLEN: u16 = 5;
const TCA_HTB_RATE64: u16 = 6;
const TCA_HTB_CEIL64: u16 = 7;

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;

const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
pub(super) const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
pub(super) const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// Interface, parent, handle.
pub(super) type At = (u32, u32, u32);

/// `struct tcmsg`: family 0, ifindex 4, handle 8, parent 12, info 16.
pub(super) fn tcmsg((ifindex, parent, handle): At, info: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    bytes[8..12].copy_from_slice(&handle.to_ne_bytes());
    bytes[12..16].copy_from_slice(&parent.to_ne_bytes());
    bytes[16..20].copy_from_slice(&info.to_ne_bytes());
    bytes
}

/// The parts that all traffic control answers share.
pub(super) struct Message<'a> {
    pub(super) at: At,
    pub(super) info: u32,
    pub(super) kind: String,
    pub(super) options: &'a [u8],
    pub(super) attrs: &'a [u8],
}

pub(super) fn message(answer: &Answer, kind: u16, ifindex: u32) -> Option<Message<'_>> {
    let body = (answer.kind == kind).then_some(answer.body.as_slice())?;
    let at = (u32_at(body, 4)?, u32_at(body, 12)?, u32_at(body, 8)?);
    let (info, attrs) = (u32_at(body, 16)?, body.get(20..)?);
    let kind = find(attrs, TCA_KIND).map(text_of)?;
    let options = find(attrs, TCA_OPTIONS).unwrap_or_default();
    (at.0 == ifindex).then_some(Message { at, info, kind, options, attrs })
}

/// `TCA_STATS2`: basic is bytes (64), packets (32); queue is qlen, backlog, drops, requeues, overlimits.
fn stats(attrs: &[u8]) -> QueueStats {
    stats_in(find(attrs, TCA_STATS2).unwrap_or_default())
}

/// What stands in `TCA_STATS2`, and in the like of actions.
pub(super) fn stats_in(stats: &[u8]) -> QueueStats {
    let basic = find(stats, TCA_STATS_BASIC).unwrap_or_default();
    let queue = find(stats, TCA_STATS_QUEUE).unwrap_or_default();
    let number = |index: usize| u32_at(queue, index * 4).unwrap_or_default();
    let packets = find(stats, TCA_STATS_PKT64).and_then(|count| u64_at(count, 0));
    QueueStats {
        bytes: u64_at(basic, 0).unwrap_or_default(),
        packets: packets.unwrap_or_else(|| u64::from(u32_at(basic, 8).unwrap_or_default())),
        queued_packets: number(0),
        queued_bytes: number(1),
        drops: u64::from(number(2)),
        requeues: u64::from(number(3)),
        overlimits: u64::from(number(4)),
    }
}

pub(super) fn list(ifindex: u32) -> Result<Vec<Qdisc>> {
    let object = format!("of interface {ifindex}");
    let answers =
        dump("RTM_GETQDISC", &object, || Request::new(RTM_GETQDISC, 0, &tcmsg((ifindex, 0, 0), 0)))?;
    let qdisc = |answer: &Answer| {
        let found = message(answer, RTM_NEWQDISC, ifindex)?;
        let (ifindex, parent, handle) = found.at;
        let options = found.options.to_vec();
        Some(Qdisc { ifindex, kind: found.kind, handle, parent, options, stats: stats(found.attrs) })
    };
    Ok(answers.iter().filter_map(qdisc).collect())
}

pub(super) fn list_classes(ifindex: u32) -> Result<Vec<Class>> {
    let object = format!("of interface {ifindex}");
    let request = || Request::new(RTM_GETTCLASS, 0, &tcmsg((ifindex, 0, 0), 0));
    let answers = dump("RTM_GETTCLASS", &object, request)?;
    let class = |answer: &Answer| {
        let found = message(answer, RTM_NEWTCLASS, ifindex)?;
        let (ifindex, parent, handle) = found.at;
        let (leaf, options) = (found.info, found.options.to_vec());
        Some(Class { ifindex, kind: found.kind, handle, parent, leaf, options, stats: stats(found.attrs) })
    };
    let mut classes: Vec<Class> = answers.iter().filter_map(class).collect();
    classes.sort_by_key(|class| class.handle);
    Ok(classes)
}

/// The options of a kind, as the kernel takes them; `None` for a kind that takes none.
fn options(spec: &QdiscSpec) -> Option<Vec<u8>> {
    match spec {
        QdiscSpec::Clsact => None,
        QdiscSpec::Pfifo { limit_packets: limit } | QdiscSpec::Bfifo { limit_bytes: limit } => {
            Some(limit.to_ne_bytes().to_vec())
        }
        QdiscSpec::Tbf { rate_bytes_s, burst_bytes, limit_bytes } => {
            // struct tc_tbf_qopt: rate 0, peakrate 12, limit 24, buffer 28, mtu 32. With TCA_TBF_BURST the
            // kernel works out `buffer` itself, in nanoseconds and not in its coarser ticks.
            let mut parms = ratespec(*rate_bytes_s, 0, 0).to_vec();
            parms.extend_from_slice(&[0; 12]);
            parms.extend_from_slice(&limit_bytes.to_ne_bytes());
            parms.extend_from_slice(&ticks(*burst_bytes, *rate_bytes_s).to_ne_bytes());
            parms.extend_from_slice(&[0; 4]);
            let attrs = Attrs::default().attr(TCA_TBF_PARMS, &parms);
            Some(attrs.u64(TCA_TBF_RATE64, *rate_bytes_s).u32(TCA_TBF_BURST, *burst_bytes).0)
        }
        QdiscSpec::Htb { default_class, direct_packets } => {
            // struct tc_htb_glob: version 0, rate2quantum 4, defcls 8, debug 12, direct_pkts 16.
            let words = [3, 10, u32::from(*default_class), 0, 0];
            let glob: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
            Some(Attrs::default().attr(TCA_HTB_INIT, &glob).u32(TCA_HTB_DIRECT_QLEN, *direct_packets).0)
        }
        QdiscSpec::Raw { options, .. } => (!options.is_empty()).then(|| options.clone()),
    }
}

/// `struct tc_ratespec`: `cell_log` 0, linklayer 1, overhead 2, `cell_align` 4, mpu 6, rate 8. Rates beyond 32 bits
/// stand in an attribute of their own.
fn ratespec(bytes_s: u64, overhead: u16, mpu: u16) -> [u8; 12] {
    const LINKLAYER_ETHERNET: u8 = 1;
    let mut bytes = [0; 12];
    bytes[1] = LINKLAYER_ETHERNET;
    bytes[2..4].copy_from_slice(&overhead.to_ne_bytes());
    bytes[6..8].copy_from_slice(&mpu.to_ne_bytes());
    bytes[8..12].copy_from_slice(&u32::try_from(bytes_s).unwrap_or(u32::MAX).to_ne_bytes());
    bytes
}

/// The time that bytes take at a rate, in the scheduler's ticks of 64 ns, rounded up; at least one.
fn ticks(bytes: u32, bytes_s: u64) -> u32 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_s.max(1));
    u32::try_from(ns.div_ceil(64)).unwrap_or(u32::MAX).max(1)
}

pub(super) fn add(object: &str, at: At, spec: &QdiscSpec, replace: bool) -> Result<()> {
    let flags = if replace { F_CREATE | F_REPLACE } else { F_CREATE | F_EXCL };
    let mut request = Request::new(RTM_NEWQDISC, flags, &tcmsg(at, 0)).text(TCA_KIND, spec.kind());
    if let Some(options) = options(spec) {
        request = request.attr(TCA_OPTIONS, &options);
    }
    change("RTM_NEWQDISC", object, request)
}

pub(super) fn delete(object: &str, at: At) -> Result<()> {
    change("RTM_DELQDISC", object, Request::new(RTM_DELQDISC, 0, &tcmsg(at, 0)))
}

pub(super) fn set_class(object: &str, at: At, class: &HtbClass) -> Result<()> {
    // struct tc_htb_opt: rate 0, ceil 12, buffer 24, cbuffer 28, quantum 32, level 36, prio 40.
    let mut parms = ratespec(class.rate_bytes_s, class.overhead_bytes, class.mpu_bytes).to_vec();
    parms.extend_from_slice(&ratespec(class.ceil_bytes_s, class.overhead_bytes, class.mpu_bytes));
    for word in [
        ticks(class.burst_bytes, class.rate_bytes_s),
        ticks(class.cburst_bytes, class.ceil_bytes_s),
        class.quantum_bytes,
        0,
        class.priority,
    ] {
        parms.extend_from_slice(&word.to_ne_bytes());
    }
    let options = Attrs::default()
        .attr(TCA_HTB_PARMS, &parms)
        .u64(TCA_HTB_RATE64, class.rate_bytes_s)
        .u64(TCA_HTB_CEIL64, class.ceil_bytes_s);
    let request = Request::new(RTM_NEWTCLASS, F_CREATE, &tcmsg(at, 0)).text(TCA_KIND, "htb");
    change("RTM_NEWTCLASS", object, request.attr(TCA_OPTIONS, &options.0))
}

fn hook_parent(hook: Hook) -> u32 {
    match hook {
        Hook::Ingress => H_INGRESS,
        Hook::Egress => H_EGRESS,
    }
}

/// `tcm_info` of a classifier: preference in the high half, EtherType in network order in the low one.
pub(super) fn filter_info(priority: u16) -> u32 {
    const ETH_P_ALL: u16 = 3;
    u32::from(priority) << 16 | u32::from(ETH_P_ALL.to_be())
}

pub(super) fn halves(info: u32) -> (u16, u16) {
    let [a, b, c, d] = info.to_be_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be(u16::from_be_bytes([c, d])))
}

pub(super) fn list_filters(ifindex: u32, hook: Hook) -> Result<Vec<Filter>> {
    let object = format!("{hook} of interface {ifindex}");
    let parent = hook_parent(hook);
    let request = || Request::new(RTM_GETTFILTER, 0, &tcmsg((ifindex, parent, 0), 0));
    let answers = match dump("RTM_GETTFILTER", &object, request) {
        // Without clsact there is nothing to ask.
        Err(error) if error.errno == libc::EINVAL || error.errno == libc::ENOENT => return Ok(Vec::new()),
        other => other?,
    };
    let filter = |answer: &Answer| {
        let found = message(answer, RTM_NEWTFILTER, ifindex)?;
        let (priority, protocol) = halves(found.info);
        let name = find(found.options, TCA_BPF_NAME).map(text_of).unwrap_or_default();
        let prog_id = find(found.options, TCA_BPF_ID).and_then(|id| u32_at(id, 0)).unwrap_or_default();
        let bpf = found.kind == "bpf";
        Some(Filter {
            kind: found.kind,
            priority,
            protocol,
            handle: found.at.2,
            name: if bpf { name } else { String::new() },
            prog_id: if bpf { prog_id } else { 0 },
        })
    };
    // The head of each preference is listed too, with handle 0; it is no classifier.
    Ok(answers.iter().filter_map(filter).filter(|filter| filter.handle != 0).collect())
}

pub(super) fn add_filter(object: &str, ifindex: u32, hook: Hook, filter: &FilterSpec<'_>) -> Result<()> {
    let flags = if filter.replace { F_CREATE | F_REPLACE } else { F_CREATE | F_EXCL };
    let at = (ifindex, hook_parent(hook), filter.handle);
    let options = Attrs::default()
        .attr(TCA_BPF_FD, &filter.prog.0.to_ne_bytes())
        .text(TCA_BPF_NAME, filter.name)
        .u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    let request = Request::new(RTM_NEWTFILTER, flags, &tcmsg(at, filter_info(filter.priority)));
    let request = request.text(TCA_KIND, "bpf").attr(TCA_OPTIONS, &options.0);
    if !filter.with_clsact {
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

pub(super) fn delete_filter(
    object: &str,
    ifindex: u32,
    hook: Hook,
    priority: u16,
    handle: u32,
) -> Result<()> {
    let at = (ifindex, hook_parent(hook), handle);
    let request = Request::new(RTM_DELTFILTER, 0, &tcmsg(at, filter_info(priority))).text(TCA_KIND, "bpf");
    change("RTM_DELTFILTER", object, request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_64_ns() {
        assert_eq!(ticks(1250, 12_500_000), 1563);
        assert_eq!(ticks(0, 12_500_000), 1);
        assert_eq!(ticks(u32::MAX, 1), u32::MAX);
        assert_eq!(ticks(1, 0), 15_625_000);
    }

    #[test]
    fn filter_info_reads_back() {
        assert_eq!(halves(filter_info(7)), (7, 3));
    }
}
