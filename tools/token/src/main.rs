//! `./dev token`: prints a token for development, signed with a secret that is made on first use. Services do not use this program,
//! and no image has it.

mod claims;
mod secret;

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use crate::claims::{Claims, Grant};

const USAGE: &str = "\
Usage: ./dev token --sub USER --room 'PATTERN=RIGHT,…' [--room …] [--info JSON] [--ttl SECONDS] [--jti ID]
       ./dev token revoke --sub USER | --jti ID

  --sub    the user
  --room   what the token allows in the rooms of a pattern: join, observe, metadata:read, metadata:write, lock; may be repeated
  --info   what other members see of the user: a JSON object
  --ttl    how long the token is valid; 3600 by default
  --jti    the token's own id, by which it can be revoked

Example: ./dev token --sub ann --room 'doc:*=join,lock' --info '{\"name\":\"Ann\"}'";

/// How long a token is valid, in seconds.
const DEFAULT_TTL_S: u64 = 3_600;

/// The exit code if the command was typed wrong, as of every command of `./dev`.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::read(args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(MISUSED);
        }
    };
    match token(options) {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Options {
    secret_file: PathBuf,
    claims: Claims,
    ttl_s: Option<u64>,
}

fn token(options: Options) -> Result<String, String> {
    let Options { secret_file, mut claims, ttl_s } = options;
    let secret = secret::read_or_make(&secret_file)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "the clock is wrong")?.as_secs();
    claims.iat = now;
    claims.exp = now + ttl_s.unwrap_or(DEFAULT_TTL_S);
    claims.sign(&secret)
}

impl Options {
    fn read(args: Vec<String>) -> Result<Self, String> {
        let mut options = Self::default();
        let (mut args, mut seen) = (args.into_iter(), Vec::new());
        while let Some(name) = args.next() {
            if seen.contains(&name) && name != "--room" {
                return Err(format!("{name} is given twice; only --room may be repeated"));
            }
            seen.push(name.clone());
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"));
            match name.as_str() {
                "--secret-file" => options.secret_file = value()?.into(),
                "--sub" => options.claims.sub = value()?,
                "--room" => options.claims.rooms.push(Grant::parse(&value()?)?),
                "--info" => options.claims.info = Some(claims::object(value()?)?),
                "--jti" => options.claims.jti = Some(value()?),
                "--ttl" => {
                    let ttl_s = value()?.parse().ok().filter(|ttl_s| (1..=31_536_000).contains(ttl_s));
                    options.ttl_s = Some(ttl_s.ok_or("--ttl must be a number of seconds, at most a year")?);
                }
                _ => return Err(format!("unknown option '{name}'\n{USAGE}")),
            }
        }
        if options.claims.sub.is_empty() {
            return Err(format!("--sub is missing\n{USAGE}"));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Options, String> {
        Options::read(args.iter().map(|arg| (*arg).to_owned()).collect())
    }

    #[test]
    fn options_are_read() {
        let options = read(&["--sub", "ann", "--room", "a=join", "--room", "b:*=lock", "--ttl", "60"]).unwrap();
        assert_eq!((options.claims.sub.as_str(), options.claims.rooms.len(), options.ttl_s), ("ann", 2, Some(60)));
    }

    #[test]
    fn wrong_options_are_named() {
        for (args, start) in [
            (&[][..], "--sub is missing"),
            (&["--sub"], "--sub needs a value"),
            (&["--user", "ann"], "unknown option '--user'"),
            (&["--sub", "ann", "--ttl", "0"], "--ttl must be"),
            (&["--sub", "ann", "--ttl", "1h"], "--ttl must be"),
            (&["--sub", "ann", "--info", "[]"], "--info must be"),
            (&["--sub", "ann", "--room", "doc"], "--room must be"),
            (&["--sub", "ann", "--sub", "bob"], "--sub is given twice"),
            (&["--sub", "ann", "--sub", "ann"], "--sub is given twice"),
            (&["--sub", "ann", "--info", "{}", "--info", "{}"], "--info is given twice"),
            (&["--jti", "a", "--sub", "ann", "--jti", "b"], "--jti is given twice"),
            (&["--sub", "ann", "--ttl", "60", "--ttl", "90"], "--ttl is given twice"),
            (&["--secret-file", "a", "--sub", "ann", "--secret-file", "b"], "--secret-file is given twice"),
        ] {
            assert!(read(args).err().is_some_and(|error| error.starts_with(start)), "{args:?}");
        }
    }
}
