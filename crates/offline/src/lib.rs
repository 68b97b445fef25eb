//! Makes a plan true over capture files, in virtual time. No system calls beyond files.
