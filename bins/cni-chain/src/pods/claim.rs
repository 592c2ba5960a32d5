//! What one source claims of a pod, before anybody has looked whether it is so.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// Who told of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    /// The container runtime, by its CRI.
    Cri,
    /// A result that libcni has kept.
    CachedResult,
    /// The VPC CNI's list of addresses.
    Ipam,
    /// Nobody: an interface of the node was named.
    Interface,
    /// Nobody: a network namespace was named.
    Netns,
}

impl Source {
    /// As endpoint records and output have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::CachedResult => "cached-result",
            Self::Ipam => "ipam",
            Self::Interface => "interface",
            Self::Netns => "netns",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// An attachment of a pod to a CNI network, as runtimes name it in later calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Attachment {
    /// The network's name.
    pub(crate) network: String,
    /// The interface that the runtime asked for.
    pub(crate) ifname: String,
}

/// What a source says of a pod. Text is empty where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Of the sandbox, as plugins get it.
    pub(crate) container_id: String,
    /// As the runtime named it: a path of the host.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) attachments: Vec<Attachment>,
    /// What the names of its host ends end with, behind a prefix.
    pub(crate) host_names: Vec<String>,
    pub(crate) source: Source,
}

impl Claim {
    /// One that says nothing yet.
    pub(crate) const fn new(source: Source) -> Self {
        Self {
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            container_id: String::new(),
            netns: None,
            addresses: Vec::new(),
            attachments: Vec::new(),
            host_names: Vec::new(),
            source,
        }
    }

    /// Takes over what another one about the same pod says and this one does not.
    pub(crate) fn add(&mut self, other: Self) {
        // A name and its namespace belong together.
        if self.name.is_empty() {
            (self.namespace, self.name) = (other.namespace, other.name);
        }
        for (mine, its) in [(&mut self.uid, other.uid), (&mut self.container_id, other.container_id)] {
            if mine.is_empty() {
                *mine = its;
            }
        }
        self.netns = self.netns.take().or(other.netns);
        extend(&mut self.addresses, other.addresses);
        extend(&mut self.attachments, other.attachments);
        extend(&mut self.host_names, other.host_names);
        self.source = self.source.min(other.source);
    }
}

fn extend<T: PartialEq>(mine: &mut Vec<T>, its: Vec<T>) {
    for one in its {
        if !mine.contains(&one) {
            mine.push(one);
        }
    }
}

/// One claim for each container, in the order in which they were first named.
pub(crate) fn by_container(claims: Vec<Claim>) -> Vec<Claim> {
    let mut places = std::collections::HashMap::new();
    let mut merged: Vec<Claim> = Vec::new();
    for claim in claims {
        let place = match claim.container_id.as_str() {
            "" => merged.len(),
            id => *places.entry(id.to_owned()).or_insert(merged.len()),
        };
        match merged.get_mut(place) {
            Some(known) => known.add(claim),
            None => merged.push(claim),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(source: Source, container_id: &str) -> Claim {
        Claim { container_id: container_id.to_owned(), ..Claim::new(source) }
    }

    #[test]
    fn sources_complete_each_other_and_the_first_one_is_believed() {
        let attachment = |network: &str| Attachment { network: network.to_owned(), ifname: "eth0".to_owned() };
        let merged = by_container(vec![
            Claim { name: "web".into(), namespace: "shop".into(), ..claim(Source::Cri, "c1") },
            Claim {
                name: "other".into(),
                uid: "u1".into(),
                netns: Some("/run/netns/a".into()),
                attachments: vec![attachment("aws-cni")],
                ..claim(Source::CachedResult, "c1")
            },
            Claim {
                netns: Some("/run/netns/b".into()),
                attachments: vec![attachment("aws-cni"), attachment("storage")],
                addresses: vec!["10.1.0.5".parse().unwrap()],
                ..claim(Source::Ipam, "c1")
            },
        ]);
        assert_eq!(
            merged,
            [Claim {
                namespace: "shop".into(),
                name: "web".into(),
                uid: "u1".into(),
                container_id: "c1".into(),
                netns: Some("/run/netns/a".into()),
                addresses: vec!["10.1.0.5".parse().unwrap()],
                attachments: vec![attachment("aws-cni"), attachment("storage")],
                host_names: vec![],
                source: Source::Cri,
            }]
        );
    }

    #[test]
    fn containers_without_an_id_are_not_taken_for_one() {
        let merged = by_container(vec![claim(Source::Ipam, ""), claim(Source::Ipam, ""), claim(Source::Ipam, "c1")]);
        assert_eq!(merged.len(), 3);
    }
}
