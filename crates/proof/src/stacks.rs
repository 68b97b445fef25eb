//! Traffic of real TCP/IP stacks at the ends, offloads as the kernel makes them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lab::enterprise::End;
use sys::{Hook, IFF_UP, Place, ProgKind, ProgSpec, Sys};

use crate::rig::Rig;

/// The least that a transfer may make in this time without being called dead.
const STALLED: Duration = Duration::from_secs(20);
/// The port of the server.
const PORT: u16 = 5001;
/// Octets handed to the kernel in one call.
const CHUNK: usize = 256 << 10;

/// Addresses of an end: host number `n` in network number `net`, in both families (RFC 5737, RFC 3849).
pub fn addresses(net: u8, host: u8) -> (IpAddr, IpAddr) {
    let v4 = Ipv4Addr::new(198, 51, 100, net * 16 + host);
    (v4.into(), Ipv6Addr::new(0x2001, 0xdb8, u16::from(net), 0, 0, 0, 0, u16::from(host)).into())
}

/// Gives an interface its addresses.
///
/// # Panics
/// Where the kernel refuses them.
pub fn address(rig: &Rig, end: &End, net: u8, host: u8) {
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = addresses(net, host) else { unreachable!("one of each family") };
    rig.network().address(end, (v4, 28), (v6, 64)).unwrap_or_else(|error| panic!("{error}"));
}

/// Has an interface send every frame with a tag of this VLAN, and take the tag off what it receives, as a VLAN device
/// on top of it would (which not every kernel has). Super-frames stay whole, with one tag. Programs
/// that are there already run afterwards.
///
/// # Panics
/// Where the kernel refuses the programs.
pub fn tag(rig: &Rig, end: &End, vlan: u16) {
    // Instructions of BPF: move an immediate into a register, call a helper, exit.
    let mov = |register: u64, value: u64| 0xb7 | register << 8 | value << 32;
    let call = |helper: u64| 0x85 | helper << 32;
    let next = u64::from(u32::MAX); // TCX_NEXT
    let protocol = u64::from(0x8100_u16.to_be());
    // bpf_skb_vlan_push(r1 = skb, r2 = protocol, r3 = tag) and bpf_skb_vlan_pop(r1 = skb)
    let push = [mov(2, protocol), mov(3, u64::from(vlan)), call(18), mov(0, next), 0x95];
    let pop = [call(19), mov(0, next), 0x95];
    rig.at(end, |sys, index| {
        for (hook, insns) in [(Hook::Egress, &push[..]), (Hook::Ingress, &pop)] {
            let (kind, license, name) = (ProgKind::SCHED_CLS, "Dual MIT/GPL", "proof_tag");
            let prog = sys.prog_load(&ProgSpec { kind, attach_type: 0, insns, license, name, flags: 0 })?;
            sys.tcx_attach(index, hook, prog, Place::First)?;
        }
        Ok(())
    });
}

/// Takes the ends down: from here on their stacks say nothing.
///
/// # Panics
/// Where the kernel refuses it.
pub fn silence(rig: &Rig, ends: &[End]) {
    for end in ends {
        rig.at(end, |sys, index| sys.set_link_flags(index, 0, IFF_UP));
    }
}

/// Sends so many octets over one TCP connection, and has the server check every one.
///
/// # Panics
/// Where the connection fails, stalls, or brings other octets than were sent.
pub fn transfer(rig: &Rig, from: &str, to: &str, server: IpAddr, octets: usize) {
    let listen = || TcpListener::bind(SocketAddr::new(server, PORT));
    let listener = rig.network().inside(to, listen).expect("the host can be entered").expect("a server");
    let connect = || TcpStream::connect_timeout(&SocketAddr::new(server, PORT), STALLED);
    let mut client =
        rig.network().inside(from, connect).expect("the host can be entered").expect("a connection");
    let (mut served, _) = listener.accept().expect("the client has connected");
    client.set_write_timeout(Some(STALLED)).expect("a time that is not zero");
    served.set_read_timeout(Some(STALLED)).expect("a time that is not zero");
    let pattern: Vec<u8> = (0..=250u8).cycle().take(CHUNK + 251).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sent = 0;
            while sent < octets {
                let at = sent % 251;
                let take = CHUNK.min(octets - sent);
                client.write_all(&pattern[at..at + take]).expect("the connection takes it in time");
                sent += take;
            }
            client.shutdown(Shutdown::Write).expect("it is connected");
        });
        let (mut got, mut buffer) = (0, vec![0; CHUNK]);
        loop {
            let read = served.read(&mut buffer).expect("the connection brings something in time");
            if read == 0 {
                break;
            }
            let at = got % 251;
            assert!(
                buffer[..read] == pattern[at..at + read],
                "octets changed between {got} and {}",
                got + read
            );
            got += read;
        }
        assert_eq!(got, octets, "octets that arrived");
    });
}
