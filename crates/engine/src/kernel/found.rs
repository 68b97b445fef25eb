//! Finds what is attached, from the interfaces alone: no file, no bpffs, no process remembers it.

use std::collections::BTreeMap;

use sys::{Hook, Link, MapFd, MapInfo, ProgFd, Result, Sys, SysError, XdpMode};

use super::slots::{self, Geometry, HEADER, Unreadable};
use crate::machine::saved::Saved;
use crate::machine::{gone, pairs};

/// Begins the name of each of our programs, maps and interfaces.
pub const PREFIX: &str = "tw_";
/// The map that [`Saved`] is kept in.
pub const STATE_MAP: &str = "tw_state";
/// The map of counters, a value for each CPU.
pub const COUNTERS_MAP: &str = "tw_counters";
/// The map of rows of counters, a value for each CPU, where a plan has many rules.
pub const TALLIES_MAP: &str = "tw_tallies";
/// Where a program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// `BPF_TCX_INGRESS` or `BPF_TCX_EGRESS`.
    Tcx(Hook),
    /// A direct-action filter of clsact.
    Clsact {
        /// Which side.
        hook: Hook,
        /// Preference of the filter.
        priority: u16,
        /// Handle within the preference.
        handle: u32,
    },
    /// The interface's XDP program.
    Xdp(XdpMode),
}

/// One of our programs on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The interface.
    pub ifindex: u32,
    /// Its name now.
    pub interface: String,
    /// Where on it.
    pub place: Place,
    /// The program, open here.
    pub prog: ProgFd,
    /// Its name.
    pub name: String,
    /// The maps that it holds.
    pub map_ids: Vec<u32>,
}

/// What was found in this network namespace.
pub struct Found {
    /// All interfaces, as they are now.
    pub links: Vec<Link>,
    /// All of our programs.
    pub attachments: Vec<Attachment>,
    /// What they hold, where it can be read.
    pub state: Option<State>,
    /// Why the state cannot be read, where programs are attached and it cannot.
    pub unreadable: Option<String>,
}

/// The maps of the plan in force.
pub struct State {
    /// The map of the saved text.
    pub map: MapFd,
    /// How it is laid out.
    pub geometry: Geometry,
    /// The slot in force.
    pub slot: u8,
    /// The text.
    pub saved: Saved,
    /// The counters, where a program holds them.
    pub counters: Option<MapFd>,
    /// The rows of counters, where a program holds them.
    pub tallies: Option<MapFd>,
}

impl Found {
    /// Whether anything of ours is on this machine.
    pub fn anything(&self) -> bool {
        !self.attachments.is_empty() || pairs::leftover(&self.links).next().is_some()
    }
}

/// Looks at every interface of this namespace.
///
/// # Errors
/// A system call that failed; `EPERM` without `CAP_NET_ADMIN` and `CAP_BPF`.
pub fn find(sys: &mut impl Sys) -> Result<Found> {
    let links = sys.links()?;
    let tcx = sys.kernel_version()?.at_least(6, 6);
    let mut attachments = Vec::new();
    for link in &links {
        for (place, id) in programs(sys, link, tcx)? {
            let Some(attachment) = ours(sys, link, place, id)? else { continue };
            attachments.push(attachment);
        }
    }
    let maps = open_maps(sys, &attachments)?;
    // A name is anybody's; what is ours holds the state.
    let holds = |it: &Attachment, name: &str| {
        it.map_ids.iter().any(|id| maps.get(id).is_some_and(|(_, info)| info.name == name))
    };
    attachments.retain(|it| holds(it, STATE_MAP));
    let (state, unreadable) = match state(sys, &attachments, &maps) {
        Ok(state) => (state, None),
        Err(NoState::Unreadable(why)) => (None, Some(why.to_string())),
        Err(NoState::Kernel(error)) => return Err(error),
    };
    Ok(Found { links, attachments, state, unreadable })
}

