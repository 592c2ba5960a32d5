//! Against a server on the loopback that pages, breaks off, forgets, refuses and never ends.

mod fake;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::ClusterState;
use crate::live::{Event, Follow, Live, Source};
use fake::Fake;

/// Longer than anything here takes on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(60);

fn pod(name: &str, version: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version}, "spec": {"containers": []}})
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn once(fake: &Fake) -> Result<(crate::model::Cluster, Vec<String>), ApiError> {
    let mut reader = Reader::default();
    let notes = reader.api(&fake.options())?;
    Ok((reader.finish(), notes))
}

/// What was told so far, and the cluster that it made.
struct Heard {
    live: Live,
    state: ClusterState,
    told: Vec<String>,
}

impl Heard {
    fn of(options: ApiOptions) -> Self {
        let live = Follow::new(vec![Source::Api(options)]).start().unwrap();
        Self { live, state: ClusterState::default(), told: Vec::new() }
    }

    /// Takes what comes until this is so.
    fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LONG;
        while !is(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.told);
            for event in self.live.wait(Duration::from_millis(50)).unwrap_or_default() {
                match event {
                    Event::Changes(changes) => changes.into_iter().for_each(|change| {
                        self.state.apply(change);
                    }),
                    Event::Problem(problem) => self.told.push(problem.to_string()),
                    Event::Note(note) => self.told.push(note),
                    Event::Listed(_) => self.told.push("listed".to_owned()),
                    Event::Ended { error, .. } => self.told.push(format!("ended: {error:?}")),
                }
            }
        }
    }

    fn told(&self, part: &str) -> usize {
        self.told.iter().filter(|told| told.contains(part)).count()
    }

    fn pods(&self) -> Vec<String> {
        self.state.cluster().workloads.into_iter().map(|pod| pod.name).collect()
    }
}

#[test]
fn a_list_is_read_page_by_page_and_what_the_server_does_not_have_is_no_fault() {
    let fake = Fake::start(|asked| {
        if !asked.is_of("pods") {
            return Some(asked);
        }
        assert_eq!(asked.token.as_deref(), Some("s3same"));
        match asked.before {
            0 => asked.list("7", "a b/+&", &[pod("a", "1"), pod("b", "2")]),
            1 => asked.list("7", "two", &[pod("c", "3")]),
            _ => asked.list("7", "", &[pod("d", "4")]),
        }
    });
    let (cluster, notes) = once(&fake).unwrap();
    let names: Vec<&str> = cluster.workloads.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!((names, cluster.problems.len()), (vec!["a", "b", "c", "d"], 0));
    assert_eq!(cluster.workloads[2].origin.file.as_ref(), format!("{}/api/v1/pods", fake.url));
    assert_eq!(
        fake.asked("/api/v1/pods"),
        [
            "/api/v1/pods?limit=500",
            "/api/v1/pods?limit=500&continue=a%20b%2F%2B%26",
            "/api/v1/pods?limit=500&continue=two"
        ]
    );
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].contains("has no adminnetworkpolicies of policy.networking.k8s.io/v1alpha1"), "{notes:?}");
}

#[test]
fn a_list_whose_rest_the_server_forgot_is_begun_anew() {
    let fake = Fake::start(|asked| match (asked.is_of("pods"), asked.before) {
        (false, _) => Some(asked),
        (true, 0) => asked.list("7", "more", &[pod("a", "1")]),
        (true, 1) => asked.refuse(410, "the provided continue parameter is too old"),
        (true, _) => asked.list("9", "", &[pod("a", "1"), pod("b", "8")]),
    });
    let (cluster, _) = once(&fake).unwrap();
    assert_eq!(cluster.workloads.len(), 2);
}

#[test]
fn one_who_asks_once_gives_a_busy_server_some_time() {
    let fake = Fake::start(|asked| match (asked.is_of("pods"), asked.before) {
        (true, 0) => asked.refuse(503, "starting"),
        (true, 1) => asked.refuse(429, "too many"),
        (true, _) => asked.list("9", "", &[pod("a", "1")]),
        (false, _) => Some(asked),
    });
    let (cluster, _) = once(&fake).unwrap();
    assert_eq!(cluster.workloads.len(), 1);
}

