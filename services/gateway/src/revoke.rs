//! `presence-gateway revoke`: revokes tokens, for an operator. Takes the settings of a gateway, so it is run where one runs.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use rollcall_bus::{
    redis,
    revocations::{Revocation, Revocations, Subject},
};
use rollcall_protocol::limits::MAX_SAFE_INTEGER;
use rollcall_service::Reader;
use tokio::time::timeout;

use crate::auth::revocations_kept;

const USAGE: &str = "\
Usage: presence-gateway revoke --sub USER | --jti ID [--issued-before SECONDS]

  --sub            all tokens of a user that were issued until 10 s from now
  --jti            the token with this id
  --issued-before  only tokens that were issued before this time, in seconds since 1970; not with --jti

Open sockets with such a token end within a second, on every gateway. The settings of Redis and JWT_MAX_AGE_S are those of the
gateways.";

/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Revokes what the arguments name; returns the exit status of the process.
pub fn main(defaults: &str, args: impl Iterator<Item = String>) -> ExitCode {
    let args: Vec<_> = args.collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match options(args.into_iter()).and_then(|revocation| {
        revoke(defaults, &revocation)?;
        Ok(revocation)
    }) {
        Ok(Revocation { subject: Subject::User(user), .. }) => println!("revoked: tokens of the user {user}"),
        Ok(Revocation { subject: Subject::Token(id), .. }) => println!("revoked: the token {id}"),
        Err(sentence) => {
            eprintln!("{sentence}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Revocation, String> {
    let wrong = |what: &str| format!("{what}\n{USAGE}");
    let (mut subject, mut issued_before) = (None, None);
    while let Some(name) = args.next() {
        let mut value = || args.next().filter(|value| !value.is_empty());
        match name.as_str() {
            "--sub" if subject.is_none() => subject = value().map(Subject::User),
            "--jti" if subject.is_none() => subject = value().map(Subject::Token),
            "--sub" | "--jti" => {
                return Err(wrong("--sub or --jti names one user or one token, and is given once"));
            }
            "--issued-before" if issued_before.is_some() => return Err(wrong("--issued-before is given twice")),
            "--issued-before" => {
                let moment = value().and_then(|text| text.parse().ok()).filter(|moment| *moment <= latest());
                issued_before = Some(moment.ok_or_else(|| {
                    wrong("--issued-before must be a time in seconds since 1970, at most a minute from now")
                })?);
            }
            _ => return Err(wrong(&format!("{name} is not understood"))),
        }
    }
    match subject {
        Some(Subject::Token(_)) if issued_before.is_some() => Err(wrong("--issued-before goes with --sub")),
        // A token has one issue time, and may not even say it.
        Some(Subject::Token(id)) => {
            Ok(Revocation { subject: Subject::Token(id), issued_before: Some(MAX_SAFE_INTEGER) })
        }
        Some(subject) => Ok(Revocation { subject, issued_before }),
        None => Err(wrong("--sub or --jti is missing")),
    }
}

/// A minute from now: the clock of an issuer may be ahead, and a moment far away would lock the user out.
fn latest() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() + 60)
}

fn revoke(defaults: &str, revocation: &Revocation) -> Result<(), String> {
    let mut reader = Reader::open(defaults).map_err(|problems| problems.to_string())?;
    let max_age = Duration::from_secs(reader.within("jwt_max_age_s", 60..=31_536_000));
    let config = redis::Config::read(&mut reader);
    let config = reader.finish(config).map_err(|problems| problems.to_string())?.ok_or("Redis is not configured")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let redis = redis::connect(config).map_err(|error| error.to_string())?;
        let connected = timeout(PATIENCE, redis.connected()).await.map_err(|_| "Redis does not answer")?;
        connected.map_err(|why| format!("not connected to Redis: {why}"))?;
        let revocations = Revocations::new(redis.commands, &redis.subjects, revocations_kept(max_age));
        let recorded = timeout(PATIENCE, revocations.add(std::slice::from_ref(revocation))).await;
        recorded.map_err(|_| "Redis does not answer".to_owned())?.map_err(|fault| fault.message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Revocation, String> {
        options(args.iter().map(|arg| (*arg).to_owned()))
    }

    #[test]
    fn a_user_or_a_token_is_revoked() {
        let user = |issued_before| Revocation { subject: Subject::User("ann".to_owned()), issued_before };
        assert_eq!(read(&["--sub", "ann"]), Ok(user(None)));
        assert_eq!(read(&["--issued-before", "9", "--sub", "ann"]), Ok(user(Some(9))));
        let token = Revocation { subject: Subject::Token("j".to_owned()), issued_before: Some(MAX_SAFE_INTEGER) };
        assert_eq!(read(&["--jti", "j"]), Ok(token));
    }

    #[test]
    fn what_is_not_understood_changes_nothing_and_is_named() {
        for (args, start) in [
            (&[][..], "--sub or --jti is missing"),
            (&["--sub"], "--sub or --jti is missing"),
            (&["--sub", ""], "--sub or --jti is missing"),
            (&["--sub", "a", "--jti", "b"], "--sub or --jti names one"),
            (&["--sub", "a", "--sub", "b"], "--sub or --jti names one"),
            (&["--sub", "a", "--issued-before", "9", "--issued-before", "8"], "--issued-before is given twice"),
            (&["--user", "a"], "--user is not understood"),
            (&["--sub", "a", "--issued-before", "tomorrow"], "--issued-before must be"),
            (&["--sub", "a", "--issued-before", "99999999999"], "--issued-before must be"),
            (&["--jti", "a", "--issued-before", "9"], "--issued-before goes with --sub"),
        ] {
            assert!(read(args).is_err_and(|sentence| sentence.starts_with(start)), "{args:?}");
        }
    }
}
