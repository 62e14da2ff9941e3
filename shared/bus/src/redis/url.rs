//! What is wrong with a Redis URL, for people: what the library refuses without a reason, and what it ignores. Nothing of the URL is
//! repeated but its scheme and the names of its parameters, because it may have a password.

const SCHEMES: &str = "redis:// or rediss:// (with TLS), redis-cluster://, rediss-cluster://, redis-sentinel://, rediss-sentinel://, \
                       or any of them with valkey";
const PASSWORD: &str =
    "write @ / ? # % and spaces in a password as %40 %2F %3F %23 %25 %20, or put it into REDIS_PASSWORD_FILE";
/// Names the primary that sentinels are asked for.
const SERVICE: &str = "sentinelServiceName";
/// Names a further server of a cluster.
const NODE: &str = "node";

/// What is wrong with `url`; follows the name of the setting.
pub(super) fn problem(url: &str) -> Option<String> {
    check(url.trim()).err()
}

fn check(url: &str) -> Result<(), String> {
    if url.starts_with(['"', '\'']) {
        return Err("begins with a quotation mark: write it without any".to_owned());
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("has no scheme: write redis://HOST:PORT; there are {SCHEMES}"));
    };
    let kind = kind(scheme)?;
    if rest.contains(char::is_whitespace) {
        return Err(format!("has a space: {PASSWORD}"));
    }
    let (authority, path_and_more) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (path, query) = path_and_more.split_once('?').unwrap_or((path_and_more, ""));
    let host_and_port = match authority.rsplit_once('@') {
        _ if path_and_more.contains('@') => return Err(format!("has a / ? or # before its last @: {PASSWORD}")),
        Some((_, host_and_port)) => host_and_port,
        None => authority,
    };
    server(host_and_port)?;
    if path_and_more.contains('#') {
        return Err(format!("has a #, behind which nothing is read: {PASSWORD}"));
    }
    let database = path.strip_prefix('/').unwrap_or(path);
    if !database.is_empty() && database.parse::<u8>().is_err() {
        return Err("has a path that is not a database number; end the URL after the port".to_owned());
    }
    parameters(query, kind)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Cluster,
    Sentinel,
}

fn kind(scheme: &str) -> Result<Kind, String> {
    let scheme = scheme.to_ascii_lowercase();
    let (family, kind) = scheme.split_once('-').unwrap_or((&scheme, ""));
    let kind = match kind {
        "" if !scheme.ends_with('-') => Some(Kind::Server),
        "cluster" => Some(Kind::Cluster),
        "sentinel" => Some(Kind::Sentinel),
        _ => None,
    };
    match kind.filter(|_| ["redis", "rediss", "valkey", "valkeys"].contains(&family)) {
        Some(kind) => Ok(kind),
        // A password may stand before the first `://`.
        None if scheme.len() > 24 || !scheme.bytes().all(|byte| byte.is_ascii_lowercase() || b"+-".contains(&byte)) => {
            Err(format!("has a scheme that is not one for Redis: there are {SCHEMES}"))
        }
        None => Err(format!("has the scheme `{scheme}`, which is not one for Redis: there are {SCHEMES}")),
    }
}

/// Checks `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
fn server(text: &str) -> Result<(), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if host.is_empty() {
        return Err("has no host: write redis://HOST:PORT".to_owned());
    }
    if host.contains(',') || (host.contains(':') && !host.starts_with('[')) {
        return Err(format!(
            "names more than one host and port: further servers of a cluster are ?{NODE}=HOST:PORT, and an IPv6 address stands in []"
        ));
    }
    if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return Err(format!("has a port that is not a number from 1 to 65535 ({PASSWORD})"));
    }
    Ok(())
}

/// Checks the names of parameters: one that the library does not know would do nothing.
fn parameters(query: &str, kind: Kind) -> Result<(), String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut has_service = false;
    for (name, value) in pairs {
        match (name, kind) {
            (SERVICE, Kind::Sentinel) if !value.is_empty() => has_service = true,
            (NODE, Kind::Cluster | Kind::Sentinel) => {
                server(value).map_err(|what| format!("has a parameter `{NODE}` that {what}"))?;
                if !value.contains(':') {
                    return Err(format!("has a parameter `{NODE}` without a port: write {NODE}=HOST:PORT"));
                }
            }
            _ => return Err(format!("has the parameter `{name}`, which does nothing here: leave it out")),
        }
    }
    if kind == Kind::Sentinel && !has_service {
        return Err(format!("does not say which primary the sentinels watch: add ?{SERVICE}=NAME"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_has_no_problem() {
        for url in [
            "redis://127.0.0.1:6379",
            " redis://127.0.0.1:6379\n",
            "REDIS://h",
            "redis://h/",
            "redis://h:1/0",
            "redis://h:1/15",
            "rediss://user:p@ss%2F@h_1.example:6380",
            "valkey://:secret@[::1]:6379",
            "valkeys-cluster://h?node=a:1&node=b:2",
            "redis-sentinel://h:1?sentinelServiceName=mymaster&node=i:2",
        ] {
            assert_eq!(problem(url), None, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, said) in [
            ("", "no scheme"),
            ("secret", "no scheme"),
            ("127.0.0.1:6379", "no scheme"),
            ("redis:/h:1", "no scheme"),
            ("'redis://secret@h:1'", "quotation mark"),
            ("http://secret@h:1", "`http`"),
            ("redis+tls://h:1", "`redis+tls`"),
            ("redis-tls://h:1", "`redis-tls`"),
            ("rediss+cluster://h:1", "`rediss+cluster`"),
            ("unix:///tmp/x", "`unix`"),
            ("redis-://h", "`redis-`"),
            ("secret1://h", "not one for Redis"),
            ("redis://", "no host"),
            ("redis:///0", "no host"),
            ("redis://:6379", "no host"),
            ("redis://user:secret@:6379", "no host"),
            ("redis://my host:6379", "space"),
            ("redis://:secret word@h:1", "%20"),
            ("redis://:sec/ret@h:1", "%2F"),
            ("redis://user:p@ss?secret@h:1", "%3F"),
            ("redis://:sec#ret@h:1", "%23"),
            ("redis://h:1#secret", "#"),
            ("redis://h:99999", "65535"),
            ("redis://h:0", "65535"),
            ("redis://h:secret", "65535"),
            ("redis://h:1,i:2", "?node="),
            ("redis://::1:6379", "[]"),
            ("redis://h:1/secret", "not a database number"),
            ("redis://h:1/0/1", "not a database number"),
            ("redis://h:1?db=secret", "`db`"),
            ("redis://h:1?node=i:1", "`node`"),
            ("redis-cluster://h:1?node=i", "without a port"),
            ("redis-cluster://h:1?node=i:x", "65535"),
            ("redis-sentinel://h:1", "sentinelServiceName="),
            ("redis-sentinel://h:1?sentinelServiceName=", "`sentinelServiceName`"),
        ] {
            let problem = problem(url).unwrap_or_else(|| panic!("{url} is accepted"));
            assert!(problem.contains(said) && !problem.contains("secret"), "{url}: {problem}");
        }
    }
}
