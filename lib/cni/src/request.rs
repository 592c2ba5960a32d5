//! What a runtime says on stdin.

use serde::Deserialize;

use crate::{Fields, PluginError, Raw, Version, code, environment::is_identifier};

/// The longest request that is read, in bytes. Results of pods with dozens of interfaces take some ten kilobytes; a list
/// of valid attachments some hundred bytes each.
pub const MAX_REQUEST_BYTES: u64 = 4 * 1024 * 1024;

/// Keys that the specification gives a meaning in any plugin's configuration (1.1.0, section 1, "Plugin configuration
/// objects", and what runtimes add to a request).
const COMMON: [&str; 11] = [
    "cniVersion",
    "name",
    "type",
    "capabilities",
    "runtimeConfig",
    "args",
    "ipMasq",
    "ipam",
    "dns",
    "prevResult",
    "disableCheck",
];

/// What stands before keys that are the runtime's, as `cni.dev/attachments`.
const RUNTIME_PREFIX: &str = "cni.dev/";

/// An attachment as GC lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in it.
    pub ifname: String,
}

/// A request: the plugin's own configuration, with what the runtime adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    fields: Fields,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// Where it is no JSON object.
    pub fn parse(text: &[u8]) -> Result<Self, PluginError> {
        serde_json::from_slice(text).map(|fields| Self { fields }).map_err(|error| {
            PluginError::new(code::DECODING, "the network configuration on stdin is no JSON object")
                .details(error.to_string())
        })
    }

    /// The version of the protocol.
    ///
    /// # Errors
    /// Where it is missing (which means 0.1.0), no text, or not spoken here.
    pub fn version(&self) -> Result<Version, PluginError> {
        let name: String = match self.get("cniVersion") {
            None => "0.1.0".to_owned(),
            Some(raw) => raw.read().map_err(|_| wrong("cniVersion", raw, "a text is wanted"))?,
        };
        Version::named(&name).ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            PluginError::new(code::INCOMPATIBLE_VERSION, format!("cniVersion: {shown:?} is not supported"))
                .details("0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0 are")
        })
    }

    /// The network's name.
    ///
    /// # Errors
    /// Where it is missing or no identifier.
    pub fn network(&self) -> Result<String, PluginError> {
        let Some(raw) = self.get("name") else {
            return Err(PluginError::new(code::INVALID_CONFIGURATION, "name: the network's name is missing"));
        };
        let name: String = raw.read().map_err(|_| wrong("name", raw, "a text is wanted"))?;
        if is_identifier(&name) {
            return Ok(name);
        }
        Err(wrong("name", raw, "a network's name has letters, digits, '_', '.' and '-', the first a letter or digit"))
    }

    /// The result of the plugins before this one, as they wrote it.
    #[must_use]
    pub fn prev_result(&self) -> Option<&Raw> {
        self.get("prevResult")
    }

    /// The attachments that are still valid: what GC is to leave. `None`: there is no list, and nothing may be deleted.
    ///
    /// Both keys count, `cni.dev/valid-attachments` of the specification and `cni.dev/attachments` that libcni 1.2 wrote;
    /// what either lists is valid.
    ///
    /// # Errors
    /// Where a list is of another shape.
    pub fn valid_attachments(&self) -> Result<Option<Vec<Attachment>>, PluginError> {
        let mut all = None;
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            let Some(raw) = self.get(key) else { continue };
            let listed: Vec<Attachment> =
                raw.read().map_err(|error| wrong(key, raw, &format!("a list of attachments is wanted: {error}")))?;
            all.get_or_insert_with(Vec::new).extend(listed);
        }
        Ok(all)
    }

    /// What is the plugin's own: every key that the specification gives no meaning.
    pub fn own(&self) -> impl Iterator<Item = (&str, &Raw)> {
        self.fields
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .filter(|(key, _)| !COMMON.contains(key) && !key.starts_with(RUNTIME_PREFIX))
    }

    fn get(&self, key: &str) -> Option<&Raw> {
        self.fields.get(key).filter(|raw| !raw.is_null())
    }
}

