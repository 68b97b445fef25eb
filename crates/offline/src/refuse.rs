//! What inputs and outputs are refused, before anything is read or written: every reason at once.
//!
//! Only looks at what paths lead to. Never opens a pipe or a device, which could wait for ever.

use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};

use plan::plan::{Direction, Plan, Point, Role};
use plan::simulation::{Pattern, Simulation, Traffic};
use plan::{Refusal, listed};

use crate::input::{Input, Source, is_standard};
use crate::ledger::sends;
use crate::output::{Outputs, Target, names};

/// Every reason why these inputs and outputs do not fit the plan or each other. Empty where they do.
pub fn refusals(plan: &Plan, inputs: &[Input], outputs: &Outputs) -> Vec<Refusal> {
    refusals_with(plan, inputs, &[], outputs)
}

/// The same where traffic comes beside the inputs.
pub(crate) fn refusals_with(
    plan: &Plan,
    inputs: &[Input],
    traffic: &[Traffic],
    outputs: &Outputs,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let read = inputs.iter().filter_map(|input| match &input.source {
        Source::File(path) => Some(path.as_path()),
        Source::Stream(..) => None,
    });
    let sent = traffic.iter().filter_map(|traffic| match &traffic.pattern {
        Pattern::Capture { file, .. } => Some(file.as_path()),
        Pattern::Constant { .. } | Pattern::Poisson { .. } | Pattern::OnOff { .. } => None,
    });
    let files: Vec<&Path> = read.chain(sent).collect();
    let points = inputs.iter().map(|input| input.at).chain(traffic.iter().map(|traffic| traffic.at));
    refusals.extend(points.filter_map(|at| not_judged(plan, at)));
    refusals.extend(files.iter().filter_map(|path| unreadable(path)));
    if files.iter().filter(|path| is_standard(path)).count() > 1 {
        let help = "only one input can come from it: write the others to files";
        refusals.push(Refusal::new("standard input is read more than once", help));
    }
    let dirs = [&outputs.dir, &outputs.plots].into_iter().flatten();
    refusals.extend(dirs.filter_map(|dir| no_directory(dir)));
    overlaps(plan, &files, outputs, &mut refusals);
    refusals
}

/// Traffic that would never end, where nothing else ends the simulation.
pub(crate) fn endless(plan: &Plan, simulation: &Simulation) -> Vec<Refusal> {
    let ends = |traffic: &&Traffic| {
        simulation.duration_ns.is_some()
            || traffic.until_ns.is_some()
            || matches!(traffic.pattern, Pattern::Capture { .. })
    };
    let endless = simulation.traffic.iter().filter(|traffic| !ends(traffic));
    let refusal = |traffic: &Traffic| {
        let what = format!("what comes to {} never ends", plan.port(traffic.at.port).name);
        Refusal::new(what, "say how long the simulation is, or when its traffic ends: @0s-10s")
    };
    endless.map(refusal).collect()
}

/// Why no frame is judged at a point, where none is.
fn not_judged(plan: &Plan, at: Point) -> Option<Refusal> {
    if plan.hook_at(at).is_some() {
        return None;
    }
    let port = plan.port(at.port);
    let (way, why) = match (port.role, at.direction) {
        (Role::Monitor | Role::Virtual, _) => ("", "is a monitor and only sends"),
        (Role::Watched, Direction::In) => (":rx", "is watched the other way only"),
        (Role::Watched, Direction::Out) => (":tx", "is watched the other way only"),
        (Role::Network | Role::Span, _) => ("", "is used by no device"),
    };
    let what = format!("no frames enter at {}{way}: it {why}", port.name);
    let sources: Vec<String> = plan.hooks.iter().map(|hook| plan.source_name(hook)).collect();
    Some(Refusal::new(what, format!("frames enter at {}", listed(&sources))))
}

