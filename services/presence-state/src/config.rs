//! The settings of presence-state; `default.toml` explains each.

use service::Reader;

/// What `default.toml` lists, checked.
pub struct Config {
    /// `redis_url`, `redis_password_file`
    pub redis: fred::types::config::Config,
    /// `admin_port`
    pub admin_port: u16,
    /// `presence_ttl_ms`
    pub ttl_ms: u64,
    /// `metadata_ttl_ms`
    pub metadata_ttl_ms: u64,
}

impl Config {
    /// Reads the settings; what is wrong with them stays with the reader.
    pub fn load(reader: &mut Reader) -> Option<Self> {
        let admin_port = reader.within("admin_port", 0..=65_535) as u16;
        let ttl_ms = reader.within("presence_ttl_ms", 3_000..=3_600_000);
        let metadata_ttl_ms = reader.within("metadata_ttl_ms", 1_000..=31_536_000_000);
        let redis = bus::redis::settings(reader)?;
        Some(Self { redis, admin_port, ttl_ms, metadata_ttl_ms })
    }
}