fn wrong(key: &str, found: &Raw, why: &str) -> PluginError {
    let shown: String = found.text().chars().take(80).collect();
    PluginError::new(code::INVALID_CONFIGURATION, format!("{key}: {shown}")).details(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        Request::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_request_keeps_the_bytes_of_the_previous_result() {
        let result = r#"{ "ips" : [ {"address":"10.0.0.1\u002f32"} ],"cniVersion":"0.4.0", "x":1e400}"#;
        let request =
            request(&format!(r#"{{"name":"aws-cni","cniVersion":"0.4.0","prevResult": {result} ,"mode":"audit"}}"#));
        assert_eq!(request.prev_result().unwrap().text(), result);
        assert_eq!(request.version().unwrap(), Version::V0_4_0);
        assert_eq!(request.network().unwrap(), "aws-cni");
        assert_eq!(request.own().map(|(key, raw)| (key, raw.text())).collect::<Vec<_>>(), [("mode", "\"audit\"")]);
    }

    #[test]
    fn what_is_no_object_is_refused_as_undecodable() {
        for text in ["", "[]", "{", "null", "\"x\"", "{\"a\":1}x", "{\"a\":\u{1}}"] {
            assert_eq!(Request::parse(text.as_bytes()).unwrap_err().code, code::DECODING, "{text:?}");
        }
        assert_eq!(Request::parse(&[0xff; 9]).unwrap_err().code, code::DECODING);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = Request::parse(deep.as_bytes());
    }

    #[test]
    fn versions_that_are_not_spoken_are_named() {
        let error = request(r#"{"cniVersion":"0.2.0"}"#).version().unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (1, r#"cniVersion: "0.2.0" is not supported"#));
        assert_eq!(request("{}").version().unwrap_err().code, 1);
        assert_eq!(request(r#"{"cniVersion":4}"#).version().unwrap_err().code, 7);
    }

    #[test]
    fn a_network_needs_a_name_that_can_be_part_of_a_file_name() {
        for text in ["{}", r#"{"name":""}"#, r#"{"name":"../x"}"#, r#"{"name":"a b"}"#, r#"{"name":7}"#] {
            let error = request(text).network().unwrap_err();
            assert!(error.code == 7 && error.message.starts_with("name:"), "{text}: {error}");
        }
    }

    #[test]
    fn valid_attachments_are_those_of_either_key() {
        let one = r#"{"containerID":"a","ifname":"eth0"}"#;
        let two = r#"{"containerID":"b","ifname":"net1","more":1}"#;
        let ids = |text: &str| {
            request(text)
                .valid_attachments()
                .unwrap()
                .map(|all| all.into_iter().map(|one| one.container_id).collect::<Vec<_>>())
        };
        assert_eq!(ids("{}"), None);
        assert_eq!(ids(r#"{"cni.dev/valid-attachments":null}"#), None);
        assert_eq!(ids(r#"{"cni.dev/valid-attachments":[]}"#), Some(vec![]));
        assert_eq!(ids(&format!(r#"{{"cni.dev/valid-attachments":[{one}]}}"#)), Some(vec!["a".to_owned()]));
        assert_eq!(ids(&format!(r#"{{"cni.dev/attachments":[{two}]}}"#)), Some(vec!["b".to_owned()]));
        let both = format!(r#"{{"cni.dev/attachments":[{two}],"cni.dev/valid-attachments":[{one}]}}"#);
        assert_eq!(ids(&both), Some(vec!["a".to_owned(), "b".to_owned()]));
        for text in [r#"{"cni.dev/attachments":{}}"#, r#"{"cni.dev/valid-attachments":[{"ifname":"x"}]}"#] {
            let error = request(text).valid_attachments().unwrap_err();
            assert!(error.code == 7 && error.message.contains("attachments"), "{error}");
        }
    }

    #[test]
    fn keys_of_the_specification_are_not_the_plugins_own() {
        let text = r#"{"cniVersion":"1.1.0","name":"n","type":"cni-chain","capabilities":{},"runtimeConfig":{},"args":{},
            "ipMasq":true,"ipam":{},"dns":{},"prevResult":{},"cni.dev/attachments":[],"colour":1}"#;
        assert_eq!(request(text).own().map(|(key, _)| key).collect::<Vec<_>>(), ["colour"]);
    }
}
