//! Fields that no version of a policy has.

use chainkit_cluster::model::Lines;
use chainkit_cluster::soundness::unknown_fields;

use super::Severity;
use super::told::{self, Told};

/// Tells of fields that a policy of `kind` does not have.
pub(super) fn look(kind: &str, lines: &Lines, told: &mut Told<'_>) {
    unknown_fields(kind, lines, &mut |unknown| {
        let dot = if unknown.inside.is_empty() { "" } else { "." };
        let shown = format!("{}{dot}{}", unknown.inside, told::name(unknown.name));
        told.push(
            "unknown-field",
            Severity::Error,
            &unknown.path,
            format!("{shown} is no field of {kind}: what it was to say is not said"),
            format!("fields here are {}", unknown.known.join(", ")),
        );
    });
}
