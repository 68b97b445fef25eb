//! What the kernel says about eBPF maps, programs and where they are attached. Plain data.

/// A map, open in this process. Owned by the [`crate::Sys`] it came from, which closes it when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapFd(pub i32);

/// A program, open in this process. Owned by the [`crate::Sys`] it came from, which closes it when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgFd(pub i32);

/// The type of a map (`enum bpf_map_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapKind(pub u32);

impl MapKind {
    /// Hash table.
    pub const HASH: Self = Self(1);
    /// Array.
    pub const ARRAY: Self = Self(2);
    /// Array of programs for tail calls.
    pub const PROG_ARRAY: Self = Self(3);
    /// Hash table with a value for each CPU.
    pub const PERCPU_HASH: Self = Self(5);
    /// Array with a value for each CPU.
    pub const PERCPU_ARRAY: Self = Self(6);
    /// Hash table that forgets the least recently used.
    pub const LRU_HASH: Self = Self(9);
    /// Longest prefix match.
    pub const LPM_TRIE: Self = Self(11);
    /// Interfaces to redirect to, by number.
    pub const DEVMAP: Self = Self(14);
    /// Interfaces to redirect to, by key.
    pub const DEVMAP_HASH: Self = Self(25);
    /// Ring buffer.
    pub const RINGBUF: Self = Self(27);

    /// Whether a look-up gives a value for each possible CPU.
    #[must_use]
    pub fn per_cpu(self) -> bool {
        matches!(self.0, 5 | 6 | 10)
    }
}

/// `BPF_F_NO_PREALLOC`: entries are made when they are written. A map for the longest prefix must have it.
pub const MAP_NO_PREALLOC: u32 = 1;
/// `BPF_F_RDONLY_PROG`: programs may only read it.
pub const MAP_READ_ONLY_PROG: u32 = 1 << 7;

/// The type of a program (`enum bpf_prog_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgKind(pub u32);

impl ProgKind {
    /// Traffic control: tcx and clsact.
    pub const SCHED_CLS: Self = Self(3);
    /// Express data path.
    pub const XDP: Self = Self(6);
}

/// A map to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Its type.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value (on one CPU).
    pub value_bytes: u32,
    /// Most entries it holds.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Its name, cut to 15 bytes.
    pub name: String,
}

/// What the kernel says about a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapInfo {
    /// Its id on this machine.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its type, `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value (on one CPU).
    pub value_bytes: u32,
    /// Most entries it holds.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// A program to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgSpec<'a> {
    /// Its type.
    pub kind: ProgKind,
    /// `enum bpf_attach_type`, or 0: [`ProgSpec::XDP_DEVMAP`] for programs of devmap entries.
    pub attach_type: u32,
    /// Instructions in the kernel's own layout, 8 bytes each, map descriptors filled in.
    pub insns: &'a [u64],
    /// `Dual MIT/GPL`, ...
    pub license: &'a str,
    /// Its name, cut to 15 bytes; letters, digits, `_` and `.`.
    pub name: &'a str,
    /// `BPF_F_*`: 32 for an XDP program that takes fragments.
    pub flags: u32,
}

impl ProgSpec<'_> {
    /// Attach type of a program that runs for an entry of a devmap.
    pub const XDP_DEVMAP: u32 = 33;
}

/// What the kernel says about a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgInfo {
    /// Its id on this machine.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// The hash of its instructions.
    pub tag: [u8; 8],
    /// Its type, `enum bpf_prog_type`.
    pub kind: u32,
    /// Ids of the maps it uses or is bound to.
    pub map_ids: Vec<u32>,
    /// Instructions the verifier walked, 0 where the kernel does not say (before 5.16).
    pub verified_insns: u32,
}

/// One side of an interface's traffic control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Frames that come in.
    Ingress,
    /// Frames that go out, before the queueing discipline.
    Egress,
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Hook::Ingress => "ingress",
            Hook::Egress => "egress",
        })
    }
}

/// Where among the programs of a tcx hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// In the place of this one, in one step; fails if it is not attached.
    Replace(ProgFd),
}

/// One program of a tcx hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its id.
    pub prog_id: u32,
    /// The id of the BPF link that holds it; 0 if it was attached without one.
    pub link_id: u32,
}

/// A direct-action classifier of clsact to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterSpec<'a> {
    /// The program.
    pub prog: ProgFd,
    /// The name that `tc filter show` prints.
    pub name: &'a str,
    /// Preference: the lowest runs first. At least 1.
    pub priority: u16,
    /// The handle within the preference. At least 1.
    pub handle: u32,
    /// Put it in the place of the one with this preference and handle, in one step, if there is one.
    pub replace: bool,
    /// Make clsact first, in the same step: a process that is killed leaves neither or both. Fails with
    /// `EEXIST` where clsact is there.
    pub with_clsact: bool,
}

/// A classifier of clsact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The kind (`bpf`, `flower`, ...).
    pub kind: String,
    /// Preference.
    pub priority: u16,
    /// EtherType it is for, 3 for all.
    pub protocol: u16,
    /// Handle within the preference.
    pub handle: u32,
    /// The name it was given; empty for kinds other than `bpf`.
    pub name: String,
    /// The id of its program, 0 for kinds other than `bpf`.
    pub prog_id: u32,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// On the socket buffer, for any interface.
    Generic,
}

/// A run of a program on given bytes (`BPF_PROG_TEST_RUN`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRun<'a> {
    /// The frame. At least 14 bytes.
    pub data: &'a [u8],
    /// The context (`__sk_buff`, `xdp_md`) in, or empty.
    pub context: &'a [u8],
    /// Room for the frame that comes out, in bytes; 0 asks for none.
    pub data_out_bytes: usize,
    /// How often; 0 and 1 are once.
    pub repeat: u32,
    /// XDP only: the frames are real, verdicts are carried out. No frame comes out.
    pub live: bool,
    /// Frames in one batch of a live run; 0 leaves it to the kernel.
    pub batch: u32,
}

/// What a test run gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRunResult {
    /// What the program returned.
    pub verdict: u32,
    /// The frame afterwards.
    pub data: Vec<u8>,
    /// The context afterwards; empty where none was given.
    pub context: Vec<u8>,
    /// Mean time of one run in nanoseconds.
    pub duration_ns: u32,
}
