//! Broken configs and plans: whatever is done to a text, it is read or refused with sound positions.

use corpus::{bad_texts, cases};
use plan::arbitrary::Random;

const MUTATIONS: usize = 40;

fn texts() -> Vec<String> {
    let cases = cases().unwrap_or_else(|error| panic!("{error}"));
    let mut texts: Vec<String> =
        cases.iter().flat_map(|case| [case.config.clone(), case.plan.to_string()]).collect();
    for path in bad_texts().unwrap_or_else(|error| panic!("{error}")) {
        let octets = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        texts.push(String::from_utf8_lossy(&octets).into_owned());
    }
    texts
}

fn mutate(random: &mut Random, text: &str, other: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(characters.len() + 1);
        let end = (at + random.below(12)).min(characters.len());
        let odd =
            ['"', '\'', '[', ']', '{', '}', '=', ',', '#', '\n', '\0', '\\', ' ', '9', 'é', '\u{feff}', '.'];
        match random.below(5) {
            0 => characters.truncate(at),
            1 => drop(characters.drain(at..end)),
            2 => characters.insert(at, *random.pick(&odd)),
            3 => {
                let piece: Vec<char> = characters[at..end].to_vec();
                characters.splice(at..at, piece);
            }
            _ => {
                let lines: Vec<&str> = other.lines().collect();
                let line = if lines.is_empty() { "" } else { lines[random.below(lines.len())] };
                characters.splice(at..at, format!("\n{line}\n").chars());
            }
        }
    }
    characters.into_iter().collect()
}

fn check(text: &str, seed: u64) -> bool {
    match plan::compile("f", text) {
        Ok((plan, _)) => {
            let printed = plan.to_string();
            let read =
                plan::text::parse(&printed).unwrap_or_else(|e| panic!("seed {seed}\n{text}\n{printed}\n{e}"));
            assert_eq!(read, plan, "seed {seed}\n{text}");
            true
        }
        Err(problems) => {
            assert!(!problems.list.is_empty(), "seed {seed}\n{text}");
            let places: Vec<(u32, u32)> = problems.list.iter().map(|p| (p.line, p.column)).collect();
            assert!(places.is_sorted(), "seed {seed}\n{text}\n{problems}");
            let lines: Vec<&str> = text.split('\n').collect();
            for problem in &problems.list {
                let line =
                    usize::try_from(problem.line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
                let length =
                    line.unwrap_or_else(|| panic!("seed {seed}\n{text}\n{problems}")).chars().count();
                let column = usize::try_from(problem.column).ok();
                assert!(
                    column.is_some_and(|column| (1..=length + 1).contains(&column)),
                    "seed {seed}\n{text}\n{problems}"
                );
                assert!(
                    !problem.help.is_empty() && !problem.what.contains(['\n', '\0', '\u{1b}']),
                    "seed {seed}"
                );
            }
            false
        }
    }
}

#[test]
fn broken_texts_are_read_or_refused_with_sound_positions() {
    let texts = texts();
    let (mut sound, mut refused) = (0, 0);
    for (text, number) in texts.iter().zip(0u64..) {
        for mutation in 0..MUTATIONS {
            let seed = number * 1000 + u64::try_from(mutation).unwrap();
            let mut random = Random::new(seed);
            let other = &texts[random.below(texts.len())];
            *(if check(&mutate(&mut random, text, other), seed) { &mut sound } else { &mut refused }) += 1;
        }
    }
    assert!(
        sound > 100 && refused > 1000,
        "{sound} sound, {refused} refused: the mutations reach too little"
    );
}

fn spans(count: usize) -> (String, String) {
    let ports: String = (0..count).map(|n| format!("s{n} = \"e{n}\"\n")).collect();
    let list: Vec<String> = (0..count).map(|n| format!("\"s{n}\"")).collect();
    (format!("[ports]\n{ports}"), list.join(", "))
}

fn first_problem(text: &str) -> String {
    let problems = plan::compile("f", text).expect_err("the text is too large");
    problems.list[0].what.clone()
}

#[test]
fn limits_are_refused_one_above_and_taken_at() {
    let (ports, list) = spans(4096);
    let watch = |n: usize| {
        format!("[[device]]\nname='{n}'\nkind='watch'\ninterfaces=['w']\nmonitors=['m']\nvlans=[{n}]\n")
    };
    let bond = "[[device]]\nname='b'\nkind='bond'\n";
    let at = format!("{ports}{bond}interface='ng'\nspans=[{}]\n", list.replace("\"s0\", ", ""));
    assert_eq!(
        first_problem(&format!("{at}[[device]]\nname='c'\nkind='bond'\nspans=['s1']\ninterface='ng2'\n")),
        "more than 4096 ports"
    );
    assert!(plan::compile("f", &at.replace("s0 = \"e0\"\n", "")).is_ok(), "4095 SPAN ports and the bond");
    let watches = |count| format!("[ports]\nm='e'\n{}", (0..count).map(watch).collect::<String>());
    assert!(plan::compile("f", &watches(2048)).is_ok());
    assert_eq!(first_problem(&watches(2049)), "more than 2048 devices");
    let aggregate = |spans: usize, monitors: usize| {
        let names = |letter: char, count: usize| (0..count).map(move |n| format!("{letter}{n}"));
        let ports: String = names('s', spans)
            .chain(names('m', monitors))
            .map(|name| format!("{name} = 'e-{name}'\n"))
            .collect();
        let list = |letter, count| names(letter, count).collect::<Vec<_>>().join("','");
        let (spans, monitors) = (list('s', spans), list('m', monitors));
        format!(
            "[ports]\n{ports}[[device]]\nname='a'\nkind='link-aggregator'\nspans=['{spans}']\nmonitors=['{monitors}']\n"
        )
    };
    assert!(plan::compile("f", &aggregate(257, 255)).is_ok(), "65535 copies");
    assert_eq!(
        first_problem(&aggregate(256, 256)),
        "more than 65535 copies of devices and of [[device.copy]]"
    );
    assert_eq!(first_problem(&"#".repeat((1 << 20) + 1)), "a config of 1048577 octets, more than 1048576");
}

#[test]
fn floods_of_problems_are_counted_and_not_dwelt_on() {
    let (ports, _) = spans(1000);
    let unknown: Vec<String> = (0..60_000).map(|n| format!("'x{n}x'")).collect();
    let text =
        format!("{ports}[[device]]\nname='a'\nkind='bond'\ninterface='ng'\nspans=[{}]\n", unknown.join(","));
    let problems = plan::compile("f", &text).expect_err("60000 names of no ports");
    assert_eq!((problems.list.len(), problems.more), (200, 59_800));
}
