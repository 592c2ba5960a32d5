//! Which pods run on this node, for those who come after the pods did.
//!
//! Nobody knows all: the container runtime knows names, UIDs and namespaces, if it answers; libcni has kept what plugins gave,
//! of pods that are gone too; the VPC CNI knows addresses and how it calls host ends. So all are asked, what they say of a
//! container is put together, and then it is looked at: a namespace has to be there, must not be the node's, and has to have one
//! of the addresses that are claimed. Nothing here changes anything.

mod claim;
mod cri;
mod files;
mod grpc;
mod ipam;
mod results;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use chainkit_node::{Error, Interface, Netns, Survey, interfaces, netns_of_interface, survey};

pub(crate) use claim::{Attachment, Source};

use claim::{Claim, by_container};

/// The VPC CNI puts a prefix of at most so many characters before the digest in a host end's name.
const LONGEST_PREFIX: usize = 4;

/// Which pods are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// Every pod of this node.
    All,
    /// Those that any of these means.
    These {
        /// Namespace and name.
        pods: &'a [(String, String)],
        /// Interfaces of the node that lead to them.
        ifnames: &'a [String],
        /// Paths of their network namespaces, as they are: no root is put in front.
        netns: &'a [PathBuf],
    },
}

/// A pod that runs on this node, in a network namespace of its own.
#[derive(Debug)]
pub(crate) struct FoundPod {
    /// Namespace of the pod; empty where nobody knows.
    pub(crate) namespace: String,
    /// Its name; empty where nobody knows. A container's id never stands in for it.
    pub(crate) name: String,
    /// Its UID; empty where nobody knows.
    pub(crate) uid: String,
    /// The sandbox's id, as plugins get it; empty where nobody knows.
    pub(crate) container_id: String,
    /// How it is attached to CNI networks, `eth0` first; empty where nobody knows.
    pub(crate) attachments: Vec<Attachment>,
    /// Path of its network namespace, as the runtime gives it to plugins.
    pub(crate) netns_path: PathBuf,
    /// Its network namespace.
    pub(crate) netns: Netns,
    /// Its interfaces that lead to the node, and its addresses, as they are.
    pub(crate) survey: Survey,
    /// The first to tell of it.
    pub(crate) source: Source,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The pods that were asked for, each once: those with a name by name, then the others.
    pub(crate) pods: Vec<FoundPod>,
    /// What was asked for and is not there, with the reason.
    pub(crate) missing: Vec<String>,
    /// What could not be asked or read, or told of what is not so.
    pub(crate) warnings: Vec<String>,
    /// Whether something could not be asked or read, so that there may be more.
    pub(crate) is_partial: bool,
}

/// Finds pods of the node whose root is `root`, in the network namespace of this thread, which is to be the node's.
///
/// `runtime_endpoint` is the runtime's CRI socket, with or without `unix://`; without it the usual places below `root` are tried.
///
/// # Errors
/// When the node's own interfaces cannot be listed, or a runtime that was named does not answer.
pub(crate) fn find(root: &Path, runtime_endpoint: Option<&Path>, wanted: Wanted<'_>) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let mut claims = ask_runtimes(root, runtime_endpoint, &mut found.warnings)?;
    for (more, warnings) in [results::read(root), ipam::read(root)] {
        claims.extend(more);
        found.warnings.extend(warnings);
    }
    found.is_partial = !found.warnings.is_empty();
    let interfaces = interfaces().context("cannot list the interfaces of this node")?;
    let mut look =
        Look { root, node: Netns::current()?.inode(), interfaces, pods: Vec::new(), by_inode: HashMap::new() };
    for claim in by_container(claims) {
        found.warnings.extend(look.at(claim).err());
    }
    look.select(wanted, &mut found);
    Ok(found)
}

fn ask_runtimes(root: &Path, named: Option<&Path>, warnings: &mut Vec<String>) -> anyhow::Result<Vec<Claim>> {
    if let Some(named) = named {
        let path = named.to_str().and_then(|text| text.strip_prefix("unix://")).map_or(named, Path::new);
        let (claims, more) = cri::ask(path)?;
        warnings.extend(more);
        return Ok(claims);
    }
    let mut claims = Vec::new();
    for socket in cri::SOCKETS {
        let Some(path) = below(root, Path::new(socket)).into_iter().find(|path| path.exists()) else { continue };
        match cri::ask(&path) {
            Ok((some, more)) => {
                claims.extend(some);
                warnings.extend(more);
            }
            Err(error) => warnings.push(format!("{error:#}")),
        }
    }
    Ok(claims)
}

