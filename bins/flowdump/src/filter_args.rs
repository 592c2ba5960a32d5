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
    (FilterFlag::Label, Some('l'), "SELECTOR", "Flows of pods that a label selector means, such as app=web,tier!=db"),
    (FilterFlag::FromLabel, None, "SELECTOR", "Flows that come from such pods"),
    (FilterFlag::ToLabel, None, "SELECTOR", "Flows that go to such pods"),
    (FilterFlag::Ip, None, "ADDRESS", "Flows of an IP address or CIDR"),
    (FilterFlag::FromIp, None, "ADDRESS", "Flows that come from it"),
    (FilterFlag::ToIp, None, "ADDRESS", "Flows that go to it"),
    (FilterFlag::Port, None, "PORT", "Flows of a port, or of a range such as 8000-8100"),
    (FilterFlag::FromPort, None, "PORT", "Flows that come from it"),
    (FilterFlag::ToPort, None, "PORT", "Flows that go to it"),
    (FilterFlag::Protocol, None, "PROTOCOL", "Flows of tcp, udp, sctp, icmp, icmpv4 or icmpv6"),
    (FilterFlag::Verdict, None, "VERDICT", "Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode"),
    (
        FilterFlag::TrafficDirection,
        None,
        "DIRECTION",
        "Flows of connections opened to a pod (ingress) or by it (egress)",
    ),
    (FilterFlag::TcpFlags, None, "FLAGS", "Packets with all of these TCP flags, such as syn,ack"),
    (FilterFlag::IpVersion, None, "VERSION", "Flows of IP version 4 or 6"),
];

const NOT: &str = "not";
const ALL_NAMESPACES: &str = "all-namespaces";
const IPV4: &str = "ipv4";
const IPV6: &str = "ipv6";

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
    command
        .next_help_heading("Filters")
        .args(flags)
        .arg(
            switch(ALL_NAMESPACES, "Take a pod without namespace for one of any, not of default")
                .long(ALL_NAMESPACES)
                .short('A'),
        )
        .arg(switch(IPV4, "The same as --ip-version 4").short('4'))
        .arg(switch(IPV6, "The same as --ip-version 6").short('6'))
        .arg(switch(NOT, "Leave out what the next filter means").long(NOT))
}

/// A flag at its place: `None` is `--not`.
type Given = (usize, Option<(FilterFlag, String)>);

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
    let switches = [
        (NOT, None),
        (ALL_NAMESPACES, Some((FilterFlag::AllNamespaces, ""))),
        (IPV4, Some((FilterFlag::IpVersion, "4"))),
        (IPV6, Some((FilterFlag::IpVersion, "6"))),
    ];
    for (name, flag) in switches {
        let flag = flag.map(|(flag, value)| (flag, value.to_owned()));
        given.extend(matches.indices_of(name).into_iter().flatten().map(|place| (place, flag.clone())));
    }
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
            ("-n shop -lapp=web", &[(false, FilterFlag::Namespace, "shop"), (false, FilterFlag::Label, "app=web")]),
        ] {
            assert_eq!(parsed(words).unwrap(), expected(flags), "{words}");
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
