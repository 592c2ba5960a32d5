//! Rules of a `NetworkPolicy` that another rule of it leaves nothing to allow, as far as their texts show.
//!
//! Each rule's peers and ports are put in order once, so that it is quickly seen whether one peer or port of another rule lies
//! in any of them.

use std::collections::{HashMap, HashSet};

use chainkit_cluster::selector;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Peers and ports that are looked up for one policy: some seconds' worth.
const MOST: usize = 5_000_000;

/// A rule as it is compared.
pub(super) struct Text<'a> {
    /// Whether it is of ingress.
    pub(super) ingress: bool,
    pub(super) peers: Option<&'a Vec<NetworkPolicyPeer>>,
    pub(super) ports: Option<&'a Vec<NetworkPolicyPort>>,
}

/// What was found of a policy's rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Covered {
    /// Rules that change nothing, each with one that allows all that it allows, by their places.
    pub(super) pairs: Vec<(usize, usize)>,
    /// So many of the rules were compared with all others: the first ones.
    pub(super) compared: usize,
}

/// Compares rules with one another. Of two that say the same, the first stays.
pub(super) fn covered(rules: &[Text<'_>]) -> Covered {
    covered_within(rules, MOST)
}

fn covered_within(rules: &[Text<'_>], mut most: usize) -> Covered {
    let mut names = Names::default();
    let rules: Vec<(bool, Sorted<'_>)> =
        rules.iter().map(|rule| (rule.ingress, Sorted::new(rule, &mut names))).collect();
    let mut pairs = Vec::new();
    for (index, (ingress, rule)) in rules.iter().enumerate() {
        let others = rules.iter().enumerate().filter(|(other, by)| *other != index && by.0 == *ingress);
        let mut by = None;
        for (other, (_, wide)) in others {
            let Some(covers) = wide.covers(rule, &mut most) else {
                return Covered { pairs, compared: index };
            };
            if !covers {
                continue;
            }
            let Some(equal) = (if other < index { Some(false) } else { rule.covers(wide, &mut most) }) else {
                return Covered { pairs, compared: index };
            };
            if !equal {
                by = Some(other);
                break;
            }
        }
        pairs.extend(by.map(|by| (index, by)));
    }
    Covered { pairs, compared: rules.len() }
}

/// Numbers for texts of selectors and blocks.
#[derive(Default)]
struct Names(HashMap<String, u32>);

/// The number of a selector that selects all.
const ALL: u32 = 0;

impl Names {
    fn number(&mut self, text: String) -> u32 {
        let next = u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX);
        *self.0.entry(text).or_insert(next)
    }

    fn selector(&mut self, selector: &LabelSelector) -> u32 {
        if selector::is_empty(selector) { ALL } else { self.number(format!("{selector:?}")) }
    }
}

/// A rule, put in order.
struct Sorted<'a> {
    peers: Option<Peers>,
    ports: Option<Ports<'a>>,
}

/// Peers: each by itself, and all so that one can be looked up.
#[derive(Default)]
struct Peers {
    each: Vec<Peer>,
    /// Selectors of namespaces and of pods.
    pods: HashSet<(u32, u32)>,
    /// Texts of blocks.
    texts: HashSet<u32>,
    /// Blocks without exceptions, in order, none inside of another.
    blocks: Vec<IpNet>,
}

enum Peer {
    Pods(u32, u32),
    /// The text of a block, and what it has inside at most; `None` where that is no network.
    Block(u32, Option<IpNet>),
}

/// Ports: each by itself, and all so that one can be looked up.
#[derive(Default)]
struct Ports<'a> {
    each: Vec<Port<'a>>,
    of_protocol: HashMap<&'a str, OfProtocol<'a>>,
}

#[derive(Default)]
struct OfProtocol<'a> {
    all: bool,
    names: HashSet<&'a str>,
    /// By the first port, each with the highest last port up to there.
    ranges: Vec<(i32, i32)>,
}

/// A protocol and its ports.
struct Port<'a>(&'a str, Numbers<'a>);

enum Numbers<'a> {
    All,
    Name(&'a str),
    Range(i32, i32),
}

impl<'a> Sorted<'a> {
    fn new(rule: &Text<'a>, names: &mut Names) -> Self {
        // An empty list is any, as is none.
        Self {
            peers: rule.peers.filter(|list| !list.is_empty()).map(|peers| Peers::new(peers, names)),
            ports: rule.ports.filter(|list| !list.is_empty()).map(|ports| Ports::new(ports)),
        }
    }

    /// Whether it allows all that another allows; `None` if that takes too long to see.
    fn covers(&self, rule: &Self, most: &mut usize) -> Option<bool> {
        *most = most.checked_sub(1)?;
        let ports = match (&self.ports, &rule.ports) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ports), Some(their)) => all(&their.each, most, |port| ports.contain(port))?,
        };
        if !ports {
            return Some(false);
        }
        match (&self.peers, &rule.peers) {
            (None, _) => Some(true),
            (Some(_), None) => Some(false),
            (Some(peers), Some(their)) => all(&their.each, most, |peer| peers.contain(peer)),
        }
    }
}

