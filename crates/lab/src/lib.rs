//! The enterprise network of the lab in namespaces: hosts, servers, traffic, scenarios.

pub mod bench;
pub mod capture;
pub mod checks;
pub mod checksum;
pub mod clients;
pub mod enterprise;
pub mod frames;
pub mod keep;
pub mod management;
pub mod network;
pub mod packet;
pub mod report;
pub mod run;
pub mod scenario;
pub mod segment;
pub mod servers;
pub mod traffic;
pub mod virtual_ends;
