//! Listing and watching a kind.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::net::unix::pipe;
use tokio::task::LocalSet;

use super::kinds::Kind;
use super::server::{Answer, PAGE_OBJECTS, Parts, Server, runtime};
use super::{ApiError, ApiOptions};
use crate::live::{Batch, Event, Gone, RollCall};
use crate::model::{About, Change, Problem};
use crate::read::{MAX_DOCUMENT_BYTES, Said, server_line};

/// How long a watch is asked to last. A server ends it by then, and who asks begins again where it ended.
const WATCH_SECONDS: u64 = 300;

/// The first pause after something went wrong, and the longest one.
const PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How often it is asked again for a kind that the server does not have.
const ABSENT_AGAIN: Duration = Duration::from_secs(60);

/// How often a list may be begun anew because the server forgot where it was.
const MAX_LISTS: usize = 5;

/// Why a list or a watch came to no good.
#[derive(Debug)]
pub(super) enum Trouble {
    Server(ApiError),
    /// The server has no such kind.
    Absent,
    /// The server has forgotten what was asked for: only a new list helps.
    Expired,
    /// Nobody takes anything any more.
    Gone,
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self::Server(error)
    }
}

impl From<Gone> for Trouble {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

type Hear<'a> = &'a mut dyn FnMut(Said) -> Result<(), Gone>;

/// Lists a kind, page by page, and tells the version that a watch goes on from.
pub(super) async fn list(server: &Server, kind: &Kind, hear: Hear<'_>) -> Result<String, Trouble> {
    let mut lists = 0;
    let mut next: Option<String> = None;
    let mut page = 0;
    loop {
        page += 1;
        let mut path = format!("{}?limit={PAGE_OBJECTS}", kind.path());
        if let Some(next) = &next {
            path = format!("{path}&continue={}", escaped(next));
        }
        let parts = match server.get(&path, "list", kind).await {
            Ok(Answer::Yes(parts)) => parts,
            // Whoever comes too late for the rest begins anew.
            Ok(Answer::Expired) if next.is_some() && lists < MAX_LISTS => {
                lists += 1;
                next = None;
                continue;
            }
            Ok(Answer::Expired) => return Err(Trouble::Expired),
            Ok(Answer::NotFound(_)) if kind.optional => return Err(Trouble::Absent),
            Ok(Answer::NotFound(reason)) => {
                return Err(kind.failed("list", &server.url, format!("404: {reason}")).into());
            }
            // A server asks first whether one may, and then whether there is such a thing.
            Err(ApiError::Forbidden { .. }) if kind.optional && server.serves(kind).await == Some(false) => {
                return Err(Trouble::Absent);
            }
            Err(error) => return Err(error.into()),
        };
        let text = server.text(parts, kind).await?;
        let head: ListHead = serde_json::from_str(&text)
            .map_err(|error| kind.failed("list", &server.url, format!("the answer is no list: {error}")))?;
        let file = format!("{}{}", server.url, kind.path());
        let mut heard = Ok(());
        server_line(&file, &text, page, &mut |said| {
            if heard.is_ok() {
                heard = hear(said);
            }
        });
        heard?;
        next = head.metadata.r#continue.filter(|next| !next.is_empty());
        if next.is_none() {
            return Ok(head.metadata.resource_version);
        }
    }
}

/// What a list says of itself.
#[derive(Deserialize)]
struct ListHead {
    metadata: ListMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    r#continue: Option<String>,
}

/// A text as a part of a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Follows all kinds until nobody wants them any more, or `stopped` is closed.
pub(crate) fn follow(options: &ApiOptions, mut out: Batch, stopped: &std::io::PipeReader) {
    let followed = runtime().and_then(|runtime| {
        let followed = runtime.block_on(follow_all(options, &out, stopped));
        // Whatever still looks up a name is not waited for.
        runtime.shutdown_background();
        followed
    });
    if let Err(error) = followed {
        out.ended(Some(error.to_string()));
        // Nobody need take it.
        let _: Result<(), Gone> = out.send();
    }
}

async fn follow_all(options: &ApiOptions, out: &Batch, stopped: &std::io::PipeReader) -> Result<(), ApiError> {
    let stop = stopped
        .try_clone()
        .and_then(|stopped| pipe::Receiver::from_owned_fd(stopped.into()))
        .map_err(|error| ApiError::Config(format!("cannot wait for it: {error}")))?;
    let server = Rc::new(Server::connect(options).await?);
    let kinds = options.kinds.list();
    let shared = Rc::new(Shared { unlisted: Cell::new(kinds.len()), told: RefCell::new(vec![None; kinds.len()]) });
    let tasks = LocalSet::new();
    for (number, kind) in kinds.into_iter().enumerate() {
        let watch = Watch {
            server: Rc::clone(&server),
            shared: Rc::clone(&shared),
            number,
            kind,
            ear: Ear { out: out.another(), roll: RollCall::default(), listed: false },
            pauses: 0,
        };
        tasks.spawn_local(watch.go_on());
    }
    tokio::select! {
        _ = stop.readable() => {}
        // Each ends when nobody takes anything any more.
        () = tasks => {}
    }
    Ok(())
}

/// What the kinds of a server have in common.
struct Shared {
    /// How many have still to be listed.
    unlisted: Cell<usize>,
    /// What is wrong with each, as it was told.
    told: RefCell<Vec<Option<String>>>,
}

/// A kind that is being followed.
struct Watch {
    server: Rc<Server>,
    shared: Rc<Shared>,
    number: usize,
    kind: &'static Kind,
    ear: Ear,
    /// Pauses since all was well.
    pauses: u32,
}

/// Who hears what the server says of a kind.
struct Ear {
    out: Batch,
    roll: RollCall,
    listed: bool,
}

impl Ear {
    fn hear(&mut self, said: Said) -> Result<(), Gone> {
        self.roll.hear(&said);
        self.out.hear(said);
        if self.out.is_full() { self.out.send() } else { Ok(()) }
    }
}

impl Watch {
    async fn go_on(mut self) {
        loop {
            let began = Instant::now();
            let outcome = match self.list_and_watch().await {
                Trouble::Gone => return,
                Trouble::Absent => self.absent().await,
                Trouble::Server(error) => self.wrong(&error).await,
                Trouble::Expired => {
                    if began.elapsed() < PAUSE {
                        self.pause().await;
                    }
                    Ok(())
                }
            };
            if outcome.is_err() {
                return;
            }
        }
    }

