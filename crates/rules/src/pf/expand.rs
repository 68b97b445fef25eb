//! Lists to rules: each combination of an interface, a protocol, a type of ICMP, addresses and ports becomes
//! a rule of its own, in the order of pfctl(8).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::form::{AddressTable, Addresses};

use super::RULES_MAX;
use super::draft::{Draft, IcmpDraft};
use super::host::{HostItem, Hosts};
use super::names::{self, ICMP, ICMP6, TCP, UDP};
use super::print::{ShownHost, ShownPort};
use super::report::{Report, Stop};
use super::rule::{Action, Family, Host, On, Peer, Pool, PortMatch, Rule};
use super::words::{nearest, shown};

/// The most combinations that a rule is looked through for.
const COMBINATIONS_MAX: usize = 1 << 22;

/// The tables of a file by name.
pub(super) type Tables = BTreeMap<String, Arc<AddressTable>>;

/// One choice from each list of a rule.
#[derive(Clone, Copy)]
struct Combination<'d> {
    on: Option<&'d On>,
    protocol: Option<u8>,
    icmp: Option<&'d IcmpDraft>,
    source: (Option<&'d HostItem>, Option<PortMatch>),
    destination: (Option<&'d HostItem>, Option<PortMatch>),
}

/// Appends what a rule expands to.
pub(super) fn expand(
    draft: &Draft,
    tables: &Tables,
    rules: &mut Vec<Rule>,
    report: &mut Report<'_>,
) -> Result<(), Stop> {
    check_whole(draft, report)?;
    for host in draft.source.hosts.iter().chain(&draft.destination.hosts) {
        check_table(host, tables, report)?;
    }
    let mut family = draft.family;
    family = family.or_else(|| common_family(&draft.source.hosts));
    family = family.or_else(|| common_family(&draft.destination.hosts));
    let pool = match &draft.pool {
        Some((pool, _)) => {
            if family.is_none() {
                family = pool.family().or(pool.first_family());
                advise_lost(draft, family, report);
            }
            Some(Arc::new(of_family(pool, family, report)?))
        }
        None => None,
    };
    let fitting = combinations(draft, report)?.filter_map(|combination| {
        let hosts = [combination.source.0, combination.destination.0];
        joined(family, hosts.map(|host| host.and_then(HostItem::family))).map(|family| (combination, family))
    });
    // Counted before any is made, so that a file that is far too large is refused at once.
    match fitting.clone().take(RULES_MAX + 1).count() {
        0 => {
            let help = "the addresses at both ends, the protocol and `inet` or `inet6` must be of one family";
            return Err(report.wrong(draft.span.clone(), "rule expands to no valid combination", help));
        }
        count if rules.len() + count > RULES_MAX => return Err(too_many(draft, report)),
        _ => {}
    }
    for (combination, family) in fitting {
        let rule = rule(draft, &combination, family, pool.clone(), tables, rules.len(), report)?;
        check_rule(draft, &combination, &rule, report)?;
        rules.push(rule);
    }
    Ok(())
}

fn too_many(draft: &Draft, report: &mut Report<'_>) -> Stop {
    let what = format!("the file expands to more than {RULES_MAX} rules");
    report.once(draft.span.clone(), &what, "put lists of addresses into tables")
}

/// What pfctl checks of a rule before it is expanded.
fn check_whole(draft: &Draft, report: &mut Report<'_>) -> Result<(), Stop> {
    let action = match draft.action {
        Action::Pass => "pass",
        Action::Block => "block",
        Action::Match => "match",
    };
    let mut result = Ok(());
    let mut wrong = |span: &Range<usize>, what: &str, help: &str| {
        result = Err(report.wrong(span.clone(), what, help));
    };
    if let Some((_, span)) = &draft.pool {
        if draft.action != Action::Pass {
            let what = format!("route-to, reply-to and dup-to are not supported on {action} rules");
            wrong(
                span,
                &what,
                "write a pass rule with `dup-to`; blocked frames are copied by a `[[device.copy]]`",
            );
        } else if draft.direction.is_none() {
            wrong(
                span,
                "direction must be explicit with rules that specify routing",
                "write `pass in` or `pass out`, or a rule for each",
            );
        }
    }
    if let Some(span) = draft.state.as_ref().filter(|_| draft.action != Action::Pass) {
        wrong(span, "keep state is great, but only for pass rules", "take it out of the rule");
    }
    if let Some(span) = draft.allow_opts.as_ref().filter(|_| draft.action != Action::Pass) {
        wrong(span, "allow-opts can only be specified for pass rules", "take it out of the rule");
    }
    result
}

fn check_table(host: &HostItem, tables: &Tables, report: &mut Report<'_>) -> Result<(), Stop> {
    match &host.what {
        Hosts::Table(name) if !tables.contains_key(name) => {
            let help = match nearest(name, tables.keys().map(String::as_str)) {
                Some(name) => format!("is <{name}> meant?"),
                None => format!("write `table <{name}> {{ ... }}`"),
            };
            Err(report.wrong(host.span.clone(), format!("there is no table <{name}>"), help))
        }
        _ => Ok(()),
    }
}

/// The family of all of them, where they have one in common.
fn common_family(hosts: &[HostItem]) -> Option<Family> {
    let first = hosts.first()?.family();
    first.filter(|_| hosts.iter().all(|host| host.family() == first))
}

/// The targets that can be reached in a family, as pfctl leaves out the others.
fn of_family(pool: &Pool, family: Option<Family>, report: &mut Report<'_>) -> Result<Pool, Stop> {
    let fits = |address: Option<std::net::IpAddr>| {
        address.is_none_or(|address| family.is_none_or(|family| Family::of(address) == family))
    };
    let targets: Vec<_> = pool.targets.iter().filter(|target| fits(target.address)).cloned().collect();
    if targets.is_empty() {
        let help = "the address of `dup-to` decides nothing on a tap: leave it out, as in `dup-to interface`";
        return Err(report.wrong(pool.span(), "no routing address with matching address family found", help));
    }
    for lost in pool.targets.iter().filter(|target| !fits(target.address)) {
        let what = format!(
            "{} gets nothing of this rule: its address is of the other family",
            shown(&lost.interface)
        );
        report.advise(lost.span.clone(), &what, "write a rule for each family, or leave the addresses out");
    }
    let is_one = targets.len() == 1;
    let method = if is_one { super::rule::PoolMethod::Single } else { pool.method.clone() };
    Ok(Pool { method, sticky: pool.sticky && !is_one, targets })
}

/// The address of `dup-to` makes the rule one of its family, and leaves out addresses of the other.
fn advise_lost(draft: &Draft, family: Option<Family>, report: &mut Report<'_>) {
    let Some(family) = family else { return };
    for host in draft.source.hosts.iter().chain(&draft.destination.hosts) {
        if host.family().is_some_and(|other| other != family) {
            report.advise(
                host.span.clone(),
                "this address is left out: `dup-to` names an address of the other family",
                "leave the address of `dup-to` out, as in `dup-to interface`; a tap does not need it",
            );
        }
    }
}

/// An empty list stands for anything.
fn each<T>(list: &[T]) -> impl Iterator<Item = Option<&T>> + Clone {
    list.iter().map(Some).chain(list.is_empty().then_some(None))
}

fn combinations<'d>(
    draft: &'d Draft,
    report: &mut Report<'_>,
) -> Result<impl Iterator<Item = Combination<'d>> + Clone + use<'d>, Stop> {
    let lengths = [
        draft.on.len(),
        draft.protocols.len(),
        draft.icmp.len(),
        draft.source.hosts.len(),
        draft.source.ports.len(),
        draft.destination.hosts.len(),
        draft.destination.ports.len(),
    ];
    let product = lengths.iter().try_fold(1usize, |product, len| product.checked_mul((*len).max(1)));
    if product.is_none_or(|product| product > COMBINATIONS_MAX) {
        return Err(too_many(draft, report));
    }
    let port = |port: Option<&(PortMatch, Range<usize>)>| port.map(|(port, _)| *port);
    Ok(each(&draft.on).flat_map(move |on| {
        each(&draft.protocols).flat_map(move |protocol| {
            each(&draft.icmp).flat_map(move |icmp| {
                each(&draft.source.hosts).flat_map(move |source| {
                    each(&draft.source.ports).flat_map(move |source_port| {
                        each(&draft.destination.hosts).flat_map(move |destination| {
                            each(&draft.destination.ports).map(move |destination_port| Combination {
                                on,
                                protocol: protocol.map(|(number, _)| *number),
                                icmp,
                                source: (source, port(source_port)),
                                destination: (destination, port(destination_port)),
                            })
                        })
                    })
                })
            })
        })
    }))
}

