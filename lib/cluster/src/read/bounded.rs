//! YAML input that ends where a single value takes too much of it.
//!
//! The scanner keeps every token of a flow collection (`[...]`, `{...}`) that may yet turn out to be a key, and so all of
//! it, whatever its length. Each token has a character that is skipped one at a time, which is what is counted here.

use std::cell::Cell;

use saphyr_parser::StrInput;
use saphyr_parser::input::{Input, SkipTabs};

/// How many characters may be looked at one by one for one event. The largest object that a server stores has 1.5 MiB.
pub(super) const MAX_STEPS: usize = 2 << 20;

/// A text that ends early once `steps` are taken; whoever takes events sets them back to 0.
pub(super) struct Bounded<'a> {
    text: StrInput<'a>,
    steps: &'a Cell<usize>,
}

impl<'a> Bounded<'a> {
    pub(super) fn new(text: &'a str, steps: &'a Cell<usize>) -> Self {
        Self { text: StrInput::new(text), steps }
    }
}

/// Hands methods on that ask, and those that take something.
macro_rules! hand_on {
    (ask { $($ask:ident($($arg:ident: $of:ty),*) -> $answer:ty;)* }
     take { $($take:ident($($given:ident: $type:ty),*) -> $taken:ty;)* }) => {
        $(#[inline] fn $ask(&self, $($arg: $of),*) -> $answer { self.text.$ask($($arg),*) })*
        $(#[inline] fn $take(&mut self, $($given: $type),*) -> $taken { self.text.$take($($given),*) })*
    };
}

impl Input for Bounded<'_> {
    #[inline]
    fn skip(&mut self) {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps > MAX_STEPS {
            self.text = StrInput::new("");
        }
        self.text.skip();
    }

    hand_on! {
        ask {
        buflen() -> usize;
        bufmaxlen() -> usize;
        buf_is_empty() -> bool;
        peek() -> char;
        peek_nth(n: usize) -> char;
        peek_opt() -> Option<char>;
        next_char_is(c: char) -> bool;
        nth_char_is(n: usize, c: char) -> bool;
        next_2_are(c1: char, c2: char) -> bool;
        next_3_are(c1: char, c2: char, c3: char) -> bool;
        next_is_document_indicator() -> bool;
        next_is_document_start() -> bool;
        next_is_document_end() -> bool;
        next_can_be_plain_scalar(in_flow: bool) -> bool;
        next_is_blank_or_break() -> bool;
        next_is_blank_or_breakz() -> bool;
        next_is_blank() -> bool;
        next_is_break() -> bool;
        next_is_breakz() -> bool;
        next_is_z() -> bool;
        next_is_flow() -> bool;
        next_is_digit() -> bool;
        next_is_alpha() -> bool;
        }
        take {
        lookahead(count: usize) -> ();
        raw_read_ch() -> char;
        raw_read_non_breakz_ch() -> Option<char>;
        skip_n(count: usize) -> ();
        look_ch() -> char;
        skip_ws_to_eol(skip_tabs: SkipTabs) -> (usize, Result<SkipTabs, &'static str>);
        skip_while_non_breakz() -> usize;
        skip_while_blank() -> usize;
        fetch_while_is_alpha(out: &mut String) -> usize;
        fetch_while_is_yaml_non_space(out: &mut String) -> usize;
        }
    }
}
