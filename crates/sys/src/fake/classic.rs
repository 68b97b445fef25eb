//! Classic filters of a machine in memory. None of them ever sees a frame; counters stand still until a test
//! moves them.

use super::network::{Network, fail};
use crate::classic::{Act, ActFound, ActStats, ClassicFilter, ClassicSpec, Matcher};
use crate::error::Result;
use crate::object::{Filter, Hook};
use crate::queue::{H_CLSACT, H_EGRESS, H_INGRESS, QdiscSpec};

const CALL: &str = "RTM_NEWTFILTER";
/// `BPF_MAXINSNS`.
const INSNS_MAX: usize = 4096;

impl Network {
    pub(super) fn classic_filters(&self, ifindex: u32, parent: u32) -> Vec<ClassicFilter> {
        self.classic.get(&(ifindex, parent)).cloned().unwrap_or_default()
    }

    /// As a list of all classifiers shows them.
    pub(super) fn classic_of(&self, ifindex: u32, hook: Hook) -> impl Iterator<Item = Filter> + '_ {
        let parent = match hook {
            Hook::Ingress => H_INGRESS,
            Hook::Egress => H_EGRESS,
        };
        self.classic.get(&(ifindex, parent)).into_iter().flatten().map(|filter| Filter {
            kind: filter.kind.clone(),
            priority: filter.priority,
            protocol: filter.protocol,
            handle: filter.handle,
            name: String::new(),
            prog_id: 0,
        })
    }

    pub(super) fn add_classic(
        &mut self,
        object: &str,
        (ifindex, parent): (u32, u32),
        spec: &ClassicSpec,
    ) -> Result<()> {
        self.link(CALL, object, ifindex)?;
        let kind = match &spec.matcher {
            Matcher::Program { insns, .. } if insns.is_empty() || insns.len() > INSNS_MAX => {
                return fail(CALL, object, libc::EINVAL);
            }
            Matcher::Program { .. } => "bpf",
            Matcher::CameBy(name) if self.link_mut(name).is_none() => {
                return fail(CALL, object, libc::EINVAL);
            }
            Matcher::CameBy(_) | Matcher::All => "u32",
            Matcher::Other => return fail(CALL, object, libc::EINVAL),
        };
        for act in &spec.acts {
            self.refuse_act(object, act)?;
        }
        if spec.with_clsact {
            self.add_qdisc(object, (ifindex, H_CLSACT, 0xffff_0000), &QdiscSpec::Clsact, false)?;
        }
        let clsact = matches!(parent, H_INGRESS | H_EGRESS);
        let hangs = |q: &crate::Qdisc| if clsact { q.parent == H_CLSACT } else { q.handle == parent };
        if !self.queues.iter().any(|q| q.ifindex == ifindex && hangs(q)) {
            return fail(CALL, object, libc::EINVAL);
        }
        let list = self.classic.entry((ifindex, parent)).or_default();
        let place = (spec.chain, spec.priority);
        if list.iter().any(|f| (f.chain, f.priority) == place && f.kind != kind) {
            return fail(CALL, object, libc::EINVAL);
        }
        let new = ClassicFilter {
            kind: kind.to_owned(),
            chain: spec.chain,
            priority: spec.priority,
            protocol: 3,
            handle: spec.handle,
            matcher: spec.matcher.clone(),
            class: spec.class,
            acts: spec
                .acts
                .iter()
                .map(|act| ActFound { act: act.clone(), stats: ActStats::default() })
                .collect(),
        };
        match list.iter_mut().find(|f| (f.chain, f.priority) == place && f.handle == spec.handle) {
            Some(old) if spec.replace && kind == "bpf" => *old = new,
            Some(_) => return fail(CALL, object, libc::EEXIST),
            None => list.insert(0, new),
        }
        // A stable sort: within a preference the last-added program runs first, and others run by handle.
        let turn = |filter: &ClassicFilter| if filter.kind == "bpf" { 0 } else { filter.handle };
        list.sort_by_key(|filter| (filter.chain, filter.priority, turn(filter)));
        Ok(())
    }

    fn refuse_act(&mut self, object: &str, act: &Act) -> Result<()> {
        match act {
            Act::Mirror { to, .. } | Act::Redirect { to } => self.link(CALL, object, *to).map(|_| ()),
            Act::Other { .. } => fail(CALL, object, libc::EINVAL),
        }
    }

    pub(super) fn delete_classic(
        &mut self,
        object: &str,
        at: (u32, u32),
        which: (u32, u16, u32),
    ) -> Result<()> {
        let list = self.classic.entry(at).or_default();
        let before = list.len();
        list.retain(|filter| (filter.chain, filter.priority, filter.handle) != which);
        if list.len() == before { fail("RTM_DELTFILTER", object, libc::ENOENT) } else { Ok(()) }
    }
}
