//! Static data that programs look up: what kind of map, and what stands in it before a program is loaded.
//!
//! Pure data. Nothing here makes a map or knows a file descriptor: a program names a table by its
//! [`TableId`] (as [`crate::asm::MapRef::Table`]), and who loads the program makes the map and fills it.

/// The number of a table among those of one emitted plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TableId(pub u32);

impl TableId {
    /// Takes the next free number.
    pub fn next(free: &mut u32) -> Self {
        let id = Self(*free);
        // Bounded by the rules of a plan, of which there are far fewer than 2^32.
        *free = free.saturating_add(1);
        id
    }
}

/// What kind of map a table is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TableKind {
    /// Exact keys.
    Hash,
    /// Of all prefixes that hold a key, the longest. A key is the bits of the prefix (`u32` of the host's
    /// order) and then the octets in network order.
    Lpm,
    /// Keys are `u32` of the host's order, from 0.
    Array,
}

impl TableKind {
    /// `enum bpf_map_type`: `HASH` 1, `LPM_TRIE` 11, `ARRAY` 2, `PERCPU_ARRAY` 6 (Linux 4.11).
    pub const fn map_type(self, per_cpu: bool) -> u32 {
        match self {
            Self::Hash => 1,
            Self::Lpm => 11,
            Self::Array if per_cpu => 6,
            Self::Array => 2,
        }
    }

    /// Flags to create the map with: an `LPM_TRIE` is never allocated ahead (`BPF_F_NO_PREALLOC` 1).
    pub const fn flags(self) -> u32 {
        match self {
            Self::Lpm => 1,
            Self::Hash | Self::Array => 0,
        }
    }
}

/// One table and its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// What programs call it.
    pub id: TableId,
    /// What kind of map it is.
    pub kind: TableKind,
    /// Octets of a key.
    pub key_size: u32,
    /// Octets of a value.
    pub value_size: u32,
    /// Keys and values, each key once. Those of an array stand in the order of their keys, none left out.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether programs write to it.
    pub writable: bool,
    /// Whether each processor has values of its own; arrays only.
    pub per_cpu: bool,
}

impl Table {
    /// An array of these values, which programs only read.
    pub fn array(id: TableId, value_size: u32, values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let entries = (0u32..).zip(values).map(|(key, value)| (key.to_ne_bytes().to_vec(), value)).collect();
        Self { id, kind: TableKind::Array, key_size: 4, value_size, entries, writable: false, per_cpu: false }
    }

    /// An array of one value: what programs reach by an offset, and what is filled by one call. `None`
    /// where the value is larger than a map's can be.
    pub fn block(id: TableId, value: Vec<u8>) -> Option<Self> {
        let size = u32::try_from(value.len()).ok().filter(|size| i32::try_from(*size).is_ok())?;
        Some(Self::array(id, size, [value]))
    }

    /// How many entries the map has room for: at least 1, which is the least that the kernel makes.
    pub fn max_entries(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX).max(1)
    }

    /// About how many octets the kernel needs for it on each processor (or once, where they share it).
    pub fn octets(&self) -> u64 {
        // What the kernel keeps beside key and value: `struct htab_elem` 48, `struct lpm_trie_node` 40 and
        // as much again for a node between two others.
        let overhead = match self.kind {
            TableKind::Hash => 48,
            TableKind::Lpm => 80,
            TableKind::Array => 0,
        };
        let key = if self.kind == TableKind::Array { 0 } else { u64::from(self.key_size) };
        u64::from(self.max_entries()) * (key + u64::from(self.value_size) + overhead)
    }
}
