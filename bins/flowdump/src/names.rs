//! Where names come from: `--pods`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chainkit_cli::{Exit, Failure};
use chainkit_cluster::live::{Event, Follow, Live, Source};
use chainkit_cluster::{InputError, MAX_INPUT_BYTES, Objects};

use crate::cli::Options;

/// How often it is looked whether to stop while objects are waited for.
const TICK: Duration = Duration::from_millis(100);

/// What share of the time names are made anew at most: one in ten.
const IDLE_SHARE: u32 = 10;

/// The Kubernetes objects of `--pods`; none without it. What could not be used is told on stderr.
///
/// # Errors
/// When one cannot be read, or there is nothing but what cannot be used.
pub(crate) fn objects(options: &Options) -> anyhow::Result<Objects> {
    let mut objects = Objects::default();
    let problems = objects.inputs(&options.pods).map_err(|error| unreadable(&error))?;
    if let Some(first) = problems.first().filter(|_| objects.is_empty()) {
        return Err(Failure::usage(format!("cannot read Kubernetes objects: {first}"))
            .remedy("give --pods what kubectl get pods,services,nodes,namespaces -A -o json prints")
            .into());
    }
    for problem in problems {
        options.log.warning(problem);
    }
    tell_if_empty(options, &objects);
    Ok(objects)
}

fn unreadable(error: &InputError) -> Failure {
    Failure::new(Exit::Usage, format!("--pods: {error}"))
}

fn tell_if_empty(options: &Options, objects: &Objects) {
    if objects.is_empty() && !options.pods.is_empty() {
        let places = options.pods.join(", ");
        let text = format!("{places} holds no pods, services, nodes or namespaces: flows bear no names from it");
        options.log.warning(text);
    }
}

/// Kubernetes objects as they are now.
pub(crate) struct Cluster {
    pub(crate) objects: Objects,
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
    pub(crate) fn open(options: &Options, told_to_end: &AtomicBool) -> anyhow::Result<Self> {
        let mut cluster = Self { objects: Objects::default(), live: None, changed: false, again_at: Instant::now() };
        if !options.pods.iter().any(|input| goes_on(input)) {
            cluster.objects = objects(options)?;
            return Ok(cluster);
        }
        let sources = options.pods.iter().cloned().map(Source::Input).collect();
        // A list of the whole cluster is one document.
        let document_bytes = usize::try_from(MAX_INPUT_BYTES).unwrap_or(usize::MAX);
        let follow = Follow { reopen: true, document_bytes, ..Follow::new(sources) };
        let live = follow.start().map_err(|error| unreadable(&error))?;
        cluster.live = Some(live);
        let mut unlisted = options.pods.len();
        while unlisted > 0 && cluster.live.is_some() && !told_to_end.load(Ordering::Acquire) {
            unlisted = unlisted.saturating_sub(cluster.take(options, TICK));
        }
        cluster.changed = false;
        tell_if_empty(options, &cluster.objects);
        Ok(cluster)
    }

    /// Takes in what has come, waiting `timeout` for it, and tells how many sources were listed with it.
    fn take(&mut self, options: &Options, timeout: Duration) -> usize {
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
                Event::Problem(problem) => options.log.warning(problem),
                Event::Note(note) => options.log.info(note),
                Event::Listed(_) => listed += 1,
                Event::Ended { error: Some(error), source } => {
                    let input = options.pods.get(source).map_or("", String::as_str);
                    options.log.warning(format!("--pods {input} {error}: names stay as they are"));
                }
                Event::Ended { error: None, .. } => {}
            }
        }
        listed
    }

    /// Takes in what has come; true: names are to be made anew, of what there is now.
    pub(crate) fn refresh(&mut self, options: &Options) -> bool {
        self.take(options, Duration::ZERO);
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
