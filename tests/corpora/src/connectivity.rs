//! Who may reach whom, in a form that can be compared.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Deserialize;

/// Ranges of ports by protocol (`TCP`, `UDP`, `SCTP`), both ends included, in order; a protocol without any is left out.
pub type Ports = BTreeMap<String, Vec<(u16, u16)>>;

/// The other end of an external row: which way it goes, and the workload.
type End = (Direction, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    From,
    To,
}

/// Who may reach whom: pairs of workloads, and IPv4 ranges outside, where neighbours with equal answers are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connectivity {
    pairs: BTreeMap<(String, String), Ports>,
    outside: BTreeMap<End, Vec<(u32, u32, Ports)>>,
}

/// A line that is not understood.
#[derive(Debug)]
pub struct MalformedError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// A record of `polload matrix -o jsonl`.
#[derive(Deserialize)]
struct Reach {
    kind: String,
    src: String,
    dst: String,
    allow: BTreeMap<String, Vec<(u16, u16)>>,
}

impl Connectivity {
    /// Reads `SRC => DST : PORTS`, one a line, as np-guard writes it.
    ///
    /// # Errors
    /// With the first line that is not understood.
    pub fn from_np_guard(text: &str) -> Result<Self, MalformedError> {
        Self::from_lines(text, |line| {
            let (source, rest) = line.split_once(" => ").ok_or("no =>")?;
            let (destination, ports) = rest.split_once(" : ").ok_or("no :")?;
            let side = |text: &str| text.trim().trim_end_matches("[External]").to_owned();
            Ok(Some((side(source), side(destination), np_guard_ports(ports.trim())?)))
        })
    }

    /// Reads what `polload matrix -o jsonl` prints; IPv6 ranges are passed over.
    ///
    /// # Errors
    /// With the first line that is not understood.
    pub fn from_polload(text: &str) -> Result<Self, MalformedError> {
        Self::from_lines(text, |line| {
            let row: Reach = serde_json::from_str(line).map_err(|error| error.to_string())?;
            if row.kind != "Reach" {
                return Err(format!("a record of kind {}", row.kind));
            }
            // A name holds no colon, an IPv6 address does.
            if row.src.contains(':') || row.dst.contains(':') {
                return Ok(None);
            }
            let allow = row.allow.into_iter().filter(|(_, ranges)| !ranges.is_empty()).collect();
            Ok(Some((row.src, row.dst, allow)))
        })
    }

    fn from_lines(
        text: &str,
        read: impl Fn(&str) -> Result<Option<(String, String, Ports)>, String>,
    ) -> Result<Self, MalformedError> {
        let mut connectivity = Self::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |reason| MalformedError { line: index + 1, reason };
            let Some((source, destination, ports)) = read(line).map_err(wrong)? else {
                continue;
            };
            connectivity.add(source, destination, ports).map_err(wrong)?;
        }
        for ranges in connectivity.outside.values_mut() {
            merge(ranges);
        }
        Ok(connectivity)
    }

    fn add(&mut self, source: String, destination: String, ports: Ports) -> Result<(), String> {
        match (range(&source), range(&destination)) {
            (Some(_), Some(_)) => return Err("both sides are outside".to_owned()),
            (Some((first, last)), None) => {
                self.outside.entry((Direction::From, destination)).or_default().push((first, last, ports));
            }
            (None, Some((first, last))) => {
                self.outside.entry((Direction::To, source)).or_default().push((first, last, ports));
            }
            (None, None) => {
                if self.pairs.insert((source.clone(), destination.clone()), ports).is_some() {
                    return Err(format!("{source} => {destination} a second time"));
                }
            }
        }
        Ok(())
    }

    /// The first thing in which `self`, what is expected, differs from `found`; `None` if nothing does.
    #[must_use]
    pub fn first_difference(&self, found: &Self) -> Option<String> {
        let pairs = self.pairs.keys().chain(found.pairs.keys());
        let pair = pairs.filter(|pair| self.pairs.get(*pair) != found.pairs.get(*pair)).min();
        if let Some((source, destination)) = pair {
            let pair = (source.clone(), destination.clone());
            let (expected, found) = (self.pairs.get(&pair), found.pairs.get(&pair));
            return Some(format!("{source} => {destination}: expected {}, found {}", words(expected), words(found)));
        }
        let ends = self.outside.keys().chain(found.outside.keys());
        let end = ends.filter(|end| self.outside.get(*end) != found.outside.get(*end)).min()?;
        let side = |ranges: Option<&Vec<(u32, u32, Ports)>>| {
            let ranges = ranges.into_iter().flatten().map(|(first, last, ports)| {
                format!("{}-{} : {}", Ipv4Addr::from(*first), Ipv4Addr::from(*last), words(Some(ports)))
            });
            ranges.collect::<Vec<_>>()
        };
        let (expected, found) = (side(self.outside.get(end)), side(found.outside.get(end)));
        let at = expected.iter().zip(&found).take_while(|(expected, found)| expected == found).count();
        let one = |side: &[String]| side.get(at).cloned().unwrap_or_else(|| "nothing more".to_owned());
        let way = if end.0 == Direction::From { "outside =>" } else { "=> outside of" };
        Some(format!("{way} {}: expected {}, found {}", end.1, one(&expected), one(&found)))
    }
}