/// Why a source cannot be read, where that can be told without reading it.
fn unreadable(path: &Path) -> Option<Refusal> {
    if is_standard(path) {
        return None;
    }
    let error = match fs::metadata(path) {
        Ok(found) if found.is_dir() => std::io::ErrorKind::IsADirectory.into(),
        Ok(found) if found.is_file() => File::open(path).err()?,
        Ok(_) => return None,
        Err(error) => error,
    };
    let what = format!("{}: cannot be opened: {error}", path.display());
    Some(Refusal::new(what, "name a pcap or pcapng file that can be read, or `-` for standard input"))
}

/// Why nothing can be written into a directory, where something else has its name.
fn no_directory(dir: &Path) -> Option<Refusal> {
    let other = fs::metadata(dir).is_ok_and(|found| !found.is_dir());
    other.then(|| {
        Refusal::new(
            format!("{}: is no directory", dir.display()),
            "name a directory; it is made where it is missing",
        )
    })
}

/// Outputs that would destroy what is read or kept, or each other, and those that nothing would be written to. Only
/// regular files can be destroyed.
fn overlaps(plan: &Plan, files: &[&Path], outputs: &Outputs, refusals: &mut Vec<Refusal>) {
    let read = files.iter().map(|path| (*path, "is read"));
    let kept = outputs.kept.iter().map(|path| (path.as_path(), "belongs to the config"));
    let guarded: Vec<(&Path, &str)> =
        read.chain(kept).filter(|(path, _)| !is_standard(path) && path.is_file()).collect();
    let mut written: Vec<(PathBuf, PathBuf, &str)> = Vec::new();
    for (id, port) in plan.ports() {
        let mut paths = match (outputs.ports.get(&id), &outputs.dir) {
            (Some(_), _) if !sends(plan, id) => {
                let what = format!("port {} never sends a frame, so there is nothing to write", port.name);
                refusals.push(Refusal::new(what, "leave it out"));
                continue;
            }
            (Some(Target::File(path)), _) => vec![path.clone()],
            (None, Some(dir)) if sends(plan, id) => names(dir, &port.name).to_vec(),
            (Some(Target::Stream(..)), _) | (None, _) => Vec::new(),
        };
        if matches!(port.role, Role::Monitor | Role::Virtual) {
            paths.extend(outputs.plots.iter().map(|dir| dir.join(format!("{}.svg", port.name))));
        }
        for path in paths {
            let Some(place) = place(&path) else { continue };
            let shown =
                if is_standard(&path) { "standard output".to_owned() } else { path.display().to_string() };
            let lost = guarded.iter().find(|(other, _)| same_file(other, &path));
            let same = |known: &&(PathBuf, PathBuf, &str)| known.0 == place || same_file(&known.1, &path);
            if let Some((_, why)) = lost {
                let what =
                    format!("{shown}: would be overwritten with the frames of port {}, and {why}", port.name);
                refusals.push(Refusal::new(what, "write to another file or directory"));
            } else if let Some((_, _, other)) = written.iter().find(same) {
                let what = format!("{shown}: is written for port {other} and for port {}", port.name);
                refusals.push(Refusal::new(what, "name a file for each"));
            } else {
                written.push((place, path, &port.name));
            }
        }
    }
}

/// Whether two names lead to one file that is there, be it by links of either kind.
pub(crate) fn same_file(one: &Path, other: &Path) -> bool {
    let (Ok(found), Ok(other_found)) = (fs::metadata(one), fs::metadata(other)) else { return false };
    let same_path = || Some(fs::canonicalize(one).ok()? == fs::canonicalize(other).ok()?);
    same_node(&found, &other_found) || same_path().unwrap_or(false)
}

/// Whether a file system has them as one, as it has hard links.
#[cfg(unix)]
fn same_node(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Only paths tell here.
#[cfg(not(unix))]
fn same_node(_one: &Metadata, _other: &Metadata) -> bool {
    false
}

/// Where a path leads, so that two of them can be told to be one. `None` for devices and pipes.
fn place(path: &Path) -> Option<PathBuf> {
    if is_standard(path) {
        return Some(path.to_owned());
    }
    match fs::canonicalize(path) {
        Ok(place) => place.is_file().then_some(place),
        Err(_) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = fs::canonicalize(parent.unwrap_or(Path::new("."))).ok()?;
            Some(parent.join(path.file_name()?))
        }
    }
}
