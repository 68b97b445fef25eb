//! Golden files: compared, or written where the environment asks for it.

use std::path::Path;
use std::{env, fs};

/// Set to `1` to write golden files instead of comparing them.
const BLESS: &str = "TAPWRIGHT_BLESS";

/// Compares texts with golden files, and gathers what differs.
pub struct Golden {
    bless: bool,
    /// What differs, printable.
    differences: Vec<String>,
}

impl Golden {
    /// Compares, or writes where `TAPWRIGHT_BLESS=1` is in the environment.
    pub fn from_environment() -> Self {
        Self { bless: env::var_os(BLESS).is_some_and(|value| value == "1"), differences: Vec::new() }
    }

    /// Compares with a file. An empty text is no file.
    pub fn check(&mut self, path: &Path, actual: &str) {
        let expected = fs::read_to_string(path).unwrap_or_default();
        if actual == expected && path.exists() != actual.is_empty() {
            return;
        }
        if !self.bless {
            let name = path.display();
            let difference = first_difference(&expected, actual);
            self.differences.push(format!("{name} (TAPWRIGHT_BLESS=1 writes it)\n{difference}"));
            return;
        }
        let written = if actual.is_empty() { fs::remove_file(path) } else { fs::write(path, actual) };
        if let Err(error) = written {
            self.differences.push(format!("{}: {error}", path.display()));
        }
    }

    /// # Panics
    /// With everything that differs.
    pub fn finish(self) {
        assert!(self.differences.is_empty(), "\n{}", self.differences.join("\n"));
    }
}

fn first_difference(expected: &str, actual: &str) -> String {
    let pairs = expected.lines().map(Some).chain(std::iter::repeat(None));
    let pairs = pairs.zip(actual.lines().map(Some).chain(std::iter::repeat(None))).zip(1..);
    let differs = pairs.take_while(|((e, a), _)| e.is_some() || a.is_some()).find(|((e, a), _)| e != a);
    match differs {
        Some(((expected, actual), line)) => {
            let show = |text: Option<&str>| text.map_or("(nothing)".to_owned(), |text| format!("{text:?}"));
            format!("  line {line} expected {}\n  line {line} is       {}", show(expected), show(actual))
        }
        None => "  they differ in how lines end".to_owned(),
    }
}
