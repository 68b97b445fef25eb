//! Ports that no device uses, and names that are nearly those of ports.

use std::collections::BTreeMap;

use super::Advice;
use crate::model::Model;
use crate::plan::{Origin, PortId, Role};
use crate::problem::{nearest, shown};

/// Ports that no device uses.
pub(crate) fn unused_ports(model: &Model, places: &BTreeMap<String, Origin>) -> Vec<Advice> {
    let unused = |name: &&String| model.named(name).is_some_and(|id| model.role(id).is_none());
    let say = |name: &String| Advice {
        at: places.get(name).cloned(),
        what: format!("no device uses port {}", shown(name)),
        why: "it is left out of the plan, and its interface alone".to_owned(),
        cure: "name it in a device, or remove it".to_owned(),
    };
    places.keys().filter(unused).map(say).collect()
}

/// An interface that `[ports]` does not name, but almost.
pub(crate) fn near_port(
    model: &Model,
    id: PortId,
    places: &BTreeMap<String, Origin>,
    at: &Origin,
) -> Option<Advice> {
    if !matches!(model.role(id), Some((Role::Watched | Role::Monitor, _))) {
        return None;
    }
    let name = &model.port(id).name;
    // Interfaces are named by series: eth0 beside eth1 is no slip, and neither is a digit more.
    let letters = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let near =
        nearest(name, places.keys().map(String::as_str)).filter(|near| letters(near) != letters(name))?;
    Some(Advice {
        at: Some(at.clone()),
        what: format!("{} is no port, and is taken for a Linux interface", shown(name)),
        why: format!("[ports] has {}, which is nearly the same", shown(near)),
        cure: format!("write \"{near}\" if that is meant"),
    })
}
