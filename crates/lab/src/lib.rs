//! The enterprise network of the lab in namespaces: hosts, servers, traffic, scenarios.

pub mod checksum;
pub mod clients;
pub mod frames;
pub mod packet;
pub mod segment;
pub mod servers;
