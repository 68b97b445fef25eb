//! The `tapwright` that users run, for tests of what outlives its process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use lab::enterprise::TAP;

use crate::rig::Rig;

/// Where it is, built as this test was built.
///
/// # Panics
/// Where it cannot be built.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        // TARGET/PROFILE/deps/NAME-HASH
        let test = std::env::current_exe().expect("the kernel knows which program runs");
        let profile =
            test.ancestors().nth(2).expect("a test lies two directories below its target's profile");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "tapwright", "--target-dir"]);
        build.arg(profile.parent().expect("a profile lies in a target directory"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be run");
        assert!(status.success(), "tapwright does not build");
        profile.join("tapwright")
    })
}

/// Starts `tapwright` on the tap box; what it says is kept.
///
/// # Panics
/// Where it cannot be started.
pub fn start(rig: &Rig, arguments: &[&str]) -> Child {
    let mut command = Command::new(path());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    rig.network().inside(TAP, || command.spawn()).expect("the tap box can be entered").expect("it starts")
}

/// Runs `tapwright` on the tap box to its end.
///
/// # Panics
/// Where it cannot be run.
pub fn run(rig: &Rig, arguments: &[&str]) -> Output {
    start(rig, arguments).wait_with_output().expect("its output can be read")
}

/// The ledger as `tapwright status --json` prints it.
///
/// # Panics
/// Where it says no, or something that is not a ledger.
pub fn status(rig: &Rig) -> engine::Status {
    ledger(&run(rig, &["status", "--json"]))
}

/// The ledger in the output of `status --json`.
///
/// # Panics
/// Where there is none.
pub fn ledger(output: &Output) -> engine::Status {
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("no ledger: {error}\n{said}\n{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// Processes that run the `tapwright` that these tests built.
///
/// # Panics
/// Where there is no procfs.
pub fn alive() -> Vec<String> {
    let of_ours = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == path())
    };
    let entries = std::fs::read_dir("/proc").expect("procfs is there").filter_map(Result::ok);
    entries.filter(of_ours).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A config in a file of its own, gone when this is dropped.
#[derive(Debug)]
pub struct ConfigFile(PathBuf);

impl ConfigFile {
    /// Writes it.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn new(text: &str) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("tapwright-proof-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("the directory for temporary files can be written");
        Self(path)
    }

    /// Its path.
    ///
    /// # Panics
    /// Where the directory for temporary files has no name in UTF-8.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("the directory for temporary files has a name in UTF-8")
    }

    /// Its name beside others of its directory.
    ///
    /// # Panics
    /// Never: it was given one.
    pub fn name(&self) -> &str {
        self.0.file_name().and_then(std::ffi::OsStr::to_str).expect("it was given one in ASCII")
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the directory.
        let _ = std::fs::remove_file(&self.0);
    }
}
