//! Where the octets of frames are while they wait.
//!
//! Frames that are made up are not kept: their source makes them again. Frames of captures are copied when they begin to
//! wait, and let go when the last of their copies has left. The room of those that are gone is used again.

use wire::{Frame, LinkType};

/// Where the octets of a frame are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FrameRef {
    /// Nowhere: nobody will ask for them.
    None,
    /// Its source makes them: index of the source, flow, and which of its lengths.
    Made {
        /// Index of the source.
        source: u32,
        /// Flow, counted from 0.
        flow: u32,
        /// Index into the source's lengths.
        length: u8,
    },
    /// They are the next frame of this capture.
    Next(u32),
    /// They are kept here.
    Kept(u32),
}

/// Frames that are kept.
#[derive(Debug, Default)]
pub(crate) struct Store {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    data: Vec<u8>,
    wire_len: u32,
    link_type: LinkType,
    /// How many still need it.
    users: u32,
}

impl Store {
    /// Keeps a frame, for one user.
    pub(crate) fn keep(&mut self, frame: &Frame<'_>) -> FrameRef {
        let at = self.free.pop().unwrap_or_else(|| {
            let at = u32::try_from(self.slots.len()).expect("fewer frames wait than memory holds");
            self.slots.push(Slot { data: Vec::new(), wire_len: 0, link_type: LinkType::ETHERNET, users: 0 });
            at
        });
        let slot = &mut self.slots[place(at)];
        slot.data.clear();
        slot.data.extend_from_slice(frame.data);
        (slot.wire_len, slot.link_type, slot.users) = (frame.wire_len, frame.link_type, 1);
        FrameRef::Kept(at)
    }

    /// Another user for a frame that is kept; nothing for others.
    pub(crate) fn share(&mut self, frame: FrameRef) {
        if let FrameRef::Kept(at) = frame {
            self.slots[place(at)].users += 1;
        }
    }

    /// One user less.
    pub(crate) fn let_go(&mut self, frame: FrameRef) {
        if let FrameRef::Kept(at) = frame {
            let slot = &mut self.slots[place(at)];
            slot.users -= 1;
            if slot.users == 0 {
                self.free.push(at);
            }
        }
    }

    /// A frame that is kept.
    pub(crate) fn frame(&self, at: u32) -> Frame<'_> {
        let Slot { data, wire_len, link_type, .. } = &self.slots[place(at)];
        Frame { data, wire_len: *wire_len, link_type: *link_type }
    }

    /// Frames that are kept now.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

fn place(at: u32) -> usize {
    usize::try_from(at).expect("32 bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_again_when_the_last_user_has_gone() {
        let mut store = Store::default();
        let frame = |data| Frame { data, wire_len: 99, link_type: LinkType::RAW };
        let one = store.keep(&frame(&[1, 1]));
        let two = store.keep(&frame(&[2]));
        assert_eq!((one, two, store.len()), (FrameRef::Kept(0), FrameRef::Kept(1), 2));
        store.share(one);
        store.let_go(one);
        assert_eq!((store.frame(0), store.len()), (frame(&[1, 1]), 2));
        store.let_go(one);
        store.let_go(FrameRef::Next(7));
        assert_eq!((store.keep(&frame(&[3, 3, 3])), store.len()), (one, 2));
        assert_eq!((store.frame(0), store.frame(1)), (frame(&[3, 3, 3]), frame(&[2])));
    }
}
