//! `polload watch`: follows a cluster, and has each change in force at once.

mod objects;
mod refused;
mod sides;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use chainkit_cli::{ApiArgs, Exit, Failure, Log};
use chainkit_cluster::ClusterState;
use chainkit_cluster::api::ApiOptions;
use chainkit_cluster::live::{Event, Follow, Live as Sources, Source};
use chainkit_cluster::model::Change;
use chainkit_enforce::{Compiled, Compiler, KeepError, Keeper, Prepared, RuleChange, RuleEntry, Saved};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::apply::{marker, prepare, tell_problems};
use crate::kernel::modes::NodeArgs;
use crate::kernel::tables::Tables;
use crate::kernel::{
    Numbered, bpf_failure, compile_failure, failure, install, node_lock, placement, pods, policy_lock, settle,
    store_failure,
};
use crate::sound;
use objects::OwnNode;
use refused::Refusals;
use sides::Sides;

/// What `polload watch` can be asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    /// FIFOs, or - for stdin, one for each kind, that carry what `kubectl get KIND -A --watch --output-watch-events -o json` writes; files and folders are read once
    #[arg(value_name = "FIFO", required_unless_present = "api")]
    inputs: Vec<String>,

    #[command(flatten)]
    api: ApiArgs,

    /// Open a FIFO again for the next writer when one is gone, instead of ending when all are
    #[arg(long)]
    reopen: bool,

    #[command(flatten)]
    node: NodeArgs,
}

/// How long a source that says nothing is waited for at the start; and how long where policy is in force, which stays meanwhile.
const SILENCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing has to come before what can wait is done.
const IDLE: Duration = Duration::from_millis(100);
/// Connections are judged again this often at most, where only addresses and services change.
const JUDGE_AGAIN: Duration = Duration::from_millis(500);
/// The second set lacks nothing for longer than this.
const BEHIND: Duration = Duration::from_millis(500);
/// What was written is on the disk for good at most this long after.
const SYNC: Duration = Duration::from_secs(2);
/// Files that only grow are written anew once they are so many bytes more than twice what they were.
const MUCH: u64 = 32 << 20;

/// A change that is in force.
#[derive(Debug, Serialize)]
struct Updated {
    kind: &'static str,
    time: Timestamp,
    generation: u32,
    /// Objects that have changed.
    changes: usize,
    /// Entries of the kernel's tables that were written.
    entries: usize,
    /// Whether they were written into the tables in force, since nothing else is answered otherwise.
    in_place: bool,
    /// Policies that select a pod of this node.
    policies: usize,
    pods: usize,
    /// From the change read to the change in force, in microseconds.
    us: u64,
}

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let root = &ask.node.root.root;
    chainkit_bpf::Datapath::require_privileges().map_err(bpf_failure)?;
    let _policy = policy_lock(root, log)?;
    let datapath = install(root, &node_lock(root)?)?;
    let keeper = Keeper::new(&datapath, root);
    settle(&keeper, root, log)?;
    let in_force = keeper.in_force().map_err(failure)?.generation != 0;
    let mut sources = sources(ask, in_force)?.start().map_err(|error| Failure::usage(error.to_string()))?;
    let rules = Numbered::find(&keeper).judging.len();
    let mut refused = Refusals::default();
    let Some((state, began)) = first(&mut sources, ask, rules, &mut refused, log)? else {
        return Err(Failure::usage("all sources have ended before they gave anything to go by").into());
    };
    let mut watch = Watch::begin(&keeper, ask, state, began, log)?;
    refused.note_down(keeper.store(), log);
    let mut out = std::io::stdout();
    watch.tell(&mut out)?;
    loop {
        let Some(events) = sources.wait(IDLE) else {
            watch.finish()?;
            log.info("all sources have ended; what is in force stays");
            return Ok(Exit::Fine);
        };
        let came = Instant::now();
        let is_quiet = events.is_empty();
        let changes = heard(events, &mut refused, log);
        if !changes.is_empty() && watch.follow(changes, came, &mut refused, log)? {
            watch.tell(&mut out)?;
        }
        refused.note_down(keeper.store(), log);
        if is_quiet {
            watch.rest()?;
        } else {
            watch.due()?;
        }
    }
}

