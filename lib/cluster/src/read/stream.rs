//! A stream of documents that are read as they come.

use std::sync::Arc;

use super::Said;
use super::split::{MAX_DOCUMENT_BYTES, Splitter};
use super::typed::Typist;

/// Reads a stream that goes on: watch events, as `kubectl get KIND -A --watch --output-watch-events -o json` prints them, or
/// plain documents.
///
/// In JSON a line that begins with a brace begins a document, and documents follow one another with or without separators;
/// in YAML a line of `---` parts them, and what comes behind JSON begins with one. A document that is torn, foreign or longer than
/// [`MAX_DOCUMENT_BYTES`] (unless told otherwise) is told, and takes nothing with it but itself. How the bytes are cut up makes no difference.
#[derive(Debug)]
pub struct Stream {
    file: Arc<str>,
    splitter: Splitter,
    /// How long a document may be, in bytes.
    limit: usize,
    documents: usize,
}

impl Stream {
    /// A stream that is named `file` in messages.
    #[must_use]
    pub fn new(file: &str) -> Self {
        Self::with_limit(file, MAX_DOCUMENT_BYTES)
    }

    /// The same, whose documents may be `limit` bytes long.
    #[must_use]
    pub fn with_limit(file: &str, limit: usize) -> Self {
        Self { file: file.into(), splitter: Splitter::new(limit), limit, documents: 0 }
    }

    /// Takes in what has come, and says to `hear` what it says.
    pub fn feed(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Said)) {
        let Self { file, splitter, limit, documents } = self;
        let mut typist = Typist { file: Arc::clone(file), hear };
        splitter.feed(bytes, &mut |unit| *documents = unit.read(*documents, *limit, &mut typist));
    }

    /// The stream has ended; another one may follow under the same name.
    pub fn end(&mut self, hear: &mut dyn FnMut(Said)) {
        let Self { file, splitter, limit, documents } = self;
        let mut typist = Typist { file: Arc::clone(file), hear };
        splitter.end(&mut |unit| *documents = unit.read(*documents, *limit, &mut typist));
        self.documents = 0;
    }
}

#[cfg(test)]
mod tests;
