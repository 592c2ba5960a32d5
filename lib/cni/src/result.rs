//! Results of the plugins before: passed on as they are, and looked at only for what is needed.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use crate::{Fields, PluginError, Raw, Version, code};

/// What an interface of a result is called, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ResultInterface {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The namespace it is in; empty: the host. The VPC CNI puts other things here, too.
    #[serde(default)]
    pub sandbox: String,
}

/// What can be seen of a result. Entries that are not as the specification has them are left out, never refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultView {
    /// Its interfaces in their order.
    pub interfaces: Vec<ResultInterface>,
    /// The addresses of `ips`, without their prefix lengths.
    pub addresses: Vec<IpAddr>,
}

impl ResultView {
    /// Looks at a result.
    ///
    /// # Errors
    /// Where it is no object.
    pub fn of(result: &Raw) -> Result<Self, PluginError> {
        let fields = object(result)?;
        let list = |key: &str| fields.get(key).and_then(|raw| raw.read::<Vec<Raw>>().ok()).unwrap_or_default();
        Ok(Self {
            interfaces: list("interfaces").iter().map(|raw| raw.read().unwrap_or_default()).collect(),
            addresses: list("ips").iter().filter_map(address).collect(),
        })
    }
}

fn address(entry: &Raw) -> Option<IpAddr> {
    let fields: Fields = entry.read().ok()?;
    let text: String = fields.get("address")?.read().ok()?;
    text.split_once('/').map_or(text.as_str(), |(address, _)| address).parse().ok()
}

fn object(result: &Raw) -> Result<Fields, PluginError> {
    result.read().map_err(|error| {
        PluginError::new(code::DECODING, "prevResult: it is no JSON object").details(error.to_string())
    })
}

/// A result as the answer of this plugin: byte for byte where it is in the request's version or says nothing about its
/// version, and else put into the request's version, with everything in its order and what both versions have untouched.
///
/// # Errors
/// Where it is no object, or of a version that is not spoken here.
pub fn echo(result: &Raw, wanted: Version) -> Result<Cow<'_, str>, PluginError> {
    let mut fields = object(result)?;
    let Some(found) = fields.get("cniVersion").filter(|raw| !raw.is_null()) else {
        return Ok(Cow::Borrowed(result.text()));
    };
    let name: String = found.read().unwrap_or_default();
    if name == wanted.name() {
        return Ok(Cow::Borrowed(result.text()));
    }
    let Some(found) = Version::named(&name) else {
        let shown: String = name.chars().take(40).collect();
        return Err(PluginError::new(
            code::INCOMPATIBLE_VERSION,
            format!("prevResult: its cniVersion {shown:?} is not supported"),
        ));
    };
    let convert = |error: serde_json::Error| {
        PluginError::new(code::DECODING, format!("prevResult: cannot be put into version {}", wanted.name()))
            .details(error.to_string())
    };
    rewrite(&mut fields, found, wanted).map_err(convert)?;
    serde_json::to_string(&fields).map(Cow::Owned).map_err(convert)
}

/// Puts a result into another version: `version` of `ips` comes and goes with 1.0.0, and what 1.1.0 brought goes below it.
fn rewrite(fields: &mut Fields, found: Version, wanted: Version) -> serde_json::Result<()> {
    fields.insert("cniVersion".to_owned(), Raw::of(&wanted.name())?);
    if found < Version::V1_0_0 && wanted >= Version::V1_0_0 {
        each(fields, "ips", |ip| {
            ip.shift_remove("version");
            Ok(())
        })?;
    }
    if found >= Version::V1_0_0 && wanted < Version::V1_0_0 {
        each(fields, "ips", |ip| {
            let text: String = ip.get("address").and_then(|raw| raw.read().ok()).unwrap_or_default();
            ip.insert("version".to_owned(), Raw::of(&if text.contains(':') { "6" } else { "4" })?);
            Ok(())
        })?;
    }
    if found >= Version::V1_1_0 && wanted < Version::V1_1_0 {
        let without = |keys: &'static [&str]| {
            move |entry: &mut Fields| {
                entry.retain(|key, _| !keys.contains(&key.as_str()));
                Ok(())
            }
        };
        each(fields, "interfaces", without(&["mtu", "socketPath", "pciID"]))?;
        each(fields, "routes", without(&["mtu", "advmss", "priority", "table", "scope"]))?;
    }
    Ok(())
}

