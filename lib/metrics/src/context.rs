//! Who stands in labels: Hubble's contexts, and its `labelsContext`.

use chainkit_flow::{Endpoint, Flow, TrafficDirection};

use crate::metrics::Pod;
use crate::store::Label;

/// How an end of a flow is called in the label `source` or `destination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identifier {
    /// All of its labels.
    Identity,
    Namespace,
    /// Namespace and name.
    Pod,
    PodName,
    /// Its names.
    Dns,
    Ip,
    /// Its reserved label: `reserved:kube-apiserver` if it bears that, else the first.
    Reserved,
    /// Namespace and name of what the pod belongs to.
    Workload,
    WorkloadName,
    /// The application, by the labels that are in use for that.
    App,
}

const IDENTIFIERS: [(&str, Identifier); 10] = [
    ("identity", Identifier::Identity),
    ("namespace", Identifier::Namespace),
    ("pod", Identifier::Pod),
    ("pod-name", Identifier::PodName),
    ("dns", Identifier::Dns),
    ("ip", Identifier::Ip),
    ("reserved-identity", Identifier::Reserved),
    ("workload", Identifier::Workload),
    ("workload-name", Identifier::WorkloadName),
    ("app", Identifier::App),
];

impl Identifier {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        IDENTIFIERS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, identifier)| identifier)
    }

    pub(crate) fn grammar() -> String {
        format!("one or more of {}, parted by |", IDENTIFIERS.map(|(name, _)| name).join(", "))
    }

    /// Whether it names one pod among others.
    const fn is_of_pod(self) -> bool {
        matches!(self, Self::Pod | Self::PodName | Self::Ip)
    }
}

/// A label that `labelsContext` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    SourceIp,
    SourcePod,
    SourceNamespace,
    SourceWorkload,
    SourceWorkloadKind,
    SourceApp,
    DestinationIp,
    DestinationPod,
    DestinationNamespace,
    DestinationWorkload,
    DestinationWorkloadKind,
    DestinationApp,
    TrafficDirection,
}

const LABELS: [(&str, Named); 13] = [
    ("source_ip", Named::SourceIp),
    ("source_pod", Named::SourcePod),
    ("source_namespace", Named::SourceNamespace),
    ("source_workload", Named::SourceWorkload),
    ("source_workload_kind", Named::SourceWorkloadKind),
    ("source_app", Named::SourceApp),
    ("destination_ip", Named::DestinationIp),
    ("destination_pod", Named::DestinationPod),
    ("destination_namespace", Named::DestinationNamespace),
    ("destination_workload", Named::DestinationWorkload),
    ("destination_workload_kind", Named::DestinationWorkloadKind),
    ("destination_app", Named::DestinationApp),
    ("traffic_direction", Named::TrafficDirection),
];

/// Labels that tell the ends of a flow. What is given for one direction takes the place of what is given for both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    pub(crate) source: Vec<Identifier>,
    pub(crate) source_egress: Vec<Identifier>,
    pub(crate) source_ingress: Vec<Identifier>,
    pub(crate) destination: Vec<Identifier>,
    pub(crate) destination_egress: Vec<Identifier>,
    pub(crate) destination_ingress: Vec<Identifier>,
    pub(crate) labels: Vec<Named>,
}

impl Contexts {
    pub(crate) fn label_from_name(name: &str) -> Option<Named> {
        LABELS.into_iter().find(|(known, _)| *known == name).map(|(_, label)| label)
    }

    pub(crate) fn label_grammar() -> String {
        format!("one or more of {}, parted by commas", LABELS.map(|(name, _)| name).join(", "))
    }

    fn has_source(&self) -> bool {
        !(self.source.is_empty() && self.source_egress.is_empty() && self.source_ingress.is_empty())
    }

    fn has_destination(&self) -> bool {
        !(self.destination.is_empty() && self.destination_egress.is_empty() && self.destination_ingress.is_empty())
    }

