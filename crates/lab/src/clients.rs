//! The clients of the lab: ping, DNS, HTTP and a mail client that says hello and goodbye.
//!
//! Each runs in the namespace of the calling thread, waits a bounded time, and gives one line about what
//! happened, or one about what did not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, QCLASS, Question, RCODE, TYPE};
use socket2::{Domain, Protocol, Socket, Type};
use wire::checksum::internet;

/// How long any client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a client has to say: a line, or why there is none.
pub type Told = Result<String, String>;

/// Octets of data in an echo request, as `ping` sends.
const ECHO_DATA: usize = 56;

/// Sends `count` echo requests, each after the answer to the one before (RFC 792, RFC 4443).
pub fn ping(to: IpAddr, count: u16, id: u16) -> Told {
    let mut slowest = Duration::ZERO;
    for sequence in 0..count {
        let begun = Instant::now();
        echo(to, id, sequence).map_err(|error| format!("sequence {sequence}: {error}"))?;
        slowest = slowest.max(begun.elapsed());
    }
    Ok(format!("{count} sent, {count} answered, slowest {:.3} ms", slowest.as_secs_f64() * 1000.0))
}

fn echo(to: IpAddr, id: u16, sequence: u16) -> io::Result<()> {
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8u8, 0u8),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    let mut message = vec![request, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend((0u8..=255).cycle().take(ECHO_DATA));
    if to.is_ipv4() {
        // For ICMPv6 the kernel computes it: only it knows the source address of the pseudo-header.
        let sum = internet(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    socket.send_to(&message, &SocketAddr::new(to, 0).into())?;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 1500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let len = (&socket).read(&mut buffer).map_err(timed_out)?;
        // A raw IPv4 socket gives the IP header too, an IPv6 one does not.
        let start = if to.is_ipv4() { usize::from(buffer[0] & 15) * 4 } else { 0 };
        let answer = buffer[..len].get(start..).unwrap_or_default();
        if answer.first() == Some(&reply) && answer.get(4..) == message.get(4..) {
            return Ok(());
        }
    }
}

/// A read that ran out of time says so in plain words.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// Asks `server` for the addresses of `name` in one family.
pub fn resolve(server: IpAddr, name: &str, v6: bool, id: u16) -> Result<Vec<IpAddr>, String> {
    let ask = || -> io::Result<Vec<u8>> {
        let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(local)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(SocketAddr::new(server, 53))?;
        let kind = if v6 { TYPE::AAAA } else { TYPE::A };
        let mut packet = Packet::new_query(id);
        packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
        let name = Name::new(name).map_err(io::Error::other)?;
        packet.questions.push(Question::new(name, kind.into(), QCLASS::CLASS(CLASS::IN), false));
        socket.send(&packet.build_bytes_vec().map_err(io::Error::other)?)?;
        let mut buffer = [0; 1500];
        let len = socket.recv(&mut buffer).map_err(timed_out)?;
        Ok(buffer[..len].to_vec())
    };
    let bytes = ask().map_err(|error| error.to_string())?;
    let reply = Packet::parse(&bytes).map_err(|error| format!("answer: {error}"))?;
    if reply.id() != id || reply.rcode() != RCODE::NoError {
        return Err(format!("answer {} with code {:?}", reply.id(), reply.rcode()));
    }
    let addresses = reply.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
        _ => None,
    });
    Ok(addresses.collect())
}

/// [`resolve`], told in a line; the answer must be `expected` and nothing else.
pub fn dns(server: IpAddr, name: &str, expected: IpAddr, id: u16) -> Told {
    let addresses = resolve(server, name, expected.is_ipv6(), id)?;
    if addresses != [expected] {
        return Err(format!("answered {addresses:?}, not {expected}"));
    }
    Ok(format!("{} {expected}", if expected.is_ipv6() { "AAAA" } else { "A" }))
}

/// Fetches `path` of `site` from the server at `to`; the body must be `expected`.
pub fn http(to: IpAddr, site: &str, path: &str, expected: &[u8]) -> Told {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        // The environment of the user has no say in here.
        .proxy(None)
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let url = format!("http://{}{path}", SocketAddr::new(to, 80));
    let request = agent.get(url).header("Host", site).header("Connection", "close");
    let mut response = request.call().map_err(|error| error.to_string())?;
    let body = response.body_mut().read_to_vec().map_err(|error| error.to_string())?;
    if body != expected {
        return Err(format!("{} octets that differ from the {} served", body.len(), expected.len()));
    }
    Ok(format!("{}, {} octets", response.status().as_u16(), body.len()))
}

/// Hears the greeting of the mail host at `to`, and leaves.
pub fn mail(to: IpAddr) -> Told {
    let talk = || -> io::Result<String> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(to, 25), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(&stream);
        let mut greeting = String::new();
        reader.read_line(&mut greeting).map_err(timed_out)?;
        (&stream).write_all(b"QUIT\r\n")?;
        let mut goodbye = String::new();
        reader.read_line(&mut goodbye).map_err(timed_out)?;
        if !greeting.starts_with("220 ") || !goodbye.starts_with("221 ") {
            return Err(io::Error::other(format!("{greeting:?}, {goodbye:?}")));
        }
        Ok(greeting.trim_end().to_owned())
    };
    talk().map_err(|error| error.to_string())
}
