//! Clocks from conversations: any frames at any times give findings that hold together, and corrections that
//! reorder nothing.

use offline::bond::causal::{Inversions, Observer};
use wire::capture::Timestamp;
use wire::{Frame, LinkType};

/// Halves that frames are dealt to.
const HALVES: usize = 3;

/// Of each frame the first octet is the half and how far its clock jumps, the second by how much time goes on, the
/// third and fourth the length.
pub fn observe(mut input: &[u8]) {
    let mut observer = Observer::new(HALVES);
    let mut inversions = Inversions::new();
    let (mut clock, mut frames) = (0_i128, 0_u64);
    let mut times = [const { Vec::new() }; HALVES];
    while let Some(([half, step, high, low], rest)) = input.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (data, rest) = rest.split_at(length);
        let wire_len = u32::try_from(length).expect("at most 65535");
        let frame = Frame { data, wire_len, link_type: LinkType::ETHERNET };
        // From nanoseconds to centuries, and back.
        clock += i128::from(*step) << (((half & 0xf8) >> 3) * 2);
        clock = if *half == 0xff { -clock } else { clock };
        let (time, half) = (Timestamp(clock), usize::from(*half) % HALVES);
        observer.frame(half, time, &frame);
        inversions.frame(half, time, &frame);
        times[half].push(time);
        (frames, input) = (frames + 1, rest);
    }
    assert!(inversions.count() + inversions.no_room() <= frames);
    assert!(inversions.answers() <= frames);
    let findings = observer.finish();
    assert!(!findings.to_string().is_empty());
    for placement in &findings.placements {
        assert!(placement.contradicted <= placement.evidence.pairs());
        assert_eq!(placement.may_be_right, placement.admits(0, 0));
        assert_eq!(placement.drift_ppb.is_none(), placement.offset_at_first_frame_ns.is_none());
        if placement.chosen_drift_ppb == 0 && placement.admits(placement.chosen_offset_ns, 0) {
            assert_eq!(placement.contradicted, 0);
        }
    }
    for (half, times) in times.iter_mut().enumerate() {
        times.sort_unstable();
        let (correction, forced) = (findings.correction(half), findings.forced(half));
        assert!(times.is_sorted_by_key(|time| correction.apply(*time)));
        assert!(times.is_sorted_by_key(|time| forced.apply(*time)));
    }
}
