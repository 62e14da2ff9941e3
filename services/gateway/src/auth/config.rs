//! The settings; `default.toml` explains each.

use std::{net::IpAddr, sync::Arc};

use rollcall_service::Reader;

use super::{
    claims::Rules,
    fetch::Endpoint,
    file::{Content, KeyFile},
    jwks::{Jwks, MIN_PERIOD},
    outsiders::Outsiders,
    rights::Rights,
    store::Store,
};

/// The settings, validated.
pub(crate) enum Config {
    /// Anyone may be anyone.
    Off(Outsiders),
    /// Clients have tokens.
    Jwt(Box<Settings>),
}

/// What tokens must be like.
pub(crate) struct Settings {
    /// `jwt_keys_file`, `jwt_jwks_url` or `jwt_secret_file`
    pub(super) store: Store,
    /// `jwt_issuer`
    pub(super) issuer: Option<String>,
    /// `jwt_audience`
    pub(super) audience: Option<String>,
    /// `jwt_max_age_s`, `jwt_default_rooms`
    pub(super) rules: Rules,
}

/// The settings that name keys.
const KEYS: [&str; 3] = ["jwt_keys_file", "jwt_jwks_url", "jwt_secret_file"];

impl Config {
    /// Reads the settings; the reader collects the problems.
    pub(crate) fn read(reader: &mut Reader) -> Option<Self> {
        let max_age_s = reader.within("jwt_max_age_s", 60..=31_536_000);
        let default_rights = default_rights(reader);
        let outsiders = reader.parse("metadata_outsiders", Outsiders::parse, "must be allow or refuse");
        let issuer = text(reader, "jwt_issuer");
        let audience = text(reader, "jwt_audience");
        let named: Vec<_> = KEYS.into_iter().filter(|key| text(reader, key).is_some()).collect();
        match (reader.get::<String>("auth").as_str(), &*named) {
            ("off", _) => outsiders.map(Self::Off),
            ("jwt", [one]) => {
                let store = store(reader, one)?;
                let rules = Rules { max_age_s, default_rights: default_rights? };
                Some(Self::Jwt(Box::new(Settings { store, issuer, audience, rules })))
            }
            ("jwt", _) => {
                reader.problem(
                    "auth",
                    "is jwt, which needs exactly one of JWT_KEYS_FILE, JWT_JWKS_URL and JWT_SECRET_FILE",
                );
                None
            }
            ("", []) if is_loopback(reader) => outsiders.map(Self::Off),
            ("", []) => {
                reader.problem(
                    "auth",
                    "must be jwt or off, because HOST is reachable from other machines; with off, any client may claim to be any user",
                );
                None
            }
            ("", _) => {
                reader.problem("auth", "must be jwt for the keys that are named to be used, or off");
                None
            }
            _ => {
                reader.problem("auth", "must be jwt or off");
                None
            }
        }
    }
}

fn text(reader: &mut Reader, key: &str) -> Option<String> {
    Some(reader.get::<String>(key)).filter(|text| !text.is_empty())
}

/// A HOST that is no address is reported where the service reads it.
fn is_loopback(reader: &mut Reader) -> bool {
    reader.get::<String>("host").parse().is_ok_and(|host: IpAddr| host.is_loopback())
}

fn default_rights(reader: &mut Reader) -> Option<Rights> {
    let Some(json) = text(reader, "jwt_default_rooms") else { return Some(Rights::default()) };
    Rights::parse(&json).map_err(|what| reader.problem("jwt_default_rooms", what)).ok()
}

fn store(reader: &mut Reader, key: &str) -> Option<Store> {
    let value: String = reader.get(key);
    let content = match key {
        "jwt_jwks_url" => {
            let endpoint =
                reader.parse(key, Endpoint::parse, "must be an https:// URL (http:// on this machine only)")?;
            return Some(Store::Url(Arc::new(Jwks::new(endpoint, MIN_PERIOD))));
        }
        "jwt_secret_file" => Content::Secret,
        _ => Content::Keys,
    };
    let file = KeyFile::open(value.into(), content).map_err(|what| reader.problem(key, what)).ok()?;
    Some(Store::File(Arc::new(file)))
}

#[cfg(test)]
mod tests;
