//! What the form means: rules of which one decides, spreads over sensors, header fields, tables.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod fields;
mod frames;
mod inner;
mod rulesets;
mod spreads;
mod tables;
