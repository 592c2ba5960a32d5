//! Rows and sides, and the port tables that they lead to.

use chainkit_abi::{PortRuns, RowKey, Run, Side, address, ground};
use chainkit_policy::rules::Action;
use chainkit_policy::{ClassId, Decision, Direction, Engine, Ground, PolicyId, Tables, Transport, Update, Verdict};

use super::{CompileError, Compiler, Ports, Step, number, side_number};
use crate::delta::Delta;

impl Compiler {
    /// Rows and sides, and the port tables that they lead to.
    pub(super) fn rows(
        &mut self,
        engine: &Engine<'_>,
        tables: &Tables,
        update: &Update,
        delta: &mut Delta,
        step: &mut Step,
    ) -> Result<(), CompileError> {
        let mut left: Vec<u32> = Vec::new();
        // First everything lets go, since the number of a table that nobody has may have been given to another.
        for (policy, direction, class, _) in &update.rows {
            let side = side_number(*policy, *direction);
            match class {
                Some(class) => {
                    let key = RowKey { side, class: *class };
                    let was = self.image.rows.get(&key).copied().filter(|_| !self.left_over.contains(&key));
                    left.extend(was.filter(|table| self.let_go(*table)));
                }
                None => {
                    if let Some((table, rule)) = self.sides.remove(&side) {
                        left.extend(Some(table).filter(|table| self.let_go(*table)));
                        rule.into_iter().for_each(|rule| self.numbers.release(rule));
                    }
                }
            }
        }
        for (policy, direction, class, table) in &update.rows {
            let side = side_number(*policy, *direction);
            match (class, table) {
                (Some(class), Some(table)) => {
                    self.check_class(*class)?;
                    let key = RowKey { side, class: *class };
                    self.hold(engine, tables, *table, delta, step)?;
                    if self.left_over.remove(&key) {
                        // It is in the kernel still, and what it leads to is another's.
                        step.replaces = true;
                    }
                    // Whoever is of the class already was answered as all others are.
                    let answered = *class == 0 || self.users.contains_key(class) || self.left_classes.contains(class);
                    step.replaces |= answered;
                    step.rules |= answered || self.image.rows.contains_key(&key);
                    delta.rows.push((key, Some(*table)));
                }
                (Some(class), None) => {
                    let key = RowKey { side, class: *class };
                    // A class that is still somebody's is answered otherwise from now on.
                    let answered = engine.classes().is_held(*class) && self.image.rows.contains_key(&key);
                    step.replaces |= answered;
                    step.rules |= answered;
                    if self.image.rows.contains_key(&key) {
                        delta.rows.push((key, None));
                    }
                }
                (None, Some(table)) => {
                    // Nobody has rules of a number that nothing is known of.
                    let known = self.image.sides.get(side as usize);
                    let answered = known.is_some_and(|side| *side != Side::default());
                    step.replaces |= answered;
                    step.rules |= answered;
                    self.hold(engine, tables, *table, delta, step)?;
                    let (isolated_by, restricts) = self.side(engine, *policy, *direction)?;
                    self.sides.insert(side, (*table, isolated_by));
                    let value = Side {
                        table: *table,
                        isolated_by: isolated_by.unwrap_or(0),
                        restricts: restricts.into(),
                        pad: 0,
                    };
                    delta.sides.push((side, value));
                }
                (None, None) => {
                    step.replaces = true;
                    step.rules = true;
                    delta.sides.push((side, Side::default()));
                }
            }
        }
        for id in left {
            // Another row may have taken it up since, and then it is somebody's.
            if self.ports.get(&id).is_some_and(|ports| ports.held == 0)
                && let Some(ports) = self.ports.remove(&id)
            {
                step.freed.runs.push((ports.first, ports.count));
                ports.rules.into_iter().for_each(|rule| self.numbers.release(rule));
            }
        }
        Ok(())
    }

