//! Header blocks of HTTP/2 (HPACK, RFC 7541), also where a part of them was not seen.
//!
//! Indexes of the dynamic table count from its newest entry. So after a gap what was inserted since is known, what is
//! older is not, and a field that refers to it is told as unknown.

use std::collections::VecDeque;

use httlib_huffman::{DecoderSpeed, decode as huffman};

/// What a table holds unless the encoder says otherwise (RFC 9113, section 6.5.2).
const DEFAULT_SIZE: usize = 4096;
/// What is kept of a larger table.
const MAX_SIZE: usize = 64 * 1024;
/// What an entry counts beyond its bytes (RFC 7541, section 4.1).
const ENTRY: usize = 32;
/// Where the size of the peer's table is not known: an entry larger than that may not have found room in it.
const SURELY_FITS: usize = 512;
/// Bytes of all fields of one block that are told.
const MAX_FIELDS: usize = 128 * 1024;

/// The static table (RFC 7541, appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A field; what of it is not known is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Option<String>,
    pub(crate) value: Option<String>,
}

impl Field {
    const UNKNOWN: Self = Self { name: None, value: None };

    fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        length(&self.name).saturating_add(length(&self.value)).saturating_add(ENTRY)
    }
}

/// What a block says.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) fields: Vec<Field>,
    /// Some are not known, or not told.
    pub(crate) is_partial: bool,
}

/// It is no header block, or one that contradicts what was before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad;

/// The table of one direction.
#[derive(Debug)]
pub(crate) struct Table {
    /// Newest first.
    entries: VecDeque<Field>,
    size: usize,
    max: usize,
    /// All that was ever inserted was seen.
    is_whole: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, max: DEFAULT_SIZE, is_whole: true }
    }
}

impl Table {
    /// Blocks were missed.
    pub(crate) fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.is_whole = false;
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.size.saturating_add(self.entries.len().saturating_mul(size_of::<Field>()))
    }

    /// Reads a whole block.
    pub(crate) fn read(&mut self, block: &[u8]) -> Result<Fields, Bad> {
        let mut block = Block(block);
        let mut all = Fields::default();
        let mut told = 0usize;
        while let Some(first) = block.0.first().copied() {
            let field = if first & 0x80 != 0 {
                self.get(block.integer(7)?)?
            } else if first & 0xc0 == 0x40 {
                let field = self.literal(&mut block, 6)?;
                self.insert(field.clone());
                field
            } else if first & 0xe0 == 0x20 {
                self.resize(block.integer(5)?);
                continue;
            } else {
                self.literal(&mut block, 4)?
            };
            told = told.saturating_add(field.size());
            all.is_partial |= field.name.is_none() || field.value.is_none() || told > MAX_FIELDS;
            if told <= MAX_FIELDS {
                all.fields.push(field);
            }
        }
        Ok(all)
    }

    fn get(&self, index: usize) -> Result<Field, Bad> {
        let at = index.checked_sub(1).ok_or(Bad)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok(Field { name: Some((*name).to_owned()), value: Some((*value).to_owned()) });
        }
        match self.entries.get(at.saturating_sub(STATIC.len())) {
            Some(field) => Ok(field.clone()),
            None if self.is_whole => Err(Bad),
            None => Ok(Field::UNKNOWN),
        }
    }

    fn literal(&self, block: &mut Block<'_>, prefix: u32) -> Result<Field, Bad> {
        let name = match block.integer(prefix)? {
            0 => Some(block.string()?),
            index => self.get(index)?.name,
        };
        Ok(Field { name, value: Some(block.string()?) })
    }

    /// RFC 7541, section 4.4.
    fn insert(&mut self, field: Field) {
        let size = field.size();
        if !self.is_whole && (size > SURELY_FITS || field.name.is_none()) {
            // Either it is the newest now, or nothing is left: what is older is not to be counted on.
            self.forget();
        }
        while self.size.saturating_add(size) > self.max && self.evict() {}
        if size <= self.max {
            self.size = self.size.saturating_add(size);
            self.entries.push_front(field);
        }
    }

    fn evict(&mut self) -> bool {
        let oldest = self.entries.pop_back();
        self.size = self.size.saturating_sub(oldest.as_ref().map_or(0, Field::size));
        oldest.is_some()
    }

    /// RFC 7541, section 4.3.
    fn resize(&mut self, max: usize) {
        self.max = max.min(MAX_SIZE);
        // What is kept is less than what may be referred to.
        self.is_whole &= max <= MAX_SIZE;
        while self.size > self.max && self.evict() {}
    }
}

