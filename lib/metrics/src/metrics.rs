//! All metrics of a run: what they are asked for, what they have counted, and their text.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chainkit_flow::{Flow, Record};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::config::{Config, Group};
use crate::hubble;
use crate::ours::Connections;
use crate::store::Store;
use crate::text::{Form, to_prometheus};

/// A pod, by which series are known that end after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// Metrics that count flows.
#[derive(Debug)]
pub struct Metrics {
    configs: Vec<Config>,
    connections: Connections,
    store: Arc<Mutex<Store>>,
    registry: Registry,
}

impl Metrics {
    /// Metrics that have counted nothing. They never have more than `most` samples, besides one overflow series a metric and a few
    /// that tell of the metrics themselves.
    #[must_use]
    pub fn new(configs: Vec<Config>, most: usize) -> Self {
        let store = Arc::new(Mutex::new(Store::new(most)));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(Arc::clone(&store))));
        Self { configs, connections: Connections::default(), store, registry }
    }

    /// Counts a record: a flow, or lost events. Word of nodes counts nothing.
    pub fn count(&mut self, record: &Record) {
        if let Some(flow) = &record.flow {
            self.flow(flow);
        } else if let Some(lost) = &record.lost_events {
            hubble::lost(&mut locked(&self.store), lost.source.to_string(), lost.num_events_lost);
        }
    }

    fn flow(&mut self, flow: &Flow) {
        let mut store = locked(&self.store);
        for config in &self.configs {
            if config.group == Group::Chainkit {
                self.connections.count(&config.contexts, flow, &mut store);
            } else {
                hubble::count(config, flow, &mut store);
            }
        }
    }

    /// A pod is gone at this second of the caller's clock: in a minute its series go, unless it is there again.
    pub fn pod_gone(&mut self, pod: &Pod, now: u64) {
        locked(&self.store).pod_gone(pod, now);
    }

    /// A pod is there.
    pub fn pod_there(&mut self, pod: &Pod) {
        locked(&self.store).pod_there(pod);
    }

    /// These pods are there at this second of the caller's clock, and no others: the series of those end in a minute, unless they
    /// are there again.
    pub fn pods_are(&mut self, there: &HashSet<Pod>, now: u64) {
        locked(&self.store).pods_are(there, now);
    }

    /// Ends series whose pods have been gone for a minute at this second.
    pub fn expire(&mut self, now: u64) {
        locked(&self.store).expire(now);
    }

    /// The text for a scraper.
    ///
    /// # Errors
    /// Never in practice: text is written into memory.
    pub fn text(&self, form: Form) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(match form {
            Form::OpenMetrics => out,
            Form::Prometheus => to_prometheus(&out),
        })
    }
}

fn locked(store: &Mutex<Store>) -> std::sync::MutexGuard<'_, Store> {
    // Counting does not panic; were it to, what was counted is whole all the same.
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is asked at each scrape.
#[derive(Debug)]
struct Scrape(Arc<Mutex<Store>>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let store = locked(&self.0);
        store.encode(&mut encoder)?;
        let wide = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("chainkit_metrics_samples", "Samples that there are", store.samples()),
            ("chainkit_metrics_samples_limit", "Samples that there may be", store.most()),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(wide(value)).encode(gauge)?;
        }
        let mut overflowed = store.overflowed().peekable();
        if overflowed.peek().is_some() {
            let help =
                "What was counted in the overflow series of a metric, since there was no room for one of its own";
            let mut encoder =
                encoder.encode_descriptor("chainkit_metrics_overflowed", help, None, MetricType::Counter)?;
            for (metric, times) in overflowed {
                ConstCounter::new(times).encode(encoder.encode_family(&[("metric", metric)])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