fn sources(ask: &Ask, in_force: bool) -> anyhow::Result<Follow> {
    if ask.inputs.iter().filter(|input| *input == "-").count() > 1 {
        return Err(Failure::usage("stdin (-) was given twice").into());
    }
    let mut all: Vec<Source> = ask.inputs.iter().cloned().map(Source::Input).collect();
    if ask.api.api {
        let (kubeconfig, context) = (ask.api.kubeconfig.clone(), ask.api.context.clone());
        all.push(Source::Api(ApiOptions { kubeconfig, context, ..ApiOptions::default() }));
    }
    Ok(Follow { reopen: ask.reopen, silence: Some(if in_force { PATIENCE } else { SILENCE }), ..Follow::new(all) })
}

/// Changes among events that can be had in force; the others are told.
fn heard(events: Vec<Event>, refused: &mut Refusals, log: &Log) -> Vec<Change> {
    let mut all = Vec::new();
    for event in events {
        match event {
            Event::Changes(changes) => {
                for change in changes {
                    refused.has_changed(&change);
                    match sound::refused(&change, log) {
                        None => all.push(change),
                        Some(problem) => refused.add(&problem),
                    }
                }
            }
            Event::Problem(problem) => {
                refused.add(&problem);
                log.warning(problem.to_string());
            }
            Event::Note(note) => log.info(note),
            Event::Listed(_) => {}
            Event::Ended { error, .. } => {
                if let Some(error) = error {
                    log.warning(format!("a source has ended: {error}; what it gave stays"));
                }
            }
        }
    }
    all
}

/// What there is once every source has given all it had, and when the last of it came; `None`: they ended without anything.
fn first(
    sources: &mut Sources,
    ask: &Ask,
    rules: usize,
    refused: &mut Refusals,
    log: &Log,
) -> anyhow::Result<Option<(ClusterState, Instant)>> {
    let count = ask.inputs.len() + usize::from(ask.api.api);
    let mut listed = vec![false; count];
    let mut state = ClusterState::default();
    let mut came = Instant::now();
    let mut told = false;
    // Policy that is in force is not taken off because whoever is to tell of it is late.
    while listed.iter().any(|listed| !listed) || rules > 0 && !state.has_policies() {
        let all = listed.iter().all(|listed| *listed);
        if all && !told {
            told = true;
            log.warning(
                "policy is in force, and no source has told of any: it stays until one does; polload clear takes it off",
            );
        }
        let Some(events) = sources.wait(Duration::from_secs(1)) else { break };
        for event in &events {
            let source = match event {
                Event::Listed(source) | Event::Ended { source, .. } => *source,
                _ => continue,
            };
            if let Some(listed) = listed.get_mut(source) {
                *listed = true;
            }
        }
        let changes = heard(events, refused, log);
        if !changes.is_empty() {
            came = Instant::now();
        }
        for change in changes {
            state.apply(change);
        }
    }
    Ok((!state.is_empty()).then_some((state, came)))
}

/// A node's policy, as it follows.
struct Watch<'a> {
    ask: &'a Ask,
    keeper: &'a Keeper<'a>,
    own: OwnNode,
    tables: Tables,
    sides: Sides<'a>,
    saved: Saved,
    /// Rules in force, by number.
    rules: BTreeMap<u32, RuleEntry>,
    folder_bytes: u64,
    /// The compiler has failed, and all is to be compiled anew.
    stale: bool,
    judge_again: Option<Instant>,
    judged: Instant,
    unsynced: Option<Instant>,
    updated: Updated,
}

