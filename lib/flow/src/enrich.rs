//! Puts names into saved flows that bear none.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::layer4::{Layer4, Ports};
use crate::model::{Endpoint, Flow};
use crate::resolve::{Resolver, Service};
use crate::text::Lenient;

/// Gives the ends of a flow the names that `resolver` knows, where the flow itself has none, and returns the line with
/// them; `None` where nothing was to be added.
///
/// All else of the line stays as it is, fields that this version does not know included.
pub fn with_names(flow: &mut Flow, line: &[u8], resolver: &Resolver) -> Option<Vec<u8>> {
    let addresses = flow.ip.as_ref().map(|ip| (known(ip.source.as_ref()), known(ip.destination.as_ref())));
    let (source, destination) = addresses?;
    let protocol = match flow.l4 {
        Some(Layer4::Tcp(_)) => 6,
        Some(Layer4::Udp(_)) => 17,
        Some(Layer4::Sctp(_)) => 132,
        _ => 0,
    };
    let ports = flow.l4.and_then(|l4| l4.ports()).unwrap_or_default();
    let Ports { source_port, destination_port } = ports;
    let changes: Vec<(&str, Value)> = [
        name_end(&mut flow.source, source, resolver).map(|end| ("source", end)),
        name_end(&mut flow.destination, destination, resolver).map(|end| ("destination", end)),
        name_service(&mut flow.source_service, source, source_port, protocol, resolver)
            .map(|service| ("source_service", service)),
        name_service(&mut flow.destination_service, destination, destination_port, protocol, resolver)
            .map(|service| ("destination_service", service)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if changes.is_empty() {
        return None;
    }
    let mut line: Value = serde_json::from_slice(line).ok()?;
    let fields = line.get_mut("flow")?.as_object_mut()?;
    for (key, value) in changes {
        let old = fields.entry(key).or_insert_with(|| Value::Object(Map::new()));
        match (old, value) {
            (Value::Object(old), Value::Object(new)) => old.extend(new),
            (old, new) => *old = new,
        }
    }
    serde_json::to_vec(&line).ok()
}

fn known(address: Option<&Lenient<IpAddr>>) -> Option<IpAddr> {
    address.and_then(Lenient::known).copied()
}

fn name_end(end: &mut Option<Arc<Endpoint>>, address: Option<IpAddr>, resolver: &Resolver) -> Option<Value> {
    if end.as_ref().is_some_and(|end| !end.pod_name.is_empty() || !end.labels.is_empty()) {
        return None;
    }
    let found = resolver.endpoint(&address?)?;
    let old = end.as_deref().cloned().unwrap_or_default();
    let named = Endpoint {
        id: old.id,
        identity: if old.identity == 0 { found.identity } else { old.identity },
        cluster_name: old.cluster_name,
        ..Endpoint::clone(found)
    };
    let json = serde_json::to_value(&named).ok();
    *end = Some(Arc::new(named));
    json
}

fn name_service(
    service: &mut Option<Service>,
    address: Option<IpAddr>,
    port: u32,
    protocol: u8,
    resolver: &Resolver,
) -> Option<Value> {
    if service.is_some() {
        return None;
    }
    let found = resolver.service(&address?, u16::try_from(port).ok()?, protocol)?;
    let json = serde_json::to_value(&found).ok();
    *service = Some(found);
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Record;
    use chainkit_cluster::{Names, Objects};

    #[test]
    fn names_are_added_where_there_are_none_and_nothing_else_changes() {
        let mut objects = Objects::default();
        let pods = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"web"},
            "spec":{"containers":[]},"status":{"podIP":"10.0.0.1"}}"#;
        assert_eq!(objects.text("test", pods), []);
        let resolver = Resolver::new(Arc::new(Names::new(&objects, &[])), "", &[]);

        let line = br#"{"flow":{"IP":{"source":"10.0.0.1","destination":"192.0.2.1"},"source":{"ID":7,"identity":4711},
            "destination":{"namespace":"x","pod_name":"y"},"socket_cookie":"18446744073709551615"}}"#;
        let mut record: Record = serde_json::from_slice(line).unwrap();
        let named = with_names(record.flow.as_mut().unwrap(), line, &resolver).unwrap();
        let named: Value = serde_json::from_slice(&named).unwrap();
        assert_eq!(named["flow"]["source"]["pod_name"], "web");
        assert_eq!(named["flow"]["source"]["ID"], 7);
        assert_eq!(named["flow"]["source"]["identity"], 4711);
        assert_eq!(named["flow"]["destination"], serde_json::json!({"namespace":"x","pod_name":"y"}));
        assert_eq!(named["flow"]["socket_cookie"], "18446744073709551615");
        assert_eq!(record.flow.unwrap().source.unwrap().pod_name, "web");
    }

    #[test]
    fn a_flow_with_names_is_left_alone() {
        let line = br#"{"flow":{"IP":{"source":"10.0.0.1","destination":"192.0.2.1"}}}"#;
        let mut record: Record = serde_json::from_slice(line).unwrap();
        assert_eq!(with_names(record.flow.as_mut().unwrap(), line, &Resolver::default()), None);
    }
}
