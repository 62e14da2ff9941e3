//! The secret that development tokens are signed with.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The secret in `path`, without the line break at its end. If there is no file, makes one that only its owner can read.
pub(crate) fn read_or_make(path: &Path) -> Result<Vec<u8>, String> {
    make(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    let mut secret = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    secret.truncate(secret.trim_ascii_end().len());
    Ok(secret)
}

fn make(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let mut secret = [0; 32];
            SystemRandom::new()
                .fill(&mut secret)
                .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
            writeln!(file, "{}", BASE64_URL_SAFE_NO_PAD.encode(secret))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner() {
        let folder = std::env::temp_dir().join(format!("rollcall-token-{}", std::process::id()));
        let path = folder.join("auth/secret");
        let made = read_or_make(&path).unwrap();
        assert_eq!(made.len(), 43, "32 bytes as base64url");
        assert_eq!(read_or_make(&path).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }
}
