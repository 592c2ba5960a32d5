//! A list of plugins, called in turn as libcni calls them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::cache::{self, Cached};
use super::{Answer, Attachment, Call, Verb};
use crate::{Error, Lab, Netns};

/// A network configuration list, and a runtime that calls its plugins in the lab node's network namespace.
///
/// It does as libcni 1.3 does: ADD in order, each with the result of the one before; DEL in reverse order and CHECK in order with the
/// result of the whole chain, which is cached below the lab's root as libcni caches it; GC and STATUS from version 1.1.0 on.
#[derive(Clone, Debug)]
pub struct Chain {
    node: Arc<Netns>,
    root: PathBuf,
    /// Where plugins are looked for: `CNI_PATH`.
    folders: Vec<PathBuf>,
    name: String,
    version: String,
    /// Each a JSON object, by its keys as written.
    plugins: Vec<BTreeMap<String, Box<RawValue>>>,
    disable_check: bool,
    disable_gc: bool,
    environment: Vec<(OsString, OsString)>,
}

impl Chain {
    /// An empty chain on the node of a lab, with the plugins of [`Lab::plugin_folder`].
    ///
    /// # Errors
    /// When the folder cannot be filled.
    pub fn new(lab: &Lab, name: &str, version: &str) -> Result<Self, Error> {
        Ok(Self {
            node: Arc::new(Netns::open(lab.node().path(), "node")?),
            root: lab.root().to_owned(),
            folders: vec![lab.plugin_folder()?],
            name: name.to_owned(),
            version: version.to_owned(),
            plugins: Vec::new(),
            disable_check: false,
            disable_gc: false,
            environment: vec![("CHAINKIT_ROOT".into(), lab.root().into())],
        })
    }

    /// Appends a plugin; `config` is its object of the list.
    #[must_use]
    pub fn plugin(self, config: Value) -> Self {
        self.plugin_text(&config.to_string())
    }

    /// As [`Chain::plugin`], with the object as text, whose values are handed on as they are written.
    ///
    /// # Panics
    /// When it is no JSON object.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test's own text")]
    pub fn plugin_text(mut self, config: &str) -> Self {
        self.plugins.push(serde_json::from_str(config).expect("a plugin's config is a JSON object"));
        self
    }

    /// Sets a variable in the environment of each plugin.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets `disableCheck`, as the VPC CNI's list does.
    #[must_use]
    pub fn without_check(mut self) -> Self {
        self.disable_check = true;
        self
    }

    /// Sets `disableGC`.
    #[must_use]
    pub fn without_gc(mut self) -> Self {
        self.disable_gc = true;
        self
    }

    /// Name of the network.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Types of the plugins, in order.
    #[must_use]
    pub fn types(&self) -> Vec<String> {
        self.plugins.iter().map(plugin_type).collect()
    }

    /// The list as the text of a `.conflist`.
    #[must_use]
    pub fn conflist(&self) -> String {
        let plugins: Vec<Value> =
            self.plugins.iter().map(|plugin| serde_json::to_value(plugin).unwrap_or_default()).collect();
        let mut list = json!({"cniVersion": self.version, "name": self.name, "plugins": plugins});
        for (key, set) in [("disableCheck", self.disable_check), ("disableGC", self.disable_gc)] {
            if let (true, Some(list)) = (set, list.as_object_mut()) {
                list.insert(key.to_owned(), Value::Bool(true));
            }
        }
        format!("{list:#}\n")
    }

    /// Attaches: ADD of each plugin, in order. Returns what the last has answered, as it was written.
    ///
    /// # Errors
    /// At the first plugin that fails; what those before it did stays done, as with libcni.
    pub fn add(&self, attachment: &Attachment) -> Result<String, Error> {
        let mut previous = None;
        for index in 0..self.plugins.len() {
            let answer = self.call(index, Verb::Add, attachment, previous.as_deref())?.succeed()?;
            previous = Some(answer.stdout);
        }
        let result = previous.unwrap_or_else(|| "null".to_owned());
        cache::write(&self.root, &self.name, attachment, &self.conflist(), &result)?;
        Ok(result)
    }

    /// Detaches: DEL of each plugin, in reverse order.
    ///
    /// # Errors
    /// At the first plugin that fails; those before it in the list are not called, as with libcni.
    pub fn delete(&self, attachment: &Attachment) -> Result<(), Error> {
        let result = self.result(attachment).filter(|_| self.speaks((0, 4)));
        for index in (0..self.plugins.len()).rev() {
            self.call(index, Verb::Del, attachment, result.as_deref())?.succeed()?;
        }
        cache::remove(&self.root, &self.name, attachment)
    }

    /// Checks: CHECK of each plugin, in order, unless the list or its version does without.
    ///
    /// # Errors
    /// At the first plugin that fails.
    pub fn check(&self, attachment: &Attachment) -> Result<(), Error> {
        if self.disable_check || !self.speaks((0, 4)) {
            return Ok(());
        }
        let result = self.result(attachment);
        for index in 0..self.plugins.len() {
            self.call(index, Verb::Check, attachment, result.as_deref())?.succeed()?;
        }
        Ok(())
    }

    /// Collects garbage: detaches what is cached and not among `valid`, then GC of each plugin, from version 1.1.0 on.
    ///
    /// # Errors
    /// The first error, after everything was tried.
    pub fn gc(&self, valid: &[&Attachment]) -> Result<(), Error> {
        if self.disable_gc {
            return Ok(());
        }
        let mut first = Ok(());
        for Cached { container_id, ifname, netns } in cache::list(&self.root, &self.name)? {
            if !valid.iter().any(|known| known.container_id == container_id && known.ifname == ifname) {
                let stale = Attachment { ifname, ..Attachment::new(container_id, netns) };
                first = first.and(self.delete(&stale));
            }
        }
        if self.speaks((1, 1)) {
            for index in 0..self.plugins.len() {
                first = first.and(self.gc_call(index, valid)?.succeed().map(drop));
            }
        }
        first
    }