    /// Lists and then watches for as long as watching goes well.
    async fn list_and_watch(&mut self) -> Trouble {
        self.ear.roll.begin();
        let listed = list(&self.server, self.kind, &mut |said| self.ear.hear(said)).await;
        let mut version = match listed {
            Ok(version) => version,
            Err(Trouble::Expired) => {
                return self.kind.failed("list", &self.server.url, "410: what it lists is too old".to_owned()).into();
            }
            Err(trouble) => return trouble,
        };
        if let Err(gone) = self.complete() {
            return gone.into();
        }
        loop {
            let began = Instant::now();
            match self.watch(&mut version).await {
                Ok(()) => {}
                Err(Trouble::Server(error)) => {
                    if self.wrong(&error).await.is_err() {
                        return Trouble::Gone;
                    }
                    // One that answers with nonsense may have forgotten where it was.
                    if matches!(error, ApiError::Failed { .. }) {
                        return Trouble::Expired;
                    }
                }
                Err(trouble) => return trouble,
            }
            if began.elapsed() >= MAX_PAUSE {
                self.well();
            } else if began.elapsed() < PAUSE {
                // A server that ends each watch at once is not asked without a pause.
                self.pause().await;
            }
        }
    }

    /// The list is complete: what it lacks is gone.
    fn complete(&mut self) -> Result<(), Gone> {
        for name in self.ear.roll.missing() {
            self.ear.out.change(Change::Remove(name));
        }
        if !std::mem::replace(&mut self.ear.listed, true) {
            let unlisted = self.shared.unlisted.get().saturating_sub(1);
            self.shared.unlisted.set(unlisted);
            // The others have handed on what they had: each does before it is counted.
            if unlisted == 0 {
                self.ear.out.listed();
            }
        }
        self.ear.out.send()
    }

    /// Watches from `version` on, which goes along, until the server ends it.
    async fn watch(&mut self, version: &mut String) -> Result<(), Trouble> {
        let Self { server, kind, .. } = self;
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
            kind.path(),
            escaped(version)
        );
        let parts = match server.get(&path, "watch", kind).await? {
            Answer::Yes(parts) => parts,
            Answer::Expired => return Err(Trouble::Expired),
            Answer::NotFound(_) if kind.optional => return Err(Trouble::Absent),
            Answer::NotFound(reason) => return Err(kind.failed("watch", &server.url, format!("404: {reason}")).into()),
        };
        self.ear.out.send()?;
        self.events(parts, version).await
    }

