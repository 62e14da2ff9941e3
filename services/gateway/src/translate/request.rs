//! Builds commands from a client's write.

use rollcall_protocol::{
    client,
    command::metadata::{ItemChange, WriteOptions},
};

/// The items of a write. `collect` reuses the list's memory.
pub(crate) fn items(items: Vec<client::WriteItem>) -> Vec<ItemChange> {
    let item = |client::WriteItem { key, value, revision }| ItemChange { key, value, revision };
    items.into_iter().map(item).collect()
}

/// The conditions of a write.
pub(crate) fn options(options: client::WriteOptions) -> WriteOptions {
    let client::WriteOptions { major_revision, lock, fence, add_timestamp, add_user_id } = options;
    WriteOptions { major_revision, lock, fence, add_timestamp, add_user_id }
}
