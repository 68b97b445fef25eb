//! A capture read frame by frame, for those who only look.

use std::io;

use plan::plan::HookId;
use wire::Frame;
use wire::capture::{Reader, Timestamp};

use crate::input::{Failure, Feed, Source};

/// Hands every frame of a capture to `visit` with its time, until that says to stop (`false`). Says what broke,
/// where the capture is cut or corrupt: the frames before were handed over.
///
/// # Errors
/// Where the capture cannot be opened.
pub fn each_frame(
    source: Source,
    mut visit: impl FnMut(Timestamp, &Frame<'_>) -> bool,
) -> io::Result<Option<String>> {
    let mut feed = Feed::open(source, HookId(0))?;
    while let Some((time, frame)) = feed.head() {
        if !visit(time, &frame) {
            return Ok(None);
        }
        feed.advance();
    }
    Ok(feed.failure.as_ref().map(|failure| failure.said(feed.reader())))
}

impl Failure {
    /// How far the reader came, and what broke there.
    pub(crate) fn said(&self, reader: &Reader) -> String {
        match self {
            Self::Broken(broken) => broken.to_string(),
            Self::Io(offset, error) => {
                let (packets, bytes) = (reader.packets(), reader.bytes());
                let noun = if packets == 1 { "packet" } else { "packets" };
                format!("{packets} {noun} ({bytes} bytes) read, then at offset {offset}: {error}")
            }
        }
    }
}
