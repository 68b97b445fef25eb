//! The seam: what Tapwright asks of a machine. [`crate::Linux`] is one, [`crate::Fake`] another.

use std::time::Duration;

use crate::classic::{ClassicFilter, ClassicSpec};
use crate::error::Result;
use crate::gate::Gate;
use crate::net::{
    Address, Capabilities, Driver, Feature, KernelVersion, Link, Pause, Route, VethSpec, XdpFeatures,
};
use crate::object::{
    Attached, Filter, FilterSpec, Hook, MapFd, MapInfo, MapSpec, Place, ProgFd, ProgInfo, ProgSpec, TestRun,
    TestRunResult, XdpMode,
};
use crate::queue::{Class, HtbClass, Qdisc, QdiscSpec};

/// A machine, seen from one network namespace.
///
/// Every method is at most one change of the machine, and passes the [`Gate`] once for it, so that a test can
/// stop between any two changes. All fail with a [`crate::SysError`] that names the call, the object and the errno.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Sys {
    /// The gate that all calls pass.
    fn gate(&mut self) -> &mut Gate;

    // The machine.

    /// The kernel's version.
    fn kernel_version(&mut self) -> Result<KernelVersion>;
    /// How many values a per-CPU map holds for a key.
    fn possible_cpus(&mut self) -> Result<usize>;
    /// What this thread may do.
    fn capabilities(&mut self) -> Result<Capabilities>;
    /// A number that nobody can guess.
    fn random(&mut self) -> Result<u64>;

    /// Whether everybody on this machine gets expedited RCU grace periods (`/sys/kernel/rcu_expedited`);
    /// `None` where that cannot be seen.
    fn expedited(&mut self) -> Result<Option<bool>>;
    /// Asks for expedited RCU grace periods, or for normal ones.
    fn set_expedited(&mut self, on: bool) -> Result<()>;

    // Interfaces and addresses.

    /// All interfaces of this namespace, in the order of their indexes.
    fn links(&mut self) -> Result<Vec<Link>>;
    /// All addresses, IPv4 and IPv6.
    fn addresses(&mut self) -> Result<Vec<Address>>;
    /// The unicast routes of the main table.
    fn routes(&mut self) -> Result<Vec<Route>>;
    /// Adds an address with its scope and with those of its flags that can be set. Skips duplicate detection.
    fn add_address(&mut self, address: &Address) -> Result<()>;
    /// Takes an address away.
    fn delete_address(&mut self, address: &Address) -> Result<()>;
    /// Sets the `IFF_*` flags of `set` and clears those of `clear`, in one step.
    fn set_link_flags(&mut self, ifindex: u32, set: u32, clear: u32) -> Result<()>;
    /// Waits until frames can leave each of these interfaces that has a carrier, at most as long as is said: the
    /// kernel starts their queues some time after they come up, and drops what they are given until then,
    /// without a count. Gives those that frames cannot leave by now.
    fn settle(&mut self, ifindexes: &[u32], timeout: Duration) -> Result<Vec<u32>>;
    /// How IPv6 makes link-local addresses: 0 EUI-64, 1 none, 2 stable secret, 3 random.
    fn set_addr_gen_mode(&mut self, ifindex: u32, mode: u8) -> Result<()>;
    /// Makes a pair of virtual interfaces.
    fn create_veth(&mut self, spec: &VethSpec) -> Result<()>;
    /// Deletes a virtual interface (and its peer).
    fn delete_link(&mut self, ifindex: u32) -> Result<()>;
    /// Reads a file below `/proc/sys/net` (`ipv6/conf/eth1/disable_ipv6`), without the newline.
    fn sysctl_read(&mut self, path: &str) -> Result<String>;
    /// Writes a file below `/proc/sys/net`.
    fn sysctl_write(&mut self, path: &str, value: &str) -> Result<()>;

    // Drivers.

    /// Offloads and other features, in the kernel's order.
    fn features(&mut self, ifname: &str) -> Result<Vec<Feature>>;
    /// Asks for features, all in one step. Gives the names of those that are not as asked afterwards: fixed by
    /// the driver, forced by another feature, or unknown here.
    fn set_features(&mut self, ifname: &str, wanted: &[(String, bool)]) -> Result<Vec<String>>;
    /// Who drives it.
    fn driver(&mut self, ifname: &str) -> Result<Driver>;
    /// Flow control; `None` where the driver has none.
    fn pause(&mut self, ifname: &str) -> Result<Option<Pause>>;
    /// Sets flow control.
    fn set_pause(&mut self, ifname: &str, pause: Pause) -> Result<()>;
    /// The driver's own counters, by name, in its order; empty where it has none.
    fn driver_stats(&mut self, ifname: &str) -> Result<Vec<(String, u64)>>;

    // Queueing disciplines and classifiers.

    /// The queueing disciplines of an interface, those the kernel made by itself too.
    fn qdiscs(&mut self, ifindex: u32) -> Result<Vec<Qdisc>>;
    /// The classes of an interface's queueing disciplines, in the order of their handles; those of kinds other than
    /// `htb` that show what is inside them as a class too.
    fn classes(&mut self, ifindex: u32) -> Result<Vec<Class>>;
    /// Makes a queueing discipline; with `replace`, in the place of the one that has this parent, in one step.
    fn add_qdisc(
        &mut self,
        ifindex: u32,
        parent: u32,
        handle: u32,
        spec: &QdiscSpec,
        replace: bool,
    ) -> Result<()>;
    /// Deletes a queueing discipline and what is in it. Deleting a root brings back the kernel's default.
    fn delete_qdisc(&mut self, ifindex: u32, parent: u32, handle: u32) -> Result<()>;
    /// Makes a class of `htb`, or changes it if it is there.
    fn set_class(&mut self, ifindex: u32, parent: u32, handle: u32, class: &HtbClass) -> Result<()>;
    /// The classifiers on one side of clsact; empty without clsact.
    fn filters(&mut self, ifindex: u32, hook: Hook) -> Result<Vec<Filter>>;
    /// Adds a direct-action classifier to clsact, which must be there.
    fn add_filter(&mut self, ifindex: u32, hook: Hook, filter: &FilterSpec<'_>) -> Result<()>;
    /// Takes away the `bpf` classifier with this preference and handle.
    fn delete_filter(&mut self, ifindex: u32, hook: Hook, priority: u16, handle: u32) -> Result<()>;
    /// The filters that hang on this parent (a side of clsact, or a queueing discipline with classes) with what
    /// their actions counted, of all chains, in the order in which they run; empty without that parent.
    fn classic_filters(&mut self, ifindex: u32, parent: u32) -> Result<Vec<ClassicFilter>>;
    /// Adds a classic filter.
    fn add_classic(&mut self, ifindex: u32, parent: u32, spec: &ClassicSpec) -> Result<()>;
    /// Takes away the filter with this chain, preference and handle. Fails with `ENOENT` if it is not there.
    fn delete_classic(
        &mut self,
        ifindex: u32,
        parent: u32,
        chain: u32,
        priority: u16,
        handle: u32,
    ) -> Result<()>;

    // Express data path.

    /// Attaches a program. `expected` is the program that must be there now (`None`: none may be); otherwise it
    /// fails, with `EEXIST` or `EBUSY`.
    fn xdp_attach(
        &mut self,
        ifindex: u32,
        mode: XdpMode,
        prog: ProgFd,
        expected: Option<ProgFd>,
    ) -> Result<()>;
    /// Takes the program away, whatever it is; fine if there is none.
    fn xdp_detach(&mut self, ifindex: u32, mode: XdpMode) -> Result<()>;
    /// What the driver can do; `None` where the kernel cannot be asked (before 6.3).
    fn xdp_features(&mut self, ifindex: u32) -> Result<Option<XdpFeatures>>;

    // Maps and programs.

    /// Makes a map.
    fn map_create(&mut self, spec: &MapSpec) -> Result<MapFd>;
    /// Writes one value. For a per-CPU map, `value` holds that of every possible CPU, each padded to 8 bytes.
    fn map_update(&mut self, map: MapFd, key: &[u8], value: &[u8]) -> Result<()>;
    /// Writes many values, each as [`Sys::map_update`] takes it, into places that nothing looks at yet: one change,
    /// of which a failure or a kill may leave a part.
    fn map_fill(&mut self, map: MapFd, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()>;
    /// Reads one value; `None` where the key is not there. For a per-CPU map see [`Sys::map_lookup_percpu`].
    fn map_lookup(&mut self, map: MapFd, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Reads the value of each possible CPU; `None` where the key is not there.
    fn map_lookup_percpu(&mut self, map: MapFd, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>>;
    /// Takes one key away; fine if it is not there.
    fn map_delete(&mut self, map: MapFd, key: &[u8]) -> Result<()>;
    /// The key after `key`, or the first; `None` after the last.
    fn map_next_key(&mut self, map: MapFd, key: Option<&[u8]>) -> Result<Option<Vec<u8>>>;
    /// From now on the map is written by programs only.
    fn map_freeze(&mut self, map: MapFd) -> Result<()>;
    /// What the kernel says about a map.
    fn map_info(&mut self, map: MapFd) -> Result<MapInfo>;
    /// Opens a map by its id.
    fn map_by_id(&mut self, id: u32) -> Result<MapFd>;
    /// Loads a program. If the verifier refuses, the error carries its last useful line and its whole log.
    fn prog_load(&mut self, spec: &ProgSpec<'_>) -> Result<ProgFd>;
    /// Keeps a map alive as long as the program, though no instruction of it uses the map (kernel 5.10).
    fn prog_bind_map(&mut self, prog: ProgFd, map: MapFd) -> Result<()>;
    /// What the kernel says about a program.
    fn prog_info(&mut self, prog: ProgFd) -> Result<ProgInfo>;
    /// Opens a program by its id.
    fn prog_by_id(&mut self, id: u32) -> Result<ProgFd>;
    /// Runs a program on given bytes.
    fn prog_test_run(&mut self, prog: ProgFd, run: &TestRun<'_>) -> Result<TestRunResult>;

    // tcx (kernel 6.6).

    /// Attaches a program to the interface itself: it stays when this process ends.
    fn tcx_attach(&mut self, ifindex: u32, hook: Hook, prog: ProgFd, place: Place) -> Result<()>;
    /// Takes a program away.
    fn tcx_detach(&mut self, ifindex: u32, hook: Hook, prog: ProgFd) -> Result<()>;
    /// The programs of a hook, in the order they run.
    fn tcx_query(&mut self, ifindex: u32, hook: Hook) -> Result<Vec<Attached>>;

    /// The interface of this name.
    fn link_by_name(&mut self, name: &str) -> Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    /// Closes a map or program before the rest; closing twice is fine.
    fn close(&mut self, fd: i32);
}
