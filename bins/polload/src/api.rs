//! Objects from the API server: `--api`.

use chainkit_cli::{ApiArgs, Exit, Failure};
use chainkit_cluster::Reader;
use chainkit_cluster::api::{ApiError, ApiOptions};

/// Lists what the API server has, if it is to be asked, and gives what is worth telling of that.
pub(crate) fn read(api: &ApiArgs, reader: &mut Reader) -> anyhow::Result<Vec<String>> {
    if !api.api {
        return Ok(Vec::new());
    }
    let (kubeconfig, context) = (api.kubeconfig.clone(), api.context.clone());
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
