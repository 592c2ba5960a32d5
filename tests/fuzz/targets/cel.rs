//! CEL expressions: whatever they say, they are refused or choose, in bounded time. What follows the first line feed is a
//! saved line to choose of.
#![no_main]

use chainkit_flow::{FilterBuilder, FilterFlag, Flow, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut halves = bytes.splitn(2, |byte| *byte == b'\n');
    let Ok(expression) = std::str::from_utf8(halves.next().unwrap_or_default()) else { return };
    let record = parse(halves.next().unwrap_or_default()).ok().flatten();
    let flow = record.and_then(|record| record.flow).unwrap_or_else(Flow::default);
    let mut builder = FilterBuilder::default();
    if builder.add(false, FilterFlag::CelExpression, expression).is_err() {
        return;
    }
    let Ok(filter) = builder.build() else { return };
    let _ = filter.matches(&flow);
});
