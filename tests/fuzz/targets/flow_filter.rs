//! Lists of `FlowFilter` messages: whatever they hold, they are refused or make a filter that chooses, and what is printed of
//! it is read again and chooses alike. What follows the first line feed is a saved line to choose of.
#![no_main]

use chainkit_flow::{Filter, FilterBuilder, Flow, parse};
use libfuzzer_sys::fuzz_target;

fn filter(lists: &[(bool, &str)]) -> Option<Filter> {
    let mut builder = FilterBuilder::default();
    for (deny, list) in lists {
        builder.add_list(*deny, list).ok()?;
    }
    builder.build().ok()
}

fuzz_target!(|bytes: &[u8]| {
    let mut halves = bytes.splitn(2, |byte| *byte == b'\n');
    let Ok(list) = std::str::from_utf8(halves.next().unwrap_or_default()) else { return };
    let record = parse(halves.next().unwrap_or_default()).ok().flatten();
    let flow = record.and_then(|record| record.flow).unwrap_or_else(Flow::default);
    for deny in [false, true] {
        let Some(made) = filter(&[(deny, list)]) else { continue };
        let chosen = made.matches(&flow);
        let _ = made.kernel_filter(false, |_| None);
        let raw = made.raw().expect("a filter can be printed");
        // Under `allowlist:` and `denylist:` each message stands in a line of its own.
        let (mut denies, mut again) = (false, Vec::new());
        for line in raw.lines() {
            match line {
                "allowlist:" => denies = false,
                "denylist:" => denies = true,
                _ => again.extend(line.trim_start().strip_prefix("- ").map(|message| (denies, unquoted(message)))),
            }
        }
        let lists: Vec<(bool, &str)> = again.iter().map(|(deny, message)| (*deny, message.as_str())).collect();
        let read = filter(&lists).unwrap_or_else(|| panic!("not read again: {raw}"));
        assert_eq!(read.matches(&flow), chosen, "{raw}");
    }
});

/// The message of a line: in quotes, of which one within is doubled.
fn unquoted(text: &str) -> String {
    match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        Some(quoted) => quoted.replace("''", "'"),
        None => text.to_owned(),
    }
}