/// `All Connections`, or `TCP 80,443-444,UDP 53`.
fn np_guard_ports(text: &str) -> Result<Ports, String> {
    let mut ports = Ports::new();
    if text == "All Connections" {
        return Ok(["TCP", "UDP", "SCTP"].map(|protocol| (protocol.to_owned(), vec![(1, u16::MAX)])).into());
    }
    let mut protocol = None;
    for part in text.split(',') {
        let part = part.trim();
        let numbers = match part.split_once(' ') {
            Some((name, numbers)) => {
                protocol = Some(name.to_owned());
                numbers
            }
            None => part,
        };
        let protocol = protocol.clone().ok_or_else(|| format!("ports without a protocol: {text}"))?;
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let number = |text: &str| text.parse::<u16>().map_err(|error| format!("{text:?}: {error}"));
        ports.entry(protocol).or_default().push((number(first)?, number(last)?));
    }
    for ranges in ports.values_mut() {
        ranges.sort_unstable();
    }
    Ok(ports)
}

/// `a.b.c.d-e.f.g.h`, or a single address or prefix.
fn range(side: &str) -> Option<(u32, u32)> {
    let (first, last) = side.split_once('-').unwrap_or((side, side));
    let address = |text: &str| text.parse::<Ipv4Addr>().ok().map(u32::from);
    Some((address(first)?, address(last)?))
}

/// Puts ranges in order, and neighbours with equal answers together.
fn merge(ranges: &mut Vec<(u32, u32, Ports)>) {
    ranges.sort_by_key(|(first, last, _)| (*first, *last));
    let mut merged: Vec<(u32, u32, Ports)> = Vec::with_capacity(ranges.len());
    for (first, last, ports) in ranges.drain(..) {
        match merged.last_mut() {
            Some((_, before, same)) if before.checked_add(1) == Some(first) && *same == ports => *before = last,
            _ => merged.push((first, last, ports)),
        }
    }
    *ranges = merged;
}

fn words(ports: Option<&Ports>) -> String {
    let Some(ports) = ports.filter(|ports| !ports.is_empty()) else {
        return "nothing".to_owned();
    };
    let each = ports.iter().map(|(protocol, ranges)| {
        let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        format!("{protocol} {}", ranges.join(","))
    });
    each.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_one_thing_are_equal() {
        let expected = "0.0.0.0-9.255.255.255[External] => a/b[Pod] : TCP 80,90-99,UDP 53\n\
                        10.0.0.0-255.255.255.255[External] => a/b[Pod] : TCP 80,90-99,UDP 53\n\
                        a/b[Pod] => a/c[Job] : All Connections\n";
        let found = r#"{"kind":"Reach","src":"a/b[Pod]","dst":"a/c[Job]","allow":{"TCP":[[1,65535]],"UDP":[[1,65535]],"SCTP":[[1,65535]]}}
{"kind":"Reach","src":"0.0.0.0-255.255.255.255","dst":"a/b[Pod]","allow":{"TCP":[[80,80],[90,99]],"UDP":[[53,53]],"SCTP":[]}}
{"kind":"Reach","src":"::-ffff::","dst":"a/b[Pod]","allow":{"TCP":[[1,1]],"UDP":[],"SCTP":[]}}"#;
        let expected = Connectivity::from_np_guard(expected).unwrap();
        assert_eq!(expected.first_difference(&Connectivity::from_polload(found).unwrap()), None);
    }

    #[test]
    fn the_first_difference_is_told_whichever_side_lacks_it() {
        let of = |text: &str| Connectivity::from_np_guard(text).unwrap();
        let one = "a/b[Pod] => a/c[Pod] : TCP 80\n";
        let two = "a/b[Pod] => a/c[Pod] : TCP 81\n";
        let difference = of(one).first_difference(&of(two)).unwrap();
        assert_eq!(difference, "a/b[Pod] => a/c[Pod]: expected TCP 80-80, found TCP 81-81");
        assert!(of("").first_difference(&of(one)).unwrap().contains("expected nothing, found TCP 80-80"));
        let outside = "1.0.0.0-2.0.0.0[External] => a/c[Pod] : TCP 80\n";
        let difference = of(outside).first_difference(&of("")).unwrap();
        assert_eq!(difference, "outside => a/c[Pod]: expected 1.0.0.0-2.0.0.0 : TCP 80-80, found nothing more");
    }

    #[test]
    fn a_line_that_is_not_understood_is_told() {
        for text in ["a b", "a => b", "a => b : 80", "a => b : TCP x", "1.1.1.1-1.1.1.2 => 1.1.1.1-1.1.1.2 : TCP 1"] {
            assert!(Connectivity::from_np_guard(text).is_err(), "{text}");
        }
        assert!(Connectivity::from_polload("{}").is_err());
    }
}