    /// The names of the labels that [`values`](Self::values) gives.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.values(&Flow::default(), false).0.into_iter().map(|(name, _)| name).collect()
    }

    /// Labels of a flow, always the same ones in the same order, and the pods whose own names or addresses they bear. Of one that is
    /// `turned` the ends change places.
    pub(crate) fn values(&self, flow: &Flow, turned: bool) -> (Vec<Label>, Vec<Pod>) {
        let mut labels = Vec::new();
        let mut pods = Vec::new();
        let source = Side { flow, endpoint: flow.source.as_deref(), is_source: true };
        let destination = Side { flow, endpoint: flow.destination.as_deref(), is_source: false };
        let (source, destination) = if turned { (destination, source) } else { (source, destination) };
        for (name, label) in LABELS {
            if !self.labels.contains(&label) {
                continue;
            }
            let (value, of_pod) = match label {
                Named::SourceIp => (source.ip(), Some(&source)),
                Named::SourcePod => (source.pod_name(), Some(&source)),
                Named::SourceNamespace => (source.namespace(), None),
                Named::SourceWorkload => (source.workload(false), None),
                Named::SourceWorkloadKind => (source.workload_kind(), None),
                Named::SourceApp => (source.app(), None),
                Named::DestinationIp => (destination.ip(), Some(&destination)),
                Named::DestinationPod => (destination.pod_name(), Some(&destination)),
                Named::DestinationNamespace => (destination.namespace(), None),
                Named::DestinationWorkload => (destination.workload(false), None),
                Named::DestinationWorkloadKind => (destination.workload_kind(), None),
                Named::DestinationApp => (destination.app(), None),
                Named::TrafficDirection => (direction(flow), None),
            };
            if let Some(side) = of_pod {
                pods.extend(side.pod());
            }
            labels.push((name, value));
        }
        let is_egress = flow.traffic_direction == TrafficDirection::Egress;
        let is_ingress = flow.traffic_direction == TrafficDirection::Ingress;
        let mut end = |name, side: &Side<'_>, both: &[Identifier], egress: &[Identifier], ingress: &[Identifier]| {
            let identifiers = match (is_egress && !egress.is_empty(), is_ingress && !ingress.is_empty()) {
                (true, _) => egress,
                (_, true) => ingress,
                _ => both,
            };
            let named = identifiers.iter().map(|identifier| (identifier, side.named(*identifier)));
            // The first that says anything.
            let found = named.into_iter().find(|(_, value)| !value.is_empty());
            if found.as_ref().is_some_and(|(identifier, _)| identifier.is_of_pod()) {
                pods.extend(side.pod());
            }
            labels.push((name, found.map(|(_, value)| value).unwrap_or_default()));
        };
        if self.has_source() {
            end("source", &source, &self.source, &self.source_egress, &self.source_ingress);
        }
        if self.has_destination() {
            end("destination", &destination, &self.destination, &self.destination_egress, &self.destination_ingress);
        }
        pods.dedup();
        (labels, pods)
    }
}

/// Which way a connection goes, in small letters.
pub(crate) fn direction(flow: &Flow) -> String {
    match flow.traffic_direction {
        TrafficDirection::Ingress => "ingress",
        TrafficDirection::Egress => "egress",
        _ => "unknown",
    }
    .to_owned()
}

/// One end of a flow.
struct Side<'a> {
    flow: &'a Flow,
    endpoint: Option<&'a Endpoint>,
    is_source: bool,
}

