//! The interfaces of a machine in memory, and all that hangs on them.

use super::Card;
use crate::classic::ClassicFilter;
use crate::error::{Result, SysError};
use crate::net::{Address, IFF_LOWER_UP, IFF_PROMISC, IFF_UP, Link, Pause, Route, VethSpec, Xdp};
use crate::object::{Attached, Filter, FilterSpec, Hook, XdpMode};
use crate::queue::{Class, H_CLSACT, H_EGRESS, H_INGRESS, H_ROOT, HtbClass, Qdisc, QdiscSpec, QueueStats};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// Flags that a user may set; the others follow from the state.
const SETTABLE: u32 = IFF_UP | IFF_PROMISC | crate::net::IFF_NOARP;
const SCOPE_LINK: u8 = 253;
const PERMANENT: u32 = 0x80;
/// What a new interface has below `ipv6/conf/` and `ipv4/conf/`.
const SYSCTLS: &[(&str, &str, &str)] = &[
    ("ipv6", "disable_ipv6", "0"),
    ("ipv6", "accept_ra", "1"),
    ("ipv6", "autoconf", "1"),
    ("ipv6", "addr_gen_mode", "0"),
    ("ipv6", "router_solicitations", "-1"),
    ("ipv4", "arp_ignore", "0"),
    ("ipv4", "arp_announce", "0"),
    ("ipv4", "rp_filter", "0"),
    ("ipv4", "forwarding", "0"),
];

/// Interface, parent, handle.
type At = (u32, u32, u32);

#[derive(Clone, Debug)]
pub(super) struct Network {
    ports: BTreeMap<u32, (Link, Card)>,
    next_index: u32,
    pub(super) addresses: Vec<Address>,
    pub(super) routes: Vec<Route>,
    pub(super) sysctls: BTreeMap<String, String>,
    /// Without the default roots: those follow from the card.
    pub(super) queues: Vec<Qdisc>,
    pub(super) classes: Vec<Class>,
    pub(super) filters: BTreeMap<(u32, Hook), Vec<Filter>>,
    /// By interface and parent.
    pub(super) classic: BTreeMap<(u32, u32), Vec<ClassicFilter>>,
    pub(super) tcx: BTreeMap<(u32, Hook), Vec<u32>>,
}

pub(super) fn fail<T>(call: &'static str, object: &str, errno: i32) -> Result<T> {
    Err(SysError::new(call, object, errno))
}

impl Network {
    pub(super) fn new() -> Self {
        let mut network = Self {
            ports: BTreeMap::new(),
            next_index: 1,
            addresses: Vec::new(),
            routes: Vec::new(),
            sysctls: BTreeMap::new(),
            queues: Vec::new(),
            classes: Vec::new(),
            filters: BTreeMap::new(),
            classic: BTreeMap::new(),
            tcx: BTreeMap::new(),
        };
        let mut card = Card::veth();
        card.kind = None;
        card.driver = crate::Driver::default();
        card.stats = Vec::new();
        card.xdp_bits = 0;
        card.mtu = 65_536;
        let index = network.add("lo", card);
        if let Some((lo, _)) = network.ports.get_mut(&index) {
            lo.arphrd = 772;
        }
        network
    }

    pub(super) fn add(&mut self, name: &str, card: Card) -> u32 {
        let index = self.next_index;
        self.next_index += 1;
        let link = Link {
            index,
            name: name.to_owned(),
            kind: card.kind.clone(),
            arphrd: 1,
            flags: 0x1002,
            mtu: card.mtu,
            min_mtu: 68,
            max_mtu: 65_535,
            address: [&[2, 0][..], &index.to_be_bytes()].concat(),
            operstate: 2,
            qdisc: card.default_qdisc.to_owned(),
            tx_queues: 1,
            rx_queues: 1,
            addr_gen_mode: Some(0),
            ..Link::default()
        };
        for (family, leaf, value) in SYSCTLS {
            self.sysctls.insert(format!("{family}/conf/{name}/{leaf}"), (*value).to_owned());
        }
        self.ports.insert(index, (link, card));
        index
    }

    pub(super) fn links(&self) -> Vec<Link> {
        self.ports.values().map(|(link, _)| link.clone()).collect()
    }

    pub(super) fn cards(&self) -> impl Iterator<Item = (&Link, &Card)> {
        self.ports.values().map(|(link, card)| (link, card))
    }

