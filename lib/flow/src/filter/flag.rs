//! The flags that filter, and which of them exclude each other.

/// Names each flag once.
macro_rules! flags {
    ($($(#[$doc:meta])* $flag:ident $name:literal,)*) => {
        /// A flag that filters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FilterFlag {
            $($(#[$doc])* $flag,)*
        }

        impl FilterFlag {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$flag),*];

            /// Its name, without the dashes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$flag => $name,)* }
            }
        }
    };
}

flags! {
    /// `--pod`
    Pod "pod",
    /// `--from-pod`
    FromPod "from-pod",
    /// `--to-pod`
    ToPod "to-pod",
    /// `--namespace`
    Namespace "namespace",
    /// `--from-namespace`
    FromNamespace "from-namespace",
    /// `--to-namespace`
    ToNamespace "to-namespace",
    /// `--all-namespaces`; its value does not matter
    AllNamespaces "all-namespaces",
    /// `--from-all-namespaces`; its value does not matter
    FromAllNamespaces "from-all-namespaces",
    /// `--to-all-namespaces`; its value does not matter
    ToAllNamespaces "to-all-namespaces",
    /// `--service`
    Service "service",
    /// `--from-service`
    FromService "from-service",
    /// `--to-service`
    ToService "to-service",
    /// `--workload`
    Workload "workload",
    /// `--from-workload`
    FromWorkload "from-workload",
    /// `--to-workload`
    ToWorkload "to-workload",
    /// `--label`
    Label "label",
    /// `--from-label`
    FromLabel "from-label",
    /// `--to-label`
    ToLabel "to-label",
    /// `--identity`
    Identity "identity",
    /// `--from-identity`
    FromIdentity "from-identity",
    /// `--to-identity`
    ToIdentity "to-identity",
    /// `--cluster`
    Cluster "cluster",
    /// `--from-cluster`
    FromCluster "from-cluster",
    /// `--to-cluster`
    ToCluster "to-cluster",
    /// `--ip`
    Ip "ip",
    /// `--from-ip`
    FromIp "from-ip",
    /// `--to-ip`
    ToIp "to-ip",
    /// `--snat-ip`
    SnatIp "snat-ip",
    /// `--fqdn`
    Fqdn "fqdn",
    /// `--from-fqdn`
    FromFqdn "from-fqdn",
    /// `--to-fqdn`
    ToFqdn "to-fqdn",
    /// `--port`
    Port "port",
    /// `--from-port`
    FromPort "from-port",
    /// `--to-port`
    ToPort "to-port",
    /// `--protocol`
    Protocol "protocol",
    /// `--tcp-flags`
    TcpFlags "tcp-flags",
    /// `--ip-version`, `-4`, `-6`
    IpVersion "ip-version",
    /// `--encrypted`; its value does not matter
    Encrypted "encrypted",
    /// `--unencrypted`; its value does not matter
    Unencrypted "unencrypted",
    /// `--type`
    Type "type",
    /// `--verdict`
    Verdict "verdict",
    /// `--drop-reason-desc`
    DropReason "drop-reason-desc",
    /// `--policy`
    Policy "policy",
    /// `--traffic-direction`
    TrafficDirection "traffic-direction",
    /// `--reply`: `true` or `false`
    Reply "reply",
    /// `--interface`
    Interface "interface",
    /// `--node-name`
    NodeName "node-name",
    /// `--node-label`
    NodeLabel "node-label",
    /// `--uuid`
    Uuid "uuid",
    /// `--trace-id`
    TraceId "trace-id",
    /// `--ip-trace-id`
    IpTraceId "ip-trace-id",
    /// `--http-status`
    HttpStatus "http-status",
    /// `--http-method`
    HttpMethod "http-method",
    /// `--http-path`
    HttpPath "http-path",
    /// `--http-url`
    HttpUrl "http-url",
    /// `--http-header`
    HttpHeader "http-header",
    /// `--dns-query`
    DnsQuery "dns-query",
    /// `--sni`
    Sni "sni",
    /// `--latency`
    Latency "latency",
    /// `--min-bytes`
    MinBytes "min-bytes",
    /// `--cel-expression`
    CelExpression "cel-expression",
}

use FilterFlag as F;

/// Flags of which not both can be given: a bare one asks for either end, and would be one thing at one end and two at
/// the other. As Hubble has them.
const CONFLICTS: &[(F, &[F])] = &[
    (F::Pod, &[F::FromPod, F::ToPod]),
    (
        F::Namespace,
        &[
            F::FromNamespace,
            F::ToNamespace,
            F::AllNamespaces,
            F::FromAllNamespaces,
            F::ToAllNamespaces,
            F::FromPod,
            F::ToPod,
            F::FromService,
            F::ToService,
        ],
    ),
    (
        F::AllNamespaces,
        &[
            F::FromNamespace,
            F::ToNamespace,
            F::FromAllNamespaces,
            F::ToAllNamespaces,
            F::FromPod,
            F::ToPod,
            F::FromService,
            F::ToService,
        ],
    ),
    (F::FromAllNamespaces, &[F::FromNamespace]),
    (F::ToAllNamespaces, &[F::ToNamespace]),
    (F::Service, &[F::FromService, F::ToService]),
    (F::Workload, &[F::FromWorkload, F::ToWorkload]),
    (F::Label, &[F::FromLabel, F::ToLabel]),
    (F::Identity, &[F::FromIdentity, F::ToIdentity]),
    (F::Cluster, &[F::FromCluster, F::ToCluster]),
    (F::Ip, &[F::FromIp, F::ToIp]),
    (F::Fqdn, &[F::FromFqdn, F::ToFqdn]),
    (F::Port, &[F::FromPort, F::ToPort]),
];

/// Whether two flags cannot both be given.
pub(super) fn exclude_each_other(one: FilterFlag, other: FilterFlag) -> bool {
    let excludes = |a: F, b: F| CONFLICTS.iter().any(|(bare, others)| *bare == a && others.contains(&b));
    excludes(one, other) || excludes(other, one)
}
