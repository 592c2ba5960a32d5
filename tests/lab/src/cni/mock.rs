//! `lab-mock`: chained, does nothing, and fails where it is told to.

use super::plugin::{Refusal, Request};

pub(super) fn answer(request: &Request) -> Result<String, Refusal> {
    let failure = &request.config["fail"][&request.verb];
    if let Some(code) = failure["code"].as_u64() {
        return Err(Refusal::new(code, failure["msg"].as_str().unwrap_or("as asked for")));
    }
    match request.verb.as_str() {
        "ADD" => request.passed_on(),
        _ => Ok(String::new()),
    }
}
