//! What authentication and budgets cost: connects with joins, and the everyday load, with them and without. Tokens are signed by
//! HS256 before anything is measured.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::json;

use super::Bench;
use crate::actor::Actor;
use crate::actor::member::Member;
use crate::client::Client;
use crate::load::in_parallel;
use crate::load::lane::Lane;
use crate::report::{Report, Row};
use crate::servers::{Servers, Telemetry};

/// Members of the everyday load, on each side.
const MEMBERS: usize = 1000;
/// Members that connect and join at once, several times; they leave again.
const NEWCOMERS: usize = 500;

const SECRET: &[u8] = b"a secret of more than 32 bytes, for the bench alone";

/// The budgets of a gateway, as far as the bench lifts them elsewhere.
const BUDGETS: [(&str, &str); 4] = [
    ("SOCKET_EVENTS_PER_S", "50"),
    ("SOCKET_BYTES_PER_S", "524288"),
    ("CHANNEL_WRITES_PER_S", "100"),
    ("OUTWARD_BYTES", "auto"),
];

/// One side: the system, and what was measured of its newcomers.
struct Side {
    lane: Lane<Member>,
    has_tokens: bool,
    entered: usize,
    cpu: Duration,
}

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let secret = SecretFile::new()?;
    let with = side(bench, Some(&secret)).await?;
    let mut sides = [side(bench, None).await?, with];
    for _ in 0..bench.turns() {
        for side in &mut sides {
            side.newcomers().await?;
        }
    }
    for _ in 0..bench.everyday_turns() {
        for side in &mut sides {
            side.lane.paced(bench.everyday_window()).await?;
        }
    }

    let mut report = Report::default();
    sides.iter_mut().for_each(|side| report.faults.absorb(side.lane.faults()));
    let [off, on] = &sides;
    report.rows = vec![
        Row::new("a connect and a join, with a token: CPU", on.entering_us(), "µs").yardstick(off.entering_us()),
        Row::new("— more than without", on.entering_us() - off.entering_us(), "µs").at_most(100.0),
        Row::new("a plain heartbeat with tokens and budgets: CPU", on.lane.measure.cpu_us(), "µs")
            .yardstick(off.lane.measure.cpu_us())
            .at_most_times(1.05),
    ];
    report.notes.push("auth: HS256; compared with AUTH=off and no budgets; CPU of all services and Redis".to_owned());
    Ok(report)
}

async fn side(bench: &Bench, secret: Option<&SecretFile>) -> io::Result<Side> {
    let mut settings = Vec::new();
    if let Some(SecretFile(path)) = secret {
        settings.extend([("AUTH", "jwt".to_owned()), ("JWT_SECRET_FILE", path.display().to_string())]);
        settings.extend(BUDGETS.map(|(name, value)| (name, value.to_owned())));
    }
    let servers = Servers::rollcall_with(Telemetry::Production, bench.sink.address, &settings).await?;
    let has_tokens = secret.is_some();
    let members = enter(servers.address, has_tokens, MEMBERS, "room").await?;
    Ok(Side { lane: Lane::new(servers, members), has_tokens, entered: 0, cpu: Duration::ZERO })
}

impl Side {
    /// Measures members that connect and join.
    async fn newcomers(&mut self) -> io::Result<()> {
        let before = self.cpu()?;
        let members = enter(self.lane.servers.address, self.has_tokens, NEWCOMERS, "new").await?;
        self.cpu += self.cpu()?.saturating_sub(before);
        self.entered += members.len();
        Ok(())
    }

    fn cpu(&self) -> io::Result<Duration> {
        Ok(self.lane.servers.cpu()?.iter().map(|(_, time)| *time).sum())
    }

    /// CPU of one connect with its join.
    fn entering_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.entered as f64
    }
}

/// Connects members, each with a token of its own if there have to be tokens, and joins them to rooms of two.
async fn enter(
    address: SocketAddr,
    has_tokens: bool,
    count: usize,
    prefix: &'static str,
) -> io::Result<Vec<Actor<Member>>> {
    let handshakes = (0..count).map(|number| (number, if has_tokens { handshake(number) } else { String::new() }));
    in_parallel(handshakes.collect(), move |(number, auth): (usize, String)| async move {
        let client = Client::connect_as(address, &auth).await?;
        Member::join(client, &format!("{prefix}-{}", number / 2), &format!("u{number}")).await
    })
    .await
}

/// The JSON of `auth` with a token.
fn handshake(number: usize) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = json!({
        "sub": format!("u{number}"), "iat": now, "exp": now + 3600,
        "rooms": [{ "room": "**", "allow": ["join", "metadata:read", "metadata:write", "lock"] }],
    });
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    json!({ "token": format!("{signed}.{}", encode(signature.as_ref())) }).to_string()
}

/// The secret in a file, which is removed at the end.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("rollcall-bench-secret-{}", std::process::id()));
        fs::write(&path, SECRET)?;
        Ok(Self(path))
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
