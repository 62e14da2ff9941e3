//! The settings of the reaper; `default.toml` explains each.

use std::time::Duration;

use rollcall_service::Reader;

/// What `default.toml` lists, checked.
pub struct Config {
    /// `redis_url`, `redis_password_file`, `redis_key_prefix`
    pub redis: rollcall_bus::redis::Config,
    /// `admin_port`
    pub admin_port: u16,
    /// `presence_reaper_interval_ms`
    pub interval: Duration,
}

impl Config {
    /// Reads the settings; the reader collects errors.
    pub fn load(reader: &mut Reader) -> Option<Self> {
        let admin_port = reader.within("admin_port", 0..=65_535) as u16;
        let interval_ms = reader.within("presence_reaper_interval_ms", 100..=600_000);
        let redis = rollcall_bus::redis::Config::read(reader)?;
        Some(Self { redis, admin_port, interval: Duration::from_millis(interval_ms) })
    }
}
