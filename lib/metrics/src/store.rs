//! The series: made when they are first counted, bounded in number, and gone a minute after their pod.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::{CounterWithExemplar, HistogramWithExemplars};

use crate::metrics::Pod;

/// A label of a sample: name and value.
pub(crate) type Label = (&'static str, String);
/// What an exemplar names: a trace.
pub(crate) type Exemplar = Vec<(&'static str, String)>;

/// The value of every label of the series that stands for all that found no room.
pub(crate) const OVERFLOW: &str = "__overflow__";

/// Seconds that the series of a pod outlive it, as in Hubble.
const AFTERLIFE: u64 = 60;

/// Upper bounds of buckets in seconds: those that clients of Prometheus take where they are told nothing, with some below for what
/// is answered within a node.
const BUCKETS: [f64; 14] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Samples of one histogram: a bucket each, the last without bound, sum and count.
const HISTOGRAM_SAMPLES: usize = BUCKETS.len() + 3;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Metric {
    /// Its name, without the `_total` of a counter.
    pub(crate) name: &'static str,
    /// What it counts, without a full stop.
    pub(crate) help: &'static str,
    /// What kind it is.
    pub(crate) kind: Kind,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// It grows.
    Counter,
    /// Seconds, by how long it took.
    Histogram,
}

impl Kind {
    const fn samples(self) -> usize {
        match self {
            Self::Counter => 1,
            Self::Histogram => HISTOGRAM_SAMPLES,
        }
    }

    const fn wire(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// What is counted of one label set.
enum Value {
    Counter(CounterWithExemplar<Exemplar>),
    Histogram(HistogramWithExemplars<Exemplar>),
}

impl Value {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(CounterWithExemplar::default()),
            Kind::Histogram => Self::Histogram(HistogramWithExemplars::new(BUCKETS.into_iter())),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter(counter) => counter.get().0.fmt(out),
            Self::Histogram(_) => out.write_str("histogram"),
        }
    }
}

#[derive(Debug)]
struct Series {
    labels: Vec<Label>,
    value: Value,
}

/// A metric's series.
#[derive(Debug)]
struct Family {
    metric: Metric,
    series: HashMap<Box<[String]>, Series>,
    overflow: Option<Series>,
    /// What was counted there.
    overflowed: u64,
}

/// What is counted at once of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// So much more.
    Add(u64),
    /// It took so many seconds.
    Seconds(f64),
}

/// Where a series is: of which metric, and under which values.
type Place = (usize, Arc<[String]>);

/// All series.
#[derive(Debug)]
pub(crate) struct Store {
    families: Vec<Family>,
    places: HashMap<&'static str, usize>,
    /// Which series bear which pod's name.
    of_pods: HashMap<Pod, HashSet<Place>>,
    /// Pods that are gone, and since when, in seconds.
    gone: HashMap<Pod, u64>,
    samples: usize,
    most: usize,
}

impl Store {
    /// A store of at most so many samples. Each metric may have an overflow series beyond them.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            families: Vec::new(),
            places: HashMap::new(),
            of_pods: HashMap::new(),
            gone: HashMap::new(),
            samples: 0,
            most,
        }
    }

    /// Counts. `pods` are those whose names stand in labels: the series ends after them.
    pub(crate) fn count(
        &mut self,
        metric: Metric,
        labels: Vec<Label>,
        pods: &[Pod],
        amount: Amount,
        exemplar: Option<Exemplar>,
    ) {
        let place = *self.places.entry(metric.name).or_insert_with(|| {
            self.families.push(Family { metric, series: HashMap::new(), overflow: None, overflowed: 0 });
            self.families.len() - 1
        });
        let Some(family) = self.families.get_mut(place) else { return };
        let values: Box<[String]> = labels.iter().map(|(_, value)| value.clone()).collect();
        let known = family.series.contains_key(&values);
        if !known && self.samples + metric.kind.samples() > self.most {
            family.overflowed += 1;
            let series = family.overflow.get_or_insert_with(|| Series {
                labels: labels.into_iter().map(|(name, _)| (name, OVERFLOW.to_owned())).collect(),
                value: Value::new(metric.kind),
            });
            add(&series.value, amount, None);
            return;
        }
        if !known {
            self.samples += metric.kind.samples();
            let shared: Option<Arc<[String]>> = (!pods.is_empty()).then(|| values.iter().cloned().collect());
            if let Some(shared) = shared {
                for pod in pods {
                    self.of_pods.entry(pod.clone()).or_default().insert((place, Arc::clone(&shared)));
                }
            }
        }
        let series = family.series.entry(values).or_insert_with(|| Series { labels, value: Value::new(metric.kind) });
        add(&series.value, amount, exemplar);
    }

    /// A pod is gone since this second.
    pub(crate) fn pod_gone(&mut self, pod: &Pod, now: u64) {
        // Of pods that no series bears the name of, there is nothing to end.
        if self.of_pods.contains_key(pod) {
            self.gone.entry(pod.clone()).or_insert(now);
        }
    }

    /// A pod is there (again).
    pub(crate) fn pod_there(&mut self, pod: &Pod) {
        self.gone.remove(pod);
    }

    /// These pods are there, and no others. Said again and again it also meets series that begin after their pod has gone.
    pub(crate) fn pods_are(&mut self, there: &HashSet<Pod>, now: u64) {
        let gone = &mut self.gone;
        for pod in self.of_pods.keys() {
            if there.contains(pod) {
                gone.remove(pod);
            } else if !gone.contains_key(pod) {
                gone.insert(pod.clone(), now);
            }
        }
    }

    /// Ends the series of pods that have been gone for long enough.
    pub(crate) fn expire(&mut self, now: u64) {
        let over = |since: &u64| now.saturating_sub(*since) >= AFTERLIFE;
        let ended: Vec<Pod> = self.gone.iter().filter(|(_, since)| over(since)).map(|(pod, _)| pod.clone()).collect();
        if ended.is_empty() {
            return;
        }
        for pod in ended {
            self.gone.remove(&pod);
            for (place, values) in self.of_pods.remove(&pod).unwrap_or_default() {
                let Some(family) = self.families.get_mut(place) else { continue };
                if family.series.remove(&*values).is_some() {
                    self.samples -= family.metric.kind.samples();
                }
            }
        }
        // The other end of a series that has ended may live on.
        let families = &self.families;
        self.of_pods.retain(|_, series| {
            series.retain(|(place, values)| {
                families.get(*place).is_some_and(|family| family.series.contains_key(&**values))
            });
            !series.is_empty()
        });
        let of_pods = &self.of_pods;
        self.gone.retain(|pod, _| of_pods.contains_key(pod));
    }

    /// How many samples there are, those of overflow left out.
    pub(crate) const fn samples(&self) -> usize {
        self.samples
    }

    /// How many there may be.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    /// Each metric of which something was counted in its overflow series, and how often.
    pub(crate) fn overflowed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.families
            .iter()
            .filter(|family| family.overflowed > 0)
            .map(|family| (family.metric.name, family.overflowed))
    }

    /// Writes all of it, metrics in the order of their names, each one's series in that of its values.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut families: Vec<&Family> = self.families.iter().collect();
        families.sort_unstable_by_key(|family| family.metric.name);
        for family in families {
            let mut series: Vec<(&Box<[String]>, &Series)> = family.series.iter().collect();
            series.sort_unstable_by_key(|(values, _)| *values);
            let all = series.into_iter().map(|(_, series)| series).chain(&family.overflow);
            let mut all = all.peekable();
            if all.peek().is_none() {
                continue;
            }
            let Metric { name, help, kind } = family.metric;
            let mut encoder = encoder.encode_descriptor(name, help, None, kind.wire())?;
            for Series { labels, value } in all {
                let encoder = encoder.encode_family(labels)?;
                match value {
                    Value::Counter(counter) => counter.encode(encoder)?,
                    Value::Histogram(histogram) => histogram.encode(encoder)?,
                }
            }
        }
        Ok(())
    }
}

