//! Packet rings on the real kernel: two ends of a pair, in a namespace where nothing else speaks.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::os::fd::AsFd;
use std::time::Duration;

use sys::netns::Namespace;
use sys::packet::{Options, PacketSocket};
use sys::ring::{BLOCK_BYTES_MIN, Checksum, Ring, RingOptions, SendOptions, Sender, wait};
use sys::{IFF_UP, Linux, Sys, VethSpec};

/// `EMSGSIZE`, `EAGAIN`.
const TOO_LONG: i32 = 90;
const FULL: i32 = 11;
const OPTIONS: RingOptions = RingOptions {
    ring_bytes: 4 * BLOCK_BYTES_MIN,
    block_bytes: BLOCK_BYTES_MIN,
    retire_ms: 1,
    promiscuous: true,
    incoming: true,
    outgoing: false,
};

/// Runs a test between interfaces `a0` and `b0`, given by their indexes.
fn between(test: impl FnOnce(u32, u32) + Send) {
    let work = || {
        let mut linux = Linux::new();
        linux.create_veth(&VethSpec::new("a0", "b0")).unwrap();
        let [a, b] = ["a0", "b0"].map(|name| linux.link_by_name(name).unwrap().unwrap().index);
        for (name, index) in [("a0", a), ("b0", b)] {
            linux.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "1").unwrap();
            linux.set_link_flags(index, IFF_UP, 0).unwrap();
        }
        assert_eq!(linux.settle(&[a, b], Duration::from_secs(30)).unwrap(), []);
        test(a, b);
    };
    Namespace::create().expect("tests run as root").run(work).unwrap();
}

/// Runs `tc` in the namespace of this thread.
fn tc(words: &str) {
    let ended = std::process::Command::new("tc").args(words.split(' ')).output().unwrap();
    assert!(ended.status.success(), "tc {words}: {}", String::from_utf8_lossy(&ended.stderr));
}

fn frame(behind: &[u8], octets: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
    frame.extend_from_slice(behind);
    frame.resize(octets.max(frame.len()), 7);
    frame
}

/// Everything that comes until `count` frames are there; each ring is released now and then.
fn take(ring: &mut Ring, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..2000 {
        while let Some(lent) = ring.take() {
            frames.push(lent.data.to_vec());
        }
        ring.release();
        if frames.len() >= count {
            return frames;
        }
        wait(&[ring.as_fd()], Duration::from_millis(5)).unwrap();
    }
    panic!("{} frames of {count}", frames.len());
}

#[test]
fn frames_are_lent_as_sent_with_their_tags() {
    between(|a, b| {
        let mut ring = Ring::open(b, OPTIONS).unwrap();
        let mut sender =
            Sender::open(a, 3, SendOptions { bypass_queue: true, ..SendOptions::default() }).unwrap();
        let behind: [&[u8]; 6] = [
            &[0x88, 0xB5],
            &[0x81, 0x00, 0xE0, 0x07, 0x88, 0xB5],
            &[0x81, 0x00, 0x00, 0x00, 0x88, 0xB5],
            &[0x88, 0xA8, 0x00, 0x64, 0x81, 0x00, 0x00, 0x07, 0x88, 0xB5],
            &[0x88, 0x08, 0x00, 0x01],
            &[0x00, 0x26, 0x42, 0x42],
        ];
        let mut frames: Vec<Vec<u8>> = behind.iter().map(|behind| frame(behind, 60)).collect();
        frames.push(frame(&[0x88, 0xB5], 14));
        frames.push(frame(&[0x88, 0xB5], 1514));
        frames.push(frame(&[0x81, 0x00, 0x00, 0x05, 0x88, 0xB5], 1518));
        let parts: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        sender.send(&parts, |number, errno| panic!("frame {number}: errno {errno}"));
        assert_eq!(take(&mut ring, frames.len()), frames);
        let said = ring.statistics().unwrap();
        assert_eq!((said.received, said.dropped), (u64::try_from(frames.len()).unwrap(), 0));
    });
}

