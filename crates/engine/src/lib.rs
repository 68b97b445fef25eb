//! Makes a plan true on this machine, and reads the ledger back.
//!
//! `up` configures the kernel and ends; what it attached goes on without a process. `status` and `down` find
//! everything again from the interfaces. All three act on the network namespace of the calling thread.
//! Nothing of that is ever on the path of a frame; only `userspace`, for machines without eBPF, is a process that is.

mod classic;
mod kernel;
mod ledger;
mod machine;
mod rates;
mod tap;
pub mod userspace;

pub use kernel::{emitted, wiring_as_asked};
pub use machine::report::{DownReport, Error, PortReport, UpReport};
pub use plan::Refusal;
pub use plan::ledger::{CopyStatus, Count, Dropped, MonitorStatus, PortStatus, Status, Table};
pub use rates::rates;
pub use tap::{down, refusals, status, up};

/// The canonical text of a plan.
fn plan_text(plan: &plan::plan::Plan) -> String {
    let mut text = String::new();
    plan::text::print(plan, &mut text).expect("writing to a String cannot fail");
    text
}
