//! Flows folded into one.

pub(super) const TEXT: &str = "\
--aggregate-by folds flows with equal values of the named fields into one line each, shown when they end; with --interval each
such while by itself, live by the clock, with -r by the flows' own time, as flowdump top does it. All filters and outputs
apply; compact, dict and table are the same table.

    flowdump -r flows.jsonl --aggregate-by source_pod,destination_pod,verdict
    flowdump -r flows.jsonl --aggregate-by server_workload,drop_reason --verdict DROPPED -j | jq -c .by

Of ends there are pod, namespace, workload, service, name (of DNS), ip, port and identity, each after source_, destination_,
client_ or server_: client is who opened the connection, so that requests and replies fall together. Besides there are protocol,
verdict, drop_reason, direction, is_reply, node, policy (who denied, else who allowed), event, l7, l7_type, http_method,
http_code, dns_query and dns_rcode.

A connection's bytes count once, also where both ends are observed, in the group of the flow that told them first. Live, those that it had
carried before do not count, unless --last or --since asks for the past. Groups beyond --max-groups are one line, with
others.

With -o jsonl a group is an object of these: kind (Aggregate), time and seconds (with --interval: the end of the while, and how
long it was), by (the fields; null where a flow does not tell), flows, bytes, bytes_to (the server), bytes_from, packets and
connections (null where no line tells), denied, would_deny, requests, errors, resets, p50_ms, p99_ms, latency_at, first,
last, and others (true).";
