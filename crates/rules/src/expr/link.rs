//! What the link layer says that it carries, and the headers in between: LLC, VLAN tags, MPLS, PPPoE, Geneve.

use super::ports::{self, Direction, Span};
use super::scope::{From, Link, Scope, ethertype as types};
use super::{Refusal, refusal};
use crate::form::{LoadSize, Ranges, Test};

/// Geneve headers that an expression may go into: the numbers that find what is inside grow with each.
const TUNNELS_MAX: u32 = 2;

/// UDP port of Geneve (RFC 8926, section 3.3).
const GENEVE_PORT: u16 = 6081;

fn not(test: Test) -> Test {
    Test::Not(Box::new(test))
}

/// Whether the field of Ethernet is a length, so that an LLC header follows.
fn has_length(scope: &mut Scope) -> Test {
    Test::Within(scope.load(From::LinkType, 0, LoadSize::Two), Ranges::new([(0, types::LENGTH_MAX)]))
}

/// Whether the link layer says that it carries this: an EtherType, or up to 1,500 a service access point.
///
/// # Errors
/// Behind an MPLS label nothing says what follows: IP tells itself apart, and nothing else does.
pub(super) fn carries(scope: &mut Scope, kind: u32) -> Result<Test, Refusal> {
    if scope.labels > 0 {
        let version = match kind {
            types::IP => 0x40,
            types::IP6 => 0x60,
            _ => return Err(refusal("behind an MPLS label only IP can be told", "test `ip` or `ip6` there")),
        };
        let bottom = scope.equal_in(From::Label, 2, LoadSize::One, 1, 1);
        return Ok(Test::All(vec![bottom, scope.equal_in(From::Network, 0, LoadSize::One, version, 0xf0)]));
    }
    Ok(match scope.link {
        Link::Ethernet => ethernet(scope, kind),
        Link::Cooked => cooked(scope, kind),
        Link::Cooked2 => scope.equal(From::LinkType, 0, LoadSize::Two, kind),
        Link::Ppp => scope.equal(From::LinkType, 0, LoadSize::Two, ppp_type(kind)),
        Link::Wlan { .. } => Test::All(vec![super::wlan::is_data(scope), behind_llc(scope, kind)]),
        Link::Raw => match kind {
            types::IP => scope.equal_in(From::LinkHeader, 0, LoadSize::One, 0x40, 0xf0),
            types::IP6 => scope.equal_in(From::LinkHeader, 0, LoadSize::One, 0x60, 0xf0),
            _ => super::scope::never(),
        },
        Link::OnlyIp if kind == types::IP => Test::Always,
        Link::OnlyIp6 if kind == types::IP6 => Test::Always,
        Link::OnlyIp | Link::OnlyIp6 => super::scope::never(),
    })
}

fn ethernet(scope: &mut Scope, kind: u32) -> Test {
    match kind {
        types::SAP_ISO | types::SAP_IP | types::SAP_NETBEUI => {
            let length = has_length(scope);
            Test::All(vec![length, scope.equal(From::Llc, 0, LoadSize::Two, kind << 8 | kind)])
        }
        types::SAP_IPX => {
            let by_type = scope.equal(From::LinkType, 0, LoadSize::Two, types::IPX);
            let length = has_length(scope);
            let snap = snap(scope, 0, types::IPX);
            let by_sap = scope.equal(From::Llc, 0, LoadSize::One, types::SAP_IPX);
            let bare = scope.equal(From::Llc, 0, LoadSize::Two, 0xffff);
            Test::Any(vec![by_type, Test::All(vec![length, Test::Any(vec![snap, by_sap, bare])])])
        }
        types::ATALK | types::AARP => {
            let by_type = scope.equal(From::LinkType, 0, LoadSize::Two, kind);
            let length = has_length(scope);
            Test::Any(vec![by_type, Test::All(vec![length, appletalk(scope, kind)])])
        }
        ..=types::LENGTH_MAX => {
            let length = has_length(scope);
            Test::All(vec![length, scope.equal(From::LinkType, 2, LoadSize::One, kind)])
        }
        _ => scope.equal(From::LinkType, 0, LoadSize::Two, kind),
    }
}

