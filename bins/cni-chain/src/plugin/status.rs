//! STATUS: whether ADD would work.

use chainkit_bpf::Datapath;
use chainkit_cni::{PluginError, Request, Version, code};

use crate::plugin::{Call, options::Options, since};

pub(crate) fn run(call: &Call, request: &Request, version: Version) -> Result<(), PluginError> {
    since("STATUS", Version::V1_1_0, version)?;
    request.network()?;
    Options::read(request)?;
    let unavailable = |error: chainkit_bpf::Error| {
        PluginError::new(code::NOT_AVAILABLE, "the datapath cannot be put in place").details(error.to_string())
    };
    Datapath::can_install(&call.node.pins).map_err(unavailable)?;
    call.node.store.probe().map_err(|error| {
        PluginError::new(code::NOT_AVAILABLE, "endpoint records cannot be written").details(error.to_string())
    })
}
