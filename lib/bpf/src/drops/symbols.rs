//! The kernel's functions by their addresses.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

/// No function of the kernel is longer: what lies further behind one is of a module that was not there yet.
const LONGEST: u64 = 1 << 16;
/// Read again at most so often, since modules come seldom.
const AGAIN: Duration = Duration::from_secs(60);
/// At most so many functions; a kernel with all its modules has a third of it.
const MOST: usize = 1 << 20;

/// Functions, sorted by address; their names lie one after the other.
#[derive(Debug)]
pub(super) struct Symbols {
    functions: Vec<(u64, u32)>,
    names: String,
    read_at: Instant,
}

impl Symbols {
    /// Those of `/proc/kallsyms`; none where this process may not know addresses (`kernel.kptr_restrict`, `CAP_SYSLOG`).
    pub(super) fn read() -> Self {
        let mut symbols = Self { functions: Vec::new(), names: String::new(), read_at: Instant::now() };
        if let Ok(file) = File::open("/proc/kallsyms") {
            symbols.take(BufReader::new(file));
        }
        symbols
    }

    fn take(&mut self, lines: impl BufRead) {
        for line in lines.lines() {
            let Ok(line) = line else { break };
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") || self.functions.len() >= MOST {
                continue;
            }
            let Ok(place) = u32::try_from(self.names.len()) else { break };
            self.names.push_str(name);
            self.names.push('\n');
            self.functions.push((address, place));
        }
        self.functions.sort_unstable();
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The function that an address lies in.
    pub(super) fn name(&mut self, address: u64) -> Option<&str> {
        if self.place(address).is_none() && !self.is_empty() && self.read_at.elapsed() > AGAIN {
            *self = Self::read();
        }
        let rest = self.names.get(usize::try_from(self.place(address)?).ok()?..)?;
        rest.split('\n').next()
    }

    fn place(&self, address: u64) -> Option<u32> {
        let behind = self.functions.partition_point(|(start, _)| *start <= address);
        let (start, place) = *self.functions.get(behind.checked_sub(1)?)?;
        (address - start < LONGEST).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(text: &str) -> Symbols {
        let mut symbols = Symbols { functions: Vec::new(), names: String::new(), read_at: Instant::now() };
        symbols.take(text.as_bytes());
        symbols
    }

    #[test]
    fn an_address_is_of_the_function_that_it_lies_in() {
        let mut found = symbols(
            "ffffffff81002000 t later\nffffffff81000000 T first\nffffffff81001000 D data\n\
             ffffffffc0000000 t of_module\t[veth]\nnonsense\n",
        );
        assert_eq!(found.name(0xffff_ffff_8100_0000), Some("first"));
        assert_eq!(found.name(0xffff_ffff_8100_1fff), Some("first"));
        assert_eq!(found.name(0xffff_ffff_8100_2abc), Some("later"));
        assert_eq!(found.name(0xffff_ffff_c000_0010), Some("of_module"));
        assert_eq!(found.name(0xffff_ffff_8200_2abc), None);
        assert_eq!(found.name(1), None);
    }

    #[test]
    fn addresses_that_are_kept_back_name_nothing() {
        assert!(symbols("0000000000000000 T first\n0000000000000000 T second\n").is_empty());
    }
}