/// Where a path of the host may lie: below the root; and since `/var/run` is a link to `/run` that leads out of any other root, there.
fn below(root: &Path, path: &Path) -> Vec<PathBuf> {
    let join = |path: &Path| {
        let mut full = root.to_owned();
        full.extend(path.components().filter(|part| matches!(part, Component::Normal(_))));
        full
    };
    let mut places = vec![join(path)];
    places.extend(path.strip_prefix("/var/run").ok().map(|rest| join(Path::new("/run")).join(join_relative(rest))));
    places
}

fn join_relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Claims looked at one by one.
struct Look<'a> {
    root: &'a Path,
    /// The number of the node's own network namespace.
    node: u64,
    interfaces: Vec<Interface>,
    pods: Vec<FoundPod>,
    /// Where in `pods` a network namespace is.
    by_inode: HashMap<u64, usize>,
}

impl Look<'_> {
    /// Takes up a claim if a pod is behind it; the error says why one that should have a pod has not.
    fn at(&mut self, claim: Claim) -> Result<(), String> {
        let told = |reason: &dyn std::fmt::Display| {
            let pod = if claim.name.is_empty() {
                &claim.container_id
            } else {
                &format!("{}/{}", claim.namespace, claim.name)
            };
            format!("{pod}: {reason}: left out ({})", claim.source)
        };
        let (path, netns) = match self.open(&claim) {
            Ok(Some(opened)) => opened,
            // The runtime says that it runs; the others also tell of pods that are gone.
            Ok(None) if claim.source == Source::Cri => {
                return Err(told(&"the runtime says that it runs, and its network namespace is not there"));
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(told(&error)),
        };
        if netns.inode() == self.node {
            return Ok(());
        }
        let found = survey(&netns).map_err(|error| told(&error))?;
        let known = |address| found.addresses.iter().any(|own| own.address == address);
        if !claim.addresses.is_empty() && !claim.addresses.iter().copied().any(known) {
            return Err(told(&format_args!(
                "{} has none of its addresses: it is another pod's by now",
                path.display()
            )));
        }
        self.take(claim, path, netns, found);
        Ok(())
    }

    /// The namespace of a claim, and its path as the runtime says it; `None` where it is gone.
    fn open(&self, claim: &Claim) -> chainkit_node::Result<Option<(PathBuf, Netns)>> {
        if let Some(path) = &claim.netns {
            // A path that makes sense only outside of the root, as that of a process does, is tried last.
            for place in below(self.root, path).iter().chain([path]) {
                match Netns::open(place) {
                    Err(Error::Missing(_)) => {}
                    other => return other.map(|netns| Some((path.clone(), netns))),
                }
            }
            return Ok(None);
        }
        for interface in self.interfaces.iter().filter(|interface| is_host_end(&interface.name, &claim.host_names)) {
            if let Some(path) = netns_of_interface(self.root, interface.index)? {
                return match Netns::open(&path) {
                    Err(Error::Missing(_)) => Ok(None),
                    other => other.map(|netns| Some((path, netns))),
                };
            }
        }
        Ok(None)
    }

    /// Adds a pod, or what a later claim knows of one.
    fn take(&mut self, claim: Claim, path: PathBuf, netns: Netns, survey: Survey) {
        let place = *self.by_inode.entry(netns.inode()).or_insert(self.pods.len());
        let Some(pod) = self.pods.get_mut(place) else {
            let mut attachments = claim.attachments;
            attachments.sort_by_key(|attachment| attachment.ifname != "eth0");
            self.pods.push(FoundPod {
                namespace: claim.namespace,
                name: claim.name,
                uid: claim.uid,
                container_id: claim.container_id,
                attachments,
                netns_path: path,
                netns,
                survey,
                source: claim.source,
            });
            return;
        };
        // Two containers in one namespace are one pod, whoever of them is the sandbox.
        if pod.name.is_empty() {
            (pod.namespace, pod.name, pod.uid) = (claim.namespace, claim.name, claim.uid);
        }
        if pod.container_id.is_empty() {
            pod.container_id = claim.container_id;
        }
        for attachment in claim.attachments {
            if !pod.attachments.contains(&attachment) {
                pod.attachments.push(attachment);
            }
        }
    }

    /// Leaves those that are wanted, and finds out what nobody told of.
    fn select(mut self, wanted: Wanted<'_>, found: &mut Found) {
        let mut chosen: Vec<bool> = vec![matches!(wanted, Wanted::All); self.pods.len()];
        let mut choose = |place: usize| {
            chosen.resize(chosen.len().max(place + 1), false);
            if let Some(chosen) = chosen.get_mut(place) {
                *chosen = true;
            }
        };
        if let Wanted::These { pods, ifnames, netns } = wanted {
            for (namespace, name) in pods {
                match self.pods.iter().position(|pod| (&pod.namespace, &pod.name) == (namespace, name)) {
                    Some(place) => choose(place),
                    None => found.missing.push(format!("{namespace}/{name}: no such pod runs on this node")),
                }
            }
            for ifname in ifnames {
                match self.behind_interface(ifname) {
                    Ok(place) => choose(place),
                    Err(reason) => found.missing.push(format!("{ifname}: {reason}")),
                }
            }
            for path in netns {
                let opened = Netns::open(path).map_err(|error| error.to_string());
                match opened.and_then(|netns| self.place_of(path, netns, Source::Netns)) {
                    Ok(place) => choose(place),
                    Err(reason) => found.missing.push(format!("{}: {reason}", path.display())),
                }
            }
        }
        let pods = self.pods.into_iter().zip(chosen).filter_map(|(pod, chosen)| chosen.then_some(pod));
        found.pods = pods.collect();
        found.pods.sort_by(|one, other| {
            let key =
                |pod: &FoundPod| (pod.name.is_empty(), pod.namespace.clone(), pod.name.clone(), pod.netns_path.clone());
            key(one).cmp(&key(other))
        });
    }

    /// Which pod an interface of the node leads to.
    fn behind_interface(&mut self, ifname: &str) -> Result<usize, String> {
        let known = |pod: &FoundPod| pod.survey.host_ends.iter().any(|end| end.host_name == ifname);
        if let Some(place) = self.pods.iter().position(known) {
            return Ok(place);
        }
        let interface = self.interfaces.iter().find(|interface| interface.name == ifname);
        let interface = interface.ok_or("the node has no such interface")?;
        if !interface.to_namespace {
            return Err("it is no veth whose other end is in another network namespace".to_owned());
        }
        let path = netns_of_interface(self.root, interface.index).map_err(|error| error.to_string())?;
        let path =
            path.ok_or("the network namespace behind it has no name, and no process that can be seen is in it")?;
        let netns = Netns::open(&path).map_err(|error| error.to_string())?;
        self.place_of(&path, netns, Source::Interface)
    }

    /// Which pod has a network namespace; a new one without a name, if nobody told of it.
    fn place_of(&mut self, path: &Path, netns: Netns, source: Source) -> Result<usize, String> {
        if netns.inode() == self.node {
            return Err("it is the node's own network namespace".to_owned());
        }
        if let Some(place) = self.by_inode.get(&netns.inode()) {
            return Ok(*place);
        }
        let found = survey(&netns).map_err(|error| error.to_string())?;
        self.take(Claim::new(source), path.to_owned(), netns, found);
        Ok(self.pods.len() - 1)
    }
}

