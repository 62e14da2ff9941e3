//! The limits that clients meet. Services enforce some of them too, so they belong to neither side's messages.

/// The largest integer that JavaScript and Lua represent exactly, 2^53 - 1. Clients are sent no number above it, and every
/// epoch, revision and fence up to it is accepted: what a client was sent, it may send back.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The longest identifier, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// The deepest nesting of a state or of a metadata value, in levels.
pub const MAX_DEPTH: usize = 64;

/// The longest state, in bytes of its JSON text.
pub const MAX_STATE_BYTES: usize = 16 * 1024;
/// The longest `info` of a token, in bytes of its JSON text.
pub const MAX_INFO_BYTES: usize = 2 * 1024;
/// The highest epoch that a connection adopts because its client names it, 2^52: from there it may grow by one 2^52 times
/// without passing [`MAX_SAFE_INTEGER`].
pub const MAX_ADOPTED_EPOCH: u64 = 1 << 52;
/// The most members of one room.
pub const MAX_ROOM_MEMBERS: usize = 10_000;
/// The most bytes that the members of one room take in an answer: identifiers, infos, states, and 120 for each member. This
/// is a little less than one message of the bus may carry.
pub const MAX_ROOM_BYTES: usize = 8 * 1024 * 1024 - 64 * 1024;

/// The most items of one channel, and so of one request.
pub const MAX_ITEMS: usize = 256;
/// The most bytes of the keys and values of one channel.
pub const MAX_CHANNEL_BYTES: usize = 256 * 1024;
/// The longest value of an item, in bytes of its JSON text.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;
/// The most channel types of one name.
pub const MAX_CHANNEL_TYPES: usize = 64;
/// The highest revision that a client may give an item, 2^52: from there it may grow by one 2^52 times without passing
/// [`MAX_SAFE_INTEGER`].
pub const MAX_GIVEN_REVISION: u64 = 1 << 52;

/// How long a lock is held without a renewal if its client names no time, in milliseconds.
pub const DEFAULT_LOCK_TTL_MS: u64 = 10_000;
/// The shortest time that a client may name.
pub const MIN_LOCK_TTL_MS: u64 = 1_000;
/// The longest time that a client may name.
pub const MAX_LOCK_TTL_MS: u64 = 300_000;
/// The longest time that a client may wait for a lock, in milliseconds.
pub const MAX_LOCK_WAIT_MS: u64 = 10_000;
