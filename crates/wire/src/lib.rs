//! Bytes and headers: frames, link types, capture formats (bytes in, records out), one-line printing.
//!
//! Never does I/O, never reads a clock, never allocates in proportion to anything but its input.

pub mod capture;
pub mod checksum;
mod frame;
pub mod headers;
pub mod print;

pub use frame::{Frame, LinkType, MacAddress, Tag, Vlan};
