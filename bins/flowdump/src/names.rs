//! Where names come from: `--pods` and `--api`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chainkit_cli::{ApiArgs, Exit, Failure, Log};
use chainkit_cluster::api::{ApiOptions, Kinds};
use chainkit_cluster::live::{Event, Follow, Live, Source};
use chainkit_cluster::{InputError, MAX_INPUT_BYTES, Objects};

/// How often it is looked whether to stop while objects are waited for.
const TICK: Duration = Duration::from_millis(100);

/// How long the API server is waited for before flows are shown without the names that it has not given yet.
const API_PATIENCE: Duration = Duration::from_secs(10);

/// What share of the time names are made anew at most: one in ten.
const IDLE_SHARE: u32 = 10;

/// Where names come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameSources {
    /// Files, folders, FIFOs, and `-` for standard input.
    pub(crate) pods: Vec<String>,
    /// Whether the API server is asked, and which one.
    pub(crate) api: ApiArgs,
}

/// The Kubernetes objects as they are now; none without a source. What could not be used is told on stderr.
///
/// # Errors
/// When a source cannot be read, or there is nothing but what cannot be used.
pub(crate) fn objects(sources: &NameSources, log: &Log, told_to_end: &AtomicBool) -> anyhow::Result<Objects> {
    if sources.api.api {
        return Ok(Cluster::open(sources, log, told_to_end)?.objects);
    }
    let pods = &sources.pods;
    let mut objects = Objects::default();
    let problems = objects.inputs(pods).map_err(|error| unreadable(&error))?;
    if let Some(first) = problems.first().filter(|_| objects.is_empty()) {
        return Err(Failure::usage(format!("cannot read Kubernetes objects: {first}"))
            .remedy("give --pods what kubectl get pods,services,nodes,namespaces -A -o json prints")
            .into());
    }
    for problem in problems {
        log.warning(problem);
    }
    tell_if_empty(sources, &objects, log);
    Ok(objects)
}

fn unreadable(error: &InputError) -> Failure {
    Failure::new(Exit::Usage, format!("--pods: {error}"))
}

fn tell_if_empty(sources: &NameSources, objects: &Objects, log: &Log) {
    if objects.is_empty() && sources.count() > 0 {
        let places: Vec<&str> = (0..sources.count()).map(|at| sources.called(at)).collect();
        let text =
            format!("{} gave no pods, services, nodes or namespaces: flows bear no names from it", places.join(", "));
        log.warning(text);
    }
}

impl NameSources {
    fn count(&self) -> usize {
        self.pods.len() + usize::from(self.api.api)
    }

    /// What a source is called; the API server comes last.
    fn called(&self, source: usize) -> &str {
        self.pods.get(source).map_or("the API server", String::as_str)
    }

    fn all(&self) -> Vec<Source> {
        let (kubeconfig, context) = (self.api.kubeconfig.clone(), self.api.context.clone());
        let options = ApiOptions { kubeconfig, context, kinds: Kinds::Names, ..ApiOptions::default() };
        let api = self.api.api.then_some(Source::Api(options));
        self.pods.iter().cloned().map(Source::Input).chain(api).collect()
    }
}

/// Kubernetes objects as they are now.
pub(crate) struct Cluster {
    pub(crate) objects: Objects,
    sources: NameSources,
    /// Where news come from, as long as any may.
    live: Option<Live>,
    changed: bool,
    /// When names may be made of them again.
    again_at: Instant,
}

impl Cluster {
    /// The objects of all sources. FIFOs, standard input and the API server are followed from there on; what they list is
    /// waited for, until `told_to_end` is set. A server that cannot be asked now is not waited for: it is asked again.
    ///
    /// # Errors
    /// When one cannot be read or asked at all, or there is nothing but what cannot be used.
    pub(crate) fn open(sources: &NameSources, log: &Log, told_to_end: &AtomicBool) -> anyhow::Result<Self> {
        let mut cluster = Self {
            objects: Objects::default(),
            sources: sources.clone(),
            live: None,
            changed: false,
            again_at: Instant::now(),
        };
        if !sources.api.api && !sources.pods.iter().any(|input| goes_on(input)) {
            cluster.objects = objects(sources, log, told_to_end)?;
            return Ok(cluster);
        }
        // A list of the whole cluster is one document.
        let document_bytes = usize::try_from(MAX_INPUT_BYTES).unwrap_or(usize::MAX);
        let follow = Follow { reopen: true, document_bytes, ..Follow::new(sources.all()) };
        let live = follow.start().map_err(|error| unreadable(&error))?;
        cluster.live = Some(live);
        let mut unlisted: BTreeSet<usize> = (0..sources.count()).collect();
        let api = sources.pods.len();
        let patience = Instant::now() + API_PATIENCE;
        while !unlisted.is_empty() && cluster.live.is_some() && !told_to_end.load(Ordering::Acquire) {
            let taken = cluster.take(log, TICK);
            for (source, reason) in taken.ended {
                if source == api && unlisted.contains(&api) {
                    return Err(Failure::usage(format!("--api: {reason}")).into());
                }
                unlisted.remove(&source);
            }
            unlisted.retain(|source| !taken.listed.contains(source));
            if unlisted.contains(&api) && (taken.problems || Instant::now() >= patience) {
                log.warning("the API server has not given all names: flows bear those that it gives");
                unlisted.remove(&api);
            }
        }
        cluster.changed = false;
        tell_if_empty(sources, &cluster.objects, log);
        Ok(cluster)
    }