impl<'a> Watch<'a> {
    fn begin(
        keeper: &'a Keeper<'a>,
        ask: &'a Ask,
        state: ClusterState,
        came: Instant,
        log: &Log,
    ) -> anyhow::Result<Self> {
        let root = &ask.node.root.root;
        let changes = state.len();
        let numbered = Numbered::find(keeper);
        let tables = Tables::compile(state.into_cluster(), &ask.node.how, root, &numbered.all)?;
        placement::check(&tables, root, log)?;
        tell_problems(&tables, &ask.node.how, log);
        let draft = prepare(keeper.store(), &tables)?;
        let made = chainkit_enforce::kernel::make(tables.compiler.image()).map_err(bpf_failure)?;
        let mut marker = marker(&tables, ask.node.how.kept());
        marker.options.insert("watch".to_owned(), true.into());
        let rules = tables.compiler.rules();
        let prepared = Prepared {
            image: tables.compiler.image(),
            pods: &tables.pods,
            draft,
            marker,
            confirm: None,
            same_rules: false,
            kept: numbered.kept(&rules),
        };
        let lock = node_lock(root)?;
        let (generation, folder) = keeper.apply_made(&lock, prepared, &made).map_err(failure)?;
        drop(lock);
        let us = micros(came);
        let saved = keeper.store().open(&folder).map_err(store_failure)?;
        let folder_bytes = saved.bytes().map_err(store_failure)?;
        let own = OwnNode::new(&tables.node, &tables.addresses);
        let updated = Updated {
            kind: "Updated",
            time: Timestamp::now(),
            generation,
            changes,
            entries: tables.compiled.delta.len(),
            in_place: false,
            policies: tables.size().policies,
            pods: tables.pods.pods.len(),
            us,
        };
        let sides = Sides::new(keeper, root, generation, folder, made);
        Ok(Self {
            ask,
            keeper,
            own,
            tables,
            sides,
            saved,
            rules: rules.into_iter().map(|rule| (rule.number, rule)).collect(),
            folder_bytes,
            stale: false,
            judge_again: None,
            judged: Instant::now(),
            unsynced: Some(Instant::now()),
            updated,
        })
    }

