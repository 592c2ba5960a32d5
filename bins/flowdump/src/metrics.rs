//! `flowdump metrics`: flows as metrics, printed once or for a scraper.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chainkit_cli::{Exit, Failure, Log};
use chainkit_cluster::Names;
use chainkit_flow::Record;
use chainkit_metrics::{Config, Form, Metrics, Pod};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::cli::{self, Options};
use crate::serve::{Content, Page, Server};
use crate::sink::{Report, Sink};
use crate::{manual, values};

/// How often it is looked which series are to end.
const EVERY: Duration = Duration::from_secs(1);

/// How long flows are counted that are printed once, where nothing is said.
const ONCE: Duration = Duration::from_secs(5);

/// The most samples that can be asked for: as many take some GiB.
const MAX_SAMPLES: u64 = 10_000_000;

/// A text is given out again for so many times as long as it took to make: whoever asks, at most a tenth of the time goes to it.
const REST: u32 = 10;

#[derive(Args, Debug)]
struct MetricsArgs {
    /// Where scrapers ask, under /metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9965", value_parser = values::listen)]
    #[arg(conflicts_with = "once")]
    listen: SocketAddr,

    /// Print them when the flows end; live after 5s, unless --duration or --first says otherwise
    #[arg(long)]
    once: bool,

    /// What to count, with Hubble's options: drop:sourceContext=pod. May be given again; without it all but http
    #[arg(long, value_name = "NAME[:OPTIONS]", value_parser = clap::value_parser!(Config))]
    metrics: Vec<Config>,

    /// The most samples; what finds no room is counted in a series of its metric that says so
    #[arg(long, value_name = "N", default_value = "50000", value_parser = clap::value_parser!(u64).range(1..=MAX_SAMPLES))]
    max_samples: u64,
}

/// The command line of `flowdump metrics`.
pub(crate) fn describe(command: Command) -> Command {
    let command = MetricsArgs::augment_args(command.next_help_heading("The metrics"));
    let command = cli::flow_args(cli::ending_args(command));
    command
        .next_help_heading(None::<&str>)
        .about("Flows as metrics, for Prometheus")
        .long_about(
            "Counts flows as Hubble's metrics do, by the same names, labels and options, and beside them bytes, handshakes, \
             latency and policy by rule; serves them to scrapers, or prints them once. Takes the same flows as flowdump \
             itself, live or saved, and the same filters",
        )
        .override_usage("flowdump metrics [OPTIONS] [FILTERS]")
        .after_help(manual::METRICS_EXAMPLES)
}

/// Runs `flowdump metrics`.
pub(crate) fn run(matches: &ArgMatches, log: Log) -> anyhow::Result<Exit> {
    let ask = MetricsArgs::from_arg_matches(matches)?;
    let mut options = Options::of_flows(matches, log)?;
    Config::check(&ask.metrics).map_err(|error| Failure::usage(format!("--metrics: {error}")))?;
    let configs = if ask.metrics.is_empty() { Config::defaults() } else { ask.metrics };
    let most = usize::try_from(ask.max_samples).unwrap_or(usize::MAX);
    let counts = Arc::new(Counts { metrics: Mutex::new(Metrics::new(configs, most)), given: Mutex::default() });
    let server = if ask.once {
        if options.read.is_none() && options.first.is_none() {
            options.duration.get_or_insert(ONCE);
        }
        None
    } else {
        // Of a node's past alone there would be nothing to scrape.
        options.follow |= options.read.is_none();
        Some(Server::start(ask.listen, Arc::clone(&counts) as Arc<dyn Content>, &options)?)
    };
    let now = Instant::now();
    let counting = Counting { counts, there: None, began: now, due: now, server };
    let sink = Sink::reporting(&options, Box::new(counting))?;
    cli::flows(&options, sink)
}

/// What flows are counted in, and scrapers read.
struct Counts {
    metrics: Mutex<Metrics>,
    given: Mutex<Vec<Given>>,
}

/// A text that was given out.
struct Given {
    form: Form,
    text: Bytes,
    again_until: Instant,
}

impl Counts {
    fn text(&self, form: Form) -> Bytes {
        let mut given = locked(&self.given);
        let began = Instant::now();
        given.retain(|given| began < given.again_until);
        if let Some(given) = given.iter().find(|given| given.form == form) {
            return given.text.clone();
        }
        let text = locked(&self.metrics).text(form).unwrap_or_default();
        let text = Bytes::from(text);
        let made = Instant::now();
        given.push(Given { form, text: text.clone(), again_until: made + made.duration_since(began) * REST });
        text
    }
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // Who held it when it fell left it whole: it was counting, or writing beside it.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Content for Counts {
    fn get(&self, path: &str, accept: &str) -> Option<Page> {
        let form = Form::accepted(accept);
        (path == self.path()).then(|| Page { media_type: form.media_type(), body: self.text(form) })
    }