/// Every program on an interface: where, and its id.
fn programs(sys: &mut impl Sys, link: &Link, tcx: bool) -> Result<Vec<(Place, u32)>> {
    let mut found = Vec::new();
    for hook in [Hook::Ingress, Hook::Egress] {
        if tcx {
            let attached = if_there(sys.tcx_query(link.index, hook))?;
            found.extend(attached.iter().map(|program| (Place::Tcx(hook), program.prog_id)));
        }
        for filter in if_there(sys.filters(link.index, hook))? {
            let place = Place::Clsact { hook, priority: filter.priority, handle: filter.handle };
            found.push((place, filter.prog_id));
        }
    }
    found.extend(link.xdp.iter().map(|xdp| (Place::Xdp(xdp.mode), xdp.prog_id)));
    found.retain(|(_, id)| *id != 0);
    Ok(found)
}

/// What was found on an interface; nothing on one that went away since the interfaces were listed (`ENODEV`).
fn if_there<T>(found: Result<Vec<T>>) -> Result<Vec<T>> {
    match found {
        Err(error) if error.errno == 19 => Ok(Vec::new()),
        other => other,
    }
}

/// The program of an id if it is ours; `None` too where it went away in the meantime.
fn ours(sys: &mut impl Sys, link: &Link, place: Place, id: u32) -> Result<Option<Attachment>> {
    let prog = match sys.prog_by_id(id) {
        Ok(prog) => prog,
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let info = sys.prog_info(prog)?;
    if !info.name.starts_with(PREFIX) {
        sys.close(prog.0);
        return Ok(None);
    }
    let interface = link.name.clone();
    Ok(Some(Attachment {
        ifindex: link.index,
        interface,
        place,
        prog,
        name: info.name,
        map_ids: info.map_ids,
    }))
}

enum NoState {
    Unreadable(Unreadable),
    Kernel(SysError),
}

impl From<SysError> for NoState {
    fn from(error: SysError) -> Self {
        Self::Kernel(error)
    }
}

impl From<Unreadable> for NoState {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}

/// The maps that attachments hold, by id.
type Maps = BTreeMap<u32, (MapFd, MapInfo)>;

/// Opens the maps that the attachments hold.
fn open_maps(sys: &mut impl Sys, attachments: &[Attachment]) -> Result<Maps> {
    let mut maps = Maps::new();
    for id in attachments.iter().flat_map(|found| &found.map_ids) {
        if !maps.contains_key(id) {
            let map = sys.map_by_id(*id)?;
            let info = sys.map_info(map)?;
            maps.insert(*id, (map, info));
        }
    }
    Ok(maps)
}

/// Reads the saved text from the maps that the attachments hold.
fn state(
    sys: &mut impl Sys,
    attachments: &[Attachment],
    maps: &Maps,
) -> std::result::Result<Option<State>, NoState> {
    let held = || attachments.iter().flat_map(|found| &found.map_ids).filter_map(|id| maps.get(id));
    let state = held().find(|(_, info)| info.name == STATE_MAP);
    let named = |name: &str| held().find(|(_, info)| info.name == name).map(|(map, _)| *map);
    let (counters, tallies) = (named(COUNTERS_MAP), named(TALLIES_MAP));
    let Some((map, info)) = state else { return Ok(None) };
    let (map, geometry) = (*map, Geometry::of_map(info.max_entries));
    let header = sys.map_lookup(map, &HEADER)?.ok_or(Unreadable::Header)?;
    let (slot, entries, octets) = geometry.locate(&header)?;
    let mut pieces = Vec::new();
    for entry in entries {
        pieces.push(sys.map_lookup(map, &entry.to_ne_bytes())?.ok_or(Unreadable::Short)?);
    }
    let saved = slots::join(&pieces, octets)?;
    Ok(Some(State { map, geometry, slot, saved, counters, tallies }))
}
