//! From wherever it is called: `ip netns exec`, other mount namespaces, another process. And no where it must be no.

use std::path::PathBuf;
use std::process::{Command, Output};

use lab::enterprise::TAP;
use proof::binary::{self, ConfigFile};
use proof::device::{Attach, PORT_AGGREGATOR};
use proof::rig::Rig;
use proof::sender::numbered;
use sys::{Address, IFF_UP, QdiscSpec, Route, Sys, VethSpec};

/// Names a namespace while it lives.
struct Named(String);

impl Named {
    fn new(rig: &Rig) -> Self {
        let name = format!("tapwright-proof-{}", std::process::id());
        let (_, namespace) =
            rig.network().hosts().find(|(host, _)| *host == TAP).expect("there is a tap box");
        namespace.bind(&name).expect("a name that is not taken");
        Self(name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // What cannot be removed is said by the next test that wants the name.
        let _ = sys::netns::remove(&self.0);
    }
}

/// Runs `tapwright` as a user would, in front of whatever puts it in another place.
fn tapwright(before: &[&str], arguments: &[&str]) -> Output {
    let (first, rest) = before.split_first().expect("something in front");
    let mut command = Command::new(first);
    command.args(rest).arg(binary::path()).args(arguments);
    let output = command.output().unwrap_or_else(|error| panic!("{first}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{before:?} {arguments:?}: {}\n{said}", output.status);
    output
}

#[test]
fn privileged_up_by_ip_netns_exec_is_seen_from_everywhere() {
    let _alone = proof::alone();
    let rig = Rig::new(&PORT_AGGREGATOR.cables(), 1500);
    let named = Named::new(&rig);
    let config = ConfigFile::new(&PORT_AGGREGATOR.config(Attach::Tcx));
    // `ip netns exec` has a mount namespace of its own, with a /sys of its own and no bpffs.
    let exec = ["ip", "netns", "exec", &named.0];
    tapwright(&exec, &["up", config.path()]);
    let frames: Vec<Vec<u8>> = (0..100).map(|number| numbered(1, number)).collect();
    rig.send(rig.far("a"), &frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let expected = rig.settled();
    assert_eq!(expected.monitors["m1"].sent, 100, "{expected}");

    let net = format!("--net=/run/netns/{}", named.0);
    let places: [&[&str]; 3] = [
        &exec,
        &["nsenter", &net, "unshare", "--mount"],
        &["nsenter", &net, "unshare", "--mount", "--pid", "--fork"],
    ];
    for place in places {
        let status = binary::ledger(&tapwright(place, &["status", "--json"]));
        assert_eq!(status, expected, "{place:?}");
        let again = tapwright(place, &["up", config.path()]);
        assert!(String::from_utf8_lossy(&again.stdout).contains("already up: nothing changed"), "{place:?}");
    }
    tapwright(places[1], &["down"]);
    let said = rig.on_tap(engine::status).expect_err("it is down").to_string();
    assert!(said.starts_with("no tap is up in this network namespace"), "{said}");
}

/// Everything that `up` could have changed, as the kernel shows it, without counters.
fn dump(rig: &Rig) -> String {
    rig.on_tap(|sys| {
        let mut text = String::new();
        for link in sys.links()? {
            let mut link = link;
            link.stats = Default::default();
            let qdiscs: Vec<_> =
                sys.qdiscs(link.index)?.into_iter().map(|q| (q.kind, q.handle, q.parent)).collect();
            let programs = [
                sys.tcx_query(link.index, sys::Hook::Ingress)?,
                sys.tcx_query(link.index, sys::Hook::Egress)?,
            ];
            let ipv6 = sys.sysctl_read(&format!("ipv6/conf/{}/disable_ipv6", link.name))?;
            let features = sys.features(&link.name)?;
            text.push_str(&format!("{link:?}\n{qdiscs:?} {programs:?} {ipv6}\n{features:?}\n"));
        }
        text.push_str(&format!("{:?}\n{:?}\n", sys.addresses()?, sys.routes()?));
        sys::Result::Ok(text)
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

/// A reason to refuse, and what it takes.
struct Case {
    name: &'static str,
    config: String,
    spoil: fn(&Rig),
}

fn address(rig: &Rig, port: &str, ip: &str, prefix: u8) {
    let ip = ip.parse().expect("an address");
    rig.at(&rig.near(port), |sys, ifindex| {
        sys.add_address(&Address { ifindex, ip, prefix, scope: 0, flags: 0x80, broadcast: None })
    });
}

fn cases() -> Vec<Case> {
    let plain = || PORT_AGGREGATOR.config(Attach::Tcx);
    let case = |name, config: String, spoil: fn(&Rig)| Case { name, config, spoil };
    vec![
        case("an interface is missing", plain().replace("interface = \"b\"", "interface = \"bb\""), |_| {}),
        case("an interface is used twice", plain().replace("interface = \"b\"", "interface = \"a\""), |_| {}),
        case("the default route", plain(), |rig| {
            address(rig, "a", "192.0.2.1", 24);
            rig.at(&rig.near("a"), |sys, index| {
                let via = Some(std::net::IpAddr::from([192, 0, 2, 254]));
                sys.add_route(&Route { destination: None, v6: false, via, ifindexes: vec![index] })
            });
        }),
        case("global addresses", plain(), |rig| {
            address(rig, "b", "192.0.2.1", 24);
            address(rig, "m1", "2001:db8::1", 64);
        }),
        case("enslaved", plain(), |rig| {
            rig.at(&rig.near("a"), |sys, index| {
                sys.create_bridge("br0")?;
                let bridge = sys.link_by_name("br0")?.expect("it was just made");
                sys.set_link_flags(bridge.index, IFF_UP, 0)?;
                sys.set_master(index, Some(bridge.index))
            });
        }),
        case("MTUs differ", plain(), |rig| rig.at(&rig.near("b"), |sys, index| sys.set_mtu(index, 1400))),
        case(
            "a queueing discipline of its own",
            plain().replace("\"m1\", a", "\"m1\", rate = \"1Gbit\", a"),
            |rig| {
                rig.at(&rig.near("m1"), |sys, index| {
                    let spec = QdiscSpec::Pfifo { limit_packets: 10 };
                    sys.add_qdisc(index, sys::H_ROOT, sys::handle(5, 0), &spec, false)
                });
            },
        ),
        case(
            "a virtual interface whose name is taken",
            proof::device::DEVICES[7].config(Attach::Tcx),
            |rig| {
                rig.on_tap(|sys| sys.create_veth(&VethSpec::new("ngeth0", "other"))).expect("a veth");
            },
        ),
    ]
}

#[test]
fn privileged_up_refuses_and_changes_nothing() {
    let _alone = proof::alone();
    let mut said = String::new();
    for case in cases() {
        let rig = Rig::new(&["a", "b", "m1", "x", "y"], 1500);
        (case.spoil)(&rig);
        // Duplicate detection and its like are over when two looks are the same.
        let before =
            proof::wait::until("the box rests", || [dump(&rig), dump(&rig)], |[a, b]| a == b)[0].clone();
        let config = ConfigFile::new(&case.config);
        let output = binary::run(&rig, &["up", config.path()]);
        assert_eq!(output.status.code(), Some(1), "{}", case.name);
        assert_eq!(dump(&rig), before, "{}: something was changed", case.name);
        let words = String::from_utf8_lossy(&output.stderr).replace(config.path(), "config.toml");
        said.push_str(&format!("# {}\n{words}\n", case.name));
    }
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/refusals.txt");
    if std::env::var_os("TAPWRIGHT_BLESS").is_some() {
        std::fs::write(&golden, &said).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&golden).expect("the golden file can be read");
    assert_eq!(said, expected, "run `cargo xtask bless` if this is meant");
}
