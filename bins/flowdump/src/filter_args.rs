//! The flags that filter.
//!
//! Their order matters, since `--not` is about the flag that follows; so they are taken from the parser by place.

use chainkit_cli::Failure;
use chainkit_flow::{Filter, FilterBuilder, FilterFlag};
use clap::{Arg, ArgAction, ArgMatches, Command};

/// Flag, short form, name of its value, help.
type Description = (FilterFlag, Option<char>, &'static str, &'static str);

const FLAGS: &[Description] = &[
    (
        FilterFlag::Pod,
        None,
        "[NS/]POD",
        "Flows of pods whose name begins so; NS/ is every pod of a namespace, /POD any",
    ),
    (FilterFlag::FromPod, None, "[NS/]POD", "Flows that come from such pods"),
    (FilterFlag::ToPod, None, "[NS/]POD", "Flows that go to such pods"),
    (FilterFlag::Namespace, Some('n'), "NS", "Flows of a namespace"),
    (FilterFlag::FromNamespace, None, "NS", "Flows that come from a namespace"),
    (FilterFlag::ToNamespace, None, "NS", "Flows that go to a namespace"),
    (FilterFlag::Service, None, "[NS/]SERVICE", "Flows of virtual addresses of services whose name begins so"),
    (FilterFlag::FromService, None, "[NS/]SERVICE", "Flows that come from such addresses"),
    (FilterFlag::ToService, None, "[NS/]SERVICE", "Flows that go to such addresses"),
    (
        FilterFlag::Workload,
        None,
        "[KIND/]NAME",
        "Flows of pods of a workload, such as Deployment/web; KIND/ is any of a kind",
    ),
    (FilterFlag::FromWorkload, None, "[KIND/]NAME", "Flows that come from such pods"),
    (FilterFlag::ToWorkload, None, "[KIND/]NAME", "Flows that go to such pods"),
    (FilterFlag::Label, Some('l'), "SELECTOR", "Flows of pods that a label selector means, such as app=web,tier!=db"),
    (FilterFlag::FromLabel, None, "SELECTOR", "Flows that come from such pods"),
    (FilterFlag::ToLabel, None, "SELECTOR", "Flows that go to such pods"),
    (
        FilterFlag::Identity,
        None,
        "IDENTITY",
        "Flows of a security identity: a number, or one of host, world, remote-node, ...",
    ),
    (FilterFlag::FromIdentity, None, "IDENTITY", "Flows that come from it"),
    (FilterFlag::ToIdentity, None, "IDENTITY", "Flows that go to it"),
    (FilterFlag::Cluster, None, "NAME", "Flows of pods of a cluster; * is any text"),
    (FilterFlag::FromCluster, None, "NAME", "Flows that come from it"),
    (FilterFlag::ToCluster, None, "NAME", "Flows that go to it"),
    (FilterFlag::Ip, None, "ADDRESS", "Flows of an IP address or CIDR"),
    (FilterFlag::FromIp, None, "ADDRESS", "Flows that come from it"),
    (FilterFlag::ToIp, None, "ADDRESS", "Flows that go to it"),
    (FilterFlag::SnatIp, None, "ADDRESS", "Flows whose source address was translated to it"),
    (FilterFlag::Fqdn, None, "NAME", "Flows of a DNS name; * is any text, as in *.example.com"),
    (FilterFlag::FromFqdn, None, "NAME", "Flows that come from it"),
    (FilterFlag::ToFqdn, None, "NAME", "Flows that go to it"),
    (FilterFlag::Port, None, "PORT", "Flows of a port, or of a range such as 8000-8100"),
    (FilterFlag::FromPort, None, "PORT", "Flows that come from it"),
    (FilterFlag::ToPort, None, "PORT", "Flows that go to it"),
    (
        FilterFlag::Protocol,
        None,
        "PROTOCOL",
        "Flows of tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http, grpc, tls, quic or kafka",
    ),
    (FilterFlag::TcpFlags, None, "FLAGS", "Packets with all of these TCP flags, such as syn,ack"),
    (FilterFlag::IpVersion, None, "VERSION", "Flows of IP version 4 or 6, or of none"),
    (
        FilterFlag::Type,
        Some('t'),
        "TYPE[:SUB]",
        "Flows of drop, trace, l7, policy-verdict, capture or trace-sock, such as trace:to-endpoint",
    ),
    (FilterFlag::Verdict, None, "VERDICT", "Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode"),
    (FilterFlag::DropReason, None, "REASON", "Flows that were dropped for this, such as POLICY_DENIED"),
    (
        FilterFlag::Policy,
        None,
        "NS/NAME",
        "Flows that this policy allowed or denied; /NAME is one of the cluster, NAME any",
    ),
    (
        FilterFlag::TrafficDirection,
        None,
        "DIRECTION",
        "Flows of connections opened to a pod (ingress) or by it (egress)",
    ),
    (FilterFlag::Interface, None, "NAME", "Flows that were seen at this interface"),
    (FilterFlag::NodeName, None, "[CLUSTER/]NODE", "Flows that were seen by this node; * is any text"),
    (FilterFlag::NodeLabel, None, "SELECTOR", "Flows that were seen by nodes that a label selector means"),
    (FilterFlag::Uuid, None, "UUID", "The flow with this identifier"),
    (FilterFlag::TraceId, None, "ID", "Flows of requests of this trace"),
    (FilterFlag::IpTraceId, None, "ID", "Flows whose IP option bears this trace"),
    (FilterFlag::HttpStatus, None, "STATUS", "HTTP responses of a status such as 404, or of all that begin so: 5+"),
    (FilterFlag::HttpMethod, None, "METHOD", "HTTP of this method"),
    (FilterFlag::HttpPath, None, "REGEX", "HTTP whose path matches"),
    (FilterFlag::HttpUrl, None, "REGEX", "HTTP whose URL matches"),
    (FilterFlag::HttpHeader, None, "NAME:VALUE", "HTTP with this header; without name or value any is meant"),
    (FilterFlag::DnsQuery, None, "REGEX", "DNS that asks for a name that matches"),
    (FilterFlag::Sni, None, "NAME", "TLS and QUIC whose client says this server name; * is any text"),
    (FilterFlag::Latency, None, "BOUND", "Responses that took so long: 10ms or more, '>10ms', '<=1s', '>1ms,<5ms'"),
    (FilterFlag::MinBytes, None, "BYTES", "Flows of connections that carry as many bytes so far, such as 10MiB"),
    (
        FilterFlag::CelExpression,
        None,
        "EXPRESSION",
        "Flows for which a CEL expression holds, such as '_flow.l4.TCP.destination_port > 1024u'",
    ),
];

