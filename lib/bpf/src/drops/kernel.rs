//! What the running kernel's BTF says of its structs and drop reasons (`Documentation/bpf/btf.rst`, sections 2.1 and 2.2).

use std::{collections::HashMap, fs, ops::Range};

use chainkit_abi::DropLayout;

use crate::error::{Context, Error, Result};

/// Where the kernel tells.
const PLACE: &str = "/sys/kernel/btf/vmlinux";
/// What stands before the names of reasons.
const PREFIX: &str = "SKB_DROP_REASON_";
/// The bits of a reason above these name its subsystem (`SKB_DROP_REASON_SUBSYS_SHIFT`, Linux 6.4).
const SUBSYSTEM_SHIFT: u32 = 16;

/// Where members lie in this kernel, and what it calls its reasons.
#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    pub(super) layout: DropLayout,
    reasons: HashMap<u32, String>,
    subsystems: HashMap<u32, String>,
}

impl Kernel {
    /// Asks the running kernel.
    pub(super) fn running() -> Result<Self> {
        let data = fs::read(PLACE).during(|| format!("read {PLACE}, which tells of the kernel's structs"))?;
        Self::of(&data)
            .map_err(|what| Error::Unsupported(format!("{PLACE}: {what}: this kernel's drops cannot be told")))
    }

    fn of(data: &[u8]) -> std::result::Result<Self, String> {
        let btf = Btf::parse(data).ok_or("it is no BTF of this machine's byte order")?;
        let member = |owner: &str, path: &[&str]| {
            btf.offset(owner, path).ok_or_else(|| format!("it has no {owner}.{}", path.join(".")))
        };
        let layout = DropLayout {
            arguments: btf.arguments("btf_trace_kfree_skb").ok_or("it has no tracepoint kfree_skb")?,
            skb_head: member("sk_buff", &["head"])?,
            skb_tail: member("sk_buff", &["tail"])?,
            skb_len: member("sk_buff", &["len"])?,
            skb_protocol: member("sk_buff", &["protocol"])?,
            skb_network_header: member("sk_buff", &["network_header"])?,
            skb_iif: member("sk_buff", &["skb_iif"])?,
            skb_dev: member("sk_buff", &["dev"])?,
            skb_sk: member("sk_buff", &["sk"])?,
            skb_dst: member("sk_buff", &["_skb_refdst"])?,
            skb_cb: member("sk_buff", &["cb"])? + member("qdisc_skb_cb", &["data"])?,
            dev_ifindex: member("net_device", &["ifindex"])?,
            dev_name: member("net_device", &["name"])?,
            dev_net: member("net_device", &["nd_net"])?,
            dst_dev: member("dst_entry", &["dev"])?,
            sock_net: member("sock", &["__sk_common", "skc_net"])?,
            net_inum: member("net", &["ns", "inum"])?,
            all: 0,
        };
        let reasons = btf.enumerators("skb_drop_reason").into_iter();
        let reasons = reasons.map(|(number, name)| (number, name.strip_prefix(PREFIX).unwrap_or(name).to_owned()));
        let subsystems = btf.enumerators("skb_drop_reason_subsys").into_iter().filter_map(|(number, name)| {
            let name = name.strip_prefix(PREFIX)?.strip_prefix("SUBSYS_")?;
            Some((number, name.to_ascii_lowercase()))
        });
        Ok(Self { layout, reasons: reasons.collect(), subsystems: subsystems.collect() })
    }

    /// Whether it says why it drops a packet at all: from Linux 5.17 on.
    pub(super) const fn has_reasons(&self) -> bool {
        self.layout.arguments >= 3
    }

    /// The name of a reason, and its subsystem if that is not the network core.
    pub(super) fn reason(&self, number: u32) -> (Option<&str>, Option<&str>) {
        if !self.has_reasons() {
            return (None, None);
        }
        let subsystem = number >> SUBSYSTEM_SHIFT;
        let name = self.reasons.get(&number).map(String::as_str);
        let subsystem = if subsystem == 0 { None } else { self.subsystems.get(&subsystem).map(String::as_str) };
        (name, subsystem)
    }

    /// The numbers of these names, as far as this kernel has them.
    pub(super) fn numbers(&self, names: &[&str]) -> Vec<u32> {
        self.reasons.iter().filter(|(_, name)| names.contains(&name.as_str())).map(|(number, _)| *number).collect()
    }
}

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// A BTF blob; every look at it is checked, whatever it holds.
struct Btf<'a> {
    data: &'a [u8],
    strings: Range<usize>,
    /// Where each type begins; that of number 0 is none.
    types: Vec<usize>,
}

/// A member or parameter that is looked for among unnamed structs lies no deeper than this.
const DEPTH: u32 = 16;

