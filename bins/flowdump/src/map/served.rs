//! The map for a browser that asks again and again.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use chainkit_edges::{Page as Kind, Snapshot, data, page};

use crate::serve::{Content, Page};

/// The map as it is now.
pub(super) struct Now(Mutex<Arc<Map>>);

/// A map, and what browsers were given of it: it is written when the first asks, and once.
struct Map {
    map: Snapshot,
    page: OnceLock<Bytes>,
    data: OnceLock<Bytes>,
}

impl Now {
    pub(super) fn new(map: Snapshot) -> Self {
        Self(Mutex::new(Arc::new(Map::new(map))))
    }

    /// It is like this from now on.
    pub(super) fn set(&self, map: Snapshot) {
        let map = Arc::new(Map::new(map));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = map;
    }
}

impl Map {
    const fn new(map: Snapshot) -> Self {
        Self { map, page: OnceLock::new(), data: OnceLock::new() }
    }
}

impl Content for Now {
    fn get(&self, path: &str, _accept: &str) -> Option<Page> {
        let now = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let written = |cell: &OnceLock<Bytes>, write: fn(&Snapshot, Kind) -> String| {
            cell.get_or_init(|| write(&now.map, Kind::Served).into()).clone()
        };
        match path {
            "/" => Some(Page { media_type: "text/html; charset=utf-8", body: written(&now.page, page) }),
            "/data.json" => Some(Page { media_type: "application/json", body: written(&now.data, data) }),
            _ => None,
        }
    }

    fn path(&self) -> &'static str {
        "/"
    }

    fn is_for_this_host_alone(&self) -> bool {
        true
    }
}
