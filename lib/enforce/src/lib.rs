//! Policy as it is put in force on a node: what is written into the kernel's tables, and what of it is kept on disk.
//!
//! Start at [`Delta`]: entries to be written into a set of tables. An [`Image`] is all that a set holds. A [`Store`] keeps
//! both, with what explains them, so that the node's policy can be put back without asking a cluster.
//!
//! A [`Keeper`] puts it in force. With the feature `compile` a [`Compiler`] makes it of `chainkit-policy`'s tables.
//!
//! Nothing here decides what a policy means, and nothing that is read is trusted: a file may be torn, of another version, a
//! link, or somebody else's.

#![forbid(unsafe_code)]

#[cfg(feature = "compile")]
mod compile;
mod delta;
mod image;
mod keeper;
pub mod kernel;
mod lookup;
mod store;
mod subjects;

#[cfg(feature = "compile")]
pub use compile::{CompileError, Compiled, Compiler, policy_number, side_number, virtual_key, words};
pub use delta::{DecodeError, Delta};
pub use image::{Image, ImageError, Sizes};
pub use keeper::{Confirmed, InForce, KeepError, Keeper, POLICY_LOCK, Prepared, Unsettled, boot_id, tag_of};
pub use lookup::{Answer, Between, Lookup};
pub use store::{
    Draft, MAX_LINE_BYTES, MAX_LINES_BYTES, MAX_PODS_BYTES, MAX_TABLES_BYTES, Marker, NamespaceEntry, ObjectLines,
    POLICY_FOLDER, PodEntry, Pods, PolicyRef, Refusal, Refused, RuleAction, RuleChange, RuleDirection, RuleEntry,
    RulesInForce, Saved, Store, StoreError,
};
pub use subjects::Standing;