/// Whether an interface is named as a host end: one of these digests behind a short prefix.
fn is_host_end(ifname: &str, digests: &[String]) -> bool {
    digests.iter().any(|digest| {
        ifname.strip_suffix(digest.as_str()).is_some_and(|prefix| (1..=LONGEST_PREFIX).contains(&prefix.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ends_have_a_short_prefix_before_the_digest() {
        let digests = ["e45f23531db".to_owned()];
        for (ifname, is) in [
            ("enie45f23531db", true),
            ("vlane45f23531db", true),
            ("xe45f23531db", true),
            ("e45f23531db", false),
            ("dummye45f23531db", false),
            ("enie45f23531dc", false),
        ] {
            assert_eq!(is_host_end(ifname, &digests), is, "{ifname}");
        }
        assert!(!is_host_end("eth0", &[]));
    }

    #[test]
    fn paths_of_the_host_lie_below_the_root() {
        let root = Path::new("/host");
        assert_eq!(below(root, Path::new("/run/netns/a")), [Path::new("/host/run/netns/a")]);
        let both = ["/host/var/run/netns/a", "/host/run/netns/a"].map(PathBuf::from);
        assert_eq!(below(root, Path::new("/var/run/netns/a")), both);
        assert_eq!(below(root, Path::new("/run/../../etc/a")), [Path::new("/host/run/etc/a")]);
    }
}
