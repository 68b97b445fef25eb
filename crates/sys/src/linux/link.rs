//! Interfaces, addresses and routes over routing netlink. Decodes what the kernel says; decides nothing.

use super::netlink::{
    Answer, Attrs, F_CREATE, F_EXCL, F_REPLACE, ROUTE, Reader, Request, ask, change, dump, find, i32_at,
    text_of, u16_at, u32_at, u64_at,
};
use crate::error::{Result, SysError};
use crate::net::{Address, Link, LinkStats, Route, VethSpec, Xdp};
use crate::object::XdpMode;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

pub(super) const IFLA_IFNAME: u16 = 3;
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER: u16 = 33;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_MIN_MTU: u16 = 50;
const IFLA_MAX_MTU: u16 = 51;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const VETH_INFO_PEER: u16 = 1;

/// `struct ifinfomsg`: family 0, type 2, index 4, flags 8, change 12.
pub(super) fn ifinfomsg(index: u32, flags: u32, mask: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&mask.to_ne_bytes());
    bytes
}

pub(super) fn list() -> Result<Vec<Link>> {
    let answers = dump("RTM_GETLINK", "", || Request::new(RTM_GETLINK, 0, &ifinfomsg(0, 0, 0)))?;
    let mut links: Vec<Link> = answers.iter().filter_map(link).collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

/// One interface, without listing all.
pub(super) fn by_name(name: &str) -> Result<Option<Link>> {
    let request = Request::new(RTM_GETLINK, 0, &ifinfomsg(0, 0, 0)).text(IFLA_IFNAME, name);
    match ask("RTM_GETLINK", name, ROUTE, request) {
        // A name that cannot be one (too long) is ERANGE or EINVAL.
        Err(error) if matches!(error.errno, libc::ENODEV | libc::ERANGE | libc::EINVAL) => Ok(None),
        answers => Ok(answers?.iter().find_map(link)),
    }
}

fn link(answer: &Answer) -> Option<Link> {
    let body = (answer.kind == RTM_NEWLINK).then_some(answer.body.as_slice())?;
    let mut link = Link {
        arphrd: u16_at(body, 2)?,
        index: u32_at(body, 4)?,
        flags: u32_at(body, 8)?,
        ..Link::default()
    };
    for (kind, payload) in Reader(body.get(16..)?) {
        let number = u32_at(payload, 0);
        match kind {
            IFLA_ADDRESS => link.address = payload.to_vec(),
            IFLA_IFNAME => link.name = text_of(payload),
            IFLA_MTU => link.mtu = number?,
            IFLA_MIN_MTU => link.min_mtu = number?,
            IFLA_MAX_MTU => link.max_mtu = number?,
            IFLA_LINK => link.peer = number.filter(|index| *index != 0),
            IFLA_LINK_NETNSID => link.peer_netns = i32_at(payload, 0),
            IFLA_MASTER => link.master = number.filter(|index| *index != 0),
            IFLA_QDISC => link.qdisc = text_of(payload),
            IFLA_OPERSTATE => link.operstate = *payload.first()?,
            IFLA_CARRIER => link.carrier = *payload.first()? != 0,
            IFLA_NUM_TX_QUEUES => link.tx_queues = number?,
            IFLA_NUM_RX_QUEUES => link.rx_queues = number?,
            IFLA_PROMISCUITY => link.promiscuity = number?,
            IFLA_LINKINFO => link.kind = find(payload, IFLA_INFO_KIND).map(text_of),
            IFLA_STATS64 => link.stats = stats(payload),
            IFLA_XDP => link.xdp = xdp(payload),
            IFLA_AF_SPEC => {
                link.addr_gen_mode = find(payload, u16::from(AF_INET6))
                    .and_then(|inet6| find(inet6, IFLA_INET6_ADDR_GEN_MODE))
                    .and_then(|mode| mode.first().copied());
            }
            _ => {}
        }
    }
    Some(link)
}

/// `struct rtnl_link_stats64`, in order. An older kernel's is shorter; what it lacks is 0.
fn stats(bytes: &[u8]) -> LinkStats {
    let at = |index: usize| u64_at(bytes, index * 8).unwrap_or_default();
    LinkStats {
        rx_packets: at(0),
        tx_packets: at(1),
        rx_bytes: at(2),
        tx_bytes: at(3),
        rx_errors: at(4),
        tx_errors: at(5),
        rx_dropped: at(6),
        tx_dropped: at(7),
        multicast: at(8),
        collisions: at(9),
        rx_length_errors: at(10),
        rx_over_errors: at(11),
        rx_crc_errors: at(12),
        rx_frame_errors: at(13),
        rx_fifo_errors: at(14),
        rx_missed_errors: at(15),
        tx_aborted_errors: at(16),
        tx_carrier_errors: at(17),
        tx_fifo_errors: at(18),
        tx_heartbeat_errors: at(19),
        tx_window_errors: at(20),
        rx_compressed: at(21),
        tx_compressed: at(22),
        rx_nohandler: at(23),
    }
}

fn xdp(payload: &[u8]) -> Option<Xdp> {
    const DRV_PROG_ID: u16 = 5;
    const SKB_PROG_ID: u16 = 6;
    let id = |kind| find(payload, kind).and_then(|id| u32_at(id, 0)).filter(|id| *id != 0);
    let native = id(DRV_PROG_ID).map(|prog_id| Xdp { mode: XdpMode::Native, prog_id });
    native.or_else(|| id(SKB_PROG_ID).map(|prog_id| Xdp { mode: XdpMode::Generic, prog_id }))
}

pub(super) fn set_flags(object: &str, ifindex: u32, set: u32, clear: u32) -> Result<()> {
    let request = Request::new(RTM_NEWLINK, 0, &ifinfomsg(ifindex, set & !clear, set | clear));
    change("RTM_NEWLINK", object, request)
}

pub(super) fn set_addr_gen_mode(object: &str, ifindex: u32, mode: u8) -> Result<()> {
    let inet6 = Attrs::default().attr(IFLA_INET6_ADDR_GEN_MODE, &[mode]);
    let families = Attrs::default().nest(u16::from(AF_INET6), &inet6);
    let request = Request::new(RTM_SETLINK, 0, &ifinfomsg(ifindex, 0, 0)).nest(IFLA_AF_SPEC, &families);
    change("RTM_SETLINK", object, request)
}

/// A new interface of a kind, with the data of that kind.
pub(super) fn create(object: &str, name: &str, kind: &str, data: Option<&Attrs>) -> Result<()> {
    change("RTM_NEWLINK", object, new_link(name, kind, data))
}

fn new_link(name: &str, kind: &str, data: Option<&Attrs>) -> Request {
    let mut info = Attrs::default().text(IFLA_INFO_KIND, kind);
    if let Some(data) = data {
        info = info.nest(IFLA_INFO_DATA, data);
    }
    Request::new(RTM_NEWLINK, F_CREATE | F_EXCL, &ifinfomsg(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, &info)
}

pub(super) fn create_veth(object: &str, spec: &VethSpec) -> Result<()> {
    let mut common = Attrs::default();
    if spec.queues != 0 {
        common = common.u32(IFLA_NUM_TX_QUEUES, spec.queues).u32(IFLA_NUM_RX_QUEUES, spec.queues);
    }
    if spec.mtu != 0 {
        common = common.u32(IFLA_MTU, spec.mtu);
    }
    let mut peer = ifinfomsg(0, 0, 0).to_vec();
    peer.extend_from_slice(&Attrs::default().text(IFLA_IFNAME, &spec.peer).0);
    peer.extend_from_slice(&common.0);
    let data = Attrs::default().attr(VETH_INFO_PEER, &peer);
    let mut request = new_link(&spec.name, "veth", Some(&data));
    for (kind, payload) in Reader(&common.0) {
        request = request.attr(kind, payload);
    }
    change("RTM_NEWLINK", object, request)
}

pub(super) fn delete(object: &str, ifindex: u32) -> Result<()> {
    change("RTM_DELLINK", object, Request::new(RTM_DELLINK, 0, &ifinfomsg(ifindex, 0, 0)))
}

/// One change of an existing interface that is a single number: its master, its MTU, its namespace.
fn set_number(object: &str, ifindex: u32, attr: u16, value: u32) -> Result<()> {
    change("RTM_SETLINK", object, Request::new(RTM_SETLINK, 0, &ifinfomsg(ifindex, 0, 0)).u32(attr, value))
}

pub(super) fn set_master(object: &str, ifindex: u32, master: u32) -> Result<()> {
    set_number(object, ifindex, IFLA_MASTER, master)
}

pub(super) fn set_mtu(object: &str, ifindex: u32, mtu: u32) -> Result<()> {
    set_number(object, ifindex, IFLA_MTU, mtu)
}

pub(super) fn move_to(object: &str, ifindex: u32, namespace: i32) -> Result<()> {
    set_number(object, ifindex, IFLA_NET_NS_FD, namespace.cast_unsigned())
}

pub(super) fn set_hardware_address(object: &str, ifindex: u32, address: &[u8]) -> Result<()> {
    let request = Request::new(RTM_SETLINK, 0, &ifinfomsg(ifindex, 0, 0)).attr(IFLA_ADDRESS, address);
    change("RTM_SETLINK", object, request)
}

pub(super) fn rename(object: &str, ifindex: u32, name: &str) -> Result<()> {
    let request = Request::new(RTM_SETLINK, 0, &ifinfomsg(ifindex, 0, 0)).text(IFLA_IFNAME, name);
    change("RTM_SETLINK", object, request)
}

// Addresses. struct ifaddrmsg: family 0, prefixlen 1, flags 2, scope 3, index 4.

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
/// Flags that user space may set: manage-temp, no prefix route, join multicast, stable privacy, home.
const IFA_F_SETTABLE: u32 = 0x10 | 0x100 | 0x200 | 0x400 | 0x800;

pub(super) fn list_addresses() -> Result<Vec<Address>> {
    let answers = dump("RTM_GETADDR", "", || Request::new(RTM_GETADDR, 0, &[0; 8]))?;
    Ok(answers.iter().filter_map(address).collect())
}

fn address(answer: &Answer) -> Option<Address> {
    let body = (answer.kind == RTM_NEWADDR).then_some(answer.body.as_slice())?;
    let attrs = body.get(8..)?;
    // With a point-to-point address, LOCAL is ours and ADDRESS is the other end's.
    let ip = ip_of(find(attrs, IFA_LOCAL).or_else(|| find(attrs, IFA_ADDRESS))?)?;
    let flags = find(attrs, IFA_FLAGS).and_then(|flags| u32_at(flags, 0)).unwrap_or(u32::from(body[2]));
    let broadcast = find(attrs, IFA_BROADCAST).and_then(ip_of).and_then(|ip| match ip {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    Some(Address { ifindex: u32_at(body, 4)?, ip, prefix: body[1], scope: body[3], broadcast, flags })
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn address_request(kind: u16, flags: u16, address: &Address) -> Request {
    let mut fixed = [family(address.ip), address.prefix, 0, address.scope, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&address.ifindex.to_ne_bytes());
    let bytes = ip_bytes(address.ip);
    Request::new(kind, flags, &fixed).attr(IFA_LOCAL, &bytes).attr(IFA_ADDRESS, &bytes)
}

pub(super) fn add_address(address: &Address) -> Result<()> {
    let object = address.to_string();
    let mut flags = address.flags & IFA_F_SETTABLE;
    let mut request = address_request(RTM_NEWADDR, F_CREATE | F_REPLACE, address);
    if let Some(broadcast) = address.broadcast {
        request = request.attr(IFA_BROADCAST, &broadcast.octets());
    }
    if address.ip.is_ipv6() {
        flags |= IFA_F_NODAD;
    }
    change("RTM_NEWADDR", &object, request.u32(IFA_FLAGS, flags))
}

pub(super) fn delete_address(address: &Address) -> Result<()> {
    change("RTM_DELADDR", &address.to_string(), address_request(RTM_DELADDR, 0, address))
}

// Routes. struct rtmsg: family 0, dst_len 1, src_len 2, tos 3, table 4, protocol 5, scope 6, type 7, flags 8.

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const TABLE_MAIN: u8 = 254;
const RTN_UNICAST: u8 = 1;

pub(super) fn list_routes() -> Result<Vec<Route>> {
    let answers = dump("RTM_GETROUTE", "", || Request::new(RTM_GETROUTE, 0, &[0; 12]))?;
    let mut routes: Vec<Route> = answers.iter().filter_map(route).collect();
    routes.sort();
    Ok(routes)
}

fn route(answer: &Answer) -> Option<Route> {
    let body = (answer.kind == RTM_NEWROUTE).then_some(answer.body.as_slice())?;
    let attrs = body.get(12..)?;
    let table = find(attrs, RTA_TABLE).and_then(|t| u32_at(t, 0)).unwrap_or(u32::from(body[4]));
    if table != u32::from(TABLE_MAIN) || body[7] != RTN_UNICAST {
        return None;
    }
    let mut ifindexes: Vec<u32> = find(attrs, RTA_OIF).and_then(|oif| u32_at(oif, 0)).into_iter().collect();
    // struct rtnexthop: len 0, flags 2, hops 3, ifindex 4, then attributes.
    let mut hops = find(attrs, RTA_MULTIPATH).unwrap_or_default();
    while let (Some(length), Some(ifindex)) = (u16_at(hops, 0), u32_at(hops, 4)) {
        ifindexes.push(ifindex);
        hops = hops.get(usize::from(length).max(8).next_multiple_of(4)..).unwrap_or_default();
    }
    let destination = match body[1] {
        0 => None,
        prefix => Some((ip_of(find(attrs, RTA_DST)?)?, prefix)),
    };
    let via = find(attrs, RTA_GATEWAY).and_then(ip_of);
    Some(Route { destination, v6: body[0] == AF_INET6, via, ifindexes })
}

pub(super) fn add_route(object: &str, route: &Route) -> Result<()> {
    const RTPROT_STATIC: u8 = 4;
    const SCOPE_GLOBAL: u8 = 0;
    const SCOPE_LINK: u8 = 253;
    let [ifindex] = route.ifindexes[..] else {
        return Err(SysError::new("RTM_NEWROUTE", object, libc::EINVAL).with_detail("one interface, please"));
    };
    let scope = if route.via.is_some() || route.v6 { SCOPE_GLOBAL } else { SCOPE_LINK };
    let family = if route.v6 { AF_INET6 } else { AF_INET };
    let prefix = route.destination.map_or(0, |(_, prefix)| prefix);
    let fixed = [family, prefix, 0, 0, TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0, 0, 0, 0];
    let mut request = Request::new(RTM_NEWROUTE, F_CREATE | F_REPLACE, &fixed).u32(RTA_OIF, ifindex);
    if let Some((ip, _)) = route.destination {
        request = request.attr(RTA_DST, &ip_bytes(ip));
    }
    if let Some(via) = route.via {
        request = request.attr(RTA_GATEWAY, &ip_bytes(via));
    }
    change("RTM_NEWROUTE", object, request)
}