    /// One row fewer leads to a port table; tells whether that was the last.
    fn let_go(&mut self, table: u32) -> bool {
        self.ports.get_mut(&table).is_some_and(|ports| {
            ports.held = ports.held.saturating_sub(1);
            ports.held == 0
        })
    }

    /// One more row leads to a port table.
    fn hold(
        &mut self,
        engine: &Engine<'_>,
        tables: &Tables,
        id: u32,
        delta: &mut Delta,
        step: &mut Step,
    ) -> Result<(), CompileError> {
        let Some(table) = tables.port_table(id) else { return Ok(()) };
        if let Some(ports) = self.ports.get_mut(&id)
            && (ports.held > 0 && step.checked.contains(&id) || ports.table == *table)
        {
            ports.held += 1;
            step.checked.insert(id);
            return Ok(());
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut rules = Vec::new();
        let mut starts = [0; 5];
        let of_transport = Transport::ALL.into_iter().zip(1..);
        for (transport, next) in of_transport {
            let before = runs.len();
            for (_, last, decision) in table.rows(transport) {
                runs.push(self.run(engine, last, decision, &mut rules)?);
            }
            match runs.get_mut(before..).and_then(<[Run]>::last_mut) {
                // A packet of what has no ports asks for port 0, and the last run is for all that come after it.
                Some(run) => run.last = u16::MAX,
                None => runs.push(Run { last: u16::MAX, allowed: 1, ..Run::default() }),
            }
            if let Some(start) = starts.get_mut(next) {
                *start = number(runs.len());
            }
        }
        let count = number(runs.len());
        let first = self.runs.take(count);
        let ports = Ports { table: table.clone(), first, count, held: 1, rules };
        if let Some(old) = self.ports.insert(id, ports) {
            // The kernel has what is no row's any more under this number.
            step.freed.runs.push((old.first, old.count));
            old.rules.into_iter().for_each(|rule| self.numbers.release(rule));
        }
        step.replaces |= self.image.ports.get(id as usize).is_some_and(|ports| *ports != PortRuns::default());
        step.checked.insert(id);
        delta.runs.extend((first..).zip(runs));
        delta.ports.push((id, PortRuns { starts: starts.map(|start| first + start), pad: 0 }));
        Ok(())
    }

    fn run(
        &mut self,
        engine: &Engine<'_>,
        last: u16,
        decision: Decision,
        rules: &mut Vec<u32>,
    ) -> Result<Run, CompileError> {
        let allowed = (decision.verdict == Verdict::Allowed).into();
        let (ground, rule) = match decision.ground {
            Ground::Default => (ground::DEFAULT, 0),
            Ground::OwnNode => (ground::OWN_NODE, 0),
            Ground::Isolated { .. } => (ground::ISOLATED, 0),
            Ground::Rule(at) => {
                let rule = self.numbers.rule(engine.rules(), at)?;
                rules.push(rule);
                (ground::RULE, rule)
            }
        };
        Ok(Run { last, allowed, ground, rule })
    }

    /// The rule that isolation in a direction is told by, and whether anything may be denied there.
    fn side(
        &mut self,
        engine: &Engine<'_>,
        policy: PolicyId,
        direction: Direction,
    ) -> Result<(Option<u32>, bool), CompileError> {
        let Some(rules) = engine.policies().get(policy as usize) else { return Ok((None, false)) };
        let isolating: Vec<(u32, u32)> = rules.isolated_by(engine.rules(), direction).collect();
        let denies = rules.rules(engine.rules(), direction).any(|(_, rule)| rule.action == Action::Deny);
        if isolating.is_empty() {
            return Ok((None, denies));
        }
        Ok((Some(self.numbers.isolation(engine.rules(), direction, &isolating)?), true))
    }

    /// Whether a value of the tables can name a class.
    pub(super) fn check_class(&self, class: ClassId) -> Result<(), CompileError> {
        if class < address::AS_PREFIX { Ok(()) } else { Err(CompileError::Classes { most: address::AS_PREFIX }) }
    }
}
