//! What virtual cables need before a tap may run in XDP on them.
//!
//! Measured: a frame that XDP redirects to a veth reaches its far end only if that has a native program or GRO,
//! and is lost in silence otherwise; and a checksum that a sender left to hardware is never finished. So the far
//! ends get a program that passes everything (GRO would merge what the sensor should see apart), and the ends of
//! links finish their checksums themselves. Physical cards need none of this.

use bpf::asm::{Kind, constant};
use bpf::emit::XDP_PASS;
use sys::{Linux, ProgKind, ProgSpec, Sys, XdpMode};

use crate::enterprise::{End, TAP};
use crate::network::{LabError, Network, find};
use crate::scenario::Layout;

/// Prepares the ends of all cables that come from the tap box, and tells what was done.
pub fn prepare(network: &Network, layout: &Layout) -> Result<Vec<String>, LabError> {
    let cut = layout.cuts.iter().flat_map(|cut| [cut.cable.0, cut.cable.1]);
    let ends: Vec<End> = cut.map(|(host, interface)| End::new(host, interface)).collect();
    let sensors: Vec<End> =
        layout.feeds.iter().filter(|(from, _)| from.host == TAP).map(|(_, to)| to.clone()).collect();
    let mut notes = Vec::new();
    for end in &ends {
        finish_checksums(network, end)?;
        notes.push(format!("{end}: finishes its checksums itself (tx-checksum off): XDP cannot"));
    }
    for end in ends.iter().chain(&sensors) {
        pass_all(network, end)?;
        notes.push(format!("{end}: has a program that passes all: XDP redirects only to such a virtual end"));
    }
    Ok(notes)
}

/// Switches off every checksum offload for sending, and with it segmentation.
pub fn finish_checksums(network: &Network, end: &End) -> Result<(), LabError> {
    network.on(&end.host, |sys| {
        let offloads = sys.features(&end.interface)?;
        let off: Vec<(String, bool)> = offloads
            .into_iter()
            .filter(|feature| feature.name.starts_with("tx-checksum-") && feature.changeable())
            .map(|feature| (feature.name, false))
            .collect();
        sys.set_features(&end.interface, &off).map(drop)
    })
}

/// Attaches a native XDP program that passes everything. It lasts as long as the interface.
pub fn pass_all(network: &Network, end: &End) -> Result<(), LabError> {
    let defect = |error: &dyn std::fmt::Display| LabError::new(end.to_string(), error);
    let program = constant("lab_pass", Kind::Xdp, XDP_PASS).map_err(|error| defect(&error))?;
    let insns = program.link(|_| None).map_err(|error| defect(&error))?;
    network.on(&end.host, |sys: &mut Linux| {
        let spec = ProgSpec {
            kind: ProgKind(program.kind.program_type()),
            attach_type: program.kind.expected_attach_type(),
            insns: &insns,
            license: "Dual MIT/GPL",
            name: &program.name,
            flags: XDP_HAS_FRAGS,
        };
        let program = sys.prog_load(&spec)?;
        let link = find(sys, &end.interface)?;
        sys.xdp_attach(link.index, XdpMode::Native, program, None)
    })
}

/// `BPF_F_XDP_HAS_FRAGS`: without it a program is refused on an interface with a large MTU.
const XDP_HAS_FRAGS: u32 = 32;
