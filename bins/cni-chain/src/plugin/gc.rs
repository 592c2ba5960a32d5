//! GC: takes away every attachment of the network that the runtime does not list as valid.

use std::collections::HashSet;

use chainkit_cni::{PluginError, Request, Version};

use crate::plugin::{Call, datapath_error, since};

pub(crate) fn run(call: &Call, request: &Request, version: Version) -> Result<(), PluginError> {
    since("GC", Version::V1_1_0, version)?;
    let network = request.network()?;
    let Some(valid) = request.valid_attachments()? else {
        call.log.info("no list of valid attachments: nothing is taken away");
        return Ok(());
    };
    let valid: HashSet<(String, String)> = valid.into_iter().map(|one| (one.container_id, one.ifname)).collect();
    let failed = |error: &anyhow::Error| datapath_error("not everything could be taken away", error);
    let lock = call.node.lock().map_err(|error| failed(&error.into()))?;
    let mut outcome = Ok(());
    for record in call.node.store.all().0 {
        let is_valid = valid.iter().any(|(container_id, ifname)| {
            // One that was adopted may not know its interface: then any of its container keeps it.
            *container_id == record.container_id && (*ifname == record.ifname || record.ifname.is_empty())
        });
        if record.network != network || is_valid {
            continue;
        }
        let done = call.node.take_away(&lock, &record);
        if done.is_ok() {
            call.log.info(format!("taken away: container {} {}", record.container_id, record.ifname));
        }
        outcome = outcome.and(done);
    }
    let swept = call.node.sweep(&lock).map(drop);
    outcome.and(swept).map_err(|error| failed(&error))
}
