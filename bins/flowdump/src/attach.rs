//! `--attach`: which interfaces are meant, and the lease on them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chainkit_bpf::{Datapath, Kit, Lease, Settings, find};
use chainkit_cli::{Exit, Failure};
use chainkit_cluster::Names;
use chainkit_node::{Interface, interfaces, route, uplinks};
use sha1::{Digest, Sha1};

use crate::cli::{AttachKind, Options};

/// The datapath that flows are read from.
pub(crate) enum Source {
    /// One that is there anyway.
    Found(Box<Datapath>),
    /// One that hangs on interfaces for this program.
    Leased(Box<Leased>),
}

/// The interfaces that were asked for.
pub(crate) struct Leased {
    lease: Lease,
    all: bool,
    /// Those named one by one.
    asked: Vec<u32>,
    /// Interfaces that could not be attached to, which is told once.
    failed: Vec<u32>,
}

impl Source {
    /// Finds the datapath, or attaches one where `--attach` asks for it.
    pub(crate) fn open(options: &Options, names: &Names) -> anyhow::Result<Self> {
        let root = options.root.root.clone();
        if options.attach.is_empty() {
            let found = find(&root).map_err(failure)?.ok_or_else(|| {
                Failure::new(Exit::Failed, "no interface of this network namespace carries chainkit's datapath")
                    .remedy("attach it while this runs: flowdump --attach all, or --attach NS/POD; or for good: cni-chain adopt --all")
            })?;
            return Ok(Self::Found(Box::new(found)));
        }
        let leased = Leased::open(options, root, names)?;
        Ok(Self::Leased(Box::new(leased)))
    }

    /// The datapath.
    pub(crate) fn datapath(&self) -> &Datapath {
        match self {
            Self::Found(datapath) => datapath,
            Self::Leased(leased) => leased.lease.datapath(),
        }
    }

    /// The interfaces that flows are wanted of; `None`: all that carry the datapath.
    pub(crate) fn wanted(&self) -> Option<&[u32]> {
        match self {
            Self::Leased(leased) if !leased.all => Some(&leased.asked),
            _ => None,
        }
    }

    /// Attaches to interfaces that have come, and gives up those that went. Interfaces come and go all the time on a
    /// node: what fails here is told and tried no more. True: the datapath is another now.
    pub(crate) fn refresh(&mut self, options: &Options, present: &[Interface]) -> anyhow::Result<bool> {
        let Self::Leased(leased) = self else { return Ok(false) };
        leased.lease.forget_gone().map_err(failure)?;
        leased.failed.retain(|ifindex| present.iter().any(|interface| interface.index == *ifindex));
        if leased.all {
            leased.attach_all(options, present)?;
        }
        Ok(leased.lease.take_moved())
    }

    /// Takes off what was attached for this program.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Found(_) => Ok(()),
            Self::Leased(leased) => leased.lease.release().map_err(failure),
        }
    }
}

impl Leased {
    fn open(options: &Options, root: PathBuf, names: &Names) -> anyhow::Result<Self> {
        let present =
            interfaces().map_err(|error| Failure::new(Exit::Failed, format!("cannot list interfaces: {error}")))?;
        // First all that can be wrong about what was asked, then the kernel.
        let mut asked = Vec::new();
        for target in options.attach.iter().filter(|target| *target != "all") {
            asked.extend(resolve(target, names, &present)?);
        }
        let kit = match options.attach_kind {
            AttachKind::Auto => None,
            AttachKind::Tcx => Some(Kit::Tcx),
            AttachKind::Clsact => Some(Kit::Clsact),
        };
        let all = options.attach.iter().any(|target| target == "all");
        let lease = Lease::open(root, kit).map_err(failure)?;
        let mut leased = Self { lease, all, asked, failed: Vec::new() };
        for ifindex in leased.asked.clone() {
            leased.lease.attach(ifindex, Settings::default()).map_err(failure)?;
        }
        if all {
            leased.attach_all(options, &present)?;
            if leased.lease.interfaces().next().is_none() && leased.failed.is_empty() {
                options.log.warning("no pod's interface is here yet: waiting for one");
            }
        }
        leased.lease.take_moved();
        Ok(leased)
    }

