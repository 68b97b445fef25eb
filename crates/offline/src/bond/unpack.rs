//! What a capture was packed with is taken off: gzip and zstd, known by their first octets.
//!
//! Memory is bounded whatever the packed octets say: gzip looks back 32 KiB, and of zstd a window of at most
//! [`WINDOW_MAX`] is accepted. Whatever begins otherwise is handed on as it is.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The widest window of zstd that is unpacked, in octets: what RFC 8878 (section 3.1.1.1.2) asks of every decoder.
/// All levels up to 19 stay within it; `--ultra` and `--long` do not.
pub const WINDOW_MAX: u64 = 8 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames that a decoder passes over begin with 0x184d2a50 to 0x184d2a5f.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// Octets read at once from what is packed.
const PACKED: usize = 64 << 10;

/// The same octets, unpacked where they are packed. Waits for the first four.
///
/// # Errors
/// Where they cannot be read.
pub fn unpack(mut packed: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut first = [0; 4];
    let mut len = 0;
    while len < first.len() {
        match packed.read(&mut first[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let known = &first[..len];
    let whole = Cursor::new(known.to_vec()).chain(packed);
    Ok(if known.starts_with(&GZIP) {
        Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(PACKED, whole)))
    } else if is_zstd(known) {
        Box::new(Zstd::new(Box::new(io::BufReader::with_capacity(PACKED, whole))))
    } else {
        Box::new(whole)
    })
}

fn is_zstd(first: &[u8]) -> bool {
    first == ZSTD || (first.get(1..) == Some(&SKIPPABLE[..]) && first[0] & 0xf0 == 0x50)
}

/// The frames of a zstd file, one after the other.
struct Zstd {
    packed: Box<dyn Read + Send>,
    decoder: FrameDecoder,
    /// Whether the decoder is inside a frame.
    inside: bool,
}

impl Zstd {
    fn new(packed: Box<dyn Read + Send>) -> Self {
        Self { packed, decoder: FrameDecoder::new(), inside: false }
    }

    /// Begins the next frame of data. Whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let mut magic = [0; 4];
            match read_up_to(&mut self.packed, &mut magic)? {
                0 => return Ok(false),
                4 if magic == ZSTD => break,
                4 if is_zstd(&magic) => self.skip()?,
                _ => return Err(corrupt("zstd: something else follows a frame")),
            }
        }
        let header = self.header()?;
        self.decoder
            .reset(Cursor::new(ZSTD).chain(Cursor::new(header)))
            .map_err(|error| corrupt(&format!("zstd: {error}")))?;
        self.inside = true;
        Ok(true)
    }

    /// Passes over a skippable frame, whose magic has been read.
    fn skip(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.packed.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        let skipped = io::copy(&mut self.packed.by_ref().take(length), &mut io::sink())?;
        if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The header of a frame behind its magic (RFC 8878, section 3.1.1.1); a window that is too wide is refused.
    fn header(&mut self) -> io::Result<Vec<u8>> {
        let mut descriptor = [0];
        self.packed.read_exact(&mut descriptor)?;
        let [flags] = descriptor;
        let single = flags & 0x20 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(flags & 3)];
        let size = match flags >> 6 {
            0 => usize::from(single),
            bits => 1 << bits,
        };
        let mut rest = vec![0; usize::from(!single) + dictionary + size];
        self.packed.read_exact(&mut rest)?;
        let window = if single {
            let mut octets = [0; 8];
            octets[..size].copy_from_slice(&rest[dictionary..]);
            // Two octets begin to count at 256.
            u64::from_le_bytes(octets) + if size == 2 { 256 } else { 0 }
        } else {
            let base = 1u64 << (10 + (rest[0] >> 3));
            base + base / 8 * u64::from(rest[0] & 7)
        };
        if window > WINDOW_MAX {
            let what = format!(
                "zstd with a window of {window} bytes, above the limit of {WINDOW_MAX}: unpack it on the way \
                 (`zstd -dc --long=31`)"
            );
            return Err(corrupt(&what));
        }
        let mut header = descriptor.to_vec();
        header.append(&mut rest);
        Ok(header)
    }

    /// Whether the checksum at the end of the frame is that of the octets, where there is one.
    fn ends_well(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(said), Some(found)) if said != found => Err(corrupt("zstd: the checksum does not fit")),
            _ => Ok(()),
        }
    }
}

impl Read for Zstd {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if self.inside {
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    self.decoder
                        .decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBlocks(1))
                        .map_err(|error| corrupt(&format!("zstd: {error}")))?;
                }
                let len = self.decoder.read(out)?;
                if len > 0 {
                    return Ok(len);
                }
                self.ends_well()?;
                self.inside = false;
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

/// Fills as much of `out` as there is.
fn read_up_to(read: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(room) = out.get_mut(len..).filter(|room| !room.is_empty()) {
        match read.read(room) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn corrupt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
