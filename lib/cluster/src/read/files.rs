//! Files, folders, FIFOs and standard input.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::split::{Is, MAX_DOCUMENT_BYTES, Splitter};
use super::{CHUNK_BYTES, Got, MAX_INPUT_BYTES, Reader, Said, Stream, Tap};
use crate::model::{About, Cluster, Problem};

/// How many folders may lie within one another.
pub const MAX_FOLDER_DEPTH: usize = 64;

/// How long a watch must have been quiet for the list that it begins with to count as complete.
///
/// `kubectl` has the whole list at hand before it prints any of it, and then prints without a pause.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// How long a stream may say nothing at all once another one has shown to be a watch and has given its list: the watch of a kind
/// without objects never says anything. Longer than a client takes to find its server.
const SILENCE: Duration = Duration::from_secs(30);

/// An input that was named and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read Kubernetes objects from {place}: {error}")]
pub struct InputError {
    place: String,
    error: io::Error,
}

impl InputError {
    pub(crate) fn new(place: &str, error: io::Error) -> Self {
        Self { place: place.to_owned(), error }
    }
}

impl Cluster {
    /// Reads objects from inputs, as [`Reader::inputs`] does.
    ///
    /// # Errors
    /// When an input does not exist or cannot be opened.
    pub fn read<T: AsRef<str>>(inputs: &[T]) -> Result<Self, InputError> {
        let mut reader = Reader::default();
        reader.inputs(inputs)?;
        Ok(reader.finish())
    }
}

impl Reader {
    /// Reads an input by itself, as [`Self::inputs`] does.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    pub fn input(&mut self, input: &str) -> Result<(), InputError> {
        self.inputs(&[input])
    }

    /// Reads objects from inputs: files, folders (every `.yaml`, `.yml` and `.json` in them, at any depth, in the order of
    /// their names), FIFOs, and `-` for standard input.
    ///
    /// Within a folder, names that begin with a dot are passed over, and links are followed to files of the same folder
    /// alone. FIFOs are read all at once, since those who write to them may be one; a watch is read to its end or until
    /// it has been quiet for a second, whichever comes first. One that says nothing for 30 seconds when another has been a
    /// watch is taken for a watch of nothing, and told. What cannot be used is in [`Cluster::problems`].
    ///
    /// # Errors
    /// When an input does not exist or cannot be opened.
    pub fn inputs<T: AsRef<str>>(&mut self, inputs: &[T]) -> Result<(), InputError> {
        let before = self.begin(inputs.len());
        read_inputs(inputs, &mut |number, said| self.hear_of(before + number, said))
    }
}

/// Reads inputs as [`Reader::inputs`] does, and says to `hear` what they say, with the number of the input from 0.
pub(crate) fn read_inputs<T: AsRef<str>>(inputs: &[T], hear: &mut dyn FnMut(usize, Said)) -> Result<(), InputError> {
    read_inputs_within(inputs, SILENCE, hear)
}

