//! What a token says about a client: asked at the connect and at a refresh.

use std::sync::Arc;

use rollcall_bus::{Bus, revocations::Revocations};
use rollcall_protocol::{Fault, client::Token};
use rollcall_service::Tasks;

use super::{
    Identity, Verifier,
    permit::unauthenticated,
    revocations_kept,
    sessions::{Session, Sessions},
};

/// The tokens of all clients.
pub(crate) struct Tokens {
    verifier: Verifier,
    revocations: Arc<Revocations>,
    sessions: Arc<Sessions>,
}

impl Tokens {
    /// Starts to check the age of tokens and to follow what is revoked.
    pub(super) fn start(verifier: Verifier, bus: &Bus, tasks: &Tasks) -> Self {
        let sessions = Arc::<Sessions>::default();
        sessions.start(tasks);
        let revocations = bus.follow_revocations(revocations_kept(verifier.max_age()), {
            let sessions = Arc::clone(&sessions);
            move |revocations| sessions.check(revocations)
        });
        Self { verifier, revocations, sessions }
    }

    /// Who a token says that its client is.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`: there is no token, or it is not valid. `UNAVAILABLE`: that cannot be known now.
    pub(crate) async fn identify(&self, token: Option<&Token>) -> Result<Identity, Fault> {
        let token =
            token.ok_or_else(|| unauthenticated("a token is missing: connect with io(url, { auth: { token } })"))?;
        if !self.revocations.are_known() {
            return Err(Fault::unavailable());
        }
        let identity = self.verifier.verify(token.as_str()).await?;
        if identity.is_revoked(&self.revocations) {
            return Err(unauthenticated("the token was revoked"));
        }
        Ok(identity)
    }

    /// Whether it is known what is revoked.
    pub(super) fn check_list(&self) -> Result<(), String> {
        if self.revocations.are_known() {
            return Ok(());
        }
        Err(self.revocations.refused().map_or_else(
            || "revoked tokens are not known yet".to_owned(),
            |reason| format!("revoked tokens cannot be read: {reason}"),
        ))
    }

    /// Watches a session that began with a token, which may have been revoked since it was checked.
    pub(crate) fn watch(&self, session: &Arc<impl Session>) {
        self.sessions.watch(Arc::downgrade(session) as _);
        self.check(&**session);
    }

    /// Ends a session if its token was revoked since it was checked.
    pub(crate) fn check(&self, session: &impl Session) {
        session.end_if_revoked(&self.revocations);
    }
}
