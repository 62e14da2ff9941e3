//! Keys from a file, read again when it changes.

use std::{
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use tokio::time::sleep;

use super::{
    jwk,
    key::{BadKey, Key, KeySet},
    pem,
};

/// How often it is looked whether the file has changed.
const PERIOD: Duration = Duration::from_secs(10);
/// The largest file.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// What the file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Public keys: PEM or a JWK set.
    Keys,
    /// One secret. A line break at its end does not belong to it.
    Secret,
}

/// A file with keys, and the keys that it had when it was last good.
pub(super) struct KeyFile {
    path: PathBuf,
    content: Content,
    keys: RwLock<Arc<KeySet>>,
    /// Of the version that `keys` is from.
    first: Version,
}

/// Tells versions of a file apart. Symbolic links are followed: a Kubernetes secret changes by one.
type Version = Option<(SystemTime, u64)>;

impl KeyFile {
    /// Reads the file. The error is a sentence about it.
    pub(super) fn open(path: PathBuf, content: Content) -> Result<Self, String> {
        let first = version(&path);
        let keys = read(&path, content)?;
        Ok(Self { path, content, keys: RwLock::new(Arc::new(keys)), first })
    }

    /// The current keys.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read())
    }

    /// Reads the file again whenever it changes, forever. A file that is bad leaves the keys as they are.
    pub(super) async fn follow(self: Arc<Self>) {
        self.keys().log();
        let mut last = self.first;
        loop {
            sleep(PERIOD).await;
            let current = version(&self.path);
            if current == last {
                continue;
            }
            last = current;
            match read(&self.path, self.content) {
                Ok(keys) => {
                    keys.log();
                    *self.keys.write() = Arc::new(keys);
                }
                Err(error) => tracing::error!(error, "the changed key file is not used, the keys before it are"),
            }
        }
    }
}

fn version(path: &PathBuf) -> Version {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &PathBuf, content: Content) -> Result<KeySet, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("must be at most {MAX_FILE_BYTES} bytes long"));
    }
    let keys = match content {
        Content::Secret => secret(&bytes),
        Content::Keys => public_keys(&bytes),
    };
    keys.map_err(|bad| format!("is not usable: {bad}"))
}

fn secret(bytes: &[u8]) -> Result<KeySet, BadKey> {
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    Ok(KeySet { keys: vec![Key::secret(secret)?], skipped: Vec::new() })
}

fn public_keys(bytes: &[u8]) -> Result<KeySet, BadKey> {
    let text = str::from_utf8(bytes).map_err(|_| BadKey("it must be text"))?;
    if !text.trim_start().starts_with('{') {
        return pem::parse(text);
    }
    let set = jwk::parse(text)?;
    if set.skipped.contains(&jwk::SECRET) {
        return Err(BadKey("it must have public keys only; a secret for HS256 belongs into JWT_SECRET_FILE"));
    }
    match set.skipped.first() {
        Some(reason) if set.keys.is_empty() => Err(BadKey(reason)),
        None if set.keys.is_empty() => Err(BadKey("it must have at least one key")),
        _ => Ok(set),
    }
}

#[cfg(test)]
mod tests {
    use rollcall_service::Tasks;

    use super::*;
    use crate::auth::testing::{Issuer, TempFile};

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_and_a_bad_one_is_not_used() {
        let kids = |ids: &[&'static str]| {
            let keys: Vec<_> = ids.iter().map(|id| Issuer::ed25519(id).jwk()).collect();
            serde_json::json!({ "keys": keys }).to_string()
        };
        let on_disk = TempFile::with(kids(&["a"]).as_bytes());
        let file = Arc::new(KeyFile::open(on_disk.0.clone(), Content::Keys).unwrap());
        let tasks = Tasks::default();
        tasks.spawn_permanent("key file", Arc::clone(&file).follow());
        // Each has another size: two writes may have the same time.
        for (content, expected) in [
            (Some(kids(&["b", "c"])), &["b", "c"][..]),
            (Some("{".to_owned()), &["b", "c"]),
            (None, &["b", "c"]),
            (Some(kids(&["d", "e", "f"])), &["d", "e", "f"]),
        ] {
            match content {
                Some(text) => fs::write(&on_disk.0, text).unwrap(),
                None => fs::remove_file(&on_disk.0).unwrap(),
            }
            sleep(PERIOD * 2).await;
            assert_eq!(file.keys().ids(), expected);
        }
    }
}