#[test]
fn what_may_not_be_listed_is_told_by_verb_and_resource() {
    let fake = Fake::start(|asked| {
        if asked.is_of("networkpolicies") { asked.refuse(403, "User \"u\" cannot list") } else { Some(asked) }
    });
    let error = once(&fake).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not allowed to list networkpolicies (403): User \"u\" cannot list: grant the verb \"list\" on the resource \
         \"networkpolicies\" of the API group \"networking.k8s.io\" with a ClusterRole"
    );
    let mut heard = Heard::of(fake.options());
    heard.until("asked again", |_| fake.asked("/apis/networking.k8s.io/v1/networkpolicies").len() > 2);
    assert_eq!((heard.told("not allowed to list networkpolicies"), heard.told("listed")), (1, 0), "{:?}", heard.told);
}

#[test]
fn one_who_may_not_list_a_kind_that_the_server_does_not_have_misses_nothing() {
    let group = "/apis/policy.networking.k8s.io";
    let fake = Fake::start(move |asked| {
        if asked.path == format!("{group}/v1alpha1") {
            asked.answer(200, r#"{"kind":"APIResourceList","resources":[{"name":"adminnetworkpolicies"}]}"#)
        } else if asked.path == format!("{group}/v1alpha2") {
            asked.answer(404, "404 page not found")
        } else if asked.is_of("adminnetworkpolicies") {
            asked.list("1", "", &[])
        } else if asked.path.starts_with(group) {
            asked.refuse(403, "forbidden")
        } else {
            Some(asked)
        }
    });
    let (_, notes) = once(&fake).unwrap();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes.iter().all(|note| note.contains(" baselineadmin") || note.contains(" clusternetwork")), "{notes:?}");
}

#[test]
fn a_watch_goes_on_where_it_was_cut_off() {
    let fake = Fake::start(|asked| {
        if !asked.is_of("pods") {
            return Some(asked);
        }
        match asked.before {
            0 => asked.list("10", "", &[pod("a", "5")]),
            1 => {
                let mut watch = asked.begin();
                let (first, second) = (event("ADDED", &pod("b", "11")), event("MODIFIED", &pod("b", "12")));
                // Bytes part where they like.
                let text = [first, second].concat();
                for cuts in [0, 7, 90, 91, 200, text.len()].windows(2) {
                    watch.part(&text[cuts[0]..cuts[1]]);
                }
                watch.part(&event("BOOKMARK", &json!({"kind": "Pod", "metadata": {"resourceVersion": "50"}})));
                // The connection breaks off within an event.
                watch.part(&event("DELETED", &pod("a", "51"))[..30]);
                None
            }
            _ => {
                let mut watch = asked.begin();
                watch.part(&event("DELETED", &pod("a", "51")));
                watch.hang()
            }
        }
    });
    let mut heard = Heard::of(fake.options());
    heard.until("the end of a", |heard| heard.pods() == ["b"]);
    let asked = fake.asked("/api/v1/pods");
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1].contains("watch=1") && asked[1].ends_with("&resourceVersion=10"), "{asked:?}");
    assert!(asked[1].contains("allowWatchBookmarks=true"), "{asked:?}");
    assert!(asked[2].ends_with("&resourceVersion=50"), "{asked:?}");
    assert_eq!((heard.told("listed"), heard.told.len()), (1, 4), "and three kinds are absent: {:?}", heard.told);
}

#[test]
fn what_has_vanished_while_the_server_forgot_the_watch_is_removed() {
    for in_stream in [true, false] {
        let fake = Fake::start(move |asked| {
            if !asked.is_of("pods") {
                return Some(asked);
            }
            match asked.before {
                0 => asked.list("10", "", &[pod("a", "5"), pod("b", "6")]),
                1 if in_stream => {
                    let mut watch = asked.begin();
                    watch.part(&event("ADDED", &pod("c", "11")));
                    watch.part(&event("ERROR", &json!({"kind": "Status", "code": 410, "message": "too old"})));
                    watch.end()
                }
                1 => asked.refuse(410, "too old"),
                2 => asked.list("20", "", &[pod("b", "6"), pod("d", "19")]),
                _ => asked.begin().hang(),
            }
        });
        let mut heard = Heard::of(fake.options());
        heard.until("the new list", |heard| heard.pods() == ["b", "d"]);
        assert_eq!(heard.told("410"), 0, "{:?}", heard.told);
        heard.until("watched anew", |_| fake.asked("/api/v1/pods").len() == 4);
        assert!(fake.asked("/api/v1/pods")[3].ends_with("&resourceVersion=20"));
    }
}

