//! The real machine: the namespace of the calling thread, by netlink, ioctl, `/proc/sys/net` and bpf(2).

mod bpf;
mod classic;
mod ethtool;
mod link;
pub(crate) mod netlink;
mod plumbing;
mod queue;
mod xdp;

use crate::classic::{ClassicFilter, ClassicSpec};
use crate::error::{Result, SysError};
use crate::gate::{Fault, Gate};
use crate::net::{
    Address, Capabilities, Driver, Feature, KernelVersion, Link, Pause, Route, VethSpec, XdpFeatures,
};
use crate::object::{
    Attached, Filter, FilterSpec, Hook, MapFd, MapInfo, MapSpec, Place, ProgFd, ProgInfo, ProgSpec, TestRun,
    TestRunResult, XdpMode,
};
use crate::queue::{Class, HtbClass, Qdisc, QdiscSpec};
use crate::seam::Sys;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The machine, through the network namespace of whichever thread calls.
#[derive(Debug, Default)]
pub struct Linux {
    gate: Gate,
    open: BTreeMap<i32, Open>,
    cpus: Option<usize>,
    /// What [`Sys::random`] gives, where that is settled.
    random: Option<u64>,
}

/// A descriptor that a handle stands for; with what is known of it if it is a map.
#[derive(Debug)]
struct Open {
    _fd: OwnedFd,
    map: Option<MapInfo>,
}

impl Linux {
    /// The machine, unbroken.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine, with one call that fails or kills this process.
    #[must_use]
    pub fn with_fault(fault: Fault) -> Self {
        let mut linux = Self::default();
        linux.gate.set_fault(Some(fault));
        linux
    }

    /// What [`Sys::random`] gives from now on, each time: for whoever compares what chance decides.
    pub fn set_random(&mut self, number: u64) {
        self.random = Some(number);
    }

    /// Calls made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.gate.calls()
    }

    fn keep(&mut self, fd: OwnedFd, map: Option<MapInfo>) -> i32 {
        let number = fd.as_raw_fd();
        self.open.insert(number, Open { _fd: fd, map });
        number
    }

    fn map_shape(&self, fd: i32) -> Option<&MapInfo> {
        self.open.get(&fd)?.map.as_ref()
    }

    /// Possible CPUs: from the kernel's list, or by probing where `/sys` is not there.
    fn cpus(&mut self) -> Result<usize> {
        if let Some(cpus) = self.cpus {
            return Ok(cpus);
        }
        let list = fs::read_to_string("/sys/devices/system/cpu/possible").ok();
        let cpus = match list.as_deref().and_then(count_cpus) {
            Some(cpus) => cpus,
            None => bpf::probe_cpus()?,
        };
        self.cpus = Some(cpus);
        Ok(cpus)
    }
}

/// The number of CPUs of a list such as `0-3` or `0,2-5`: one more than the last.
fn count_cpus(list: &str) -> Option<usize> {
    list.trim().rsplit([',', '-']).next()?.parse::<usize>().ok().map(|last| last + 1)
}

/// Machine-wide, not of a network namespace. Not there in a kernel for one CPU, or without `/sys`.
const RCU_EXPEDITED: &str = "/sys/kernel/rcu_expedited";

/// The path of a file below `/proc/sys/net`, refusing what would leave it.
fn sysctl_path(call: &'static str, path: &str) -> Result<String> {
    if path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(SysError::new(call, path, libc::EINVAL));
    }
    // `thread-self` is the namespace of the calling thread; `/proc/sys/net` itself follows the reader anyway.
    Ok(format!("/proc/sys/net/{path}"))
}

/// Effective capabilities of the calling thread as a set of bits.
fn effective_capabilities() -> Result<u64> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    // Two of { effective, permitted, inheritable }, the low 32 bits first.
    let mut data = [0_u32; 6];
    // SAFETY: both buffers are of the size that version 3 has.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if result != 0 {
        return Err(SysError::last("capget", ""));
    }
    Ok(u64::from(data[0]) | u64::from(data[3]) << 32)
}

impl Sys for Linux {
    fn gate(&mut self) -> &mut Gate {
        &mut self.gate
    }

    fn kernel_version(&mut self) -> Result<KernelVersion> {
        self.gate.pass("uname", "", false)?;
        // SAFETY: a zeroed utsname is valid, and is what the call writes to.
        let mut name: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: `name` is a valid utsname.
        if unsafe { libc::uname(&raw mut name) } != 0 {
            return Err(SysError::last("uname", ""));
        }
        // SAFETY: the kernel ends the release with a zero.
        let release = unsafe { std::ffi::CStr::from_ptr(name.release.as_ptr()) };
        Ok(KernelVersion::parse(&release.to_string_lossy()))
    }

