//! Real FIFOs, and writers that come, go and misbehave.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::ClusterState;
use crate::model::ObjectName;

/// Longer than anything here takes on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(60);

struct Fifos(tempfile::TempDir);

impl Fifos {
    fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            mkfifo(&folder.path().join(name), Mode::S_IRWXU).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn follow(&self, names: &[&str]) -> Follow {
        let source = |name: &&str| Source::Input(self.path(name).to_string_lossy().into_owned());
        Follow::new(names.iter().map(source).collect())
    }
}

/// What was told so far, and the cluster that it made.
struct Heard {
    live: Live,
    state: ClusterState,
    told: Vec<String>,
    over: bool,
}

impl Heard {
    fn of(follow: Follow) -> Self {
        Self { live: follow.start().unwrap(), state: ClusterState::default(), told: Vec::new(), over: false }
    }

    /// Takes what comes until this is so.
    fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LONG;
        while !is(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.told);
            assert!(!self.over, "{what}, and all is over: {:?}", self.told);
            let Some(events) = self.live.wait(Duration::from_millis(50)) else {
                self.over = true;
                continue;
            };
            for event in events {
                match event {
                    Event::Changes(changes) => changes.into_iter().for_each(|change| {
                        self.state.apply(change);
                    }),
                    Event::Problem(problem) => self.told.push(problem.to_string()),
                    Event::Note(note) => self.told.push(note),
                    Event::Listed(source) => self.told.push(format!("listed {source}")),
                    Event::Ended { source, error } => {
                        self.told.push(format!("ended {source}{}", error.unwrap_or_default()))
                    }
                }
            }
        }
    }

    fn told(&self, what: &str) -> bool {
        self.told.iter().any(|told| told == what)
    }

    fn names(&self) -> Vec<String> {
        self.state.cluster().workloads.into_iter().map(|pod| pod.name).collect()
    }
}

fn open(path: &Path) -> File {
    // Not before somebody reads.
    OpenOptions::new().write(true).open(path).unwrap()
}

fn event(kind: &str, name: &str) -> String {
    let object = format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"shop"}}}}"#);
    format!("{{\n    \"type\": \"{kind}\",\n    \"object\": {object}\n}}\n")
}

#[test]
fn each_source_is_followed_whether_or_not_the_others_have_a_writer() {
    let fifos = Fifos::new(&["pods", "late"]);
    let mut heard = Heard::of(fifos.follow(&["late", "pods"]));
    let mut pods = open(&fifos.path("pods"));
    pods.write_all(event("ADDED", "a").as_bytes()).unwrap();
    heard.until("the first pod", |heard| heard.names() == ["a"]);
    heard.until("listed", |heard| heard.told("listed 1"));
    let mut late = open(&fifos.path("late"));
    late.write_all([event("ADDED", "b"), event("ADDED", "c")].concat().as_bytes()).unwrap();
    heard.until("both", |heard| heard.names() == ["a", "b", "c"]);
    pods.write_all(event("DELETED", "a").as_bytes()).unwrap();
    heard.until("one gone", |heard| heard.names() == ["b", "c"]);
    drop((pods, late));
    heard.until("all over", |heard| heard.told("ended 0") && heard.told("ended 1"));
    assert_eq!(heard.names(), ["b", "c"], "what was given stays");
    assert!(heard.told("listed 0"));
    heard.until("nothing more", |heard| heard.over || heard.told.len() == 4);
}

#[test]
fn news_and_the_end_show_that_the_list_is_complete() {
    let fifos = Fifos::new(&["changed", "ended", "marked", "silent"]);
    let mut follow = fifos.follow(&["changed", "ended", "marked", "silent"]);
    follow.silence = Some(Duration::from_millis(10));
    let mut heard = Heard::of(follow);
    let mut changed = open(&fifos.path("changed"));
    changed.write_all([event("ADDED", "a"), event("MODIFIED", "a")].concat().as_bytes()).unwrap();
    drop(open(&fifos.path("ended")));
    let mut marked = open(&fifos.path("marked"));
    let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
    marked.write_all(bookmark.as_bytes()).unwrap();
    heard.until("all listed", |heard| (0..4).all(|source| heard.told(&format!("listed {source}"))));
}

#[test]
fn a_writer_that_dies_in_a_document_takes_nothing_else_with_it() {
    let fifos = Fifos::new(&["pods"]);
    let mut heard = Heard::of(fifos.follow(&["pods"]));
    let mut pods = open(&fifos.path("pods"));
    let torn = event("ADDED", "torn");
    pods.write_all(format!("{}{}", event("ADDED", "a"), torn.get(..60).unwrap()).as_bytes()).unwrap();
    drop(pods);
    heard.until("over", |heard| heard.over || heard.told("ended 0"));
    assert_eq!(heard.names(), ["a"]);
    let problem = heard.told.iter().find(|told| told.contains("a document that does not end")).unwrap();
    assert!(problem.contains("pods:5: document 2: "), "{problem}");
}

#[test]
fn the_next_writer_takes_over_and_what_it_does_not_give_is_removed_when_it_says_that_is_all() {
    let fifos = Fifos::new(&["pods"]);
    let mut heard = Heard::of(Follow { reopen: true, ..fifos.follow(&["pods"]) });
    let mut pods = open(&fifos.path("pods"));
    pods.write_all([event("ADDED", "a"), event("ADDED", "b")].concat().as_bytes()).unwrap();
    drop(pods);
    heard.until("ended", |heard| heard.told("ended 0"));
    assert_eq!(heard.names(), ["a", "b"]);
    heard.told.clear();
    let mut pods = open(&fifos.path("pods"));
    pods.write_all([event("ADDED", "b"), event("ADDED", "c")].concat().as_bytes()).unwrap();
    heard.until("listed again", |heard| heard.told("listed 0"));
    assert_eq!(heard.names(), ["a", "b", "c"], "it may be only late");
    let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
    pods.write_all(bookmark.as_bytes()).unwrap();
    heard.until("removed", |heard| heard.names() == ["b", "c"]);
}

