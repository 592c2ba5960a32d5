//! Pods as the AWS VPC CNI knows them: the addresses it gave out, and the names it gives to host ends.
//!
//! The file names no network namespace. But the host end of a pod's veth is called after a digest of the pod's name, and the
//! interface leads to the namespace.

use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sha1::{Digest, Sha1};

use super::claim::{Attachment, Claim, Source};
use super::files;

/// Where it lies; the second is the first, but on nodes that are looked at from a container.
const FILES: [&str; 2] = ["run/aws-node/ipam.json", "var/run/aws-node/ipam.json"];
/// A node has some hundred pods, of some hundred bytes each.
pub(crate) const MAX_BYTES: u64 = 8 << 20;
/// A pod has as many interfaces as the largest instances have network cards, at the most.
const MAX_INTERFACES: u64 = 16;

/// The datastore's checkpoint (`CheckpointData` in pkg/ipamd/datastore of amazon-vpc-cni-k8s).
#[derive(Deserialize)]
struct Checkpoint {
    version: String,
    #[serde(default)]
    allocations: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allocation {
    #[serde(default)]
    network_name: String,
    #[serde(default, rename = "containerID")]
    container_id: String,
    #[serde(default)]
    if_name: String,
    #[serde(default)]
    ipv4: String,
    #[serde(default)]
    ipv6: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    k8s_pod_namespace: String,
    #[serde(default)]
    k8s_pod_name: String,
    #[serde(default)]
    interfaces_count: u64,
}

/// All pods with an address of the VPC CNI, and what could not be read; none where the VPC CNI is not.
pub(super) fn read(root: &Path) -> (Vec<Claim>, Vec<String>) {
    for path in FILES.map(|file| root.join(file)) {
        let read = match files::read(&path, MAX_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other,
        };
        return match read.map_err(|error| error.to_string()).and_then(|bytes| parse(&bytes)) {
            Ok((claims, bad)) => {
                (claims, bad.into_iter().map(|reason| format!("{}: {reason}: left out", path.display())).collect())
            }
            Err(reason) => (Vec::new(), vec![format!("{}: {reason}: left out", path.display())]),
        };
    }
    (Vec::new(), Vec::new())
}

/// Reads the file: the pods it names, and what is wrong with the others.
///
/// # Errors
/// Says why it is no such file.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Vec<Claim>, Vec<String>), String> {
    let checkpoint: Checkpoint = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is torn, or no address list of the VPC CNI: {error}"))?;
    if !checkpoint.version.starts_with("vpc-cni-ipam/") {
        return Err(format!("its version is {:?}, and only vpc-cni-ipam is known", checkpoint.version));
    }
    let (mut claims, mut bad) = (Vec::new(), Vec::new());
    for (number, value) in checkpoint.allocations.unwrap_or_default().into_iter().enumerate() {
        match Allocation::deserialize(value) {
            Ok(allocation) => claims.push(claim(allocation)),
            Err(error) => bad.push(format!("allocation {number}: {error}")),
        }
    }
    Ok((claims, bad))
}

fn claim(allocation: Allocation) -> Claim {
    let Metadata { k8s_pod_namespace: namespace, k8s_pod_name: name, interfaces_count } = allocation.metadata;
    let host_names = match name.as_str() {
        "" => Vec::new(),
        _ => (0..interfaces_count.clamp(1, MAX_INTERFACES)).map(|index| host_name(&namespace, &name, index)).collect(),
    };
    Claim {
        namespace,
        name,
        container_id: allocation.container_id,
        addresses: [allocation.ipv4, allocation.ipv6].iter().filter_map(|text| text.parse::<IpAddr>().ok()).collect(),
        attachments: vec![Attachment { network: allocation.network_name, ifname: allocation.if_name }],
        host_names,
        ..Claim::new(Source::Ipam)
    }
}

/// What the name of a pod's host end is behind its prefix: the first 11 hexadecimal digits of a SHA-1 (`HostVethNameSuffix` of the VPC
/// CNI's pkg/utils). Interfaces past the first have their number digested too.
fn host_name(namespace: &str, name: &str, index: u64) -> String {
    let digested = if index == 0 { format!("{namespace}.{name}") } else { format!("{namespace}.{name}.{index}") };
    let hexadecimal: String = Sha1::digest(digested).iter().map(|byte| format!("{byte:02x}")).collect();
    hexadecimal.chars().take(11).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FILE: &str = r#"{"version":"vpc-cni-ipam/1","allocations":[
        {"networkName":"aws-cni","containerID":"c1","ifName":"eth0","ipv4":"10.1.0.5","allocationTimestamp":1760000000000000000,
         "metadata":{"k8sPodNamespace":"shop","k8sPodName":"cart"}},
        {"networkName":"aws-cni","containerID":"c2","ifName":"eth0","ipv6":"fd00::6","allocationTimestamp":1760000000000000000,
         "metadata":{"k8sPodNamespace":"shop","k8sPodName":"web","interfacesCount":2}}]}"#;

    #[test]
    fn pods_are_read_with_the_names_of_their_host_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("var/run/aws-node")).unwrap();
        fs::write(folder.path().join("var/run/aws-node/ipam.json"), FILE).unwrap();
        let (claims, warnings) = read(folder.path());
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            claims[0],
            Claim {
                namespace: "shop".into(),
                name: "cart".into(),
                container_id: "c1".into(),
                addresses: vec!["10.1.0.5".parse().unwrap()],
                attachments: vec![Attachment { network: "aws-cni".into(), ifname: "eth0".into() }],
                // printf %s shop.cart | sha1sum
                host_names: vec!["e45f23531db".into()],
                ..Claim::new(Source::Ipam)
            }
        );
        assert_eq!(claims[1].addresses, ["fd00::6".parse::<IpAddr>().unwrap()]);
        assert_eq!(claims[1].host_names, [host_name("shop", "web", 0), host_name("shop", "web", 1)]);
    }

    #[test]
    fn a_node_without_the_vpc_cni_has_no_such_pods() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), (vec![], vec![]));
    }

    #[test]
    fn a_torn_file_is_told_and_a_bad_allocation_stops_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/aws-node/ipam.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for (text, claims, reason) in [
            (&FILE[..100], 0, "it is torn"),
            (r#"{"version":"other/1"}"#, 0, "its version is"),
            (r#"{"version":"vpc-cni-ipam/1","allocations":null}"#, 0, ""),
            (&FILE.replace("\"c1\"", "7"), 1, "allocation 0: invalid type"),
        ] {
            fs::write(&path, text).unwrap();
            let (found, warnings) = read(folder.path());
            assert_eq!(found.len(), claims, "{text}");
            assert_eq!(warnings.iter().any(|warning| warning.contains(reason)), !reason.is_empty(), "{warnings:?}");
        }
    }

    #[test]
    fn the_number_of_interfaces_is_no_reason_to_run_out_of_memory() {
        let text = FILE.replace("\"interfacesCount\":2", "\"interfacesCount\":18446744073709551615");
        assert_eq!(parse(text.as_bytes()).unwrap().0[1].host_names.len(), 16);
    }
}
