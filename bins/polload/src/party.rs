//! The ends of a connection as they are named on the command line.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use chainkit_cli::Failure;
use chainkit_cluster::model::{Cluster, Protocol, Workload};
use chainkit_policy::{Party, Transport};

/// A named end: `pod:NS/N`, `NS/N`, `NS/N[Kind]`, `svc:NS/N`, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A pod.
    Pod(String, String),
    /// A pod, or else a workload; with a kind, what is of that kind alone.
    Workload(String, String, Option<String>),
    /// A service.
    Service(String, String),
    /// An address.
    Address(IpAddr),
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |text: &str| match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Some((namespace.to_owned(), name.to_owned()))
            }
            _ => None,
        };
        let found = if let Some(text) = text.strip_prefix("pod:") {
            named(text).map(|(namespace, name)| Self::Pod(namespace, name))
        } else if let Some(text) = text.strip_prefix("svc:") {
            named(text).map(|(namespace, name)| Self::Service(namespace, name))
        } else if let Ok(address) = text.parse::<IpAddr>() {
            Some(Self::Address(address.to_canonical()))
        } else {
            // As the matrix writes it: namespace/name[Kind].
            let (text, kind) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
                Some((text, kind)) => (text, Some(kind.to_owned())),
                None => (text, None),
            };
            let named = named(text).filter(|_| kind.as_ref().is_none_or(|kind| !kind.is_empty()));
            named.map(|(namespace, name)| Self::Workload(namespace, name, kind))
        };
        found.ok_or_else(|| "give NS/NAME, NS/NAME[KIND], pod:NS/NAME, svc:NS/NAME or an address".to_owned())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(namespace, name) => write!(out, "pod:{namespace}/{name}"),
            Self::Workload(namespace, name, None) => write!(out, "{namespace}/{name}"),
            Self::Workload(namespace, name, Some(kind)) => write!(out, "{namespace}/{name}[{kind}]"),
            Self::Service(namespace, name) => write!(out, "svc:{namespace}/{name}"),
            Self::Address(address) => write!(out, "{address}"),
        }
    }
}

impl Name {
    /// What it stands for in the cluster: a pod, the pods of a workload, a service, or an address.
    pub(crate) fn find(&self, cluster: &Cluster) -> anyhow::Result<Found> {
        match self {
            Self::Address(address) => Ok(Found::Address(*address)),
            Self::Service(namespace, name) => {
                let found = cluster
                    .services
                    .iter()
                    .position(|service| (&service.namespace, &service.name) == (namespace, name));
                Ok(Found::Service(found.ok_or_else(|| self.missing_service(cluster, namespace))?))
            }
            Self::Pod(namespace, name) => {
                let pods = places(cluster, |workload| is_pod(workload, namespace, name));
                if pods.is_empty() {
                    return Err(self.missing("pod", cluster.workloads.len()).into());
                }
                Ok(Found::Workloads(pods))
            }
            Self::Workload(namespace, name, kind) => {
                let pods = places(cluster, |workload| is_pod(workload, namespace, name));
                if kind.is_none() && !pods.is_empty() {
                    return Ok(Found::Workloads(pods));
                }
                let is = |(found_kind, found_name): (&str, &str)| {
                    found_name == name && kind.as_ref().is_none_or(|kind| kind == found_kind)
                };
                let shown = places(cluster, |workload| {
                    &workload.namespace == namespace
                        && (is(workload.shown_as()) || is((&workload.kind, &workload.name)))
                });
                if shown.is_empty() {
                    return Err(self.missing("pod or workload", cluster.workloads.len()).into());
                }
                let titles: BTreeSet<String> =
                    shown.iter().filter_map(|place| cluster.workloads.get(*place)).map(Workload::title).collect();
                if kind.is_none() && titles.len() > 1 {
                    return Err(Failure::usage(format!("{self}: {} workloads go by this name", titles.len()))
                        .remedy(format!("give one of {}", some_of(titles)))
                        .into());
                }
                Ok(Found::Workloads(shown))
            }
        }
    }

    fn missing_service(&self, cluster: &Cluster, namespace: &str) -> Failure {
        let of = cluster.services.iter().filter(|service| service.namespace == namespace);
        let names: BTreeSet<String> = of.map(|service| service.name.clone()).collect();
        let remedy = if names.is_empty() {
            format!("no service of namespace {namespace} was read; names are NS/NAME")
        } else {
            format!("the services of namespace {namespace} are {}", some_of(names))
        };
        Failure::usage(format!("{self}: no such service among the {} that were read", cluster.services.len()))
            .remedy(remedy)
    }

