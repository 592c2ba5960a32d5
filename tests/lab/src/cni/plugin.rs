//! The lab's own plugins: which there are, what each is told, and how it answers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{aws, egress, mock};
use crate::Error;

/// The names under which `chainkit-lab` is a plugin: `aws-cni` is a primary that wires and answers as the VPC CNI's; `egress-cni` chains a
/// second veth, as the VPC CNI's; `lab-mock` is chained and does nothing, or fails where its config says so (`"fail":
/// {"ADD": {"code": 11, "msg": "later"}}`).
///
/// Each appends what it was called with to the file that its config names as `record`: a JSON object a line, with the variables of its
/// environment in `env` and the text of its stdin in `stdin`.
pub const NAMES: [&str; 3] = ["aws-cni", "egress-cni", "lab-mock"];

/// What they speak.
const VERSIONS: [&str; 6] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.2.0"];

/// The error object of the specification.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u64,
    pub(super) msg: String,
}

impl Refusal {
    pub(super) fn new(code: u64, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into() }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(999, error.to_string())
    }
}

/// What a plugin was called with.
pub(super) struct Request {
    pub(super) verb: String,
    pub(super) container_id: String,
    pub(super) netns: PathBuf,
    pub(super) ifname: String,
    /// `CNI_ARGS`.
    args: BTreeMap<String, String>,
    /// The whole of stdin.
    pub(super) config: Value,
    /// `prevResult`, as it is written.
    pub(super) previous: Option<String>,
    /// The lab's root.
    pub(super) root: PathBuf,
    text: String,
}

impl Request {
    fn read() -> Result<Self, Refusal> {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Refusal::new(5, format!("cannot read stdin: {error}")))?;
        let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
        let word = |name: &str| variable(name).to_string_lossy().into_owned();
        let verb = word("CNI_COMMAND");
        let keys: BTreeMap<String, Box<RawValue>> = match serde_json::from_str(&text) {
            Ok(keys) => keys,
            Err(_) if verb == "VERSION" => BTreeMap::new(),
            Err(error) => return Err(Refusal::new(6, format!("stdin is no JSON object: {error}"))),
        };
        let pairs = word("CNI_ARGS");
        Ok(Self {
            verb,
            container_id: word("CNI_CONTAINERID"),
            netns: variable("CNI_NETNS").into(),
            ifname: word("CNI_IFNAME"),
            args: pairs.split(';').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect(),
            config: serde_json::from_str(&text).unwrap_or_default(),
            previous: keys.get("prevResult").map(|previous| previous.get().to_owned()),
            root: variable("CHAINKIT_ROOT").into(),
            text,
        })
    }

    /// A value of `CNI_ARGS`; empty where it is not given.
    pub(super) fn arg(&self, name: &str) -> &str {
        self.args.get(name).map_or("", String::as_str)
    }

    /// The network's name.
    pub(super) fn network(&self) -> &str {
        self.config["name"].as_str().unwrap_or_default()
    }

    /// The version asked for, as its first two numbers.
    pub(super) fn version(&self) -> (u32, u32) {
        let version = self.config["cniVersion"].as_str().unwrap_or("0.1.0");
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// The containers (each with its interface) that a GC call says are valid; `None` where it does not say.
    pub(super) fn valid(&self) -> Option<Vec<(String, String)>> {
        let listed = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let listed: Vec<&Vec<Value>> = listed.iter().filter_map(|key| self.config[*key].as_array()).collect();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let each = |value: &Value| (word(&value["containerID"]), word(&value["ifname"]));
        (!listed.is_empty()).then(|| listed.into_iter().flatten().map(each).collect())
    }

    /// `prevResult`, which a chained plugin hands on as it is.
    pub(super) fn passed_on(&self) -> Result<String, Refusal> {
        self.previous.clone().ok_or_else(|| Refusal::new(7, "ADD needs prevResult: a primary plugin comes first"))
    }

    /// Appends what this was called with to the file that the config names, in one write.
    fn record(&self, plugin: &str) -> io::Result<()> {
        let Some(path) = self.config["record"].as_str() else { return Ok(()) };
        let told = |(name, value): (OsString, OsString)| {
            let name = name.to_string_lossy().into_owned();
            name.starts_with("CNI_").then(|| (name, value.to_string_lossy().into_owned()))
        };
        let env: BTreeMap<String, String> = std::env::vars_os().filter_map(told).collect();
        let line = json!({"plugin": plugin, "env": env, "stdin": self.text}).to_string() + "\n";
        OpenOptions::new().append(true).create(true).open(path)?.write_all(line.as_bytes())
    }
}

/// Whether a runtime calls this process as a plugin.
#[must_use]
pub fn is_called() -> bool {
    std::env::var_os("CNI_COMMAND").is_some()
}

/// Is the plugin that the name of this process says.
#[must_use]
pub fn run(program: &Path) -> ExitCode {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (said, code) = match answer(&name) {
        Ok(said) => (said, ExitCode::SUCCESS),
        Err(Refusal { code, msg }) => {
            (json!({"cniVersion": "0.4.0", "code": code, "msg": msg}).to_string(), ExitCode::FAILURE)
        }
    };
    // A runtime that reads no more has lost interest.
    drop(io::stdout().write_all(said.as_bytes()));
    code
}

fn answer(name: &str) -> Result<String, Refusal> {
    let request = Request::read()?;
    request.record(name).map_err(|error| Refusal::new(5, format!("cannot record the call: {error}")))?;
    if request.verb == "VERSION" {
        return Ok(json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS}).to_string());
    }
    if request.root.as_os_str().is_empty() {
        return Err(Refusal::new(4, "CHAINKIT_ROOT has to name the lab's root"));
    }
    match name {
        "aws-cni" => aws::answer(&request),
        "egress-cni" => egress::answer(&request),
        "lab-mock" => mock::answer(&request),
        other => Err(Refusal::new(4, format!("{other:?} is none of the lab's plugins: {NAMES:?}"))),
    }
}
