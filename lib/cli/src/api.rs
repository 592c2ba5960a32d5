//! Flags that say whether the Kubernetes API server is asked, and which one.

use std::path::PathBuf;

use clap::Args;

/// Whether the API server is asked, and which one.
#[derive(Args, Clone, Debug, Default)]
pub struct ApiArgs {
    /// Ask the API server: the kubeconfig's, or in a pod the cluster's own
    #[arg(long)]
    pub api: bool,

    /// The kubeconfig, instead of $KUBECONFIG and ~/.kube/config
    #[arg(long, value_name = "FILE", requires = "api")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME", requires = "api")]
    pub context: Option<String>,
}
