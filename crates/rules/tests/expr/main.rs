//! Expressions of tcpdump: golden files of what is read and refused, what they mean, and properties.

mod golden;
mod listing;
mod meaning;
mod properties;
