//! The one gate that every call passes: it counts, it remembers if asked, and it can break a call on purpose.
//!
//! A test runs an operation once with a trace, then again for each call of it with a [`Fault`] at that call, and
//! looks at what is left. Nothing passes the gate uncounted, so "every call" is every call.

use crate::error::{Result, SysError};
use std::fmt;

/// One call, as the trace remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number, from 1.
    pub number: u64,
    /// The call, as the kernel's documentation names it.
    pub name: &'static str,
    /// What it was done to.
    pub object: String,
    /// Whether it changes something. A call that only reads can be left out of a fault run.
    pub changes: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.changes { '*' } else { ' ' };
        write!(f, "{:4} {mark} {} {}", self.number, self.name, self.object)
    }
}

/// What happens at a call that is to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The call is not made, and fails with this errno.
    Fail(i32),
    /// The process dies by SIGKILL before the call. In a [`crate::Fake`] it is as good as dead: every call fails
    /// until [`crate::Fake::restart`].
    Kill,
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number of the call, from 1.
    pub at: u64,
    /// What happens there.
    pub kind: FaultKind,
}

/// Counts calls, and breaks the one that is to break.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    calls: u64,
    fault: Option<Fault>,
    trace: Option<Vec<Call>>,
}

/// What the gate lets happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Go,
    Fail(i32),
    Kill,
}

impl Gate {
    /// A gate that breaks nothing and remembers nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls made so far, the broken one among them.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Sets or clears the fault to come.
    pub fn set_fault(&mut self, fault: Option<Fault>) {
        self.fault = fault;
    }

    /// Begins (or forgets and begins again) to remember calls.
    pub fn start_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The calls remembered since [`Gate::start_trace`]; empty if it was never called.
    #[must_use]
    pub fn trace(&self) -> &[Call] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// Counts one call and says what is to happen to it.
    pub(crate) fn admit(&mut self, name: &'static str, object: &str, changes: bool) -> Pass {
        self.calls += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(Call { number: self.calls, name, object: object.to_owned(), changes });
        }
        match self.fault {
            Some(Fault { at, kind }) if at == self.calls => match kind {
                FaultKind::Fail(errno) => Pass::Fail(errno),
                FaultKind::Kill => Pass::Kill,
            },
            _ => Pass::Go,
        }
    }

    /// Lets a call of the real machine pass, fails it, or does not return.
    ///
    /// # Errors
    /// The fault that is due.
    pub(crate) fn pass(&mut self, name: &'static str, object: &str, changes: bool) -> Result<()> {
        match self.admit(name, object, changes) {
            Pass::Go => Ok(()),
            Pass::Fail(errno) => Err(SysError::new(name, object, errno).with_detail("broken on purpose")),
            Pass::Kill => crate::process::kill_self(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_exactly_the_call_it_was_told() {
        let mut gate = Gate::new();
        gate.set_fault(Some(Fault { at: 2, kind: FaultKind::Fail(libc::ENOMEM) }));
        gate.start_trace();
        gate.pass("one", "a", false).unwrap();
        let error = gate.pass("two", "b", true).unwrap_err();
        assert_eq!((error.call, error.object.as_str(), error.errno), ("two", "b", libc::ENOMEM));
        gate.pass("three", "c", true).unwrap();
        assert_eq!(gate.calls(), 3);
        let changed: Vec<u64> =
            gate.trace().iter().filter(|call| call.changes).map(|call| call.number).collect();
        assert_eq!(changed, [2, 3]);
        assert_eq!(gate.trace()[1].to_string(), "   2 * two b");
    }
}
