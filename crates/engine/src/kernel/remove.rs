//! Carries out `down`: from what was found, whatever state it is in. May be stopped anywhere and run again.

use sys::{Hook, Result, Sys};

use super::anchor::{self, StateMap};
use super::found::{Attachment, Found, Place};
use super::hurry;
use crate::machine::pairs::{self, is_pair};
use crate::machine::report::{DownReport, Error};
use crate::machine::saved::{Phase, Saved, SavedInterface};
use crate::machine::{gone_is_fine, prepare};

/// Takes everything away and restores every interface.
///
/// # Errors
/// The first system call that failed.
pub fn remove(sys: &mut impl Sys, mut found: Found) -> Result<DownReport> {
    let mut report = DownReport::default();
    let mut attachments = std::mem::take(&mut found.attachments);
    let mut interfaces: Vec<SavedInterface> = Vec::new();
    let mut hurried = false;
    if let Some(state) = &found.state {
        interfaces.clone_from(&state.saved.interfaces);
        hurried = hold(sys, &mut attachments, state.saved.clone(), state)?;
    } else if !attachments.is_empty() {
        let why = found.unreadable.clone().unwrap_or_else(|| "its map is missing".into());
        report.notes.push(format!(
            "the saved state cannot be read ({why}): programs were taken away, interface settings left"
        ));
    }
    let here = |saved: &SavedInterface| {
        // By index: it may bear another name now, and a new device has a new index.
        found.links.iter().find(|link| link.index == saved.index)
    };
    let present = |saved: &&SavedInterface| here(saved).is_some();
    // Judging ends first, guards stay: what the host says while its interfaces change back goes nowhere.
    let (held, judging): (Vec<Attachment>, Vec<Attachment>) =
        attachments.into_iter().partition(|it| is_guard(it) || it.name == anchor::ANCHOR);
    for attachment in &judging {
        detach(sys, attachment)?;
    }
    for saved in &interfaces {
        let Some(link) = here(saved) else {
            report.notes.push(format!("{} is gone: not restored", saved.name));
            continue;
        };
        report.notes.extend(prepare::restore(sys, saved, link)?);
        report.restored.push(saved.name.clone());
    }
    let left: Vec<u32> = pairs::leftover(&found.links).map(|link| link.index).collect();
    let on_pairs = |it: &Attachment| left.contains(&it.ifindex);
    pairs::delete(sys, &found.links, &left)?;
    let (anchors, guards): (Vec<_>, Vec<_>) = held.into_iter().partition(|it| it.name == anchor::ANCHOR);
    for guard in guards.iter().filter(|it| !on_pairs(it)) {
        detach_guard(sys, guard, &interfaces)?;
    }
    for saved in interfaces.iter().filter(present) {
        drop_clsact(sys, saved)?;
    }
    if hurried {
        hurry::end(sys)?;
    }
    for anchor in &anchors {
        detach(sys, anchor)?;
    }
    Ok(report)
}

/// Puts the anchor on, unless it is there, and writes that `down` has begun. Gives whether the kernel is made
/// to hurry from here on.
fn hold(
    sys: &mut impl Sys,
    attachments: &mut Vec<Attachment>,
    mut saved: Saved,
    state: &super::found::State,
) -> Result<bool> {
    let anchored = attachments.iter().any(|it| it.name == anchor::ANCHOR);
    // Not on an end of a pair, which goes before the end.
    let lasts = |name: &str| !is_pair(name) && !saved.pairs.iter().any(|pair| pair.far == name);
    let on = attachments.iter().find(|it| matches!(it.place, Place::Tcx(_)) && lasts(&it.interface));
    if let Some((ifindex, interface)) = on.filter(|_| !anchored).map(|it| (it.ifindex, it.interface.clone()))
    {
        let prog = anchor::attach(sys, ifindex, state.map).map_err(|error| match error {
            Error::Kernel(error) => *error,
            other => sys::SysError::new("BPF_PROG_LOAD", anchor::ANCHOR, 22).with_detail(other.to_string()),
        })?;
        attachments.push(Attachment {
            ifindex,
            interface,
            place: Place::Tcx(Hook::Ingress),
            prog,
            name: anchor::ANCHOR.into(),
            map_ids: Vec::new(),
        });
    }
    let in_tcx = attachments.iter().filter(|it| matches!(it.place, Place::Tcx(_))).count();
    let hurried = saved.hurried || hurry::is_worth_it(sys, in_tcx)?;
    if saved.phase != Phase::Removing || saved.hurried != hurried {
        (saved.phase, saved.hurried) = (Phase::Removing, hurried);
        StateMap::open(state.map, state.geometry, state.slot).write(sys, &saved)?;
    }
    if hurried {
        hurry::begin(sys);
    }
    Ok(hurried)
}

fn is_guard(attachment: &Attachment) -> bool {
    matches!(attachment.place, Place::Tcx(Hook::Egress) | Place::Clsact { hook: Hook::Egress, .. })
        && attachment.name.starts_with("tw_guard")
}

fn detach(sys: &mut impl Sys, attachment: &Attachment) -> Result<()> {
    let outcome = match attachment.place {
        Place::Tcx(hook) => sys.tcx_detach(attachment.ifindex, hook, attachment.prog),
        Place::Clsact { hook, priority, handle } => {
            sys.delete_filter(attachment.ifindex, hook, priority, handle)
        }
        Place::Xdp(mode) => sys.xdp_detach(attachment.ifindex, mode),
    };
    gone_is_fine(outcome)
}

/// A guard in a clsact of ours goes with it, in one step, so that no empty clsact is left if we end here.
fn detach_guard(sys: &mut impl Sys, guard: &Attachment, interfaces: &[SavedInterface]) -> Result<()> {
    let ours = interfaces.iter().any(|saved| saved.index == guard.ifindex && saved.clsact);
    if ours && matches!(guard.place, Place::Clsact { .. }) {
        let mut others = Vec::new();
        for hook in [Hook::Ingress, Hook::Egress] {
            others.extend(
                sys.filters(guard.ifindex, hook)?.into_iter().filter(|filter| filter.name != "tapwright"),
            );
        }
        if others.is_empty() {
            return gone_is_fine(sys.delete_qdisc(guard.ifindex, sys::H_CLSACT, sys::handle(0xffff, 0)));
        }
    }
    detach(sys, guard)
}

/// Takes away a clsact of ours that holds nothing (a watched interface has no guard to go with).
fn drop_clsact(sys: &mut impl Sys, saved: &SavedInterface) -> Result<()> {
    if !saved.clsact || !sys.qdiscs(saved.index)?.iter().any(|qdisc| qdisc.kind == "clsact") {
        return Ok(());
    }
    for hook in [Hook::Ingress, Hook::Egress] {
        if !sys.filters(saved.index, hook)?.is_empty() {
            return Ok(());
        }
    }
    gone_is_fine(sys.delete_qdisc(saved.index, sys::H_CLSACT, sys::handle(0xffff, 0)))
}