impl<'a> Btf<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        const MAGIC: u16 = 0xeb9f;
        let magic = data.get(..2)?;
        if magic != MAGIC.to_ne_bytes() {
            return None;
        }
        let word = |at: usize| Some(u32::from_ne_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?));
        let place = |at: usize| usize::try_from(word(at)?).ok();
        let header = place(4)?;
        let (types_at, types_length) = (header.checked_add(place(8)?)?, place(12)?);
        let (strings_at, strings_length) = (header.checked_add(place(16)?)?, place(20)?);
        let end = types_at.checked_add(types_length)?.min(data.len());
        let mut types = vec![usize::MAX];
        let mut at = types_at;
        while at.checked_add(12)? <= end {
            types.push(at);
            let info = word(at + 4)?;
            let count = usize::try_from(info & 0xffff).ok()?;
            let more = match info >> 24 & 0x1f {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
                kind::ENUM | kind::FUNC_PROTO => 8 * count,
                _ => 0,
            };
            at = at.checked_add(12 + more)?;
        }
        Some(Self { data, strings: strings_at..strings_at.checked_add(strings_length)?, types })
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.data.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    fn string(&self, offset: u32) -> Option<&'a str> {
        let strings = self.data.get(self.strings.clone())?;
        let rest = strings.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(rest.get(..end)?).ok()
    }

    /// Where a type begins, its kind, its number of members, and whether its offsets bear widths of bit fields.
    fn head(&self, number: u32) -> Option<(usize, u32, usize, bool)> {
        let at = *self.types.get(usize::try_from(number).ok()?)?;
        let info = self.word(at.checked_add(4)?)?;
        Some((at, info >> 24 & 0x1f, usize::try_from(info & 0xffff).ok()?, info >> 31 != 0))
    }

    fn named(&self, wanted: u32, name: &str) -> Option<u32> {
        (1..u32::try_from(self.types.len()).ok()?).find(|number| {
            self.head(*number).is_some_and(|(at, kind, count, _)| {
                // A struct without members is only declared.
                kind == wanted
                    && (count > 0 || kind == kind::TYPEDEF)
                    && self.word(at).and_then(|name| self.string(name)) == Some(name)
            })
        })
    }

    /// What a chain of names and qualifiers stands for.
    fn plain(&self, mut number: u32) -> Option<u32> {
        for _ in 0..DEPTH {
            let (at, kind, ..) = self.head(number)?;
            if !matches!(kind, kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG) {
                return Some(number);
            }
            number = self.word(at + 8)?;
        }
        None
    }

    /// The offset of a member in bytes, through members of members.
    fn offset(&self, owner: &str, path: &[&str]) -> Option<u32> {
        let mut number = self.named(kind::STRUCT, owner)?;
        let mut bits = 0u32;
        for name in path {
            let (offset, next) = self.member(number, name, DEPTH)?;
            bits = bits.checked_add(offset)?;
            number = next;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// The offset of a member in bits, and its type; members of unnamed members are its own.
    fn member(&self, number: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        let number = self.plain(number)?;
        let (at, kind, count, bit_fields) = self.head(number)?;
        if !matches!(kind, kind::STRUCT | kind::UNION) || depth == 0 {
            return None;
        }
        for place in 0..count {
            let member = at + 12 + 12 * place;
            let (label, inner, offset) =
                (self.string(self.word(member)?)?, self.word(member + 4)?, self.word(member + 8)?);
            let offset = if bit_fields { offset & 0x00ff_ffff } else { offset };
            if label == name {
                return Some((offset, inner));
            }
            if label.is_empty()
                && let Some((deeper, found)) = self.member(inner, name, depth - 1)
            {
                return Some((offset.checked_add(deeper)?, found));
            }
        }
        None
    }

    /// How many arguments a tracepoint hands over: its function has the data of who registered before them.
    fn arguments(&self, typedef: &str) -> Option<u32> {
        let number = self.plain(self.named(kind::TYPEDEF, typedef)?)?;
        let (at, kind, ..) = self.head(number)?;
        if kind != kind::PTR {
            return None;
        }
        let (_, kind, count, _) = self.head(self.plain(self.word(at + 8)?)?)?;
        let arguments = u32::try_from(count).ok()?.checked_sub(1)?;
        (kind == kind::FUNC_PROTO && arguments >= 2).then_some(arguments)
    }

    fn enumerators(&self, name: &str) -> Vec<(u32, &'a str)> {
        let mut found = Vec::new();
        let Some((at, _, count, _)) = self.named(kind::ENUM, name).and_then(|number| self.head(number)) else {
            return found;
        };
        for place in 0..count {
            let entry = at + 12 + 8 * place;
            if let (Some(label), Some(value)) = (self.word(entry), self.word(entry + 4))
                && let Some(label) = self.string(label)
            {
                found.push((value, label));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_kernels() -> Option<Vec<u8>> {
        let found = fs::read(PLACE).ok();
        if found.is_none() {
            // Past the test harness, in the form that tests/run gathers.
            eprintln!("skipped: drops::kernel: this kernel tells no BTF");
        }
        found
    }

    #[test]
    fn the_running_kernel_has_all_that_is_needed() {
        let Some(data) = this_kernels() else { return };
        let kernel = Kernel::of(&data).unwrap();
        assert!((2..=8).contains(&kernel.layout.arguments), "{:?}", kernel.layout);
        assert_ne!(kernel.layout.skb_head, kernel.layout.skb_len);
        if kernel.has_reasons() {
            let numbers = kernel.numbers(&["NO_SOCKET", "NO_SUCH_REASON"]);
            assert_eq!(numbers.len(), 1);
            assert_eq!(kernel.reason(numbers[0]), (Some("NO_SOCKET"), None));
        }
        assert_eq!(kernel.reason(0xffff), (None, None));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_refused_or_read_as_far_as_it_goes() {
        let Some(data) = this_kernels() else { return };
        for length in (0..64).chain((64..data.len()).step_by(data.len() / 64)) {
            // Whatever it says, it neither panics nor loops.
            let _ = Kernel::of(&data[..length]);
        }
        assert!(Kernel::of(&data[..100]).is_err());
    }

    #[test]
    fn what_is_damaged_does_no_harm() {
        let Some(mut data) = this_kernels() else { return };
        data.truncate(1 << 20);
        for at in (0..4096).step_by(7) {
            let before = data[at];
            data[at] = before.wrapping_add(0x55);
            let _ = Kernel::of(&data);
            data[at] = before;
        }
    }
}
