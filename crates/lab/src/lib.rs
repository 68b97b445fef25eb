//! The enterprise network of the lab in namespaces: hosts, servers, traffic, scenarios.
