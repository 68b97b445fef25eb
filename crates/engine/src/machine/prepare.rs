//! Makes an interface fit to be a port, and makes it again what it was.
//!
//! [`survey`] decides and writes nothing; what it gives is saved before [`apply`] changes anything, and is
//! all that [`restore`] needs. Both may be run again at any point: they set values, and never toggle.

use plan::plan::{Plan, Port, Role};
use sys::{Address, IFF_PROMISC, IFF_UP, Link, Pause, QdiscSpec, Result, Sys};

use super::card::{self, Place};
use super::gone;
use super::queue::HANDLE;
use super::saved::{Baseline, Saved, SavedAddress, SavedInterface};
use super::survey::{Machine, Refusal, is_link_local};

/// Frames that wait on the egress of a card whose default discipline would drop or mark some early.
const EGRESS_PACKETS: u32 = 10_000;
/// The least MTU that IPv6 works on (RFC 8200, 5): it leaves an interface that somebody gives a smaller one.
const IPV6_MTU_MIN: u32 = 1280;
/// Disciplines that neither drop early nor mark nor reorder.
const PLAIN_QDISCS: &[&str] = &["noqueue", "pfifo", "pfifo_fast", "bfifo"];

/// What was found about one interface.
pub struct Survey {
    /// What to save, and by that what to change.
    pub saved: SavedInterface,
    /// Reasons to refuse, whatever is done with the root discipline.
    pub refusals: Vec<Refusal>,
    /// Reasons to refuse where the root discipline has to go.
    pub of_root: Vec<Refusal>,
    /// What cannot be had, and does no more harm than that.
    pub notes: Vec<String>,
}

/// Reads what `up` will change on the interface of a port that exists.
///
/// # Errors
/// A system call that failed.
pub fn survey(
    sys: &mut impl Sys,
    machine: &Machine,
    port: &Port,
    link: &Link,
    place: Place,
    clsact: bool,
) -> Result<Survey> {
    let mut found =
        Survey { saved: blank(link), refusals: Vec::new(), of_root: Vec::new(), notes: Vec::new() };
    offloads(sys, port, link, place, &mut found)?;
    if clsact {
        let kinds: Vec<String> = sys.qdiscs(link.index)?.into_iter().map(|qdisc| qdisc.kind).collect();
        if kinds.iter().any(|kind| kind == "ingress") {
            found.refusals.push(Refusal {
                what: format!("port {}: {} has an ingress queueing discipline", port.name, link.name),
                help: format!("`tc qdisc del dev {} ingress`, or attach = \"tcx\"", link.name),
            });
        }
        found.saved.clsact = !kinds.iter().any(|kind| kind == "clsact");
    }
    if port.role == Role::Watched {
        return Ok(found);
    }
    let ipv6 = format!("ipv6/conf/{}/disable_ipv6", link.name);
    match sys.sysctl_read(&ipv6) {
        Ok(value) if value != "1" => found.saved.sysctls.push((ipv6, value)),
        Ok(_) => {}
        Err(error) if gone(&error) => {} // a kernel without IPv6
        Err(error) => return Err(error),
    }
    let own = machine.addresses.iter().filter(|a| a.ifindex == link.index && is_link_local(a));
    found.saved.addresses = own
        .map(|it| SavedAddress { ip: it.ip, prefix: it.prefix, scope: it.scope, broadcast: it.broadcast })
        .collect();
    if !place.is_virtual && matches!(port.role, Role::Network | Role::Span) {
        let pause = sys.pause(&link.name)?.filter(|pause| pause.autoneg || pause.rx || pause.tx);
        found.saved.pause = pause.map(|pause| (pause.autoneg, pause.rx, pause.tx));
    }
    egress(sys, port, link, place, &mut found)?;
    Ok(found)
}

