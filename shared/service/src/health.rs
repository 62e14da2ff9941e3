//! The pages for operators and orchestrators: `/healthz` (alive), `/readyz` (ready, or why not), `/version`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, Router, http::StatusCode, routing::get};
use serde_json::{Value, json};

use crate::Context;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A service's readiness: named parts, each ready or with the reason why not.
pub struct Health {
    context: Context,
    checks: Vec<(&'static str, Check)>,
}

impl Health {
    /// Without any check a service is ready.
    pub fn new(context: Context) -> Self {
        Self { context, checks: Vec::new() }
    }

    /// Adds a part. Its check runs on every request and must not block.
    #[must_use]
    pub fn part(mut self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.checks.push((name, Box::new(check)));
        self
    }

    /// The routes of the three pages.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let Context { service, version, commit, instance, .. } = &self.context;
        let version = json!({ "service": service, "version": version, "commit": commit, "instance": instance });
        let health = Arc::new(self);
        Router::new()
            .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
            .route("/readyz", get(move || async move { health.readiness() }))
            .route("/version", get(move || async move { Json(version) }))
    }

    fn readiness(&self) -> (StatusCode, Json<Value>) {
        let results: Vec<_> = self.checks.iter().map(|(name, check)| (*name, check())).collect();
        let ready = results.iter().all(|(_, result)| result.is_ok());
        let checks: BTreeMap<_, _> =
            results.into_iter().map(|(name, result)| (name, result.err().unwrap_or_else(|| "ok".to_owned()))).collect();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(json!({ "ready": ready, "checks": checks })))
    }
}
