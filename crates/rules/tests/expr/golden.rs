//! Golden files: a line that begins with `> ` is an expression, with the number of a link type in brackets in
//! front where it is not Ethernet; the lines below it are what came of it.

use std::fmt::Write as _;
use std::path::Path;

use corpus::Golden;
use rules::expr;
use wire::LinkType;

use super::listing::listing;

fn check(name: &str, mut outcome: impl FnMut(&str, LinkType) -> String) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expr").join(name);
    let text = std::fs::read_to_string(&path).expect("golden files are part of the sources");
    let (mut written, mut count) = (String::new(), 0);
    for line in text.lines() {
        let Some(expression) = line.strip_prefix('>') else {
            if line.starts_with('#') || line.is_empty() {
                let _ = writeln!(written, "{line}");
            }
            continue;
        };
        count += 1;
        let expression = expression.strip_prefix(' ').unwrap_or(expression);
        let typed = expression.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let (link_type, expression) = match typed {
            Some((number, rest)) => {
                (LinkType(number.parse().expect("a golden line begins with the number of a link type")), rest)
            }
            None => (LinkType::ETHERNET, expression),
        };
        let _ = writeln!(written, "{line}\n{}", outcome(expression, link_type));
    }
    let mut golden = Golden::from_environment();
    golden.check(&path, &written);
    golden.finish();
    count
}

#[test]
fn what_is_refused_says_why_and_what_to_do() {
    let count = check("refused.txt", |expression, link_type| {
        let Err(flaws) = expr::parse(expression, link_type) else { return "  is read".into() };
        let mut text = Vec::new();
        for flaw in flaws {
            text.push(format!("  {}-{}: {}", flaw.span.start, flaw.span.end, flaw.what));
            text.extend(flaw.help.map(|help| format!("  help: {help}")));
        }
        text.join("\n")
    });
    assert!(count >= 90, "{count} refusals");
}

#[test]
fn what_is_read_becomes_a_small_test() {
    let count = check("read.txt", |expression, link_type| match expr::parse(expression, link_type) {
        Ok(test) => format!("  {}", listing(&test)),
        Err(flaws) => format!("  is refused: {}", flaws[0].what),
    });
    assert!(count >= 90, "{count} expressions");
}
