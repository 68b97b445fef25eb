//! The command line of Tapwright.

fn main() {}