const NOT: &str = "not";
const REPLY: &str = "reply";
const ALLOWLIST: &str = "allowlist";
const DENYLIST: &str = "denylist";

/// Flags without a value: name, short form, what they stand for, help.
type Switch = (&'static str, Option<char>, FilterFlag, &'static str, &'static str);

const SWITCHES: &[Switch] = &[
    (
        "all-namespaces",
        Some('A'),
        FilterFlag::AllNamespaces,
        "",
        "Take a pod or service without namespace for one of any, not of default",
    ),
    ("from-all-namespaces", None, FilterFlag::FromAllNamespaces, "", "The same for where flows come from"),
    ("to-all-namespaces", None, FilterFlag::ToAllNamespaces, "", "The same for where flows go to"),
    ("ipv4", Some('4'), FilterFlag::IpVersion, "4", "The same as --ip-version 4"),
    ("ipv6", Some('6'), FilterFlag::IpVersion, "6", "The same as --ip-version 6"),
    ("encrypted", None, FilterFlag::Encrypted, "", "Flows that were encrypted between nodes"),
    ("unencrypted", None, FilterFlag::Unencrypted, "", "Flows that were not"),
];

/// Adds the flags to a command.
pub(crate) fn add(command: Command) -> Command {
    let switch = |name: &'static str, help: &'static str| {
        // With a value for each time it is given, so that each has its place.
        Arg::new(name).num_args(0).default_missing_value("true").action(ArgAction::Append).help(help)
    };
    let flags = FLAGS.iter().map(|(flag, short, value, help)| {
        let arg = Arg::new(flag.name()).long(flag.name()).value_name(*value).action(ArgAction::Append).help(*help);
        match short {
            Some(short) => arg.short(*short),
            None => arg,
        }
    });
    let switches = SWITCHES.iter().map(|(name, short, .., help)| {
        let arg = switch(name, help).long(*name);
        match short {
            Some(short) => arg.short(*short),
            None => arg,
        }
    });
    let list = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("JSON").action(ArgAction::Append).help(help)
    };
    command
        .next_help_heading("Filters")
        .args(flags)
        .args(switches)
        .arg(
            switch(REPLY, "Replies; --reply=false: what is none")
                .long(REPLY)
                .num_args(0..=1)
                .require_equals(true)
                .value_name("BOOL"),
        )
        .arg(switch(NOT, "Leave out what the next filter means").long(NOT))
        .arg(list(ALLOWLIST, "Flows that a FlowFilter of Hubble's means, besides those of the filters above"))
        .arg(list(DENYLIST, "Leave out flows that a FlowFilter means"))
}