#[test]
fn an_error_is_told_once_and_the_server_is_asked_again_until_it_answers() {
    let fake = Fake::start(|asked| match (asked.is_of("nodes"), asked.before) {
        (true, 0 | 1) => asked.refuse(500, "etcd has no leader"),
        (true, 2) => asked.refuse(429, "too many"),
        (true, 4) => {
            let mut watch = asked.begin();
            watch.part(&event("ADDED", &json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}})));
            watch.hang()
        }
        _ => Some(asked),
    });
    let mut heard = Heard::of(fake.options());
    heard.until("listed at last", |heard| heard.told("listed") == 1);
    assert_eq!((heard.told("500: etcd has no leader"), heard.told("429: too many")), (1, 1), "{:?}", heard.told);
    heard.until("told to be well", |heard| heard.told("gives nodes again") == 1);
}

#[test]
fn a_server_that_answers_nonsense_is_told_and_asked_anew() {
    let fake = Fake::start(|asked| match (asked.is_of("pods"), asked.before) {
        (true, 0) => asked.answer(200, "<html>"),
        (true, 2) => {
            let mut watch = asked.begin();
            watch.part("<html>\n");
            watch.end()
        }
        (true, 1) => asked.list("1", "", &[pod("a", "1")]),
        (true, 3) => asked.list("2", "", &[pod("b", "2")]),
        _ => Some(asked),
    });
    let mut heard = Heard::of(fake.options());
    heard.until("the second list", |heard| heard.pods() == ["b"]);
    assert_eq!((heard.told("the answer is no list"), heard.told("no watch event")), (1, 1), "{:?}", heard.told);
}

#[test]
fn an_answer_that_does_not_go_on_is_given_up() {
    let fake = Fake::start(|asked| {
        if asked.is_of("pods") {
            let mut answer = asked.begin();
            answer.part(r#"{"kind":"PodList","items":["#);
            answer.hang()
        } else {
            Some(asked)
        }
    });
    let options = ApiOptions { silence: Duration::from_millis(500), ..fake.options() };
    let error = Reader::default().api(&options).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach the API server {}: it says nothing for", fake.url)), "{error}");
}

#[test]
fn an_answer_that_does_not_end_is_given_up() {
    let fake = Fake::start(|asked| {
        if asked.is_of("pods") {
            let mut answer = asked.begin();
            let filling = " ".repeat(1 << 20);
            // Until nobody takes it any more.
            while answer.part(&filling) {}
            None
        } else {
            Some(asked)
        }
    });
    let error = once(&fake).unwrap_err().to_string();
    assert!(error.ends_with("a page is longer than 256 MiB"), "{error}");
}

#[test]
fn dropping_it_ends_whatever_it_waits_for() {
    let fake = Fake::start(|asked| if asked.is_of("pods") { asked.hang() } else { Some(asked) });
    let live = Follow::new(vec![Source::Api(fake.options())]).start().unwrap();
    let deadline = Instant::now() + LONG;
    while fake.asked("/api/v1/pods").is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (sender, dropped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(live);
        sender.send(()).unwrap();
    });
    dropped.recv_timeout(LONG).unwrap();
}

#[test]
fn a_server_that_is_not_there_and_one_that_nobody_names_are_told() {
    let fake = Fake::start(Some);
    let context = ApiOptions { context: Some("other".to_owned()), ..fake.options() };
    let error = Reader::default().api(&context).unwrap_err().to_string();
    assert!(error.contains("other") && error.contains("name a kubeconfig"), "{error}");
    let none = ApiOptions { kubeconfig: Some("/nonexistent/config".into()), ..ApiOptions::default() };
    let error = Reader::default().api(&none).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/config"), "{error}");
    let mut heard = Heard::of(none);
    heard.until("ended", |heard| heard.told("ended: Some") == 1);

    let folder = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(fake.options().kubeconfig.unwrap()).unwrap();
    // Nobody listens on the port of discard.
    std::fs::write(folder.path().join("config"), config.replace(&fake.url, "http://127.0.0.1:9")).unwrap();
    let options = ApiOptions { kubeconfig: Some(folder.path().join("config")), ..ApiOptions::default() };
    let error = Reader::default().api(&options).unwrap_err().to_string();
    assert!(error.starts_with("cannot reach the API server http://127.0.0.1:9: "), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    let mut heard = Heard::of(options);
    heard.until("told", |heard| heard.told("Connection refused") == 1);
}
