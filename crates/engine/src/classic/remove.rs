//! Carries out `down`: from what was found, whatever state it is in. May be stopped anywhere and run again.

use sys::{H_CLSACT, H_EGRESS, H_INGRESS, Result, Sys};

use super::design;
use super::found::{Attachment, Found};
use super::keep::Home;
use crate::machine::report::DownReport;
use crate::machine::saved::{Phase, SavedInterface};
use crate::machine::{gone_is_fine, pairs, prepare};

/// Takes everything away and restores every interface.
///
/// # Errors
/// The first system call that failed.
pub fn remove(sys: &mut impl Sys, mut found: Found) -> Result<DownReport> {
    let mut report = DownReport::default();
    let mut interfaces: Vec<SavedInterface> = Vec::new();
    if let Some(state) = &mut found.state {
        interfaces.clone_from(&state.saved.interfaces);
        if state.saved.phase != Phase::Removing {
            state.saved.phase = Phase::Removing;
            let here = interfaces.iter().filter(|saved| found.links.iter().any(|it| it.index == saved.index));
            let homes =
                here.map(|saved| Home { ifindex: saved.index, clsact: saved.clsact, make_clsact: false });
            let homes: Vec<Home> = homes.filter(|home| keeps(&found.pieces, home)).collect();
            state.keep.write(sys, &homes, &state.saved)?;
            found.pieces.clone_from(&state.keep.pieces);
        }
    } else if found.unreadable.is_some() || found.pieces.is_empty() && !found.attachments.is_empty() {
        let why = found.unreadable.clone().unwrap_or_else(|| "its text is missing".into());
        report.notes.push(format!(
            "the saved state cannot be read ({why}): filters were taken away, interface settings left"
        ));
    }
    // Judging ends first, the last thing done to a frame before the others; guards stay: what the host says while its
    // interfaces change back goes nowhere.
    let (guards, judging): (Vec<Attachment>, Vec<Attachment>) = std::mem::take(&mut found.attachments)
        .into_iter()
        .partition(|it| design::is_guard(it.parent, &it.filter));
    let left = found.leftover_pairs();
    let goes_with_a_pair = |ifindex: u32| {
        let peer = found.links.iter().find(|link| link.index == ifindex).and_then(|link| link.peer);
        left.contains(&ifindex) || peer.is_some_and(|peer| left.contains(&peer))
    };
    for it in judging.iter().rev().filter(|it| !goes_with_a_pair(it.ifindex)) {
        detach(sys, it)?;
    }
    for saved in &interfaces {
        // By index: it may bear another name now, and a new device has a new index.
        let Some(link) = found.links.iter().find(|link| link.index == saved.index) else {
            report.notes.push(format!("{} is gone: not restored", saved.name));
            continue;
        };
        report.notes.extend(prepare::restore(sys, saved, link)?);
        report.restored.push(saved.name.clone());
    }
    pairs::delete(sys, &found.links, &left)?;
    let mut homes: Vec<(u32, bool)> =
        found.pieces.iter().map(|piece| (piece.ifindex, piece.clsact)).collect();
    homes.extend(guards.iter().map(|guard| (guard.ifindex, false)));
    homes.sort_by_key(|(ifindex, clsact)| (*ifindex, !clsact));
    homes.dedup_by_key(|(ifindex, _)| *ifindex);
    homes.retain(|(ifindex, _)| !left.contains(ifindex));
    // What is kept on an interface goes with its clsact, in one step. The others first: they may be met again.
    homes.sort_by_key(|(_, clsact)| *clsact);
    for (ifindex, clsact) in homes {
        leave(sys, &found, &guards, ifindex, clsact)?;
    }
    Ok(report)
}

/// Whether an interface kept the text until now: one that lost its clsact is not given a new one.
fn keeps(pieces: &[super::keep::Piece], home: &Home) -> bool {
    pieces.iter().any(|piece| piece.ifindex == home.ifindex)
}

/// Takes away guards and text from an interface, and its clsact if that is ours and nobody else's filters are in it.
fn leave(sys: &mut impl Sys, found: &Found, guards: &[Attachment], ifindex: u32, clsact: bool) -> Result<()> {
    if clsact {
        let mut others = false;
        for parent in [H_INGRESS, H_EGRESS] {
            for filter in gone_is_none(sys.classic_filters(ifindex, parent))? {
                let piece = super::keep::Piece::read(ifindex, &filter).is_some();
                others |= !piece && !design::is_ours(parent, &filter);
            }
        }
        if !others {
            return gone_is_fine(sys.delete_qdisc(ifindex, H_CLSACT, sys::handle(0xffff, 0)));
        }
    }
    for guard in guards.iter().filter(|guard| guard.ifindex == ifindex).rev() {
        detach(sys, guard)?;
    }
    for piece in found.pieces.iter().filter(|piece| piece.ifindex == ifindex) {
        piece.delete(sys)?;
    }
    Ok(())
}

fn detach(sys: &mut impl Sys, it: &Attachment) -> Result<()> {
    let filter = &it.filter;
    gone_is_fine(sys.delete_classic(it.ifindex, it.parent, filter.chain, filter.priority, filter.handle))
}

fn gone_is_none<T>(found: Result<Vec<T>>) -> Result<Vec<T>> {
    match found {
        Err(error) if matches!(error.errno, 2 | 19) => Ok(Vec::new()),
        other => other,
    }
}
