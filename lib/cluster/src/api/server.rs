//! Talking to an API server.

use std::error::Error as StdError;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use super::kinds::Kind;
use super::{ApiError, ApiOptions};

/// How many objects are asked for at a time, as `kubectl` does.
pub const PAGE_OBJECTS: usize = 500;

/// The longest answer that is read: 256 MiB, half a mebibyte for each object of a page.
pub const MAX_PAGE_BYTES: usize = 256 << 20;

/// How long a page may take in all, however busily it comes.
const MAX_PAGE_TIME: Duration = Duration::from_secs(600);

/// How long a busy server is left alone before it is asked again, at first and at most; each time twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// How much of what a server says of an error is read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A server that can be asked.
pub(super) struct Server {
    client: Client,
    pub(super) url: String,
    pub(super) silence: Duration,
    /// Whether one that is busy is asked again here.
    patient: bool,
}

/// What a server answers.
pub(super) enum Answer {
    Yes(Parts),
    /// It has no such thing.
    NotFound(String),
    /// What was asked for is too old.
    Expired,
}

/// It has no time, and says why.
struct Busy(String);

/// What comes of an answer, part by part.
pub(super) struct Parts(Body);

pub(super) fn runtime() -> Result<Runtime, ApiError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| ApiError::Config(format!("cannot start what talks to it: {error}")))
}

impl Server {
    pub(super) async fn connect(options: &ApiOptions) -> Result<Self, ApiError> {
        let mut config = config(options).await?;
        // Who asks knows when to ask again.
        config.default_retry = false;
        config.connect_timeout = Some(options.silence);
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| ApiError::Config(reasons(&error)))?;
        Ok(Self { client, url, silence: options.silence, patient: false })
    }

    /// The same, asking again what a busy server does not answer.
    pub(super) fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// Asks for a path with its query; what goes wrong is told as of `verb` and `kind`. Where nobody asks again later, a server
    /// that is busy is given some time.
    pub(super) async fn get(&self, path: &str, verb: &'static str, kind: &Kind) -> Result<Answer, ApiError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.get_once(path, verb, kind).await? {
                Ok(answer) => return Ok(answer),
                Err(Busy(reason)) if !self.patient || pause > LAST_PAUSE => {
                    return Err(kind.failed(verb, &self.url, reason));
                }
                Err(Busy(_)) => sleep(pause).await,
            }
            pause *= 2;
        }
    }

    async fn get_once(&self, path: &str, verb: &'static str, kind: &Kind) -> Result<Result<Answer, Busy>, ApiError> {
        let failed = |reason: String| kind.failed(verb, &self.url, reason);
        let request = Request::get(path)
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Body::empty())
            .map_err(|error| failed(error.to_string()))?;
        let response = match timeout(self.silence, self.client.send(request)).await {
            Ok(Ok(response)) => response,
            // What kube wraps it in says nothing.
            Ok(Err(kube::Error::Service(error))) => return Err(self.unreachable(reasons(error.as_ref()))),
            Ok(Err(error)) => return Err(self.unreachable(reasons(&error))),
            Err(_) => return Err(self.unreachable(format!("no answer for {} s", self.silence.as_secs()))),
        };
        let status = response.status();
        let mut parts = Parts(response.into_body());
        if status.is_success() {
            return Ok(Ok(Answer::Yes(parts)));
        }
        let reason = self.error_text(&mut parts).await;
        match status {
            StatusCode::GONE => Ok(Ok(Answer::Expired)),
            StatusCode::NOT_FOUND => Ok(Ok(Answer::NotFound(reason))),
            StatusCode::UNAUTHORIZED => Err(ApiError::Unauthorized { server: self.url.clone(), reason }),
            StatusCode::FORBIDDEN => {
                Err(ApiError::Forbidden { verb, resource: kind.resource, group: kind.group, reason })
            }
            StatusCode::TOO_MANY_REQUESTS => Ok(Err(Busy(format!("429: {reason}")))),
            status if status.is_server_error() => Ok(Err(Busy(format!("{}: {reason}", status.as_u16())))),
            status => Err(failed(format!("{}: {reason}", status.as_u16()))),
        }
    }

    pub(super) fn unreachable(&self, reason: String) -> ApiError {
        ApiError::Unreachable { server: self.url.clone(), reason }
    }

    /// An answer as a whole.
    pub(super) async fn text(&self, mut parts: Parts, kind: &Kind) -> Result<String, ApiError> {
        let failed = |reason: String| kind.failed("list", &self.url, reason);
        let deadline = Instant::now() + MAX_PAGE_TIME;
        let mut text = Vec::new();
        loop {
            match parts.next(self.silence).await {
                Ok(Some(part)) if text.len() + part.len() > MAX_PAGE_BYTES => {
                    return Err(failed(format!("a page is longer than {} MiB", MAX_PAGE_BYTES >> 20)));
                }
                Ok(Some(_)) if Instant::now() > deadline => {
                    return Err(failed(format!("a page takes longer than {} s", MAX_PAGE_TIME.as_secs())));
                }
                Ok(Some(part)) => text.extend_from_slice(&part),
                Ok(None) => return String::from_utf8(text).map_err(|_| failed("the answer is not UTF-8".to_owned())),
                Err(reason) => return Err(self.unreachable(reason)),
            }
        }
    }

    /// What a server says of an error: the message of a `Status`, or the text.
    async fn error_text(&self, parts: &mut Parts) -> String {
        #[derive(Deserialize)]
        struct Status {
            message: String,
        }
        let mut text = Vec::new();
        while let Ok(Some(part)) = parts.next(self.silence.min(Duration::from_secs(5))).await {
            text.extend_from_slice(part.get(..MAX_ERROR_BYTES.min(part.len())).unwrap_or_default());
            if text.len() > MAX_ERROR_BYTES {
                break;
            }
        }
        let text = match serde_json::from_slice::<Status>(&text) {
            Ok(status) => status.message,
            Err(_) => String::from_utf8_lossy(&text).into_owned(),
        };
        let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        if text.is_empty() { "it says no more".to_owned() } else { text }
    }

    /// Whether the server's list of what it serves has the kind; `None` where it does not tell.
    pub(super) async fn serves(&self, kind: &Kind) -> Option<bool> {
        #[derive(Deserialize)]
        struct Resources {
            resources: Vec<Resource>,
        }
        #[derive(Deserialize)]
        struct Resource {
            name: String,
        }
        match self.get(&kind.group_path(), "list", kind).await.ok()? {
            Answer::NotFound(_) => Some(false),
            Answer::Expired => None,
            Answer::Yes(parts) => {
                let text = self.text(parts, kind).await.ok()?;
                let served: Resources = serde_json::from_str(&text).ok()?;
                Some(served.resources.iter().any(|resource| resource.name == kind.resource))
            }
        }
    }
}