    pub(super) fn link_mut(&mut self, name: &str) -> Option<&mut Link> {
        self.ports.values_mut().map(|(link, _)| link).find(|link| link.name == name)
    }

    pub(super) fn card_mut(&mut self, name: &str) -> Option<&mut Card> {
        self.ports.values_mut().find(|(link, _)| link.name == name).map(|(_, card)| card)
    }

    pub(super) fn card(&self, call: &'static str, name: &str) -> Result<&Card> {
        let found = self.ports.values().find(|(link, _)| link.name == name);
        found.map(|(_, card)| card).ok_or_else(|| SysError::new(call, name, libc::ENODEV))
    }

    pub(super) fn link(&mut self, call: &'static str, object: &str, ifindex: u32) -> Result<&mut Link> {
        let found = self.ports.get_mut(&ifindex).map(|(link, _)| link);
        found.ok_or_else(|| SysError::new(call, object, libc::ENODEV))
    }

    // Addresses: link-local ones come and go with IPv6 and the interface, as the kernel does it.

    pub(super) fn add_address(&mut self, address: &Address) -> Result<()> {
        let object = address.to_string();
        let name = self.link("RTM_NEWADDR", &object, address.ifindex)?.name.clone();
        if address.ip.is_ipv6() && !self.speaks_ipv6(&name) {
            return fail("RTM_NEWADDR", &object, libc::EACCES);
        }
        self.addresses.retain(|known| (known.ifindex, known.ip) != (address.ifindex, address.ip));
        self.addresses.push(Address { flags: address.flags | PERMANENT, ..address.clone() });
        self.addresses.sort();
        Ok(())
    }

    pub(super) fn delete_address(&mut self, address: &Address) -> Result<()> {
        let same = |known: &Address| {
            (known.ifindex, known.ip, known.prefix) == (address.ifindex, address.ip, address.prefix)
        };
        if !self.addresses.iter().any(same) {
            return fail("RTM_DELADDR", &address.to_string(), libc::EADDRNOTAVAIL);
        }
        self.addresses.retain(|known| !same(known));
        Ok(())
    }

    fn speaks_ipv6(&self, name: &str) -> bool {
        self.sysctls.get(&format!("ipv6/conf/{name}/disable_ipv6")).is_some_and(|value| value == "0")
    }

    /// IPv6 has come up on an interface, or gone from it.
    fn settle_ipv6(&mut self, ifindex: u32) {
        let Some((link, _)) = self.ports.get(&ifindex) else { return };
        let (up, mode) = (link.has(IFF_UP) && link.arphrd == 1, link.addr_gen_mode);
        let mac = <[u8; 6]>::try_from(link.address.as_slice()).unwrap_or_default();
        if !up || !self.speaks_ipv6(&link.name.clone()) {
            self.addresses.retain(|address| address.ifindex != ifindex || address.ip.is_ipv4());
            return;
        }
        let local = |address: &Address| {
            address.ifindex == ifindex && address.ip.is_ipv6() && address.scope == SCOPE_LINK
        };
        if mode == Some(0) && !self.addresses.iter().any(local) {
            let [a, b, c, d, e, f] = mac;
            let bytes = [0xFE, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xFF, 0xFE, d, e, f];
            let ip = IpAddr::V6(Ipv6Addr::from(bytes));
            self.addresses.push(Address {
                ifindex,
                ip,
                prefix: 64,
                scope: SCOPE_LINK,
                broadcast: None,
                flags: PERMANENT,
            });
            self.addresses.sort();
        }
    }

    pub(super) fn set_flags(&mut self, object: &str, ifindex: u32, set: u32, clear: u32) -> Result<()> {
        let link = self.link("RTM_NEWLINK", object, ifindex)?;
        let before = link.flags;
        let mask = (set | clear) & SETTABLE;
        link.flags = (link.flags & !mask) | (set & !clear & mask);
        match (before & IFF_PROMISC != 0, link.has(IFF_PROMISC)) {
            (false, true) => link.promiscuity += 1,
            (true, false) => link.promiscuity = link.promiscuity.saturating_sub(1),
            _ => {}
        }
        let (after, peer) = (link.flags, link.peer);
        self.settle_carrier(ifindex);
        if let Some(peer) = peer {
            self.settle_carrier(peer);
        }
        if (before ^ after) & IFF_UP != 0 {
            self.settle_ipv6(ifindex);
        }
        Ok(())
    }

