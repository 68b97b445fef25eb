//! The files of `examples/` are the manual, so each must be a config without a flaw.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_example_is_sound_and_every_kind_has_one() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let compiled = corpus::compile(&dir, &name, &text).unwrap_or_else(|problems| panic!("{problems}"));
        let advice: String = compiled.advice.iter().map(ToString::to_string).collect();
        // These show what is lost, and `check` has to say so.
        let loses = ["hub.toml", "simulate.toml"].contains(&name.as_str());
        assert_eq!(advice.is_empty(), !loses, "{name}: {advice}");
        seen.insert(name);
    }
    for kind in plan::config::kinds() {
        assert!(seen.contains(&format!("{kind}.toml")), "no example of {kind}");
    }
}

#[test]
fn the_reference_names_every_key_and_kind() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let text = std::fs::read_to_string(path).unwrap();
    for word in plan::config::kinds().chain(plan::config::keys()) {
        assert!(text.contains(&format!("`{word}`")), "docs/config.md does not mention `{word}`");
    }
}