fn add(value: &Value, amount: Amount, exemplar: Option<Exemplar>) {
    let time = exemplar.is_some().then(SystemTime::now);
    match (value, amount) {
        (Value::Counter(counter), Amount::Add(more)) => {
            counter.inc_by(more, exemplar, time);
        }
        (Value::Histogram(histogram), Amount::Seconds(seconds)) => histogram.observe(seconds, exemplar, time),
        // A metric is counted in one way alone, by who defines it.
        _ => debug_assert!(false, "{value:?} is not counted by {amount:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: Metric = Metric { name: "requests", help: "Requests", kind: Kind::Counter };
    const TOOK: Metric = Metric { name: "took_seconds", help: "How long it took", kind: Kind::Histogram };

    fn pod(name: &str) -> Pod {
        Pod { namespace: "shop".into(), name: name.into() }
    }

    fn count(store: &mut Store, path: &str, pods: &[Pod]) {
        store.count(REQUESTS, vec![("path", path.to_owned())], pods, Amount::Add(1), None);
    }

    fn paths(store: &Store) -> Vec<String> {
        let mut paths: Vec<String> =
            store.families.iter().flat_map(|family| family.series.keys()).map(|values| values[0].clone()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn what_finds_no_room_is_counted_in_one_series_that_says_so() {
        let mut store = Store::new(2);
        for path in ["a", "b", "c", "d", "a", "c"] {
            count(&mut store, path, &[]);
        }
        assert_eq!(paths(&store), ["a", "b"]);
        assert_eq!(store.samples(), 2);
        assert_eq!(store.overflowed().collect::<Vec<_>>(), [("requests", 3)]);
        let overflow = store.families[0].overflow.as_ref().unwrap();
        assert_eq!(overflow.labels, [("path", OVERFLOW.to_owned())]);
        assert_eq!(format!("{:?}", overflow.value), "3");
    }

    #[test]
    fn a_histogram_takes_the_room_of_all_its_samples() {
        let mut store = Store::new(HISTOGRAM_SAMPLES);
        count(&mut store, "a", &[]);
        store.count(TOOK, vec![("path", "a".into())], &[], Amount::Seconds(0.1), None);
        assert_eq!((store.samples(), store.overflowed().count()), (1, 1));
    }

    #[test]
    fn the_series_of_a_pod_go_a_minute_after_it() {
        let mut store = Store::new(100);
        count(&mut store, "a", &[pod("web"), pod("cart")]);
        count(&mut store, "b", &[pod("cart")]);
        count(&mut store, "c", &[]);
        store.pod_gone(&pod("web"), 1000);
        store.expire(1059);
        assert_eq!(paths(&store), ["a", "b", "c"]);
        store.expire(1060);
        assert_eq!(paths(&store), ["b", "c"]);
        assert_eq!(store.samples(), 2);
        store.pod_gone(&pod("cart"), 1100);
        store.expire(1200);
        assert_eq!(paths(&store), ["c"]);
        assert!(store.of_pods.is_empty() && store.gone.is_empty());
    }

    #[test]
    fn a_pod_that_comes_back_in_time_keeps_its_series() {
        let mut store = Store::new(100);
        count(&mut store, "a", &[pod("web")]);
        store.pod_gone(&pod("web"), 1000);
        store.pod_there(&pod("web"));
        store.expire(2000);
        assert_eq!(paths(&store), ["a"]);
    }

    #[test]
    fn a_pod_that_is_told_gone_again_and_again_is_gone_since_the_first_time() {
        let mut store = Store::new(100);
        count(&mut store, "a", &[pod("web")]);
        for now in 1000..1060 {
            store.pod_gone(&pod("web"), now);
        }
        store.expire(1060);
        assert_eq!(store.samples(), 0);
    }

    #[test]
    fn series_that_begin_after_their_pod_has_gone_end_too() {
        let mut store = Store::new(100);
        let there = HashSet::from([pod("web")]);
        count(&mut store, "a", &[pod("web")]);
        store.pods_are(&there, 1000);
        count(&mut store, "late", &[pod("cart")]);
        for now in 1001..1061 {
            store.pods_are(&there, now);
            store.expire(now);
        }
        assert_eq!(paths(&store), ["a", "late"]);
        store.expire(1061);
        assert_eq!(paths(&store), ["a"]);
        store.pods_are(&HashSet::new(), 1100);
        store.pods_are(&there, 1110);
        store.expire(1200);
        assert_eq!(paths(&store), ["a"], "it was there again in time");
    }

    #[test]
    fn pods_that_no_series_bears_take_no_memory() {
        let mut store = Store::new(100);
        for number in 0..1000 {
            store.pod_gone(&pod(&format!("p{number}")), 1);
        }
        assert!(store.gone.is_empty());
    }
}
