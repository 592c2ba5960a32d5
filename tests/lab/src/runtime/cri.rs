//! The kubelet's side of the Container Runtime Interface, as far as pods' sandboxes go.
//!
//! Messages hold the fields that are used here, with the numbers of `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::{Error, Netns};

/// How long a call may take: starting a pod runs a chain of plugins.
const LIMIT: Duration = Duration::from_secs(120);

/// What the kubelet tells a runtime of a pod.
#[derive(Clone, Debug, Default)]
pub struct SandboxSpec {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its annotations.
    pub annotations: HashMap<String, String>,
    /// Ports of the host and of the pod (TCP), for `portmap`.
    pub host_ports: Vec<(u16, u16)>,
}

impl SandboxSpec {
    /// A pod with nothing but a name.
    #[must_use]
    pub fn new(namespace: &str, name: &str, uid: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned(), ..Self::default() }
    }
}

/// A sandbox that runs.
#[derive(Debug)]
pub struct PodSandbox {
    /// Its id, which plugins get as `CNI_CONTAINERID`.
    pub id: String,
    /// Its network namespace.
    pub netns: Netns,
    /// What the runtime says of it.
    pub status: SandboxStatus,
}

/// What a runtime says of a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxStatus {
    /// Its addresses, the first being the pod's.
    pub addresses: Vec<IpAddr>,
    /// Path of its network namespace, as plugins got it: one of the runtime's machine.
    pub netns: PathBuf,
    /// Process id of its first process, in the runtime's machine.
    pub pid: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PortMapping {
    /// 0: TCP.
    #[prost(int32, tag = "1")]
    protocol: i32,
    #[prost(int32, tag = "2")]
    container_port: i32,
    #[prost(int32, tag = "3")]
    host_port: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(message, repeated, tag = "5")]
    port_mappings: Vec<PortMapping>,
    #[prost(map = "string, string", tag = "7")]
    annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

/// What `RunPodSandbox` answers and all others ask with.
#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxId {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    /// Of a question after the status alone.
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
struct PodSandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<PodSandboxNetworkStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodSandboxStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeCondition {
    #[prost(string, tag = "1")]
    condition_type: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

pub(super) fn run(socket: &Path, spec: &SandboxSpec) -> Result<String, Error> {
    let metadata = PodSandboxMetadata {
        name: spec.name.clone(),
        uid: spec.uid.clone(),
        namespace: spec.namespace.clone(),
        attempt: 0,
    };
    let port = |(host, container): &(u16, u16)| PortMapping {
        protocol: 0,
        container_port: (*container).into(),
        host_port: (*host).into(),
    };
    let config = PodSandboxConfig {
        metadata: Some(metadata),
        hostname: spec.name.clone(),
        log_directory: String::new(),
        port_mappings: spec.host_ports.iter().map(port).collect(),
        annotations: spec.annotations.clone(),
    };
    let answer: PodSandboxId = call(socket, "RunPodSandbox", RunPodSandboxRequest { config: Some(config) })?;
    Ok(answer.pod_sandbox_id)
}

pub(super) fn stop(socket: &Path, id: &str) -> Result<(), Error> {
    call(socket, "StopPodSandbox", PodSandboxId { pod_sandbox_id: id.to_owned(), verbose: false }).map(|Nothing {}| ())
}

pub(super) fn remove(socket: &Path, id: &str) -> Result<(), Error> {
    call(socket, "RemovePodSandbox", PodSandboxId { pod_sandbox_id: id.to_owned(), verbose: false })
        .map(|Nothing {}| ())
}

pub(super) fn status(socket: &Path, id: &str) -> Result<SandboxStatus, Error> {
    let question = PodSandboxId { pod_sandbox_id: id.to_owned(), verbose: true };
    let answer: PodSandboxStatusResponse = call(socket, "PodSandboxStatus", question)?;
    let network = answer.status.and_then(|status| status.network).unwrap_or_default();
    let words = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|address| address.ip));
    let info: Value = answer.info.get("info").and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default();
    // Namespaces of the OCI runtime's specification.
    let namespaces = info.pointer("/runtimeSpec/linux/namespaces").and_then(Value::as_array);
    let network = namespaces.into_iter().flatten().find(|one| one.get("type").is_some_and(|kind| kind == "network"));
    let netns = network.and_then(|one| one.get("path")).and_then(Value::as_str).unwrap_or_default().into();
    let pid = info.get("pid").and_then(Value::as_u64).unwrap_or(0);
    Ok(SandboxStatus { addresses: words.filter_map(|word| word.parse().ok()).collect(), netns, pid })
}

/// Why the runtime's network is not ready; none when it is.
pub(super) fn network_problem(socket: &Path) -> Result<Option<String>, Error> {
    let answer: StatusResponse = call(socket, "Status", Nothing {})?;
    let conditions = answer.status.map(|status| status.conditions).unwrap_or_default();
    let network = conditions.into_iter().find(|condition| condition.condition_type == "NetworkReady");
    Ok(match network {
        Some(RuntimeCondition { status: true, .. }) => None,
        Some(condition) => Some(condition.message),
        None => Some("it says nothing of a network".to_owned()),
    })
}

/// One call of `runtime.v1.RuntimeService`.
fn call<Q, A>(socket: &Path, method: &str, question: Q) -> Result<A, Error>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let what = format!("call {method} of the container runtime at {}", socket.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("start an asynchronous runtime"))?;
    let answered = runtime.block_on(async {
        let mut client = Grpc::new(connect(socket).await.map_err(|error| format!("{error}: {error:?}"))?);
        client.ready().await.map_err(|error| error.to_string())?;
        let path = PathAndQuery::from_maybe_shared(format!("/runtime.v1.RuntimeService/{method}"));
        let path = path.map_err(|error| error.to_string())?;
        let asked = client.unary(tonic::Request::new(question), path, ProstCodec::default());
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned()),
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        }
    });
    answered.map_err(|problem| Error::invalid(what, problem))
}

async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is required, and not used.
    Endpoint::from_static("http://containerd.invalid").connect_with_connector(connector).await
}