#[test]
fn what_nobody_could_read_may_be_what_is_missing() {
    let fifos = Fifos::new(&["pods"]);
    let mut heard = Heard::of(Follow { reopen: true, ..fifos.follow(&["pods"]) });
    drop(open(&fifos.path("pods")).write_all(event("ADDED", "a").as_bytes()));
    heard.until("ended", |heard| heard.told("ended 0"));
    let mut pods = open(&fifos.path("pods"));
    let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
    let torn = event("ADDED", "a");
    pods.write_all(format!("{}\n{bookmark}\n{}", torn.get(..50).unwrap(), event("ADDED", "b")).as_bytes()).unwrap();
    heard.until("the next", |heard| heard.names().contains(&"b".to_owned()));
    assert_eq!(heard.names(), ["a", "b"]);
}

#[test]
fn a_fast_writer_is_held_back_and_loses_nothing() {
    let fifos = Fifos::new(&["pods"]);
    let mut heard = Heard::of(fifos.follow(&["pods"]));
    let path = fifos.path("pods");
    let many: usize = 40_000;
    let writer = std::thread::spawn(move || {
        let mut pods = open(&path);
        for number in 0..many {
            pods.write_all(event("ADDED", &format!("p{number}")).as_bytes()).unwrap();
        }
    });
    // Room for some of it, and not for all.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!writer.is_finished());
    heard.until("all", |heard| heard.told("ended 0"));
    writer.join().unwrap();
    assert_eq!(heard.state.len(), many);
}

#[test]
fn what_came_together_is_given_together() {
    let fifos = Fifos::new(&["pods"]);
    let mut live = fifos.follow(&["pods"]).start().unwrap();
    let mut pods = open(&fifos.path("pods"));
    let list: Vec<String> = (0..5000)
        .map(|number| format!(r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"p{number}"}}}}"#))
        .collect();
    pods.write_all(format!(r#"{{"kind":"List","apiVersion":"v1","items":[{}]}}"#, list.join(",")).as_bytes()).unwrap();
    drop(pods);
    let mut batches = Vec::new();
    while let Some(events) = live.wait(LONG) {
        batches.extend(events.into_iter().filter_map(|event| match event {
            Event::Changes(changes) => Some(changes.len()),
            _ => None,
        }));
    }
    assert_eq!(batches, [5000]);
}

#[test]
fn dropping_it_ends_threads_that_wait_for_a_writer_for_bytes_and_for_room() {
    let fifos = Fifos::new(&["unwritten", "quiet", "full"]);
    let live = fifos.follow(&["unwritten", "quiet", "full"]).start().unwrap();
    let _quiet = open(&fifos.path("quiet"));
    let path = fifos.path("full");
    let writer = std::thread::spawn(move || {
        let mut full = open(&path);
        // Until nobody reads any more.
        while full.write_all(event("ADDED", "a").as_bytes()).is_ok() {}
    });
    std::thread::sleep(Duration::from_millis(300));
    let (sender, dropped) = sync_channel(1);
    std::thread::spawn(move || {
        drop(live);
        sender.send(()).unwrap();
    });
    dropped.recv_timeout(LONG).unwrap();
    writer.join().unwrap();
}

#[test]
fn files_and_folders_are_read_once_and_what_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("a.yaml"),
        "kind: Pod\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: {name: b}\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("b.json"), event("DELETED", "c")).unwrap();
    let input = |path: &Path| Source::Input(path.to_string_lossy().into_owned());
    let sources = vec![input(folder.path()), input(&folder.path().join("a.yaml"))];
    let mut heard = Heard::of(Follow { reopen: true, ..Follow::new(sources) });
    heard.until("both over", |heard| heard.told("ended 0") && heard.told("ended 1"));
    assert_eq!(heard.names(), ["a", "b"]);
    let error = Follow::new(vec![input(&folder.path().join("none"))]).start().unwrap_err().to_string();
    assert!(error.contains("none: No such file"), "{error}");
}

#[test]
fn the_roll_call_misses_what_was_not_given_again() {
    let pod = |name: &str| ObjectName::Node(name.to_owned());
    let mut roll = RollCall::default();
    let mut stream = crate::Stream::new("nodes");
    let node = |kind: &str, name: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"object\":{{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":{name}}}}}}}\n"
        )
    };
    stream.feed(
        [node("ADDED", "\"a\""), node("ADDED", "\"b\""), node("ADDED", "\"c\"")].concat().as_bytes(),
        &mut |said| roll.hear(&said),
    );
    assert_eq!(roll.missing(), []);
    roll.begin();
    stream.feed([node("ADDED", "\"b\""), node("DELETED", "\"c\"")].concat().as_bytes(), &mut |said| roll.hear(&said));
    assert_eq!(roll.missing(), [pod("a")]);
    roll.begin();
    // One that nobody understands is there all the same.
    let broken = node("ADDED", "\"b\",\"labels\":7");
    stream.feed(broken.as_bytes(), &mut |said| roll.hear(&said));
    assert_eq!(roll.missing(), []);
}
