//! What rules say of outside: once for all who have the same rules, since there may be as many ranges as prefixes in them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use chainkit_cluster::model::Protocol;
use chainkit_policy::{AddressRange, ClassId, Direction, Engine, PolicyId, PortTable, Tables, Traffic};

use super::{Allowed, Outside, cut, merged};

/// Ranges that are kept at most, of all answers together: some 100 MB.
const MANY_RANGES: usize = 1 << 20;

/// Rules of which any may be asked; `None` are those of who is no subject.
type AnyOf = BTreeSet<Option<PolicyId>>;

/// Addresses outside, and what was answered for them.
#[derive(Debug)]
pub(super) struct Outward {
    /// All of both families in order, neighbours of one class as one, each with the place of its class.
    regions: Vec<(AddressRange, usize)>,
    classes: Vec<ClassId>,
    known: RefCell<Known>,
}

/// What was answered before.
#[derive(Debug, Default)]
struct Known {
    answers: HashMap<(Direction, AnyOf), Rc<Outside>>,
    /// How many ranges they have together.
    ranges: usize,
    /// What port tables allow, by their numbers; `None` is no table. With the number of what is shown of it.
    tables: HashMap<Option<u32>, (usize, Allowed)>,
    shown: HashMap<[Vec<(u16, u16)>; 3], usize>,
    /// How often an answer was made.
    #[cfg(test)]
    made: usize,
}

impl Known {
    /// What a port table allows, with a number that is the same where the same is shown.
    fn allowed(&mut self, tables: &Tables, id: Option<u32>) -> (usize, Allowed) {
        if let Some(known) = self.tables.get(&id) {
            return known.clone();
        }
        let table = id.and_then(|id| tables.port_table(id));
        let allowed = Allowed { traffic: Rc::new(table.map_or_else(Traffic::all, PortTable::allowed)) };
        let next = self.shown.len();
        let number = *self.shown.entry(Protocol::ALL.map(|protocol| allowed.ranges(protocol))).or_insert(next);
        self.tables.insert(id, (number, allowed.clone()));
        (number, allowed)
    }
}

impl Outward {
    pub(super) fn new(engine: &Engine<'_>) -> Self {
        let (mut classes, mut places) = (Vec::new(), HashMap::new());
        let ranges = merged(engine.classes().prefixes().ranges().into_iter(), PartialEq::eq).into_iter();
        let regions = ranges.map(|(range, class)| {
            let place = places.entry(class).or_insert_with(|| {
                classes.push(class);
                classes.len() - 1
            });
            (range, *place)
        });
        let regions = regions.collect();
        Self { regions, classes, known: RefCell::default() }
    }

    /// What is allowed between outside and subjects of any of these rules.
    pub(super) fn of_any(&self, tables: &Tables, direction: Direction, rules: AnyOf) -> Rc<Outside> {
        let key = (direction, rules);
        if let Some(known) = self.known.borrow().answers.get(&key) {
            return Rc::clone(known);
        }
        let each = key.1.iter().map(|rules| self.of(tables, direction, *rules));
        let either = each.reduce(|all, more| {
            let cut = cut(&all, &more).into_iter();
            merged(cut.map(|(range, one, other)| (range, one.clone().or(other))), Allowed::is_shown_as)
        });
        let answer = Rc::new(either.unwrap_or_default());
        let mut known = self.known.borrow_mut();
        if known.ranges + answer.len() > MANY_RANGES {
            known.answers.clear();
            known.ranges = 0;
        }
        known.ranges += answer.len();
        known.answers.insert(key, Rc::clone(&answer));
        #[cfg(test)]
        {
            known.made += 1;
        }
        answer
    }

    fn of(&self, tables: &Tables, direction: Direction, rules: Option<PolicyId>) -> Outside {
        let rows = rules.and_then(|id| tables.policies.get(id as usize)?.get(direction.index()));
        let mut known = self.known.borrow_mut();
        let of_class = |class: &ClassId| {
            let table = rows.and_then(|rows| rows.classes.get(class).copied().or(rows.default));
            known.allowed(tables, table)
        };
        let of_class: Vec<(usize, Allowed)> = self.classes.iter().map(of_class).collect();
        let ranges = self.regions.iter().filter_map(|(range, place)| Some((*range, of_class.get(*place)?)));
        let ranges = merged(ranges, |(one, _), (other, _)| one == other);
        ranges.into_iter().map(|(range, (_, allowed))| (range, allowed.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use chainkit_cluster::Reader;
    use chainkit_cluster::model::Cluster;
    use chainkit_policy::{Options, Scope};

    use super::*;
    use crate::pairs::Pairs;

    /// Pods, each with a policy of its own if that is said, and one policy that lets no neighbours in.
    fn cluster(pods: usize, blocks: usize, own: bool) -> Cluster {
        let mut text = String::new();
        for n in 0..pods {
            let metadata = format!("{{name: w{n}, namespace: shop, labels: {{app: a{n}}}}}");
            writeln!(text, "---\napiVersion: v1\nkind: Pod\nmetadata: {metadata}\n").unwrap();
            let spec =
                format!("{{podSelector: {{matchLabels: {{app: a{n}}}}}, ingress: [{{ports: [{{port: {}}}]}}]}}", n + 1);
            if own {
                writeln!(text, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{n}, namespace: shop}}\nspec: {spec}").unwrap();
            }
        }
        let peers: Vec<String> = (0..blocks).map(|n| format!("{{ipBlock: {{cidr: 192.0.2.{}/32}}}}", 2 * n)).collect();
        writeln!(text, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: all, namespace: shop}}\nspec: {{podSelector: {{}}, ingress: [{{from: [{}]}}]}}", peers.join(", ")).unwrap();
        let mut reader = Reader::default();
        reader.text("-", &text);
        let cluster = reader.finish();
        assert_eq!((cluster.problems.len(), cluster.workloads.len()), (0, pods));
        cluster
    }

    fn made(cluster: &Cluster) -> usize {
        let engine = Engine::new(cluster, &Options { scope: Scope::All, cidrs_match_pods: false });
        let pairs = Pairs::new(cluster, &engine);
        for folded in &pairs.folded {
            let mut expected: Vec<(AddressRange, Rc<Traffic>)> = Vec::new();
            let member = *folded.members.first().unwrap();
            for (range, traffic) in engine.reach().from_external(member) {
                let same = expected.last().is_some_and(|(_, before)| {
                    *before == traffic && super::super::touches(&expected[expected.len() - 1].0, &range)
                });
                if same { expected.last_mut().unwrap().0.last = range.last } else { expected.push((range, traffic)) }
            }
            let outside = pairs.outside_to(folded);
            let found: Vec<_> = outside.iter().map(|(range, allowed)| (*range, Rc::clone(&allowed.traffic))).collect();
            assert_eq!(found, expected);
            assert!(!pairs.to_outside(folded).is_empty());
        }
        let known = pairs.outward.known.borrow();
        assert_eq!(known.ranges, known.answers.values().map(|answer| answer.len()).sum::<usize>());
        known.made
    }

    #[test]
    fn who_has_the_same_rules_is_answered_once() {
        // Once in each direction.
        assert_eq!(made(&cluster(30, 20, false)), 2);
        assert_eq!(made(&cluster(30, 20, true)), 60);
    }
}
