//! Reading what `kubectl get -o json` prints.
//!
//! The items of a list are read one by one and only what is of use is kept of each, so memory goes with the number of
//! pods and not with the size of the input.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufReader, Read};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::item::{Head, Item, without_place};
use crate::names::ServiceName;
use crate::pod::Pod;
use crate::read::MAX_INPUT_BYTES;
use crate::warning::{Warning, Warnings};

/// Why an input could not be read to its end. What came before is kept.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read.
    #[error("cannot read Kubernetes objects from {place}: {error}")]
    Io {
        /// Where it came from.
        place: String,
        /// What happened.
        error: io::Error,
    },
    /// It is no JSON, or neither an object nor a list of them.
    #[error("cannot read Kubernetes objects from {place}: {reason}: give the output of kubectl get -o json")]
    Syntax {
        /// Where it came from.
        place: String,
        /// What is wrong, and where.
        reason: String,
    },
}

/// Kubernetes objects: what is kept of pods, services, nodes and namespaces. Objects of other kinds are passed over.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub(crate) pods: Vec<Arc<Pod>>,
    places: HashMap<(String, String), usize>,
    pub(crate) services: Vec<Service>,
    /// Addresses of nodes, each with the name of its node.
    pub(crate) nodes: Vec<(IpAddr, Arc<str>)>,
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    read: usize,
}

/// A service's virtual addresses.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<ServiceName>,
    pub(crate) cluster: Vec<IpAddr>,
    pub(crate) external: Vec<IpAddr>,
    /// Port and IP protocol number.
    pub(crate) ports: Vec<(u16, u8)>,
}

impl Objects {
    /// Reads a list, an object, or several of them one after the other, from `input`; `place` names it in messages.
    ///
    /// A pod that was read before is replaced. What could not be used is told in the warnings.
    ///
    /// # Errors
    /// When the input cannot be read, is longer than [`MAX_INPUT_BYTES`], or is no JSON; what came before is kept.
    pub fn read(&mut self, input: impl Read, place: &str) -> Result<Vec<Warning>, ReadError> {
        self.read_limited(input, place, MAX_INPUT_BYTES)
    }

    fn read_limited(&mut self, input: impl Read, place: &str, limit: u64) -> Result<Vec<Warning>, ReadError> {
        let mut warnings = Warnings::default();
        let input = BufReader::with_capacity(1 << 16, Limited { input, left: limit, limit });
        let mut json = serde_json::Deserializer::from_reader(input);
        let mut index = 0;
        while json.end().is_err() {
            let document = Document { objects: self, place, index: &mut index, warnings: &mut warnings };
            document.deserialize(&mut json).map_err(|error| {
                let place = place.to_owned();
                if error.is_io() {
                    ReadError::Io { place, error: error.into() }
                } else {
                    ReadError::Syntax { place, reason: error.to_string() }
                }
            })?;
        }
        Ok(warnings.into_vec(place))
    }