    fn path(&self) -> &'static str {
        "/metrics"
    }

    fn is_for_this_host_alone(&self) -> bool {
        false
    }
}

/// Counts flows on their way.
struct Counting {
    counts: Arc<Counts>,
    /// The pods that there are, where that is known.
    there: Option<HashSet<Pod>>,
    began: Instant,
    /// When series are ended next.
    due: Instant,
    server: Option<Server>,
}

impl Counting {
    /// Ends the series of pods that have been gone for long enough.
    fn end_series(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        let seconds = now.duration_since(self.began).as_secs();
        let mut metrics = locked(&self.counts.metrics);
        if let Some(there) = &self.there {
            metrics.pods_are(there, seconds);
        }
        metrics.expire(seconds);
    }
}

impl Report for Counting {
    fn take(&mut self, record: &Record) {
        locked(&self.counts.metrics).count(record);
    }

    fn names(&mut self, names: &Names) {
        let pods = names.pods();
        self.there = Some(
            pods.map(|pod| Pod { namespace: pod.namespace.as_str().into(), name: pod.name.as_str().into() }).collect(),
        );
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        self.end_series(Instant::now());
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        if self.server.is_none() {
            let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            stdout.write_all(&self.counts.text(Form::Prometheus))?;
        }
        Ok(())
    }

    fn stay(&mut self) -> anyhow::Result<()> {
        let Some(server) = self.server.take() else { return Ok(()) };
        server.stay(|| self.tick())
    }

    fn is_for_stdout(&self) -> bool {
        self.server.is_none()
    }
}

#[cfg(test)]
mod tests {
    use chainkit_cluster::Objects;

    use super::*;

    fn names(pods: &[&str]) -> Names {
        let mut objects = Objects::default();
        for name in pods {
            let pod = format!(r#"{{"kind":"Pod","metadata":{{"namespace":"shop","name":"{name}"}}}}"#);
            assert!(objects.text("pods", &pod).is_empty());
        }
        Names::new(&objects, &[])
    }

    #[test]
    fn series_end_a_minute_after_the_names_lack_their_pod() {
        let metrics = Metrics::new(vec!["flow:sourceContext=pod".parse().unwrap()], 100);
        let counts = Arc::new(Counts { metrics: Mutex::new(metrics), given: Mutex::default() });
        let began = Instant::now();
        let mut counting = Counting { counts, there: None, began, due: began, server: None };
        for name in ["web-1", "db-1"] {
            let line = format!(r#"{{"flow":{{"source":{{"namespace":"shop","pod_name":"{name}"}}}}}}"#);
            counting.take(&chainkit_flow::parse(line.as_bytes()).unwrap().unwrap());
        }
        let text = |counting: &Counting| locked(&counting.counts.metrics).text(Form::Prometheus).unwrap();
        let pass = |counting: &mut Counting, seconds: std::ops::Range<u64>| {
            seconds.for_each(|second| counting.end_series(began + Duration::from_secs(second)));
            text(counting)
        };
        let saved = pass(&mut counting, 0..1000);
        assert!(saved.contains("shop/web-1") && saved.contains("shop/db-1"), "nobody told of pods: {saved}");
        counting.names(&names(&["web-1"]));
        let within = pass(&mut counting, 1000..1060);
        assert!(within.contains("shop/db-1"), "{within}");
        let after = pass(&mut counting, 1060..1062);
        assert!(after.contains("shop/web-1") && !after.contains("shop/db-1"), "{after}");
    }

    #[test]
    fn a_text_is_given_out_again_for_a_while_in_its_form_alone() {
        let metrics = Metrics::new(Config::defaults(), 100);
        let counts = Counts { metrics: Mutex::new(metrics), given: Mutex::default() };
        let again_until = Instant::now() + Duration::from_secs(1000);
        let given = Given { form: Form::Prometheus, text: Bytes::from_static(b"before"), again_until };
        locked(&counts.given).push(given);
        assert_eq!(&*counts.text(Form::Prometheus), b"before");
        assert!(counts.text(Form::OpenMetrics).ends_with(b"# EOF\n"));
        locked(&counts.given).clear();
        assert!(counts.text(Form::Prometheus).starts_with(b"# HELP"));
    }
}
