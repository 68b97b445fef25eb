//! The servers of the lab: HTTP, DNS, and a mail host that greets.
//!
//! Each binds its socket on the calling thread, which is in its host's namespace, and then serves on a thread
//! of its own that inherits the namespace. They stop when their [`Server`] is dropped.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

/// How long a server waits for a request before it looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(50);

/// How long a server waits for the rest of something that was begun.
const PATIENCE: Duration = Duration::from_secs(2);

/// Octets of the large page: enough for super-frames at a sender with segmentation offload.
pub const LARGE_PAGE: usize = 200_000;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(name: &str, serve: impl FnOnce(&AtomicBool) + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(&seen))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has already said so on stderr; its clients fail and the run with them.
            let _ = thread.join();
        }
    }
}

/// Every address of the host, IPv4 too.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

/// Serves `/`, a small page that names `site`, and `/large`, [`LARGE_PAGE`] octets, on port 80.
pub fn http(site: &'static str) -> io::Result<Server> {
    let server = tiny_http::Server::http(any(80)).map_err(io::Error::other)?;
    Server::start("http", move |stop| {
        while !stop.load(Ordering::Relaxed) {
            if let Ok(Some(request)) = server.recv_timeout(LOOK_UP) {
                let response = match request.url() {
                    "/" => page(small_page(site).into_bytes(), "text/html; charset=utf-8"),
                    "/large" => page(large_page(), "text/plain; charset=utf-8"),
                    _ => page(b"not here\n".to_vec(), "text/plain; charset=utf-8").with_status_code(404),
                };
                // A client that went away has its own error to tell.
                let _ = request.respond(response);
            }
        }
    })
}

fn page(body: Vec<u8>, kind: &str) -> tiny_http::Response<io::Cursor<Vec<u8>>> {
    let kind = tiny_http::Header::from_bytes("Content-Type", kind).expect("a header of ASCII letters");
    tiny_http::Response::from_data(body).with_header(kind).with_chunked_threshold(usize::MAX)
}

/// The page at `/`.
pub fn small_page(site: &str) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><title>{site}</title></head>\n<body>\n<h1>{site}</h1>\n"
    );
    for line in 1..=24 {
        page.push_str(&format!(
            "<p>Line {line}: this page crossed a network that someone was watching.</p>\n"
        ));
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// The page at `/large`: numbered lines.
pub fn large_page() -> Vec<u8> {
    let lines = (0u32..)
        .flat_map(|line| format!("{line:08} the quick brown fox jumps over the lazy dog\n").into_bytes());
    lines.take(LARGE_PAGE).collect()
}

/// A name and its addresses.
pub type Record = (&'static str, Vec<IpAddr>);

/// Answers for the names of `zone` on UDP port 53; asks `upstream`, where there is one, about all others.
pub fn dns(zone: Vec<Record>, upstream: Option<IpAddr>) -> io::Result<Server> {
    let socket = UdpSocket::bind(any(53))?;
    socket.set_read_timeout(Some(LOOK_UP))?;
    Server::start("dns", move |stop| {
        let mut buffer = [0; 1500];
        while !stop.load(Ordering::Relaxed) {
            let Ok((len, client)) = socket.recv_from(&mut buffer) else { continue };
            if let Some(answer) = answer(&buffer[..len], &zone, upstream) {
                // A lost answer shows as a question without one.
                let _ = socket.send_to(&answer, client);
            }
        }
    })
}

/// The answer to one question; `None` for what is no question, as servers keep silent then.
fn answer(query: &[u8], zone: &[Record], upstream: Option<IpAddr>) -> Option<Vec<u8>> {
    let packet = Packet::parse(query).ok().filter(|packet| !packet.has_flags(PacketFlag::RESPONSE))?;
    let question = packet.questions.first()?.clone();
    let name = question.qname.to_string();
    let ours = zone.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim_end_matches('.')));
    if let (None, Some(server)) = (ours, upstream) {
        return relay(query, server).ok();
    }
    let mut reply = packet.into_reply();
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    match ours {
        None => *reply.rcode_mut() = RCODE::NameError,
        Some((_, addresses)) => {
            for address in addresses {
                let (kind, data) = match address {
                    IpAddr::V4(v4) => (TYPE::A, RData::A(A { address: u32::from(*v4) })),
                    IpAddr::V6(v6) => (TYPE::AAAA, RData::AAAA(AAAA { address: u128::from(*v6) })),
                };
                if question.qtype == QTYPE::TYPE(kind) || question.qtype == QTYPE::ANY {
                    reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 300, data));
                }
            }
        }
    }
    reply.build_bytes_vec_compressed().ok()
}

/// Passes a question on, and the answer back.
fn relay(query: &[u8], server: IpAddr) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(any(0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mapped = match server {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    socket.connect(SocketAddr::from((mapped, 53)))?;
    socket.send(query)?;
    let mut buffer = [0; 1500];
    let len = socket.recv(&mut buffer)?;
    Ok(buffer[..len].to_vec())
}

/// Greets on TCP port 25 and says goodbye to whoever says `QUIT` (RFC 5321); takes no mail.
pub fn mail(name: &'static str) -> io::Result<Server> {
    let listener = TcpListener::bind(any(25))?;
    listener.set_nonblocking(true)?;
    Server::start("mail", move |stop| {
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                // A client that went away has its own error to tell.
                Ok((stream, _)) => drop(greet(&stream, name)),
                Err(_) => std::thread::park_timeout(LOOK_UP),
            }
        }
    })
}

fn greet(stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut out = stream;
    out.write_all(format!("220 {name} ESMTP the lab's\r\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let reply = if line.eq_ignore_ascii_case("QUIT\r\n") { "221 goodbye\r\n" } else { "502 only QUIT\r\n" };
    out.write_all(reply.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use simple_dns::{Name, QCLASS, Question};

    use super::*;

    fn zone() -> [Record; 1] {
        [("www.example.net", vec![IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10))])]
    }

    fn query(name: &'static str) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let question =
            Question::new(Name::new_unchecked(name), TYPE::A.into(), QCLASS::CLASS(CLASS::IN), false);
        packet.questions.push(question);
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn a_known_name_is_answered_and_an_unknown_one_refused() {
        let bytes = answer(&query("WWW.example.net"), &zone(), None).unwrap();
        let reply = Packet::parse(&bytes).unwrap();
        assert_eq!((reply.id(), reply.answers.len(), reply.rcode()), (7, 1, RCODE::NoError));
        let bytes = answer(&query("nowhere.example.net"), &zone(), None).unwrap();
        assert_eq!(Packet::parse(&bytes).unwrap().rcode(), RCODE::NameError);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let reply = answer(&query("www.example.net"), &zone(), None).unwrap();
        assert_eq!(answer(&reply, &zone(), None), None);
        assert_eq!(answer(b"nonsense", &zone(), None), None);
        assert_eq!(answer(&[], &zone(), None), None);
    }

    #[test]
    fn the_large_page_has_its_length() {
        assert_eq!(large_page().len(), LARGE_PAGE);
    }
}
