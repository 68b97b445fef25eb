//! Plan to eBPF instructions: assembler, listing, checker, interpreter. Never does I/O.
