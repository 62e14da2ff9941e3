//! A Lua script: called by its hash, sent in full when Redis does not know it (after a restart or `SCRIPT FLUSH`).

use fred::{
    clients::Client,
    error::Error,
    interfaces::LuaInterface as _,
    types::{FromValue, MultipleKeys, Value},
    util::sha1_hash,
};

use crate::redis::redirected;

/// A script and its hash.
pub struct Script {
    name: &'static str,
    source: String,
    hash: String,
}

impl Script {
    /// A script from its source.
    pub fn new(name: &'static str, source: impl Into<String>) -> Self {
        let source = source.into();
        let hash = sha1_hash(&source);
        Self { name, source, hash }
    }

    /// Its file's name without the extension, as used in traces.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it; again if it was redirected and has not run.
    ///
    /// # Errors
    /// Any error of Redis or of the connection.
    pub async fn run<R: FromValue>(
        &self,
        client: &Client,
        keys: impl Into<MultipleKeys>,
        args: Vec<Value>,
    ) -> Result<R, Error> {
        let keys = keys.into();
        redirected(|| self.run_once(client, &keys, &args)).await
    }

    async fn run_once<R: FromValue>(&self, client: &Client, keys: &MultipleKeys, args: &[Value]) -> Result<R, Error> {
        match client.evalsha(self.hash.as_str(), keys.clone(), args.to_vec()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client.eval(self.source.as_str(), keys.clone(), args.to_vec()).await
            }
            result => result,
        }
    }
}
