//! How long `up` and `down` take with many links and many monitors, by the program that users run.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use crate::error::{Failure, Outcome};
use crate::files::{self, Files};
use crate::stand::{Shared, Side, Stand};

/// Links.
pub const LINKS: usize = 32;
/// Monitors of each.
pub const MONITORS: usize = 8;

/// Times of one attach mode, in seconds, one for each run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Times {
    /// As in the config.
    pub attach: String,
    /// From start to end of `tapwright up`.
    pub up_s: Vec<f64>,
    /// Of `tapwright status`.
    pub status_s: Vec<f64>,
    /// Of `tapwright down`.
    pub down_s: Vec<f64>,
}

/// The stand: cables `a0`, `b0`, `m0x0`, ... of all links, in one namespace.
pub struct Links<'f> {
    stand: Stand,
    files: &'f Files,
}

impl<'f> Links<'f> {
    /// Lays the cables.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new(shared: &Shared, files: &'f Files) -> Outcome<Self> {
        let mut stand = Stand::new(0)?;
        for link in 0..LINKS {
            for port in ports(link) {
                stand.cable(&port, &format!("f{port}"))?;
                // XDP redirects only to virtual ends that have a program; for tcx it makes no difference.
                stand.pass_xdp(shared, Side::Far, &format!("f{port}"))?;
            }
        }
        Ok(Self { stand, files })
    }

    /// Brings all links up and down so often.
    ///
    /// # Errors
    /// A command failed, its ledger does not name all ports, or it left a process behind.
    pub fn measure(&self, attach: &str, runs: usize) -> Outcome<Times> {
        let config = self.files.write("links.toml", &text(attach))?;
        let mut times = Times { attach: attach.into(), up_s: vec![], status_s: vec![], down_s: vec![] };
        for _ in 0..runs {
            times.up_s.push(self.tapwright(&[Path::new("up"), &config])?);
            self.nothing_runs()?;
            let status = self.stand.status()?;
            if status.ports.len() != 2 * LINKS || status.monitors.len() != LINKS * MONITORS {
                let (ports, monitors) = (status.ports.len(), status.monitors.len());
                return Err(Failure::new("status", format!("{ports} ports, {monitors} monitors")));
            }
            if let Some((_, port)) = status.ports.iter().find(|(_, port)| port.attach != attach) {
                return Err(Failure::new("status", format!("attached by {}, not {attach}", port.attach)));
            }
            times.status_s.push(self.tapwright(&[Path::new("status")])?);
            times.down_s.push(self.tapwright(&[Path::new("down")])?);
        }
        Ok(times)
    }

    /// Runs the program in the namespace and gives the seconds that it took.
    fn tapwright(&self, arguments: &[&Path]) -> Outcome<f64> {
        let begun = Instant::now();
        self.stand.in_tap(|| files::run(&mut self.files.tapwright(arguments)))??;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// No process lives among the taps.
    fn nothing_runs(&self) -> Outcome<()> {
        let here = format!("net:[{}]", self.stand.tap_id()?);
        let entries = std::fs::read_dir("/proc").map_err(|error| Failure::new("/proc", error))?;
        for entry in entries.flatten() {
            let namespace = std::fs::read_link(entry.path().join("ns/net"));
            if namespace.is_ok_and(|namespace| namespace.as_os_str() == here.as_str()) {
                return Err(Failure::new(entry.path().display(), "a process was left behind"));
            }
        }
        Ok(())
    }
}

fn ports(link: usize) -> Vec<String> {
    let monitors = (0..MONITORS).map(|number| format!("m{link}x{number}"));
    [format!("a{link}"), format!("b{link}")].into_iter().chain(monitors).collect()
}

/// Every monitor of a link gets both directions: 2 x 32 hooks with 8 copies each.
fn text(attach: &str) -> String {
    let mut text = String::from("[ports]\n");
    for link in 0..LINKS {
        for (at, port) in ports(link).into_iter().enumerate() {
            let attach = if at < 2 || attach != "xdp" { attach } else { "auto" };
            let _ = writeln!(text, "{port} = {{ interface = \"{port}\", attach = \"{attach}\" }}");
        }
    }
    for link in 0..LINKS {
        let monitors: Vec<String> = (0..MONITORS).map(|number| format!("\"m{link}x{number}\"")).collect();
        let _ = write!(
            text,
            "\n[[device]]\nname = \"link{link}\"\nkind = \"link-aggregator\"\nlinks = [[\"a{link}\", \"b{link}\"]]\n\
             monitors = [{}]\n",
            monitors.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_monitor_gets_both_directions() {
        let (plan, _) = plan::compile("bench", &text("tcx")).unwrap();
        assert_eq!(plan.ports.len(), LINKS * (2 + MONITORS));
        assert_eq!(plan.hooks.len(), 2 * LINKS);
        assert!(plan.hooks.iter().all(|hook| hook.copies.len() == MONITORS));
    }
}
