//! Live connections that would end: those that are allowed now, and would be denied.

use std::collections::BTreeMap;

use chainkit_abi::{flag, opened, rule, state};
use chainkit_bpf::{Connection, Datapath};
use chainkit_cluster::model::Mode;
use chainkit_enforce::{Answer, Image, Lookup, RuleEntry, Standing};

use super::changes::{Difference, names};
use crate::kernel::bpf_failure;
use crate::kernel::tables::Tables;

/// What judges now, and what would.
pub(super) struct Judging<'a> {
    datapath: &'a Datapath,
    generation: u32,
    /// In which generation rules changed last.
    rules_since: u32,
    now: Lookup<'a>,
    then: Lookup<'a>,
    rules: BTreeMap<u32, RuleEntry>,
    jiffies: u64,
}

impl<'a> Judging<'a> {
    /// `image` is what is in force, as `generation`; 0: nothing is.
    pub(super) fn new(
        datapath: &'a Datapath,
        generation: u32,
        image: &'a Image,
        tables: &'a Tables,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            datapath,
            generation,
            rules_since: datapath.control_value().map_err(bpf_failure)?.rules_since,
            now: Lookup::new(image),
            then: Lookup::new(tables.compiler.image()),
            rules: tables.compiler.rules().into_iter().map(|rule| (rule.number, rule)).collect(),
            jiffies: datapath.clock().map_err(bpf_failure)?.jiffies,
        })
    }

    /// Connections of an endpoint that would end, with what it is judged by now, if anything, and then.
    pub(super) fn ended(
        &self,
        slot: u32,
        pod: &str,
        now: Option<&Standing>,
        then: &Standing,
    ) -> anyhow::Result<Vec<Difference>> {
        let mut ends = Vec::new();
        for found in self.datapath.connections(slot).map_err(bpf_failure)? {
            let idle = self.jiffies.saturating_sub(found.conn.last_seen);
            // One that was never answered is no connection yet, or never will be.
            let is_open = !matches!(found.conn.state, state::CLOSED | state::SYN_SENT);
            if idle > u64::from(found.conn.timeout) || !is_open {
                continue;
            }
            let Some(by) = denied(&self.then, then, &found) else { continue };
            if now.is_some_and(|now| self.is_denied_already(now, &found)) {
                continue;
            }
            let by_pod = found.conn.opened == opened::BY_POD;
            ends.push(Difference::ConnectionEnd {
                pod: pod.to_owned(),
                opened_by: match found.conn.opened {
                    opened::BY_POD => "pod",
                    opened::BY_REMOTE => "peer",
                    _ => "unknown",
                },
                peer: found.remote,
                port: if by_pod { found.remote_port } else { found.local_port },
                protocol: found.protocol,
                denied_by: self.rules.get(&by).map(names).unwrap_or_default(),
            });
        }
        Ok(ends)
    }

    /// Whether a connection ends by what is in force: one of TCP stays in its table, under the generation that allowed it last, so that
    /// each segment of it is judged.
    fn is_denied_already(&self, now: &Standing, found: &Connection) -> bool {
        let judged_by = found.conn.generation;
        if judged_by == self.generation {
            return false;
        }
        // As the kernel has it: what leads to a service stays where no rule has changed since.
        let same_rules = judged_by.wrapping_sub(self.rules_since).cast_signed() >= 0;
        let by_pod = found.conn.opened == opened::BY_POD;
        if same_rules && by_pod && self.now.is_service(found.remote, found.protocol, found.remote_port) {
            return false;
        }
        denied(&self.now, now, found).is_some()
    }
}

/// The rule by which the kernel would deny a live connection, judged once more.
fn denied(lookup: &Lookup<'_>, standing: &Standing, found: &Connection) -> Option<u32> {
    // As the kernel has it: what the node has opened stays, and what the pod itself has by its service.
    let is_own = matches!(found.conn.rule, rule::OWN_NODE | rule::ITSELF) && found.conn.opened == opened::BY_REMOTE;
    if standing.mode != Mode::Enforce || found.local == found.remote || is_own {
        return None;
    }
    let ask = |egress: bool| {
        let bit = if egress { flag::ISOLATED_EGRESS } else { flag::ISOLATED_INGRESS };
        if standing.isolated & bit != 0 {
            return Answer { allowed: false, rule: rule::UNKNOWN_POD, split: false };
        }
        let port = if egress { found.remote_port } else { found.local_port };
        lookup.ask(standing.policy, egress, found.remote, found.protocol, port, true)
    };
    let answer = match found.conn.opened {
        opened::BY_POD => ask(true),
        opened::BY_REMOTE => ask(false),
        _ => Some(ask(true)).filter(|egress| egress.allowed).unwrap_or_else(|| ask(false)),
    };
    (!answer.allowed).then_some(answer.rule)
}
