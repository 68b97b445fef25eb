//! A machine in memory, for tests of what is built on the seam: interfaces with drivers that behave like real
//! ones, addresses, sysctls, queueing disciplines, maps, programs, and where they are attached.
//!
//! It refuses what the kernel refuses, with the kernel's errno, as far as what is built on the seam can tell. It
//! moves no frames and runs no programs: `prog_test_run` is not supported.

mod card;
mod classic;
mod network;
mod prefix;
mod programs;
mod snapshot;

pub use card::Card;
pub use snapshot::Snapshot;

use std::time::Duration;

use crate::classic::{ClassicFilter, ClassicSpec};
use crate::error::{Result, SysError};
use crate::gate::{Gate, Pass};
use crate::net::{
    Address, Capabilities, Driver, Feature, KernelVersion, Link, Pause, Route, VethSpec, XdpFeatures,
};
use crate::object::{
    Attached, Filter, FilterSpec, Hook, MapFd, MapInfo, MapSpec, Place, ProgFd, ProgInfo, ProgSpec, TestRun,
    TestRunResult, XdpMode,
};
use crate::queue::{Class, HtbClass, Qdisc, QdiscSpec, QueueStats};
use crate::seam::Sys;
use network::Network;
use programs::Programs;

/// A machine in memory, and one process on it.
#[derive(Clone, Debug)]
pub struct Fake {
    gate: Gate,
    killed: bool,
    kernel: KernelVersion,
    capabilities: Capabilities,
    network: Network,
    programs: Programs,
    expedited: bool,
    random: u64,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// A machine with kernel 6.18, two CPUs, every capability, and no interface but loopback.
    #[must_use]
    pub fn new() -> Self {
        Self {
            gate: Gate::new(),
            killed: false,
            kernel: KernelVersion::parse("6.18.0-fake"),
            capabilities: Capabilities {
                net_admin: true,
                net_raw: true,
                bpf: true,
                sys_admin: true,
                machine_owner: true,
            },
            network: Network::new(),
            programs: Programs::new(2),
            expedited: false,
            random: 4,
        }
    }

    /// Plugs in an interface, which is down, and gives its index.
    pub fn add_card(&mut self, name: &str, card: Card) -> u32 {
        self.network.add(name, card)
    }

    /// Runs another kernel: without tcx before 6.6, without XDP features before 6.3.
    pub fn set_kernel(&mut self, release: &str) {
        self.kernel = KernelVersion::parse(release);
    }

    /// What [`Sys::random`] gives, each time.
    pub fn set_random(&mut self, number: u64) {
        self.random = number;
    }

    /// Gives the process other rights.
    pub fn set_capabilities(&mut self, capabilities: Capabilities) {
        self.capabilities = capabilities;
    }

    /// An interface as it is, to be made otherwise (counters, a master, an MTU, ...).
    pub fn link_mut(&mut self, name: &str) -> Option<&mut Link> {
        self.network.link_mut(name)
    }

    /// The driver of an interface.
    pub fn card_mut(&mut self, name: &str) -> Option<&mut Card> {
        self.network.card_mut(name)
    }

    /// Adds a route, which nothing on the seam can.
    pub fn add_route(&mut self, route: Route) {
        self.network.routes.push(route);
    }

    /// The classic filters on this parent, to move their counters.
    pub fn classic_mut(&mut self, ifindex: u32, parent: u32) -> &mut [ClassicFilter] {
        self.network.classic.entry((ifindex, parent)).or_default()
    }

    /// The counters of the queueing discipline or class with this handle.
    pub fn queue_stats_mut(&mut self, ifindex: u32, handle: u32) -> Option<&mut QueueStats> {
        self.network.queue_stats_mut(ifindex, handle)
    }