    /// Takes in what has come, waiting `timeout` for it.
    fn take(&mut self, log: &Log, timeout: Duration) -> Taken {
        let mut taken = Taken::default();
        let Some(live) = &mut self.live else {
            return taken;
        };
        let Some(events) = live.wait(timeout) else {
            self.live = None;
            return taken;
        };
        for event in events {
            match event {
                Event::Changes(changes) => {
                    self.changed = true;
                    changes.into_iter().for_each(|change| self.objects.apply(change));
                }
                Event::Problem(problem) => {
                    taken.problems = true;
                    log.warning(problem);
                }
                Event::Note(note) => log.info(note),
                Event::Listed(source) => taken.listed.push(source),
                Event::Ended { error: Some(error), source } => {
                    if source < self.sources.pods.len() {
                        log.warning(format!("--pods {} {error}: names stay as they are", self.sources.called(source)));
                    }
                    taken.ended.push((source, error));
                }
                Event::Ended { error: None, .. } => {}
            }
        }
        taken
    }

    /// Takes in what has come; true: names are to be made anew, of what there is now.
    pub(crate) fn refresh(&mut self, log: &Log) -> bool {
        self.take(log, Duration::ZERO);
        self.changed && Instant::now() >= self.again_at
    }

    /// Names were made, which took from `began` until now.
    pub(crate) fn named(&mut self, began: Instant) {
        self.changed = false;
        self.again_at = Instant::now() + began.elapsed() * IDLE_SHARE;
    }
}

/// What came at once, beside objects.
#[derive(Debug, Default)]
struct Taken {
    /// Sources that have given all that there was.
    listed: Vec<usize>,
    /// Sources that give no more, and why.
    ended: Vec<(usize, String)>,
    /// Whether something could not be used, or a server not be asked.
    problems: bool,
}

/// Whether an input may bring news after what it begins with.
fn goes_on(input: &str) -> bool {
    input == "-" || fs::metadata(input).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::path::Path;

    use chainkit_cli::LogFormat;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn event(kind: &str, name: &str) -> String {
        format!("{{\"type\":\"{kind}\",\"object\":{{\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{name}\"}}}}}}\n")
    }

    fn names(cluster: &Cluster) -> Vec<&str> {
        cluster.objects.pods().map(|pod| pod.name.as_str()).collect()
    }

    /// Takes in what comes until these are the pods, and makes names of them each time it should.
    fn until(cluster: &mut Cluster, log: &Log, wanted: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if cluster.refresh(log) {
                cluster.named(Instant::now());
                if names(cluster) == wanted {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "{:?}", names(cluster));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_fifo_is_followed_from_its_list_on_and_by_the_next_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pods");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let open = |path: &Path| -> File { OpenOptions::new().write(true).open(path).unwrap() };
        let to_write = path.clone();
        let writer = std::thread::spawn(move || {
            let mut pods = open(&to_write);
            pods.write_all([event("ADDED", "a"), event("ADDED", "b")].concat().as_bytes()).unwrap();
            pods
        });
        let log = Log::new("flowdump", LogFormat::Text);
        let sources = NameSources { pods: vec![path.to_string_lossy().into_owned()], ..NameSources::default() };
        let mut cluster = Cluster::open(&sources, &log, &AtomicBool::new(false)).unwrap();
        assert_eq!(names(&cluster), ["a", "b"]);
        assert!(!cluster.refresh(&log), "names are made of these already");
        let mut pods = writer.join().unwrap();
        pods.write_all([event("DELETED", "a"), event("ADDED", "c")].concat().as_bytes()).unwrap();
        until(&mut cluster, &log, &["b", "c"]);
        drop(pods);
        open(&path).write_all(event("ADDED", "d").as_bytes()).unwrap();
        until(&mut cluster, &log, &["b", "c", "d"]);
    }

    #[test]
    fn one_who_is_told_to_end_waits_for_no_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pods");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let log = Log::new("flowdump", LogFormat::Text);
        let sources = NameSources { pods: vec![path.to_string_lossy().into_owned()], ..NameSources::default() };
        assert!(Cluster::open(&sources, &log, &AtomicBool::new(true)).unwrap().objects.is_empty());
    }
}
