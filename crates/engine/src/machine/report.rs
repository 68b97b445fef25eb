//! What `up` and `down` say, and how they fail.

use std::fmt;

use plan::ledger::Table;
use plan::plan::Plan;
use sys::SysError;

use super::saved::Choice;
use super::survey::Refusal;

/// What `up` did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UpReport {
    /// How each port is attached, in plan order.
    pub ports: Vec<PortReport>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Whether the plan was up already.
    pub unchanged: bool,
}

/// How one port is attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortReport {
    /// The user's name.
    pub name: String,
    /// The interface.
    pub interface: String,
    /// `tcx`, `xdp`, `clsact` or `classic`.
    pub attach: String,
    /// Why.
    pub why: String,
}

/// Why `up` of another plan than the one that is up is refused.
pub fn another(file: &str) -> Refusal {
    Refusal {
        what: format!("{file} is up in this network namespace, and this is another plan"),
        help: "`tapwright down` first: one plan a network namespace".into(),
    }
}

/// Why `run` is refused where a tap is up.
pub fn live(file: &str) -> Refusal {
    Refusal {
        what: format!("{file} is up in this network namespace: every frame would pass twice"),
        help: "`tapwright down` first".into(),
    }
}

/// How each port of a plan is attached, in plan order.
pub fn ports(plan: &Plan, choices: &[Choice]) -> Vec<PortReport> {
    let report = |(port, choice): (&plan::plan::Port, &Choice)| PortReport {
        name: port.name.clone(),
        interface: port.interface.clone(),
        attach: choice.attach.clone(),
        why: choice.why.clone(),
    };
    plan.ports.iter().zip(choices).map(report).collect()
}

impl fmt::Display for UpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["PORT", "INTERFACE", "ATTACH", "WHY"], 4);
        for port in &self.ports {
            table.row([port.name.clone(), port.interface.clone(), port.attach.clone(), port.why.clone()]);
        }
        table.print(f)?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        f.write_str(if self.unchanged { "already up: nothing changed\n" } else { "up\n" })
    }
}

/// What `down` did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DownReport {
    /// Interfaces that are again as they were.
    pub restored: Vec<String>,
    /// What could not be restored, and why.
    pub notes: Vec<String>,
}

impl fmt::Display for DownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.restored.is_empty() {
            writeln!(f, "restored {}", self.restored.join(", "))?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        f.write_str("down\n")
    }
}

/// Why it was not done.
#[derive(Debug)]
pub enum Error {
    /// The user's plan does not fit this machine. Nothing was changed.
    Refused(Vec<Refusal>),
    /// Nothing is up in this network namespace.
    NothingUp,
    /// What is attached was put there by a version that this one cannot read.
    Foreign(String),
    /// The kernel refused, and nothing had been changed.
    Kernel(Box<SysError>),
    /// A step of `up` failed.
    Failed {
        /// The step's failure.
        error: Box<Self>,
        /// Why it could not be put back, if so.
        undone: Option<Box<SysError>>,
    },
    /// A damaged or unfinished tap was taken away first, and then this happened.
    TakenAway(Box<Self>),
    /// A defect of ours.
    Defect(String),
}

impl Error {
    /// Whether it is an answer rather than trouble.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) | Self::NothingUp | Self::Foreign(_) => true,
            Self::TakenAway(error) => error.is_refusal(),
            Self::Kernel(_) | Self::Failed { .. } | Self::Defect(_) => false,
        }
    }
}

impl From<SysError> for Error {
    fn from(error: SysError) -> Self {
        Self::Kernel(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusals) => {
                for refusal in refusals {
                    writeln!(f, "{refusal}")?;
                }
                f.write_str("nothing was changed\n")
            }
            Self::NothingUp => {
                f.write_str("no tap is up in this network namespace\nhelp: `tapwright up FILE`\n")
            }
            Self::Foreign(why) => {
                writeln!(f, "what is attached here cannot be read: {why}")?;
                f.write_str("help: use the version of tapwright that put it there, or `tapwright down`\n")
            }
            Self::Kernel(error) => writeln!(f, "{error}"),
            Self::Failed { error, undone: None } => {
                write!(f, "{error}")?;
                f.write_str("everything was put back as it was\n")
            }
            Self::Failed { error, undone: Some(undo) } => {
                write!(f, "{error}")?;
                writeln!(f, "and putting everything back failed: {undo}")?;
                f.write_str("help: `tapwright down` tries again\n")
            }
            Self::TakenAway(error) => {
                match error.as_ref() {
                    Self::Refused(refusals) => {
                        for refusal in refusals {
                            writeln!(f, "{refusal}")?;
                        }
                    }
                    Self::Failed { error, undone: None } => write!(f, "{error}")?,
                    other => write!(f, "{other}")?,
                }
                f.write_str(
                    "the damaged tap that was here has been taken away: nothing passes until `up` succeeds\n",
                )
            }
            Self::Defect(what) => writeln!(f, "a defect of tapwright: {what}"),
        }
    }
}

impl std::error::Error for Error {}