    /// Calls made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.gate.calls()
    }

    /// Ends the process and starts another: its descriptors are closed, what hangs on nothing else is gone, its
    /// gate is new. The machine stays as it is.
    pub fn restart(&mut self) {
        self.gate = Gate::new();
        self.killed = false;
        self.programs.close_all();
        self.collect();
    }

    /// What anybody can see of the machine, without what only counts.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.network, &self.programs, self.expedited)
    }

    /// Passes the gate, and checks that the process may do this.
    fn pass(&mut self, name: &'static str, object: &str, changes: bool) -> Result<()> {
        let dead =
            || SysError::new(name, object, libc::EOWNERDEAD).with_detail("the process was killed on purpose");
        if self.killed {
            return Err(dead());
        }
        match self.gate.admit(name, object, changes) {
            Pass::Go if changes && !self.capabilities.net_admin => {
                Err(SysError::new(name, object, libc::EPERM))
            }
            Pass::Go => Ok(()),
            Pass::Fail(errno) => Err(SysError::new(name, object, errno).with_detail("broken on purpose")),
            Pass::Kill => {
                self.killed = true;
                Err(dead())
            }
        }
    }

    /// Passes the gate, and checks that the process may do this with eBPF.
    fn pass_bpf(&mut self, name: &'static str, object: &str, changes: bool) -> Result<()> {
        self.pass(name, object, changes)?;
        let can = self.capabilities;
        if !can.machine_owner || !(can.bpf || can.sys_admin) {
            return Err(SysError::new(name, object, libc::EPERM));
        }
        Ok(())
    }

    /// Frees programs and maps that nothing holds any more.
    fn collect(&mut self) {
        let attached = self.network.attached_programs();
        self.programs.collect(&attached);
    }
}