    /// A carrier is there when the interface is up, and, for a pair, both ends are.
    fn settle_carrier(&mut self, ifindex: u32) {
        let Some(peer) = self.ports.get(&ifindex).map(|(link, _)| link.peer) else { return };
        let other = peer.is_none_or(|peer| self.ports.get(&peer).is_some_and(|(link, _)| link.has(IFF_UP)));
        if let Some((link, _)) = self.ports.get_mut(&ifindex) {
            link.carrier = link.has(IFF_UP) && other;
            link.flags &= !(IFF_LOWER_UP | 0x40);
            if link.carrier {
                link.flags |= IFF_LOWER_UP | 0x40;
            }
            link.operstate = if link.carrier { 6 } else { 2 };
        }
    }

    pub(super) fn set_addr_gen_mode(&mut self, object: &str, ifindex: u32, mode: u8) -> Result<()> {
        if mode > 3 {
            return fail("RTM_SETLINK", object, libc::EINVAL);
        }
        let link = self.link("RTM_SETLINK", object, ifindex)?;
        link.addr_gen_mode = Some(mode);
        let path = format!("ipv6/conf/{}/addr_gen_mode", link.name);
        self.sysctls.insert(path, mode.to_string());
        Ok(())
    }

    pub(super) fn create_veth(&mut self, object: &str, spec: &VethSpec) -> Result<()> {
        for name in [&spec.name, &spec.peer] {
            if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
                return fail("RTM_NEWLINK", object, libc::EINVAL);
            }
            if spec.name == spec.peer || self.ports.values().any(|(link, _)| link.name == *name) {
                return fail("RTM_NEWLINK", object, libc::EEXIST);
            }
        }
        let mut card = Card::veth();
        if spec.mtu != 0 {
            card.mtu = spec.mtu;
        }
        let (peer, index) = (self.add(&spec.peer, card.clone()), self.add(&spec.name, card));
        for (one, other) in [(peer, index), (index, peer)] {
            if let Some((link, _)) = self.ports.get_mut(&one) {
                link.peer = Some(other);
                link.tx_queues = spec.queues.max(1);
                link.rx_queues = spec.queues.max(1);
            }
        }
        Ok(())
    }

    pub(super) fn delete_link(&mut self, object: &str, ifindex: u32) -> Result<()> {
        let link = self.link("RTM_DELLINK", object, ifindex)?;
        if link.kind.is_none() {
            return fail("RTM_DELLINK", object, libc::EOPNOTSUPP);
        }
        let gone: BTreeSet<u32> = [Some(ifindex), link.peer].into_iter().flatten().collect();
        for index in &gone {
            if let Some((link, _)) = self.ports.remove(index) {
                let conf = format!("/conf/{}/", link.name);
                self.sysctls.retain(|path, _| !path.contains(&conf));
            }
        }
        self.addresses.retain(|address| !gone.contains(&address.ifindex));
        self.routes.retain(|route| !route.ifindexes.iter().any(|index| gone.contains(index)));
        self.queues.retain(|qdisc| !gone.contains(&qdisc.ifindex));
        self.classes.retain(|class| !gone.contains(&class.ifindex));
        self.filters.retain(|(index, _), _| !gone.contains(index));
        self.classic.retain(|(index, _), _| !gone.contains(index));
        self.tcx.retain(|(index, _), _| !gone.contains(index));
        Ok(())
    }

    pub(super) fn sysctl(&self, path: &str) -> Option<String> {
        self.sysctls.get(path).cloned()
    }

    pub(super) fn set_sysctl(&mut self, object: &str, path: &str, value: &str) -> Result<()> {
        let Some(slot) = self.sysctls.get_mut(path) else {
            return fail("write sysctl", object, libc::ENOENT);
        };
        value.clone_into(slot);
        let name = path.strip_prefix("ipv6/conf/").and_then(|rest| rest.split_once('/'));
        let Some((name, leaf)) = name else { return Ok(()) };
        let Some(link) = self.link_mut(name) else { return Ok(()) };
        let ifindex = link.index;
        match leaf {
            "disable_ipv6" => self.settle_ipv6(ifindex),
            "addr_gen_mode" => link.addr_gen_mode = value.parse().ok(),
            _ => {}
        }
        Ok(())
    }

    // Drivers.

    pub(super) fn set_features(&mut self, name: &str, wanted: &[(String, bool)]) -> Result<Vec<String>> {
        self.card("ETHTOOL_SFEATURES", name)?;
        let Some(card) = self.card_mut(name) else { return Ok(Vec::new()) };
        for (name, on) in wanted {
            for feature in
                card.features.iter_mut().filter(|feature| feature.name == *name && feature.changeable())
            {
                feature.wanted = *on;
            }
        }
        card.settle();
        let took = |name: &str, on| card.features.iter().any(|f| f.name == name && f.active == on);
        Ok(wanted.iter().filter(|(name, on)| !took(name, *on)).map(|(name, _)| name.clone()).collect())
    }

    pub(super) fn set_pause(&mut self, name: &str, pause: Pause) -> Result<()> {
        self.card("ETHTOOL_SPAUSEPARAM", name)?;
        match self.card_mut(name).and_then(|card| card.pause.as_mut()) {
            Some(slot) => *slot = pause,
            None => return fail("ETHTOOL_SPAUSEPARAM", name, libc::EOPNOTSUPP),
        }
        Ok(())
    }

    pub(super) fn xdp_bits(&self, call: &'static str, object: &str, ifindex: u32) -> Result<u64> {
        let Some((link, card)) = self.ports.get(&ifindex) else { return fail(call, object, libc::ENODEV) };
        // A veth takes redirected frames while its peer polls: with a native program, or with GRO.
        let polls = |(peer, card): &(Link, Card)| {
            let gro = card.features.iter().any(|feature| feature.name == "rx-gro" && feature.active);
            gro || peer.xdp.is_some_and(|xdp| xdp.mode == XdpMode::Native)
        };
        let target = link.peer.and_then(|peer| self.ports.get(&peer)).is_some_and(polls);
        Ok(card.xdp_bits | if target { 4 } else { 0 })
    }

    // Queueing disciplines.

    pub(super) fn qdiscs(&self, ifindex: u32) -> Vec<Qdisc> {
        let own = self.queues.iter().filter(|qdisc| qdisc.ifindex == ifindex);
        let has_root = own.clone().any(|qdisc| qdisc.parent == H_ROOT);
        let default = self.ports.get(&ifindex).filter(|_| !has_root).map(|(_, card)| Qdisc {
            ifindex,
            kind: card.default_qdisc.to_owned(),
            handle: 0,
            parent: H_ROOT,
            options: Vec::new(),
            stats: QueueStats::default(),
        });
        default.into_iter().chain(own.cloned()).collect()
    }

    pub(super) fn add_qdisc(&mut self, object: &str, at: At, spec: &QdiscSpec, replace: bool) -> Result<()> {
        const CALL: &str = "RTM_NEWQDISC";
        let (ifindex, parent, handle) = at;
        self.link(CALL, object, ifindex)?;
        let place = |qdisc: &Qdisc| (qdisc.ifindex, qdisc.parent) == (ifindex, parent);
        if self.queues.iter().any(place) && !replace {
            return fail(CALL, object, libc::EEXIST);
        }
        let is_class = |class: &Class| (class.ifindex, class.handle) == (ifindex, parent);
        let fixed = parent == H_ROOT || (parent == H_CLSACT && *spec == QdiscSpec::Clsact);
        if !fixed && !self.classes.iter().any(is_class) {
            return fail(CALL, object, libc::ENOENT);
        }
        if self.queues.iter().any(place) {
            let old = self.queues.iter().find(|qdisc| place(qdisc)).map_or(0, |qdisc| qdisc.handle);
            self.delete_qdisc(object, (ifindex, parent, old))?;
        }
        // A handle that is left to the kernel is one of 8000: and up.
        let used = |handle: u32| self.queues.iter().any(|q| (q.ifindex, q.handle) == (ifindex, handle));
        let handle = match handle {
            0 => (0x8001..0xFFFF_u32).map(|major| major << 16).find(|handle| !used(*handle)).unwrap_or(0),
            _ => handle,
        };
        self.queues.push(Qdisc {
            ifindex,
            kind: spec.kind().to_owned(),
            handle,
            parent,
            options: format!("{spec:?}").into_bytes(),
            stats: QueueStats::default(),
        });
        if let Some(class) = self.classes.iter_mut().find(|class| is_class(class)) {
            class.leaf = handle;
        }
        self.name_root(ifindex);
        Ok(())
    }

    pub(super) fn delete_qdisc(&mut self, object: &str, (ifindex, parent, handle): At) -> Result<()> {
        let place = |q: &Qdisc| {
            (q.ifindex, q.parent) == (ifindex, parent)
                && (handle == 0 || parent == H_CLSACT || q.handle == handle)
        };
        let Some(found) = self.queues.iter().find(|qdisc| place(qdisc)).cloned() else {
            let errno = if parent == H_ROOT { libc::EINVAL } else { libc::ENOENT };
            return fail("RTM_DELQDISC", object, errno);
        };
        self.queues.retain(|qdisc| !place(qdisc));
        if parent == H_CLSACT {
            self.filters.retain(|(index, _), _| *index != ifindex);
        }
        let hangs = |of: u32| match parent {
            H_CLSACT => matches!(of, H_INGRESS | H_EGRESS),
            _ => of == found.handle,
        };
        self.classic.retain(|(index, of), _| *index != ifindex || !hangs(*of));
        let mine = |of: u32| of >> 16 == found.handle >> 16;
        let inside: Vec<u32> = self
            .classes
            .iter()
            .filter(|class| class.ifindex == ifindex && mine(class.handle))
            .map(|class| class.handle)
            .collect();
        self.classes.retain(|class| class.ifindex != ifindex || !mine(class.handle));
        self.queues.retain(|qdisc| qdisc.ifindex != ifindex || !inside.contains(&qdisc.parent));
        self.name_root(ifindex);
        Ok(())
    }

    fn name_root(&mut self, ifindex: u32) {
        let kind = self.qdiscs(ifindex).into_iter().find(|q| q.parent == H_ROOT).map(|q| q.kind);
        if let (Some((link, _)), Some(kind)) = (self.ports.get_mut(&ifindex), kind) {
            link.qdisc = kind;
        }
    }

    pub(super) fn set_class(&mut self, object: &str, at: At, class: &HtbClass) -> Result<()> {
        let (ifindex, parent, handle) = at;
        let root = |q: &Qdisc| q.ifindex == ifindex && q.kind == "htb" && q.handle >> 16 == handle >> 16;
        if !self.queues.iter().any(root) {
            return fail("RTM_NEWTCLASS", object, libc::ENOENT);
        }
        if class.rate_bytes_s == 0 || class.ceil_bytes_s == 0 {
            return fail("RTM_NEWTCLASS", object, libc::EINVAL);
        }
        let options = format!("{class:?}").into_bytes();
        if let Some(known) = self.classes.iter_mut().find(|c| (c.ifindex, c.handle) == (ifindex, handle)) {
            known.options = options;
            return Ok(());
        }
        let stats = QueueStats::default();
        self.classes.push(Class { ifindex, kind: "htb".to_owned(), handle, parent, leaf: 0, options, stats });
        Ok(())
    }

    pub(super) fn queue_stats_mut(&mut self, ifindex: u32, handle: u32) -> Option<&mut QueueStats> {
        let class = self.classes.iter_mut().find(|c| (c.ifindex, c.handle) == (ifindex, handle));
        let qdisc = self.queues.iter_mut().find(|q| (q.ifindex, q.handle) == (ifindex, handle));
        class.map(|class| &mut class.stats).or(qdisc.map(|qdisc| &mut qdisc.stats))
    }

    // Where programs are attached.

    pub(super) fn add_filter(
        &mut self,
        object: &str,
        ifindex: u32,
        hook: Hook,
        spec: &FilterSpec<'_>,
        prog_id: u32,
    ) -> Result<()> {
        const CALL: &str = "RTM_NEWTFILTER";
        self.link(CALL, object, ifindex)?;
        if spec.with_clsact {
            self.add_qdisc(object, (ifindex, H_CLSACT, 0xffff_0000), &QdiscSpec::Clsact, false)?;
        }
        if !self.queues.iter().any(|q| (q.ifindex, q.parent) == (ifindex, H_CLSACT)) {
            return fail(CALL, object, libc::EINVAL);
        }
        let list = self.filters.entry((ifindex, hook)).or_default();
        let same = |f: &Filter| (f.priority, f.handle) == (spec.priority, spec.handle);
        if list.iter().any(same) && !spec.replace {
            return fail(CALL, object, libc::EEXIST);
        }
        list.retain(|filter| !same(filter));
        list.push(Filter {
            kind: "bpf".to_owned(),
            priority: spec.priority,
            protocol: 3,
            handle: spec.handle,
            name: spec.name.to_owned(),
            prog_id,
        });
        list.sort_by_key(|filter| (filter.priority, filter.handle));
        Ok(())
    }

    pub(super) fn delete_filter(
        &mut self,
        object: &str,
        ifindex: u32,
        hook: Hook,
        priority: u16,
        handle: u32,
    ) -> Result<()> {
        let list = self.filters.entry((ifindex, hook)).or_default();
        let before = list.len();
        list.retain(|filter| (filter.priority, filter.handle) != (priority, handle));
        if list.len() == before { fail("RTM_DELTFILTER", object, libc::ENOENT) } else { Ok(()) }
    }

    pub(super) fn attach_xdp(
        &mut self,
        object: &str,
        ifindex: u32,
        mode: XdpMode,
        prog_id: u32,
        expected: Option<u32>,
    ) -> Result<()> {
        const CALL: &str = "RTM_SETLINK";
        let Some((link, card)) = self.ports.get_mut(&ifindex) else {
            return fail(CALL, object, libc::ENODEV);
        };
        if mode == XdpMode::Native && card.xdp_bits & 1 == 0 {
            return fail(CALL, object, libc::EOPNOTSUPP);
        }
        match (link.xdp, expected) {
            (Some(xdp), _) if xdp.mode != mode => return fail(CALL, object, libc::EEXIST),
            (Some(_), None) => return fail(CALL, object, libc::EBUSY),
            (found, Some(expected)) if found.map(|xdp| xdp.prog_id) != Some(expected) => {
                return fail(CALL, object, libc::EEXIST);
            }
            _ => link.xdp = Some(Xdp { mode, prog_id }),
        }
        Ok(())
    }

    pub(super) fn detach_xdp(&mut self, object: &str, ifindex: u32, mode: XdpMode) -> Result<()> {
        let link = self.link("RTM_SETLINK", object, ifindex)?;
        link.xdp = link.xdp.filter(|xdp| xdp.mode != mode);
        Ok(())
    }

    pub(super) fn attach_tcx(
        &mut self,
        object: &str,
        at: (u32, Hook),
        prog_id: u32,
        first: bool,
        replaced: Option<u32>,
    ) -> Result<()> {
        const CALL: &str = "BPF_PROG_ATTACH";
        self.link(CALL, object, at.0)?;
        let list = self.tcx.entry(at).or_default();
        if list.contains(&prog_id) {
            return fail(CALL, object, libc::EEXIST);
        }
        match replaced {
            Some(old) => match list.iter_mut().find(|id| **id == old) {
                Some(slot) => *slot = prog_id,
                None => return fail(CALL, object, libc::ENOENT),
            },
            None if first => list.insert(0, prog_id),
            None => list.push(prog_id),
        }
        Ok(())
    }

    pub(super) fn detach_tcx(&mut self, object: &str, at: (u32, Hook), prog_id: u32) -> Result<()> {
        self.link("BPF_PROG_DETACH", object, at.0)?;
        let list = self.tcx.entry(at).or_default();
        if !list.contains(&prog_id) {
            return fail("BPF_PROG_DETACH", object, libc::ENOENT);
        }
        list.retain(|id| *id != prog_id);
        Ok(())
    }

    pub(super) fn query_tcx(&mut self, object: &str, at: (u32, Hook)) -> Result<Vec<Attached>> {
        self.link("BPF_PROG_QUERY", object, at.0)?;
        let list = self.tcx.get(&at).into_iter().flatten();
        Ok(list.map(|prog_id| Attached { prog_id: *prog_id, link_id: 0 }).collect())
    }

    /// Ids of all programs that an interface holds.
    pub(super) fn attached_programs(&self) -> BTreeSet<u32> {
        let tcx = self.tcx.values().flatten().copied();
        let filters = self.filters.values().flatten().map(|filter| filter.prog_id);
        let xdp = self.ports.values().filter_map(|(link, _)| link.xdp.map(|xdp| xdp.prog_id));
        tcx.chain(filters).chain(xdp).collect()
    }
}