    async fn events(&mut self, mut parts: Parts, version: &mut String) -> Result<(), Trouble> {
        let file = format!("{}{}", self.server.url, self.kind.path());
        let patience = Duration::from_secs(WATCH_SECONDS) + self.server.silence;
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            // What was cut off comes again: the version stands at what came whole.
            let Ok(Some(part)) = parts.next(patience).await else {
                return Ok(());
            };
            for piece in part.split_inclusive(|byte| *byte == b'\n') {
                if line.len() + piece.len() > MAX_DOCUMENT_BYTES {
                    let reason = format!("an event is longer than {} MiB", MAX_DOCUMENT_BYTES >> 20);
                    return Err(self.kind.failed("watch", &self.server.url, reason).into());
                }
                line.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    number += 1;
                    let outcome = self.event(&line, &file, number, version);
                    line.clear();
                    outcome?;
                }
            }
            self.ear.out.send()?;
        }
    }

    fn event(&mut self, line: &[u8], file: &str, number: usize, version: &mut String) -> Result<(), Trouble> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let failed = |reason: String| kind_failed(self.kind, &self.server.url, reason);
        let text = std::str::from_utf8(line).map_err(|_| failed("an event is not UTF-8".to_owned()))?;
        let head: EventHead = serde_json::from_str(text).map_err(|error| failed(format!("no watch event: {error}")))?;
        if head.r#type == "ERROR" {
            let reason = head.object.message.unwrap_or_default();
            return Err(match head.object.code {
                // Gone: it has forgotten the version that the watch began at.
                Some(410) => Trouble::Expired,
                code => failed(format!("{}: {reason}", code.unwrap_or_default())),
            });
        }
        let mut heard = Ok(());
        server_line(file, text, number, &mut |said| {
            if heard.is_ok() {
                heard = self.ear.hear(said);
            }
        });
        heard?;
        if let Some(new) = head.object.metadata.and_then(|metadata| metadata.resource_version) {
            *version = new;
        }
        self.well();
        Ok(())
    }

    /// The server does not have the kind: what it had of it is gone, and it may come.
    async fn absent(&mut self) -> Result<(), Gone> {
        let note = self.kind.absent(&self.server.url);
        if self.tell(&note) {
            self.ear.out.event(Event::Note(note));
        }
        self.complete()?;
        tokio::time::sleep(ABSENT_AGAIN).await;
        Ok(())
    }

    /// Tells an error that was not told, and pauses.
    async fn wrong(&mut self, error: &ApiError) -> Result<(), Gone> {
        let reason = error.to_string();
        if self.tell(&reason) {
            let file = self.server.url.as_str().into();
            let (object, field) = (String::new(), String::new());
            self.ear.out.event(Event::Problem(Problem {
                file,
                document: 0,
                line: 0,
                object,
                field,
                reason,
                about: About::Policy,
            }));
        }
        self.ear.out.send()?;
        self.pause().await;
        Ok(())
    }

    /// Whether it is to be told: it is of no kind what was told last.
    fn tell(&self, what: &str) -> bool {
        let mut told = self.shared.told.borrow_mut();
        let is_new = !told.iter().flatten().any(|told| told == what);
        if let Some(own) = told.get_mut(self.number) {
            *own = Some(what.to_owned());
        }
        is_new
    }

    /// The server keeps giving what it is asked for, which is told if it did not.
    fn well(&mut self) {
        self.pauses = 0;
        let told = self.shared.told.borrow_mut().get_mut(self.number).and_then(Option::take);
        if told.is_some() {
            let Kind { resource, .. } = self.kind;
            self.ear.out.event(Event::Note(format!("the API server {} gives {resource} again", self.server.url)));
        }
    }

    async fn pause(&mut self) {
        let longest = PAUSE.saturating_mul(1 << self.pauses.min(16)).min(MAX_PAUSE);
        self.pauses = self.pauses.saturating_add(1);
        // Somewhere in the upper half of it, so that those who were cut off together do not come back together.
        let half = longest / 2;
        let random = RandomState::new().build_hasher().finish() % 1000;
        let part = u32::try_from(random).unwrap_or_default();
        tokio::time::sleep(half + half * part / 1000).await;
    }
}

fn kind_failed(kind: &Kind, server: &str, reason: String) -> Trouble {
    kind.failed("watch", server, reason).into()
}

/// What of an event tells how far the watch has come.
#[derive(Deserialize)]
struct EventHead {
    r#type: String,
    object: EventObject,
}

#[derive(Deserialize)]
struct EventObject {
    metadata: Option<EventMetadata>,
    code: Option<i64>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventMetadata {
    resource_version: Option<String>,
}
