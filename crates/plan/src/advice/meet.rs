//! Whether two tests may hold for one frame.
//!
//! What is found to exclude each other does. Of the rest some do as well, for reasons that take knowledge of
//! protocols; and nothing is claimed of tests that take too long to tell. Bounded in work and in depth.

use ::rules::form::{Addresses, Network, Test};

/// Comparisons that are spent on one hook.
const WORK_MAX: u32 = 100_000;
/// Alternatives within alternatives that are followed.
const DEPTH_MAX: u32 = 64;

/// A test, and whether it has to hold or must not.
type Wanted<'t> = (&'t Test, bool);

/// Looks for ways in which tests can hold together.
pub(super) struct Search {
    left: u32,
}

impl Search {
    pub(super) fn new() -> Self {
        Self { left: WORK_MAX }
    }

    /// Whether nothing was found that keeps both from holding for one frame. `false` too where no work is
    /// left to tell.
    pub(super) fn may_meet(&mut self, one: &Test, two: &Test) -> bool {
        self.is_open(vec![(one, true), (two, true)], Vec::new(), 0)
    }

    /// Whether all of `wanted` may come true, beside tests that are `known` to.
    fn is_open<'t>(&mut self, mut wanted: Vec<Wanted<'t>>, mut known: Vec<Wanted<'t>>, depth: u32) -> bool {
        let mut choices: Vec<Wanted<'t>> = Vec::new();
        while let Some((test, holds)) = wanted.pop() {
            match (test, holds) {
                (Test::Always, true) => {}
                (Test::Always, false) => return false,
                (Test::Not(test), holds) => wanted.push((test, !holds)),
                (Test::All(tests), true) | (Test::Any(tests), false) => {
                    if !self.spend(tests.len()) {
                        return false;
                    }
                    wanted.extend(tests.iter().map(|test| (test, holds)));
                }
                choice @ ((Test::Any(_), true) | (Test::All(_), false)) => choices.push(choice),
                (Test::Vlan(ids), true) if ids.is_empty() => return false,
                plain => {
                    if !self.spend(known.len() + 1) || known.iter().any(|known| exclude(*known, plain)) {
                        return false;
                    }
                    known.push(plain);
                }
            }
        }
        let Some((Test::Any(alternatives) | Test::All(alternatives), holds)) = choices.pop() else {
            return true;
        };
        if depth == DEPTH_MAX {
            return false;
        }
        alternatives.iter().any(|alternative| {
            if !self.spend(known.len() + choices.len() + 1) {
                return false;
            }
            // The easiest is taken from the end.
            let mut wanted = choices.clone();
            wanted.push((alternative, holds));
            self.is_open(wanted, known.clone(), depth + 1)
        })
    }

    fn spend(&mut self, work: usize) -> bool {
        let work = u32::try_from(work).unwrap_or(u32::MAX);
        let enough = self.left >= work;
        self.left = self.left.saturating_sub(work);
        enough
    }
}

/// Whether no frame fulfils both, for tests that are not made of others.
fn exclude(one: Wanted<'_>, two: Wanted<'_>) -> bool {
    let ((one, first), (two, second)) = (one, two);
    match (first, second) {
        (true, true) => apart(one, two),
        (true, false) => within(one, two),
        (false, true) => within(two, one),
        (false, false) => false,
    }
}

fn apart(one: &Test, two: &Test) -> bool {
    match (one, two) {
        (Test::Vlan(one), Test::Vlan(two)) => one.is_disjoint(two),
        (Test::Within(number, one), Test::Within(other, two)) if number == other => {
            one.intersection(two).ranges().is_empty()
        }
        (Test::Address(end, Addresses::Network(one)), Test::Address(other, Addresses::Network(two)))
            if end == other =>
        {
            !holds(*one, *two) && !holds(*two, *one)
        }
        _ => false,
    }
}

/// Whether every frame that fulfils one fulfils the other.
fn within(one: &Test, two: &Test) -> bool {
    match (one, two) {
        (Test::Vlan(one), Test::Vlan(two)) => one.is_subset(two),
        (Test::Within(number, one), Test::Within(other, two)) if number == other => {
            one.intersection(two) == *one
        }
        (Test::Address(end, Addresses::Network(one)), Test::Address(other, Addresses::Network(two)))
            if end == other =>
        {
            holds(*two, *one)
        }
        _ => one == two,
    }
}

/// Whether a network lies in another one.
fn holds(wide: Network, narrow: Network) -> bool {
    wide.prefix_len() <= narrow.prefix_len() && wide.contains(narrow.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meet(one: &str, two: &str) -> bool {
        let test = |text: &str| ::rules::expr::parse(text, wire::LinkType::ETHERNET).unwrap();
        let (one, two) = (test(one), test(two));
        let found = Search::new().may_meet(&one, &two);
        assert_eq!(Search::new().may_meet(&two, &one), found);
        found
    }

    #[test]
    fn what_excludes_each_other_is_seen_behind_alternatives() {
        for (one, two) in [
            ("tcp", "udp"),
            ("tcp", "arp"),
            ("ip", "ip6"),
            ("tcp port 80", "not tcp port 80"),
            ("tcp dst port 80", "tcp dst port 443"),
            ("tcp dst portrange 1-99", "tcp dst portrange 100-200 or udp"),
            ("src host 10.0.0.1", "src net 10.1.0.0/16"),
            ("ip and not src net 10.0.0.0/8", "ip src host 10.0.0.1"),
            ("tcp and host 10.0.0.1", "tcp and not host 10.0.0.1"),
        ] {
            assert!(!meet(one, two), "{one}; {two}");
        }
    }

    #[test]
    fn what_may_hold_together_is_seen() {
        for (one, two) in [
            ("tcp", "tcp"),
            ("tcp", "port 80"),
            ("tcp port 80", "tcp port 443"),
            ("tcp", "host 10.0.0.1"),
            ("src net 10.0.0.0/8", "src host 10.1.2.3"),
            ("not src host 10.0.0.1", "src net 10.0.0.0/8"),
            ("ip[8] < 5", "len > 100"),
        ] {
            assert!(meet(one, two), "{one}; {two}");
        }
    }

    #[test]
    fn nothing_is_said_where_it_takes_too_long_to_tell() {
        let source = |address: u32| {
            let host = Network::host(std::net::Ipv4Addr::from(address).into());
            Test::Address(::rules::form::End::Source, Addresses::Network(host))
        };
        let list = |from: u32, last: u32| Test::Any((from..from + 1000).chain([last]).map(source).collect());
        let meets = |two: &Test| Search::new().may_meet(&list(0, 9000), two);
        assert!(meets(&list(0, 9000)), "the first of both is the same");
        assert!(!meets(&list(5000, 9000)), "only the last of both is the same");
        assert!(meets(&source(9000)));
    }

    #[test]
    fn alternatives_within_alternatives_are_followed_to_a_depth() {
        let deep = |count: u32| {
            let each = (0..count).map(|n| Test::Any(vec![length(n), length(4000)]));
            Test::All(each.collect())
        };
        let few = Search::new().may_meet(&deep(DEPTH_MAX - 1), &Test::Always);
        assert!(few && !Search::new().may_meet(&deep(DEPTH_MAX + 1), &Test::Always));
    }

    fn length(number: u32) -> Test {
        Test::Within(::rules::form::Number::Length, ::rules::form::Ranges::new([(0, number)]))
    }
}