    fn possible_cpus(&mut self) -> Result<usize> {
        self.gate.pass("possible cpus", "", false)?;
        self.cpus()
    }

    fn capabilities(&mut self) -> Result<Capabilities> {
        self.gate.pass("capget", "", false)?;
        let bits = effective_capabilities()?;
        let has = |capability: u32| bits >> capability & 1 == 1;
        // The first user namespace maps every id to itself; without /proc there is no other either.
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let numbers: Vec<&str> = map.split_whitespace().collect();
        let machine_owner = matches!(numbers[..], [] | ["0", "0", "4294967295"]);
        Ok(Capabilities {
            net_admin: has(12),
            net_raw: has(13),
            bpf: has(39),
            sys_admin: has(21),
            machine_owner,
        })
    }

    fn random(&mut self) -> Result<u64> {
        self.gate.pass("getrandom", "", false)?;
        if let Some(number) = self.random {
            return Ok(number);
        }
        let mut octets = [0_u8; 8];
        // SAFETY: the buffer is as long as the call is told.
        let got = unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), 0) };
        // Up to 256 octets are never interrupted, and come whole (getrandom(2)).
        if usize::try_from(got) != Ok(octets.len()) {
            return Err(SysError::last("getrandom", ""));
        }
        Ok(u64::from_ne_bytes(octets))
    }

    fn expedited(&mut self) -> Result<Option<bool>> {
        self.gate.pass("read", RCU_EXPEDITED, false)?;
        // A number; the kernel itself counts on it only while it boots.
        Ok(fs::read_to_string(RCU_EXPEDITED).ok().map(|text| text.trim() != "0"))
    }

    fn set_expedited(&mut self, on: bool) -> Result<()> {
        self.gate.pass("write", RCU_EXPEDITED, true)?;
        fs::write(RCU_EXPEDITED, if on { "1" } else { "0" })
            .map_err(|error| SysError::io("write", RCU_EXPEDITED, &error))
    }

    fn links(&mut self) -> Result<Vec<Link>> {
        self.gate.pass("RTM_GETLINK", "", false)?;
        link::list()
    }

    fn link_by_name(&mut self, name: &str) -> Result<Option<Link>> {
        self.gate.pass("RTM_GETLINK", name, false)?;
        link::by_name(name)
    }

    fn addresses(&mut self) -> Result<Vec<Address>> {
        self.gate.pass("RTM_GETADDR", "", false)?;
        link::list_addresses()
    }

    fn routes(&mut self) -> Result<Vec<Route>> {
        self.gate.pass("RTM_GETROUTE", "", false)?;
        link::list_routes()
    }

    fn add_address(&mut self, address: &Address) -> Result<()> {
        self.gate.pass("RTM_NEWADDR", &address.to_string(), true)?;
        link::add_address(address)
    }

    fn delete_address(&mut self, address: &Address) -> Result<()> {
        self.gate.pass("RTM_DELADDR", &address.to_string(), true)?;
        link::delete_address(address)
    }

    fn set_link_flags(&mut self, ifindex: u32, set: u32, clear: u32) -> Result<()> {
        let object = format!("flags of interface {ifindex}");
        self.gate.pass("RTM_NEWLINK", &object, true)?;
        link::set_flags(&object, ifindex, set, clear)
    }

    fn settle(&mut self, ifindexes: &[u32], timeout: Duration) -> Result<Vec<u32>> {
        self.gate.pass("RTM_GETLINK", "until frames can leave", false)?;
        let start = Instant::now();
        loop {
            let mut links = link::list()?;
            links.retain(|link| ifindexes.contains(&link.index) && !link.ready());
            if start.elapsed() >= timeout || !links.iter().any(|link| link.carrier) {
                return Ok(links.into_iter().map(|link| link.index).collect());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn set_addr_gen_mode(&mut self, ifindex: u32, mode: u8) -> Result<()> {
        let object = format!("addr_gen_mode of interface {ifindex}");
        self.gate.pass("RTM_SETLINK", &object, true)?;
        link::set_addr_gen_mode(&object, ifindex, mode)
    }

    fn create_veth(&mut self, spec: &VethSpec) -> Result<()> {
        let object = format!("veth {} and {}", spec.name, spec.peer);
        self.gate.pass("RTM_NEWLINK", &object, true)?;
        link::create_veth(&object, spec)
    }

    fn delete_link(&mut self, ifindex: u32) -> Result<()> {
        let object = format!("interface {ifindex}");
        self.gate.pass("RTM_DELLINK", &object, true)?;
        link::delete(&object, ifindex)
    }

    fn sysctl_read(&mut self, path: &str) -> Result<String> {
        self.gate.pass("read sysctl", path, false)?;
        let file = sysctl_path("read sysctl", path)?;
        let text = fs::read_to_string(file).map_err(|e| SysError::io("read sysctl", path, &e))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    fn sysctl_write(&mut self, path: &str, value: &str) -> Result<()> {
        let object = format!("{path} = {value}");
        self.gate.pass("write sysctl", &object, true)?;
        let file = sysctl_path("write sysctl", path)?;
        // Not `fs::write`: it would try to create and truncate, which /proc answers with the wrong errno.
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).open(&file)?;
            std::io::Write::write_all(&mut file, value.as_bytes())
        };
        write().map_err(|e| SysError::io("write sysctl", object, &e))
    }

    fn features(&mut self, ifname: &str) -> Result<Vec<Feature>> {
        self.gate.pass("ETHTOOL_GFEATURES", ifname, false)?;
        ethtool::features(ifname)
    }

    fn set_features(&mut self, ifname: &str, wanted: &[(String, bool)]) -> Result<Vec<String>> {
        self.gate.pass("ETHTOOL_SFEATURES", ifname, true)?;
        ethtool::set_features(ifname, wanted)
    }

    fn driver(&mut self, ifname: &str) -> Result<Driver> {
        self.gate.pass("ETHTOOL_GDRVINFO", ifname, false)?;
        ethtool::driver(ifname)
    }

    fn pause(&mut self, ifname: &str) -> Result<Option<Pause>> {
        self.gate.pass("ETHTOOL_GPAUSEPARAM", ifname, false)?;
        ethtool::pause(ifname)
    }

    fn set_pause(&mut self, ifname: &str, pause: Pause) -> Result<()> {
        self.gate.pass("ETHTOOL_SPAUSEPARAM", ifname, true)?;
        ethtool::set_pause(ifname, pause)
    }

    fn driver_stats(&mut self, ifname: &str) -> Result<Vec<(String, u64)>> {
        self.gate.pass("ETHTOOL_GSTATS", ifname, false)?;
        ethtool::stats(ifname)
    }

    fn qdiscs(&mut self, ifindex: u32) -> Result<Vec<Qdisc>> {
        self.gate.pass("RTM_GETQDISC", &format!("of interface {ifindex}"), false)?;
        queue::list(ifindex)
    }

    fn classes(&mut self, ifindex: u32) -> Result<Vec<Class>> {
        self.gate.pass("RTM_GETTCLASS", &format!("of interface {ifindex}"), false)?;
        queue::list_classes(ifindex)
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
        self.gate.pass("RTM_NEWQDISC", &object, true)?;
        queue::add(&object, (ifindex, parent, handle), spec, replace)
    }

    fn delete_qdisc(&mut self, ifindex: u32, parent: u32, handle: u32) -> Result<()> {
        let object = format!("{handle:x} at {parent:x} of interface {ifindex}");
        self.gate.pass("RTM_DELQDISC", &object, true)?;
        queue::delete(&object, (ifindex, parent, handle))
    }

    fn set_class(&mut self, ifindex: u32, parent: u32, handle: u32, class: &HtbClass) -> Result<()> {
        let object = format!("{handle:x} of interface {ifindex}");
        self.gate.pass("RTM_NEWTCLASS", &object, true)?;
        queue::set_class(&object, (ifindex, parent, handle), class)
    }

    fn filters(&mut self, ifindex: u32, hook: Hook) -> Result<Vec<Filter>> {
        self.gate.pass("RTM_GETTFILTER", &format!("{hook} of interface {ifindex}"), false)?;
        queue::list_filters(ifindex, hook)
    }

    fn add_filter(&mut self, ifindex: u32, hook: Hook, filter: &FilterSpec<'_>) -> Result<()> {
        let object = format!("{} at {hook} of interface {ifindex}", filter.name);
        self.gate.pass("RTM_NEWTFILTER", &object, true)?;
        queue::add_filter(&object, ifindex, hook, filter)
    }

    fn delete_filter(&mut self, ifindex: u32, hook: Hook, priority: u16, handle: u32) -> Result<()> {
        let object = format!("{priority}/{handle} at {hook} of interface {ifindex}");
        self.gate.pass("RTM_DELTFILTER", &object, true)?;
        queue::delete_filter(&object, ifindex, hook, priority, handle)
    }

    fn classic_filters(&mut self, ifindex: u32, parent: u32) -> Result<Vec<ClassicFilter>> {
        self.gate.pass("RTM_GETTFILTER", &format!("at {parent:x} of interface {ifindex}"), false)?;
        classic::list(ifindex, parent)
    }

    fn add_classic(&mut self, ifindex: u32, parent: u32, spec: &ClassicSpec) -> Result<()> {
        let (chain, priority, handle) = (spec.chain, spec.priority, spec.handle);
        let object = format!("{chain}/{priority}/{handle} at {parent:x} of interface {ifindex}");
        self.gate.pass("RTM_NEWTFILTER", &object, true)?;
        classic::add(&object, ifindex, parent, spec)
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
        self.gate.pass("RTM_DELTFILTER", &object, true)?;
        classic::remove(&object, (ifindex, parent), (chain, priority, handle))
    }

    fn xdp_attach(
        &mut self,
        ifindex: u32,
        mode: XdpMode,
        prog: ProgFd,
        expected: Option<ProgFd>,
    ) -> Result<()> {
        let object = format!("XDP of interface {ifindex}");
        self.gate.pass("RTM_SETLINK", &object, true)?;
        xdp::attach(&object, ifindex, mode, prog, expected)
    }

    fn xdp_detach(&mut self, ifindex: u32, mode: XdpMode) -> Result<()> {
        let object = format!("no XDP of interface {ifindex}");
        self.gate.pass("RTM_SETLINK", &object, true)?;
        xdp::detach(&object, ifindex, mode)
    }

    fn xdp_features(&mut self, ifindex: u32) -> Result<Option<XdpFeatures>> {
        self.gate.pass("NETDEV_CMD_DEV_GET", &format!("interface {ifindex}"), false)?;
        xdp::features(ifindex)
    }

    fn map_create(&mut self, spec: &MapSpec) -> Result<MapFd> {
        self.create_map(spec)
    }

    fn map_update(&mut self, map: MapFd, key: &[u8], value: &[u8]) -> Result<()> {
        self.update_map(map, key, value)
    }

    fn map_fill(&mut self, map: MapFd, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.fill_map(map, entries)
    }

    fn map_lookup(&mut self, map: MapFd, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.lookup_map(map, key)
    }

    fn map_lookup_percpu(&mut self, map: MapFd, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        self.lookup_map_percpu(map, key)
    }

    fn map_delete(&mut self, map: MapFd, key: &[u8]) -> Result<()> {
        self.delete_key(map, key)
    }

    fn map_next_key(&mut self, map: MapFd, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        self.next_key(map, key)
    }

    fn map_freeze(&mut self, map: MapFd) -> Result<()> {
        self.freeze_map(map)
    }

    fn map_info(&mut self, map: MapFd) -> Result<MapInfo> {
        self.describe_map(map)
    }

    fn map_by_id(&mut self, id: u32) -> Result<MapFd> {
        self.open_map(id)
    }

    fn prog_load(&mut self, spec: &ProgSpec<'_>) -> Result<ProgFd> {
        self.load_prog(spec)
    }

    fn prog_bind_map(&mut self, prog: ProgFd, map: MapFd) -> Result<()> {
        self.bind_map(prog, map)
    }

    fn prog_info(&mut self, prog: ProgFd) -> Result<ProgInfo> {
        self.describe_prog(prog)
    }

    fn prog_by_id(&mut self, id: u32) -> Result<ProgFd> {
        self.open_prog(id)
    }

    fn prog_test_run(&mut self, prog: ProgFd, run: &TestRun<'_>) -> Result<TestRunResult> {
        self.test_run(prog, run)
    }

    fn tcx_attach(&mut self, ifindex: u32, hook: Hook, prog: ProgFd, place: Place) -> Result<()> {
        self.attach_tcx(ifindex, hook, prog, place)
    }

    fn tcx_detach(&mut self, ifindex: u32, hook: Hook, prog: ProgFd) -> Result<()> {
        self.detach_tcx(ifindex, hook, prog)
    }

    fn tcx_query(&mut self, ifindex: u32, hook: Hook) -> Result<Vec<Attached>> {
        self.query_tcx(ifindex, hook)
    }

    fn close(&mut self, fd: i32) {
        self.open.remove(&fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_cpus_of_a_list() {
        assert_eq!(count_cpus("0-3\n"), Some(4));
        assert_eq!(count_cpus("0\n"), Some(1));
        assert_eq!(count_cpus("0,2-5"), Some(6));
        assert_eq!(count_cpus(""), None);
    }

    #[test]
    fn probing_agrees_with_the_list() {
        let list =
            fs::read_to_string("/sys/devices/system/cpu/possible").expect("/sys is mounted where tests run");
        assert_eq!(bpf::probe_cpus().expect("tests run as root"), count_cpus(&list).unwrap());
    }

    #[test]
    fn sysctls_stay_below_net() {
        for path in ["", "../kernel/hostname", "ipv4//x", "/etc", "a/./b"] {
            assert_eq!(sysctl_path("read sysctl", path).unwrap_err().errno, libc::EINVAL, "{path}");
        }
    }
}