/// A flag at its place: `None` is `--not`.
type Given = (usize, Option<(FilterFlag, String)>);

/// A flag among those given that asks for requests and responses, of which there are none without layer 7.
pub(crate) fn of_messages(matches: &ArgMatches) -> Option<&'static str> {
    use FilterFlag::{DnsQuery, HttpHeader, HttpMethod, HttpPath, HttpStatus, HttpUrl, Latency, Sni};
    let all = [HttpStatus, HttpMethod, HttpPath, HttpUrl, HttpHeader, DnsQuery, Sni, Latency];
    all.map(FilterFlag::name).into_iter().find(|name| matches.indices_of(name).is_some())
}

/// The filter that was asked for.
///
/// # Errors
/// When a value cannot be meant, flags exclude each other, or a `--not` has no filter behind it.
pub(crate) fn filter(matches: &ArgMatches) -> anyhow::Result<Filter> {
    let mut given: Vec<Given> = Vec::new();
    for (flag, ..) in FLAGS {
        let places = matches.indices_of(flag.name()).into_iter().flatten();
        let values = matches.get_many::<String>(flag.name()).into_iter().flatten();
        given.extend(places.zip(values).map(|(place, value)| (place, Some((*flag, value.clone())))));
    }
    let places = |name: &str| matches.indices_of(name).into_iter().flatten();
    for (name, _, flag, value, _) in SWITCHES {
        given.extend(places(name).map(|place| (place, Some((*flag, (*value).to_owned())))));
    }
    let replies = matches.get_many::<String>(REPLY).into_iter().flatten();
    given.extend(places(REPLY).zip(replies).map(|(place, value)| (place, Some((FilterFlag::Reply, value.clone())))));
    given.extend(places(NOT).map(|place| (place, None)));
    given.sort_by_key(|(place, _)| *place);

    let mut builder = FilterBuilder::default();
    let mut negated = false;
    for (_, flag) in given {
        match flag {
            Some((flag, value)) => {
                let added = builder.add(std::mem::take(&mut negated), flag, &value);
                added.map_err(|error| Failure::usage(error.to_string()))?;
            }
            None if negated => {
                return Err(Failure::usage("--not follows --not: say it once before each filter").into());
            }
            None => negated = true,
        }
    }
    if negated {
        return Err(Failure::usage("--not is the last filter: it is about the filter that follows").into());
    }
    for (name, deny) in [(ALLOWLIST, false), (DENYLIST, true)] {
        for json in matches.get_many::<String>(name).into_iter().flatten() {
            builder.add_list(deny, json).map_err(|error| Failure::usage(error.to_string()))?;
        }
    }
    Ok(builder.build().map_err(|error| Failure::usage(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the same flags give when they are added by hand.
    fn expected(flags: &[(bool, FilterFlag, &str)]) -> Filter {
        let mut builder = FilterBuilder::default();
        for (negated, flag, value) in flags {
            builder.add(*negated, *flag, value).unwrap();
        }
        builder.build().unwrap()
    }

    fn parsed(words: &str) -> anyhow::Result<Filter> {
        let command = add(Command::new("flowdump").no_binary_name(true));
        filter(&command.try_get_matches_from(words.split_whitespace()).unwrap())
    }

    #[test]
    fn not_is_about_the_filter_that_follows() {
        for (words, flags) in [
            ("", &[][..]),
            (
                "--not --pod a --port 1 --pod b",
                &[(true, FilterFlag::Pod, "a"), (false, FilterFlag::Port, "1"), (false, FilterFlag::Pod, "b")],
            ),
            (
                "--pod b --port 1 --not --pod a",
                &[(false, FilterFlag::Pod, "b"), (false, FilterFlag::Port, "1"), (true, FilterFlag::Pod, "a")],
            ),
            (
                "-4 --not -6 --not --verdict DROPPED",
                &[
                    (false, FilterFlag::IpVersion, "4"),
                    (true, FilterFlag::IpVersion, "6"),
                    (true, FilterFlag::Verdict, "DROPPED"),
                ],
            ),
            ("-A --pod=x", &[(false, FilterFlag::AllNamespaces, ""), (false, FilterFlag::Pod, "x")]),
            (
                "--reply --not --reply=false --from-all-namespaces --encrypted",
                &[
                    (false, FilterFlag::Reply, "true"),
                    (true, FilterFlag::Reply, "false"),
                    (false, FilterFlag::FromAllNamespaces, ""),
                    (false, FilterFlag::Encrypted, ""),
                ],
            ),
            (
                "-t l7 --http-status 5+ --not --latency <1ms",
                &[
                    (false, FilterFlag::Type, "l7"),
                    (false, FilterFlag::HttpStatus, "5+"),
                    (true, FilterFlag::Latency, "<1ms"),
                ],
            ),
            ("-n shop -lapp=web", &[(false, FilterFlag::Namespace, "shop"), (false, FilterFlag::Label, "app=web")]),
        ] {
            assert_eq!(parsed(words).unwrap(), expected(flags), "{words}");
        }
    }

    #[test]
    fn every_flag_of_the_library_can_be_given() {
        let names: Vec<&str> =
            FLAGS.iter().map(|flag| flag.0.name()).chain(SWITCHES.iter().map(|flag| flag.0)).collect();
        for flag in FilterFlag::ALL {
            assert!(names.contains(&flag.name()) || *flag == FilterFlag::Reply, "{}", flag.name());
        }
    }

    #[test]
    fn lists_are_taken_and_refused_with_their_flag() {
        let printed = parsed(r#"--port=1 --allowlist={"verdict":["DROPPED"]} --denylist={} --denylist={"uuid":["u"]}"#);
        assert_eq!(
            printed.unwrap().raw().unwrap(),
            "allowlist:\n    - '{\"source_port\":[\"1\"]}'\n    - '{\"destination_port\":[\"1\"]}'\n    - \
             '{\"verdict\":[\"DROPPED\"]}'\ndenylist:\n    - '{}'\n    - '{\"uuid\":[\"u\"]}'\n"
        );
        for (words, message) in [
            (r#"--allowlist={"pod":["x"]}"#, "invalid value for --allowlist: unknown field `pod`"),
            (
                r#"--denylist={"source_ip":["x"]}"#,
                "invalid value for --denylist: source_ip: \"x\": expected an IP address",
            ),
            ("--denylist=", "invalid value for --denylist: there is no FlowFilter in it"),
        ] {
            let error = parsed(words).unwrap_err().to_string();
            assert!(error.starts_with(message), "{words}: {error}");
        }
    }

    #[test]
    fn a_not_without_a_filter_is_an_error() {
        for words in ["--not", "--pod a --not", "--not --not --pod a"] {
            let error = parsed(words).unwrap_err();
            let failure = error.downcast_ref::<Failure>().unwrap();
            assert_eq!(failure.exit(), chainkit_cli::Exit::Usage, "{words}");
        }
    }
}