/// The family of a combination; `None` where its parts are of different ones.
fn joined(family: Option<Family>, hosts: [Option<Family>; 2]) -> Option<Option<Family>> {
    let mut families = [family, hosts[0], hosts[1]].into_iter().flatten();
    let Some(first) = families.next() else { return Some(None) };
    families.all(|other| other == first).then_some(Some(first))
}

fn rule(
    draft: &Draft,
    combination: &Combination<'_>,
    family: Option<Family>,
    pool: Option<Arc<Pool>>,
    tables: &Tables,
    number: usize,
    report: &mut Report<'_>,
) -> Result<Rule, Stop> {
    let peer = |(host, port): (Option<&HostItem>, Option<PortMatch>)| Peer {
        host: host.and_then(|host| resolved(host, tables)),
        port,
    };
    let has_tcp = draft.protocols.iter().any(|(protocol, _)| *protocol == TCP);
    let flags = draft.flags.as_ref().map(|(flags, _)| *flags);
    // Of a list of protocols the flags are asked of TCP alone.
    let flags = flags.filter(|_| combination.protocol == Some(TCP) || !has_tcp);
    let (line, column) = report.lines().position(draft.span.start);
    let mut rule = Rule {
        origin: draft.span.clone(),
        line,
        column,
        action: draft.action,
        direction: draft.direction,
        quick: draft.quick,
        on: combination.on.cloned(),
        family,
        protocol: combination.protocol,
        source: peer(combination.source),
        destination: peer(combination.destination),
        flags,
        icmp: combination.icmp.map(|icmp| icmp.icmp),
        tos: draft.tos,
        chance: draft.chance.and_then(|chance| chance.0),
        label: None,
        tag: None,
        tagged: None,
        dup_to: pool,
    };
    if let Some((label, span)) = &draft.label {
        rule.label = Some(filled(label, span, &rule, number, report)?);
    }
    if let Some((tag, span)) = &draft.tag {
        rule.tag = Some(filled(tag, span, &rule, number, report)?);
    }
    if let Some((tag, negated, span)) = &draft.tagged {
        rule.tagged = Some((filled(tag, span, &rule, number, report)?, *negated));
    }
    Ok(rule)
}

