//! What must not be shown: credentials, cookies, and values of query parameters.

/// What stands for what is masked.
pub const MASK: &str = "*****";

/// Headers whose value is a secret. What contains one of [`SECRET_PARTS`] is one too.
const SECRET_HEADERS: [&str; 4] = ["x-amz-credential", "x-forwarded-client-cert", "www-authenticate-response", "dpop"];

/// Parts of names of headers whose value is a secret, by their first letter, in lower case.
const SECRET_PARTS: [(u8, &[&str]); 5] = [
    (b'a', &["authorization", "api-key", "apikey", "auth-key"]),
    (b'c', &["cookie", "credential"]),
    (b'p', &["password", "passwd"]),
    (b's', &["secret", "session", "signature"]),
    (b't', &["token"]),
];

/// Length of the shortest of them.
const SHORTEST_PART: usize = 5;

/// Masks what of a message is secret, or leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masker {
    /// Leave all as it is.
    pub show_secrets: bool,
}

impl Masker {
    /// The value of a header, as it may be shown.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> String {
        if self.show_secrets || value.is_empty() {
            return value.to_owned();
        }
        if is_secret(name) {
            return MASK.to_owned();
        }
        // Location, Referer, Link and the many that proxies add: what bears a URL is masked as one.
        if may_be_url(value.as_bytes()) { self.url(value) } else { value.to_owned() }
    }

    /// A URL or the target of a request, as it may be shown: names of query parameters stay, their values, user and password
    /// of the authority and the fragment do not.
    #[must_use]
    pub fn url(self, url: &str) -> String {
        if self.leaves(url) {
            return url.to_owned();
        }
        let (rest, fragment) = url.split_once('#').map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
        let (address, query) = rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
        let mut masked = String::with_capacity(url.len());
        mask_user(address, &mut masked);
        if let Some(query) = query {
            masked.push('?');
            for (n, parameter) in query.split('&').enumerate() {
                if n > 0 {
                    masked.push('&');
                }
                match parameter.split_once('=') {
                    Some((name, "")) => masked.extend([name, "="]),
                    Some((name, _)) => masked.extend([name, "=", MASK]),
                    None => masked.push_str(parameter),
                }
            }
        }
        if let Some(fragment) = fragment {
            masked.push('#');
            masked.push_str(if fragment.is_empty() { "" } else { MASK });
        }
        masked
    }

    /// The same, of one that is not needed as it is.
    pub(crate) fn own_url(self, url: String) -> String {
        if self.leaves(&url) { url } else { self.url(&url) }
    }

    fn leaves(self, url: &str) -> bool {
        self.show_secrets || memchr::memchr3(b'?', b'@', b'#', url.as_bytes()).is_none()
    }
}

/// Masks each `user:password@` after a `//`. What a lone authority has (`user@host`, as of CONNECT) is masked too.
fn mask_user(address: &str, masked: &mut String) {
    let mut rest = address;
    let mut is_authority = !address.starts_with('/');
    while !rest.is_empty() {
        let (part, after) = match rest.find("//") {
            Some(at) => rest.split_at(at.saturating_add(2)),
            None => (rest, ""),
        };
        let (authority, path) = part.split_at(part.find('/').unwrap_or(part.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) if is_authority => masked.extend([MASK, "@", host]),
            _ => masked.push_str(authority),
        }
        masked.push_str(path);
        is_authority = true;
        rest = after;
    }
}

fn is_secret(name: &str) -> bool {
    // Each header of each message comes here: most letters are left at a glance.
    let name_bytes = name.as_bytes();
    let has_part = name_bytes.windows(SHORTEST_PART).enumerate().any(|(at, window)| {
        let letter = window.first().map_or(0, u8::to_ascii_lowercase);
        let parts = SECRET_PARTS.iter().find(|(first, _)| *first == letter).map_or(&[][..], |(_, parts)| parts);
        let rest = name_bytes.get(at..).unwrap_or_default();
        parts.iter().any(|part| rest.get(..part.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(part.as_bytes())))
    });
    has_part || SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Whether a value may bear a URL with something to mask.
fn may_be_url(value: &[u8]) -> bool {
    memchr::memchr2(b'?', b'#', value).is_some()
        || memchr::memchr_iter(b':', value).any(|at| value.get(at..).is_some_and(|rest| rest.starts_with(b"://")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKER: Masker = Masker { show_secrets: false };

    #[test]
    fn credentials_are_masked_whatever_the_case_of_their_name() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "COOKIE",
            "Set-Cookie",
            "X-Api-Key",
            "x-auth-token",
            "X-Amz-Security-Token",
            "X-Vault-Token",
            "Api-Key",
            "apikey",
            "X-Client-Secret",
            "X-CSRF-Token",
            "X-Forwarded-Client-Cert",
        ] {
            assert_eq!(MASKER.header(name, "Bearer abc"), MASK, "{name}");
            assert_eq!(Masker { show_secrets: true }.header(name, "Bearer abc"), "Bearer abc");
        }
        for name in ["Host", "Accept", "Content-Type", "Server", "User-Agent", "X-Request-Id"] {
            assert_eq!(MASKER.header(name, "text/html;q=0.9"), "text/html;q=0.9", "{name}");
        }
    }

    #[test]
    fn a_part_makes_a_name_a_secret_wherever_it_is() {
        for (first, parts) in SECRET_PARTS {
            for part in parts {
                assert!(part.as_bytes()[0] == first && part.len() >= SHORTEST_PART, "{part}");
                for name in [(*part).to_owned(), format!("X-{part}-Y").to_ascii_uppercase(), format!("aa{part}")] {
                    assert_eq!(MASKER.header(&name, "x"), MASK, "{name}");
                }
            }
        }
    }

    #[test]
    fn values_users_and_fragments_are_masked_in_urls() {
        for (url, masked) in [
            ("/items", "/items"),
            ("/items?", "/items?"),
            ("/items?id=7&token=abc", "/items?id=*****&token=*****"),
            ("/items?id=&flag&x=a=b", "/items?id=&flag&x=*****"),
            ("http://bob:pw@cart/x?a=1", "http://*****@cart/x?a=*****"),
            ("http://bob@cart", "http://*****@cart"),
            ("https://a:b@c@cart:8443", "https://*****@cart:8443"),
            ("bob:pw@cart:443", "*****@cart:443"),
            ("/mail/bob@example.org", "/mail/bob@example.org"),
            ("/to?next=http://bob:pw@cart/", "/to?next=*****"),
            ("/proxy/http://bob:pw@cart/", "/proxy/http://*****@cart/"),
            ("https://app/#access_token=abc", "https://app/#*****"),
        ] {
            assert_eq!(MASKER.url(url), masked);
            assert_eq!(Masker { show_secrets: true }.url(url), url);
        }
    }

    #[test]
    fn a_url_in_a_header_is_masked_as_one() {
        assert_eq!(MASKER.header("Location", "https://id/cb?code=s3cret"), "https://id/cb?code=*****");
        assert_eq!(MASKER.header("Referer", "http://bob:pw@cart/"), "http://*****@cart/");
        assert_eq!(MASKER.header("X-Envoy-Original-Path", "/a?key=1"), "/a?key=*****");
    }
}
