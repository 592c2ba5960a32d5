//! The metrics.

pub(super) const TEXT: &str = "\
flowdump metrics counts the flows that flowdump itself would show, live or of saved lines, and serves what it has counted
under /metrics at --listen, in the form that the scraper asks for: OpenMetrics with exemplars, or the text of Prometheus.
Of saved lines it goes on serving when they end, until a signal or until --duration is up. With --once it prints them when
the flows end: live after 5s, unless --duration or --first says otherwise.

By itself it listens on this host alone. What other addresses are given is open to whoever reaches them: neither who asks
nor what is sent is protected. A scraper of another host needs such an address, or something before it that protects.

--metrics takes a name and Hubble's options, as its configuration has them: NAME:OPTION;OPTION=VALUE;... Without --metrics
there is all but http, without options.

dns
  hubble_dns_queries_total, hubble_dns_responses_total, hubble_dns_response_types_total. Options: query (names are a
  label), ignoreAAAA.

drop, tcp, flow, port-distribution, icmp, policy
  hubble_drop_total, hubble_tcp_flags_total, hubble_flows_processed_total, hubble_port_distribution_total,
  hubble_icmp_total, hubble_policy_verdicts_total.

http, httpV2
  hubble_http_requests_total, hubble_http_request_duration_seconds; of http, which takes each message for itself, also
  hubble_http_responses_total. Ask for one of them. Option: exemplars=true (the trace-id of the header traceparent).

kafka
  hubble_kafka_requests_total, hubble_kafka_request_duration_seconds.

flows-to-world
  hubble_flows_to_world_total. Options: any-drop, port, syn-only.

chainkit
  chainkit_bytes_total and chainkit_packets_total at the interfaces of pods, sent or received by the pod (direction);
  chainkit_tcp_handshake_seconds; chainkit_l7_latency_seconds by protocol. The label reporter of these says whose interface it was: the
  client's, which opened the connection, or the server's. Between two pods of a node both report: take one of them.
  chainkit_policy_decisions_total by the rule that
  decided (without rule: policies isolate, and no rule allows). They are of lines that flowdump wrote: Hubble's have no bytes.

Each takes sourceContext and destinationContext, with Egress or Ingress before Context for flows of that direction: one or
more of identity, namespace, pod, pod-name, dns, ip, reserved-identity, workload, workload-name, app, with | between them,
of which the first that says anything is the label source or destination. labelsContext takes names of labels with commas
between them: source_ and destination_ before ip, pod, namespace, workload, workload_kind, app, and traffic_direction.

hubble_lost_events_total counts what was lost. There are never more samples than --max-samples: what finds no room for a
series of its own is counted in one whose labels are all __overflow__, and chainkit_metrics_overflowed_total says how often,
by metric. chainkit_metrics_samples and chainkit_metrics_samples_limit tell how near that is. A histogram takes 17.

Series that name a pod, by name or address, end a minute after it is gone. Of live flows a pod is there as long as --pods,
--api or an endpoint of this node names it. What a file of --pods lists is there for good, since it is read once; --api, and
a FIFO of a watch, tell of pods that go. Of saved lines nobody tells, and no series ends.

A header of more than 16 KiB, one that takes more than five seconds, and a connection of more than thirty are given up. Of
more than 64 connections the oldest goes. A text is given out again for ten times as long as it took to make, so that
whoever asks again and again takes at most a tenth of the time.

A dashboard for Grafana, chainkit.json, is in the source's folder bins/flowdump/grafana. It has bytes by workload where
--metrics asks for them so:

    flowdump metrics --api --metrics flow --metrics drop --metrics tcp --metrics dns --metrics httpV2 --metrics 'chainkit:sourceContext=workload;destinationContext=workload'";