/// The same, with how long a stream beside watches may say nothing.
fn read_inputs_within<T: AsRef<str>>(
    inputs: &[T],
    silence: Duration,
    hear: &mut dyn FnMut(usize, Said),
) -> Result<(), InputError> {
    let listed = &AtomicBool::new(false);
    let mut opened = Vec::new();
    for input in inputs {
        let input = input.as_ref();
        let tap = if is_stream(input)? {
            Some(Tap::open(input).map_err(|error| InputError::new(input, error))?)
        } else {
            None
        };
        opened.push((input, tap));
    }
    thread::scope(|scope| {
        let drain = |input, tap| drain(input, tap, listed, silence).map_err(|error| InputError::new(input, error));
        let reading =
            opened.into_iter().map(|(input, tap)| (input, tap.map(|tap| scope.spawn(move || drain(input, tap)))));
        // All are started before the first one is waited for.
        let reading: Vec<_> = reading.collect();
        for (number, (input, thread)) in reading.into_iter().enumerate() {
            let hear: &mut dyn FnMut(Said) = &mut |said| hear(number, said);
            match thread.map(thread::ScopedJoinHandle::join) {
                None => read_input(input, hear)?,
                Some(Ok(Ok(Drained::Plain(bytes)))) => read_bytes(input, bytes, hear),
                Some(Ok(Ok(Drained::Watch(reader)))) => reader.retell(input, hear),
                Some(Ok(Ok(Drained::Nothing))) => {
                    let seconds = silence.as_secs();
                    let reason =
                        format!("it said nothing for {seconds} s, and others are watches: taken for one of nothing");
                    hear(whole(input, reason));
                }
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(panic)) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
}

/// Whether an input is one that goes on until whoever writes ends it.
fn is_stream(input: &str) -> Result<bool, InputError> {
    if input == "-" {
        return Ok(true);
    }
    let kind = fs::metadata(input).map_err(|error| InputError::new(input, error))?.file_type();
    Ok(kind.is_fifo() || kind.is_char_device() || kind.is_socket())
}

/// What was read of a stream.
enum Drained {
    /// Documents.
    Plain(Vec<u8>),
    /// A watch.
    Watch(Box<Reader>),
    /// It said nothing, beside watches that gave their lists.
    Nothing,
}

/// Reads a stream of documents to its end, or a watch until it is quiet; `listed` tells that some stream was such a watch.
fn drain(name: &str, mut tap: Tap, listed: &AtomicBool, silence: Duration) -> io::Result<Drained> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut is_watch = None;
    let mut probe = Splitter::new(MAX_DOCUMENT_BYTES);
    // Which of both it is shows with its first document.
    let mut silent_since = None;
    while is_watch != Some(true) {
        // Only one that has said nothing yet has to look what the others do.
        let patience = bytes.is_empty().then_some(silence.min(QUIET));
        let read = match tap.read(&mut buffer, patience, None)? {
            Got::Bytes(read) => read,
            Got::Nothing => {
                if listed.load(Ordering::Relaxed) && silent_since.get_or_insert_with(Instant::now).elapsed() >= silence
                {
                    return Ok(Drained::Nothing);
                }
                continue;
            }
            Got::End | Got::Stop => return Ok(Drained::Plain(bytes)),
        };
        let read = buffer.get(..read).unwrap_or_default();
        // One too many shows that it is too long.
        let room = usize::try_from(MAX_INPUT_BYTES + 1).unwrap_or(usize::MAX).saturating_sub(bytes.len());
        bytes.extend_from_slice(read.get(..room).unwrap_or(read));
        if bytes.len() as u64 > MAX_INPUT_BYTES {
            return Ok(Drained::Plain(bytes));
        }
        if is_watch.is_none() {
            probe.feed(read, &mut |unit| {
                is_watch = is_watch.or(match unit.is {
                    Is::Json(json) => Some(is_watch_event(&json)),
                    Is::TooLong => Some(false),
                    Is::Loose(_) | Is::Foreign(_) | Is::Torn => None,
                });
            });
        }
    }
    drop(probe);
    let mut reader = Box::<Reader>::default();
    let mut stream = Stream::new(name);
    stream.feed(&bytes, &mut |said| reader.hear(said));
    drop(bytes);
    while let Got::Bytes(read) = tap.read(&mut buffer, Some(QUIET), None)? {
        stream.feed(buffer.get(..read).unwrap_or_default(), &mut |said| reader.hear(said));
    }
    stream.end(&mut |said| reader.hear(said));
    listed.store(true, Ordering::Relaxed);
    Ok(Drained::Watch(reader))
}

fn is_watch_event(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[allow(dead_code, reason = "that they are there is what counts")]
    struct Event {
        r#type: String,
        object: IgnoredAny,
    }
    serde_json::from_slice::<Event>(json).is_ok()
}

/// Reads a file or a folder to its end.
pub(crate) fn read_input(input: &str, hear: &mut dyn FnMut(Said)) -> Result<(), InputError> {
    let wrong = |error| InputError::new(input, error);
    let path = Path::new(input);
    if !fs::metadata(path).map_err(wrong)?.is_dir() {
        return fs::File::open(path).and_then(|file| read_file(input, file, hear)).map_err(wrong);
    }
    let root = fs::canonicalize(path).map_err(wrong)?;
    let mut files = Vec::new();
    Folder { root: &root, hear }.list(path, 0, &mut files).map_err(wrong)?;
    for file in files {
        let name = file.to_string_lossy().into_owned();
        if let Err(error) = fs::File::open(&file).and_then(|open| read_file(&name, open, hear)) {
            hear(whole(&name, format!("cannot be read: {error}")));
        }
    }
    Ok(())
}

fn read_file(name: &str, file: fs::File, hear: &mut dyn FnMut(Said)) -> io::Result<()> {
    let mut bytes = Vec::new();
    file.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    read_bytes(name, bytes, hear);
    Ok(())
}

fn read_bytes(name: &str, bytes: Vec<u8>, hear: &mut dyn FnMut(Said)) {
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return hear(whole(name, format!("longer than {} MiB: give it in parts", MAX_INPUT_BYTES >> 20)));
    }
    match String::from_utf8(bytes) {
        Ok(text) => super::text(name, &text, hear),
        Err(error) => {
            let sound = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = sound.iter().filter(|byte| **byte == b'\n').count() + 1;
            hear(at(name, line, "not UTF-8".to_owned()));
        }
    }
}

/// A folder that is looked through.
struct Folder<'a> {
    root: &'a Path,
    hear: &'a mut dyn FnMut(Said),
}

impl Folder<'_> {
    /// Lists the files of a folder that hold objects.
    fn list(&mut self, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = path.to_string_lossy().into_owned();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if depth + 1 >= MAX_FOLDER_DEPTH {
                    self.whole(&name, format!("passed over: more than {MAX_FOLDER_DEPTH} folders deep"));
                } else if let Err(error) = self.list(&path, depth + 1, files) {
                    self.whole(&name, format!("cannot be listed: {error}"));
                }
            } else if holds_objects(&path) {
                if kind.is_file() || (kind.is_symlink() && self.leads_within(&path)) {
                    files.push(path);
                } else if !kind.is_symlink() {
                    self.whole(&name, "passed over: no regular file".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Whether a link leads to a regular file of the folder that was named.
    fn leads_within(&mut self, link: &Path) -> bool {
        let name = link.to_string_lossy().into_owned();
        match fs::canonicalize(link) {
            Ok(target) if !target.starts_with(self.root) => {
                self.whole(&name, "passed over: a link that leads out of the folder".to_owned());
                false
            }
            Ok(target) => target.is_file(),
            Err(error) => {
                self.whole(&name, format!("cannot be followed: {error}"));
                false
            }
        }
    }

    fn whole(&mut self, name: &str, reason: String) {
        (self.hear)(whole(name, reason));
    }
}

/// A problem of a file as a whole.
pub(super) fn whole(name: &str, reason: String) -> Said {
    at(name, 0, reason)
}

fn at(name: &str, line: usize, reason: String) -> Said {
    let (object, field) = (String::new(), String::new());
    let problem = Problem { file: name.into(), document: 0, line, object, field, reason, about: About::Policy };
    Said::Problem { problem, name: None }
}

fn holds_objects(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests;
