//! The settings of presence-state; `default.toml` explains each.

use rollcall_service::Reader;

/// The settings, validated.
pub struct Config {
    /// `redis_url`, `redis_password_file`
    pub redis: rollcall_bus::redis::Config,
    /// `admin_port`
    pub admin_port: u16,
    /// `metadata_ttl_ms`
    pub metadata_ttl_ms: u64,
}

impl Config {
    /// Reads the settings; the reader collects the problems.
    pub fn load(reader: &mut Reader) -> Option<Self> {
        let admin_port = reader.within("admin_port", 0..=65_535) as u16;
        let metadata_ttl_ms = reader.within("metadata_ttl_ms", 1_000..=31_536_000_000);
        let redis = rollcall_bus::redis::Config::read(reader)?;
        Some(Self { redis, admin_port, metadata_ttl_ms })
    }
}