#[test]
fn a_frame_longer_than_the_mtu_is_sent_where_the_device_takes_it() {
    between(|a, b| {
        Linux::new().set_mtu(b, 1600).unwrap();
        let mut ring = Ring::open(b, OPTIONS).unwrap();
        let mut sender =
            Sender::open(a, 8, SendOptions { bypass_queue: true, ..SendOptions::default() }).unwrap();
        // A plain send takes one 802.1Q tag beyond the MTU, and no other.
        let long = frame(&[0x88, 0xA8, 0x00, 0x64, 0x88, 0xB5], 1518);
        let short = frame(&[0x88, 0xB5], 60);
        sender.send(&[&short, &long, &short, &long], |number, errno| panic!("frame {number}: errno {errno}"));
        assert_eq!(take(&mut ring, 4), [short.clone(), long.clone(), short.clone(), long.clone()]);
        // What no device takes is an answer for that frame alone.
        let (mut failed, none) = (Vec::new(), vec![0; 70 << 10]);
        sender.send(&[&short, &none, &short], |number, errno| failed.push((number, errno)));
        assert_eq!((take(&mut ring, 2).len(), failed), (2, vec![(1, TOO_LONG)]));
    });
}

#[test]
fn a_full_ring_drops_counts_and_goes_on() {
    between(|a, b| {
        let mut ring = Ring::open(b, RingOptions { ring_bytes: 0, ..OPTIONS }).unwrap();
        let sender = PacketSocket::open(a, Options::default()).unwrap();
        let many = vec![frame(&[0x88, 0xB5], 1000); 50];
        let parts: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        for _ in 0..20 {
            sender.send_all(&parts).unwrap();
        }
        let said = ring.statistics().unwrap();
        assert_eq!(said.received, 1000);
        assert!(said.dropped > 0 && said.freezes > 0, "{said:?}");
        let there = usize::try_from(said.received - said.dropped).unwrap();
        assert_eq!(take(&mut ring, there).len(), there);
        // Around the ring several times.
        for _ in 0..20 {
            sender.send_all(&parts).unwrap();
            assert_eq!(take(&mut ring, parts.len()).len(), parts.len());
        }
        assert_eq!(ring.statistics().unwrap().dropped, 0);
    });
}

#[test]
fn shut_doors_keep_what_had_come() {
    between(|a, b| {
        let mut ring = Ring::open(b, OPTIONS).unwrap();
        let sender = PacketSocket::open(a, Options::default()).unwrap();
        sender.send(&frame(&[0x88, 0xB5], 60)).unwrap();
        ring.close_entry().unwrap();
        sender.send(&frame(&[0x88, 0xB6], 60)).unwrap();
        assert_eq!(take(&mut ring, 1), [frame(&[0x88, 0xB5], 60)]);
        assert_eq!(ring.statistics().unwrap().received, 1);
        assert_eq!(ring.head_ns(), None);
    });
}

#[test]
fn outgoing_frames_are_seen_where_asked_for_and_checksums_are_told() {
    between(|a, b| {
        let mut both = Ring::open(b, RingOptions { outgoing: true, ..OPTIONS }).unwrap();
        let mut only_in = Ring::open(b, OPTIONS).unwrap();
        let out = PacketSocket::open(b, Options::default()).unwrap();
        out.send(&frame(&[0x88, 0xB5], 60)).unwrap();
        let half_done =
            PacketSocket::open(a, Options { offload_header: true, ..Options::default() }).unwrap();
        // A UDP datagram behind a tag, its checksum left to the card: flags 1, start 38, offset 6.
        let mut datagram = frame(&[0x81, 0, 0, 5, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17], 64);
        datagram.splice(0..0, [1, 0, 0, 0, 0, 0, 38, 0, 6, 0]);
        half_done.send(&datagram).unwrap();
        let mut seen = Vec::new();
        for _ in 0..2000 {
            if seen.len() >= 2 {
                break;
            }
            while let Some(lent) = both.take() {
                seen.push((lent.outgoing, lent.offload.checksum, lent.data.len()));
            }
            both.release();
            wait(&[both.as_fd()], Duration::from_millis(5)).unwrap();
        }
        assert_eq!(seen, [(true, None, 60), (false, Some(Checksum { start: 38, offset: 6 }), 64)]);
        assert_eq!(take(&mut only_in, 1).len(), 1);
        assert_eq!(only_in.statistics().unwrap().received, 1);
    });
}

