//! Bonds: whatever the octets, all that a reader finds in them comes out, once and in order, however they arrive.

use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use offline::bond::{BondError, Options, Report, bond};
use offline::{Source, Target};
use wire::capture::read;

/// Gives its octets in pieces of at most so many.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let room = out.len().min(self.1);
        self.0.read(&mut out[..room])
    }
}

/// Octets that were written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two captures out of one, bonded; the first octets say where it is cut, and how it arrives.
pub fn two(octets: &[u8]) {
    let [cut, piece, window, rest @ ..] = octets else { return };
    let at = rest.len() * usize::from(*cut) / 255;
    let (one, other) = rest.split_at(at);
    let options = Options { window_ns: u64::from(*window) * 1_000_000, stats: true, ..Options::default() };
    let whole = bonded([one, other], usize::MAX, &options);
    let pieces = bonded([one, other], usize::from(*piece) + 1, &options);
    let ((report, ours), (_, again)) = match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => (whole, pieces),
        (Err(BondError::Mixed(_)), Err(BondError::Mixed(_))) => return,
        (one, other) => panic!("{one:?} and {other:?}"),
    };
    assert!(ours == again, "the same octets, another bond");
    let mut times = Vec::new();
    let mut bytes = 0u64;
    let reader = read(&ours, |_, packet| {
        times.push(packet.timestamp);
        bytes += u64::try_from(packet.frame.data.len()).expect("no machine has more");
    })
    .expect("what we write, we read");
    assert_eq!((reader.packets(), bytes), (report.merged.frames, report.merged.bytes));
    assert_eq!(report.merged.frames, report.inputs.iter().map(|input| input.frames).sum::<u64>());
    let clamped: u64 = report.inputs.iter().map(|input| input.times_clamped).sum();
    assert!(!report.merged.ordered || clamped > 0 || times.is_sorted());
    assert!(!report.to_string().is_empty());
}

fn bonded(halves: [&[u8]; 2], piece: usize, options: &Options) -> Result<(Report, Vec<u8>), BondError> {
    let source = |octets: &[u8]| {
        Source::Stream("fuzz".to_owned(), Box::new(Pieces(Cursor::new(octets.to_vec()), piece)))
    };
    let written = Written::default();
    let target = Target::Stream("out".to_owned(), Box::new(written.clone()));
    let report = bond(halves.map(source).into(), options, Some(target), |_| {})?;
    let octets = written.0.lock().expect("nobody panics with it").clone();
    Ok((report, octets))
}