/// Every reason to refuse an interface that came in the place of one that a damaged tap had. Of the others nothing
/// can be said while they are ports. `clsact` says whether a port takes a filter of clsact.
///
/// # Errors
/// A system call that failed.
pub fn of_new_interfaces(
    sys: &mut impl Sys,
    plan: &Plan,
    machine: &Machine,
    before: &Saved,
    clsact: impl Fn(&Port) -> bool,
) -> Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    for port in plan.ports.iter().filter(|port| port.role != Role::Virtual) {
        let Some(link) = machine.link(&port.interface) else { continue };
        if before.interfaces.iter().any(|saved| saved.index == link.index) {
            continue;
        }
        let is_virtual = card::is_virtual("", link.kind.as_deref());
        let place = Place { role: port.role, is_virtual, xdp: false };
        let found = survey(sys, machine, port, link, place, clsact(port))?;
        refusals.extend(found.refusals.into_iter().chain(found.of_root));
    }
    Ok(refusals)
}

fn blank(link: &Link) -> SavedInterface {
    SavedInterface {
        name: link.name.clone(),
        index: link.index,
        up: link.has(IFF_UP),
        promiscuous: link.has(IFF_PROMISC),
        features: Vec::new(),
        sysctls: Vec::new(),
        addresses: Vec::new(),
        pause: None,
        root_qdisc: false,
        clsact: false,
        baseline: Baseline::default(),
    }
}

fn offloads(sys: &mut impl Sys, port: &Port, link: &Link, place: Place, found: &mut Survey) -> Result<()> {
    let wishes = card::wishes(place);
    if wishes.is_empty() {
        return Ok(());
    }
    let features = sys.features(&link.name)?;
    for wish in wishes {
        let Some(feature) = features.iter().find(|feature| feature.name == wish.feature) else { continue };
        if feature.active == wish.on && feature.wanted == wish.on {
            continue;
        }
        if feature.changeable() {
            found.saved.features.push((feature.name.clone(), feature.wanted));
        } else if feature.active != wish.on && !wish.on {
            found.notes.push(format!(
                "port {}: {} cannot switch off {}: {}",
                port.name, link.name, feature.name, wish.why
            ));
        }
    }
    Ok(())
}

/// Whether the root discipline has to go: for a monitor port with a rate always, elsewhere where it drops,
/// marks or reorders by a policy of its own.
fn egress(sys: &mut impl Sys, port: &Port, link: &Link, place: Place, found: &mut Survey) -> Result<()> {
    if port.role == Role::Span {
        return Ok(());
    }
    let qdiscs = sys.qdiscs(link.index)?;
    let mut on_egress =
        qdiscs.iter().filter(|qdisc| !matches!(qdisc.kind.as_str(), "clsact" | "ingress" | "mq"));
    let plain = on_egress.all(|qdisc| PLAIN_QDISCS.contains(&qdisc.kind.as_str()));
    // A card that was never up shows no discipline yet: it gets the default, whatever that is, when it comes up.
    let unborn = link.qdisc == "noop" && !place.is_virtual;
    if plain && !unborn && port.queue.is_none() {
        return Ok(());
    }
    let roots = qdiscs.iter().filter(|qdisc| qdisc.parent == sys::H_ROOT && qdisc.handle != 0);
    for root in roots {
        found.of_root.push(Refusal {
            what: format!(
                "port {}: {} has a queueing discipline of its own ({} {:x}:)",
                port.name,
                link.name,
                root.kind,
                root.handle >> 16
            ),
            help: format!("`tc qdisc del dev {} root` if nothing needs it", link.name),
        });
    }
    found.saved.root_qdisc = true;
    Ok(())
}

