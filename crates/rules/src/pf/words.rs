//! The words of the language: which can begin a statement, and why some are refused.

pub(super) use crate::wording::{nearest, shown};

/// Words that begin a statement that is read.
const STATEMENTS: &[&str] = &["pass", "block", "match", "table", "set"];

/// A word of pf that a tap cannot honour: the word, why, and what to do.
pub(super) struct Unfit {
    pub word: &'static str,
    pub why: &'static str,
    pub help: &'static str,
}

const fn unfit(word: &'static str, why: &'static str, help: &'static str) -> Unfit {
    Unfit { word, why, help }
}

const NO_NAT: &str = "a tap passes frames as they came and never rewrites an address";
const TAKE_OUT: &str = "take the line out";
const TAKE_WORD_OUT: &str = "take it out of the rule";
const NO_SHAPING: &str = "a tap delays nothing on a link";
const SHAPE: &str = "take the line out; `rate` and `buffer` of a monitor port shape copies";

/// Statements that are refused.
const UNFIT_STATEMENTS: &[Unfit] = &[
    unfit("nat", NO_NAT, TAKE_OUT),
    unfit("rdr", "a tap passes frames to where they were sent and redirects none", "copy them with `dup-to`"),
    unfit("binat", "a tap passes frames as they came and never maps one address onto another", TAKE_OUT),
    unfit(
        "scrub",
        "a tap passes frames as they came: it puts no fragments together and mends no header",
        TAKE_OUT,
    ),
    unfit("altq", NO_SHAPING, SHAPE),
    unfit("queue", "a tap has no queues on a link", SHAPE),
    unfit(
        "antispoof",
        "the ports of a tap have no addresses that could be forged",
        "write `block in on ... from ...` with the networks that are meant",
    ),
    unfit(
        "anchor",
        "the rules of a tap are one file that is read once; nothing is added to them later",
        "write the rules of the anchor here",
    ),
    unfit(
        "load",
        "the rules of a tap are one file; there are no anchors to load others into",
        "write the rules of that file here",
    ),
    unfit("nat-anchor", "a tap translates no addresses, so there is nothing to anchor", TAKE_OUT),
    unfit("rdr-anchor", "a tap redirects nothing, so there is nothing to anchor", TAKE_OUT),
    unfit("binat-anchor", "a tap maps no addresses, so there is nothing to anchor", TAKE_OUT),
    unfit(
        "include",
        "the rules of a tap are one file, so that every count has one line that it belongs to",
        "write its rules here; lists of addresses can be read by `table <name> file \"...\"`",
    ),
    unfit("require-order", "statements stand in the order that they need, and it is never checked", TAKE_OUT),
    unfit("nat-to", NO_NAT, TAKE_OUT),
    unfit("rdr-to", "a tap passes frames to where they were sent and redirects none", TAKE_OUT),
    unfit("binat-to", "a tap passes frames as they came and never maps one address onto another", TAKE_OUT),
    unfit("dup-to", "`dup-to` is part of a rule", "write `pass in on ... dup-to (...)`"),
    unfit("dummynet", "a tap sends nothing through a pipe and delays nothing on a link", SHAPE),
    unfit("ether", "rules of pf speak of IP", "write a `[[device.copy]]` with `match = \"ether ...\"`"),
];

/// Options of a rule that are refused.
const UNFIT_OPTIONS: &[Unfit] = &[
    unfit("route-to", "a tap passes frames where the cable goes and routes none", "copy them with `dup-to`"),
    unfit("reply-to", "a tap keeps no state and sends no replies anywhere", "copy them with `dup-to`"),
    unfit("fastroute", "a tap passes frames where the cable goes and routes none", TAKE_WORD_OUT),
    unfit("nat-to", NO_NAT, TAKE_WORD_OUT),
    unfit(
        "rdr-to",
        "a tap passes frames to where they were sent and redirects none",
        "copy them with `dup-to`",
    ),
    unfit(
        "binat-to",
        "a tap passes frames as they came and never maps one address onto another",
        TAKE_WORD_OUT,
    ),
    unfit("af-to", "a tap passes frames as they came and translates no family into the other", TAKE_WORD_OUT),
    unfit("divert-to", "no program on a tap answers for a host of the network", "copy them with `dup-to`"),
    unfit("divert-reply", "no program on a tap answers for a host of the network", TAKE_WORD_OUT),
    unfit(
        "divert-packet",
        "a tap hands no frame to a program that could send it on",
        "copy them with `dup-to`",
    ),
    unfit("scrub", "a tap passes frames as they came and mends no header", TAKE_WORD_OUT),
    unfit("queue", "a tap has no queues on a link", TAKE_WORD_OUT),
    unfit(
        "set",
        "a tap passes frames as they came and sets no priority, queue or type of service",
        TAKE_WORD_OUT,
    ),
    unfit("user", "a tap sees frames and not the sockets of the hosts that send them", TAKE_WORD_OUT),
    unfit("group", "a tap sees frames and not the sockets of the hosts that send them", TAKE_WORD_OUT),
    unfit("rtable", "a tap routes nothing and has no routing tables", TAKE_WORD_OUT),
    unfit("rdomain", "a tap routes nothing and has no routing domains", "name an interface"),
    unfit(
        "max-pkt-rate",
        "a rule knows one frame and not how many came before",
        "give the monitor port a `rate`",
    ),
    unfit(
        "max-pkt-size",
        "a rule looks at headers and not at the length of a packet",
        "write a `[[device.copy]]` with `match = \"less ...\"`",
    ),
    unfit(
        "once",
        "a rule that vanishes after one frame would leave a tap that does not match its file",
        TAKE_WORD_OUT,
    ),
    unfit(
        "received-on",
        "each frame is judged once, with the port that it entered by",
        "write `in on` and the interface",
    ),
    unfit("os", "a tap does not guess the operating system of a host", TAKE_WORD_OUT),
    unfit("prio", "rules do not look at the priority in a VLAN tag", TAKE_WORD_OUT),
    unfit(
        "fragment",
        "fragments are not told apart by rules",
        "leave it out: a rule without ports matches fragments too",
    ),
    unfit("no-df", "a tap changes no bit of a header", TAKE_WORD_OUT),
    unfit("min-ttl", "a tap changes no time to live", TAKE_WORD_OUT),
    unfit("max-mss", "a tap changes no TCP option", TAKE_WORD_OUT),
    unfit("random-id", "a tap changes no identification of a packet", TAKE_WORD_OUT),
    unfit("reassemble", "a tap passes fragments and segments as they came", TAKE_WORD_OUT),
    unfit("ttl", "rules do not look at the time to live", TAKE_WORD_OUT),
    unfit("static-port", "a tap translates no ports", TAKE_WORD_OUT),
    unfit("dnpipe", "a tap sends nothing through a pipe", TAKE_WORD_OUT),
    unfit("dnqueue", "a tap has no queues on a link", TAKE_WORD_OUT),
    unfit("ridentifier", "rules are told apart by file and line", "give it a `label`"),
    unfit("overload", "a tap adds no addresses to its tables", TAKE_WORD_OUT),
    unfit("delay", "a tap delays nothing on a link", TAKE_WORD_OUT),
    unfit("pflow", "a tap keeps no state that could be exported", TAKE_WORD_OUT),
    unfit("ether", "rules of pf speak of IP", "write a `[[device.copy]]` with `match = \"ether ...\"`"),
    unfit(
        "vlan",
        "rules of pf look through VLAN tags and do not ask for one",
        "give the copy `vlans`, or write a `[[device.copy]]`",
    ),
];

