//! What saved lines say again and again, read once: ends of flows, by their JSON text, and names of nodes.
//!
//! Of a line's bytes most are its ends, which are pods that have been seen before. Their text is compared with that of an
//! end read before, and what was made of that is shared. What is made of a line does not depend on it. Each thread that reads
//! has its own.

use std::cell::RefCell;
use std::sync::Arc;

use crate::model::Endpoint;

/// How many sets of [`WAYS`] places there are: more pods than a large node and its peers have.
const SETS: usize = 1024;
const WAYS: usize = 2;
/// The longest text that is kept: with what is made of it no place takes more than some 16 KiB.
const MAX_KEY: usize = 2048;

/// Values by a text; which are kept is decided by the text and by what came last.
struct Kept<T> {
    /// The later of a set first.
    sets: Vec<[Option<Place<T>>; WAYS]>,
}

/// A text, and what was made of it.
type Place<T> = (Box<str>, T);

impl<T: Clone> Kept<T> {
    const fn new() -> Self {
        Self { sets: Vec::new() }
    }

    /// What is kept of this text.
    fn get(&self, text: &str) -> Option<T> {
        let set = self.sets.get(set_of(text))?;
        set.iter().flatten().find(|(kept, _)| **kept == *text).map(|(_, value)| value.clone())
    }

    fn put(&mut self, text: &str, value: T) {
        if text.len() > MAX_KEY {
            return;
        }
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, || [const { None }; WAYS]);
        }
        if let Some([first, second]) = self.sets.get_mut(set_of(text)) {
            *second = first.replace((text.into(), value));
        }
    }
}

/// The set of a text. Whoever chooses texts that meet in one makes reading slower, as if nothing were kept.
fn set_of(text: &str) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut hash = u64::try_from(text.len()).unwrap_or_default();
    for word in words {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD);
    }
    for byte in rest {
        hash = (hash.rotate_left(23) ^ u64::from(*byte)).wrapping_mul(ODD);
    }
    usize::try_from(hash >> 40).unwrap_or_default() % SETS
}

thread_local! {
    static ENDS: RefCell<Kept<Arc<Endpoint>>> = const { RefCell::new(Kept::new()) };
    static NAMES: RefCell<Kept<Arc<str>>> = const { RefCell::new(Kept::new()) };
}

/// The end that was read from this text before.
pub(crate) fn known_end(text: &str) -> Option<Arc<Endpoint>> {
    ENDS.with_borrow(|ends| ends.get(text))
}

/// This end was read from this text.
pub(crate) fn keep_end(text: &str, end: &Arc<Endpoint>) {
    ENDS.with_borrow_mut(|ends| ends.put(text, Arc::clone(end)));
}

/// A name, shared with those before it.
pub(crate) fn shared_name(text: &str) -> Arc<str> {
    NAMES.with_borrow(|names| names.get(text)).unwrap_or_else(|| {
        let name: Arc<str> = text.into();
        NAMES.with_borrow_mut(|names| names.put(text, Arc::clone(&name)));
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        ENDS.with_borrow(|ends| ends.sets.iter().flatten().flatten().count())
    }

    #[test]
    fn an_end_that_comes_again_is_shared_and_others_are_not() {
        let line = |pod: &str| format!(r#"{{"flow":{{"source":{{"pod_name":"{pod}"}},"node_name":"n"}}}}"#);
        let read = |pod: &str| crate::parse(line(pod).as_bytes()).unwrap().unwrap().flow.unwrap();
        let (first, again, other) = (read("a"), read("a"), read("b"));
        let end = |flow: &crate::Flow| flow.source.clone().unwrap();
        assert!(Arc::ptr_eq(&end(&first), &end(&again)) && Arc::ptr_eq(&first.node_name, &other.node_name));
        assert_eq!((end(&first).pod_name.as_str(), end(&other).pod_name.as_str()), ("a", "b"));
    }

    #[test]
    fn what_is_kept_has_a_bound_however_many_there_are() {
        for number in 0..20_000 {
            let line = format!(r#"{{"flow":{{"source":{{"pod_name":"web-{number}"}}}}}}"#);
            let flow = crate::parse(line.as_bytes()).unwrap().unwrap().flow.unwrap();
            assert_eq!(flow.source.unwrap().pod_name, format!("web-{number}"));
        }
        assert!((SETS..=SETS * WAYS).contains(&kept()), "{}", kept());
        let long = format!(r#"{{"pod_name":"{}"}}"#, "x".repeat(MAX_KEY));
        assert!(crate::parse(format!(r#"{{"flow":{{"source":{long}}}}}"#).as_bytes()).is_ok());
        assert!(known_end(&long).is_none(), "what is too long is not kept");
    }

    #[test]
    fn an_end_that_is_wrong_is_told_with_its_column_and_is_not_kept() {
        let line = br#"{"flow":{"source":{"identity":true}}}"#;
        let told = crate::parse(line).unwrap_err().to_string();
        assert_eq!(told, "invalid type: boolean `true`, expected an integer, as a number or a string at column 34");
        assert_eq!(crate::parse(line).unwrap_err().to_string(), told);
        assert_eq!(crate::parse(br#"{"flow":{"source":null}}"#).unwrap().unwrap().flow.unwrap().source, None);
    }
}
