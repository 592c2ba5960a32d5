//! When what was counted is shown: as time goes on, as the flows' own time goes on, or once.

use std::time::{Duration, Instant};

use chainkit_flow::Time;
use jiff::{SignedDuration, Timestamp};

/// The shortest time between two that are shown.
const SHORTEST: Duration = Duration::from_millis(100);

/// The counters of connections are read again after so many times as long as it took: a tenth of the time goes to it at most.
const REST: u32 = 10;

/// An interval for a flag.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = crate::values::duration(text)?;
    if interval < SHORTEST || SignedDuration::try_from(interval).is_err() {
        return Err("expected a duration of 100ms or more, such as 1s or 1m".to_owned());
    }
    Ok(interval)
}

/// A while that has been counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct While {
    /// When it ended.
    pub(crate) until: Option<Time>,
    pub(crate) seconds: f64,
}

/// When to show.
#[derive(Debug)]
enum Pace {
    /// At the end.
    Once { began: Instant, live: bool, first: Option<Timestamp>, last: Option<Timestamp> },
    /// Each so often.
    Clock { every: Duration, due: Instant, began: Instant },
    /// Each time that flows come which are so much later.
    Flows { every: SignedDuration, begin: Option<Timestamp> },
}

impl Pace {
    /// Once, unless there is an interval: by the clock where flows come as they happen, else by the time they bear.
    fn new(interval: Option<Duration>, as_it_happens: bool, now: Instant) -> Self {
        match interval {
            None => Self::Once { began: now, live: as_it_happens, first: None, last: None },
            Some(every) if as_it_happens => Self::Clock { every, due: now + every, began: now },
            Some(every) => {
                Self::Flows { every: SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX), begin: None }
            }
        }
    }

    /// A flow of this time comes: the while that was over before it. Flows that come late count in the while under way.
    fn before(&mut self, time: Option<Time>) -> Option<While> {
        let time = time?.0;
        match self {
            Self::Once { first, last, .. } => {
                *first = Some(first.map_or(time, |first| first.min(time)));
                *last = Some(last.map_or(time, |last| last.max(time)));
                None
            }
            Self::Clock { .. } => None,
            Self::Flows { every, begin } => {
                let Some(began) = *begin else {
                    *begin = Some(time);
                    return None;
                };
                let end = began.checked_add(*every).ok()?;
                if time < end {
                    return None;
                }
                // Whiles without flows are passed over.
                let step = every.as_nanos().max(1);
                let passed = time.duration_since(began).as_nanos() / step * step;
                let passed = i64::try_from(passed).ok().map(SignedDuration::from_nanos);
                *begin = Some(passed.and_then(|passed| began.checked_add(passed).ok()).unwrap_or(time));
                Some(While { until: Some(Time(end)), seconds: every.as_secs_f64() })
            }
        }
    }

    /// Whether something is due by the clock.
    fn is_due(&self, now: Instant) -> bool {
        matches!(self, Self::Clock { due, .. } if now >= *due)
    }

    /// It is shown now, by the clock, and not again for `rest` at least.
    fn show(&mut self, now: Instant, rest: Duration) -> Option<While> {
        let Self::Clock { every, due, began } = self else { return None };
        let seconds = now.duration_since(*began).as_secs_f64();
        *due = now + rest.max(*every);
        *began = now;
        Some(While { until: Some(Time(Timestamp::now())), seconds })
    }

    /// No more comes: the while that is under way.
    fn end(&mut self, now: Instant) -> While {
        match self {
            Self::Once { began, live: true, .. } | Self::Clock { began, .. } => {
                let seconds = now.duration_since(*began).as_secs_f64();
                While { until: Some(Time(Timestamp::now())), seconds }
            }
            Self::Once { first, last, .. } => {
                let seconds = match (*first, *last) {
                    (Some(first), Some(last)) => last.duration_since(first).as_secs_f64().max(1.0),
                    _ => 1.0,
                };
                While { until: last.map(Time), seconds }
            }
            Self::Flows { every, begin } => {
                let until = begin.and_then(|begin| begin.checked_add(*every).ok()).map(Time);
                While { until, seconds: every.as_secs_f64() }
            }
        }
    }
}

/// When to show what is counted by events and by the counters of connections: live, the counters are read before it is shown.
#[derive(Debug)]
pub(crate) struct Turns {
    pace: Pace,
    reads_counters: bool,
    /// How long reading them took for what is shown next; none: they were not read yet.
    counted: Option<Duration>,
}

impl Turns {
    /// As [`Pace::new`]; `live`: there are counters to be read.
    pub(crate) fn new(interval: Option<Duration>, as_it_happens: bool, live: bool) -> Self {
        Self { pace: Pace::new(interval, as_it_happens, Instant::now()), reads_counters: live, counted: None }
    }

    /// A flow of this time comes: the while that was over before it.
    pub(crate) fn before(&mut self, time: Option<Time>) -> Option<While> {
        self.pace.before(time)
    }

    /// Whether the counters are to be read.
    pub(crate) fn wants_counters(&self) -> bool {
        self.counted.is_none() && self.pace.is_due(Instant::now())
    }

    /// They were read, which took so long; false: that was at the start, and not for what is shown next.
    pub(crate) fn counted(&mut self, took: Duration) -> bool {
        self.counted = self.pace.is_due(Instant::now()).then_some(took);
        self.counted.is_some()
    }

    /// The while to be shown now, if one is due.
    pub(crate) fn due(&mut self) -> Option<While> {
        let now = Instant::now();
        if !self.pace.is_due(now) || self.reads_counters && self.counted.is_none() {
            return None;
        }
        let rest = self.counted.take().unwrap_or_default() * REST;
        self.pace.show(now, rest)
    }

    /// No more comes: the while that is under way.
    pub(crate) fn end(&mut self) -> While {
        self.pace.end(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<Time> {
        Some(Time(Timestamp::from_second(second).unwrap()))
    }

    #[test]
    fn whiles_of_saved_flows_go_by_their_time_and_empty_ones_are_passed_over() {
        let mut pace = Pace::new(Some(Duration::from_secs(10)), false, Instant::now());
        assert_eq!([pace.before(at(100)), pace.before(at(109)), pace.before(None)], [None; 3]);
        assert_eq!(pace.before(at(110)), Some(While { until: at(110), seconds: 10.0 }));
        assert_eq!(pace.before(at(90)), None, "one that comes late");
        assert_eq!(pace.before(at(157)), Some(While { until: at(120), seconds: 10.0 }));
        assert_eq!(pace.before(at(159)), None);
        assert_eq!(pace.end(Instant::now()), While { until: at(160), seconds: 10.0 });
    }

    #[test]
    fn at_once_it_is_from_the_first_flow_to_the_last() {
        let mut pace = Pace::new(None, false, Instant::now());
        assert_eq!([pace.before(at(107)), pace.before(at(100))], [None; 2]);
        assert_eq!(pace.end(Instant::now()), While { until: at(107), seconds: 7.0 });
    }

    #[test]
    fn by_the_clock_it_rests_as_long_as_it_has_to() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(Duration::from_secs(1)), true, now);
        assert!(!pace.is_due(now) && pace.is_due(now + Duration::from_secs(1)));
        assert_eq!(pace.show(now + Duration::from_secs(2), Duration::from_secs(5)).unwrap().seconds, 2.0);
        assert!(!pace.is_due(now + Duration::from_secs(6)) && pace.is_due(now + Duration::from_secs(7)));
    }
}
