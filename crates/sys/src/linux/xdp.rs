//! XDP programs of an interface over netlink, and what its driver can do, over generic netlink.

use super::link::ifinfomsg;
use super::netlink::{Attrs, GENERIC, Request, ask, change, find, u16_at, u64_at};
use crate::error::Result;
use crate::net::XdpFeatures;
use crate::object::{ProgFd, XdpMode};

const RTM_SETLINK: u16 = 19;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const FLAG_ONLY_IF_NONE: u32 = 1;
const FLAG_GENERIC: u32 = 2;
const FLAG_NATIVE: u32 = 4;
const FLAG_REPLACE: u32 = 16;

fn mode_flag(mode: XdpMode) -> u32 {
    match mode {
        XdpMode::Native => FLAG_NATIVE,
        XdpMode::Generic => FLAG_GENERIC,
    }
}

pub(super) fn attach(
    object: &str,
    ifindex: u32,
    mode: XdpMode,
    prog: ProgFd,
    expected: Option<ProgFd>,
) -> Result<()> {
    let guard = if expected.is_some() { FLAG_REPLACE } else { FLAG_ONLY_IF_NONE };
    let mut inner = Attrs::default()
        .attr(IFLA_XDP_FD, &prog.0.to_ne_bytes())
        .u32(IFLA_XDP_FLAGS, mode_flag(mode) | guard);
    if let Some(expected) = expected {
        inner = inner.attr(IFLA_XDP_EXPECTED_FD, &expected.0.to_ne_bytes());
    }
    set(object, ifindex, &inner)
}

pub(super) fn detach(object: &str, ifindex: u32, mode: XdpMode) -> Result<()> {
    const NONE: i32 = -1;
    let inner = Attrs::default().attr(IFLA_XDP_FD, &NONE.to_ne_bytes()).u32(IFLA_XDP_FLAGS, mode_flag(mode));
    set(object, ifindex, &inner)
}

fn set(object: &str, ifindex: u32, inner: &Attrs) -> Result<()> {
    change(
        "RTM_SETLINK",
        object,
        Request::new(RTM_SETLINK, 0, &ifinfomsg(ifindex, 0, 0)).nest(IFLA_XDP, inner),
    )
}

/// `struct genlmsghdr` is cmd, version, two bytes of padding.
pub(super) fn features(ifindex: u32) -> Result<Option<XdpFeatures>> {
    const CALL: &str = "NETDEV_CMD_DEV_GET";
    const CONTROL_FAMILY: u16 = 0x10;
    const CTRL_CMD_GETFAMILY: u8 = 3;
    const CTRL_ATTR_FAMILY_ID: u16 = 1;
    const CTRL_ATTR_FAMILY_NAME: u16 = 2;
    const DEV_GET: u8 = 1;
    const DEV_IFINDEX: u16 = 1;
    const DEV_XDP_FEATURES: u16 = 3;
    let object = format!("interface {ifindex}");
    let request = Request::new(CONTROL_FAMILY, 0, &[CTRL_CMD_GETFAMILY, 1, 0, 0]);
    let answers = match ask(CALL, &object, GENERIC, request.text(CTRL_ATTR_FAMILY_NAME, "netdev")) {
        Err(error) if error.errno == libc::ENOENT => return Ok(None),
        other => other?,
    };
    let id = answers
        .first()
        .and_then(|answer| find(answer.body.get(4..)?, CTRL_ATTR_FAMILY_ID))
        .and_then(|id| u16_at(id, 0));
    let Some(id) = id else { return Ok(None) };
    let answers =
        ask(CALL, &object, GENERIC, Request::new(id, 0, &[DEV_GET, 1, 0, 0]).u32(DEV_IFINDEX, ifindex))?;
    let bits = answers
        .first()
        .and_then(|answer| find(answer.body.get(4..)?, DEV_XDP_FEATURES))
        .and_then(|bits| u64_at(bits, 0));
    Ok(bits.map(|bits| XdpFeatures { bits }))
}
