//! What builds a topology and what the engine never asks for: bridges, enslaving, moving between namespaces,
//! names, routes. On [`Linux`] alone, so that the seam stays as small as the engine's needs.

use super::{Linux, link};
use crate::error::{Result, SysError};
use crate::net::Route;
use crate::seam::Sys;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

#[allow(clippy::missing_errors_doc, reason = "each is one netlink request; the error says which")]
impl Linux {
    /// Makes a bridge.
    pub fn create_bridge(&mut self, name: &str) -> Result<()> {
        self.create_of_kind(name, "bridge")
    }

    /// Makes an interface that swallows what it is sent.
    pub fn create_dummy(&mut self, name: &str) -> Result<()> {
        self.create_of_kind(name, "dummy")
    }

    fn create_of_kind(&mut self, name: &str, kind: &str) -> Result<()> {
        let object = format!("{kind} {name}");
        self.gate.pass("RTM_NEWLINK", &object, true)?;
        link::create(&object, name, kind, None)
    }

    /// Enslaves an interface to a bridge or bond, or (`None`) frees it.
    pub fn set_master(&mut self, ifindex: u32, master: Option<u32>) -> Result<()> {
        let object = format!("master of interface {ifindex}");
        self.gate.pass("RTM_SETLINK", &object, true)?;
        link::set_master(&object, ifindex, master.unwrap_or(0))
    }

    /// Sets the MTU in bytes.
    pub fn set_mtu(&mut self, ifindex: u32, mtu: u32) -> Result<()> {
        let object = format!("MTU {mtu} of interface {ifindex}");
        self.gate.pass("RTM_SETLINK", &object, true)?;
        link::set_mtu(&object, ifindex, mtu)
    }

    /// Sets the hardware address.
    pub fn set_hardware_address(&mut self, ifindex: u32, address: [u8; 6]) -> Result<()> {
        let object = format!("address of interface {ifindex}");
        self.gate.pass("RTM_SETLINK", &object, true)?;
        link::set_hardware_address(&object, ifindex, &address)
    }

    /// Renames an interface (before kernel 6.2 it must be down).
    pub fn rename_link(&mut self, ifindex: u32, name: &str) -> Result<()> {
        let object = format!("name {name} of interface {ifindex}");
        self.gate.pass("RTM_SETLINK", &object, true)?;
        link::rename(&object, ifindex, name)
    }

    /// Moves an interface into another namespace. It loses its addresses and routes, and is down there.
    pub fn move_link(&mut self, ifindex: u32, namespace: impl AsFd) -> Result<()> {
        let object = format!("namespace of interface {ifindex}");
        self.gate.pass("RTM_SETLINK", &object, true)?;
        link::move_to(&object, ifindex, namespace.as_fd().as_raw_fd())
    }

    /// Waits until frames can leave these interfaces: the kernel starts their queues some time after they come up
    /// (up to a second on a busy machine), and until then drops what they are given, without a count. Fails with
    /// `ETIMEDOUT`, naming the first that is not ready.
    pub fn wait_ready(&mut self, names: &[&str], timeout: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let links = self.links()?;
            let ready = |name: &str| links.iter().any(|link| link.name == name && link.ready());
            let Some(missing) = names.iter().find(|name| !ready(name)) else { return Ok(()) };
            if start.elapsed() >= timeout {
                let state = links.iter().find(|link| link.name == *missing).map(|link| link.operstate);
                let error = SysError::new("RTM_GETLINK", format!("interface {missing}"), libc::ETIMEDOUT);
                return Err(error.with_detail(format!("operational state {state:?}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Adds a route by one interface to the main table, in the place of one to the same destination.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        let object = match route.destination {
            Some((ip, prefix)) => format!("to {ip}/{prefix}"),
            None => "to default".to_owned(),
        };
        self.gate.pass("RTM_NEWROUTE", &object, true)?;
        link::add_route(&object, route)
    }
}
