//! The state map and what keeps it alive while nothing else does yet, or any more.
//!
//! The anchor is a program that does nothing and holds the state map. It is the first thing that `up` and
//! `down` attach and the last that they take away, so that a process killed between any two calls leaves
//! the state where the next one finds it. Needs tcx; on older kernels the first guard takes its place.

use bpf::asm::{Kind, Program};
use bpf::emit::{TC_NEXT, TC_SHOT};
use sys::{Hook, MapFd, MapKind, MapSpec, Place, ProgFd, ProgKind, ProgSpec, Result, Sys, SysError};

use super::found::STATE_MAP;
use super::slots::{CHUNK, Geometry, HEADER, TEXT_MAX};
use crate::machine::report::Error;
use crate::machine::saved::Saved;

/// Name of the anchor.
pub const ANCHOR: &str = "tw_anchor";
/// Name of the program that ends frames behind a virtual interface, so that the host's stack sees none.
pub const SINKHOLE: &str = "tw_sink";
/// Programs that call GPL-only helpers need a licence that says so; none of ours does, but the verifier
/// prints more to those who are open.
const LICENSE: &str = "Dual MIT/GPL";

/// A state map that is open here.
pub struct StateMap {
    /// The map.
    pub map: MapFd,
    geometry: Geometry,
    slot: u8,
}

impl StateMap {
    /// Makes a map with room for this text, and writes it.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn create(sys: &mut impl Sys, saved: &Saved) -> Result<Self> {
        let octets = saved.to_text().len();
        let geometry = Geometry::for_text(octets).ok_or_else(|| {
            let most = format!("the plan's text takes {octets} octets, and at most {TEXT_MAX} are kept");
            SysError::new("BPF_MAP_CREATE", STATE_MAP, 7).with_detail(most)
        })?;
        let value_bytes = u32::try_from(CHUNK).expect("a chunk is a page");
        let map = sys.map_create(&MapSpec {
            kind: MapKind::ARRAY,
            key_bytes: 4,
            value_bytes,
            max_entries: geometry.entries(),
            flags: 0,
            name: STATE_MAP.into(),
        })?;
        // The first write goes to slot 0.
        let mut state = Self { map, geometry, slot: 1 };
        state.write(sys, saved)?;
        Ok(state)
    }

    /// A map that was found.
    pub fn open(map: MapFd, geometry: Geometry, slot: u8) -> Self {
        Self { map, geometry, slot }
    }

    /// Writes a text in the place of the one in force, in a way that can be interrupted anywhere.
    ///
    /// # Errors
    /// A system call that failed; `E2BIG` where the text has outgrown the map.
    pub fn write(&mut self, sys: &mut impl Sys, saved: &Saved) -> Result<()> {
        let other = 1 - self.slot;
        let rewrite = self.geometry.rewrite(other, &saved.to_text()).ok_or_else(|| {
            SysError::new("BPF_MAP_UPDATE_ELEM", STATE_MAP, 7).with_detail("the state outgrew its map")
        })?;
        sys.map_fill(self.map, &rewrite.pieces)?;
        sys.map_update(self.map, &HEADER, &rewrite.header)?;
        self.slot = other;
        Ok(())
    }
}

/// Loads a program and has it hold the state map.
///
/// # Errors
/// [`Error::Kernel`], or [`Error::Defect`] where the program cannot be linked.
pub fn load(
    sys: &mut impl Sys,
    program: &Program,
    state: Option<MapFd>,
    resolve: impl Fn(bpf::asm::Symbol) -> Option<i32>,
) -> std::result::Result<ProgFd, Error> {
    load_with(sys, program, state, 0, resolve)
}

/// `BPF_F_XDP_HAS_FRAGS`: the program also takes frames that lie in several pieces of memory.
pub const HAS_FRAGS: u32 = 1 << 5;

/// As [`load`], with flags for the kernel.
///
/// # Errors
/// See [`load`].
pub fn load_with(
    sys: &mut impl Sys,
    program: &Program,
    state: Option<MapFd>,
    flags: u32,
    resolve: impl Fn(bpf::asm::Symbol) -> Option<i32>,
) -> std::result::Result<ProgFd, Error> {
    let insns = program.link(resolve).map_err(|error| Error::Defect(format!("{}: {error}", program.name)))?;
    let spec = ProgSpec {
        kind: ProgKind(program.kind.program_type()),
        attach_type: program.kind.expected_attach_type(),
        insns: &insns,
        license: LICENSE,
        name: &program.name,
        flags,
    };
    let prog = sys.prog_load(&spec)?;
    if let Some(state) = state {
        sys.prog_bind_map(prog, state)?;
    }
    Ok(prog)
}

/// Attaches the anchor to the ingress of an interface.
///
/// # Errors
/// See [`load`].
pub fn attach(sys: &mut impl Sys, ifindex: u32, state: MapFd) -> std::result::Result<ProgFd, Error> {
    let prog = load(sys, &constant(ANCHOR, TC_NEXT)?, Some(state), |_| None)?;
    sys.tcx_attach(ifindex, Hook::Ingress, prog, Place::Last)?;
    Ok(prog)
}

/// The program that ends every frame: behind a virtual interface, after sniffers have seen it.
///
/// # Errors
/// [`Error::Defect`].
pub fn sinkhole() -> std::result::Result<Program, Error> {
    constant(SINKHOLE, TC_SHOT)
}

fn constant(name: &str, verdict: i32) -> std::result::Result<Program, Error> {
    bpf::asm::constant(name, Kind::Tc, verdict).map_err(|error| Error::Defect(error.to_string()))
}
