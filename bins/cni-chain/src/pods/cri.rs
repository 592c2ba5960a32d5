//! Pods as the container runtime knows them: its CRI, which the kubelet speaks with it.
//!
//! Messages hold the fields that are used here, with the numbers of `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`; those of
//! `v1alpha2`, which runtimes of before 2022 speak, have the same.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::grpc::{Channel, Failure, NOT_FOUND, UNIMPLEMENTED};
use super::{Claim, Source};

/// Where runtimes listen: containerd, CRI-O, and Docker's adapter.
pub(super) const SOCKETS: [&str; 3] =
    ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/var/run/cri-dockerd.sock"];

/// Asking about all pods may take this long.
const LIMIT: Duration = Duration::from_secs(60);

/// `NamespaceMode.NODE`: the pod runs in the node's own namespace.
const NODE: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStateValue {
    /// `SANDBOX_READY` is 0.
    #[prost(int32, tag = "1")]
    state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxFilter {
    #[prost(message, optional, tag = "2")]
    state: Option<PodSandboxStateValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    filter: Option<PodSandboxFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(int32, tag = "3")]
    state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodIp {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(message, repeated, tag = "2")]
    additional_ips: Vec<PodIp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Namespace {
    #[prost(message, optional, tag = "2")]
    options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxPodSandboxStatus {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<Namespace>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<PodSandboxNetworkStatus>,
    #[prost(message, optional, tag = "6")]
    linux: Option<LinuxPodSandboxStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodSandboxStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

/// The pods that run and have a network of their own.
///
/// # Errors
/// When the runtime cannot be reached or gives no list. A pod that it says nothing of is told in the warnings.
pub(super) fn ask(socket: &Path) -> anyhow::Result<(Vec<Claim>, Vec<String>)> {
    let asking = || format!("cannot ask the container runtime at {}", socket.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.with_context(asking)?.block_on(async {
        let all = tokio::time::timeout(LIMIT, sandboxes(socket)).await;
        all.map_err(|_| anyhow::anyhow!("it took more than {} s", LIMIT.as_secs()))
            .and_then(|asked| Ok(asked?))
            .with_context(asking)
    })
}

async fn sandboxes(socket: &Path) -> Result<(Vec<Claim>, Vec<String>), Failure> {
    let mut channel = Channel::open(socket).await?;
    let request =
        ListPodSandboxRequest { filter: Some(PodSandboxFilter { state: Some(PodSandboxStateValue { state: 0 }) }) };
    let mut service = "runtime.v1.RuntimeService";
    let mut listed = channel.call(&format!("{service}/ListPodSandbox"), &request).await;
    if matches!(&listed, Err(failure) if failure.code == Some(UNIMPLEMENTED)) {
        service = "runtime.v1alpha2.RuntimeService";
        listed = channel.call(&format!("{service}/ListPodSandbox"), &request).await;
    }
    let listed: ListPodSandboxResponse = listed?;
    let (mut claims, mut warnings) = (Vec::new(), Vec::new());
    for sandbox in listed.items.into_iter().filter(|sandbox| sandbox.state == 0) {
        let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.id.clone(), verbose: true };
        match channel.call(&format!("{service}/PodSandboxStatus"), &request).await {
            Ok(status) => claims.extend(claim(sandbox, &status)),
            // It has ended since.
            Err(failure) if failure.code == Some(NOT_FOUND) => {}
            Err(failure) => {
                let metadata = sandbox.metadata.unwrap_or_default();
                warnings.push(format!("{}/{}: the runtime says: {failure}", metadata.namespace, metadata.name));
            }
        }
    }
    Ok((claims, warnings))
}

/// What the runtime claims of a sandbox; `None` for one in the node's own network namespace.
fn claim(sandbox: PodSandbox, answer: &PodSandboxStatusResponse) -> Option<Claim> {
    let status = answer.status.clone().unwrap_or_default();
    let options = status.linux.and_then(|linux| linux.namespaces).and_then(|namespaces| namespaces.options);
    if options.is_some_and(|options| options.network == NODE) {
        return None;
    }
    let network = status.network.unwrap_or_default();
    let addresses = std::iter::once(&network.ip).chain(network.additional_ips.iter().map(|one| &one.ip));
    let metadata = sandbox.metadata.unwrap_or_default();
    Some(Claim {
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        container_id: sandbox.id,
        netns: netns(&answer.info),
        addresses: addresses.filter_map(|address| address.parse::<IpAddr>().ok()).collect(),
        ..Claim::new(Source::Cri)
    })
}

/// The network namespace, out of the JSON that containerd and CRI-O add when asked for more: the sandbox's OCI configuration
/// names it; where it names none, the sandbox's first process is in it.
fn netns(info: &HashMap<String, String>) -> Option<PathBuf> {
    let parsed: Vec<Value> = info.values().filter_map(|text| serde_json::from_str(text).ok()).collect();
    let named = parsed.iter().find_map(|info| {
        let namespaces = info.pointer("/runtimeSpec/linux/namespaces")?.as_array()?;
        let network = namespaces.iter().find(|namespace| namespace["type"] == "network")?;
        network["path"].as_str().filter(|path| path.starts_with('/')).map(PathBuf::from)
    });
    named.or_else(|| {
        let pid = parsed.iter().find_map(|info| info["pid"].as_u64().filter(|pid| *pid != 0))?;
        Some(PathBuf::from(format!("/proc/{pid}/ns/net")))
    })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::grpc::tests::{Say, serve};
    use super::*;

    fn sandbox(id: &str, name: &str, state: i32) -> PodSandbox {
        let metadata =
            PodSandboxMetadata { name: name.to_owned(), uid: format!("uid-{name}"), namespace: "shop".to_owned() };
        PodSandbox { id: id.to_owned(), metadata: Some(metadata), state }
    }

    fn status(network: i32, ips: &[&str], info: &str) -> Vec<u8> {
        let mut ips = ips.iter().map(|ip| (*ip).to_owned());
        let status = PodSandboxStatus {
            network: Some(PodSandboxNetworkStatus {
                ip: ips.next().unwrap_or_default(),
                additional_ips: ips.map(|ip| PodIp { ip }).collect(),
            }),
            linux: Some(LinuxPodSandboxStatus {
                namespaces: Some(Namespace { options: Some(NamespaceOption { network }) }),
            }),
        };
        let info = HashMap::from([("info".to_owned(), info.to_owned())]);
        PodSandboxStatusResponse { status: Some(status), info }.encode_to_vec()
    }

    /// As containerd 1.6 has it, less what is not looked at.
    const CONTAINERD: &str = r#"{"pid":4711,"processStatus":"running","netNamespaceClosed":false,"image":"pause:3.9",
        "runtimeHandler":"","runtimeSpec":{"ociVersion":"1.0.2-dev","linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},
        {"type":"network","path":"/var/run/netns/cni-0a1b"}]}},"cniResult":{}}"#;
    /// As CRI-O has it.
    const CRIO: &str = r#"{"image":"pause:3.9","pid":815,"runtimeSpec":{"linux":{"namespaces":[
        {"type":"network","path":"/var/run/netns/5f0c"},{"type":"uts","path":"/var/run/utsns/5f0c"}]}}}"#;

    fn answer(service: &'static str) -> impl Fn(&str, &[u8]) -> Say + Send + 'static {
        move |method, request| {
            let Some(method) = method.strip_prefix(service).and_then(|rest| rest.strip_prefix('/')) else {
                return Err(UNIMPLEMENTED);
            };
            if method == "ListPodSandbox" {
                let items = vec![
                    sandbox("c1", "web", 0),
                    sandbox("c2", "proxy", 0),
                    sandbox("c3", "gone", 0),
                    sandbox("c4", "old", 1),
                ];
                return Ok(ListPodSandboxResponse { items }.encode_to_vec());
            }
            let request = PodSandboxStatusRequest::decode(request).unwrap();
            assert!(request.verbose);
            match request.pod_sandbox_id.as_str() {
                "c1" => Ok(status(0, &["10.1.0.5", "fd00::5"], CONTAINERD)),
                "c2" => Ok(status(NODE, &["192.168.0.1"], CONTAINERD)),
                "c3" => Err(NOT_FOUND),
                other => panic!("nobody should ask about {other}"),
            }
        }
    }

    #[test]
    fn pods_that_run_in_namespaces_of_their_own_are_found_with_all_that_is_known() {
        for service in ["runtime.v1.RuntimeService", "runtime.v1alpha2.RuntimeService"] {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("containerd.sock");
            let server = serve(&socket, answer(service));
            let (claims, warnings) = ask(&socket).unwrap();
            let seen = server.join().unwrap();
            assert_eq!(warnings, Vec::<String>::new());
            assert_eq!(
                claims,
                [Claim {
                    namespace: "shop".to_owned(),
                    name: "web".to_owned(),
                    uid: "uid-web".to_owned(),
                    container_id: "c1".to_owned(),
                    netns: Some("/var/run/netns/cni-0a1b".into()),
                    addresses: vec!["10.1.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
                    ..Claim::new(Source::Cri)
                }]
            );
            // Only those that are ready are asked for: a filter with an empty (that is, 0) state in it.
            assert_eq!(seen[0].1, [0x0a, 0x02, 0x12, 0x00]);
        }
    }

    #[test]
    fn a_pod_that_the_runtime_says_nothing_of_stops_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("containerd.sock");
        let server = serve(&socket, |method, request| {
            if method.ends_with("ListPodSandbox") {
                let items = vec![sandbox("c0", "broken", 0), sandbox("c1", "web", 0)];
                return Ok(ListPodSandboxResponse { items }.encode_to_vec());
            }
            let request = PodSandboxStatusRequest::decode(request).unwrap();
            if request.pod_sandbox_id == "c0" { Err(2) } else { Ok(status(0, &[], CRIO)) }
        });
        let (claims, warnings) = ask(&socket).unwrap();
        drop(server.join().unwrap());
        assert_eq!(warnings, ["shop/broken: the runtime says: no such thing (gRPC status 2)"]);
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].netns.as_deref(), Some(Path::new("/var/run/netns/5f0c")));
    }

    #[test]
    fn without_a_named_namespace_it_is_that_of_the_first_process() {
        let found = |text: &str| netns(&HashMap::from([("info".to_owned(), text.to_owned())]));
        assert_eq!(found(r#"{"pid":815}"#), Some("/proc/815/ns/net".into()));
        let created = r#"{"pid":815,"runtimeSpec":{"linux":{"namespaces":[{"type":"network"}]}}}"#;
        assert_eq!(found(created), Some("/proc/815/ns/net".into()));
        for nothing in [r#"{"pid":0}"#, r#"{"pid":-1}"#, "[]", "no JSON", r#"{"runtimeSpec":null}"#] {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_runtime_that_is_not_there_is_an_error_that_names_its_socket() {
        let error = ask(Path::new("/nowhere/containerd.sock")).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot ask the container runtime at /nowhere/containerd.sock: "));
    }
}