/// Linux writes 4 where an LLC header follows, and 1 where NetWare follows without one.
fn cooked(scope: &mut Scope, kind: u32) -> Test {
    let has_llc = |scope: &mut Scope| scope.equal(From::LinkType, 0, LoadSize::Two, 4);
    match kind {
        types::SAP_ISO | types::SAP_IP | types::SAP_NETBEUI => {
            Test::All(vec![has_llc(scope), scope.equal(From::Llc, 0, LoadSize::Two, kind << 8 | kind)])
        }
        types::SAP_IPX => {
            let by_type = scope.equal(From::LinkType, 0, LoadSize::Two, types::IPX);
            let bare = scope.equal(From::LinkType, 0, LoadSize::Two, 1);
            let by_sap = scope.equal(From::Llc, 0, LoadSize::One, types::SAP_IPX);
            let snap = snap(scope, 0, types::IPX);
            Test::Any(vec![by_type, bare, Test::All(vec![has_llc(scope), Test::Any(vec![by_sap, snap])])])
        }
        types::ATALK | types::AARP => {
            let by_type = scope.equal(From::LinkType, 0, LoadSize::Two, kind);
            Test::Any(vec![by_type, Test::All(vec![has_llc(scope), appletalk(scope, kind)])])
        }
        ..=types::LENGTH_MAX => {
            Test::All(vec![has_llc(scope), scope.equal(From::Llc, 0, LoadSize::One, kind)])
        }
        _ => scope.equal(From::LinkType, 0, LoadSize::Two, kind),
    }
}

/// On 802.11 whatever is carried stands behind an LLC header.
fn behind_llc(scope: &mut Scope, kind: u32) -> Test {
    match kind {
        types::SAP_ISO | types::SAP_IP | types::SAP_NETBEUI => {
            scope.equal(From::Llc, 0, LoadSize::Two, kind << 8 | kind)
        }
        types::ATALK => appletalk(scope, kind),
        ..=types::LENGTH_MAX => scope.equal(From::Llc, 0, LoadSize::One, kind),
        _ => scope.equal(From::Llc, 6, LoadSize::Two, kind),
    }
}

fn appletalk(scope: &mut Scope, kind: u32) -> Test {
    let organisation = if kind == types::ATALK { 0x08_0007 } else { 0 };
    snap(scope, organisation, kind)
}

/// An LLC header of unnumbered information and a SNAP header (IEEE 802-2014, 9.5).
fn snap(scope: &mut Scope, organisation: u32, kind: u32) -> Test {
    let [_, a, b, c] = organisation.to_be_bytes();
    let [_, _, d, e] = kind.to_be_bytes();
    let sap = types::SAP_SNAP.to_be_bytes()[3];
    scope.octets(From::Llc, 0, &[sap, sap, 3, a, b, c, d, e])
}

/// Protocol numbers of PPP (IANA).
fn ppp_type(kind: u32) -> u32 {
    match kind {
        types::IP => 0x0021,
        types::IP6 => 0x0057,
        types::DECNET => 0x0027,
        types::ATALK => 0x0029,
        types::XEROX_NS => 0x0025,
        types::SAP_ISO => 0x0023,
        types::SAP_BRIDGE => 0x0031,
        types::SAP_IPX => 0x002b,
        other => other,
    }
}

/// `llc` and its types.
///
/// # Errors
/// Links without LLC; a name that is no type.
pub(super) fn llc(scope: &mut Scope, kind: Option<&str>) -> Result<Test, Refusal> {
    let is_llc = match scope.link {
        Link::Ethernet => {
            let length = has_length(scope);
            Test::All(vec![length, not(scope.equal(From::Llc, 0, LoadSize::Two, 0xffff))])
        }
        Link::Wlan { .. } => super::wlan::is_data(scope),
        other => return Err(refusal(format!("no LLC headers on {}", other.name()), "leave `llc` out")),
    };
    let Some(kind) = kind else { return Ok(is_llc) };
    let (value, mask) = match kind.to_ascii_lowercase().as_str() {
        "i" => (0x00, 0x01),
        "s" => (0x01, 0x03),
        "u" => (0x03, 0x03),
        "rr" => (0x01, 0x0f),
        "rnr" => (0x05, 0x0f),
        "rej" => (0x09, 0x0f),
        "ui" => (0x03, 0xef),
        "ua" => (0x63, 0xef),
        "disc" => (0x43, 0xef),
        "dm" => (0x0f, 0xef),
        "sabme" => (0x6f, 0xef),
        "test" => (0xe3, 0xef),
        "xid" => (0xaf, 0xef),
        "frmr" => (0x87, 0xef),
        _ => {
            let help = "i, s, u, rr, rnr, rej, ui, ua, disc, dm, sabme, test, xid and frmr are";
            return Err(refusal(format!("`{kind}` is no type of LLC frame"), help));
        }
    };
    Ok(Test::All(vec![is_llc, scope.equal_in(From::Llc, 2, LoadSize::One, value, mask)]))
}

