//! Queueing disciplines against the kernel: what is made is there, and what they count is exact.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::process::Command;
use std::time::Duration;
use sys::netns::Namespace;
use sys::packet::{Options, PacketSocket};
use sys::{H_ROOT, HtbClass, IFF_UP, Linux, QdiscSpec, QueueStats, Sys, VethSpec, handle};

/// A pair in a fresh namespace where nothing else speaks: where to send, and who receives at the other end.
struct Wire {
    linux: Linux,
    a: u32,
    receive: PacketSocket,
}

fn on_a_wire(test: impl FnOnce(Wire) + Send) {
    let namespace = Namespace::create().expect("these tests need root (CAP_SYS_ADMIN, CAP_NET_ADMIN)");
    namespace
        .run(|| {
            let mut linux = Linux::new();
            linux.create_veth(&VethSpec::new("a0", "b0")).unwrap();
            let [a, b] = ["a0", "b0"].map(|name| linux.link_by_name(name).unwrap().unwrap().index);
            for (name, index) in [("a0", a), ("b0", b)] {
                linux.sysctl_write(&format!("ipv6/conf/{name}/disable_ipv6"), "1").unwrap();
                linux.set_link_flags(index, IFF_UP, 0).unwrap();
            }
            linux.wait_ready(&["a0", "b0"], Duration::from_secs(30)).unwrap();
            let options = Options { receive: true, buffer_bytes: 64 << 20, ..Options::default() };
            let receive = PacketSocket::open(b, options).unwrap();
            test(Wire { linux, a, receive });
        })
        .unwrap();
}

impl Wire {
    fn root(&mut self, spec: &QdiscSpec) {
        self.linux.add_qdisc(self.a, H_ROOT, handle(1, 0), spec, true).unwrap();
    }

    fn leaf(&mut self, class: u32, own: u32, spec: &QdiscSpec) {
        self.linux.add_qdisc(self.a, class, own, spec, false).unwrap();
    }

    fn class(&mut self, own: u32, class: &HtbClass) {
        self.linux.set_class(self.a, handle(1, 0), own, class).unwrap();
    }

    fn qdisc(&mut self, own: u32) -> QueueStats {
        let found = self.linux.qdiscs(self.a).unwrap();
        found.iter().find(|qdisc| qdisc.handle == own).unwrap_or_else(|| panic!("{found:?}")).stats
    }

