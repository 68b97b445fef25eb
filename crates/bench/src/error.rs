//! What can go wrong in a measurement, in words: a benchmark has nobody to match on its errors.

use std::fmt;

/// What went wrong, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure(String);

/// What every step of a measurement gives.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// `what` happened to `object`.
    pub fn new(object: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self(format!("{object}: {what}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<sys::SysError> for Failure {
    fn from(error: sys::SysError) -> Self {
        Self(error.to_string())
    }
}