/// `vlan`: a tag, perhaps of this VLAN; what follows reads behind it.
///
/// # Errors
/// Links without tags, tags behind MPLS, more than 12 bits.
pub(super) fn vlan(scope: &mut Scope, id: Option<u32>) -> Result<Test, Refusal> {
    if scope.labels > 0 {
        return Err(refusal("no VLAN tag stands behind an MPLS label", "put `vlan` in front of `mpls`"));
    }
    if scope.link != Link::Ethernet && !scope.link.is_wlan() {
        return Err(refusal(format!("no VLAN tags on {}", scope.link.name()), "leave `vlan` out"));
    }
    let mut tests = Vec::new();
    for tag in types::TAGS {
        tests.push(carries(scope, tag)?);
    }
    let mut test = Test::Any(tests);
    if let Some(id) = id {
        if id > 0x0fff {
            return Err(refusal(format!("no VLAN {id}"), "VLANs are 0 to 4095"));
        }
        test = Test::All(vec![test, scope.equal_in(From::Network, 0, LoadSize::Two, id, 0x0fff)]);
    }
    scope.pass_tag();
    Ok(test)
}

/// `mpls`: a label, perhaps this one; what follows reads behind it.
///
/// # Errors
/// Links without MPLS, more than 20 bits.
pub(super) fn mpls(scope: &mut Scope, label: Option<u32>) -> Result<Test, Refusal> {
    let mut test = if scope.labels > 0 {
        scope.equal_in(From::Label, 2, LoadSize::One, 0, 1)
    } else {
        match scope.link {
            Link::Ethernet => carries(scope, types::MPLS)?,
            Link::Ppp => carries(scope, 0x0281)?,
            other => return Err(refusal(format!("no MPLS on {}", other.name()), "leave `mpls` out")),
        }
    };
    if let Some(label) = label {
        if label > 0xf_ffff {
            return Err(refusal(format!("no MPLS label {label}"), "labels are 0 to 1048575"));
        }
        let labelled = scope.equal_in(From::Network, 0, LoadSize::Four, label << 12, 0xffff_f000);
        test = Test::All(vec![test, labelled]);
    }
    scope.pass_label();
    Ok(test)
}

/// `pppoes`: a PPPoE session, perhaps this one; what follows reads the PPP inside.
///
/// # Errors
/// As [`carries`]; more than 16 bits.
pub(super) fn pppoes(scope: &mut Scope, session: Option<u32>) -> Result<Test, Refusal> {
    let mut test = carries(scope, types::PPPOE_SESSION)?;
    if let Some(session) = session {
        if session > 0xffff {
            return Err(refusal(format!("no PPPoE session {session}"), "sessions are 0 to 65535"));
        }
        let of_session = scope.equal_in(From::Network, 0, LoadSize::Four, session, 0xffff);
        test = Test::All(vec![test, of_session]);
    }
    scope.pass_pppoe();
    Ok(test)
}

/// `geneve`: a Geneve tunnel over UDP, perhaps of this network; what follows reads the frame inside.
///
/// # Errors
/// More than 24 bits; too many tunnels in each other.
pub(super) fn geneve(scope: &mut Scope, vni: Option<u32>) -> Result<Test, Refusal> {
    if vni.is_some_and(|vni| vni > 0xff_ffff) {
        return Err(refusal(format!("no Geneve network {}", vni.unwrap_or(0)), "networks are 0 to 16777215"));
    }
    if scope.tunnels == TUNNELS_MAX {
        let what = format!("more than {TUNNELS_MAX} Geneve tunnels in each other");
        return Err(refusal(what, "look into fewer of them"));
    }
    let mut versions = Vec::new();
    for (six, transport) in [(false, From::Transport4), (true, From::Transport6)] {
        let span = Span { first: GENEVE_PORT, last: GENEVE_PORT };
        let mut tests =
            vec![ports::of_version(scope, six, span, Some(super::words::Protocol::Udp), Direction::Dst)?];
        tests.push(scope.equal_in(transport, 8, LoadSize::One, 0, 0xc0));
        if let Some(vni) = vni {
            tests.push(scope.equal_in(transport, 12, LoadSize::Four, vni << 8, 0xffff_ff00));
        }
        versions.push(Test::All(tests));
    }
    let there = scope.pass_geneve();
    Ok(Test::All(vec![Test::Any(versions), there]))
}