    /// Sends frames of a class, and says how many the queueing discipline refused.
    fn send(&self, class: u32, frame: &[u8], count: usize) -> usize {
        let options = Options { buffer_bytes: 64 << 20, ..Options::default() };
        let socket = PacketSocket::open(self.a, options).unwrap();
        socket.set_priority(class).unwrap();
        let mut refused = 0;
        for _ in 0..count {
            match socket.send(frame) {
                Ok(()) => {}
                Err(error) if error.errno == libc::ENOBUFS => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        refused
    }

    /// Lengths of the frames that arrive until nothing waits any more, and nothing has come for 300 ms.
    fn drain(&mut self) -> Vec<usize> {
        let mut lengths = Vec::new();
        loop {
            let got = self.receive.receive(Duration::from_millis(300)).unwrap().map(|got| got.data.len());
            match got {
                Some(length) => lengths.push(length),
                None if self.qdisc(handle(1, 0)).queued_packets == 0 => break,
                None => {}
            }
        }
        assert_eq!(self.receive.statistics().unwrap().dropped, 0, "the test's own buffer is too small");
        lengths
    }
}

fn frame(bytes: usize) -> Vec<u8> {
    [&[0xFF; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xB5], &vec![0; bytes - 14]].concat()
}

fn class(rate: u64, ceil: u64, overhead: u16, mpu: u16) -> HtbClass {
    HtbClass {
        rate_bytes_s: rate,
        ceil_bytes_s: ceil,
        burst_bytes: 1600,
        cburst_bytes: 1600,
        quantum_bytes: 1600,
        overhead_bytes: overhead,
        mpu_bytes: mpu,
        priority: 0,
    }
}

const HTB: QdiscSpec = QdiscSpec::Htb { default_class: 0x10, direct_packets: 2 };

/// Slow enough that nothing but the first burst leaves while a test fills a queue. A class that waits goes on
/// waiting when it is given more: the new rate counts from the next frame on.
const CRAWL: u64 = 500;

#[test]
fn tc_reads_the_tree_as_it_was_meant() {
    on_a_wire(|mut wire| {
        wire.root(&HTB);
        wire.class(handle(1, 0x10), &class(6_250_000_000, 12_500_000_000, 24, 84));
        wire.leaf(handle(1, 0x10), handle(0x10, 0), &QdiscSpec::Bfifo { limit_bytes: 1 << 20 });
        wire.class(handle(1, 0x11), &class(6_250_000, 12_500_000, 24, 84));
        let tbf = QdiscSpec::Tbf { rate_bytes_s: 1_000_000_000_000, burst_bytes: 1518, limit_bytes: 1 << 20 };
        wire.leaf(handle(1, 0x11), handle(0x11, 0), &tbf);
        let classes = wire.linux.classes(wire.a).unwrap();
        let seen: Vec<(u32, u32, &str)> =
            classes.iter().map(|class| (class.handle, class.leaf, class.kind.as_str())).collect();
        let htb: Vec<_> = seen.iter().filter(|(_, _, kind)| *kind == "htb").collect();
        assert_eq!(htb, [&(0x1_0010, 0x10_0000, "htb"), &(0x1_0011, 0x11_0000, "htb")], "{seen:?}");
        let tc = |what: &str| {
            let output = Command::new("tc").args(["-d", what, "show", "dev", "a0"]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let text = tc("class");
        for part in
            ["rate 50Gbit", "ceil 100Gbit", "rate 50Mbit", "mpu 84b", "overhead 24 ", "linklayer ethernet"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let text = tc("qdisc");
        for part in
            ["htb 1: root", "default 0x10", "direct_qlen 2", "bfifo 10: parent 1:10 limit 1Mb", "tbf 11:"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        wire.linux.delete_qdisc(wire.a, H_ROOT, handle(1, 0)).unwrap();
        let left = wire.linux.qdiscs(wire.a).unwrap();
        assert_eq!((left.len(), left[0].kind.as_str(), left[0].handle), (1, "noqueue", 0));
        let error = wire.linux.set_class(wire.a, handle(1, 0), handle(1, 1), &class(1, 1, 0, 0)).unwrap_err();
        assert_eq!(error.call, "RTM_NEWTCLASS", "{error}");
    });
}

#[test]
fn each_side_has_its_own_buffer_and_counts_its_own_drops() {
    on_a_wire(|mut wire| {
        wire.root(&HTB);
        for side in [0x10, 0x11] {
            wire.class(handle(1, side), &class(CRAWL, CRAWL, 0, 0));
            wire.leaf(handle(1, side), handle(side, 0), &QdiscSpec::Bfifo { limit_bytes: 10_000 });
        }
        let refused = wire.send(handle(1, 0x10), &frame(1000), 50);
        let small = wire.send(handle(1, 0x11), &frame(100), 20);
        let (full, room) = (wire.qdisc(handle(0x10, 0)), wire.qdisc(handle(0x11, 0)));
        assert!(small == 0 && room.drops == 0, "the other side still has room: {room:?}");
        assert_eq!(full.drops, u64::try_from(refused).unwrap());
        assert_eq!(full.packets + full.drops + u64::from(full.queued_packets), 50);
        assert!(full.queued_bytes <= 10_000 && full.queued_packets >= 9, "{full:?}");
        assert_eq!(full.queued_bytes, full.queued_packets * 1000);
        // What is in the queue leaves when the rate allows it, and then the sums are exact.
        for side in [0x10, 0x11] {
            wire.class(handle(1, side), &class(100_000_000, 100_000_000, 0, 0));
        }
        let lengths = wire.drain();
        let of = |bytes: usize| lengths.iter().filter(|length| **length == bytes).count();
        assert_eq!((of(1000) + refused, of(100)), (50, 20));
        let (full, root) = (wire.qdisc(handle(0x10, 0)), wire.qdisc(handle(1, 0)));
        assert_eq!((full.packets, full.queued_packets), (u64::try_from(of(1000)).unwrap(), 0));
        assert_eq!((root.packets, root.drops), (full.packets + 20, full.drops));
        assert_eq!(root.bytes, full.bytes + 2000);
    });
}

#[test]
fn pfifo_counts_frames() {
    on_a_wire(|mut wire| {
        wire.root(&HTB);
        wire.class(handle(1, 0x10), &class(CRAWL, CRAWL, 0, 0));
        wire.leaf(handle(1, 0x10), handle(0x10, 0), &QdiscSpec::Pfifo { limit_packets: 5 });
        let refused = wire.send(0, &frame(1500), 20);
        let stats = wire.qdisc(handle(0x10, 0));
        assert_eq!(stats.queued_packets, 5);
        assert_eq!((stats.drops, stats.packets), (u64::try_from(refused).unwrap(), 15 - stats.drops));
    });
}

/// What one frame costs, in bytes: a class is given a bucket of 100 000 and next to no rate, and the frames that
/// leave at once are counted. No clock is in it but the 400 bytes a second that flow in meanwhile.
fn cost_of_a_frame(overhead: u16, mpu: u16, bytes: usize) -> f64 {
    const BUCKET: u32 = 100_000;
    let (sender, result) = std::sync::mpsc::channel();
    on_a_wire(move |mut wire| {
        wire.root(&HTB);
        let bucket = HtbClass { burst_bytes: BUCKET, cburst_bytes: BUCKET, ..class(400, 400, overhead, mpu) };
        wire.class(handle(1, 0x10), &bucket);
        wire.leaf(handle(1, 0x10), handle(0x10, 0), &QdiscSpec::Pfifo { limit_packets: 10_000 });
        wire.send(0, &frame(bytes), 4000);
        let stats = wire.qdisc(handle(0x10, 0));
        assert!(stats.queued_packets > 0 && stats.drops == 0, "{stats:?}");
        sender.send(f64::from(BUCKET) / f64::from(u32::try_from(stats.packets).unwrap())).unwrap();
    });
    result.recv().unwrap()
}

#[test]
fn htb_counts_wire_bytes() {
    for (overhead, mpu, bytes, cost) in
        [(0, 0, 100, 100.0), (24, 0, 100, 124.0), (0, 84, 30, 84.0), (24, 84, 60, 84.0), (24, 84, 30, 84.0)]
    {
        let found = cost_of_a_frame(overhead, mpu, bytes);
        // 5 % is twelve seconds of inflow; counted wrong, it would be off by a fifth at least.
        assert!(
            (0.95..1.01).contains(&(found / cost)),
            "overhead {overhead} mpu {mpu}: {bytes} cost {found:.1}"
        );
    }
}

/// A TCP super-frame of `segments` times 1000 bytes, with the header that lets a packet socket send it.
fn super_frame(segments: u16) -> Vec<u8> {
    let payload = usize::from(segments) * 1000;
    let length = u16::try_from(40 + payload).unwrap();
    let mut ip = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&length.to_be_bytes());
    let mut tcp = [0_u8; 20];
    tcp[..4].copy_from_slice(&[0x10, 0, 0, 80]);
    tcp[12] = 0x50;
    tcp[13] = 0x10;
    // flags 1 (checksum to be worked out), type 1 (TCP over IPv4), header 54, segment 1000, checksum at 34 + 16.
    let mut head = vec![1, 1];
    for number in [54_u16, 1000, 34, 16] {
        head.extend_from_slice(&number.to_ne_bytes());
    }
    [&head[..], &[0xFF; 6], &[2, 0, 0, 0, 0, 1], &[8, 0], &ip, &tcp, &vec![7; payload]].concat()
}

fn send_super_frames(wire: &Wire, segments: u16, count: usize) -> usize {
    let options = Options { offload_header: true, buffer_bytes: 64 << 20, ..Options::default() };
    let socket = PacketSocket::open(wire.a, options).unwrap();
    let frame = super_frame(segments);
    (0..count).filter(|_| socket.send(&frame).is_err_and(|error| error.errno == libc::ENOBUFS)).count()
}

const CUTTER: QdiscSpec =
    QdiscSpec::Tbf { rate_bytes_s: 1_000_000_000_000, burst_bytes: 1518, limit_bytes: 100_000 };

#[test]
fn a_tbf_leaf_cuts_super_frames_and_keeps_count() {
    on_a_wire(|mut wire| {
        wire.root(&HTB);
        wire.class(handle(1, 0x10), &class(CRAWL, CRAWL, 24, 84));
        wire.leaf(handle(1, 0x10), handle(0x10, 0), &CUTTER);
        assert_eq!(send_super_frames(&wire, 20, 4), 0);
        let (leaf, root) = (wire.qdisc(handle(0x10, 0)), wire.qdisc(handle(1, 0)));
        let sent = u32::try_from(leaf.packets).unwrap();
        assert_eq!(leaf.queued_packets, 80 - sent, "{leaf:?}");
        assert_eq!(leaf.queued_bytes, (80 - sent) * 1054);
        assert_eq!((root.queued_packets, root.queued_bytes), (leaf.queued_packets, leaf.queued_bytes));
        wire.class(handle(1, 0x10), &class(10_000_000, 10_000_000, 24, 84));
        let lengths = wire.drain();
        assert_eq!(lengths, vec![1054; 80], "every frame arrives alone, and of its own size");
        let (leaf, root) = (wire.qdisc(handle(0x10, 0)), wire.qdisc(handle(1, 0)));
        for stats in [leaf, root] {
            assert_eq!((stats.queued_packets, stats.queued_bytes, stats.drops), (0, 0, 0), "{stats:?}");
            assert_eq!((stats.packets, stats.bytes), (80, 80 * 1054));
        }
    });
}

#[test]
fn a_tbf_leaf_that_is_full_drops_wire_frames() {
    on_a_wire(|mut wire| {
        wire.root(&HTB);
        wire.class(handle(1, 0x10), &class(CRAWL, CRAWL, 24, 84));
        wire.leaf(handle(1, 0x10), handle(0x10, 0), &CUTTER);
        // 100 000 bytes hold 94 frames of 1054; 160 come, the fifth super-frame is cut in two by the end of it.
        let refused = send_super_frames(&wire, 20, 8);
        let leaf = wire.qdisc(handle(0x10, 0));
        assert_eq!(leaf.packets + leaf.drops + u64::from(leaf.queued_packets), 160, "{leaf:?}");
        assert_eq!(leaf.queued_packets, 94);
        let root = wire.qdisc(handle(1, 0));
        assert_eq!((root.queued_packets, root.queued_bytes), (94, 94 * 1054), "{root:?}, refused {refused}");
        wire.class(handle(1, 0x10), &class(10_000_000, 10_000_000, 24, 84));
        let arrived = wire.drain().len();
        let leaf = wire.qdisc(handle(0x10, 0));
        assert_eq!(u64::try_from(arrived).unwrap() + leaf.drops, 160);
        assert_eq!((leaf.packets, leaf.queued_packets), (u64::try_from(arrived).unwrap(), 0));
    });
}

#[test]
fn a_bfifo_leaf_lets_super_frames_through_whole() {
    on_a_wire(|mut wire| {
        wire.root(&HTB);
        wire.class(handle(1, 0x10), &class(1_000_000, 1_000_000, 24, 84));
        wire.leaf(handle(1, 0x10), handle(0x10, 0), &QdiscSpec::Bfifo { limit_bytes: 100_000 });
        assert_eq!(send_super_frames(&wire, 20, 2), 0);
        assert_eq!(wire.drain(), [20_054, 20_054], "what arrives is no wire frame");
        let leaf = wire.qdisc(handle(0x10, 0));
        // Bytes are those of the segments. Frames are counted by `gso_segs`, which the stack sets, and which is 0
        // where the super-frame comes from outside: a packet socket, a virtual machine.
        assert_eq!((leaf.packets, leaf.bytes), (0, 2 * 20 * 1054));
    });
}
