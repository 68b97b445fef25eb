//! The enterprise network of the lab in namespaces: hosts, servers, traffic, scenarios.
//!
//! `tapwright lab` shows each device at work on real frames, and is the test that all of it holds together:
//! what the ends of a cable sent, what reached the other end, what the sensors saw and what the ledger says must
//! agree frame by frame. [`run`] does that for a [`scenario`]; [`mod@bench`] is a bare link for frames of one's own
//! ([`frames`]).
//!
//! Never touches an interface of the namespace it was started in, never reaches a real network, and leaves
//! nothing behind unless it is asked to keep it: namespaces are anonymous and go with the process.
//!
//! [`segment`] says what should have been on the wire, and [`checks`] compares. They share no code with what they
//! judge: the programs in the kernel and the kernel's own segmentation.

pub mod bench;
pub mod capture;
pub mod checks;
pub mod clients;
pub mod enterprise;
pub mod frames;
pub mod keep;
pub mod management;
pub mod network;
pub mod report;
pub mod run;
pub mod scenario;
pub mod segment;
pub mod servers;
pub mod traffic;
pub mod unprivileged;
pub mod virtual_ends;