/// Whether something holds for all; `None` if that takes too long to see.
fn all<T>(each: &[T], most: &mut usize, holds: impl Fn(&T) -> bool) -> Option<bool> {
    for one in each {
        *most = most.checked_sub(1)?;
        if !holds(one) {
            return Some(false);
        }
    }
    Some(true)
}

impl Peers {
    fn new(list: &[NetworkPolicyPeer], names: &mut Names) -> Self {
        let mut peers = Self::default();
        for peer in list {
            let Some(block) = &peer.ip_block else {
                // None selects the policy's own namespace.
                let own = names.number(String::new());
                let namespaces = peer.namespace_selector.as_ref().map_or(own, |selector| names.selector(selector));
                let pods = peer.pod_selector.as_ref().map_or(ALL, |selector| names.selector(selector));
                peers.pods.insert((namespaces, pods));
                peers.each.push(Peer::Pods(namespaces, pods));
                continue;
            };
            let network = block.cidr.parse::<IpNet>().ok().map(|network| network.trunc());
            let text = names.number(format!("{peer:?}"));
            peers.texts.insert(text);
            if block.except.as_ref().is_none_or(Vec::is_empty) {
                peers.blocks.extend(network);
            }
            peers.each.push(Peer::Block(text, network));
        }
        peers.blocks.sort_unstable_by_key(|block| (block.network(), block.prefix_len()));
        peers.blocks.dedup_by(|block, before| before.contains(&*block));
        peers
    }

    fn contain(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Pods(namespaces, pods) => {
                let each = [(ALL, ALL), (ALL, *pods), (*namespaces, ALL), (*namespaces, *pods)];
                each.iter().any(|peer| self.pods.contains(peer))
            }
            Peer::Block(text, network) => {
                self.texts.contains(text) || network.is_some_and(|network| self.around(&network).is_some())
            }
        }
    }

    /// The block that a network lies in. No other can begin between the two.
    fn around(&self, network: &IpNet) -> Option<&IpNet> {
        let after = self.blocks.partition_point(|block| block.network() <= network.network());
        after.checked_sub(1).and_then(|at| self.blocks.get(at)).filter(|block| block.contains(network))
    }
}

impl<'a> Ports<'a> {
    fn new(list: &'a [NetworkPolicyPort]) -> Self {
        let mut ports = Self::default();
        for port in list {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let of_protocol = ports.of_protocol.entry(protocol).or_default();
            let numbers = match &port.port {
                None => Numbers::All,
                Some(IntOrString::String(name)) => Numbers::Name(name),
                Some(IntOrString::Int(first)) => Numbers::Range(*first, port.end_port.unwrap_or(*first)),
            };
            match numbers {
                Numbers::All => of_protocol.all = true,
                Numbers::Name(name) => {
                    of_protocol.names.insert(name);
                }
                Numbers::Range(first, last) => of_protocol.ranges.push((first, last)),
            }
            ports.each.push(Port(protocol, numbers));
        }
        for of_protocol in ports.of_protocol.values_mut() {
            of_protocol.ranges.sort_unstable();
            let mut highest = i32::MIN;
            for (_, last) in &mut of_protocol.ranges {
                highest = highest.max(*last);
                *last = highest;
            }
        }
        ports
    }

