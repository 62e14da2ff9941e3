//! Configuration: the defaults that a service embeds, then the file that `ROLLCALL_CONFIG` names, then the environment.
//! A key is its variable's name in small letters. All problems are found before anything binds and told together.

use std::fmt;

use config::{Config, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

/// Everything that is wrong, one sentence each.
#[derive(Debug)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// Reads values one by one and remembers what was wrong.
pub struct Reader {
    source: Config,
    problems: Vec<String>,
}

impl Reader {
    /// Opens the three sources; `defaults` is the service's embedded TOML, which has every key.
    ///
    /// # Errors
    /// A file that is not there or not TOML.
    pub fn open(defaults: &str) -> Result<Self, Problems> {
        let mut builder = Config::builder().add_source(File::from_str(defaults, FileFormat::Toml));
        if let Ok(path) = std::env::var("ROLLCALL_CONFIG") {
            builder = builder.add_source(File::new(&path, FileFormat::Toml));
        }
        let source = builder
            .add_source(Environment::default().ignore_empty(true).try_parsing(false))
            .build()
            .map_err(|error| Problems(vec![format!("ROLLCALL_CONFIG: {error}")]))?;
        Ok(Self { source, problems: Vec::new() })
    }

    /// The value of `key`, or a remembered problem and the type's default.
    pub fn get<T: DeserializeOwned + Default>(&mut self, key: &str) -> T {
        self.source.get(key).unwrap_or_else(|error| {
            // The value is not repeated: it may be a secret.
            let what = match error {
                config::ConfigError::NotFound(_) => "is not set".to_owned(),
                config::ConfigError::Type { expected, .. } => format!("must be {expected}"),
                _ => "cannot be read".to_owned(),
            };
            self.problem(key, what);
            T::default()
        })
    }

    /// The value of `key` within `range`, or a remembered problem.
    pub fn within(&mut self, key: &str, range: std::ops::RangeInclusive<u64>) -> u64 {
        let before = self.problems.len();
        let value = self.get(key);
        if self.problems.len() == before && !range.contains(&value) {
            self.problem(key, format!("must be from {} to {}, not {value}", range.start(), range.end()));
        }
        value
    }

    /// The text at `key` as `read` understands it; `None` and a remembered problem where it does not.
    pub fn parse<T, E>(&mut self, key: &str, read: impl FnOnce(&str) -> Result<T, E>, what: &str) -> Option<T> {
        let before = self.problems.len();
        let value = read(&self.get::<String>(key)).ok();
        if value.is_none() && self.problems.len() == before {
            self.problem(key, what);
        }
        value
    }

    /// Remembers what is wrong with `key`.
    pub fn problem(&mut self, key: &str, what: impl fmt::Display) {
        self.problems.push(format!("{} {what}", key.to_uppercase()));
    }

    /// Remembers a problem of `key` unless `holds`.
    pub fn check(&mut self, holds: bool, key: &str, what: impl fmt::Display) {
        if !holds {
            self.problem(key, what);
        }
    }

    /// `value`, if nothing was wrong.
    ///
    /// # Errors
    /// Everything that was.
    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(value) } else { Err(Problems(self.problems)) }
    }
}
