//! The keys and kinds of a config: what each kind takes, and what to say of those it does not.

/// Kinds of device that this release has, with the keys that each takes beside [`COMMON`].
pub(super) const KINDS: [(&str, &[&str]); 10] = [
    ("tap", &["link", "monitors"]),
    ("port-aggregator", &["link", "monitors"]),
    ("dual-port-aggregator", &["link", "monitors"]),
    ("regeneration", &["link", "monitors"]),
    ("span-regeneration", &["spans", "monitors"]),
    ("link-aggregator", &["links", "spans", "monitors"]),
    ("bond", &["spans", "interface"]),
    ("watch", &["interfaces", "direction", "monitors"]),
    ("distributor", &["link", "spans", "directions", "interfaces", "direction", "rules", "copy"]),
    ("hub", &["ports", "taps", "speed"]),
];

/// Kinds that are described and not in this release.
pub(super) const LATER: [&str; 1] = ["matrix"];

/// Keys that every device takes, but that a hub copies nothing and has no `vlans`.
pub(super) const COMMON: [&str; 3] = ["name", "kind", "vlans"];

/// Keys of a `[[device.copy]]`.
pub(super) const COPY: [&str; 5] = ["match", "to", "balance", "weights", "inner"];

/// Keys of an entry of `directions`.
pub(super) const WAYS: [&str; 2] = ["in", "out"];

/// Keys of an entry of `[ports]`.
pub(super) const PORT: [&str; 6] = ["interface", "rate", "buffer", "attach", "speed", "sensor"];

/// Keys of `[simulate]`.
pub(super) const SIMULATE: [&str; 5] = ["duration", "seed", "framing", "stored", "sources"];

/// Keys of the file.
pub(super) const TOP: [&str; 3] = ["ports", "device", "simulate"];

/// "name, kind, vlans, link and monitors".
pub(super) fn of_kind(kind: &str) -> Vec<&'static str> {
    let own = KINDS.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, keys)| keys);
    let common = COMMON.iter().filter(|key| kind != "hub" || **key != "vlans");
    common.chain(own).copied().collect()
}

/// The kinds that take a key.
pub(super) fn kinds_with(key: &str) -> Vec<&'static str> {
    let takes = |kind: &str| COMMON.contains(&key) && of_kind(kind).contains(&key);
    let with = KINDS.iter().filter(|(kind, keys)| keys.contains(&key) || takes(kind));
    with.map(|(name, _)| *name).collect()
}
