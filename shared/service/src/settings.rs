//! Configuration: the defaults that a service embeds, then the file that `ROLLCALL_CONFIG` names, then the environment. A key
//! is its variable's name in lower case. All errors are reported at once, each with the variable's name, before anything binds.
//!
//! - `keys`: which keys the file may have.

mod keys;

use std::{collections::HashMap, ffi::OsString, fmt};

use config::{Config, ConfigError, Environment, File, FileFormat, Source as _};
use serde::de::DeserializeOwned;

/// All configuration errors, one sentence each.
#[derive(Debug)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// The variables that are keys of `defaults`, and those of them that cannot be read. Others are no business of this program.
fn variables(
    defaults: &str,
    all: impl Iterator<Item = (OsString, OsString)>,
) -> (HashMap<String, String>, Vec<String>) {
    let mut problems = Vec::new();
    let known = all.filter_map(|(name, value)| {
        let key = name.to_str()?.to_lowercase();
        if !keys::has_key(defaults, &key) {
            return None;
        }
        let value = value.into_string().map_err(|_| problems.push(format!("{} is not Unicode", key.to_uppercase())));
        Some((key, value.ok()?))
    });
    let known = known.collect();
    (known, problems)
}

/// What is wrong and where. The library adds the line itself.
fn without_text(error: &ConfigError) -> String {
    let text = error.to_string();
    match error {
        ConfigError::FileParse { uri, .. } => {
            let first = text.lines().next().unwrap_or_default();
            format!("{first} in {}", uri.as_deref().unwrap_or("the file"))
        }
        _ => text,
    }
}

/// Reads values one by one and collects the problems.
pub struct Reader {
    source: Config,
    problems: Vec<String>,
}

impl Reader {
    /// Opens the three sources. `defaults` is the service's embedded TOML, which has every key.
    ///
    /// # Errors
    /// The file of `ROLLCALL_CONFIG` is missing or not TOML. What the file says is not repeated: it may have a password. A key that no
    /// service has is a problem among the others.
    pub fn open(defaults: &str) -> Result<Self, Problems> {
        let (variables, mut problems) = variables(defaults, std::env::vars_os());
        let mut builder = Config::builder().add_source(File::from_str(defaults, FileFormat::Toml));
        let unreadable = |error: ConfigError| Problems(vec![format!("ROLLCALL_CONFIG: {}", without_text(&error))]);
        if let Some(path) = std::env::var("ROLLCALL_CONFIG").ok().filter(|path| !path.is_empty()) {
            let file = File::new(&path, FileFormat::Toml);
            problems.extend(keys::unknown(file.collect().map_err(unreadable)?.keys(), defaults));
            builder = builder.add_source(file);
        }
        let source = builder
            .add_source(Environment::default().ignore_empty(true).try_parsing(false).source(Some(variables)))
            .build()
            .map_err(unreadable)?;
        Ok(Self { source, problems })
    }

    /// The value of `key`. If it cannot be read: the type's default, and a problem is recorded.
    pub fn get<T: DeserializeOwned + Default>(&mut self, key: &str) -> T {
        self.source.get(key).unwrap_or_else(|error| {
            // Without the value, which may be a secret.
            let what = match error {
                config::ConfigError::NotFound(_) => "is not set".to_owned(),
                config::ConfigError::Type { expected, .. } => format!("must be {expected}"),
                _ => "cannot be read".to_owned(),
            };
            self.problem(key, what);
            T::default()
        })
    }

    /// The value of `key`; records a problem if it is outside `range`.
    pub fn within(&mut self, key: &str, range: std::ops::RangeInclusive<u64>) -> u64 {
        let before = self.problems.len();
        let value = self.get(key);
        if self.problems.len() == before && !range.contains(&value) {
            self.problem(key, format!("must be from {} to {}, not {value}", range.start(), range.end()));
        }
        value
    }

    /// The value of `key`, parsed by `read`. `None` and a recorded problem if `read` fails.
    pub fn parse<T, E>(&mut self, key: &str, read: impl FnOnce(&str) -> Result<T, E>, what: &str) -> Option<T> {
        let before = self.problems.len();
        let value = read(&self.get::<String>(key)).ok();
        if value.is_none() && self.problems.len() == before {
            self.problem(key, what);
        }
        value
    }

    /// Records a problem with `key`.
    pub fn problem(&mut self, key: &str, what: impl fmt::Display) {
        self.problems.push(format!("{} {what}", key.to_uppercase()));
    }

    /// Records a problem with `key` unless `holds`.
    pub fn check(&mut self, holds: bool, key: &str, what: impl fmt::Display) {
        if !holds {
            self.problem(key, what);
        }
    }

    /// `value`, if there was no problem.
    ///
    /// # Errors
    /// All problems that were recorded.
    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(value) } else { Err(Problems(self.problems)) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn of_the_environment_only_keys_are_read_and_none_is_repeated() {
        let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
        let all = [("REDIS_URL", &b"redis://:secret\xff@h"[..]), ("OTHER", b"\xff"), ("PORT", b"7"), ("URL", b"x")];
        let all = all.map(|(name, value)| (OsString::from(name), bytes(value)));
        let (known, problems) = variables("# url = 1\nport = 3000\nredis_url = \"a\"\n", all.into_iter());
        assert_eq!(known, HashMap::from([("port".to_owned(), "7".to_owned())]));
        assert_eq!(problems, ["REDIS_URL is not Unicode"]);
    }

    #[test]
    fn what_a_broken_file_says_is_not_repeated() {
        let file = File::from_str("port = 1\nredis_url = \"redis://:secret@h\n", FileFormat::Toml);
        let error = Config::builder().add_source(file).build().unwrap_err();
        assert!(error.to_string().contains("secret"));
        let text = without_text(&error);
        assert!(text.contains("line 2") && !text.contains("secret"), "{text}");
    }
}