impl Side<'_> {
    fn named(&self, identifier: Identifier) -> String {
        match identifier {
            Identifier::Identity => self.labels().join(","),
            Identifier::Namespace => self.namespace(),
            Identifier::Pod => self.within_namespace(self.pod_name()),
            Identifier::PodName => self.pod_name(),
            Identifier::Dns => {
                let names = if self.is_source { &self.flow.source_names } else { &self.flow.destination_names };
                names.join(",")
            }
            Identifier::Ip => self.ip(),
            Identifier::Reserved => self.reserved(),
            Identifier::Workload => self.within_namespace(self.workload(false)),
            Identifier::WorkloadName => self.workload(false),
            Identifier::App => self.app(),
        }
    }

    fn labels(&self) -> &[String] {
        self.endpoint.map_or(&[], |endpoint| &endpoint.labels)
    }

    fn namespace(&self) -> String {
        self.endpoint.map(|endpoint| endpoint.namespace.clone()).unwrap_or_default()
    }

    fn pod_name(&self) -> String {
        self.endpoint.map(|endpoint| endpoint.pod_name.clone()).unwrap_or_default()
    }

    fn within_namespace(&self, name: String) -> String {
        let namespace = self.namespace();
        if name.is_empty() || namespace.is_empty() { name } else { format!("{namespace}/{name}") }
    }

    fn pod(&self) -> Option<Pod> {
        let endpoint = self.endpoint.filter(|endpoint| !endpoint.pod_name.is_empty())?;
        Some(Pod { namespace: endpoint.namespace.as_str().into(), name: endpoint.pod_name.as_str().into() })
    }

    fn ip(&self) -> String {
        let ip = self.flow.ip.as_ref();
        let address = ip.and_then(|ip| if self.is_source { ip.source.as_ref() } else { ip.destination.as_ref() });
        address.map(ToString::to_string).unwrap_or_default()
    }

    fn workload(&self, kind: bool) -> String {
        let workload = self.endpoint.and_then(|endpoint| endpoint.workloads.first());
        workload.map(|workload| if kind { workload.kind.clone() } else { workload.name.clone() }).unwrap_or_default()
    }

    fn workload_kind(&self) -> String {
        self.workload(true)
    }

    fn reserved(&self) -> String {
        const API_SERVER: &str = "reserved:kube-apiserver";
        let labels = self.labels();
        let found = labels.iter().find(|label| *label == API_SERVER);
        let found = found.or_else(|| labels.iter().find(|label| label.starts_with("reserved:")));
        found.cloned().unwrap_or_default()
    }

    /// By the label that Kubernetes recommends, by the one that was before it, and by the one that everybody uses.
    fn app(&self) -> String {
        const KEYS: [&str; 3] = ["k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app="];
        let values = self.labels().iter().filter_map(|label| KEYS.iter().find_map(|key| label.strip_prefix(key)));
        values.into_iter().find(|value| !value.is_empty()).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn flow() -> Flow {
        serde_json::from_str(
            r#"{"IP":{"source":"10.0.0.1","destination":"93.184.216.34"},"traffic_direction":"EGRESS",
            "source":{"namespace":"shop","pod_name":"web-1","labels":["k8s:app=web","k8s:tier=front"],"workloads":[{"name":"web","kind":"Deployment"}]},
            "destination":{"labels":["reserved:world","reserved:kube-apiserver"]},"destination_names":["example.org"]}"#,
        )
        .unwrap()
    }

    fn values(config: &str) -> Vec<String> {
        let config: Config = config.parse().unwrap();
        config.contexts.values(&flow(), false).0.into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn each_identifier_names_an_end() {
        for (name, source, destination) in [
            ("identity", "k8s:app=web,k8s:tier=front", "reserved:world,reserved:kube-apiserver"),
            ("namespace", "shop", ""),
            ("pod", "shop/web-1", ""),
            ("pod-name", "web-1", ""),
            ("dns", "", "example.org"),
            ("ip", "10.0.0.1", "93.184.216.34"),
            ("reserved-identity", "", "reserved:kube-apiserver"),
            ("workload", "shop/web", ""),
            ("workload-name", "web", ""),
            ("app", "web", ""),
        ] {
            let config = format!("flow:sourceContext={name};destinationContext={name}");
            assert_eq!(values(&config), [source, destination], "{name}");
        }
    }

    #[test]
    fn the_first_identifier_that_says_anything_counts() {
        assert_eq!(values("flow:destinationContext=pod|dns|ip"), ["example.org"]);
        assert_eq!(values("flow:destinationContext=pod|namespace"), [""]);
    }

    #[test]
    fn what_is_given_for_a_direction_comes_before_what_is_given_for_both() {
        assert_eq!(values("flow:sourceContext=ip;sourceEgressContext=pod-name"), ["web-1"]);
        assert_eq!(values("flow:sourceContext=ip;sourceIngressContext=pod-name"), ["10.0.0.1"]);
        // There, as another flow may have one: a metric's labels are always the same.
        assert_eq!(values("flow:sourceIngressContext=pod-name"), [""]);
    }

    #[test]
    fn labels_come_by_name() {
        let config = "flow:labelsContext=traffic_direction,source_workload_kind,destination_ip,source_app";
        assert_eq!(values(config), ["Deployment", "web", "93.184.216.34", "egress"]);
    }

    #[test]
    fn series_belong_to_pods_that_they_name() {
        let pods = |config: &str| config.parse::<Config>().unwrap().contexts.values(&flow(), false).1;
        let web = Pod { namespace: "shop".into(), name: "web-1".into() };
        assert_eq!(pods("flow:sourceContext=pod").as_slice(), std::slice::from_ref(&web));
        assert_eq!(pods("flow:labelsContext=source_pod,source_ip"), [web]);
        assert!(pods("flow:sourceContext=workload;labelsContext=source_namespace").is_empty());
        assert!(pods("flow:destinationContext=ip").is_empty());
    }
}