    /// Asks whether an ADD could be served: STATUS of each plugin, from version 1.1.0 on.
    ///
    /// # Errors
    /// At the first plugin that cannot.
    pub fn status(&self) -> Result<(), Error> {
        if self.speaks((1, 1)) {
            for index in 0..self.plugins.len() {
                self.bare_call(index, Verb::Status, &[])?.succeed()?;
            }
        }
        Ok(())
    }

    /// What a plugin says to VERSION.
    ///
    /// # Errors
    /// When it fails.
    pub fn version(&self, index: usize) -> Result<Answer, Error> {
        self.bare_call(index, Verb::Version, &[])?.succeed()
    }

    /// The cached result of an attachment, as the last plugin wrote it.
    #[must_use]
    pub fn result(&self, attachment: &Attachment) -> Option<String> {
        cache::result(&self.root, &self.name, attachment)
    }

    /// A call of the plugin number `index`, with all that the verb needs; `previous` is its `prevResult` as text.
    ///
    /// # Errors
    /// When there is no such plugin.
    pub fn call(
        &self,
        index: usize,
        verb: Verb,
        attachment: &Attachment,
        previous: Option<&str>,
    ) -> Result<Call, Error> {
        let mut keys = Vec::new();
        if let Some(previous) = previous {
            keys.push(("prevResult", previous.trim().to_owned()));
        }
        if let Some(config) = self.plugins.get(index).and_then(|plugin| runtime_config(plugin, attachment)) {
            keys.push(("runtimeConfig", config.to_string()));
        }
        let call = self.bare_call(index, verb, &keys)?;
        Ok(call
            .env("CNI_CONTAINERID", &attachment.container_id)
            .env("CNI_NETNS", &attachment.netns)
            .env("CNI_IFNAME", &attachment.ifname)
            .env("CNI_ARGS", attachment.args_text()))
    }

    /// A GC call of the plugin number `index`.
    ///
    /// # Errors
    /// When there is no such plugin.
    pub fn gc_call(&self, index: usize, valid: &[&Attachment]) -> Result<Call, Error> {
        let valid: Vec<Value> =
            valid.iter().map(|known| json!({"containerID": known.container_id, "ifname": known.ifname})).collect();
        let valid = Value::from(valid).to_string();
        // The specification names the first; runtimes send one, the other, or both.
        self.bare_call(index, Verb::Gc, &[("cni.dev/valid-attachments", valid.clone()), ("cni.dev/attachments", valid)])
    }

    /// A call that names no attachment; `keys` are added to the plugin's config, each with its value as text.
    ///
    /// # Errors
    /// When there is no such plugin, or a value is no JSON.
    pub fn bare_call(&self, index: usize, verb: Verb, keys: &[(&str, String)]) -> Result<Call, Error> {
        let types = || format!("call plugin number {index} of {:?}", self.types());
        let plugin = self.plugins.get(index).ok_or_else(|| Error::invalid(types(), "there is no such plugin"))?;
        let name = plugin_type(plugin);
        let found = self.folders.iter().map(|folder| folder.join(&name)).find(|path| path.exists());
        let program = found.ok_or_else(|| {
            Error::invalid(types(), format!("{name} is not in {:?}: build it, or install the package", self.folders))
        })?;
        let mut request = plugin.clone();
        let ours = [("name", Value::from(self.name.as_str())), ("cniVersion", Value::from(self.version.as_str()))];
        let ours = ours.map(|(key, value)| (key, value.to_string()));
        for (key, value) in ours.iter().chain(keys) {
            let value = RawValue::from_string(value.clone())
                .map_err(|error| Error::invalid(format!("put {key} into the request"), error.to_string()))?;
            request.insert((*key).to_owned(), value);
        }
        let stdin = serde_json::to_vec(&request)
            .map_err(|error| Error::invalid("write a plugin's request", error.to_string()))?;
        let call = Call {
            node: Arc::clone(&self.node),
            program,
            verb,
            environment: self.environment.clone(),
            stdin: if verb == Verb::Version { Vec::new() } else { stdin },
        };
        let folders: Vec<&[u8]> = self.folders.iter().map(|folder| folder.as_os_str().as_bytes()).collect();
        let path = std::ffi::OsStr::from_bytes(&folders.join(&b':')).to_owned();
        Ok(call.env("CNI_COMMAND", verb.to_string()).env("CNI_PATH", path))
    }

    /// The folder of libcni's cache.
    #[must_use]
    pub fn cache_folder(&self) -> PathBuf {
        cache::folder(&self.root)
    }

    /// Where the node's tree is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the list is of this version or a later one; of its numbers, two decide.
    fn speaks(&self, wanted: (u32, u32)) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
    }
}

fn plugin_type(plugin: &BTreeMap<String, Box<RawValue>>) -> String {
    let text = plugin.get("type").map_or("", |value| value.get());
    serde_json::from_str(text).unwrap_or_default()
}

/// The arguments of those capabilities that the plugin asks for.
fn runtime_config(plugin: &BTreeMap<String, Box<RawValue>>, attachment: &Attachment) -> Option<Value> {
    let asked: BTreeMap<String, Value> = serde_json::from_str(plugin.get("capabilities")?.get()).ok()?;
    let given: serde_json::Map<String, Value> = (attachment.capabilities.iter())
        .filter(|(name, _)| asked.get(*name).is_some_and(|asked| *asked == Value::Bool(true)))
        .map(|(name, argument)| (name.clone(), argument.clone()))
        .collect();
    (!given.is_empty()).then_some(Value::Object(given))
}
