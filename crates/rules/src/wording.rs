//! How messages about a user's words are worded, in every language that is read here.
//!
//! Never decides what is wrong.

/// A word of the user's, fit to stand in a message: control characters escaped, long ones cut.
pub fn shown(word: &str) -> String {
    const LONGEST: usize = 60;
    let mut out = String::from("`");
    for (count, character) in word.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        match character {
            c if c.is_control() || ('\u{200b}'..='\u{202e}').contains(&c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('`');
    out
}

/// The known word that is nearest to a mistyped one, if any is near: at most a third of its letters differ.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    let far = |candidate: &str| length.max(candidate.chars().count()).div_ceil(3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= far(candidate))
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= far(candidate) && *distance < length.max(1))
        // Of those that differ in capitals only, the one that is written alike.
        .min_by_key(|(distance, candidate)| (*distance, unlike(word, candidate)))
        .map(|(_, candidate)| candidate)
}

/// Places at which two words differ, capitals and all.
fn unlike(word: &str, other: &str) -> usize {
    word.chars().zip(other.chars()).filter(|(a, b)| a != b).count()
}

/// Letters to insert, delete, replace or swap with their neighbour to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().flat_map(char::to_lowercase).collect();
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_and_escaped() {
        assert_eq!(shown("a\u{7}b\u{202e}"), "`a\\u{7}b\\u{202e}`");
        assert_eq!(shown(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["monitors", "links", "link", "spans"];
        assert_eq!(nearest("moniters", known), Some("monitors"));
        assert_eq!(nearest("lnik", known), Some("link"));
        assert_eq!(nearest("Spans", known), Some("spans"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", ["a", "b"]), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"p".repeat(500), known), None);
    }
}
