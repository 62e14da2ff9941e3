//! Why Redis refuses or cannot be reached, for people: its own words or those of the system, and what to do if they do not say it.

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::ClientLike as _,
    types::Version,
};

/// The oldest version that has what Rollcall uses: sharded pub/sub, and scripts with flags.
const OLDEST: u64 = 7;

/// What is known about the server besides the error.
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
    if let Some(sentence) = not_redis(&words).or_else(|| tls(&words)) {
        return format!("{sentence} ({words})");
    }
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
        // In a script Redis has other words for it.
        _ if words.starts_with("NOPERM") || words.contains("The user executing the script can't run") => {
            Some("deploy/redis/users.acl has the rights that each service needs")
        }
        _ => None,
    }
}

/// What answers is something else than Redis.
fn not_redis(words: &str) -> Option<&'static str> {
    words
        .starts_with("Decode Error")
        .then_some("what answers there does not speak Redis' protocol; check host and port of REDIS_URL")
}

/// What rustls says, whose errors come as Rust's debug text.
fn tls(words: &str) -> Option<&'static str> {
    let names = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    if words.starts_with("InvalidMessage(") {
        return Some("what answers there does not speak TLS; rediss:// needs it, without TLS write redis://");
    }
    if words.starts_with("AlertReceived(CertificateRequired)") {
        return Some(
            "Redis asks for a client certificate, and Rollcall has none: set tls-auth-clients no there, and use a password",
        );
    }
    if words.starts_with("AlertReceived(") {
        return Some("the server has ended TLS");
    }
    if !words.starts_with("InvalidCertificate(") {
        return None;
    }
    Some(if names(&["UnknownIssuer", "BadSignature"]) {
        "no authority that this system trusts has issued the server's certificate; SSL_CERT_FILE names a file with the one that has"
    } else if names(&["CaUsedAsEndEntity"]) {
        "the server's certificate is that of an authority, as a self-signed one often is: give it one with CA:FALSE, and name its \
         authority in SSL_CERT_FILE"
    } else if names(&["NotValidForName"]) {
        "the server's certificate is for other names than the host in REDIS_URL; its subjectAltName counts, not its CN"
    } else if names(&["Expired", "NotValidYet"]) {
        "the server's certificate is not valid at this time; renew it, or check the clocks"
    } else {
        "the server's certificate is refused"
    })
}

/// The problem with `REDIS_URL` if the certificates that the system trusts cannot be read. `details` is the library's debug text.
pub(super) fn no_certificates(details: &str) -> String {
    let value = |name: &str| details.split_once(&format!("{name}: \""))?.1.split('"').next();
    let why = match (value("path"), value("message")) {
        (Some(path), Some(message)) => format!("{path}: {message}"),
        _ => details.to_owned(),
    };
    format!(
        "needs the certificates that this system trusts, and SSL_CERT_FILE, SSL_CERT_DIR or the system has none to read ({why})"
    )
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
            ("ERR The user executing the script can't run this command or subcommand script: 1", "users.acl"),
        ] {
            let said = explained(ErrorKind::Auth, details, &server);
            assert!(said.starts_with(&words(details)) && said.contains(advice), "{said}");
        }
    }

    #[test]
    fn what_tls_refuses_is_a_sentence() {
        let server = Server { uses_tls: true, has_answered: false, version: None };
        let certificate = |what: &str| format!("Custom {{ kind: InvalidData, error: InvalidCertificate({what}) }}");
        for (details, said) in [
            (NO_ISSUER.to_owned(), "SSL_CERT_FILE names a file"),
            (certificate("BadSignature"), "SSL_CERT_FILE names a file"),
            (certificate("Other(OtherError(CaUsedAsEndEntity))"), "self-signed"),
            (
                certificate(
                    r#"NotValidForNameContext { expected: DnsName("localhost"), presented: ["DnsName(\"other.example\")"] }"#,
                ),
                "other names than the host",
            ),
            (certificate("ExpiredContext { time: UnixTime(9), not_after: UnixTime(8) }"), "not valid at this time"),
            (certificate("BadEncoding"), "certificate is refused"),
            ("Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }".to_owned(), "write redis://"),
            (
                "Custom { kind: InvalidData, error: AlertReceived(CertificateRequired) }".to_owned(),
                "tls-auth-clients no",
            ),
            ("Custom { kind: InvalidData, error: AlertReceived(HandshakeFailure) }".to_owned(), "ended TLS"),
        ] {
            let explained = explain(&Error::new(ErrorKind::IO, details.clone()), &server);
            assert!(explained.contains(said) && !explained.contains("Custom"), "{details}: {explained}");
        }
        let details = r#"Error { context: "failed to read PEM from file", kind: Io { inner: Os { code: 2, kind: NotFound, message: "No such file or directory" }, path: "/none" } }"#;
        assert!(
            no_certificates(details).ends_with("(/none: No such file or directory)"),
            "{}",
            no_certificates(details)
        );
    }

    #[test]
    fn what_is_no_redis_is_named() {
        let server = Server { uses_tls: false, has_answered: false, version: None };
        let said = explained(ErrorKind::Protocol, "Decode Error: frame_type: Invalid frame type.", &server);
        assert!(said.contains("does not speak Redis' protocol"), "{said}");
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
