//! Whatever the parser is given.
