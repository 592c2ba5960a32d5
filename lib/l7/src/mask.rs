//! What must not be shown: credentials, cookies, and values of query parameters.

/// What stands for what is masked.
pub const MASK: &str = "*****";

/// Headers whose value is a secret. What contains one of [`SECRET_PARTS`] is one too.
const SECRET_HEADERS: [&str; 4] = ["x-amz-credential", "x-forwarded-client-cert", "www-authenticate-response", "dpop"];

/// Parts of names of headers whose value is a secret, in lower case.
const SECRET_PARTS: [&str; 12] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "api-key",
    "apikey",
    "credential",
    "session",
    "signature",
    "auth-key",
];

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
        if value.contains(['?', '#']) || value.contains("://") { self.url(value) } else { value.to_owned() }
    }

    /// A URL or the target of a request, as it may be shown: names of query parameters stay, their values, user and password
    /// of the authority and the fragment do not.
    #[must_use]
    pub fn url(self, url: &str) -> String {
        if self.show_secrets || !url.contains(['?', '@', '#']) {
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
    SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
        || SECRET_PARTS.iter().any(|part| contains_ignore_case(name.as_bytes(), part.as_bytes()))
}

fn contains_ignore_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
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
