//! Endpoint records: what the CNI plugin leaves on the node about each pod that it has attached.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::warning::{Warning, Warnings};

/// Where the records lie on a host.
pub const ENDPOINTS_FOLDER: &str = "/run/chainkit/endpoints";

/// The longest record that is read, in bytes.
pub const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// The most records that are read: more than interfaces that can carry the datapath.
const MAX_RECORDS: usize = 16 * 1024;

/// An endpoint of this node, one JSON object in a file `*.json` of [`ENDPOINTS_FOLDER`].
///
/// Fields that this version does not know are kept, so that an older program does not lose what a newer one wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// Always `Endpoint`.
    pub kind: String,
    /// Namespace of the pod.
    #[serde(default)]
    pub namespace: String,
    /// Name of the pod.
    #[serde(default)]
    pub pod_name: String,
    /// UID of the pod.
    #[serde(default)]
    pub pod_uid: String,
    /// ID of the sandbox container, as the runtime gave it to the plugin.
    #[serde(default)]
    pub container_id: String,
    /// Name of the CNI network that it was attached to; empty where nobody knows.
    #[serde(default)]
    pub network: String,
    /// The interface in the pod that the attachment is about, as `CNI_IFNAME` had it; empty where nobody knows.
    #[serde(default)]
    pub ifname: String,
    /// Path of the pod's network namespace.
    #[serde(default)]
    pub netns: String,
    /// Its interfaces.
    #[serde(default)]
    pub interfaces: Vec<EndpointInterface>,
    /// Its addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// How verdicts are used: `observe`, `audit` or `enforce`.
    #[serde(default)]
    pub mode: String,
    /// Who said so: `cni` for the plugin's ADD; of an adopted pod `cri`, `cached-result`, `ipam`, `interface` or `netns`.
    #[serde(default)]
    pub source: String,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// An interface of a pod and its host-side end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointInterface {
    /// Its name in the pod.
    #[serde(default)]
    pub name: String,
    /// Its index in the pod.
    #[serde(default)]
    pub ifindex: u32,
    /// Index of its host-side end; 0 where it has none.
    #[serde(default)]
    pub host_ifindex: u32,
    /// Name of its host-side end.
    #[serde(default)]
    pub host_name: String,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// Reads the records in `folder` ([`ENDPOINTS_FOLDER`], perhaps under another root), in the order of their file names.
///
/// A folder that is not there holds no records. A file that is torn, too long, no record, or no regular file (symbolic
/// links are not followed) is told in the warnings and left out.
#[must_use]
pub fn read_endpoints(folder: &Path) -> (Vec<EndpointRecord>, Vec<Warning>) {
    let place = folder.display().to_string();
    let mut warnings = Warnings::default();
    let mut names = Vec::new();
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) => names.push(entry.file_name()),
                    Err(error) => warnings.push(Warning::new(place.as_str(), "", error)),
                }
                if names.len() > MAX_RECORDS {
                    warnings.push(Warning::new(place.as_str(), "", format!("more than {MAX_RECORDS} files: the rest")));
                    break;
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warnings.push(Warning::new(place.as_str(), "", error)),
    }
    // Files that begin with a dot are being written.
    names.retain(|name| name.to_str().is_some_and(|name| name.ends_with(".json") && !name.starts_with('.')));
    names.sort();
    let mut records = Vec::with_capacity(names.len());
    for name in names {
        let path = folder.join(name);
        match read_record(&path) {
            Ok(record) => records.extend(record),
            Err(reason) => warnings.push(Warning::new(path.display().to_string(), "", reason)),
        }
    }
    (records, warnings.into_vec(&place))
}

pub(crate) fn read_record(path: &Path) -> Result<Option<EndpointRecord>, String> {
    let file = match open(path) {
        Ok(file) => file,
        // Removed since the folder was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err("a symbolic link".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("no regular file".to_owned());
    }
    let mut text = Vec::new();
    file.take(MAX_RECORD_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_RECORD_BYTES {
        return Err(format!("longer than {MAX_RECORD_BYTES} bytes"));
    }
    let record: EndpointRecord = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if record.kind != "Endpoint" {
        return Err(format!("kind {:?} is not \"Endpoint\"", record.kind));
    }
    Ok(Some(record))
}

/// Opens a file that is no symbolic link, without waiting should it be a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const RECORD: &str = r#"{"kind":"Endpoint","namespace":"shop","pod_name":"web","pod_uid":"u1","container_id":"c1",
        "network":"aws-cni","ifname":"eth0","source":"cni","netns":"/run/netns/x","interfaces":[{"name":"eth0","ifindex":3,"host_ifindex":12,"host_name":"eni1","mtu":9001}],
        "addresses":["10.0.0.1","fd00::1"],"mode":"observe","generation":4}"#;

    #[test]
    fn a_folder_that_is_not_there_holds_no_records() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_endpoints(&folder.path().join("endpoints")), (vec![], vec![]));
    }

    #[test]
    fn a_record_is_read_and_keeps_what_it_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("c1.json"), RECORD).unwrap();
        let (records, warnings) = read_endpoints(folder.path());
        assert_eq!(warnings, []);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].pod_name, "web");
        assert_eq!(records[0].interfaces[0].host_ifindex, 12);
        assert_eq!(records[0].addresses, ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        let written = serde_json::to_value(&records[0]).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(RECORD).unwrap());
    }

    #[test]
    fn bad_files_are_named_and_stop_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), RECORD).unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        file("good.json", RECORD);
        file("torn.json", &RECORD[..100]);
        file("long.json", &format!("{}{}", RECORD, " ".repeat(64 * 1024)));
        file("other.json", r#"{"kind":"Chain"}"#);
        file("list.json", "[1,2]");
        file(".half.json", "{");
        file("notes.txt", "x");
        symlink(outside.path(), folder.path().join("link.json")).unwrap();
        fs::create_dir(folder.path().join("folder.json")).unwrap();

        let (records, warnings) = read_endpoints(folder.path());
        assert_eq!(records.len(), 1);
        let named = |name: &str| warnings.iter().filter(|warning| warning.place.ends_with(name)).count();
        for name in ["torn.json", "long.json", "other.json", "list.json", "link.json", "folder.json"] {
            assert_eq!(named(name), 1, "{name}: {warnings:?}");
        }
        assert_eq!(warnings.len(), 6, "{warnings:?}");
        assert!(
            warnings.iter().any(|warning| { warning.to_string().ends_with("link.json: a symbolic link: left out") })
        );
    }
}
