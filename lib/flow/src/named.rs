//! Names of addresses, as pods have learned them from DNS.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Names that are kept at most, over all pods.
const MOST: usize = 1 << 16;

/// A name counts for at least so long: a connection goes on under it when its record is long out of date. Nanoseconds.
const LEAST: u64 = 3_600_000_000_000;

/// The longest time to live that counts, of RFC 2181, section 8, a week of it: nanoseconds.
const LONGEST: u64 = 7 * 24 * LEAST;

/// What an address was called when a pod asked for it.
#[derive(Debug)]
struct Named {
    name: Arc<str>,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    until: u64,
}

/// Names by the interface of who asked and the address that was answered: each pod has asked for itself.
#[derive(Debug, Default)]
pub(crate) struct DnsNames(HashMap<(u32, IpAddr), Named>);

impl DnsNames {
    /// What an address is called at an interface.
    pub(crate) fn name(&self, ifindex: u32, address: IpAddr, now: u64) -> Option<&Arc<str>> {
        self.0.get(&(ifindex, address)).filter(|named| named.until > now).map(|named| &named.name)
    }

    /// An answer at `now`, nanoseconds of `CLOCK_MONOTONIC`, with a time to live in seconds. A name without its last dot.
    pub(crate) fn learn(&mut self, ifindex: u32, name: &str, addresses: &[IpAddr], ttl: u32, now: u64) {
        let name: Arc<str> = name.strip_suffix('.').unwrap_or(name).into();
        if name.is_empty() {
            return;
        }
        let lives = u64::from(ttl).saturating_mul(1_000_000_000).clamp(LEAST, LONGEST);
        let until = now.saturating_add(lives);
        for address in addresses {
            if self.0.len() >= MOST && !self.0.contains_key(&(ifindex, *address)) {
                self.make_room(now);
            }
            self.0.insert((ifindex, *address), Named { name: Arc::clone(&name), until });
        }
    }

    /// An interface is gone.
    pub(crate) fn forget(&mut self, ifindex: u32) {
        self.0.retain(|(known, _), _| *known != ifindex);
    }

    /// Forgets what is out of date, and if that is not much, what will be first: so many at once that it is seldom done.
    fn make_room(&mut self, now: u64) {
        self.0.retain(|_, named| named.until > now);
        if self.0.len() < MOST / 8 * 7 {
            return;
        }
        let mut ends: Vec<u64> = self.0.values().map(|named| named.until).collect();
        let (_, limit, _) = ends.select_nth_unstable(MOST / 8);
        let limit = *limit;
        let mut left = MOST / 8;
        self.0.retain(|_, named| {
            let goes = left > 0 && named.until <= limit;
            left -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_name_is_that_of_who_asked_and_loses_its_dot() {
        let mut names = DnsNames::default();
        names.learn(7, "example.org.", &[ip(1), ip(2)], 30, 1000);
        assert_eq!(names.name(7, ip(2), 2000).map(|name| &**name), Some("example.org"));
        assert_eq!(names.name(8, ip(2), 2000), None);
        names.learn(7, "example.net.", &[ip(2)], 30, 3000);
        assert_eq!(names.name(7, ip(2), 4000).map(|name| &**name), Some("example.net"));
        names.forget(7);
        assert_eq!(names.name(7, ip(1), 2000), None);
    }

    #[test]
    fn a_name_lasts_an_hour_at_least_and_a_week_at_most() {
        let mut names = DnsNames::default();
        names.learn(1, "short.", &[ip(1)], 0, 0);
        names.learn(1, "long.", &[ip(2)], u32::MAX, 0);
        assert!(names.name(1, ip(1), LEAST - 1).is_some() && names.name(1, ip(1), LEAST).is_none());
        assert!(names.name(1, ip(2), LONGEST - 1).is_some() && names.name(1, ip(2), LONGEST).is_none());
    }

    #[test]
    fn a_flood_of_answers_takes_bounded_memory_and_the_newest_stay() {
        let mut names = DnsNames::default();
        for number in 0..200_000u32 {
            names.learn(number, "x.", &[ip(1)], 0, u64::from(number));
        }
        assert!(names.0.len() <= MOST);
        assert!(names.name(199_999, ip(1), 200_000).is_some());
    }

    #[test]
    fn the_root_names_nothing() {
        let mut names = DnsNames::default();
        names.learn(1, ".", &[ip(1)], 30, 0);
        assert!(names.0.is_empty());
    }
}
