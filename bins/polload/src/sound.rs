//! What may be put in force: an invalid policy is refused aloud, since what it forbids would be allowed without it.

use chainkit_cli::{Failure, Log};
use chainkit_cluster::model::{About, Change, Cluster, Object, Problem};
use chainkit_cluster::soundness::{self, Doubt, Weight};

use crate::compare::count;
use crate::inputs::Inputs;

/// What is doubtful of the policies that could be read.
pub(crate) fn doubts(cluster: &Cluster) -> impl Iterator<Item = Doubt> + '_ {
    let network = cluster.network_policies.iter().flat_map(soundness::network_policy);
    network.chain(cluster.cluster_policies.iter().flat_map(soundness::cluster_policy))
}

fn is_refused(doubts: &[Doubt]) -> bool {
    doubts.iter().any(|doubt| doubt.weight == Weight::Refused)
}

/// Reads what is to be put in force. Where a policy is invalid all is refused, or with `skip` the policy is left out.
pub(crate) fn read(inputs: &Inputs, skip: bool, log: &Log) -> anyhow::Result<Cluster> {
    let mut cluster = inputs.read_for_node(log)?;
    if !skip {
        refuse_invalid(&cluster)?;
        return Ok(cluster);
    }
    let before = cluster.network_policies.len() + cluster.cluster_policies.len();
    cluster.network_policies.retain(|policy| !is_refused(&soundness::network_policy(policy)));
    cluster.cluster_policies.retain(|policy| !is_refused(&soundness::cluster_policy(policy)));
    let left_out = before - cluster.network_policies.len() - cluster.cluster_policies.len();
    if left_out > 0 {
        let policies = count(left_out, "policy", "policies");
        log.warning(format!("left out: {policies} that an API server would refuse"));
    }
    Ok(cluster)
}

/// Refuses what would take a policy off for no more reason than that it cannot be read as it was meant.
fn refuse_invalid(cluster: &Cluster) -> anyhow::Result<()> {
    let invalid = |problem: &&Problem| matches!(problem.about, About::Policy | About::PolicyTwice);
    let mut invalid: Vec<Problem> = cluster.problems.iter().filter(invalid).cloned().collect();
    invalid.extend(doubts(cluster).filter(|doubt| doubt.weight == Weight::Refused).map(|doubt| doubt.problem));
    let Some(first) = invalid.first() else { return Ok(()) };
    let more = match invalid.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let failure =
        match first.about {
            About::PolicyTwice => Failure::usage(format!(
                "a policy is given twice by one input, and nothing was changed: {first}{more}"
            ))
            .remedy("give it once, or in an input of its own that is named later: of two inputs the later one counts"),
            _ => Failure::usage(format!("a policy cannot be used, and nothing was changed: {first}{more}"))
                .remedy("mend it, or have it left out with --skip-invalid"),
        };
    Err(failure.into())
}

/// Why a change cannot be had in force, if it cannot. A policy that an API server would refuse stays as it was, which is told, as is what
/// is doubtful of others.
pub(crate) fn refused(change: &Change, log: &Log) -> Option<Problem> {
    let Change::Set(object) = change else { return None };
    let doubts = match &**object {
        Object::NetworkPolicy(policy) => soundness::network_policy(policy),
        Object::ClusterPolicy(policy) => soundness::cluster_policy(policy),
        _ => return None,
    };
    let mut first = None;
    for Doubt { weight, problem } in doubts {
        let refused = weight == Weight::Refused;
        let stays = if refused { ": what was before, if anything, stays" } else { "" };
        log.warning(format!("{problem}{stays}"));
        if refused {
            first.get_or_insert(problem);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use chainkit_cli::LogFormat;
    use chainkit_cluster::Reader;

    use super::*;

    #[test]
    fn a_watch_takes_what_an_api_server_would_and_leaves_the_rest_as_it_was() {
        let taken = |spec: &str| {
            let mut reader = Reader::default();
            let head = "kind: NetworkPolicy\nmetadata: {name: p, namespace: n}\nspec: ";
            reader.text("in.yaml", &format!("{head}{spec}\n"));
            let policy = reader.finish().network_policies.remove(0);
            let change = Change::Set(Box::new(Object::NetworkPolicy(policy)));
            refused(&change, &Log::new("polload", LogFormat::Text)).is_none()
        };
        assert!(taken("{podSelector: {}}"));
        assert!(taken("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]}"));
        assert!(!taken("{podSelector: {}, ingress: [{form: []}]}"));
        assert!(!taken("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}]}]}"));
    }
}
