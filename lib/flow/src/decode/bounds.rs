//! How much of a message a line tells: what a peer says may be long, and a line with the labels of both ends stays under 64 KiB.

use crate::layer7::{L7Extra, Layer7};
use crate::resolve::json_bytes;
use crate::text::beginning;

/// Bytes as JSON of a URL, and of each list of a DNS answer: they stand in the summary once more.
const MOST_TWICE: usize = 2 * 1024;
/// Of all headers.
const MOST_HEADERS: usize = 8 * 1024;
/// Of a header's value.
const MOST_VALUE: usize = 1024;
/// Of a name or a word.
const MOST_WORD: usize = 512;

/// Cuts what is too long, which then ends with `…`, and leaves out what is too much; of headers it is told how many.
pub(super) fn bound(layer7: &mut Layer7, extra: &mut L7Extra) {
    if let Some(http) = &mut layer7.http {
        cut(&mut http.method, MOST_WORD);
        cut(&mut http.url, MOST_TWICE);
        let mut left = MOST_HEADERS;
        let all = http.headers.len();
        http.headers.retain_mut(|header| {
            cut(&mut header.key, MOST_WORD);
            cut(&mut header.value, MOST_VALUE);
            // With {"key":,"value":} around them.
            let bytes = json_bytes(&header.key) + json_bytes(&header.value) + 18;
            let fits = bytes <= left;
            left = if fits { left - bytes } else { 0 };
            fits
        });
        extra.headers_left_out = u32::try_from(all - http.headers.len()).unwrap_or(u32::MAX);
    }
    if let Some(dns) = &mut layer7.dns {
        cut(&mut dns.query, MOST_TWICE);
        for list in [&mut dns.ips, &mut dns.cnames, &mut dns.qtypes, &mut dns.rrtypes] {
            shorten(list, MOST_TWICE);
        }
    }
    if let Some(grpc) = &mut extra.grpc {
        for text in [&mut grpc.service, &mut grpc.method, &mut grpc.message] {
            cut(text, MOST_WORD);
        }
    }
    if let Some(tls) = &mut extra.tls {
        cut(&mut tls.sni, MOST_WORD);
        shorten(&mut tls.alpn, MOST_WORD);
    }
}

/// Cuts a text to so many bytes as JSON.
fn cut(text: &mut String, most: usize) {
    const MARK: char = '…';
    // No byte takes more than six; so short a text, as nearly all are, is not looked at.
    if text.len() * 6 <= most || json_bytes(text) <= most {
        return;
    }
    let mut end = most.saturating_sub(MARK.len_utf8());
    while end > 0 && json_bytes(beginning(text, end)) + MARK.len_utf8() > most {
        end /= 2;
    }
    let kept = beginning(text, end).len();
    text.truncate(kept);
    text.push(MARK);
}

/// Leaves out what of a list goes beyond so many bytes as JSON.
fn shorten(list: &mut Vec<String>, most: usize) {
    let mut bytes = 0;
    let fits = list.iter().take_while(|text| {
        bytes += json_bytes(text);
        bytes <= most
    });
    let count = fits.count();
    list.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer7::{Dns, Grpc, Http, HttpHeader, Tls};

    #[test]
    fn what_is_short_stays_as_it_is() {
        let header = HttpHeader { key: "Accept".into(), value: "\"x\"".into() };
        let http = Http { url: "http://a/".into(), headers: vec![header; 20], ..Http::default() };
        let mut layer7 = Layer7 { http: Some(http), ..Layer7::default() };
        let before = layer7.clone();
        let mut extra = L7Extra::default();
        bound(&mut layer7, &mut extra);
        assert_eq!((layer7, extra), (before, L7Extra::default()));
    }

    #[test]
    fn whatever_a_peer_says_takes_a_bounded_part_of_a_line() {
        for text in ["x", "\u{1}", "\"", "é", "\u{1f600}"] {
            let long = text.repeat(70_000);
            let header = HttpHeader { key: long.clone(), value: long.clone() };
            let mut layer7 = Layer7 {
                http: Some(Http {
                    url: long.clone(),
                    method: long.clone(),
                    headers: vec![header; 512],
                    ..Http::default()
                }),
                dns: Some(Dns {
                    query: long.clone(),
                    ips: vec!["2001:db8::1".to_owned(); 1000],
                    cnames: vec![long.clone(); 10],
                    qtypes: vec!["A".into(); 1000],
                    rrtypes: vec!["A".into(); 1000],
                    ..Dns::default()
                }),
                ..Layer7::default()
            };
            let mut extra = L7Extra {
                grpc: Some(Grpc {
                    service: long.clone(),
                    method: long.clone(),
                    message: long.clone(),
                    ..Grpc::default()
                }),
                tls: Some(Tls { sni: long.clone(), alpn: vec!["h2".into(); 1000], ..Tls::default() }),
                ..L7Extra::default()
            };
            bound(&mut layer7, &mut extra);
            let bytes = serde_json::to_string(&(layer7.http.as_ref(), extra.grpc.as_ref())).unwrap().len();
            assert!((4_000..13 * 1024).contains(&bytes), "{text}: {bytes}");
            assert!(serde_json::to_string(&layer7.dns).unwrap().len() < 11 * 1024, "{text}");
            assert!(serde_json::to_string(&extra.tls).unwrap().len() < 2 * 1024, "{text}");
            assert!(extra.headers_left_out > 400);
            assert!(layer7.http.unwrap().url.ends_with('…'));
        }
    }
}
