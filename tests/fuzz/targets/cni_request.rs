//! What a runtime says on stdin: read or refused with an error of the specification; a result is echoed byte for byte, or in
//! another version as an object of that version.
#![no_main]

use chainkit_cni::{Request, ResultView, Version, echo};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = Request::parse(bytes) else { return };
    let _ = (request.network(), request.valid_attachments(), request.own().count());
    let version = request.version();
    if let Err(error) = &version {
        assert!(serde_json::from_str::<serde_json::Value>(&error.json(Version::NEWEST)).is_ok());
    }
    let Some(result) = request.prev_result() else { return };
    let _ = ResultView::of(result);
    for wanted in Version::ALL {
        let Ok(answer) = echo(result, wanted) else { continue };
        let answer: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(&answer) {
            Ok(answer) => answer,
            // Numbers that no type holds are passed on all the same.
            Err(_) => continue,
        };
        if let Some(told) = answer.get("cniVersion").filter(|told| !told.is_null()) {
            assert_eq!(told.as_str(), Some(wanted.name()));
        }
    }
});
