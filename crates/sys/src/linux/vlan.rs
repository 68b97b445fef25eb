//! Tagged interfaces (802.1Q), as the lab's hosts have them. On [`Linux`] alone: the engine makes none.

use super::Linux;
use super::link::{IFLA_IFNAME, ifinfomsg};
use super::netlink::{Attrs, F_CREATE, F_EXCL, Request, change};
use crate::error::Result;

const RTM_NEWLINK: u16 = 16;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

#[allow(clippy::missing_errors_doc, reason = "one netlink request; the error says which")]
impl Linux {
    /// Makes an interface for one VLAN (1 to 4094) on top of another.
    pub fn create_vlan(&mut self, name: &str, lower: u32, vlan: u16) -> Result<()> {
        let object = format!("vlan {vlan} on interface {lower}");
        self.gate.pass("RTM_NEWLINK", &object, true)?;
        let data = Attrs::default().attr(IFLA_VLAN_ID, &vlan.to_ne_bytes());
        let info = Attrs::default().text(IFLA_INFO_KIND, "vlan").nest(IFLA_INFO_DATA, &data);
        let request = Request::new(RTM_NEWLINK, F_CREATE | F_EXCL, &ifinfomsg(0, 0, 0))
            .text(IFLA_IFNAME, name)
            .u32(IFLA_LINK, lower)
            .nest(IFLA_LINKINFO, &info);
        change("RTM_NEWLINK", &object, request)
    }
}