#[test]
fn a_ring_for_what_goes_out_has_no_room_taken_by_what_comes_in() {
    between(|a, b| {
        let only_out = RingOptions { incoming: false, outgoing: true, ring_bytes: 0, ..OPTIONS };
        let mut ring = Ring::open(b, only_out).unwrap();
        let [there, back] = [a, b].map(|index| PacketSocket::open(index, Options::default()).unwrap());
        let many = vec![frame(&[0x88, 0xB5], 1000); 50];
        let parts: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        for _ in 0..20 {
            there.send_all(&parts).unwrap();
        }
        back.send(&frame(&[0x88, 0xB6], 60)).unwrap();
        assert_eq!(take(&mut ring, 1), [frame(&[0x88, 0xB6], 60)]);
        let said = ring.statistics().unwrap();
        assert_eq!((said.received, said.dropped), (1, 0));
    });
}

#[test]
fn many_frames_longer_than_the_mtu_are_on_their_way_at_once() {
    const MANY: usize = 200;
    between(|a, b| {
        let mut linux = Linux::new();
        linux.set_mtu(b, 9100).unwrap();
        let mut ring = Ring::open(b, OPTIONS).unwrap();
        // The first leaves, each of the others a second after the one before: they stay where they are.
        tc("qdisc add dev a0 root tbf rate 8kbit burst 3000 limit 1mb");
        let options = SendOptions { buffer_bytes: 8 << 20, ..SendOptions::default() };
        let mut sender = Sender::open(a, 64, options).unwrap();
        let long = frame(&[0x88, 0xA8, 0x00, 0x64, 0x88, 0xB5], 1518);
        sender.send(&[long.as_slice(); MANY], |number, errno| panic!("frame {number}: errno {errno}"));
        tc("qdisc del dev a0 root");
        // Slots become longer with the frames.
        let mut sender =
            Sender::open(a, 64, SendOptions { bypass_queue: true, ..SendOptions::default() }).unwrap();
        let longer = frame(&[0x88, 0xA8, 0x00, 0x64, 0x88, 0xB5], 1518);
        let sent = [&longer, &frame(&[0x88, 0xB6], 3000), &longer];
        linux.set_mtu(a, 1400).unwrap();
        let parts: Vec<&[u8]> = sent.iter().map(|frame| frame.as_slice()).collect();
        sender.send(&parts, |number, errno| panic!("frame {number}: errno {errno}"));
        let came = take(&mut ring, 3);
        assert!(came.ends_with(&sent.map(Clone::clone)), "{} frames", came.len());
    });
}

#[test]
fn one_who_waits_loses_nothing_to_a_small_buffer() {
    between(|a, b| {
        // Nobody takes frames out while they are sent: each may have a block of its own.
        let options = RingOptions { ring_bytes: 100 * BLOCK_BYTES_MIN, ..OPTIONS };
        let mut ring = Ring::open(b, options).unwrap();
        tc("qdisc add dev a0 root tbf rate 20mbit burst 3000 limit 1mb");
        let mut sender =
            Sender::open(a, 64, SendOptions { buffer_bytes: 1, ..SendOptions::default() }).unwrap();
        let many = vec![frame(&[0x88, 0xB5], 1000); 100];
        let parts: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        let mut patience = Duration::from_secs(60);
        sender.send_within(&mut patience, &parts, |number, errno| panic!("frame {number}: errno {errno}"));
        assert!(patience < Duration::from_secs(60));
        assert_eq!(take(&mut ring, many.len()), many);
        tc("qdisc change dev a0 root tbf rate 8kbit burst 3000 limit 1mb");
        // And no longer than it has patience.
        let (mut patience, mut failed) = (Duration::from_millis(2), 0);
        sender.send_within(&mut patience, &parts, |_, errno| {
            assert_eq!(errno, FULL);
            failed += 1;
        });
        assert!(patience.is_zero() && failed > 50, "{failed}");
    });
}

#[test]
fn an_interface_that_goes_down_is_said_once() {
    between(|_, b| {
        let ring = Ring::open(b, OPTIONS).unwrap();
        assert_eq!(ring.trouble().unwrap(), None);
        Linux::new().set_link_flags(b, 0, IFF_UP).unwrap();
        assert_eq!(ring.trouble().unwrap(), Some(100));
        assert_eq!(ring.trouble().unwrap(), None);
        assert_eq!(Ring::open(9999, OPTIONS).unwrap_err().errno, 19);
    });
}
