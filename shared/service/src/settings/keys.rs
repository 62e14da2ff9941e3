//! The keys that the file of `ROLLCALL_CONFIG` may have: those of all services, because they share it.

/// Every key of every service's `default.toml`.
const KEYS: [&str; 37] = [
    "address_handshakes_per_s",
    "admin_port",
    "auth",
    "channel_writes_per_s",
    "cors_origins",
    "deployment_environment",
    "drain_ms",
    "heartbeat_sample_ratio",
    "host",
    "jwt_audience",
    "jwt_default_rooms",
    "jwt_issuer",
    "jwt_jwks_url",
    "jwt_keys_file",
    "jwt_max_age_s",
    "jwt_secret_file",
    "log_format",
    "max_sessions",
    "metadata_outsiders",
    "metadata_ttl_ms",
    "outward_bytes",
    "ping_interval_ms",
    "ping_timeout_ms",
    "playground",
    "playground_traces",
    "port",
    "presence_liveness",
    "presence_reaper_interval_ms",
    "presence_ttl_ms",
    "redis_key_prefix",
    "redis_password_file",
    "redis_url",
    "rust_log",
    "socket_bytes_per_s",
    "socket_events_per_s",
    "socket_io_path",
    "trusted_proxies",
];
/// A key that is so many letters away from another one is not meant as that.
const FAR: usize = 3;

/// What is wrong with keys of the file, by name. `defaults` is the embedded TOML of the service that reads it.
pub(super) fn unknown<'a>(keys: impl Iterator<Item = &'a String>, defaults: &str) -> Vec<String> {
    let is_known = |key: &str| KEYS.contains(&key) || has_key(defaults, key);
    let mut unknown: Vec<_> = keys.filter(|key| !is_known(key)).collect();
    unknown.sort_unstable();
    unknown.into_iter().map(|key| format!("ROLLCALL_CONFIG: no service has the key `{key}`{}", meant(key))).collect()
}

/// Whether a service's embedded TOML has a key.
pub(super) fn has_key(defaults: &str, key: &str) -> bool {
    defaults.lines().any(|line| line.split(" = ").next() == Some(key))
}

fn meant(key: &str) -> String {
    let key = key.to_lowercase().replace('-', "_");
    let nearest = KEYS.into_iter().map(|known| (distance(&key, known), known)).min();
    match nearest {
        Some((away, known)) if away < FAR => format!("; did you mean {known}?"),
        _ => "; keys are the variables' names in small letters".to_owned(),
    }
}

/// How many letters have to be changed, added or taken away (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_the_services() {
        let services = concat!(env!("CARGO_MANIFEST_DIR"), "/../../services");
        let folders = std::fs::read_dir(services).unwrap();
        let defaults: Vec<_> = folders
            .map(|folder| std::fs::read_to_string(folder.unwrap().path().join("default.toml")).unwrap())
            .collect();
        let mut keys: Vec<_> =
            defaults.iter().flat_map(|text| text.lines()).filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
        keys.retain(|key| !key.starts_with('#'));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys, KEYS);
    }

    #[test]
    fn a_key_that_no_service_has_is_named_with_the_one_that_was_meant() {
        let named =
            |keys: &[&str]| unknown(keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>().iter(), "own = 1");
        assert_eq!(named(&["own", "redis_url", "admin_port", "cors_origins"]), [""; 0]);
        let problems = named(&["redis_ulr", "cors-origins", "colour", "PORT"]);
        assert_eq!(problems.len(), 4);
        for (name, advice) in [
            ("redis_ulr", "mean redis_url?"),
            ("cors-origins", "mean cors_origins?"),
            ("PORT", "mean port?"),
            ("colour", "small"),
        ] {
            let problem = problems.iter().find(|problem| problem.contains(&format!("`{name}`"))).unwrap();
            assert!(problem.starts_with("ROLLCALL_CONFIG") && problem.contains(advice), "{problem}");
        }
    }
}
