//! Two sets of tables, one in force and one that is made ready: a change is written into the second, and one write has it in force; then
//! the first is brought up to it once no packet uses it any more.
//!
//! What answers nothing otherwise but for the addresses it is about is written into both where they are.

use std::path::{Path, PathBuf};
use std::time::Instant;

use chainkit_abi::{Active, set_of};
use chainkit_bpf::{NodeLock, TableSet};
use chainkit_enforce::kernel::{lacks_room, make, write};
use chainkit_enforce::{Compiled, Delta, Draft, Image, KeepError, Keeper, Marker, Pods, tag_of};

type Result<T> = std::result::Result<T, KeepError>;

pub(super) struct Sides<'a> {
    keeper: &'a Keeper<'a>,
    root: PathBuf,
    folder: String,
    generation: u32,
    in_force: TableSet,
    /// The second one, and its place; none until it is needed, or when it has no room any more.
    other: Option<(u32, TableSet)>,
    /// What it lacks.
    behind: Vec<Delta>,
    /// Packets may use it yet, since it was in force.
    used: bool,
    /// Since when it has lacked something.
    behind_since: Option<Instant>,
}

impl<'a> Sides<'a> {
    pub(super) fn new(
        keeper: &'a Keeper<'a>,
        root: &Path,
        generation: u32,
        folder: String,
        in_force: TableSet,
    ) -> Self {
        Self {
            keeper,
            root: root.to_owned(),
            folder,
            generation,
            in_force,
            other: None,
            behind: Vec::new(),
            used: false,
            behind_since: None,
        }
    }

    fn lock(&self) -> Result<NodeLock> {
        Ok(NodeLock::take(&self.root)?)
    }

    /// Whether what is in force is still what this has put there.
    pub(super) fn check(&self) -> Result<()> {
        let ours = Active { generation: self.generation, deadline: 0 };
        let now = self.keeper.datapath().active();
        // A pod that was taken over has connections judged again, by the same tables.
        if now == ours || now.deadline == 0 && set_of(now.generation) == set_of(ours.generation) && self.is_ours(now) {
            return Ok(());
        }
        Err(KeepError::Overtaken)
    }

    fn is_ours(&self, now: Active) -> bool {
        now.generation != 0 && self.keeper.datapath().tag(set_of(now.generation)) == tag_of(&self.folder)
    }

    /// Has a change in force; the generation that judges by it, and whether it was written in place.
    pub(super) fn put(
        &mut self,
        compiled: &Compiled,
        image: &Image,
        pods: &Pods,
        pods_changed: bool,
    ) -> Result<(u32, bool)> {
        let lock = self.lock()?;
        self.check()?;
        if compiled.in_place && self.put_in_place(&compiled.delta, image, pods, pods_changed)? {
            return Ok((self.generation, true));
        }
        self.flip(&lock, compiled, image, pods)?;
        Ok((self.generation, false))
    }

    /// False: there is no room, or the kernel refused; what has been written answers nothing otherwise.
    fn put_in_place(&mut self, delta: &Delta, image: &Image, pods: &Pods, pods_changed: bool) -> Result<bool> {
        let room = lacks_room(&self.in_force.capacities()?, &image.sizes()).is_none();
        if !room || write(&self.in_force, delta).is_err() {
            self.begin_anew();
            return Ok(false);
        }
        if pods_changed {
            self.keeper.place_all(&self.in_force, pods)?;
        }
        match &self.other {
            Some((_, other)) if !self.used && self.behind.is_empty() => {
                let written = write(other, delta);
                written.unwrap_or_else(|_| self.begin_anew());
            }
            Some(_) => {
                self.behind.push(delta.clone());
                self.behind_since.get_or_insert_with(Instant::now);
            }
            None => {}
        }
        Ok(true)
    }

