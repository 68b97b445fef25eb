//! bpf(2): maps, programs, tcx. Attributes are written at the offsets of `union bpf_attr` (linux/bpf.h), drawn
//! beside each call; the tail of the union is zero, as the kernel demands. What it knows nothing of: instructions.

use super::Linux;
use crate::error::{Result, SysError};
use crate::object::{
    Attached, Hook, MapFd, MapInfo, MapKind, MapSpec, Place, ProgFd, ProgInfo, ProgSpec, TestRun,
    TestRunResult,
};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

const MAP_CREATE: u32 = 0;
const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_NEXT_KEY: u32 = 4;
const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_TEST_RUN: u32 = 10;
const PROG_FD_BY_ID: u32 = 13;
const MAP_FD_BY_ID: u32 = 14;
const OBJ_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const MAP_FREEZE: u32 = 22;
const MAP_UPDATE_BATCH: u32 = 26;
const PROG_BIND_MAP: u32 = 35;

const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;

const F_REPLACE: u32 = 1 << 2;
const F_BEFORE: u32 = 1 << 3;
const F_AFTER: u32 = 1 << 4;
const F_LIVE_FRAMES: u32 = 1 << 1;

/// Verifier logs beyond this are cut at their beginning.
const LOG_MOST_BYTES: usize = 16 << 20;
/// `ENOTSUPP` of the kernel, which libc does not know: a kind of map that takes no batches.
const NOT_SUPPORTED: i32 = 524;
/// Programs of one hook: the kernel's own bound (`BPF_MPROG_MAX`).
const HOOK_MOST_PROGS: usize = 64;

/// `union bpf_attr`, zero but for what is written into it.
#[repr(C, align(8))]
struct Attr([u8; 144]);

impl Attr {
    fn new() -> Self {
        Self([0; 144])
    }

    fn u32(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, offset: usize, fd: i32) -> Self {
        self.u32(offset, fd.cast_unsigned())
    }