    /// What cannot be told is in force all the same.
    fn tell(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(&self.updated)?;
        line.push('\n');
        match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                let what = format!("generation {} is in force", self.updated.generation);
                Err(Failure::new(Exit::Partial, format!("{what}, and that could not be written to stdout: {error}"))
                    .into())
            }
            told => Ok(told?),
        }
    }

    /// Has changes in force; false: they change nothing here, or could not be had in force, which is told.
    fn follow(
        &mut self,
        changes: Vec<Change>,
        came: Instant,
        refused: &mut Refusals,
        log: &Log,
    ) -> anyhow::Result<bool> {
        let count = changes.len();
        let changes = self.own.own(changes);
        let update = self.tables.live.apply(changes.clone());
        let concerns = objects::concern(&changes, &update, &self.tables.node);
        let compiled = match self.compile(&update) {
            Ok(compiled) => {
                refused.fits();
                compiled
            }
            Err(error) => {
                self.stale = true;
                refused.does_not_fit(&format!("{error:#}"));
                log.error(format!("what was in force before stays: {error:#}"), None);
                return Ok(false);
            }
        };
        let pods_changed = concerns && {
            let new = pods::pods(self.tables.live.engine(), &self.tables.node, &self.ask.node.how);
            let changed = new != self.tables.pods;
            self.tables.pods = new;
            changed
        };
        if compiled.delta.is_empty() && !pods_changed {
            self.saved.append_objects(&changes).map_err(store_failure)?;
            return Ok(false);
        }
        // Its names are known, and it has counted nothing, before it decides anything.
        self.count_anew(&compiled.rules)?;
        self.saved.append_rules(compiled.rules.clone()).map_err(store_failure)?;
        if pods_changed {
            // Before it is in force: a pod that starts now finds its rules by it, under the node's lock.
            self.saved.put_pods(&self.tables.pods).map_err(store_failure)?;
        }
        let put = self.sides.put(&compiled, self.tables.compiler.image(), &self.tables.pods, pods_changed);
        let (generation, in_place) = put.map_err(overtaken)?;
        if !in_place {
            self.tables.compiler.not_in_place();
        }
        if in_place && (!compiled.delta.classes4.is_empty() || !compiled.delta.classes6.is_empty() || pods_changed) {
            self.judge_again.get_or_insert_with(|| self.judged + JUDGE_AGAIN);
        } else if !in_place {
            self.judge_again = None;
            self.judged = Instant::now();
        }
        let us = micros(came);
        self.saved.append_tables(&compiled.delta).map_err(store_failure)?;
        self.saved.append_objects(&changes).map_err(store_failure)?;
        self.unsynced.get_or_insert_with(Instant::now);
        self.note(compiled.rules);
        self.updated = Updated {
            kind: "Updated",
            time: Timestamp::now(),
            generation,
            changes: count,
            entries: compiled.delta.len(),
            in_place,
            policies: self.selecting(),
            pods: self.tables.pods.pods.len(),
            us,
        };
        Ok(true)
    }

    fn compile(&mut self, update: &chainkit_policy::Update) -> anyhow::Result<Compiled> {
        if !self.stale {
            return self.tables.compiler.update(&self.tables.live, update).map_err(compile_failure);
        }
        let rules = self.saved.rules().map_err(store_failure)?;
        let (compiler, compiled) = Compiler::new(&self.tables.live, &rules).map_err(compile_failure)?;
        self.tables.compiler = compiler;
        self.stale = false;
        // All is new, so nothing can be written beside what is there.
        self.sides.begin_anew();
        Ok(Compiled { in_place: false, rules_changed: true, ..compiled })
    }

    fn selecting(&self) -> usize {
        let tiers = &self.tables.live.engine().rules().tiers;
        tiers.iter().flat_map(|tier| &tier.policies).filter(|policy| !policy.subjects.is_empty()).count()
    }

    /// Numbers that are given anew have decided nothing yet.
    fn count_anew(&self, changes: &[RuleChange]) -> anyhow::Result<()> {
        let given = changes.iter().filter_map(|change| match change {
            RuleChange::Set(rule) if !self.rules.get(&rule.number).is_some_and(|before| before.is_rule(rule)) => {
                Some(rule.number)
            }
            _ => None,
        });
        self.keeper.datapath().forget_hits(&given.collect::<Vec<_>>()).map_err(bpf_failure)
    }

    /// What became of rules.
    fn note(&mut self, changes: Vec<RuleChange>) {
        for change in changes {
            match change {
                RuleChange::Set(rule) => self.rules.insert(rule.number, rule),
                RuleChange::Gone(number) => self.rules.remove(&number),
            };
        }
    }

    /// Does what is due by now.
    fn due(&mut self) -> anyhow::Result<()> {
        if self.judge_again.is_some_and(|due| Instant::now() >= due) {
            self.judge_again = None;
            self.judged = Instant::now();
            self.updated.generation = self.sides.judge_again().map_err(overtaken)?;
        }
        // Where it is never quiet.
        if !self.stale && self.sides.behind_since().is_some_and(|since| since.elapsed() >= BEHIND) {
            self.sides.catch_up(self.tables.compiler.image(), &self.tables.pods).map_err(overtaken)?;
        }
        if self.unsynced.is_some_and(|since| since.elapsed() >= SYNC) {
            self.unsynced = None;
            self.saved.sync().map_err(store_failure)?;
        }
        Ok(())
    }

    /// Nothing came for a while: does what could wait.
    fn rest(&mut self) -> anyhow::Result<()> {
        self.sides.check().map_err(overtaken)?;
        if !self.stale {
            self.sides.catch_up(self.tables.compiler.image(), &self.tables.pods).map_err(overtaken)?;
        }
        self.due()?;
        if self.saved.bytes().map_err(store_failure)? > self.folder_bytes * 2 + MUCH {
            self.write_anew()?;
        }
        Ok(())
    }

    /// Writes the files anew, without what was overwritten since.
    fn write_anew(&mut self) -> anyhow::Result<()> {
        let draft = prepare(self.keeper.store(), &self.tables)?;
        let lock = node_lock(&self.ask.node.root.root)?;
        let mut marker = marker(&self.tables, self.ask.node.how.kept());
        marker.options.insert("watch".to_owned(), true.into());
        let folder = self.sides.rename(&lock, draft, marker).map_err(failure)?;
        self.saved = self.keeper.store().open(&folder).map_err(store_failure)?;
        self.folder_bytes = self.saved.bytes().map_err(store_failure)?;
        Ok(())
    }

    /// All sources have ended.
    fn finish(&mut self) -> anyhow::Result<()> {
        if self.judge_again.take().is_some() {
            self.sides.judge_again().map_err(overtaken)?;
        }
        self.saved.sync().map_err(store_failure)?;
        self.sides.let_go().map_err(failure)
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Another has changed what is in force, and this is not to undo that.
fn overtaken(error: KeepError) -> anyhow::Error {
    match error {
        KeepError::Overtaken => Failure::new(
            Exit::No,
            "policy was cleared, or another put in force, by another process: no longer following",
        )
        .remedy("start this again to follow the cluster")
        .into(),
        other => failure(other),
    }
}
