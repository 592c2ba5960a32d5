//! Pods as libcni knows them: the results of ADD that it keeps for the DEL to come.
//!
//! Every runtime that calls plugins through libcni (0.8 and newer) has them, without a daemon that has to answer.

use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::claim::{Attachment, Claim, Source};
use super::files;

/// Where they lie: libcni's own folder, and the one that the kubelet gave Docker's adapter.
const FOLDERS: [&str; 2] = ["var/lib/cni/results", "var/lib/cni/cache/results"];
/// A result holds its network's configuration too, and is some kilobytes long.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
/// More than a node has pods and networks.
const MAX_FILES: usize = 16 << 10;

/// As libcni writes it (`cachedInfo` in libcni/api.go), less what is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    kind: String,
    container_id: String,
    #[serde(default)]
    if_name: Option<String>,
    #[serde(default)]
    network_name: Option<String>,
    #[serde(default)]
    netns: Option<String>,
    #[serde(default)]
    cni_args: Option<Vec<(String, String)>>,
    #[serde(default)]
    result: Value,
}

/// All that are kept, and what could not be read.
pub(super) fn read(root: &Path) -> (Vec<Claim>, Vec<String>) {
    let (mut claims, mut warnings) = (Vec::new(), Vec::new());
    for folder in FOLDERS.map(|folder| root.join(folder)) {
        let (paths, more) = match files::list(&folder, MAX_FILES) {
            Ok(listed) => listed,
            Err(error) => {
                warnings.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        if more {
            warnings.push(format!("{}: it holds more than {MAX_FILES} files: the rest was not read", folder.display()));
        }
        for path in paths {
            match files::read(&path, MAX_BYTES).map_err(|error| error.to_string()).and_then(|bytes| parse(&bytes)) {
                // containerd has every pod's loopback set up by a plugin too; there is nothing to attach to.
                Ok(claim) if claim.attachments.iter().all(|attachment| attachment.ifname == "lo") => {}
                Ok(claim) => claims.push(claim),
                Err(reason) => warnings.push(format!("{}: {reason}: left out", path.display())),
            }
        }
    }
    (claims, warnings)
}

/// Reads one.
///
/// # Errors
/// Says why it is no result of libcni's.
pub(crate) fn parse(bytes: &[u8]) -> Result<Claim, String> {
    let cached: Cached =
        serde_json::from_slice(bytes).map_err(|error| format!("it is torn, or no cached CNI result: {error}"))?;
    if cached.kind != "cniCacheV1" {
        return Err(format!("it is of the kind {:?}, and only cniCacheV1 is known", cached.kind));
    }
    let arguments = cached.cni_args.unwrap_or_default();
    let argument = |name: &str| {
        let found = arguments.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let attachment =
        Attachment { network: cached.network_name.unwrap_or_default(), ifname: cached.if_name.unwrap_or_default() };
    Ok(Claim {
        namespace: argument("K8S_POD_NAMESPACE"),
        name: argument("K8S_POD_NAME"),
        uid: argument("K8S_POD_UID"),
        container_id: cached.container_id,
        netns: cached.netns.filter(|path| path.starts_with('/')).or_else(|| sandbox(&cached.result)).map(Into::into),
        addresses: addresses(&cached.result),
        attachments: vec![attachment],
        ..Claim::new(Source::CachedResult)
    })
}

/// The network namespace, out of the result: libcni keeps it beside only since 1.2. The VPC CNI writes numbers in its place for some.
fn sandbox(result: &Value) -> Option<String> {
    let interfaces = result.get("interfaces")?.as_array()?;
    let mut sandboxes = interfaces.iter().filter_map(|interface| interface.get("sandbox")?.as_str());
    sandboxes.find(|path| path.starts_with('/')).map(str::to_owned)
}

/// The pod's addresses: `ips`, and `ip4` and `ip6` of versions before 0.3.0.
fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().map(Vec::as_slice).unwrap_or_default();
    let new = ips.iter().map(|ip| &ip["address"]);
    let old = ["/ip4/ip", "/ip6/ip"].into_iter().filter_map(|field| result.pointer(field));
    let prefixes = new.chain(old).filter_map(Value::as_str);
    prefixes.filter_map(|prefix| prefix.split('/').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As libcni 1.1 writes it for containerd and the VPC CNI.
    const RESULT: &str = r#"{"kind":"cniCacheV1","containerId":"c1","config":"eyJjbmlWZXJzaW9uIjoiMC40LjAifQ==",
        "ifName":"eth0","networkName":"aws-cni","netns":"/var/run/netns/cni-0a1b",
        "cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","shop"],["K8S_POD_NAME","web"],
        ["K8S_POD_INFRA_CONTAINER_ID","c1"],["K8S_POD_UID","u1"]],
        "capabilityArgs":{"portMappings":[]},
        "result":{"cniVersion":"0.4.0","dns":{},"interfaces":[{"name":"eni69f6642c9d7"},
        {"name":"eth0","mac":"254","sandbox":"/var/run/netns/cni-0a1b"},{"name":"dummy69f6642c9d7","mac":"0","sandbox":"0"}],
        "ips":[{"version":"4","interface":1,"address":"10.1.0.5/32"}]}}"#;

    fn at(folder: &Path) -> std::path::PathBuf {
        let results = folder.join("var/lib/cni/results");
        fs::create_dir_all(&results).unwrap();
        results
    }

    #[test]
    fn a_result_names_its_pod_its_namespace_and_its_attachment() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(at(folder.path()).join("aws-cni-c1-eth0"), RESULT).unwrap();
        let (claims, warnings) = read(folder.path());
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            claims,
            [Claim {
                namespace: "shop".into(),
                name: "web".into(),
                uid: "u1".into(),
                container_id: "c1".into(),
                netns: Some("/var/run/netns/cni-0a1b".into()),
                addresses: vec!["10.1.0.5".parse().unwrap()],
                attachments: vec![Attachment { network: "aws-cni".into(), ifname: "eth0".into() }],
                ..Claim::new(Source::CachedResult)
            }]
        );
    }

    #[test]
    fn results_of_older_libraries_name_the_namespace_among_the_interfaces() {
        let without = RESULT.replace(r#""netns":"/var/run/netns/cni-0a1b","#, "");
        assert_ne!(without, RESULT);
        assert_eq!(parse(without.as_bytes()).unwrap().netns, Some("/var/run/netns/cni-0a1b".into()));
        let numbers = without.replace("/var/run/netns/cni-0a1b", "1");
        assert_eq!(parse(numbers.as_bytes()).unwrap().netns, None);
    }

    #[test]
    fn a_loopback_is_nothing_to_attach_to() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(at(folder.path()).join("cni-loopback-c1-lo"), RESULT.replace("\"eth0\"", "\"lo\"")).unwrap();
        assert_eq!(read(folder.path()), (vec![], vec![]));
    }

    #[test]
    fn a_runtime_that_names_no_pod_leaves_the_name_empty() {
        let claim = parse(
            br#"{"kind":"cniCacheV1","containerId":"default-c9","ifName":"eth0","networkName":"net","result":{}}"#,
        );
        let claim = claim.unwrap();
        assert_eq!((claim.name.as_str(), claim.namespace.as_str(), claim.netns), ("", "", None));
        assert_eq!(claim.container_id, "default-c9");
        let nulls =
            br#"{"kind":"cniCacheV1","containerId":"c9","ifName":null,"netns":null,"cniArgs":null,"result":null}"#;
        assert_eq!(parse(nulls).unwrap().attachments.len(), 1);
    }

    #[test]
    fn addresses_of_every_version_of_the_result_are_read() {
        let with = |result: &str| {
            let text = format!(r#"{{"kind":"cniCacheV1","containerId":"c","result":{result}}}"#);
            parse(text.as_bytes()).unwrap().addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(with(r#"{"ips":[{"address":"10.1.0.5/16"},{"address":"fd00::5/64"}]}"#), ["10.1.0.5", "fd00::5"]);
        assert_eq!(with(r#"{"ip4":{"ip":"10.1.0.5/16"},"ip6":{"ip":"fd00::5/64"}}"#), ["10.1.0.5", "fd00::5"]);
        for none in [r#"{"ips":[{"address":7},{}]}"#, r#"{"ips":{}}"#, r#"{"ip4":"10.1.0.5/16"}"#, "[]"] {
            assert_eq!(with(none), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn torn_and_foreign_files_are_told_and_stop_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let results = at(folder.path());
        fs::write(results.join("aws-cni-c0-eth0"), &RESULT[..200]).unwrap();
        fs::write(results.join("aws-cni-c1-eth0"), RESULT).unwrap();
        fs::write(results.join("aws-cni-c2-eth0"), RESULT.replace("cniCacheV1", "cniCacheV9")).unwrap();
        fs::write(results.join("aws-cni-c3-eth0"), " ".repeat(1 + (1 << 20))).unwrap();
        fs::write(results.join("old-c4-eth0"), r#"{"cniVersion":"0.3.1","ips":[]}"#).unwrap();
        std::os::unix::fs::symlink(results.join("aws-cni-c1-eth0"), results.join("link")).unwrap();
        fs::create_dir(results.join("folder")).unwrap();
        let (claims, warnings) = read(folder.path());
        assert_eq!(claims.len(), 1);
        assert_eq!(warnings.len(), 6, "{warnings:#?}");
        assert!(warnings.iter().any(|warning| warning.contains("c0-eth0: it is torn")));
        assert!(warnings.iter().any(|warning| warning.contains("c2-eth0: it is of the kind \"cniCacheV9\"")));
    }
}