    fn u64(mut self, offset: usize, value: u64) -> Self {
        self.0[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// The address of bytes that outlive the call.
    fn input(self, offset: usize, bytes: &[u8]) -> Self {
        self.u64(offset, bytes.as_ptr().addr() as u64)
    }

    /// The address of bytes that outlive the call, and that the kernel writes.
    fn output(self, offset: usize, bytes: &mut [u8]) -> Self {
        self.u64(offset, bytes.as_mut_ptr().expose_provenance() as u64)
    }

    /// A name, cut to 15 bytes.
    fn name(mut self, offset: usize, name: &str) -> Self {
        for (to, from) in self.0[offset..offset + 15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        self
    }

    fn read_u32(&self, offset: usize) -> u32 {
        read_u32(&self.0, offset)
    }

    /// Makes the call.
    ///
    /// # Safety
    /// Every address in the attribute is that of a buffer as large as the kernel is told (or knows) it to be.
    unsafe fn call(&mut self, command: u32) -> io::Result<i32> {
        // SAFETY: the attribute is `len` bytes long; what it points to is the caller's promise.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, (&raw mut self.0).cast::<u8>(), self.0.len()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
    }
}

fn read_u32(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..offset + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

fn name_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn length(call: &'static str, object: &str, bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| SysError::new(call, object, libc::E2BIG))
}

/// A new descriptor that the kernel just gave us.
fn own(fd: i32) -> OwnedFd {
    // SAFETY: `fd` is the result of a successful call that makes a descriptor, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Linux {
    pub(super) fn create_map(&mut self, spec: &MapSpec) -> Result<MapFd> {
        let object = format!("map {}", spec.name);
        self.gate.pass("BPF_MAP_CREATE", &object, true)?;
        // map_type 0, key_size 4, value_size 8, max_entries 12, map_flags 16, ..., map_name 28
        let mut attr = Attr::new()
            .u32(0, spec.kind.0)
            .u32(4, spec.key_bytes)
            .u32(8, spec.value_bytes)
            .u32(12, spec.max_entries)
            .u32(16, spec.flags)
            .name(28, &spec.name);
        // SAFETY: the attribute holds no address.
        let fd = unsafe { attr.call(MAP_CREATE) }.map_err(|e| SysError::io("BPF_MAP_CREATE", object, &e))?;
        let info = MapInfo {
            kind: spec.kind.0,
            key_bytes: spec.key_bytes,
            value_bytes: spec.value_bytes,
            max_entries: spec.max_entries,
            flags: spec.flags,
            ..MapInfo::default()
        };
        Ok(MapFd(self.keep(own(fd), Some(info))))
    }

    /// Sizes of a map that this process opened.
    fn shape(&self, call: &'static str, map: MapFd) -> Result<&MapInfo> {
        self.map_shape(map.0)
            .ok_or_else(|| SysError::new(call, format!("map descriptor {}", map.0), libc::EBADF))
    }

    /// The bytes of a value as a look-up or an update moves them.
    fn value_bytes(&mut self, call: &'static str, map: MapFd) -> Result<usize> {
        let shape = self.shape(call, map)?;
        let (per_cpu, bytes) = (MapKind(shape.kind).per_cpu(), shape.value_bytes);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(if per_cpu { bytes.next_multiple_of(8) * self.cpus()? } else { bytes })
    }

    /// Refuses keys and values of the wrong size: the kernel cannot see how long our buffers are.
    fn check(&mut self, call: &'static str, map: MapFd, key: &[u8], value: Option<&[u8]>) -> Result<String> {
        let object = format!("map descriptor {}", map.0);
        let key_bytes = usize::try_from(self.shape(call, map)?.key_bytes).unwrap_or(usize::MAX);
        let fits = match value {
            Some(value) => value.len() == self.value_bytes(call, map)?,
            None => true,
        };
        if key.len() != key_bytes || !fits {
            return Err(
                SysError::new(call, object, libc::EINVAL).with_detail("key or value of the wrong size")
            );
        }
        Ok(object)
    }

    pub(super) fn update_map(&mut self, map: MapFd, key: &[u8], value: &[u8]) -> Result<()> {
        const CALL: &str = "BPF_MAP_UPDATE_ELEM";
        let object = self.check(CALL, map, key, Some(value))?;
        self.gate.pass(CALL, &object, true)?;
        // map_fd 0, key 8, value 16, flags 24
        let mut attr = Attr::new().fd(0, map.0).input(8, key).input(16, value);
        // SAFETY: key and value have just been found as large as the map says.
        unsafe { attr.call(MAP_UPDATE_ELEM) }.map_err(|e| SysError::io(CALL, object, &e))?;
        Ok(())
    }

    pub(super) fn fill_map(&mut self, map: MapFd, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        const CALL: &str = "BPF_MAP_UPDATE_BATCH";
        let object = format!("{} entries of map descriptor {}", entries.len(), map.0);
        let wrong = || {
            SysError::new(CALL, object.clone(), libc::EINVAL).with_detail("key or value of the wrong size")
        };
        let key_bytes = usize::try_from(self.shape(CALL, map)?.key_bytes).unwrap_or(usize::MAX);
        let value_bytes = self.value_bytes(CALL, map)?;
        if entries.iter().any(|(key, value)| key.len() != key_bytes || value.len() != value_bytes) {
            return Err(wrong());
        }
        self.gate.pass(CALL, &object, true)?;
        if entries.is_empty() {
            return Ok(());
        }
        let keys: Vec<u8> = entries.iter().flat_map(|(key, _)| key).copied().collect();
        let values: Vec<u8> = entries.iter().flat_map(|(_, value)| value).copied().collect();
        // in_batch 0, out_batch 8, keys 16, values 24, count 32, map_fd 36, elem_flags 40, flags 48
        let mut attr = Attr::new().input(16, &keys).input(24, &values);
        attr = attr.u32(32, length(CALL, &object, entries.len())?).fd(36, map.0);
        // SAFETY: there are `count` keys and `count` values, each as large as the map says.
        let error = match unsafe { attr.call(MAP_UPDATE_BATCH) } {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        match error.raw_os_error() {
            // This kind of map, or this kernel, takes one by one only. Those that are there are written again.
            Some(NOT_SUPPORTED | libc::EINVAL) => {}
            _ => return Err(SysError::io(CALL, object, &error)),
        }
        for (key, value) in entries {
            let mut attr = Attr::new().fd(0, map.0).input(8, key).input(16, value);
            // SAFETY: key and value have just been found as large as the map says.
            unsafe { attr.call(MAP_UPDATE_ELEM) }.map_err(|e| SysError::io(CALL, object.clone(), &e))?;
        }
        Ok(())
    }

    pub(super) fn lookup_map(&mut self, map: MapFd, key: &[u8]) -> Result<Option<Vec<u8>>> {
        const CALL: &str = "BPF_MAP_LOOKUP_ELEM";
        let object = self.check(CALL, map, key, None)?;
        self.gate.pass(CALL, &object, false)?;
        let mut value = vec![0_u8; self.value_bytes(CALL, map)?];
        let mut attr = Attr::new().fd(0, map.0).input(8, key).output(16, &mut value);
        // SAFETY: the key is as large as the map says, and so is the value, for every possible CPU.
        match unsafe { attr.call(MAP_LOOKUP_ELEM) } {
            Ok(_) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(SysError::io(CALL, object, &e)),
        }
    }

    pub(super) fn lookup_map_percpu(&mut self, map: MapFd, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        let shape = self.shape("BPF_MAP_LOOKUP_ELEM", map)?;
        let bytes = usize::try_from(shape.value_bytes).unwrap_or(usize::MAX);
        if !MapKind(shape.kind).per_cpu() || bytes == 0 {
            let error =
                SysError::new("BPF_MAP_LOOKUP_ELEM", format!("map descriptor {}", map.0), libc::EINVAL);
            return Err(error.with_detail("not a per-CPU map"));
        }
        let value = self.lookup_map(map, key)?;
        Ok(value.map(|all| all.chunks(bytes.next_multiple_of(8)).map(|one| one[..bytes].to_vec()).collect()))
    }

    pub(super) fn delete_key(&mut self, map: MapFd, key: &[u8]) -> Result<()> {
        const CALL: &str = "BPF_MAP_DELETE_ELEM";
        let object = self.check(CALL, map, key, None)?;
        self.gate.pass(CALL, &object, true)?;
        let mut attr = Attr::new().fd(0, map.0).input(8, key);
        // SAFETY: the key is as large as the map says.
        match unsafe { attr.call(MAP_DELETE_ELEM) } {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(SysError::io(CALL, object, &e)),
            _ => Ok(()),
        }
    }

    pub(super) fn next_key(&mut self, map: MapFd, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        const CALL: &str = "BPF_MAP_GET_NEXT_KEY";
        let key_bytes = usize::try_from(self.shape(CALL, map)?.key_bytes).unwrap_or(usize::MAX);
        let mut next = vec![0_u8; key_bytes];
        let object = self.check(CALL, map, key.unwrap_or(&next), None)?;
        self.gate.pass(CALL, &object, false)?;
        let mut attr = Attr::new().fd(0, map.0).output(16, &mut next);
        if let Some(key) = key {
            attr = attr.input(8, key);
        }
        // SAFETY: both keys are as large as the map says; no key at all asks for the first.
        match unsafe { attr.call(MAP_NEXT_KEY) } {
            Ok(_) => Ok(Some(next)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(SysError::io(CALL, object, &e)),
        }
    }

    pub(super) fn freeze_map(&mut self, map: MapFd) -> Result<()> {
        let object = format!("map descriptor {}", map.0);
        self.gate.pass("BPF_MAP_FREEZE", &object, true)?;
        // SAFETY: the attribute holds no address.
        unsafe { Attr::new().fd(0, map.0).call(MAP_FREEZE) }
            .map_err(|e| SysError::io("BPF_MAP_FREEZE", object, &e))?;
        Ok(())
    }

    pub(super) fn describe_map(&mut self, map: MapFd) -> Result<MapInfo> {
        // The number of a descriptor that was closed may be another's by now.
        let object =
            self.shape("BPF_OBJ_GET_INFO_BY_FD", map).map(|_| format!("map descriptor {}", map.0))?;
        self.gate.pass("BPF_OBJ_GET_INFO_BY_FD", &object, false)?;
        map_info(map.0)
    }

    pub(super) fn open_map(&mut self, id: u32) -> Result<MapFd> {
        let object = format!("map {id}");
        self.gate.pass("BPF_MAP_GET_FD_BY_ID", &object, false)?;
        // SAFETY: the attribute holds no address.
        let fd = unsafe { Attr::new().u32(0, id).call(MAP_FD_BY_ID) }
            .map_err(|e| SysError::io("BPF_MAP_GET_FD_BY_ID", object, &e))?;
        let fd = own(fd);
        let info = map_info(std::os::fd::AsRawFd::as_raw_fd(&fd))?;
        Ok(MapFd(self.keep(fd, Some(info))))
    }

    pub(super) fn load_prog(&mut self, spec: &ProgSpec<'_>) -> Result<ProgFd> {
        const CALL: &str = "BPF_PROG_LOAD";
        let object = format!("program {} ({} instructions)", spec.name, spec.insns.len());
        self.gate.pass(CALL, &object, true)?;
        let license: Vec<u8> = spec.license.bytes().chain([0]).collect();
        let count = length(CALL, &object, spec.insns.len())?;
        let mut log: Vec<u8> = Vec::new();
        loop {
            // prog_type 0, insn_cnt 4, insns 8, license 16, log_level 24, log_size 28, log_buf 32,
            // kern_version 40, prog_flags 44, prog_name 48, prog_ifindex 64, expected_attach_type 68
            let mut attr = Attr::new()
                .u32(0, spec.kind.0)
                .u32(4, count)
                .u64(8, spec.insns.as_ptr().addr() as u64)
                .input(16, &license)
                .u32(44, spec.flags)
                .name(48, spec.name)
                .u32(68, spec.attach_type);
            if !log.is_empty() {
                attr = attr.u32(24, 1).u32(28, length(CALL, &object, log.len())?).output(32, &mut log);
            }
            // SAFETY: instructions, licence and log live until the call is over, and are as long as it is told.
            let error = match unsafe { attr.call(PROG_LOAD) } {
                Ok(fd) => return Ok(ProgFd(self.keep(own(fd), None))),
                Err(error) => error,
            };
            match error.raw_os_error() {
                // The verifier was interrupted by a signal; it asks to be called again.
                Some(libc::EAGAIN) => {}
                Some(libc::EPERM) => return Err(SysError::io(CALL, object, &error)),
                Some(libc::ENOSPC) if !log.is_empty() && log.len() < LOG_MOST_BYTES => {
                    log = vec![0; (log.len() * 16).min(LOG_MOST_BYTES)];
                }
                // Programs are loaded without a log, which makes the verifier slow; a refused one again with it.
                _ if log.is_empty() => log = vec![0; 64 << 10],
                _ => return Err(refused(SysError::io(CALL, object, &error), &name_text(&log))),
            }
        }
    }

    pub(super) fn bind_map(&mut self, prog: ProgFd, map: MapFd) -> Result<()> {
        let object = format!("map descriptor {} to program descriptor {}", map.0, prog.0);
        self.gate.pass("BPF_PROG_BIND_MAP", &object, true)?;
        // prog_fd 0, map_fd 4, flags 8
        // SAFETY: the attribute holds no address.
        unsafe { Attr::new().fd(0, prog.0).fd(4, map.0).call(PROG_BIND_MAP) }
            .map_err(|e| SysError::io("BPF_PROG_BIND_MAP", object, &e))?;
        Ok(())
    }

    pub(super) fn describe_prog(&mut self, prog: ProgFd) -> Result<ProgInfo> {
        const CALL: &str = "BPF_OBJ_GET_INFO_BY_FD";
        let object = format!("program descriptor {}", prog.0);
        self.gate.pass(CALL, &object, false)?;
        let info = prog_info_bytes(prog.0, &mut []).map_err(|e| SysError::io(CALL, object.clone(), &e))?;
        let count = usize::try_from(read_u32(&info, 52)).unwrap_or(0);
        let mut ids = vec![0_u8; count * 4];
        let info = prog_info_bytes(prog.0, &mut ids).map_err(|e| SysError::io(CALL, object, &e))?;
        // Another process may have bound a map in between; then there are more than we made room for.
        let count = count.min(usize::try_from(read_u32(&info, 52)).unwrap_or(0));
        let mut tag = [0; 8];
        tag.copy_from_slice(&info[8..16]);
        Ok(ProgInfo {
            id: read_u32(&info, 4),
            name: name_text(&info[64..80]),
            tag,
            kind: read_u32(&info, 0),
            map_ids: (0..count).map(|i| read_u32(&ids, i * 4)).collect(),
            verified_insns: read_u32(&info, 216),
        })
    }

    pub(super) fn open_prog(&mut self, id: u32) -> Result<ProgFd> {
        let object = format!("program {id}");
        self.gate.pass("BPF_PROG_GET_FD_BY_ID", &object, false)?;
        // SAFETY: the attribute holds no address.
        let fd = unsafe { Attr::new().u32(0, id).call(PROG_FD_BY_ID) }
            .map_err(|e| SysError::io("BPF_PROG_GET_FD_BY_ID", object, &e))?;
        Ok(ProgFd(self.keep(own(fd), None)))
    }

    pub(super) fn test_run(&mut self, prog: ProgFd, run: &TestRun<'_>) -> Result<TestRunResult> {
        const CALL: &str = "BPF_PROG_TEST_RUN";
        let object = format!("program descriptor {}", prog.0);
        self.gate.pass(CALL, &object, run.live)?;
        let mut data = vec![0_u8; if run.live { 0 } else { run.data_out_bytes }];
        let mut context = vec![0_u8; if run.live { 0 } else { run.context.len() }];
        // prog_fd 0, retval 4, data_size_in 8, data_size_out 12, data_in 16, data_out 24, repeat 32,
        // duration 36, ctx_size_in 40, ctx_size_out 44, ctx_in 48, ctx_out 56, flags 64, cpu 68, batch_size 72
        let mut attr = Attr::new()
            .fd(0, prog.0)
            .u32(8, length(CALL, &object, run.data.len())?)
            .input(16, run.data)
            .u32(32, run.repeat);
        if !data.is_empty() {
            attr = attr.u32(12, length(CALL, &object, data.len())?).output(24, &mut data);
        }
        if !run.context.is_empty() {
            attr = attr.u32(40, length(CALL, &object, run.context.len())?).input(48, run.context);
        }
        if !context.is_empty() {
            attr = attr.u32(44, length(CALL, &object, context.len())?).output(56, &mut context);
        }
        if run.live {
            attr = attr.u32(64, F_LIVE_FRAMES).u32(72, run.batch);
        }
        // SAFETY: all four buffers live until the call is over, and are as long as it is told.
        unsafe { attr.call(PROG_TEST_RUN) }.map_err(|e| SysError::io(CALL, object, &e))?;
        data.truncate(usize::try_from(attr.read_u32(12)).unwrap_or(0));
        context.truncate(usize::try_from(attr.read_u32(44)).unwrap_or(0));
        Ok(TestRunResult { verdict: attr.read_u32(4), data, context, duration_ns: attr.read_u32(36) })
    }

    pub(super) fn attach_tcx(&mut self, ifindex: u32, hook: Hook, prog: ProgFd, place: Place) -> Result<()> {
        let object = tcx_object(ifindex, hook);
        self.gate.pass("BPF_PROG_ATTACH", &object, true)?;
        let (flags, replaced) = match place {
            Place::First => (F_BEFORE, 0),
            Place::Last => (F_AFTER, 0),
            Place::Replace(old) => (F_REPLACE, old.0),
        };
        // target_ifindex 0, attach_bpf_fd 4, attach_type 8, attach_flags 12, replace_bpf_fd 16, relative_fd 20,
        // expected_revision 24
        let mut attr = tcx_attr(ifindex, hook, prog).u32(12, flags).fd(16, replaced);
        // SAFETY: the attribute holds no address.
        unsafe { attr.call(PROG_ATTACH) }.map_err(|e| SysError::io("BPF_PROG_ATTACH", object, &e))?;
        Ok(())
    }

    pub(super) fn detach_tcx(&mut self, ifindex: u32, hook: Hook, prog: ProgFd) -> Result<()> {
        let object = tcx_object(ifindex, hook);
        self.gate.pass("BPF_PROG_DETACH", &object, true)?;
        // SAFETY: the attribute holds no address.
        unsafe { tcx_attr(ifindex, hook, prog).call(PROG_DETACH) }
            .map_err(|e| SysError::io("BPF_PROG_DETACH", object, &e))?;
        Ok(())
    }

    pub(super) fn query_tcx(&mut self, ifindex: u32, hook: Hook) -> Result<Vec<Attached>> {
        let object = tcx_object(ifindex, hook);
        self.gate.pass("BPF_PROG_QUERY", &object, false)?;
        let mut progs = [0_u8; HOOK_MOST_PROGS * 4];
        let mut links = [0_u8; HOOK_MOST_PROGS * 4];
        // target_ifindex 0, attach_type 4, query_flags 8, attach_flags 12, prog_ids 16, count 24,
        // prog_attach_flags 32, link_ids 40, link_attach_flags 48, revision 56
        let mut attr = Attr::new()
            .u32(0, ifindex)
            .u32(4, tcx_type(hook))
            .output(16, &mut progs)
            .u32(24, 64)
            .output(40, &mut links);
        // SAFETY: both arrays hold `count` numbers of 32 bits.
        match unsafe { attr.call(PROG_QUERY) } {
            // A hook that never had a program: the kernel has made nothing for it yet.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
            Err(e) => return Err(SysError::io("BPF_PROG_QUERY", object, &e)),
            Ok(_) => {}
        }
        let count = usize::try_from(attr.read_u32(24)).unwrap_or(0).min(HOOK_MOST_PROGS);
        Ok((0..count)
            .map(|i| Attached { prog_id: read_u32(&progs, i * 4), link_id: read_u32(&links, i * 4) })
            .collect())
    }
}

/// How many values the kernel copies for a key of a per-CPU map, found by looking at how far it writes. Works
/// where `/sys` is not mounted.
pub(super) fn probe_cpus() -> Result<usize> {
    const CALL: &str = "BPF_MAP_CREATE";
    const MARK: u8 = 0xA5;
    let mut attr = Attr::new().u32(0, MapKind::PERCPU_ARRAY.0).u32(4, 4).u32(8, 8).u32(12, 1);
    // SAFETY: the attribute holds no address.
    let map = own(unsafe { attr.call(MAP_CREATE) }.map_err(|e| SysError::io(CALL, "cpu probe", &e))?);
    // The kernel is built for at most 8192 CPUs; the values of a fresh map are zero.
    let mut values = vec![MARK; 8 * 8192];
    let key = [0_u8; 4];
    let fd = std::os::fd::AsRawFd::as_raw_fd(&map);
    let mut attr = Attr::new().fd(0, fd).input(8, &key).output(16, &mut values);
    // SAFETY: the key has 4 bytes, and the values have room for every CPU that a kernel can have.
    unsafe { attr.call(MAP_LOOKUP_ELEM) }
        .map_err(|e| SysError::io("BPF_MAP_LOOKUP_ELEM", "cpu probe", &e))?;
    Ok(values.iter().position(|byte| *byte == MARK).unwrap_or(values.len()) / 8)
}

fn map_info(fd: i32) -> Result<MapInfo> {
    // type 0, id 4, key_size 8, value_size 12, max_entries 16, map_flags 20, name 24
    let mut info = [0_u8; 80];
    let mut attr = Attr::new().fd(0, fd).u32(4, 80).output(8, &mut info);
    // SAFETY: the buffer is as long as the call is told.
    unsafe { attr.call(OBJ_INFO_BY_FD) }
        .map_err(|e| SysError::io("BPF_OBJ_GET_INFO_BY_FD", format!("map descriptor {fd}"), &e))?;
    Ok(MapInfo {
        id: read_u32(&info, 4),
        name: name_text(&info[24..40]),
        kind: read_u32(&info, 0),
        key_bytes: read_u32(&info, 8),
        value_bytes: read_u32(&info, 12),
        max_entries: read_u32(&info, 16),
        flags: read_u32(&info, 20),
    })
}

/// `struct bpf_prog_info`: type 0, id 4, tag 8, ..., `nr_map_ids` 52, `map_ids` 56, name 64, ..., `verified_insns`
/// 216. Ids of maps are written into `ids`, as many as fit.
fn prog_info_bytes(fd: i32, ids: &mut [u8]) -> io::Result<[u8; 232]> {
    let mut info = [0_u8; 232];
    if !ids.is_empty() {
        let count = u32::try_from(ids.len() / 4).unwrap_or(0);
        info[52..56].copy_from_slice(&count.to_ne_bytes());
        info[56..64].copy_from_slice(&(ids.as_mut_ptr().expose_provenance() as u64).to_ne_bytes());
    }
    let mut attr = Attr::new().fd(0, fd).u32(4, 232).output(8, &mut info);
    // SAFETY: the buffer is as long as the call is told, and `ids` holds as many numbers as `nr_map_ids` says.
    unsafe { attr.call(OBJ_INFO_BY_FD) }?;
    Ok(info)
}

fn tcx_type(hook: Hook) -> u32 {
    match hook {
        Hook::Ingress => TCX_INGRESS,
        Hook::Egress => TCX_EGRESS,
    }
}

fn tcx_object(ifindex: u32, hook: Hook) -> String {
    format!("tcx {hook} of interface {ifindex}")
}

fn tcx_attr(ifindex: u32, hook: Hook, prog: ProgFd) -> Attr {
    Attr::new().u32(0, ifindex).fd(4, prog.0).u32(8, tcx_type(hook))
}

/// Adds the verifier's log, and its last line that says something.
fn refused(mut error: SysError, log: &str) -> SysError {
    let useful = |line: &&str| !line.trim().is_empty() && !line.starts_with("processed ");
    error.detail = log.lines().rev().find(useful).map(|line| line.trim().to_owned());
    error.log = Some(log.to_owned());
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_useful_line_is_not_the_statistics() {
        let log = "0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n\n";
        let error = refused(SysError::new("BPF_PROG_LOAD", "x", libc::EACCES), log);
        assert_eq!(error.detail.as_deref(), Some("R0 !read_ok"));
        assert_eq!(error.log.as_deref(), Some(log));
    }

    #[test]
    fn names_are_cut_to_what_the_kernel_takes() {
        let attr = Attr::new().name(28, "0123456789abcdefgh");
        assert_eq!(name_text(&attr.0[28..44]), "0123456789abcde");
    }
}
