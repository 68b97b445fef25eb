//! The enterprise network of the lab in namespaces: hosts, servers, traffic, scenarios.

pub mod checks;
pub mod checksum;
pub mod clients;
pub mod enterprise;
pub mod frames;
pub mod packet;
pub mod scenario;
pub mod segment;
pub mod servers;