impl Sys for Fake {
    fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }

    fn kernel_version(&mut self) -> Result<KernelVersion> {
        self.pass("uname", "", false)?;
        Ok(self.kernel.clone())
    }

    fn possible_cpus(&mut self) -> Result<usize> {
        self.pass("possible cpus", "", false)?;
        Ok(self.programs.cpus)
    }

    fn capabilities(&mut self) -> Result<Capabilities> {
        self.pass("capget", "", false)?;
        Ok(self.capabilities)
    }

    fn random(&mut self) -> Result<u64> {
        self.pass("getrandom", "", false)?;
        Ok(self.random)
    }

    fn links(&mut self) -> Result<Vec<Link>> {
        self.pass("RTM_GETLINK", "", false)?;
        Ok(self.network.links())
    }

    fn addresses(&mut self) -> Result<Vec<Address>> {
        self.pass("RTM_GETADDR", "", false)?;
        Ok(self.network.addresses.clone())
    }

    fn routes(&mut self) -> Result<Vec<Route>> {
        self.pass("RTM_GETROUTE", "", false)?;
        Ok(self.network.routes.clone())
    }

    fn add_address(&mut self, address: &Address) -> Result<()> {
        self.pass("RTM_NEWADDR", &address.to_string(), true)?;
        self.network.add_address(address)
    }

    fn delete_address(&mut self, address: &Address) -> Result<()> {
        self.pass("RTM_DELADDR", &address.to_string(), true)?;
        self.network.delete_address(address)
    }

    fn set_link_flags(&mut self, ifindex: u32, set: u32, clear: u32) -> Result<()> {
        let object = format!("flags of interface {ifindex}");
        self.pass("RTM_NEWLINK", &object, true)?;
        self.network.set_flags(&object, ifindex, set, clear)
    }

    fn settle(&mut self, ifindexes: &[u32], _timeout: Duration) -> Result<Vec<u32>> {
        self.pass("RTM_GETLINK", "until frames can leave", false)?;
        let links = self.network.links();
        let waiting = links.into_iter().filter(|link| ifindexes.contains(&link.index) && !link.carrier);
        Ok(waiting.map(|link| link.index).collect())
    }

    fn set_addr_gen_mode(&mut self, ifindex: u32, mode: u8) -> Result<()> {
        let object = format!("addr_gen_mode of interface {ifindex}");
        self.pass("RTM_SETLINK", &object, true)?;
        self.network.set_addr_gen_mode(&object, ifindex, mode)
    }

    fn create_veth(&mut self, spec: &VethSpec) -> Result<()> {
        let object = format!("veth {} and {}", spec.name, spec.peer);
        self.pass("RTM_NEWLINK", &object, true)?;
        self.network.create_veth(&object, spec)
    }

    fn delete_link(&mut self, ifindex: u32) -> Result<()> {
        let object = format!("interface {ifindex}");
        self.pass("RTM_DELLINK", &object, true)?;
        self.network.delete_link(&object, ifindex)?;
        self.collect();
        Ok(())
    }

    fn expedited(&mut self) -> Result<Option<bool>> {
        self.pass("read", "/sys/kernel/rcu_expedited", false)?;
        Ok(Some(self.expedited))
    }

    fn set_expedited(&mut self, on: bool) -> Result<()> {
        self.pass("write", "/sys/kernel/rcu_expedited", true)?;
        self.expedited = on;
        Ok(())
    }

    fn sysctl_read(&mut self, path: &str) -> Result<String> {
        self.pass("read sysctl", path, false)?;
        self.network.sysctl(path).ok_or_else(|| SysError::new("read sysctl", path, libc::ENOENT))
    }

    fn sysctl_write(&mut self, path: &str, value: &str) -> Result<()> {
        let object = format!("{path} = {value}");
        self.pass("write sysctl", &object, true)?;
        self.network.set_sysctl(&object, path, value)
    }

    fn features(&mut self, ifname: &str) -> Result<Vec<Feature>> {
        self.pass("ETHTOOL_GFEATURES", ifname, false)?;
        self.network.card("ETHTOOL_GFEATURES", ifname).map(|card| card.features.clone())
    }

    fn set_features(&mut self, ifname: &str, wanted: &[(String, bool)]) -> Result<Vec<String>> {
        self.pass("ETHTOOL_SFEATURES", ifname, true)?;
        self.network.set_features(ifname, wanted)
    }

    fn driver(&mut self, ifname: &str) -> Result<Driver> {
        self.pass("ETHTOOL_GDRVINFO", ifname, false)?;
        self.network.card("ETHTOOL_GDRVINFO", ifname).map(|card| card.driver.clone())
    }

    fn pause(&mut self, ifname: &str) -> Result<Option<Pause>> {
        self.pass("ETHTOOL_GPAUSEPARAM", ifname, false)?;
        self.network.card("ETHTOOL_GPAUSEPARAM", ifname).map(|card| card.pause)
    }

    fn set_pause(&mut self, ifname: &str, pause: Pause) -> Result<()> {
        self.pass("ETHTOOL_SPAUSEPARAM", ifname, true)?;
        self.network.set_pause(ifname, pause)
    }

    fn driver_stats(&mut self, ifname: &str) -> Result<Vec<(String, u64)>> {
        self.pass("ETHTOOL_GSTATS", ifname, false)?;
        self.network.card("ETHTOOL_GSTATS", ifname).map(|card| card.stats.clone())
    }

    fn qdiscs(&mut self, ifindex: u32) -> Result<Vec<Qdisc>> {
        self.pass("RTM_GETQDISC", &format!("of interface {ifindex}"), false)?;
        Ok(self.network.qdiscs(ifindex))
    }

    fn classes(&mut self, ifindex: u32) -> Result<Vec<Class>> {
        self.pass("RTM_GETTCLASS", &format!("of interface {ifindex}"), false)?;
        Ok(self.network.classes.iter().filter(|class| class.ifindex == ifindex).cloned().collect())
    }

    fn add_qdisc(
        &mut self,
        ifindex: u32,
        parent: u32,
        handle: u32,
        spec: &QdiscSpec,
        replace: bool,
    ) -> Result<()> {
        let object = format!("{} at {parent:x} of interface {ifindex}", spec.kind());
        self.pass("RTM_NEWQDISC", &object, true)?;
        self.network.add_qdisc(&object, (ifindex, parent, handle), spec, replace)
    }

    fn delete_qdisc(&mut self, ifindex: u32, parent: u32, handle: u32) -> Result<()> {
        let object = format!("{handle:x} at {parent:x} of interface {ifindex}");
        self.pass("RTM_DELQDISC", &object, true)?;
        self.network.delete_qdisc(&object, (ifindex, parent, handle))?;
        self.collect();
        Ok(())
    }

    fn set_class(&mut self, ifindex: u32, parent: u32, handle: u32, class: &HtbClass) -> Result<()> {
        let object = format!("{handle:x} of interface {ifindex}");
        self.pass("RTM_NEWTCLASS", &object, true)?;
        self.network.set_class(&object, (ifindex, parent, handle), class)
    }

    fn filters(&mut self, ifindex: u32, hook: Hook) -> Result<Vec<Filter>> {
        self.pass("RTM_GETTFILTER", &format!("{hook} of interface {ifindex}"), false)?;
        let direct = self.network.filters.get(&(ifindex, hook)).cloned().unwrap_or_default();
        Ok(direct.into_iter().chain(self.network.classic_of(ifindex, hook)).collect())
    }

    fn add_filter(&mut self, ifindex: u32, hook: Hook, filter: &FilterSpec<'_>) -> Result<()> {
        let object = format!("{} at {hook} of interface {ifindex}", filter.name);
        self.pass("RTM_NEWTFILTER", &object, true)?;
        let prog_id = self.programs.prog_id("RTM_NEWTFILTER", filter.prog)?;
        self.network.add_filter(&object, ifindex, hook, filter, prog_id)?;
        self.collect();
        Ok(())
    }

    fn delete_filter(&mut self, ifindex: u32, hook: Hook, priority: u16, handle: u32) -> Result<()> {
        let object = format!("{priority}/{handle} at {hook} of interface {ifindex}");
        self.pass("RTM_DELTFILTER", &object, true)?;
        self.network.delete_filter(&object, ifindex, hook, priority, handle)?;
        self.collect();
        Ok(())
    }

    fn classic_filters(&mut self, ifindex: u32, parent: u32) -> Result<Vec<ClassicFilter>> {
        self.pass("RTM_GETTFILTER", &format!("at {parent:x} of interface {ifindex}"), false)?;
        Ok(self.network.classic_filters(ifindex, parent))
    }

    fn add_classic(&mut self, ifindex: u32, parent: u32, spec: &ClassicSpec) -> Result<()> {
        let (chain, priority, handle) = (spec.chain, spec.priority, spec.handle);
        let object = format!("{chain}/{priority}/{handle} at {parent:x} of interface {ifindex}");
        self.pass("RTM_NEWTFILTER", &object, true)?;
        self.network.add_classic(&object, (ifindex, parent), spec)
    }

    fn delete_classic(
        &mut self,
        ifindex: u32,
        parent: u32,
        chain: u32,
        priority: u16,
        handle: u32,
    ) -> Result<()> {
        let object = format!("{chain}/{priority}/{handle} at {parent:x} of interface {ifindex}");
        self.pass("RTM_DELTFILTER", &object, true)?;
        self.network.delete_classic(&object, (ifindex, parent), (chain, priority, handle))
    }

    fn xdp_attach(
        &mut self,
        ifindex: u32,
        mode: XdpMode,
        prog: ProgFd,
        expected: Option<ProgFd>,
    ) -> Result<()> {
        let object = format!("XDP of interface {ifindex}");
        self.pass("RTM_SETLINK", &object, true)?;
        let prog_id = self.programs.prog_id("RTM_SETLINK", prog)?;
        let expected = expected.map(|fd| self.programs.prog_id("RTM_SETLINK", fd)).transpose()?;
        self.network.attach_xdp(&object, ifindex, mode, prog_id, expected)?;
        self.collect();
        Ok(())
    }

    fn xdp_detach(&mut self, ifindex: u32, mode: XdpMode) -> Result<()> {
        let object = format!("no XDP of interface {ifindex}");
        self.pass("RTM_SETLINK", &object, true)?;
        self.network.detach_xdp(&object, ifindex, mode)?;
        self.collect();
        Ok(())
    }

    fn xdp_features(&mut self, ifindex: u32) -> Result<Option<XdpFeatures>> {
        let object = format!("interface {ifindex}");
        self.pass("NETDEV_CMD_DEV_GET", &object, false)?;
        if !self.kernel.at_least(6, 3) {
            return Ok(None);
        }
        let bits = self.network.xdp_bits("NETDEV_CMD_DEV_GET", &object, ifindex)?;
        Ok(Some(XdpFeatures { bits }))
    }

    fn map_create(&mut self, spec: &MapSpec) -> Result<MapFd> {
        let object = format!("map {}", spec.name);
        self.pass_bpf("BPF_MAP_CREATE", &object, true)?;
        self.programs.create_map(&object, spec)
    }

    fn map_update(&mut self, map: MapFd, key: &[u8], value: &[u8]) -> Result<()> {
        self.pass_bpf("BPF_MAP_UPDATE_ELEM", &format!("map descriptor {}", map.0), true)?;
        self.programs.update(map, key, value)
    }

    fn map_fill(&mut self, map: MapFd, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let object = format!("{} entries of map descriptor {}", entries.len(), map.0);
        self.pass_bpf("BPF_MAP_UPDATE_BATCH", &object, true)?;
        self.programs.fill(map, entries)
    }

    fn map_lookup(&mut self, map: MapFd, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.pass_bpf("BPF_MAP_LOOKUP_ELEM", &format!("map descriptor {}", map.0), false)?;
        self.programs.lookup(map, key)
    }

    fn map_lookup_percpu(&mut self, map: MapFd, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        self.pass_bpf("BPF_MAP_LOOKUP_ELEM", &format!("map descriptor {}", map.0), false)?;
        self.programs.lookup_percpu(map, key)
    }

    fn map_delete(&mut self, map: MapFd, key: &[u8]) -> Result<()> {
        self.pass_bpf("BPF_MAP_DELETE_ELEM", &format!("map descriptor {}", map.0), true)?;
        self.programs.delete(map, key)
    }

    fn map_next_key(&mut self, map: MapFd, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        self.pass_bpf("BPF_MAP_GET_NEXT_KEY", &format!("map descriptor {}", map.0), false)?;
        self.programs.next_key(map, key)
    }

    fn map_freeze(&mut self, map: MapFd) -> Result<()> {
        self.pass_bpf("BPF_MAP_FREEZE", &format!("map descriptor {}", map.0), true)?;
        self.programs.freeze(map)
    }

    fn map_info(&mut self, map: MapFd) -> Result<MapInfo> {
        self.pass_bpf("BPF_OBJ_GET_INFO_BY_FD", &format!("map descriptor {}", map.0), false)?;
        self.programs.map_info(map)
    }

    fn map_by_id(&mut self, id: u32) -> Result<MapFd> {
        self.pass_bpf("BPF_MAP_GET_FD_BY_ID", &format!("map {id}"), false)?;
        self.programs.open_map(id)
    }

    fn prog_load(&mut self, spec: &ProgSpec<'_>) -> Result<ProgFd> {
        let object = format!("program {} ({} instructions)", spec.name, spec.insns.len());
        self.pass_bpf("BPF_PROG_LOAD", &object, true)?;
        self.programs.load(&object, spec)
    }

    fn prog_bind_map(&mut self, prog: ProgFd, map: MapFd) -> Result<()> {
        let object = format!("map descriptor {} to program descriptor {}", map.0, prog.0);
        self.pass_bpf("BPF_PROG_BIND_MAP", &object, true)?;
        self.programs.bind_map(prog, map)
    }

    fn prog_info(&mut self, prog: ProgFd) -> Result<ProgInfo> {
        self.pass_bpf("BPF_OBJ_GET_INFO_BY_FD", &format!("program descriptor {}", prog.0), false)?;
        self.programs.prog_info(prog)
    }

    fn prog_by_id(&mut self, id: u32) -> Result<ProgFd> {
        self.pass_bpf("BPF_PROG_GET_FD_BY_ID", &format!("program {id}"), false)?;
        self.programs.open_prog(id)
    }

    fn prog_test_run(&mut self, prog: ProgFd, run: &TestRun<'_>) -> Result<TestRunResult> {
        let object = format!("program descriptor {}", prog.0);
        self.pass_bpf("BPF_PROG_TEST_RUN", &object, run.live)?;
        Err(SysError::new("BPF_PROG_TEST_RUN", object, libc::EOPNOTSUPP)
            .with_detail("a fake runs no programs"))
    }

    fn tcx_attach(&mut self, ifindex: u32, hook: Hook, prog: ProgFd, place: Place) -> Result<()> {
        const CALL: &str = "BPF_PROG_ATTACH";
        let object = format!("tcx {hook} of interface {ifindex}");
        self.pass_bpf(CALL, &object, true)?;
        if !self.kernel.at_least(6, 6) {
            return Err(SysError::new(CALL, object, libc::EINVAL));
        }
        let prog_id = self.programs.prog_id(CALL, prog)?;
        let replaced = match place {
            Place::Replace(old) => Some(self.programs.prog_id(CALL, old)?),
            Place::First | Place::Last => None,
        };
        let first = place == Place::First;
        self.network.attach_tcx(&object, (ifindex, hook), prog_id, first, replaced)?;
        self.collect();
        Ok(())
    }

    fn tcx_detach(&mut self, ifindex: u32, hook: Hook, prog: ProgFd) -> Result<()> {
        let object = format!("tcx {hook} of interface {ifindex}");
        self.pass_bpf("BPF_PROG_DETACH", &object, true)?;
        let prog_id = self.programs.prog_id("BPF_PROG_DETACH", prog)?;
        self.network.detach_tcx(&object, (ifindex, hook), prog_id)?;
        self.collect();
        Ok(())
    }

    fn tcx_query(&mut self, ifindex: u32, hook: Hook) -> Result<Vec<Attached>> {
        let object = format!("tcx {hook} of interface {ifindex}");
        self.pass_bpf("BPF_PROG_QUERY", &object, false)?;
        if !self.kernel.at_least(6, 6) {
            return Err(SysError::new("BPF_PROG_QUERY", object, libc::EINVAL));
        }
        self.network.query_tcx(&object, (ifindex, hook))
    }

    fn close(&mut self, fd: i32) {
        self.programs.close(fd);
        self.collect();
    }
}
