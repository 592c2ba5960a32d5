//! libcni's cache of results: `/var/lib/cni/results/<network>-<container>-<interface>`, of the kind `cniCacheV1`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Attachment;
use crate::Error;

/// An attachment that the cache knows.
pub(super) struct Cached {
    pub(super) container_id: String,
    pub(super) ifname: String,
    pub(super) netns: PathBuf,
}

pub(super) fn folder(root: &Path) -> PathBuf {
    root.join("var/lib/cni/results")
}

fn file(root: &Path, network: &str, attachment: &Attachment) -> PathBuf {
    folder(root).join(format!("{network}-{}-{}", attachment.container_id, attachment.ifname))
}

pub(super) fn write(
    root: &Path,
    network: &str,
    attachment: &Attachment,
    config: &str,
    result: &str,
) -> Result<(), Error> {
    let path = file(root, network, attachment);
    let what = || format!("cache a result in {}", path.display());
    let raw = |text: &str| RawValue::from_string(text.trim().to_owned()).map_err(|error| error.to_string());
    let args: Vec<Value> = attachment.args.iter().map(|(key, value)| json!([key, value])).collect();
    let facts = json!({
        "kind": "cniCacheV1",
        "containerId": attachment.container_id,
        "config": STANDARD.encode(config),
        "ifName": attachment.ifname,
        "networkName": network,
        "netns": attachment.netns,
        "cniArgs": args,
        "capabilityArgs": attachment.capabilities,
    });
    let text = (|| {
        let mut entry: std::collections::BTreeMap<String, Box<RawValue>> =
            serde_json::from_value(facts).map_err(|error| error.to_string())?;
        entry.insert("result".to_owned(), raw(result)?);
        serde_json::to_vec(&entry).map_err(|error| error.to_string())
    })();
    let text = text.map_err(|problem| Error::invalid(what(), problem))?;
    fs::create_dir_all(folder(root)).and_then(|()| fs::write(&path, text)).map_err(Error::io(what()))
}

/// The result as it was written; none where there is none, or it is torn.
pub(super) fn result(root: &Path, network: &str, attachment: &Attachment) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Entry<'a> {
        #[serde(borrow)]
        result: &'a RawValue,
    }
    let text = fs::read_to_string(file(root, network, attachment)).ok()?;
    let entry: Entry<'_> = serde_json::from_str(&text).ok()?;
    Some(entry.result.get().to_owned())
}

pub(super) fn remove(root: &Path, network: &str, attachment: &Attachment) -> Result<(), Error> {
    let path = file(root, network, attachment);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// The attachments to a network that are in the cache.
pub(super) fn list(root: &Path, network: &str) -> Result<Vec<Cached>, Error> {
    let folder = folder(root);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("list {}", folder.display()))(error)),
    };
    let mut cached = Vec::new();
    for entry in entries.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        if value["kind"] == "cniCacheV1" && value["networkName"] == network {
            let (container_id, ifname) = (word("containerId"), word("ifName"));
            cached.push(Cached { container_id, ifname, netns: word("netns").into() });
        }
    }
    Ok(cached)
}
