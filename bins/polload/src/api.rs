//! Objects from the API server: `--api`.

use std::path::PathBuf;

use chainkit_cli::{Exit, Failure};
use chainkit_cluster::Reader;
use chainkit_cluster::api::{ApiError, ApiOptions};
use clap::Args;

/// Whether the API server is asked, and which one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ApiArgs {
    /// Ask the API server: the kubeconfig's, or in a pod the cluster's own
    #[arg(long)]
    api: bool,

    /// The kubeconfig, instead of $KUBECONFIG and ~/.kube/config
    #[arg(long, value_name = "FILE", requires = "api")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME", requires = "api")]
    context: Option<String>,
}

impl ApiArgs {
    /// Whether it is to be asked.
    pub(crate) const fn wanted(&self) -> bool {
        self.api
    }

    /// Lists what it has, if it is to be asked, and gives what is worth telling of that.
    pub(crate) fn read(&self, reader: &mut Reader) -> anyhow::Result<Vec<String>> {
        if !self.api {
            return Ok(Vec::new());
        }
        let (kubeconfig, context) = (self.kubeconfig.clone(), self.context.clone());
        let options = ApiOptions { kubeconfig, context, ..ApiOptions::default() };
        Ok(reader.api(&options).map_err(|error| {
            let exit = match &error {
                ApiError::Config(_) => Exit::Usage,
                ApiError::Unauthorized { .. } | ApiError::Forbidden { .. } => Exit::Unsupported,
                _ => Exit::Failed,
            };
            Failure::new(exit, error.to_string())
        })?)
    }
}