struct Block<'a>(&'a [u8]);

impl<'a> Block<'a> {
    /// RFC 7541, section 5.1; as a length or an index none is above 2^28.
    fn integer(&mut self, prefix: u32) -> Result<usize, Bad> {
        let (first, mut rest) = self.0.split_first().ok_or(Bad)?;
        let mask = (1usize << prefix).saturating_sub(1);
        let mut value = usize::from(*first) & mask;
        if value == mask {
            for shift in [0u32, 7, 14, 21] {
                let (byte, after) = rest.split_first().ok_or(Bad)?;
                rest = after;
                value = value.saturating_add((usize::from(*byte) & 0x7f) << shift);
                if byte & 0x80 == 0 {
                    self.0 = rest;
                    return Ok(value);
                }
            }
            return Err(Bad);
        }
        self.0 = rest;
        Ok(value)
    }

    /// RFC 7541, section 5.2.
    fn string(&mut self) -> Result<String, Bad> {
        let is_huffman = self.0.first().ok_or(Bad)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest): (&'a [u8], _) = self.0.split_at_checked(length).ok_or(Bad)?;
        self.0 = rest;
        if !is_huffman {
            return Ok(String::from_utf8_lossy(bytes).into_owned());
        }
        let mut decoded = Vec::new();
        huffman(bytes, &mut decoded, DecoderSpeed::FourBits).map_err(|_| Bad)?;
        Ok(String::from_utf8_lossy(&decoded).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn lines(table: &mut Table, hex: &str) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let fields = table.read(&bytes(hex)).unwrap().fields;
        fields.iter().map(|field| format!("{}: {}", text(&field.name), text(&field.value))).collect()
    }

    /// RFC 7541, appendix C.4.
    const REQUESTS: [&str; 3] = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];

    #[test]
    fn requests_of_the_rfc_are_read() {
        let mut table = Table::default();
        let first = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
        assert_eq!(lines(&mut table, REQUESTS[0]), first);
        assert_eq!(table.size, 57);
        assert_eq!(lines(&mut table, REQUESTS[1]), [&first[..], &["cache-control: no-cache"]].concat());
        assert_eq!(
            lines(&mut table, REQUESTS[2]),
            [":method: GET", ":scheme: https", ":path: /index.html", first[3], "custom-key: custom-value"]
        );
        assert_eq!(table.size, 164);
    }

    #[test]
    fn responses_of_the_rfc_are_read_while_entries_are_evicted() {
        // RFC 7541, appendix C.6.
        let mut table = Table { max: 256, ..Table::default() };
        let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e
            919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
        assert_eq!(
            lines(&mut table, first),
            [
                ":status: 302",
                "cache-control: private",
                "date: Mon, 21 Oct 2013 20:13:21 GMT",
                "location: https://www.example.com"
            ]
        );
        assert_eq!(table.size, 222);
        assert_eq!(lines(&mut table, "4883 640e ffc1 c0bf")[0], ":status: 307");
        assert_eq!(table.size, 222);
        let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7
            821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed
            4ee5 b106 3d50 07";
        let third = lines(&mut table, third);
        assert_eq!(
            third[1..4],
            ["cache-control: private", "date: Mon, 21 Oct 2013 20:13:22 GMT", "location: https://www.example.com"]
        );
        assert_eq!(third[5], "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
        assert_eq!(table.size, 215);
    }

    #[test]
    fn after_a_gap_what_is_older_is_unknown_and_what_is_newer_is_not() {
        let mut table = Table::default();
        table.forget();
        assert_eq!(
            lines(&mut table, REQUESTS[1]),
            [":method: GET", ":scheme: http", ":path: /", "?: ?", "cache-control: no-cache"]
        );
        assert_eq!(lines(&mut table, "be bf"), ["cache-control: no-cache", "?: ?"]);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for bad in ["80", "be", "ff ff ff ff ff ff", "40", "40 05 61", "41"] {
            assert_eq!(Table::default().read(&bytes(bad)).err(), Some(Bad), "{bad}");
        }
    }

    #[test]
    fn a_small_block_does_not_become_a_large_list() {
        let mut table = Table::default();
        let mut block = bytes("40 01 61 7f 81 1e");
        block.extend([b'x'; 3968]);
        block.extend([0xbe; 10_000]);
        let fields = table.read(&block).unwrap();
        assert!(fields.is_partial && fields.fields.len() < 40);
    }
}
