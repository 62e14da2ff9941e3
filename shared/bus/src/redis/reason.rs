//! Why Redis refuses or cannot be reached, for people: its own words or those of the system, and what to do if they do not say it.

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::ClientLike as _,
    types::Version,
};

/// The oldest version that has what Rollcall uses: sharded pub/sub, and scripts with flags.
const OLDEST: u64 = 7;

/// What is known about the server beside the error.
struct Server {
    uses_tls: bool,
    /// Redis has answered this process before.
    has_answered: bool,
    version: Option<Version>,
}

/// The reason for an error. `has_answered`: Redis has answered this process before.
pub(crate) fn reason(client: &Client, error: &Error, has_answered: bool) -> String {
    let (uses_tls, version) = (client.client_config().uses_tls(), client.server_version());
    explain(error, &Server { uses_tls, has_answered, version })
}

fn explain(error: &Error, server: &Server) -> String {
    if let Some(version) = server.version.as_ref().filter(|version| version.major < OLDEST) {
        return format!("Redis {version} is too old: Redis or Valkey {OLDEST} or newer is needed");
    }
    let words = words(error.details());
    match advice(error, &words, server) {
        Some(advice) => format!("{words} ({advice})"),
        None => words,
    }
}

fn advice(error: &Error, words: &str, server: &Server) -> Option<&'static str> {
    let is_new = !server.has_answered;
    match error.kind() {
        // What TLS begins with is an unfinished command to a Redis without it.
        ErrorKind::Timeout if is_new && server.uses_tls => {
            Some("does this port speak TLS? rediss:// needs it; without TLS write redis://")
        }
        ErrorKind::IO if is_new && !server.uses_tls && ends_connection(words) => {
            Some("does this port speak TLS? then write rediss://")
        }
        _ if words.starts_with("NOAUTH") => Some("set REDIS_PASSWORD_FILE, or give the password in REDIS_URL"),
        _ if words.starts_with("WRONGPASS") => Some("check the user in REDIS_URL and REDIS_PASSWORD_FILE"),
        _ if words.starts_with("NOPERM") => Some("deploy/redis/users.acl has the rights that each service needs"),
        _ if words.contains("UnknownIssuer") => {
            Some("no authority that this system trusts issued it; SSL_CERT_FILE names a file with another one")
        }
        _ => None,
    }
}

fn ends_connection(words: &str) -> bool {
    ["Connection reset", "Broken pipe", "unexpected end of file", "eof"].iter().any(|text| words.contains(text))
}

/// fred prints the system's errors as Rust's debug text; the sentence is inside of it.
fn words(details: &str) -> String {
    let inner = |begin: &str, end: &str| details.split_once(begin)?.1.rsplit_once(end).map(|(text, _)| text);
    let text = match details.split_once(' ') {
        Some(("Os", _)) => inner("message: \"", "\""),
        Some(("Custom", _)) => inner("error: ", " }").map(|text| text.trim_matches('"')),
        _ => None,
    };
    text.unwrap_or(details).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = r#"Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }"#;
    const RESET: &str = r#"Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" }"#;
    const NO_HOST: &str =
        r#"Custom { kind: Uncategorized, error: "failed to lookup address information: Name or service not known" }"#;
    const NO_ISSUER: &str = "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }";

    fn explained(kind: ErrorKind, details: &'static str, server: &Server) -> String {
        explain(&Error::new(kind, details), server)
    }

    #[test]
    fn the_words_are_those_of_redis_or_the_system() {
        let server = Server { uses_tls: true, has_answered: true, version: Some(Version::new(7, 0, 15)) };
        for (kind, details, said) in [
            (ErrorKind::IO, REFUSED, "Connection refused"),
            (ErrorKind::IO, NO_HOST, "failed to lookup address information: Name or service not known"),
            (ErrorKind::IO, RESET, "Connection reset by peer"),
            (ErrorKind::Timeout, "Request timed out.", "Request timed out."),
            (ErrorKind::Unknown, "MISCONF Redis is configured to save", "MISCONF Redis is configured to save"),
            (ErrorKind::Unknown, "Os in a text", "Os in a text"),
        ] {
            assert_eq!(explained(kind, details, &server), said);
        }
        for (details, advice) in [
            ("WRONGPASS invalid", "REDIS_PASSWORD_FILE"),
            ("NOAUTH Authentication required.", "REDIS_PASSWORD_FILE"),
            ("NOPERM No permissions to access a channel", "users.acl"),
            (NO_ISSUER, "SSL_CERT_FILE"),
        ] {
            let said = explained(ErrorKind::Auth, details, &server);
            assert!(said.starts_with(&words(details)) && said.contains(advice), "{said}");
        }
    }

    #[test]
    fn tls_is_suspected_until_redis_has_answered() {
        let server = |uses_tls, has_answered| Server { uses_tls, has_answered, version: None };
        assert!(explained(ErrorKind::Timeout, "Request timed out.", &server(true, false)).contains("write redis://"));
        assert!(explained(ErrorKind::IO, RESET, &server(false, false)).contains("write rediss://"));
        for (uses_tls, has_answered) in [(false, true), (true, true)] {
            let server = server(uses_tls, has_answered);
            assert_eq!(explained(ErrorKind::IO, RESET, &server), "Connection reset by peer");
            assert_eq!(explained(ErrorKind::Timeout, "Request timed out.", &server), "Request timed out.");
        }
        assert_eq!(explained(ErrorKind::IO, REFUSED, &server(false, false)), "Connection refused");
    }

    #[test]
    fn an_old_redis_is_named_whatever_it_refuses() {
        let server = Server { uses_tls: false, has_answered: false, version: Some(Version::new(6, 2, 14)) };
        let said = explained(ErrorKind::Unknown, "ERR unknown command 'SSUBSCRIBE'", &server);
        assert_eq!(said, "Redis 6.2.14 is too old: Redis or Valkey 7 or newer is needed");
    }
}