/// Makes the interface fit, in the order in which nothing of the host's own can slip out. The guard is on.
///
/// # Errors
/// A system call that failed.
pub fn apply(sys: &mut impl Sys, port: &Port, place: Place, saved: &SavedInterface) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for (path, _) in &saved.sysctls {
        sys.sysctl_write(path, "1")?;
    }
    for address in saved.addresses.iter().filter(|address| address.ip.is_ipv4()) {
        sys.delete_address(&link_local(saved.index, *address))?;
    }
    if !saved.features.is_empty() {
        let wishes = card::wishes(place);
        let wanted: Vec<(String, bool)> = wishes
            .iter()
            .filter(|wish| saved.features.iter().any(|(name, _)| name == wish.feature))
            .map(|wish| (wish.feature.to_owned(), wish.on))
            .collect();
        for name in sys.set_features(&saved.name, &wanted)? {
            let why = wishes.iter().find(|wish| wish.feature == name).map_or("", |wish| wish.why);
            notes.push(format!("port {}: {} did not take {name}: {why}", port.name, saved.name));
        }
    }
    if saved.pause.is_some() {
        sys.set_pause(&saved.name, Pause { autoneg: false, rx: false, tx: false })?;
    }
    if saved.root_qdisc && port.queue.is_none() {
        let spec = QdiscSpec::Pfifo { limit_packets: EGRESS_PACKETS };
        sys.add_qdisc(saved.index, sys::H_ROOT, sys::handle(HANDLE, 0), &spec, true)?;
    }
    let flags = match port.role {
        Role::Watched => 0,
        Role::Monitor | Role::Virtual => IFF_UP,
        Role::Network | Role::Span => IFF_UP | IFF_PROMISC,
    };
    if flags != 0 {
        sys.set_link_flags(saved.index, flags, 0)?;
    }
    Ok(notes)
}

/// Makes the interface, whatever its name is now, what it was. The guard is still on, so that what IPv6 says when
/// it wakes stays here. Gives what a device does not take any more, which is no reason to leave the rest.
///
/// # Errors
/// A system call that failed.
pub fn restore(sys: &mut impl Sys, saved: &SavedInterface, link: &Link) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if saved.root_qdisc {
        let ours = sys::handle(HANDLE, 0);
        let there = sys.qdiscs(saved.index)?.iter().any(|qdisc| qdisc.handle == ours);
        if there {
            sys.delete_qdisc(saved.index, sys::H_ROOT, ours)?;
        }
    }
    if let Some((autoneg, rx, tx)) = saved.pause {
        let set = sys.set_pause(&link.name, Pause { autoneg, rx, tx });
        notes.extend(refused(set)?);
    }
    if !saved.features.is_empty() {
        // What is refused here was refused before too: `wanted` bits take whatever the driver says.
        let set = sys.set_features(&link.name, &saved.features);
        notes.extend(refused(set.map(|_| ()))?);
    }
    let mut clear = 0;
    if !saved.up {
        clear |= IFF_UP;
    }
    if !saved.promiscuous {
        clear |= IFF_PROMISC;
    }
    if link.flags & clear != 0 {
        sys.set_link_flags(saved.index, 0, clear)?;
    }
    for (path, value) in &saved.sysctls {
        let path = path.replace(&format!("/{}/", saved.name), &format!("/{}/", link.name));
        match sys.sysctl_write(&path, value) {
            // IPv6 has left: see IPV6_MTU_MIN.
            Err(error) if gone(&error) => {}
            written => written?,
        }
    }
    if !saved.addresses.is_empty() {
        let now = sys.addresses()?;
        let has_ipv6 = link.mtu >= IPV6_MTU_MIN;
        for address in saved.addresses.iter().filter(|address| address.ip.is_ipv4() || has_ipv6) {
            if !now.iter().any(|it| it.ifindex == saved.index && it.ip == address.ip) {
                sys.add_address(&link_local(saved.index, *address))?;
            }
        }
    }
    Ok(notes)
}

/// What a device says that it cannot do (`EINVAL`, `EOPNOTSUPP`): it could before, so it is another module or
/// another firmware now.
fn refused(set: Result<()>) -> Result<Option<String>> {
    match set {
        Ok(()) => Ok(None),
        Err(error) if matches!(error.errno, 22 | 95) => Ok(Some(format!("not restored: {error}"))),
        Err(error) => Err(error),
    }
}

/// A permanent address (`IFA_F_PERMANENT`).
fn link_local(ifindex: u32, it: SavedAddress) -> Address {
    let SavedAddress { ip, prefix, scope, broadcast } = it;
    Address { ifindex, ip, prefix, scope, broadcast, flags: 0x80 }
}