/// Changes each object of a list; one that is no list, and entries that are no objects, stay as they are.
fn each(
    fields: &mut Fields,
    key: &str,
    change: impl Fn(&mut Fields) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    let Some(place) = fields.get_mut(key) else { return Ok(()) };
    let Ok(mut entries) = place.read::<Vec<Raw>>() else { return Ok(()) };
    for entry in &mut entries {
        if let Ok(mut object) = entry.read::<Fields>() {
            change(&mut object)?;
            *entry = Raw::of(&object)?;
        }
    }
    *place = Raw::of(&entries)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &str) -> Raw {
        serde_json::from_str(text).unwrap()
    }

    /// As the VPC CNI answers, with what is no MAC and no path.
    const AWS: &str = r#"{"cniVersion": "0.4.0","interfaces":[{"name":"eni1a2b3c4d5e6"},{"name":"eth0","mac":"254","sandbox":"/var/run/netns/cni-1"},{"name":"dummy1a2b3c4d5e6","mac":"0","sandbox":"1"}],"ips":[{"version":"4","interface":1,"address":"10.1.1.1/32"}],"dns":{}}"#;

    #[test]
    fn a_result_in_the_right_version_is_echoed_byte_for_byte() {
        let spaced = " {\n\t\"dns\" : { } , \"cniVersion\":\"1.0.0\",\"\\u0061\":1.50,\"a\":2}";
        assert_eq!(echo(&raw(AWS), Version::V0_4_0).unwrap(), AWS);
        assert_eq!(echo(&raw(spaced), Version::V1_0_0).unwrap(), spaced.trim());
        for version in Version::ALL {
            let silent = r#"{"ips":[], "odd" : null}"#;
            assert_eq!(echo(&raw(silent), version).unwrap(), silent);
        }
    }

    #[test]
    fn a_result_of_another_version_is_put_into_the_requests() {
        assert_eq!(
            echo(&raw(AWS), Version::V0_3_1).unwrap(),
            AWS.replace("\"cniVersion\": \"0.4.0\"", "\"cniVersion\":\"0.3.1\"")
        );
        let newer = echo(&raw(AWS), Version::V1_0_0).unwrap().into_owned();
        assert_eq!(
            newer,
            AWS.replace("\"cniVersion\": \"0.4.0\"", "\"cniVersion\":\"1.0.0\"").replace("\"version\":\"4\",", "")
        );
        let newest = r#"{"cniVersion":"1.1.0","interfaces":[{"name":"a","mtu":1500,"socketPath":"/s","pciID":"0","x":1}],"ips":[{"address":"fd00::1/128"}],"routes":[{"dst":"::/0","mtu":1,"advmss":2,"priority":3,"table":4,"scope":5}]}"#;
        assert_eq!(
            echo(&raw(newest), Version::V0_4_0).unwrap(),
            r#"{"cniVersion":"0.4.0","interfaces":[{"name":"a","x":1}],"ips":[{"address":"fd00::1/128","version":"6"}],"routes":[{"dst":"::/0"}]}"#
        );
    }

    #[test]
    fn what_is_no_result_is_refused_by_name() {
        for (text, code) in [("[]", 6), ("7", 6), (r#"{"cniVersion":"0.2.0"}"#, 1), (r#"{"cniVersion":["x"]}"#, 1)] {
            let error = echo(&raw(text), Version::V1_0_0).unwrap_err();
            assert!(error.code == code && error.message.starts_with("prevResult:"), "{text}: {error}");
        }
    }

    #[test]
    fn a_view_takes_what_it_can_use() {
        let view = ResultView::of(&raw(AWS)).unwrap();
        assert_eq!(
            view.interfaces.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
            ["eni1a2b3c4d5e6", "eth0", "dummy1a2b3c4d5e6"]
        );
        assert_eq!(view.interfaces[2].sandbox, "1");
        assert_eq!(view.addresses, ["10.1.1.1".parse::<IpAddr>().unwrap()]);
        let odd = r#"{"interfaces":[3,{"name":"a"},{"name":5}],"ips":[{"address":"x"},{"address":7},{},{"address":"fd00::1/64"}]}"#;
        let view = ResultView::of(&raw(odd)).unwrap();
        assert_eq!(view.interfaces.len(), 3);
        assert_eq!(view.addresses, ["fd00::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(ResultView::of(&raw(r#"{"interfaces":{},"ips":"x"}"#)).unwrap(), ResultView::default());
    }

    proptest! {
        #[test]
        fn an_echo_in_its_own_version_never_changes_a_byte(
            members in proptest::collection::vec(("[a-z]{1,4}", "(null|[0-9]{1,20}|\"[a-z\\\\n]{0,6}\"|\\[ *1 *, *\\{\\} *\\]| \\{ *\"k\" *: *1.0e1 *\\})"), 0..6),
            version in 0usize..5,
        ) {
            let version = Version::ALL[version];
            let body: Vec<String> = members.iter().map(|(key, value)| format!("\"x{key}\" :{value}")).collect();
            let mut body = body.join(" , ");
            if !body.is_empty() { body.push(','); }
            let text = format!("{{{body}\"cniVersion\":\"{}\"}}", version.name());
            if let Ok(raw) = serde_json::from_str::<Raw>(&text) {
                prop_assert_eq!(echo(&raw, version).unwrap(), text);
            }
        }

        #[test]
        fn a_detour_over_another_version_loses_nothing_that_both_have(from in 0usize..5, over in 0usize..5) {
            let (from, over) = (Version::ALL[from], Version::ALL[over]);
            let ips = if from < Version::V1_0_0 { r#"[{"address":"10.0.0.1/24","version":"4"}]"# } else { r#"[{"address":"10.0.0.1/24"}]"# };
            let text = format!(r#"{{"cniVersion":"{}","interfaces":[{{"name":"a","mac":"0"}}],"ips":{ips},"x":[1,2.50]}}"#, from.name());
            let there = echo(&raw(&text), over).unwrap().into_owned();
            let back = echo(&raw(&there), from).unwrap().into_owned();
            prop_assert_eq!(back, text);
        }
    }
}
