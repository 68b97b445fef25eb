//! The rule files that a config names: handed over by the caller, read here.
//!
//! Never does I/O. A path is that of the config, or relative to the folder of the config; a path in a rule
//! file is relative to the folder of that rule file.

use std::collections::BTreeMap;

use rules::pf::{self, Parsed};

use crate::config::Drafts;
use crate::problem::{Report, shown};
use crate::text::{ENTRIES_MAX, TABLES_MAX};

/// The longest file that is read, in octets, be it of rules or of addresses.
pub use rules::pf::TEXT_MAX;

/// Hands over the text of a file, named relative to the config's folder or absolute, or says why it cannot
/// be had.
pub type Files<'f> = dyn Fn(&str) -> Result<String, String> + 'f;

/// Hands over no file: for configs that name none.
///
/// # Errors
/// Always.
pub fn no_files(_path: &str) -> Result<String, String> {
    Err("no other file can be read here".to_owned())
}

/// A rule file that was read.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// The file as the config names it. Counters of its rules are kept under this name and a line.
    pub written: String,
    /// The file as messages name it: with the folder of the config in front.
    pub shown: String,
    /// What it holds.
    pub text: String,
    /// What that means.
    pub parsed: Parsed,
}

/// Those of a config, by the name that it uses.
#[derive(Default)]
pub(crate) struct RuleFiles {
    /// `None` for one that was refused, which was reported.
    files: BTreeMap<String, Option<RuleFile>>,
}

impl RuleFiles {
    pub(crate) fn named(&self, written: &str) -> Option<&RuleFile> {
        self.files.get(written).and_then(Option::as_ref)
    }

    pub(crate) fn into_read(self) -> impl Iterator<Item = RuleFile> {
        self.files.into_values().flatten()
    }
}

/// Reads each file that a device names, once.
pub(crate) fn load(config: &str, drafts: &Drafts, files: &Files<'_>, report: &mut Report<'_>) -> RuleFiles {
    let mut read = RuleFiles::default();
    for name in drafts.devices.iter().filter_map(|draft| draft.rules.as_ref()) {
        if read.files.contains_key(&name.value) {
            continue;
        }
        let file = match files(&name.value) {
            Ok(text) => parsed(config, &name.value, text, files, report),
            Err(why) => {
                let what = format!("{} cannot be read: {why}", shown(&name.value));
                let help = "name a file of pf rules; its place is relative to this config";
                report.add(name.span.clone(), what, help);
                None
            }
        };
        read.files.insert(name.value.clone(), file);
        let tables = || read.files.values().flatten().flat_map(|file| &file.parsed.tables);
        let entries: usize = tables().map(|table| table.entries().count()).sum();
        if tables().count() > TABLES_MAX || entries > ENTRIES_MAX {
            let what = format!("more than {TABLES_MAX} tables, or {ENTRIES_MAX} entries in them");
            report.add(name.span.clone(), what, "divide the config between machines or network namespaces");
            break;
        }
    }
    read
}

fn parsed(
    config: &str,
    written: &str,
    text: String,
    files: &Files<'_>,
    report: &mut Report<'_>,
) -> Option<RuleFile> {
    let shown = beside(config, written);
    match pf::parse(&shown, &text, &|path: &str| files(&beside(written, path))) {
        Ok(parsed) => Some(RuleFile { written: written.to_owned(), shown, text, parsed }),
        Err(refused) => {
            refused.list.iter().for_each(|remark| report.add_remark(remark));
            report.add_more(refused.more);
            None
        }
    }
}

/// A path that stands in a file, as seen from where that file's own path is.
fn beside(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_file_that_they_stand_in() {
        assert_eq!(beside("tap.toml", "pf.conf"), "pf.conf");
        assert_eq!(beside("/etc/tap.toml", "pf/web.conf"), "/etc/pf/web.conf");
        assert_eq!(beside("/tap.toml", "pf.conf"), "/pf.conf");
        assert_eq!(beside("etc/tap.toml", "/srv/pf.conf"), "/srv/pf.conf");
    }
}
