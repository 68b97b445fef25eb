//! Finds what is attached, from the interfaces alone: no file and no process remembers it.

use sys::{ClassicFilter, H_EGRESS, H_INGRESS, Link, Result, Sys};

use super::design;
use super::keep::{self, Keep, Piece};
use crate::machine::pairs;
use crate::machine::saved::Saved;

/// One of our filters on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The interface.
    pub ifindex: u32,
    /// Its name now.
    pub interface: String,
    /// What it hangs on.
    pub parent: u32,
    /// The filter, with what its actions counted.
    pub filter: ClassicFilter,
}

/// What was found in this network namespace.
pub struct Found {
    /// All interfaces, as they are now.
    pub links: Vec<Link>,
    /// All of our filters on the sides of clsact, but those that keep the text.
    pub attachments: Vec<Attachment>,
    /// Every piece of text.
    pub pieces: Vec<Piece>,
    /// What they say, where it can be read.
    pub state: Option<State>,
    /// Why the state cannot be read, where there is some and it cannot.
    pub unreadable: Option<String>,
}

/// The saved text in force.
pub struct State {
    /// What it says.
    pub saved: Saved,
    /// Where it is kept.
    pub keep: Keep,
}

impl Found {
    /// Whether anything of ours is here.
    pub fn anything(&self) -> bool {
        !self.attachments.is_empty() || !self.pieces.is_empty()
    }

    /// The index of an interface, by its name now.
    pub fn index(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|link| link.name == name).map(|link| link.index)
    }

    /// Virtual interfaces of ours.
    pub fn leftover_pairs(&self) -> Vec<u32> {
        pairs::leftover(&self.links).map(|link| link.index).collect()
    }
}

/// Looks at every interface of this namespace.
///
/// # Errors
/// A system call that failed.
pub fn find(sys: &mut impl Sys) -> Result<Found> {
    let links = sys.links()?;
    let (mut attachments, mut pieces) = (Vec::new(), Vec::new());
    for link in &links {
        for parent in [H_INGRESS, H_EGRESS] {
            for filter in there(sys.classic_filters(link.index, parent))? {
                match Piece::read(link.index, &filter) {
                    Some(piece) => pieces.push(piece),
                    None if design::is_ours(parent, &filter) => attachments.push(Attachment {
                        ifindex: link.index,
                        interface: link.name.clone(),
                        parent,
                        filter,
                    }),
                    None => {}
                }
            }
        }
    }
    // A preference and a kind are anybody's; what is ours comes with a program of ours on the same interface.
    let programs: Vec<u32> =
        attachments.iter().filter(|it| it.filter.kind == "bpf").map(|it| it.ifindex).collect();
    attachments.retain(|it| programs.contains(&it.ifindex));
    let (state, unreadable) = match keep::in_force(pieces.clone()) {
        None => (None, None),
        Some((text, keep)) => match Saved::from_text(&text) {
            Ok(saved) => (Some(State { saved, keep }), None),
            Err(why) => (None, Some(format!("its text is not of this version of tapwright: {why}"))),
        },
    };
    Ok(Found { links, attachments, pieces, state, unreadable })
}

/// What was found on an interface; nothing on one that went away since the interfaces were listed (`ENODEV`).
fn there<T>(found: Result<Vec<T>>) -> Result<Vec<T>> {
    match found {
        Err(error) if error.errno == 19 => Ok(Vec::new()),
        other => other,
    }
}
