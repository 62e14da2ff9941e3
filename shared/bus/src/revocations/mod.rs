//! Revoked tokens: a list in Redis that every gateway knows within a second.
//!
//! A revocation names a user or a token and a moment: what was issued before that is not valid any more. It is kept for as long
//! as a token may be valid. Each gateway reads what is new twice a second, which also works when messages get lost. Gateways
//! keep their own copy: if Redis lost a revocation, they write it again.
//!
//! - `known`: the copy. Here: the exchange with Redis.

mod known;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use fred::clients::Client;
use parking_lot::{Mutex, RwLock};
use rollcall_protocol::{Code, Fault};
use tokio::time::{MissedTickBehavior, interval};
use tracing::Span;

use self::known::Known;
use crate::{
    redis::{self, Error},
    script::Script,
    subjects::Subjects,
};

/// From one look at the list to the next: with the answer, well below the second within which open sockets end.
const READ_EVERY: Duration = Duration::from_millis(500);
/// The most revocations that are kept. In Redis they take some 25 MB, in each gateway as much.
const MOST: usize = 100_000;
/// The most that one script call reads or writes: 1,000 take Redis about 1 ms.
const PAGE: usize = 1_000;

static ADD: LazyLock<Script> =
    LazyLock::new(|| Script::new("revocations_add", include_str!("../scripts/revocations_add.lua")));
static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new("revocations_read", include_str!("../scripts/revocations_read.lua")));

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All tokens of a user (the claim `sub`).
    User(String),
    /// The token with this id (the claim `jti`).
    Token(String),
}

impl Subject {
    fn text(&self) -> String {
        match self {
            Self::User(user) => format!("sub:{user}"),
            Self::Token(id) => format!("jti:{id}"),
        }
    }
}

/// A subject, and the moment (in seconds since 1970) before which its tokens were issued. Without a moment: all that were issued
/// until now by issuers whose clocks are at most 10 s ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Whose tokens.
    pub subject: Subject,
    /// Only those that were issued before.
    pub issued_before: Option<u64>,
}

/// The revocations that this process knows.
pub struct Revocations {
    commands: Client,
    keys: Vec<String>,
    /// For how long a token may be valid.
    kept: Duration,
    known: RwLock<Known>,
    /// Why Redis refuses to read the list, if it does.
    refused: Mutex<Option<String>>,
}

/// Now, in microseconds; how many revocations Redis has that have not ended; subject, moment and number of each new one.
type Page = (u64, usize, Vec<String>);

impl Revocations {
    /// The list behind this connection. `kept` is the longest life of a token; all processes need the same.
    pub fn new(commands: Client, subjects: &Subjects, kept: Duration) -> Arc<Self> {
        let keys = subjects.revocations().into();
        Arc::new(Self { commands, keys, kept, known: RwLock::default(), refused: Mutex::default() })
    }

    /// Records revocations. All processes know them within a second.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis does not answer; they may have been recorded. `OVERLOADED`: there are 100,000 already; none was recorded.
    pub async fn add(&self, revocations: &[Revocation]) -> Result<(), Fault> {
        let each = |one: &Revocation| (one.subject.text(), one.issued_before.unwrap_or(0));
        self.write(revocations.iter().map(each)).await
    }

    async fn write(&self, revocations: impl Iterator<Item = (String, u64)>) -> Result<(), Fault> {
        let revocations: Vec<_> = revocations.collect();
        for page in revocations.chunks(PAGE) {
            let mut args = vec![self.kept.as_secs().to_string().into(), MOST.to_string().into()];
            args.extend(page.iter().flat_map(|(subject, moment)| [subject.as_str().into(), moment.to_string().into()]));
            let run = ADD.run::<bool>(&self.commands, self.keys.clone(), args);
            match redis::observed(Span::none(), "evalsha", ADD.name(), run).await {
                Ok(true) => {}
                Ok(false) => return Err(Fault::new(Code::Overloaded, format!("{MOST} tokens are revoked already"))),
                Err(error) => {
                    tracing::warn!(error = error.details(), "revocations not recorded");
                    return Err(Fault::unavailable());
                }
            }
        }
        Ok(())
    }

    /// Whether a token is revoked. `issued_at` is in seconds since 1970; a token that does not say when it was issued was issued
    /// before everything.
    pub fn cover(&self, user: &str, token_id: Option<&str>, issued_at: Option<u64>) -> bool {
        let issued_at = issued_at.unwrap_or(0);
        let user = Subject::User(user.to_owned()).text();
        let token = token_id.map(|id| Subject::Token(id.to_owned()).text());
        let known = self.known.read();
        [Some(user), token].iter().flatten().any(|subject| known.covers(subject, issued_at))
    }

    /// Whether the list was read since this process began. Before that no token can be known to be valid.
    pub fn are_known(&self) -> bool {
        self.known.read().is_complete()
    }

    /// Reads the list forever; calls `on_new` after new revocations.
    pub(crate) async fn follow(self: Arc<Self>, on_new: Box<dyn Fn(&Self) + Send + Sync>) {
        let mut tick = interval(READ_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let refused = self.read(&on_new).await.err().and_then(|error| self.reason(&error));
            let mut before = self.refused.lock();
            if let Some(reason) = refused.as_ref().filter(|reason| before.as_ref() != Some(reason)) {
                tracing::warn!(error = %reason, "revoked tokens cannot be read");
            }
            *before = refused;
        }
    }

    /// Why Redis refuses this script, although it may answer others. Why it answers nothing is reported by the lease.
    fn reason(&self, error: &Error) -> Option<String> {
        let refuses = ["NOPERM", "ERR"].iter().any(|code| error.details().starts_with(code));
        refuses.then(|| redis::reason(&self.commands, error, true))
    }

    /// Why the list is not known, if Redis refuses to read it.
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().clone()
    }

    /// Reads what is new, and calls `on_new` after each page of it. Writes again what Redis lost.
    async fn read(&self, on_new: &(dyn Fn(&Self) + Send + Sync)) -> Result<(), Error> {
        loop {
            let args = [self.known.read().last().to_string(), PAGE.to_string(), self.kept.as_secs().to_string()];
            let args = args.map(Into::into).to_vec();
            let run = READ.run::<Page>(&self.commands, self.keys.clone(), args);
            let (now_us, recorded, page) = redis::observed(Span::none(), "evalsha", READ.name(), run).await?;
            let is_last = page.len() < 3 * PAGE;
            let (is_new, lost) = {
                let mut known = self.known.write();
                let is_new = known.apply(&page);
                known.end_before(now_us.saturating_sub(self.kept.as_secs() * 1_000_000));
                (is_new, if is_last { known.complete(recorded) } else { None })
            };
            if is_new {
                on_new(self);
            }
            if let Some(lost) = lost {
                tracing::warn!(count = lost.len(), "Redis lost revocations; writing them again");
                let _ = self.write(lost.into_iter()).await;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}
