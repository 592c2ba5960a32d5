//! A ClientHello, and its parts (RFC 8446, section 4.1.2).

pub fn with_length16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

pub fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length16(content)].concat()
}

pub fn server_name(name: &str) -> Vec<u8> {
    extension(0, &with_length16(&[&[0], &with_length16(name.as_bytes())[..]].concat()))
}

pub fn alpn(names: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|name| [&[name.len() as u8], *name].concat()).collect();
    extension(16, &with_length16(&list))
}

/// A handshake message.
pub fn client_hello(extensions: &[u8]) -> Vec<u8> {
    let random = [7; 32];
    let body = [&[3, 3], &random[..], &[0], &[0, 2, 0x13, 1], &[1, 0], &with_length16(extensions)].concat();
    [&[1], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

/// As clients of today send it: with a key that takes it over a kilobyte, and with things that servers pass over.
pub fn modern() -> Vec<u8> {
    let versions = extension(43, &[6, 0x7a, 0x7a, 3, 4, 3, 3]);
    let key_share = extension(51, &[9; 1200]);
    let alpn = alpn(&[&[0x1a, 0x1a], b"h2", b"http/1.1"]);
    client_hello(&[server_name("cart.example"), versions, key_share, alpn, extension(0xfe0d, &[0; 40])].concat())
}
