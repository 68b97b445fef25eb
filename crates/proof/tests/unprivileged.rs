//! The lab of an ordinary user: every scenario, by the program that users run, as a user who may do nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use proof::binary;

/// The user and the group `nobody`, who own nothing and have no privileges.
const NOBODY: u32 = 65_534;

/// The program where everybody may run it: a target directory may lie where only root may go.
struct Program(PathBuf);

impl Program {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("tapwright-proof-{}", std::process::id()));
        fs::copy(binary::path(), &path).expect("the directory for temporary files can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(path)
    }

    /// Runs it as nobody. `Command::uid` drops all other groups, and the kernel all capabilities.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.0);
        command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir(Path::new("/")).stdin(Stdio::null());
        command.output().expect("it starts")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the directory.
        let _ = fs::remove_file(&self.0);
    }
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn privileged_the_lab_of_an_ordinary_user_holds() {
    let _alone = proof::alone();
    let program = Program::new();
    for scenario in &lab::scenario::SCENARIOS {
        let output = program.run(&["lab", scenario.name]);
        let (stdout, stderr) = said(&output);
        assert!(output.status.success(), "{}: {stderr}\n{stdout}", scenario.name);
        assert_eq!(stdout.lines().last(), Some("unaccounted 0"), "{}: {stdout}", scenario.name);
        assert!(stdout.contains("eBPF may not be loaded in a user namespace"), "{}: {stdout}", scenario.name);
        assert_eq!(stderr.lines().count(), 1, "one line says so: {stderr}");
    }
}

#[test]
fn privileged_what_an_ordinary_user_may_not_is_refused_with_the_reason() {
    let _alone = proof::alone();
    let program = Program::new();
    for (arguments, reason) in
        [(&["lab", "--keep"][..], "only root may"), (&["lab", "--attach", "xdp"], "loads eBPF")]
    {
        let output = program.run(arguments);
        let (_, stderr) = said(&output);
        assert!(!output.status.success() && stderr.contains(reason), "{arguments:?}: {stderr}");
        assert!(stderr.contains("help: "), "{arguments:?}: {stderr}");
    }
}

#[test]
fn privileged_root_may_see_what_others_will_see() {
    let _alone = proof::alone();
    let output = Command::new(binary::path()).args(["lab", "--unprivileged"]).output().expect("it starts");
    let (stdout, stderr) = said(&output);
    assert!(output.status.success(), "{stderr}\n{stdout}");
    assert!(stdout.contains("eBPF may not be loaded in a user namespace"), "{stdout}");
    assert_eq!(stdout.lines().last(), Some("unaccounted 0"), "{stdout}");
}
