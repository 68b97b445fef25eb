//! Virtual interfaces of ours: pairs that stand behind a virtual port, and hops.

use plan::plan::{HookId, Plan, PortId, Role};
use sys::{Link, Result, Sys, VethSpec};

use super::card;
use super::saved::Pair;
use super::{gone, gone_is_fine};

/// Begins the names of the near ends of virtual interfaces; a number follows.
const VIRTUAL_PREFIX: &str = "tw-v";
/// Begins the names of the near ends of hops; a number follows, and `x` for the far end.
const HOP_PREFIX: &str = "tw-h";

/// The near end of the pair that counters of classic filters are made with; `x` follows for the far end.
pub const COUNTER: &str = "tw-c0";
/// Begins its name.
const COUNTER_PREFIX: &str = "tw-c";

/// Whether an interface bears a name that only we give: `tw-v0`, `tw-h12`, `tw-h12x`, `tw-c0`, `tw-c0x`.
pub fn is_pair(name: &str) -> bool {
    let hop = name.strip_prefix(HOP_PREFIX).or_else(|| name.strip_prefix(COUNTER_PREFIX));
    let hop = hop.map(|rest| rest.strip_suffix('x').unwrap_or(rest));
    let number = name.strip_prefix(VIRTUAL_PREFIX).or(hop);
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|octet| octet.is_ascii_digit()))
}

/// Virtual interfaces that bear our names: one end of each pair is enough to delete both.
pub fn leftover(links: &[Link]) -> impl Iterator<Item = &Link> {
    links.iter().filter(|link| is_pair(&link.name) && link.kind.as_deref() == Some("veth"))
}

/// The interface that frames for a virtual port are sent into.
pub fn near_of_virtual(id: PortId) -> String {
    format!("{VIRTUAL_PREFIX}{}", id.0)
}

/// The interface that the frames of a hook are sent into for its hop.
pub fn near_of_hop(id: HookId) -> String {
    format!("{HOP_PREFIX}{}", id.0)
}

/// The name of the interface that frames for a port leave by.
pub fn egress_name(plan: &Plan, id: PortId) -> String {
    let port = plan.port(id);
    if port.role == Role::Virtual { near_of_virtual(id) } else { port.interface.clone() }
}

/// One pair for each virtual interface of a plan.
pub fn of_virtuals(plan: &Plan) -> impl Iterator<Item = Pair> + '_ {
    let virtuals = plan.ports().filter(|(_, port)| port.role == Role::Virtual);
    virtuals.map(|(id, port)| Pair { near: near_of_virtual(id), far: port.interface.clone() })
}

/// The far ends of pairs that are there because of us: those that are saved, and those of leftovers.
pub fn far_ends(links: &[Link], saved: &[Pair]) -> Vec<String> {
    let left = leftover(links).filter_map(|near| near.peer);
    let far = left.filter_map(|peer| links.iter().find(|link| link.index == peer));
    saved.iter().map(|pair| pair.far.clone()).chain(far.map(|link| link.name.clone())).collect()
}

/// Makes the pairs, down, and IPv6 with nothing to say on them. The largest frame must fit through.
///
/// # Errors
/// A system call that failed.
pub fn make(sys: &mut impl Sys, pairs: &[Pair], mtu: u32) -> Result<()> {
    for pair in pairs {
        sys.create_veth(&VethSpec { mtu, ..VethSpec::new(&pair.near, &pair.far) })?;
    }
    for name in pairs.iter().flat_map(|pair| [&pair.near, &pair.far]) {
        match sys.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "1") {
            Err(error) if !gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Makes the near end of a virtual port send wire-sized frames with finished checksums.
///
/// # Errors
/// A system call that failed.
pub fn fit(sys: &mut impl Sys, near: &str) -> Result<()> {
    let wishes = card::wishes(card::Place { role: Role::Virtual, is_virtual: true, xdp: false });
    let known: Vec<String> = sys.features(near)?.into_iter().map(|feature| feature.name).collect();
    let wanted = wishes.iter().map(|wish| (wish.feature.to_owned(), wish.on));
    let wanted: Vec<(String, bool)> = wanted.filter(|(name, _)| known.contains(name)).collect();
    sys.set_features(near, &wanted).map(drop)
}

/// Deletes pairs by the indexes of their ends: one end takes the other with it.
///
/// # Errors
/// A system call that failed.
pub fn delete(sys: &mut impl Sys, links: &[Link], indexes: &[u32]) -> Result<()> {
    let mut deleted: Vec<u32> = Vec::new();
    for index in indexes {
        if deleted.contains(index) {
            continue;
        }
        gone_is_fine(sys.delete_link(*index))?;
        let link = links.iter().find(|link| link.index == *index);
        deleted.extend(link.filter(|link| link.peer_netns.is_none()).and_then(|link| link.peer));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_give_are_ours() {
        for ours in ["tw-v0", "tw-h12", "tw-h12x", "tw-c0", "tw-c0x"] {
            assert!(is_pair(ours), "{ours}");
        }
        for other in ["tw-", "tw-v", "tw-hx", "tw-cx", "tw-v0x", "tw-lab", "tw-home1", "eth0", "ngeth0"] {
            assert!(!is_pair(other), "{other}");
        }
    }
}