    fn missing(&self, what: &str, of: usize) -> Failure {
        Failure::usage(format!("{self}: no such {what} among the {of} that were read"))
            .remedy("polload matrix IN... names what there is; names are NS/NAME")
    }
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Pods or templates, by their places; at least one.
    Workloads(Vec<usize>),
    /// A service, by its place.
    Service(usize),
    /// An address.
    Address(IpAddr),
}

impl Found {
    /// The addresses it may be met under, one of each family, the first that it has first. Of workloads those of
    /// the first, of a service its cluster addresses.
    pub(crate) fn addresses(&self, cluster: &Cluster) -> Vec<IpAddr> {
        let all = match self {
            Self::Address(address) => return vec![*address],
            Self::Service(place) => cluster.services.get(*place).map(|service| &service.cluster_ips),
            Self::Workloads(places) => {
                places.first().and_then(|place| cluster.workloads.get(*place)).map(|workload| &workload.addresses)
            }
        };
        let first = all.and_then(|all| all.first()).copied();
        let other = first.and_then(|first| all?.iter().find(|other| other.is_ipv4() != first.is_ipv4()).copied());
        first.into_iter().chain(other).collect()
    }

    /// The party it is under an address, or without one.
    pub(crate) fn party(&self, address: Option<IpAddr>) -> Option<Party> {
        Some(match self {
            Self::Address(address) => Party::Address(*address),
            Self::Service(place) => Party::Service(*place),
            Self::Workloads(places) => Party::Workload { index: *places.first()?, address },
        })
    }
}

/// The first few of some names, and how many more there are.
fn some_of(names: BTreeSet<String>) -> String {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn is_pod(workload: &Workload, namespace: &str, name: &str) -> bool {
    workload.kind == "Pod" && workload.namespace == namespace && workload.name == name
}

fn places(cluster: &Cluster, wanted: impl Fn(&Workload) -> bool) -> Vec<usize> {
    let workloads = cluster.workloads.iter().enumerate();
    workloads.filter(|(_, workload)| wanted(workload)).map(|(place, _)| place).collect()
}

/// A port with its protocol: `80/tcp`; TCP where none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
}

impl Port {
    pub(crate) fn transport(self) -> Transport {
        self.protocol.into()
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let number = number.parse::<u16>().ok().filter(|number| *number > 0);
        let protocol = Protocol::from_name(&protocol.to_ascii_uppercase());
        match (number, protocol) {
            (Some(number), Some(protocol)) => Ok(Self { number, protocol }),
            _ => Err("give a port from 1 to 65535 and tcp, udp or sctp, such as 80/tcp".to_owned()),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.number, self.protocol.name().to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_named_in_four_ways() {
        let two = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let name = |text: &str| text.parse::<Name>().unwrap();
        let (namespace, of) = two("shop", "web");
        assert_eq!(name("shop/web"), Name::Workload(namespace.clone(), of.clone(), None));
        let kind = Some("Deployment".to_owned());
        assert_eq!(name("shop/web[Deployment]"), Name::Workload(namespace.clone(), of.clone(), kind));
        assert_eq!(name("shop/web[Deployment]").to_string(), "shop/web[Deployment]");
        assert_eq!(name("pod:shop/web"), Name::Pod(namespace.clone(), of.clone()));
        assert_eq!(name("svc:shop/web"), Name::Service(namespace, of));
        assert_eq!(name("::ffff:10.0.0.1"), Name::Address("10.0.0.1".parse().unwrap()));
        for text in ["web", "/web", "shop/", "a/b/c", "pod:web", "svc:", "10.0.0", "", "a/b[]"] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_is_of_tcp_unless_it_says_so() {
        assert_eq!("80".parse(), Ok(Port { number: 80, protocol: Protocol::Tcp }));
        assert_eq!("53/UDP".parse(), Ok(Port { number: 53, protocol: Protocol::Udp }));
        for text in ["0/tcp", "65536", "80/icmp", "http", "/tcp", "80/"] {
            assert!(text.parse::<Port>().is_err(), "{text}");
        }
    }
}
