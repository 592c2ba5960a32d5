//! What the man page says of `--l7`.

/// What is decoded, from what, and what is not told.
pub(super) const TEXT: &str = "\
With --l7 the kernel copies what connections carry, and requests and responses are told as flows of their own, on any port: what
is spoken is recognised by what is said, and no proxy is in the way. A message is told where it is seen: of two pods of this node
at both. What is not recognised, such as what TLS encrypts, is not copied any more.

HTTP/1.0, HTTP/1.1
  Requests and responses, kept-alive and pipelined, with the length of their bodies.

HTTP/2, gRPC
  The same by stream, from its preface or after an upgrade (h2c); of gRPC service, method, status and message.

DNS
  Over UDP and TCP: question, answers, response code. From an answer on, flows between the pod that asked and the addresses in it bear
  the name in source_names and destination_names, for an hour at least.

TLS, QUIC
  The ClientHello: name of the server, ALPN, version, whether it bears an encrypted one. Of QUIC versions 1 and 2.

A message is told at the end of its body, or by its head where that goes on for more than two seconds, as with a watch. Responses tell the
time since their request. Bodies are counted and not looked at; of a long one the kernel is told to copy no more
until its end. Credentials are masked (Authorization, Proxy-Authorization, Cookie, Set-Cookie and the like, users and passwords in
URLs, values in queries) unless --show-secrets is given.

What could not be seen makes messages partial, and never wrong: where the buffer was full (which is also told as lost events; --buffer
makes it larger), where a connection was under way before, where it carried more than 64 KiB in a direction before this program had
recognised it, and where --l7-memory was used up, which is told on stderr. Of HTTP/2 that is met on its way, the table by which
headers are compressed is not known, and headers that lean on it are left out.

The filters of --http-status, --http-method, --http-path, --http-url, --http-header, --dns-query, --sni and --latency choose among
these messages. A filter by port, address or pod chooses among them as among packets, by who sends: --to-port 80 shows requests, --port
80 responses too.";
