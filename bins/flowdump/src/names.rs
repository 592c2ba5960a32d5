//! Where names come from: `--pods`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chainkit_cli::{Exit, Failure, Log};
use chainkit_cluster::live::{Event, Follow, Live, Source};
use chainkit_cluster::{InputError, MAX_INPUT_BYTES, Objects};

/// How often it is looked whether to stop while objects are waited for.
const TICK: Duration = Duration::from_millis(100);

/// What share of the time names are made anew at most: one in ten.
const IDLE_SHARE: u32 = 10;

/// The Kubernetes objects of `--pods`; none without it. What could not be used is told on stderr.
///
/// # Errors
/// When one cannot be read, or there is nothing but what cannot be used.
pub(crate) fn objects(pods: &[String], log: &Log) -> anyhow::Result<Objects> {
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
    tell_if_empty(pods, &objects, log);
    Ok(objects)
}

fn unreadable(error: &InputError) -> Failure {
    Failure::new(Exit::Usage, format!("--pods: {error}"))
}

fn tell_if_empty(pods: &[String], objects: &Objects, log: &Log) {
    if objects.is_empty() && !pods.is_empty() {
        let places = pods.join(", ");
        let text = format!("{places} holds no pods, services, nodes or namespaces: flows bear no names from it");
        log.warning(text);
    }
}

/// Kubernetes objects as they are now.
pub(crate) struct Cluster {
    pub(crate) objects: Objects,
    /// What `--pods` names.
    pods: Vec<String>,
    /// Where news come from, as long as any may.
    live: Option<Live>,
    changed: bool,
    /// When names may be made of them again.
    again_at: Instant,
}

impl Cluster {
    /// The objects of `--pods`. FIFOs and standard input are followed from there on; what they list is waited for, until
    /// `told_to_end` is set.
    ///
    /// # Errors
    /// When one cannot be read, or there is nothing but what cannot be used.
    pub(crate) fn open(pods: &[String], log: &Log, told_to_end: &AtomicBool) -> anyhow::Result<Self> {
        let mut cluster = Self {
            objects: Objects::default(),
            pods: pods.to_vec(),
            live: None,
            changed: false,
            again_at: Instant::now(),
        };
        if !pods.iter().any(|input| goes_on(input)) {
            cluster.objects = objects(pods, log)?;
            return Ok(cluster);
        }
        let sources = pods.iter().cloned().map(Source::Input).collect();
        // A list of the whole cluster is one document.
        let document_bytes = usize::try_from(MAX_INPUT_BYTES).unwrap_or(usize::MAX);
        let follow = Follow { reopen: true, document_bytes, ..Follow::new(sources) };
        let live = follow.start().map_err(|error| unreadable(&error))?;
        cluster.live = Some(live);
        let mut unlisted = pods.len();
        while unlisted > 0 && cluster.live.is_some() && !told_to_end.load(Ordering::Acquire) {
            unlisted = unlisted.saturating_sub(cluster.take(log, TICK));
        }
        cluster.changed = false;
        tell_if_empty(pods, &cluster.objects, log);
        Ok(cluster)
    }

    /// Takes in what has come, waiting `timeout` for it, and tells how many sources were listed with it.
    fn take(&mut self, log: &Log, timeout: Duration) -> usize {
        let Some(live) = &mut self.live else {
            return 0;
        };
        let Some(events) = live.wait(timeout) else {
            self.live = None;
            return 0;
        };
        let mut listed = 0;
        for event in events {
            match event {
                Event::Changes(changes) => {
                    self.changed = true;
                    changes.into_iter().for_each(|change| self.objects.apply(change));
                }
                Event::Problem(problem) => log.warning(problem),
                Event::Note(note) => log.info(note),
                Event::Listed(_) => listed += 1,
                Event::Ended { error: Some(error), source } => {
                    let input = self.pods.get(source).map_or("", String::as_str);
                    log.warning(format!("--pods {input} {error}: names stay as they are"));
                }
                Event::Ended { error: None, .. } => {}
            }
        }
        listed
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
        let pods = [path.to_string_lossy().into_owned()];
        let mut cluster = Cluster::open(&pods, &log, &AtomicBool::new(false)).unwrap();
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
        let pods = [path.to_string_lossy().into_owned()];
        assert!(Cluster::open(&pods, &log, &AtomicBool::new(true)).unwrap().objects.is_empty());
    }
}
