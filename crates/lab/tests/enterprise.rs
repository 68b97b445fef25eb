//! The enterprise without any tap: every client is served. Needs root.

use lab::network::Network;
use lab::scenario::{Layout, Traffic};
use lab::traffic;

#[test]
fn every_client_is_served_and_nothing_is_left_behind() {
    let network = Network::enterprise(&Layout::default(), 1500)
        .expect("this test makes network namespaces: run it as root");
    network.wake().unwrap();
    let servers = traffic::serve(&network).unwrap();
    let exchanges = traffic::run(&network, Traffic::Management).unwrap();
    drop(servers);
    assert!(exchanges.len() >= 13);
    for exchange in exchanges {
        assert!(exchange.ok, "{} {}: {}", exchange.host, exchange.what, exchange.result);
    }
}
