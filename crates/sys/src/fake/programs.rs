//! The maps and programs of a machine in memory, and the descriptors of its one process.

use super::prefix;
use crate::error::{Result, SysError};
use crate::object::{MAP_NO_PREALLOC, MapFd, MapInfo, MapKind, MapSpec, ProgFd, ProgInfo, ProgSpec};
use std::collections::{BTreeMap, BTreeSet};

/// The most octets of a value on one CPU (`PCPU_MIN_UNIT_SIZE`).
const PERCPU_MOST_BYTES: u32 = 32 << 10;

/// The instruction that loads a map: 16 bytes, source register 1 (the map) or 2 (a value of it).
const LOAD_MAP: u64 = 0x18;

#[derive(Clone, Debug)]
pub(super) struct Map {
    pub(super) info: MapInfo,
    pub(super) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    frozen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Map(u32),
    Prog(u32),
}

#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) cpus: usize,
    pub(super) maps: BTreeMap<u32, Map>,
    pub(super) progs: BTreeMap<u32, ProgInfo>,
    open: BTreeMap<i32, Held>,
    next_id: u32,
    next_fd: i32,
}

fn bytes(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl Programs {
    pub(super) fn new(cpus: usize) -> Self {
        let (maps, progs, open) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        // Descriptors that no process has, so that a mistaken one is found out.
        Self { cpus, maps, progs, open, next_id: 1, next_fd: 1000 }
    }

    fn hold(&mut self, held: Held) -> i32 {
        self.next_fd += 1;
        self.open.insert(self.next_fd, held);
        self.next_fd
    }

    fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn close(&mut self, fd: i32) {
        self.open.remove(&fd);
    }

    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }

    fn map(&mut self, call: &'static str, fd: MapFd) -> Result<&mut Map> {
        let found = match self.open.get(&fd.0) {
            Some(Held::Map(id)) => self.maps.get_mut(id),
            _ => None,
        };
        found.ok_or_else(|| SysError::new(call, format!("map descriptor {}", fd.0), libc::EBADF))
    }

    pub(super) fn prog_id(&self, call: &'static str, fd: ProgFd) -> Result<u32> {
        match self.open.get(&fd.0) {
            Some(Held::Prog(id)) => Ok(*id),
            _ => Err(SysError::new(call, format!("program descriptor {}", fd.0), libc::EBADF)),
        }
    }

    /// Frees what neither a descriptor, nor an attachment, nor a program, nor a map holds.
    pub(super) fn collect(&mut self, attached: &BTreeSet<u32>) {
        let open = |want: Held| self.open.values().any(|held| *held == want);
        let mut progs: BTreeSet<u32> =
            self.progs.keys().copied().filter(|id| attached.contains(id) || open(Held::Prog(*id))).collect();
        let mut maps: BTreeSet<u32> = self.maps.keys().copied().filter(|id| open(Held::Map(*id))).collect();
        loop {
            let before = (progs.len(), maps.len());
            for id in &progs {
                maps.extend(self.progs.get(id).into_iter().flat_map(|prog| prog.map_ids.iter().copied()));
            }
            for map in maps.iter().filter_map(|id| self.maps.get(id)) {
                progs.extend(map.entries.values().filter_map(|value| program_in(&map.info, value)));
            }
            if before == (progs.len(), maps.len()) {
                break;
            }
        }
        self.progs.retain(|id, _| progs.contains(id));
        self.maps.retain(|id, _| maps.contains(id));
    }

    pub(super) fn create_map(&mut self, object: &str, spec: &MapSpec) -> Result<MapFd> {
        let ring = spec.kind == MapKind::RINGBUF;
        let array = matches!(spec.kind, MapKind::ARRAY | MapKind::PERCPU_ARRAY | MapKind::DEVMAP);
        let keyed = match spec.kind {
            MapKind::LPM_TRIE => {
                let data_bytes = spec.key_bytes.saturating_sub(4);
                prefix::DATA_BYTES.contains(&data_bytes) && spec.flags & MAP_NO_PREALLOC != 0
            }
            MapKind::HASH | MapKind::PERCPU_HASH => spec.key_bytes > 0,
            _ => !array || spec.key_bytes == 4,
        };
        let sized = if ring { spec.key_bytes == 0 && spec.value_bytes == 0 } else { spec.value_bytes > 0 };
        if spec.max_entries == 0 || !sized || !keyed {
            return Err(SysError::new("BPF_MAP_CREATE", object, libc::EINVAL));
        }
        if spec.kind == MapKind::PERCPU_ARRAY && spec.value_bytes > PERCPU_MOST_BYTES {
            return Err(SysError::new("BPF_MAP_CREATE", object, libc::E2BIG));
        }
        let id = self.new_id();
        let info = MapInfo {
            id,
            name: spec.name.chars().take(15).collect(),
            kind: spec.kind.0,
            key_bytes: spec.key_bytes,
            value_bytes: spec.value_bytes,
            max_entries: spec.max_entries,
            flags: spec.flags,
        };
        self.maps.insert(id, Map { info, entries: BTreeMap::new(), frozen: false });
        Ok(MapFd(self.hold(Held::Map(id))))
    }

    /// The bytes that move for one key.
    fn moved_bytes(&self, info: &MapInfo) -> usize {
        let one = bytes(info.value_bytes);
        if MapKind(info.kind).per_cpu() { one.next_multiple_of(8) * self.cpus } else { one }
    }

    pub(super) fn update(&mut self, fd: MapFd, key: &[u8], value: &[u8]) -> Result<()> {
        const CALL: &str = "BPF_MAP_UPDATE_ELEM";
        let object = format!("map descriptor {}", fd.0);
        let fail = |errno| Err(SysError::new(CALL, object.clone(), errno));
        let info = self.map(CALL, fd)?.info.clone();
        let moved = self.moved_bytes(&info);
        if key.len() != bytes(info.key_bytes) || value.len() != moved {
            return fail(libc::EINVAL);
        }
        let mut value = value.to_vec();
        // An entry of a devmap is given a program's descriptor, and gives back its id.
        if holds_programs(&info) {
            let program = i32::from_ne_bytes([value[4], value[5], value[6], value[7]]);
            let id = if program > 0 { self.prog_id(CALL, ProgFd(program))? } else { 0 };
            value[4..8].copy_from_slice(&id.to_ne_bytes());
        }
        let map = self.map(CALL, fd)?;
        if map.frozen {
            return fail(libc::EPERM);
        }
        let by_prefix = MapKind(info.kind) == MapKind::LPM_TRIE;
        let key = if by_prefix { prefix::canonical(key) } else { Some(key.to_vec()) };
        let Some(key) = key else { return fail(libc::EINVAL) };
        if index_of(&info, &key).is_some_and(|index| index >= info.max_entries)
            || (!map.entries.contains_key(&key) && map.entries.len() >= bytes(info.max_entries))
        {
            return fail(if by_prefix { libc::ENOSPC } else { libc::E2BIG });
        }
        map.entries.insert(key, value);
        Ok(())
    }

    pub(super) fn fill(&mut self, fd: MapFd, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.map("BPF_MAP_UPDATE_BATCH", fd)?;
        let all = entries.iter().try_for_each(|(key, value)| self.update(fd, key, value));
        all.map_err(|error| SysError { call: "BPF_MAP_UPDATE_BATCH", ..error })
    }

    pub(super) fn lookup(&mut self, fd: MapFd, key: &[u8]) -> Result<Option<Vec<u8>>> {
        const CALL: &str = "BPF_MAP_LOOKUP_ELEM";
        let info = self.map(CALL, fd)?.info.clone();
        if key.len() != bytes(info.key_bytes) {
            return Err(SysError::new(CALL, format!("map descriptor {}", fd.0), libc::EINVAL));
        }
        if MapKind(info.kind) == MapKind::LPM_TRIE {
            return Ok(prefix::longest(&self.map(CALL, fd)?.entries, key).cloned());
        }
        let moved = self.moved_bytes(&info);
        // Arrays have every entry from the start, zero.
        let blank = matches!(MapKind(info.kind), MapKind::ARRAY | MapKind::PERCPU_ARRAY)
            && index_of(&info, key).is_some_and(|index| index < info.max_entries);
        let found = self.map(CALL, fd)?.entries.get(key).cloned();
        Ok(found.or_else(|| blank.then(|| vec![0; moved])))
    }

    pub(super) fn lookup_percpu(&mut self, fd: MapFd, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        const CALL: &str = "BPF_MAP_LOOKUP_ELEM";
        let info = self.map(CALL, fd)?.info.clone();
        if !MapKind(info.kind).per_cpu() {
            return Err(SysError::new(CALL, format!("map descriptor {}", fd.0), libc::EINVAL));
        }
        let one = bytes(info.value_bytes);
        let all = self.lookup(fd, key)?;
        Ok(all.map(|all| all.chunks(one.next_multiple_of(8)).map(|part| part[..one].to_vec()).collect()))
    }

    pub(super) fn delete(&mut self, fd: MapFd, key: &[u8]) -> Result<()> {
        const CALL: &str = "BPF_MAP_DELETE_ELEM";
        let map = self.map(CALL, fd)?;
        let array = matches!(MapKind(map.info.kind), MapKind::ARRAY | MapKind::PERCPU_ARRAY);
        if map.frozen || array {
            let errno = if map.frozen { libc::EPERM } else { libc::EINVAL };
            return Err(SysError::new(CALL, format!("map descriptor {}", fd.0), errno));
        }
        if MapKind(map.info.kind) == MapKind::LPM_TRIE {
            map.entries.retain(|known, _| Some(known) != prefix::canonical(key).as_ref());
        } else {
            map.entries.remove(key);
        }
        Ok(())
    }

    pub(super) fn next_key(&mut self, fd: MapFd, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let map = self.map("BPF_MAP_GET_NEXT_KEY", fd)?;
        if matches!(MapKind(map.info.kind), MapKind::ARRAY | MapKind::PERCPU_ARRAY) {
            let next =
                key.and_then(|key| index_of(&map.info, key)).map_or(0, |index| index.saturating_add(1));
            return Ok((next < map.info.max_entries).then(|| next.to_ne_bytes().to_vec()));
        }
        let mut keys = map.entries.keys();
        // An unknown key asks for the first, as in the kernel.
        let after = key.and_then(|key| map.entries.contains_key(key).then_some(key));
        Ok(match after {
            Some(after) => keys.find(|known| known.as_slice() > after).cloned(),
            None => keys.next().cloned(),
        })
    }

    pub(super) fn freeze(&mut self, fd: MapFd) -> Result<()> {
        self.map("BPF_MAP_FREEZE", fd)?.frozen = true;
        Ok(())
    }

    pub(super) fn map_info(&mut self, fd: MapFd) -> Result<MapInfo> {
        self.map("BPF_OBJ_GET_INFO_BY_FD", fd).map(|map| map.info.clone())
    }

    pub(super) fn open_map(&mut self, id: u32) -> Result<MapFd> {
        if !self.maps.contains_key(&id) {
            return Err(SysError::new("BPF_MAP_GET_FD_BY_ID", format!("map {id}"), libc::ENOENT));
        }
        Ok(MapFd(self.hold(Held::Map(id))))
    }

    pub(super) fn load(&mut self, object: &str, spec: &ProgSpec<'_>) -> Result<ProgFd> {
        const CALL: &str = "BPF_PROG_LOAD";
        let mut map_ids = Vec::new();
        let mut rest = spec.insns;
        // FNV-1a over the instructions: equal programs have equal tags, as in the kernel.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        while let [insn, tail @ ..] = rest {
            let [op, registers, _, _, imm @ ..] = insn.to_le_bytes();
            let wide = u64::from(op) == LOAD_MAP;
            if wide && matches!(registers >> 4, 1 | 2) {
                let fd = i32::from_le_bytes(imm);
                let id = self.map(CALL, MapFd(fd))?.info.id;
                if !map_ids.contains(&id) {
                    map_ids.push(id);
                }
            }
            hash = (hash ^ insn).wrapping_mul(0x100_0000_01b3);
            rest = if wide { tail.get(1..).unwrap_or_default() } else { tail };
        }
        if spec.insns.is_empty() {
            return Err(SysError::new(CALL, object, libc::E2BIG));
        }
        if spec.name.contains(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c))) {
            return Err(SysError::new(CALL, object, libc::EINVAL));
        }
        let id = self.new_id();
        let info = ProgInfo {
            id,
            name: spec.name.chars().take(15).collect(),
            tag: hash.to_be_bytes(),
            kind: spec.kind.0,
            map_ids,
            verified_insns: u32::try_from(spec.insns.len()).unwrap_or(u32::MAX),
        };
        self.progs.insert(id, info);
        Ok(ProgFd(self.hold(Held::Prog(id))))
    }

    pub(super) fn bind_map(&mut self, prog: ProgFd, map: MapFd) -> Result<()> {
        const CALL: &str = "BPF_PROG_BIND_MAP";
        let id = self.map(CALL, map)?.info.id;
        let prog = self.prog_id(CALL, prog)?;
        if let Some(prog) = self.progs.get_mut(&prog)
            && !prog.map_ids.contains(&id)
        {
            prog.map_ids.push(id);
        }
        Ok(())
    }

    pub(super) fn prog_info(&self, fd: ProgFd) -> Result<ProgInfo> {
        const CALL: &str = "BPF_OBJ_GET_INFO_BY_FD";
        let id = self.prog_id(CALL, fd)?;
        let found = self.progs.get(&id).cloned();
        found.ok_or_else(|| SysError::new(CALL, format!("program {id}"), libc::ENOENT))
    }

    pub(super) fn open_prog(&mut self, id: u32) -> Result<ProgFd> {
        if !self.progs.contains_key(&id) {
            return Err(SysError::new("BPF_PROG_GET_FD_BY_ID", format!("program {id}"), libc::ENOENT));
        }
        Ok(ProgFd(self.hold(Held::Prog(id))))
    }
}

/// The index that a key of an array is.
fn index_of(info: &MapInfo, key: &[u8]) -> Option<u32> {
    let array = matches!(MapKind(info.kind), MapKind::ARRAY | MapKind::PERCPU_ARRAY | MapKind::DEVMAP);
    <[u8; 4]>::try_from(key).ok().filter(|_| array).map(u32::from_ne_bytes)
}

fn holds_programs(info: &MapInfo) -> bool {
    matches!(MapKind(info.kind), MapKind::DEVMAP | MapKind::DEVMAP_HASH) && info.value_bytes == 8
}

/// The program that an entry of a devmap holds.
fn program_in(info: &MapInfo, value: &[u8]) -> Option<u32> {
    let id = <[u8; 4]>::try_from(value.get(4..8)?).ok().map(u32::from_ne_bytes)?;
    (holds_programs(info) && id != 0).then_some(id)
}
