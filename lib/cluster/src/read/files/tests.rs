use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::mpsc;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

/// Longer than anything here takes on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(60);

fn fifos<const N: usize>(folder: &Path) -> [PathBuf; N] {
    std::array::from_fn(|number| {
        let path = folder.join(format!("fifo{number}"));
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        path
    })
}

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

/// Reads these inputs while `write` does what it does, and tells names of pods and problems.
fn read(inputs: &[&Path], write: impl FnOnce() + Send + 'static) -> (Vec<String>, Vec<String>) {
    let inputs: Vec<String> = inputs.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let (sender, read) = mpsc::channel();
    thread::spawn(move || drop(sender.send(Cluster::read(&inputs))));
    let writer = thread::spawn(write);
    let cluster = read.recv_timeout(LONG).unwrap().unwrap();
    writer.join().unwrap();
    let names = cluster.workloads.iter().map(|pod| pod.name.clone()).collect();
    (names, cluster.problems.iter().map(ToString::to_string).collect())
}

fn event(kind: &str, name: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}}}}}}"#)
}

#[test]
fn fifos_are_read_all_at_once_since_one_may_write_to_all() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = fifos(folder.path());
    let paths = [a.clone(), b.clone()];
    let (names, problems) = read(&[&a, &b], move || {
        let [mut a, mut b] = paths.map(|path| open(&path));
        // More than a pipe holds, to the one and to the other.
        for number in 0..2000 {
            for (fifo, name) in [(&mut b, "b"), (&mut a, "a")] {
                fifo.write_all(format!("---\nkind: Pod\nmetadata: {{name: {name}{number:04}}}\n").as_bytes()).unwrap();
            }
        }
    });
    assert_eq!((names.len(), names[0].as_str(), names[3999].as_str()), (4000, "a0000", "b1999"));
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn a_watch_is_read_until_it_is_quiet_though_its_writer_stays() {
    let folder = tempfile::tempdir().unwrap();
    let [pods] = fifos(folder.path());
    let (path, (sender, done)) = (pods.clone(), mpsc::channel::<()>());
    let writer = move || {
        let mut pods = open(&path);
        let events = [event("ADDED", "a"), event("ADDED", "b"), event("ADDED", "b"), event("DELETED", "a")];
        pods.write_all(events.join("\n").as_bytes()).unwrap();
        thread::spawn(move || {
            let _ = done.recv_timeout(LONG);
            drop(pods);
        });
    };
    let (names, problems) = read(&[&pods], writer);
    drop(sender);
    assert_eq!((names, problems), (vec!["b".to_owned()], vec![]));
}

#[test]
fn documents_are_read_to_their_end_however_long_it_takes_to_come() {
    let folder = tempfile::tempdir().unwrap();
    let [pods] = fifos(folder.path());
    let path = pods.clone();
    let (names, problems) = read(&[&pods], move || {
        let mut pods = open(&path);
        pods.write_all(b"{\"kind\":\"List\",\"items\":[\n{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}},\n").unwrap();
        thread::sleep(QUIET + Duration::from_millis(300));
        pods.write_all(b"{\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\"}}]}\n").unwrap();
    });
    assert_eq!((names, problems), (vec!["a".to_owned(), "b".to_owned()], vec![]));
}

#[test]
fn a_watch_may_follow_on_what_is_no_document() {
    let folder = tempfile::tempdir().unwrap();
    let [pods] = fifos(folder.path());
    let path = pods.clone();
    let (names, problems) = read(&[&pods], move || {
        let text = format!("Warning: old\n{}\n{}\n", &event("ADDED", "torn")[..40], event("ADDED", "a"));
        open(&path).write_all(text.as_bytes()).unwrap();
    });
    assert_eq!(names, ["a"]);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_watch_of_nothing_says_nothing_and_is_not_waited_for_once_others_have_said_all() {
    let folder = tempfile::tempdir().unwrap();
    let [pods, policies, unwritten] = fifos(folder.path());
    let inputs: Vec<String> =
        [&pods, &policies, &unwritten].iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let (sender, read) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = Reader::default();
        let read = read_inputs_within(&inputs, Duration::from_millis(300), &mut |_, said| reader.hear(said));
        drop(sender.send(read.map(|()| reader.finish())));
    });
    let (mut pods, _silent) = (open(&pods), open(&policies));
    pods.write_all(event("ADDED", "a").as_bytes()).unwrap();
    let cluster = read.recv_timeout(LONG).unwrap().unwrap();
    assert_eq!(cluster.workloads.len(), 1);
    let told: Vec<String> = cluster.problems.iter().map(ToString::to_string).collect();
    assert!(told.len() == 2 && told.iter().all(|told| told.ends_with("taken for one of nothing")), "{told:?}");
}
