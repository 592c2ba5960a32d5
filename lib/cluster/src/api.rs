//! Objects from the API server: listed once, or listed and watched from there on.
//!
//! Requests go through `kube`, for its ways to find and to convince a server; what comes back is read as a file would be.
//! Start at [`Reader::api`] for one look, at [`live::Source::Api`](crate::live::Source::Api) for what goes on.

mod follow;
mod kinds;
mod server;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use crate::Reader;

pub(crate) use follow::follow;
pub use kinds::Kinds;
pub use server::{MAX_PAGE_BYTES, PAGE_OBJECTS};

/// How to find the API server, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// The kubeconfig. Without it: those of `$KUBECONFIG`, `~/.kube/config`, and in a pod the service account's.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; the current one unless told otherwise.
    pub context: Option<String>,
    /// How long the server may keep silent where it owes an answer.
    pub silence: Duration,
    /// What is asked for.
    pub kinds: Kinds,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self { kubeconfig: None, context: None, silence: Duration::from_secs(60), kinds: Kinds::default() }
    }
}

/// Why the API server gives no objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Nothing tells which server it is, or how to talk to it.
    #[error("cannot tell which API server to ask: {0}: name a kubeconfig that works with kubectl, or run in a pod")]
    Config(String),
    /// It cannot be reached, or breaks off.
    #[error("cannot reach the API server {server}: {reason}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// What happened.
        reason: String,
    },
    /// It does not know who asks.
    #[error(
        "the API server {server} does not take these credentials (401): {reason}: renew them, or name another context"
    )]
    Unauthorized {
        /// Its URL.
        server: String,
        /// What it says.
        reason: String,
    },
    /// Who asks may not.
    #[error(
        "not allowed to {verb} {resource} (403): {reason}: grant the verb \"{verb}\" on the resource \"{resource}\" of the API \
         group \"{group}\" with a ClusterRole"
    )]
    Forbidden {
        /// The RBAC verb that lacks: `list` or `watch`.
        verb: &'static str,
        /// The resource, in the plural.
        resource: &'static str,
        /// Its API group; empty for the core group.
        group: &'static str,
        /// What the server says.
        reason: String,
    },
    /// It answers with something else than objects.
    #[error("cannot {verb} {resource} from the API server {server}: {reason}")]
    Failed {
        /// What was tried: `list` or `watch`.
        verb: &'static str,
        /// The resource, in the plural.
        resource: &'static str,
        /// Its URL.
        server: String,
        /// What came instead.
        reason: String,
    },
}

impl Reader {
    /// Lists all kinds that mean something to a policy from the API server, once. What is to be known and is no fault, such
    /// as a kind that the server does not have, is in what comes back.
    ///
    /// # Errors
    /// When the server cannot be found or reached, or does not give all.
    pub fn api(&mut self, options: &ApiOptions) -> Result<Vec<String>, ApiError> {
        let number = self.begin(1);
        let runtime = server::runtime()?;
        runtime.block_on(async {
            let server = server::Server::connect(options).await?.patient();
            let mut notes = Vec::new();
            for kind in options.kinds.list() {
                let mut hear = |said| {
                    self.hear_of(number, said);
                    Ok(())
                };
                match follow::list(&server, kind, &mut hear).await {
                    Ok(_) => {}
                    Err(follow::Trouble::Absent) => notes.push(kind.absent(&server.url)),
                    Err(follow::Trouble::Server(error)) => return Err(error),
                    Err(follow::Trouble::Gone | follow::Trouble::Expired) => {
                        let reason = "its list changes faster than it can be read: try again".to_owned();
                        return Err(kind.failed("list", &server.url, reason));
                    }
                }
            }
            Ok(notes)
        })
    }
}
