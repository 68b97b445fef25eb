//! Every system call, and the only unsafe code.