    /// Whether nothing of use was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.read == 0
    }

    /// The pods, in the order they were first read.
    #[must_use]
    pub fn pods(&self) -> &[Arc<Pod>] {
        &self.pods
    }

    fn add(&mut self, json: &str, list_kind: Option<&str>, item: &mut Item<'_>) {
        let head: Head = match serde_json::from_str(json) {
            Ok(head) => head,
            Err(error) => return item.warn("", without_place(&error)),
        };
        let Some(kind) = head.kind.as_deref().or(list_kind) else {
            return item.warn("kind", "missing");
        };
        if !matches!(head.api_version.as_deref(), None | Some("v1")) {
            return;
        }
        item.named(kind, &head.metadata);
        match kind {
            "Pod" => self.add_pod(json, item),
            "Service" => self.add_service(json, item),
            "Node" => self.add_node(json, item),
            "Namespace" => self.add_namespace(json, item),
            "List" => return item.warn("kind", "a list within a list"),
            _ => return,
        }
        self.read += 1;
    }

    fn add_pod(&mut self, json: &str, item: &mut Item<'_>) {
        let Some(pod) = item.parse::<core::Pod>(json) else {
            return;
        };
        // On which address a node is reached, its pods know too, where no node was given.
        let status = pod.status.iter();
        let hosts =
            status.flat_map(|status| status.host_ips.iter().flatten().map(|host| &host.ip).chain(&status.host_ip));
        let hosts: Vec<IpAddr> =
            hosts.filter_map(|host| host.parse().ok()).map(|host: IpAddr| host.to_canonical()).collect();
        let pod = Pod::from_api(pod, item);
        if pod.name.is_empty() {
            return item.warn("metadata.name", "missing");
        }
        if let Some(node) = &pod.node {
            let node: Arc<str> = node.as_str().into();
            self.nodes.extend(hosts.into_iter().map(|host| (host, Arc::clone(&node))));
        }
        let next = self.pods.len();
        let place = *self.places.entry((pod.namespace.clone(), pod.name.clone())).or_insert(next);
        match self.pods.get_mut(place) {
            Some(old) => *old = Arc::new(pod),
            None => self.pods.push(Arc::new(pod)),
        }
    }

    fn add_service(&mut self, json: &str, item: &mut Item<'_>) {
        let Some(service) = item.parse::<core::Service>(json) else {
            return;
        };
        let spec = service.spec.unwrap_or_default();
        let mut cluster = Vec::new();
        let cluster_ips = spec.cluster_ips.unwrap_or_else(|| spec.cluster_ip.into_iter().collect());
        for (index, address) in cluster_ips.iter().enumerate() {
            // "None" is a headless service; an empty one waits for its address.
            if !address.is_empty() && address != "None" {
                cluster.extend(item.address(&format!("spec.clusterIPs[{index}]"), address));
            }
        }
        let mut external = Vec::new();
        for (index, address) in spec.external_ips.iter().flatten().enumerate() {
            external.extend(item.address(&format!("spec.externalIPs[{index}]"), address));
        }
        let balancer = service.status.and_then(|status| status.load_balancer).and_then(|status| status.ingress);
        for (index, address) in balancer.iter().flatten().enumerate() {
            if let Some(ip) = &address.ip {
                external.extend(item.address(&format!("status.loadBalancer.ingress[{index}].ip"), ip));
            }
        }
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => 6,
                Some("UDP") => 17,
                Some("SCTP") => 132,
                Some(_) => return None,
            };
            Some((u16::try_from(port.port).ok()?, protocol))
        });
        let name = Arc::new(ServiceName {
            namespace: service.metadata.namespace.unwrap_or_default(),
            name: service.metadata.name.unwrap_or_default(),
        });
        self.services.push(Service { name, cluster, external, ports: ports.collect() });
    }

    fn add_node(&mut self, json: &str, item: &mut Item<'_>) {
        let Some(node) = item.parse::<core::Node>(json) else {
            return;
        };
        let Some(name) = node.metadata.name else {
            return item.warn("metadata.name", "missing");
        };
        let name: Arc<str> = name.into();
        let addresses = node.status.and_then(|status| status.addresses);
        for (index, address) in addresses.iter().flatten().enumerate() {
            if matches!(address.type_.as_str(), "InternalIP" | "ExternalIP") {
                let ip = item.address(&format!("status.addresses[{index}].address"), &address.address);
                self.nodes.extend(ip.map(|ip| (ip, Arc::clone(&name))));
            }
        }
    }

    fn add_namespace(&mut self, json: &str, item: &mut Item<'_>) {
        let Some(namespace) = item.parse::<core::Namespace>(json) else {
            return;
        };
        let Some(name) = namespace.metadata.name else {
            return item.warn("metadata.name", "missing");
        };
        self.namespaces.insert(name, namespace.metadata.labels.unwrap_or_default());
    }
}

/// A document: a list, an object, or a JSON array of objects.
struct Document<'a> {
    objects: &'a mut Objects,
    place: &'a str,
    index: &'a mut usize,
    warnings: &'a mut Warnings,
}

impl Document<'_> {
    fn item(&mut self, json: &str, list_kind: Option<&str>) {
        let mut item = Item::new(self.place, *self.index, self.warnings);
        *self.index += 1;
        self.objects.add(json, list_kind, &mut item);
    }
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a Kubernetes object or list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(json) = items.next_element::<Box<RawValue>>()? {
            self.item(json.get(), None);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut kind: Option<String> = None;
        let mut is_list = false;
        // Items of a PodList bear no kind of their own; where the list's kind comes after them, they wait for it.
        let mut waiting: Vec<Box<RawValue>> = Vec::new();
        // Fields of what may turn out to be a single object.
        let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                is_list = true;
                fields.clear();
                map.next_value_seed(Items { document: &mut self, kind: kind.as_deref(), waiting: &mut waiting })?;
                continue;
            }
            let value = map.next_value::<Box<RawValue>>()?;
            if key == "kind" {
                kind = serde_json::from_str(value.get()).ok();
            }
            if !is_list {
                fields.push((key, value));
            }
        }
        if is_list {
            for json in waiting {
                self.item(json.get(), item_kind(kind.as_deref()));
            }
        } else {
            let field =
                |(key, value): &(String, Box<RawValue>)| Ok(format!("{}:{}", serde_json::to_string(key)?, value.get()));
            let fields: Result<Vec<String>, serde_json::Error> = fields.iter().map(field).collect();
            self.item(&format!("{{{}}}", fields.map_err(serde::de::Error::custom)?.join(",")), None);
        }
        Ok(())
    }
}

/// The kind of the items of a list of kind `list`, where it tells: `Pod` for `PodList`.
fn item_kind(list: Option<&str>) -> Option<&str> {
    list?.strip_suffix("List").filter(|kind| !kind.is_empty())
}

/// The items of a list.
struct Items<'a, 'b> {
    document: &'a mut Document<'b>,
    kind: Option<&'a str>,
    waiting: &'a mut Vec<Box<RawValue>>,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of Kubernetes objects in \"items\"")
    }

    /// An empty list of some clients.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(json) = items.next_element::<Box<RawValue>>()? {
            let has_kind = serde_json::from_str(json.get()).is_ok_and(|head: Head| head.kind.is_some());
            if has_kind || self.kind.is_some() {
                self.document.item(json.get(), item_kind(self.kind));
            } else {
                self.waiting.push(json);
            }
        }
        Ok(())
    }
}

/// A reader that fails at its limit, so that no input can fill the memory.
struct Limited<R> {
    input: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {} bytes", self.limit))
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
