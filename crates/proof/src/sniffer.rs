//! tcpdump at an end: an observer that is not ours, and that says itself whether it lost anything.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use std::time::{Duration, Instant};

use lab::enterprise::End;
use wire::checksum::{Checks, verify};

use crate::rig::Rig;
use crate::wait;

/// Room in the kernel for what tcpdump has not written yet, KiB (its option `-B`): all of what the tests send, so that
/// nothing is lost where tcpdump does not get to run.
const BUFFER_KIB: u32 = 256 << 10;
/// Between two looks at the file.
const PAUSE: Duration = Duration::from_millis(20);
/// SIGINT: tcpdump writes what it has, and counts.
const INTERRUPT: i32 = 2;
/// SIGKILL, for when a test fails.
const KILL: i32 = 9;

/// A tcpdump that writes what an interface receives.
#[derive(Debug)]
pub struct Sniffer {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
    file: PathBuf,
}

/// What a tcpdump wrote.
#[derive(Debug)]
pub struct Written {
    /// Frames, in order, as they stand in the file.
    pub frames: Vec<Vec<u8>>,
    file: PathBuf,
}

impl Sniffer {
    /// Starts one that keeps whole frames of an MTU of 1500 (and as much of longer ones as shows that they are longer), and
    /// waits until it listens.
    ///
    /// # Panics
    /// Where it does not.
    pub fn start(rig: &Rig, end: &End) -> Self {
        Self::start_with(rig, end, 2048)
    }

    /// Starts one that keeps the first `snaplen` octets of each frame, and waits until it listens. Room in the kernel is for
    /// as many frames as it holds that many octets.
    ///
    /// # Panics
    /// Where it does not.
    pub fn start_with(rig: &Rig, end: &End, snaplen: u32) -> Self {
        let name = format!("tapwright-proof-{}-{}-{}.pcap", std::process::id(), end.host, end.interface);
        let file = std::env::temp_dir().join(name);
        let mut command = Command::new("tcpdump");
        command.args(["-i", &end.interface, "-Q", "in", "-n", "--immediate-mode", "-U", "-Z", "root", "-B"]);
        command.args([BUFFER_KIB.to_string(), format!("-s{snaplen}")]).arg("-w").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = rig.network().inside(&end.host, || command.spawn()).expect("the host can be entered");
        let mut child = started.expect("tcpdump can be run: is it installed?");
        let mut said = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            let read = said.read_line(&mut line).expect("tcpdump's words are text");
            assert_ne!(read, 0, "tcpdump at {end} ended before it listened");
        }
        Self { child, said, file }
    }

    /// Waits until it has written at least `expected` frames, ends it, and reads what it wrote: what it has not written
    /// when it is told to end, it leaves in the kernel.
    ///
    /// # Panics
    /// Where it lost a frame, never writes so many, or its file cannot be read.
    pub fn finish(mut self, expected: u64) -> Written {
        let written = |sniffer: &Self| u64::try_from(sniffer.read().len()).expect("few");
        let deadline = Instant::now() + wait::SOON;
        while written(&self) < expected && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        sys::process::kill(self.child.id(), INTERRUPT).expect("it runs until it is told to end");
        let mut words = String::new();
        self.said.read_to_string(&mut words).expect("tcpdump's words are text");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "tcpdump: {status}\n{words}");
        assert!(words.contains("\n0 packets dropped by kernel"), "tcpdump is not lossless here:\n{words}");
        let count = written(&self);
        assert!(count >= expected, "tcpdump wrote {count} frames of {expected}:\n{words}");
        Written { frames: self.read(), file: self.file.clone() }
    }

    /// What is in the file so far.
    fn read(&self) -> Vec<Vec<u8>> {
        let octets = std::fs::read(&self.file).expect("tcpdump made the file");
        let mut frames = Vec::new();
        // The last record may be half written, while it runs.
        let _ = wire::capture::read(&octets, |_, packet| frames.push(packet.frame.data.to_vec()));
        frames
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        // A process that has ended, and a file that was handed on, need nothing more.
        if let Ok(None) = self.child.try_wait() {
            let _ = sys::process::kill(self.child.id(), KILL);
            let _ = self.child.wait();
        }
    }
}

impl Written {
    /// Each frame with what its checksums say.
    ///
    /// # Panics
    /// At a frame of more than 4 GiB.
    pub fn checked(&self) -> impl Iterator<Item = (&[u8], Checks)> {
        let check = |frame| verify(&wire::Frame::ethernet(frame).expect("tcpdump keeps no frame of 4 GiB"));
        self.frames.iter().map(move |frame| (frame.as_slice(), check(frame)))
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
