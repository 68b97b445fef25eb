//! What the lab expects of a super-frame against what the kernel makes of it. Needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use lab::capture::Capture;
use lab::enterprise::End;
use lab::frames::unfinished_tcp;
use lab::network::{CableSpec, Network};
use lab::{segment, virtual_ends};
use sys::packet::{Options, PacketSocket};

const MTU: u16 = 1500;
/// PSH and ACK.
const FLAGS: u8 = 0x18;

/// `struct virtio_net_hdr`: the checksum of TCP at `tcp` is to be finished, and what is longer than the MTU cut.
fn offload_header(v6: bool, tcp: u16, cut: bool) -> Vec<u8> {
    const NEEDS_CHECKSUM: u8 = 1;
    let (kind, size) = match (cut, v6) {
        (false, _) => (0, 0),
        (true, false) => (1, MTU + 14 - tcp - 32),
        (true, true) => (4, MTU + 14 - tcp - 32),
    };
    let mut header = vec![NEEDS_CHECKSUM, kind];
    for field in [tcp + 32, size, tcp, 16] {
        header.extend(field.to_ne_bytes());
    }
    header
}

/// What comes out of the far end of a cable whose near end finishes checksums and cuts by itself.
fn kernel_makes(network: &Network, (near, far): (&End, &End), sent: &[u8], count: usize) -> Vec<Vec<u8>> {
    let mut capture = Capture::open(network, far).unwrap();
    let index = network.link(near).unwrap().index;
    let options = Options { offload_header: true, ..Options::default() };
    network.on(&near.host, |_| PacketSocket::open(index, options)?.send(sent)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while capture.frames().len() < count && Instant::now() < deadline {
        capture.drain().unwrap();
        std::thread::yield_now();
    }
    capture.take().into_iter().map(|frame| frame.bytes).collect()
}

#[test]
fn the_kernel_makes_what_the_lab_expects_down_to_a_sum_of_zero() {
    let mut network = Network::new();
    let (near, far) = (End::new("near", "eth0"), End::new("far", "eth0"));
    let spec = CableSpec { mtu: MTU.into(), queues: 0 };
    network.cable(&near, &far, spec).expect("this test makes network namespaces: run it as root");
    for end in [&near, &far] {
        network.raise(end).unwrap();
    }
    for end in [&near, &far] {
        network.await_carrier(end).unwrap();
    }
    virtual_ends::finish_checksums(&network, &near).unwrap();
    for (v6, tcp) in [(false, 34u16), (true, 54)] {
        for (len, zero) in [(2, [0xff, 0xff]), (4000, [0, 0])] {
            let sum = usize::from(tcp) + 16;
            let expected = |data: &[u8]| {
                segment::wire_frames(&unfinished_tcp(v6, FLAGS, data), true, MTU.into()).unwrap()
            };
            let plain = vec![0; len];
            let mut data = plain.clone();
            // Added to the data, a checksum makes the sum of the whole come out as zero.
            data[..2].copy_from_slice(&expected(&plain)[0][sum..sum + 2]);
            assert_eq!(expected(&data)[0][sum..sum + 2], zero);
            for data in [plain, data] {
                let frames = expected(&data);
                let frame = unfinished_tcp(v6, FLAGS, &data);
                let sent = [offload_header(v6, tcp, frames.len() > 1), frame].concat();
                let made = kernel_makes(&network, (&near, &far), &sent, frames.len());
                assert_eq!(made, frames, "IPv6: {v6}, {len} octets");
            }
        }
    }
}