    fn flip(&mut self, lock: &NodeLock, compiled: &Compiled, image: &Image, pods: &Pods) -> Result<()> {
        self.behind.push(compiled.delta.clone());
        self.bring_up(lock, image, pods)?;
        let Some((set, other)) = self.other.take() else { return Err(KeepError::NoPlace) };
        self.keeper.place_all(&other, pods)?;
        let datapath = self.keeper.datapath();
        let generation = self.keeper.next_generation_at(set);
        datapath.set_last_generation(generation);
        if compiled.rules_changed {
            datapath.set_rules_since(generation);
        }
        datapath.set_active(Active { generation, deadline: 0 }, 0);
        let was = std::mem::replace(&mut self.in_force, other);
        self.other = Some((set_of(self.generation), was));
        self.generation = generation;
        self.used = true;
        self.behind = vec![compiled.delta.clone()];
        self.behind_since = Some(Instant::now());
        Ok(())
    }

    /// Makes the second set what the image is, whatever it was.
    fn bring_up(&mut self, lock: &NodeLock, image: &Image, pods: &Pods) -> Result<()> {
        if self.used
            && let Some((set, other)) = &self.other
        {
            self.keeper.datapath().wait_for_packets(lock, *set, other)?;
        }
        self.used = false;
        self.behind_since = None;
        let deltas = std::mem::take(&mut self.behind);
        if let Some((_, other)) = &self.other {
            let room = lacks_room(&other.capacities()?, &image.sizes()).is_none();
            if room && deltas.iter().all(|delta| write(other, delta).is_ok()) {
                return Ok(());
            }
        }
        let made = make(image)?;
        let set = match self.other.take() {
            Some((set, _)) => set,
            None => set_of(self.keeper.next_generation()?),
        };
        self.keeper.place_all(&made, pods)?;
        let datapath = self.keeper.datapath();
        datapath.put_tables(lock, set, &made)?;
        datapath.set_tag(set, tag_of(&self.folder));
        self.other = Some((set, made));
        Ok(())
    }

    /// Brings the second set up, so that the next change need not wait for that.
    pub(super) fn catch_up(&mut self, image: &Image, pods: &Pods) -> Result<()> {
        if self.other.is_some() && !self.used && self.behind.is_empty() {
            return Ok(());
        }
        let lock = self.lock()?;
        self.check()?;
        self.bring_up(&lock, image, pods)
    }

    /// What the second set has is of no use any more.
    pub(super) fn begin_anew(&mut self) {
        if let Some((set, _)) = self.other.take() {
            // Its place is made new from the image, and is free until then.
            self.keeper.datapath().set_tag(set, 0);
        }
        self.behind.clear();
        self.used = false;
        self.behind_since = None;
    }

    /// Since when the second set has lacked something, if it does.
    pub(super) const fn behind_since(&self) -> Option<Instant> {
        self.behind_since
    }

    /// Has each live connection judged once more, though no rule has changed.
    pub(super) fn judge_again(&mut self) -> Result<u32> {
        let _lock = self.lock()?;
        self.check()?;
        let datapath = self.keeper.datapath();
        let generation = self.keeper.next_generation_at(set_of(self.generation));
        datapath.set_last_generation(generation);
        datapath.set_active(Active { generation, deadline: 0 }, 0);
        self.generation = generation;
        Ok(generation)
    }

    /// Gives the tables a folder that was written anew.
    pub(super) fn rename(&mut self, lock: &NodeLock, draft: Draft, mut marker: Marker) -> Result<String> {
        self.check()?;
        let folder = self.keeper.new_folder(self.generation);
        draft.finish(&folder)?;
        let datapath = self.keeper.datapath();
        datapath.set_tag(set_of(self.generation), tag_of(&folder));
        if let Some((set, _)) = &self.other {
            datapath.set_tag(*set, tag_of(&folder));
        }
        marker.generation = self.generation;
        marker.folder.clone_from(&folder);
        self.keeper.store().set_marker(&marker)?;
        self.folder.clone_from(&folder);
        self.keeper.tidy(lock)?;
        Ok(folder)
    }

    /// Gives the second set's memory back.
    pub(super) fn let_go(&mut self) -> Result<()> {
        let lock = self.lock()?;
        self.check()?;
        self.begin_anew();
        self.keeper.tidy(&lock)
    }
}