/// The addresses of an item; all of its tables are there.
fn resolved(host: &HostItem, tables: &Tables) -> Option<Host> {
    let addresses = match &host.what {
        Hosts::Any => return None,
        Hosts::Network(network) => Addresses::Network(*network),
        Hosts::Range(first, last) => Addresses::Range(*first, *last),
        Hosts::Table(name) => Addresses::Table(Arc::clone(tables.get(name)?)),
    };
    Some(Host { addresses, negated: host.negated })
}

/// What pfctl checks of each rule that a statement expands to.
fn check_rule(
    draft: &Draft,
    combination: &Combination<'_>,
    rule: &Rule,
    report: &mut Report<'_>,
) -> Result<(), Stop> {
    let protocol = rule.protocol;
    let ports = draft.source.ports.first().or(draft.destination.ports.first());
    let mut result = Ok(());
    if let Some((_, span)) = ports.filter(|_| !matches!(protocol, Some(TCP | UDP))) {
        let help = "write `proto tcp`, `proto udp` or `proto { tcp, udp }`";
        result = Err(report.wrong(span.clone(), "port only applies to tcp/udp", help));
    }
    if let (Some((_, span)), Some(_)) = (&draft.flags, rule.flags.filter(|_| protocol != Some(TCP))) {
        result = Err(report.wrong(span.clone(), "flags only applies to tcp", "write `proto tcp`"));
    }
    if let Some(icmp) = combination.icmp {
        let (number, name, word) = match icmp.family {
            Family::V4 => (ICMP, "icmp", "inet"),
            Family::V6 => (ICMP6, "ipv6-icmp", "inet6"),
        };
        let help = format!("write `{word} proto {name}`");
        let what = match () {
            () if !matches!(protocol, Some(ICMP | ICMP6)) => "icmp-type/code only applies to icmp",
            () if protocol != Some(number) => "icmp-type mismatch",
            () if rule.family.is_none() => "must indicate address family with icmp-type/code",
            () => "",
        };
        if !what.is_empty() {
            result = Err(report.wrong(icmp.span.clone(), what, help));
        }
    }
    let mismatch = match (protocol, rule.family) {
        (Some(ICMP), Some(Family::V6)) => Some(("icmp", "inet6", "ipv6-icmp")),
        (Some(ICMP6), Some(Family::V4)) => Some(("ipv6-icmp", "inet", "icmp")),
        _ => None,
    };
    if let Some((name, family, other)) = mismatch {
        let span = draft.protocols.iter().find(|(number, _)| Some(*number) == protocol);
        let span = span.map_or(draft.span.clone(), |(_, span)| span.clone());
        let what = format!("proto {name} doesn't match address family {family}");
        result =
            Err(report.wrong(span, what, format!("write `proto {other}`, or addresses of the other family")));
    }
    result
}

/// A label or a tag with what it names of the rule put in: `$if`, `$srcaddr`, `$dstaddr`, `$srcport`,
/// `$dstport`, `$proto` and `$nr`, the number of the rule from 0.
fn filled(
    text: &str,
    span: &Range<usize>,
    rule: &Rule,
    number: usize,
    report: &mut Report<'_>,
) -> Result<String, Stop> {
    const LONGEST: usize = 63;
    if !text.contains('$') {
        return Ok(text.to_owned());
    }
    let port = |port: Option<PortMatch>| port.map(|port| ShownPort(port).compact()).unwrap_or_default();
    let protocol = match rule.protocol {
        Some(number) => names::protocol_name(number).map_or_else(|| number.to_string(), str::to_owned),
        None => "ip".to_owned(),
    };
    let out = text
        .replace("$if", rule.on.as_ref().map_or("any", |on| &on.interface))
        .replace("$srcaddr", &ShownHost(rule.source.host.as_ref()).to_string())
        .replace("$dstaddr", &ShownHost(rule.destination.host.as_ref()).to_string())
        .replace("$srcport", &port(rule.source.port))
        .replace("$dstport", &port(rule.destination.port))
        .replace("$proto", &protocol)
        .replace("$nr", &number.to_string());
    if out.len() > LONGEST || out.is_empty() {
        let what = format!("{} has {} octets when it is filled in", shown(text), out.len());
        return Err(report.wrong(span.clone(), what, format!("it must have 1 to {LONGEST}")));
    }
    Ok(out)
}
