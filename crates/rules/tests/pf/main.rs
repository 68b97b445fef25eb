//! The language of pf: golden files, properties, and what rules mean for frames.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod golden;
mod meaning;
mod properties;

/// The folder of the golden files, which is also where their tables are read from.
fn folder() -> std::path::PathBuf {
    corpus::root().join("pf")
}

/// Hands over a file that a table names.
fn files(name: &str) -> Result<String, String> {
    std::fs::read_to_string(folder().join(name)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    })
}
