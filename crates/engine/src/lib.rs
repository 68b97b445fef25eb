//! Makes a plan true on this machine, and reads the ledger back.
