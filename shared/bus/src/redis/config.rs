//! The Redis configuration: URL, password, key prefix. No type of the client library is public here.

use std::fmt;

use fred::{error::ErrorKind, types::config};
use rollcall_service::Reader;

use super::{reason, url};

/// The prefix of every key and channel unless `REDIS_KEY_PREFIX` sets another.
pub const DEFAULT_PREFIX: &str = "prs";

/// Why only database 0 is accepted.
const DATABASE: &str = "must name no database other than 0: databases share their channels, so two systems on one Redis would \
                        receive each other's events. Give each system its own REDIS_KEY_PREFIX instead";
const NO_URL: &str = "is not a Redis URL";

/// Where Redis is, and the prefix of keys and channels.
#[derive(Debug, Clone)]
pub struct Config {
    pub(super) server: config::Config,
    pub(super) prefix: String,
}

/// Why a configuration cannot work. The text follows the name of the setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig(pub(super) String);

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Redis configuration {}", self.0)
    }
}

impl std::error::Error for InvalidConfig {}

impl Config {
    /// Reads a Redis URL (`redis://`, `rediss://`, `redis-cluster://`, `redis-sentinel://`, `valkey://` …).
    ///
    /// # Errors
    /// It is not a Redis URL (the client library would take any scheme for `redis`), or names a database other than 0: all databases of
    /// a server share their pub/sub channels. Or it needs TLS, and the certificates that the system trusts cannot be read.
    pub fn from_url(url: &str) -> Result<Self, InvalidConfig> {
        if let Some(problem) = url::problem(url) {
            return Err(InvalidConfig(problem));
        }
        let server = config::Config::from_url(url).map_err(|error| {
            InvalidConfig(match error.kind() {
                ErrorKind::Tls => reason::no_certificates(error.details()),
                _ => NO_URL.to_owned(),
            })
        })?;
        match server.database {
            None | Some(0) => Ok(Self { server, prefix: DEFAULT_PREFIX.to_owned() }),
            Some(_) => Err(InvalidConfig(DATABASE.to_owned())),
        }
    }

    /// Reads `redis_url`, `redis_password_file` and `redis_key_prefix`. The reader collects the errors.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let url: String = reader.get("redis_url");
        let config = Self::from_url(&url).map_err(|InvalidConfig(problem)| reader.problem("redis_url", problem)).ok();
        let password = reader.parse("redis_password_file", password, "cannot be read, or is empty");
        let prefix = reader.parse(
            "redis_key_prefix",
            prefix,
            "must be 1 to 64 letters, digits or any of _ . : - (a brace would change where keys lie on a cluster)",
        );
        let mut config = Self { prefix: prefix?, ..config? };
        if let Some(password) = password? {
            config.server.password = Some(password);
        }
        Some(config)
    }

    /// The same Redis with other names.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }
}

fn prefix(text: &str) -> Result<String, ()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then(|| text.to_owned()).ok_or(())
}

/// The first line of the file at `path`; `None` without a path.
fn password(path: &str) -> Result<Option<String>, ()> {
    if path.is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(drop)?;
    text.lines().next().filter(|line| !line.is_empty()).map(|line| Some(line.to_owned())).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, file: &str) -> Result<Option<Config>, String> {
        read_with(url, file, DEFAULT_PREFIX)
    }

    fn read_with(url: &str, file: &str, prefix: &str) -> Result<Option<Config>, String> {
        let toml = format!("redis_url = '{url}'\nredis_password_file = '{file}'\nredis_key_prefix = '{prefix}'");
        let mut reader = Reader::open(&toml).unwrap();
        let config = Config::read(&mut reader);
        reader.finish(config).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_prefix_is_plain_text() {
        assert_eq!(read_with("redis://h:1", "", "staging:eu-1").unwrap().unwrap().prefix, "staging:eu-1");
        for prefix in ["{a}", "a b", &"x".repeat(65)] {
            assert!(read_with("redis://h:1", "", prefix).unwrap_err().contains("REDIS_KEY_PREFIX"), "{prefix}");
        }
    }

    #[test]
    fn a_database_is_refused_with_the_reason() {
        for url in ["redis://h:1", "redis://h:1/", "redis://h:1/0"] {
            assert!(read(url, "").unwrap().is_some(), "{url}");
        }
        for url in ["redis://h:1/1", "rediss://u:p@h:1/15", "redis-sentinel://h:1/2?sentinelServiceName=x"] {
            let problems = read(url, "").unwrap_err();
            assert!(problems.contains("REDIS_URL") && problems.contains("REDIS_KEY_PREFIX"), "{url}: {problems}");
            assert!(Config::from_url(url).is_err());
        }
        let problems = read("no url", "").unwrap_err();
        assert!(problems.contains("1 problem") && problems.contains("REDIS_URL has no scheme"), "{problems}");
    }

    #[test]
    fn the_password_comes_from_the_file_before_the_url() {
        let file = std::env::temp_dir().join(format!("rollcall-password-{}", std::process::id()));
        let path = file.to_str().unwrap();
        let password = |url, file| read(url, file).unwrap().unwrap().server.password;
        std::fs::write(&file, "s@cret/:\n").unwrap();
        assert_eq!(password("redis://:other@h:1", path).as_deref(), Some("s@cret/:"));
        assert_eq!(password("redis-cluster://h:1", path).as_deref(), Some("s@cret/:"));
        assert_eq!(password("redis://:other@h:1", "").as_deref(), Some("other"));
        assert_eq!(password("redis://h:1", ""), None);
        std::fs::write(&file, "\n").unwrap();
        assert!(read("redis://h:1", path).unwrap_err().contains("REDIS_PASSWORD_FILE"));
        std::fs::remove_file(&file).unwrap();
        assert!(read("redis://h:1", path).unwrap_err().contains("REDIS_PASSWORD_FILE"));
    }
}
