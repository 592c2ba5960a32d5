//! What the man page says of `--drops`.

/// What is told, of whom, and what is not.
pub(super) const TEXT: &str = "\
Policy is one reason of many for which a packet does not arrive. With --drops the packets of pods that the kernel drops are told as flows
of their own, whoever has it do so: netfilter and other programs, routing, checksums, full buffers and queues, ports on which nobody
listens. It looks at this node's network namespace and at those of the pods that other flows are told of; there every packet to or from an
address of such a pod is told. What our own policy denies is told as a denial, and not again.

A flow has the verdict DROPPED and the type drop, and value.event is kernel_drop. value.drop says why in the kernel's own words
(NETFILTER_DROP, NO_SOCKET, SOCKET_RCVBUFF, TCP_CSUM, ...) and in which of its functions; drop_reason_desc is the reason that Hubble
has for it, where it has one, else DROP_REASON_UNKNOWN. The direction is that of the packet at the pod next to which it was dropped,
and is_reply is left out, since nobody knows. The compact form says, for one:

    shop/web:41234 -> shop/db:7777 NETFILTER_DROP in nft_do_chain DROPPED (UDP)

Of the same packets (ends, ports, reason, function) the first is told at once, and the others once a second, counted in value.count.
Not told, without --drops=all, are reasons by which nobody misses anything: a packet for another host or filtered out by a packet socket, bytes
that were there already, a queue that is emptied with its socket; and TCP segments without payload, and ICMPv6, for which the kernel gives no
reason.

Names of reasons differ between kernels. Linux 5.17 is the first to tell any, and few before 5.19: on older ones the reason is unknown.
It takes CAP_PERFMON beside CAP_BPF; and for functions CAP_SYSLOG, for pods' namespaces CAP_SYS_ADMIN and CAP_SYS_PTRACE.
Packets that are dropped before they are one (in a network card, or by XDP) have no reason here. A tunnel's packet is told by its outer header
until it is unpacked. In one that waits in a socket's queue no interface can be told.

What netfilter drops, by function and port, counted:

    flowdump --drops -j --verdict DROPPED | jq -c 'select(.flow.extensions.value.drop.reason == \"NETFILTER_DROP\") | .flow | [.source.pod_name, .destination.pod_name, .l4, .extensions.value.count]'

In a map they are errors of their edge, in metrics hubble_drop_total with the kernel's reason where Hubble has none:

    flowdump metrics --drops --metrics drop";