    /// Attaches to the host side of every pod's interface. One that goes away meanwhile is no error.
    fn attach_all(&mut self, options: &Options, present: &[Interface]) -> anyhow::Result<()> {
        let mut first_error = None;
        let held: Vec<u32> = self.lease.interfaces().collect();
        let mut new = present.iter().filter(|interface| {
            let seen = held.contains(&interface.index) || self.failed.contains(&interface.index);
            interface.to_namespace && !seen
        });
        let Some(first) = new.next() else { return Ok(()) };
        // A node that is itself a namespace has a veth for its way out; that is no pod's.
        let ways_out = uplinks().map_err(|error| Failure::new(Exit::Failed, format!("cannot list routes: {error}")))?;
        let new: Vec<&Interface> = std::iter::once(first).chain(new).collect();
        for interface in new {
            if ways_out.contains(&interface.index) {
                continue;
            }
            if let Err(error) = self.lease.attach(interface.index, Settings::default()) {
                let is_gone = interfaces().is_ok_and(|now| now.iter().all(|other| other.index != interface.index));
                if is_gone {
                    continue;
                }
                self.failed.push(interface.index);
                options.log.warning(format!("{}: {error}", interface.name));
                first_error.get_or_insert(error);
            }
        }
        match first_error {
            // Not one could be attached to: that is no way to start.
            Some(error) if self.lease.interfaces().next().is_none() => Err(failure(error)),
            _ => Ok(()),
        }
    }
}

/// The interfaces that one `--attach` means.
fn resolve(target: &str, names: &Names, present: &[Interface]) -> anyhow::Result<Vec<u32>> {
    match target.split_once('/') {
        None => {
            present.iter().find(|interface| interface.name == target).map(|interface| vec![interface.index]).ok_or_else(
                || {
                    Failure::usage(format!("--attach {target}: no such interface in this network namespace"))
                        .remedy("name one that `ip link` shows, a pod as NAMESPACE/NAME, or all")
                        .into()
                },
            )
        }
        Some((namespace, name)) => pod_interfaces(namespace, name, names, present),
    }
}

/// The host-side interfaces of a pod: out of its record, by the way to its addresses, or by the name that the VPC CNI
/// gives.
fn pod_interfaces(namespace: &str, name: &str, names: &Names, present: &[Interface]) -> anyhow::Result<Vec<u32>> {
    let is_pod = |ifindex: u32| present.iter().any(|interface| interface.index == ifindex && interface.to_namespace);
    let mut found = BTreeMap::new();
    for (ifindex, pod) in names.host_interfaces() {
        if pod.namespace == namespace && pod.name == name && is_pod(ifindex) {
            found.insert(ifindex, ());
        }
    }
    let mut elsewhere = None;
    for (address, pod) in names.addresses() {
        if pod.namespace != namespace || pod.name != name {
            continue;
        }
        match route(*address) {
            Ok(Some(ifindex)) if is_pod(ifindex) => {
                found.insert(ifindex, ());
            }
            Ok(_) => elsewhere = Some(*address),
            Err(error) => {
                let message = format!("cannot look up the way to {address}: {error}");
                return Err(Failure::new(Exit::Failed, message).into());
            }
        }
    }
    if found.is_empty() {
        let hash = vpc_cni_hash(namespace, name);
        let by_name = present.iter().filter(|interface| interface.to_namespace && interface.name.ends_with(&hash));
        found.extend(by_name.map(|interface| (interface.index, ())));
    }
    if !found.is_empty() {
        return Ok(found.into_keys().collect());
    }
    let pod = format!("{namespace}/{name}");
    Err(match elsewhere {
        Some(address) => Failure::usage(format!("--attach {pod}: its address {address} is not on this node"))
            .remedy("run flowdump on the node of the pod"),
        None if names.pod_named(namespace, name).is_some() => {
            Failure::usage(format!("--attach {pod}: the pod has no address of its own (hostNetwork, or not started)"))
        }
        None => Failure::usage(format!("--attach {pod}: no such pod is known here"))
            .remedy("say where pods are: --pods FILE with what kubectl get pods -A -o json prints"),
    }
    .into())
}

/// What the VPC CNI names a pod's host-side interface after: the first eleven hexadecimal digits of the SHA-1 of
/// `namespace.name` (amazon-vpc-cni-k8s, `generateHostVethName`).
fn vpc_cni_hash(namespace: &str, name: &str) -> String {
    let digest = Sha1::digest(format!("{namespace}.{name}"));
    let mut text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(11);
    text
}

/// An error of the datapath with the exit code it asks for.
pub(crate) fn failure(error: chainkit_bpf::Error) -> anyhow::Error {
    use chainkit_bpf::Error;
    let exit = match error {
        Error::Privilege { .. } | Error::Load(_) | Error::Unsupported(_) | Error::NoBpffs(_) => Exit::Unsupported,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_side_names_are_those_of_the_vpc_cni() {
        // printf default.nginx | sha1sum
        assert_eq!(vpc_cni_hash("default", "nginx"), "c440f455693");
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let error = resolve("nope0", &Names::default(), &[]).unwrap_err().to_string();
        assert!(error.contains("nope0"), "{error}");
    }

    #[test]
    fn an_unknown_pod_is_named() {
        let error = resolve("shop/cart", &Names::default(), &[]).unwrap_err().to_string();
        assert!(error.contains("shop/cart"), "{error}");
    }
}