/// Words that may stand behind the addresses of a rule.
pub(super) const OPTIONS: &[&str] = &[
    "flags",
    "icmp-type",
    "icmp6-type",
    "tos",
    "keep",
    "modulate",
    "synproxy",
    "no",
    "label",
    "tag",
    "tagged",
    "probability",
    "dup-to",
    "allow-opts",
    "log",
    "quick",
    "all",
    "from",
    "to",
];

/// The rest of the words that are no names, unless they stand in quotes.
const OTHERS: &[&str] = &[
    "in",
    "out",
    "on",
    "proto",
    "inet",
    "inet6",
    "any",
    "port",
    "code",
    "state",
    "drop",
    "return",
    "return-rst",
    "return-icmp",
    "return-icmp6",
    "const",
    "persist",
    "counters",
    "file",
    "no-route",
    "urpf-failed",
    "self",
    "random",
    "round-robin",
    "source-hash",
    "sticky-address",
    "bitmask",
    "least-states",
    "weight",
];

fn find(of: &'static [Unfit], word: &str) -> Option<&'static Unfit> {
    of.iter().find(|unfit| unfit.word == word)
}

/// Why a word that begins a statement is refused, where it is known and refused.
pub(super) fn unfit_statement(word: &str) -> Option<&'static Unfit> {
    find(UNFIT_STATEMENTS, word)
}

/// Why an option of a rule is refused, where it is known and refused.
pub(super) fn unfit_option(word: &str) -> Option<&'static Unfit> {
    find(UNFIT_OPTIONS, word)
}

/// Whether a word has a meaning of its own and names nothing.
pub(super) fn is_keyword(word: &str) -> bool {
    STATEMENTS.contains(&word)
        || OPTIONS.contains(&word)
        || OTHERS.contains(&word)
        || unfit_statement(word).is_some()
        || unfit_option(word).is_some()
}

/// Whether a word can begin a statement, with the one behind it.
pub(super) fn begins(word: &str, next: Option<&str>) -> bool {
    match word {
        "set" => !matches!(next, Some("prio" | "queue" | "tos" | "delay" | "(")),
        "scrub" => next != Some("("),
        "no" => matches!(next, Some("nat" | "rdr" | "binat" | "scrub")),
        "dup-to" | "nat-to" | "rdr-to" | "binat-to" | "require-order" | "ether" => false,
        _ => STATEMENTS.contains(&word) || unfit_statement(word).is_some(),
    }
}

/// All words that begin a statement that is read.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    STATEMENTS.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_that_is_refused_is_in_the_manual() {
        let manual = include_str!("../../../../docs/pf.md");
        for unfit in UNFIT_STATEMENTS.iter().chain(UNFIT_OPTIONS) {
            assert!(manual.contains(&format!("`{}`", unfit.word)), "{}", unfit.word);
        }
    }

    #[test]
    fn words_stand_there_once() {
        for list in [UNFIT_STATEMENTS, UNFIT_OPTIONS] {
            for (at, unfit) in list.iter().enumerate() {
                assert!(list[..at].iter().all(|other| other.word != unfit.word), "{}", unfit.word);
            }
        }
    }

    #[test]
    fn a_typo_finds_its_word() {
        assert_eq!(nearest("pas", statements()), Some("pass"));
        assert_eq!(nearest("bolck", statements()), Some("block"));
        assert_eq!(nearest("frobnicate", statements()), None);
    }
}