    fn contain(&self, Port(protocol, numbers): &Port<'_>) -> bool {
        let Some(own) = self.of_protocol.get(protocol) else {
            return false;
        };
        own.all
            || match numbers {
                Numbers::All => false,
                Numbers::Name(name) => own.names.contains(name),
                Numbers::Range(low, high) => {
                    let after = own.ranges.partition_point(|(first, _)| first <= low);
                    let highest = after.checked_sub(1).and_then(|at| own.ranges.get(at));
                    highest.is_some_and(|(_, last)| last >= high)
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn list<T: serde::de::DeserializeOwned>(list: Value) -> Vec<T> {
        serde_json::from_value(list).unwrap()
    }

    /// Whether the first of two rules covers the second.
    fn covers(peers: [Value; 2], ports: [Value; 2]) -> bool {
        let peers = peers.map(list);
        let ports = ports.map(list);
        let mut names = Names::default();
        let [by, rule] = [0, 1].map(|at| {
            let rule = Text { ingress: true, peers: Some(&peers[at]), ports: Some(&ports[at]) };
            Sorted::new(&rule, &mut names)
        });
        by.covers(&rule, &mut 1000).unwrap()
    }

    fn peers(by: Value, rule: Value) -> bool {
        covers([by, rule], [json!([]), json!([])])
    }

    fn ports(by: Value, rule: Value) -> bool {
        covers([json!([]), json!([])], [by, rule])
    }

    #[test]
    fn a_block_lies_in_one_that_is_wider_and_has_no_exceptions() {
        let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
        let wide = json!([block("10.0.0.0/8"), block("10.1.0.0/16"), block("192.0.2.0/24"), block("fd00::/8")]);
        for inside in ["10.0.0.0/8", "10.2.0.0/16", "10.1.0.0/17", "192.0.2.255/32", "fd00::1/128"] {
            assert!(peers(wide.clone(), json!([block(inside)])), "{inside}");
        }
        for outside in ["8.0.0.0/6", "9.255.255.255/32", "11.0.0.0/8", "192.0.2.0/23", "fc00::/7", "::a00:1/128"] {
            assert!(!peers(wide.clone(), json!([block(outside)])), "{outside}");
        }
        let holed = |cidr: &str, except: &str| json!([{"ipBlock": {"cidr": cidr, "except": [except]}}]);
        assert!(peers(wide.clone(), holed("10.0.0.0/9", "10.1.0.0/16")));
        assert!(!peers(holed("10.0.0.0/8", "10.1.0.0/16"), json!([block("10.2.0.0/16")])));
        assert!(peers(holed("10.0.0.0/8", "10.1.0.0/16"), holed("10.0.0.0/8", "10.1.0.0/16")));
    }

    #[test]
    fn pods_are_covered_by_the_same_selector_and_by_one_that_selects_all() {
        let web = json!({"matchLabels": {"app": "web"}});
        let db = json!({"matchLabels": {"app": "db"}});
        let own = |pods: &Value| json!([{"podSelector": pods}]);
        let both = |namespaces: &Value, pods: &Value| json!([{"namespaceSelector": namespaces, "podSelector": pods}]);
        assert!(peers(own(&json!({})), own(&web)) && peers(own(&web), own(&web)) && !peers(own(&web), own(&db)));
        assert!(peers(both(&json!({}), &web), own(&web)) && !peers(own(&web), both(&json!({}), &web)));
        assert!(peers(both(&json!({}), &json!({})), both(&db, &web)));
        assert!(peers(json!([{"namespaceSelector": db}]), both(&db, &web)) && !peers(both(&web, &db), both(&db, &db)));
        assert!(!peers(own(&json!({})), json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}])));
        assert!(peers(json!([]), own(&web)) && !peers(own(&web), json!([])));
    }

    #[test]
    fn ports_lie_in_one_range_of_their_protocol() {
        let range = |first: u16, last: u16| json!({"port": first, "endPort": last});
        let wide = json!([range(80, 90), range(85, 86), range(91, 99), {"port": "http"}, {"protocol": "UDP"}]);
        for inside in [
            range(80, 90),
            range(84, 88),
            json!({"port": 99}),
            json!({"port": "http"}),
            json!({"protocol": "UDP", "port": 1}),
        ] {
            assert!(ports(wide.clone(), json!([inside])), "{inside}");
        }
        for outside in [
            range(80, 91),
            json!({"port": 79}),
            json!({"port": "dns"}),
            json!({}),
            json!({"protocol": "SCTP", "port": 80}),
        ] {
            assert!(!ports(wide.clone(), json!([outside])), "{outside}");
        }
        assert!(ports(json!([]), wide.clone()) && !ports(wide, json!([])));
    }

    #[test]
    fn of_rules_that_say_the_same_the_first_stays() {
        let same: Vec<NetworkPolicyPeer> = list(json!([{"podSelector": {}}]));
        let narrow: Vec<NetworkPolicyPeer> = list(json!([{"podSelector": {"matchLabels": {"app": "web"}}}]));
        let rule = |peers, ingress| Text { ingress, peers: Some(peers), ports: None };
        let rules = [rule(&narrow, true), rule(&same, true), rule(&same, true), rule(&narrow, false)];
        assert_eq!(covered(&rules), Covered { pairs: vec![(0, 1), (2, 1)], compared: 4 });
    }

    #[test]
    fn comparisons_grow_with_the_peers_and_have_a_bound() {
        let peer = |n: u32| json!({"ipBlock": {"cidr": format!("{}/32", std::net::Ipv4Addr::from(n * 2))}});
        let many: Vec<NetworkPolicyPeer> = list((0..1000).map(peer).collect());
        let rule = || Text { ingress: true, peers: Some(&many), ports: None };
        // The first in the second and the other way round, and the second in the first.
        assert_eq!(covered_within(&[rule(), rule()], 3 * (many.len() + 1)).pairs, [(1, 0)]);
        let some: Vec<_> = (0..10).map(|_| rule()).collect();
        let first = covered_within(&some, 22 * many.len());
        assert!(first.compared > 0 && first.compared < 10 && first.pairs.len() + 1 == first.compared, "{first:?}");
    }
}
