//! Values kept once each, under numbers that stay theirs for as long as anybody holds them.

use std::collections::HashMap;
use std::hash::Hash;

use crate::world::place;

/// Values by number. A number is free again once nobody holds it; its place then has the default value.
#[derive(Clone, Debug)]
pub(crate) struct Interned<T> {
    all: Vec<T>,
    held: Vec<u32>,
    ids: HashMap<T, u32>,
    free: Vec<u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { all: Vec::new(), held: Vec::new(), ids: HashMap::new(), free: Vec::new() }
    }
}

impl<T: Clone + Default + Eq + Hash> Interned<T> {
    /// Holds a value once more, and tells its number and whether it is new.
    pub(crate) fn hold(&mut self, value: T) -> (u32, bool) {
        if let Some(id) = self.ids.get(&value) {
            if let Some(held) = self.held.get_mut(*id as usize) {
                *held += 1;
            }
            return (*id, false);
        }
        let id = self.free.pop().unwrap_or_else(|| place(self.all.len()));
        match (self.all.get_mut(id as usize), self.held.get_mut(id as usize)) {
            (Some(free), Some(held)) => (*free, *held) = (value.clone(), 1),
            _ => {
                self.all.push(value.clone());
                self.held.push(1);
            }
        }
        self.ids.insert(value, id);
        (id, true)
    }

    /// Lets go of a value once, and gives it back if nobody holds it any more.
    pub(crate) fn release(&mut self, id: u32) -> Option<T> {
        let held = self.held.get_mut(id as usize)?;
        *held = held.checked_sub(1)?;
        if *held > 0 {
            return None;
        }
        let value = std::mem::take(self.all.get_mut(id as usize)?);
        self.ids.remove(&value);
        self.free.push(id);
        Some(value)
    }

    /// Puts another value under a number whose value nobody else has; tells whether it could.
    pub(crate) fn rename(&mut self, id: u32, value: T) -> bool {
        if self.ids.contains_key(&value) {
            return false;
        }
        let Some(old) = self.all.get_mut(id as usize) else {
            return false;
        };
        let old = std::mem::replace(old, value.clone());
        self.ids.remove(&old);
        self.ids.insert(value, id);
        true
    }

    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        self.all.get(id as usize)
    }

    pub(crate) fn find(&self, value: &T) -> Option<u32> {
        self.ids.get(value).copied()
    }

    /// How often a number is held.
    pub(crate) fn held(&self, id: u32) -> u32 {
        self.held.get(id as usize).copied().unwrap_or(0)
    }

    /// All of them by number; a free place has the default value.
    pub(crate) fn all(&self) -> &[T] {
        &self.all
    }

    /// Those that are held, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.all.iter().enumerate().map(|(at, value)| (place(at), value)).filter(|(id, _)| self.held(*id) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_while_it_is_held_and_is_given_again_after() {
        let mut kept: Interned<String> = Interned::default();
        let (a, b) = (kept.hold("a".into()).0, kept.hold("b".into()).0);
        assert_eq!(kept.hold("a".into()), (a, false));
        assert_eq!(kept.release(a), None);
        assert_eq!(kept.get(a).map(String::as_str), Some("a"));
        assert_eq!(kept.release(a).as_deref(), Some("a"));
        assert_eq!((kept.release(a), kept.find(&"a".into()), kept.held(b)), (None, None, 1));
        assert_eq!(kept.hold("c".into()), (a, true));
        assert_eq!(kept.iter().map(|(id, text)| (id, text.as_str())).collect::<Vec<_>>(), [(a, "c"), (b, "b")]);
    }

    #[test]
    fn a_value_is_renamed_unless_another_has_the_name() {
        let mut kept: Interned<String> = Interned::default();
        let (a, b) = (kept.hold("a".into()).0, kept.hold("b".into()).0);
        assert!(!kept.rename(a, "b".into()));
        assert!(kept.rename(a, "c".into()));
        assert_eq!((kept.find(&"a".into()), kept.find(&"c".into())), (None, Some(a)));
        assert_eq!(kept.hold("b".into()), (b, false));
    }
}