impl Parts {
    /// The next part, and nothing at the end.
    ///
    /// # Errors
    /// When it breaks off, or nothing comes for as long as `patience`.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, String> {
        loop {
            match timeout(patience, self.0.frame()).await {
                Err(_) => {
                    return Err(format!("it says nothing for {} s in the middle of an answer", patience.as_secs()));
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(format!("its answer breaks off: {}", reasons(&error))),
                // Anything but data is a trailer.
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data.into()));
                    }
                }
            }
        }
    }
}

async fn config(options: &ApiOptions) -> Result<Config, ApiError> {
    let wrong = |error: KubeconfigError| ApiError::Config(reasons(&error));
    let choice = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let none = match kubeconfig {
        Ok(kubeconfig) => return Config::from_custom_kubeconfig(kubeconfig, &choice).await.map_err(wrong),
        Err(error) => error,
    };
    // One that is not there leaves the service account of a pod; one that is broken does not.
    let is_absent = match &none {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    if !is_absent || options.kubeconfig.is_some() || options.context.is_some() {
        return Err(wrong(none));
    }
    Config::incluster().map_err(|error| ApiError::Config(format!("{none}, and in no pod: {}", reasons(&error))))
}

/// An error with those that it comes from, each once.
fn reasons(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let reason = source.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        next = source.source();
    }
    text.chars().take(1000).collect()
}
