//! Rule files of pf: what is accepted reads back to the same rules, what is refused is explained.

use rules::pf::{REMARKS_MAX, Refused, parse};

/// Rules beyond which more of the same is only slow.
const RULES_ENOUGH: usize = 2000;

/// A rule file, and behind a NUL what every file holds that its tables name.
pub fn rules(octets: &[u8]) {
    let Ok(all) = std::str::from_utf8(octets) else { return };
    let (text, entries) = all.split_once('\0').unwrap_or((all, ""));
    let files = |name: &str| match name {
        "none" => Err("it is not there".to_owned()),
        _ => Ok(entries.to_owned()),
    };
    let parsed = match parse("fuzz.conf", text, &files) {
        Ok(parsed) => parsed,
        Err(refused) => return explained(text, entries, &refused),
    };
    for piece in &parsed.advice {
        assert!(is_printable(&piece.to_string()), "{piece}");
    }
    if parsed.rules.len() > RULES_ENOUGH {
        return;
    }
    let canonical = parsed.to_string();
    let again =
        parse("again.conf", &canonical, &files).unwrap_or_else(|refused| panic!("{canonical}{refused}"));
    assert_eq!(again.to_string(), canonical);
    assert_eq!(again.tables, parsed.tables);
    assert_eq!(again.tags, parsed.tags);
    assert_eq!(again.rules.len(), parsed.rules.len());
    for (again, rule) in again.rules.iter().zip(&parsed.rules) {
        assert_eq!(again.test(), rule.test(), "{rule}");
    }
}

/// Every remark has a place in its text, and words that a terminal can show.
fn explained(text: &str, entries: &str, refused: &Refused) {
    assert!(!refused.list.is_empty() && refused.list.len() <= REMARKS_MAX);
    for remark in &refused.list {
        let of = if remark.file == "fuzz.conf" { text } else { entries };
        let is_there = |text: &str| text.get(remark.flaw.span.clone()).is_some();
        assert!(is_there(of) || is_there(text), "{remark:?}");
        assert!(is_printable(&remark.to_string()), "{remark:?}");
    }
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|character| character == '\n' || !character.is_control())
}
