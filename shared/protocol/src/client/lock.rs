//! The payloads of `lock:*`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Request,
    payload::{channel, fields, id, number},
};
use crate::{
    fault::Fault,
    ids::{ChannelId, LockId, LockName},
    limits::{DEFAULT_LOCK_TTL_MS, MAX_LOCK_TTL_MS, MAX_LOCK_WAIT_MS, MAX_SAFE_INTEGER, MIN_LOCK_TTL_MS},
};

/// A request about locks.
#[derive(Debug)]
pub enum LockAsk {
    /// `lock:acquire`
    Acquire {
        /// The lock.
        lock: LockId,
        /// How long it is held without a renewal, in milliseconds.
        ttl_ms: u64,
        /// How long to wait for it, in milliseconds.
        wait_ms: u64,
    },
    /// `lock:renew`
    Renew {
        /// The lock.
        lock: LockId,
        /// The fencing token under which it is held.
        fence: u64,
        /// How long from now on, in milliseconds.
        ttl_ms: u64,
    },
    /// `lock:release`
    Release {
        /// The lock.
        lock: LockId,
        /// The fencing token under which it is held.
        fence: u64,
    },
    /// `lock:get`
    Get {
        /// The channel.
        channel: ChannelId,
        /// Only this lock.
        name: Option<LockName>,
    },
}

impl LockAsk {
    /// The channel.
    pub fn channel(&self) -> &ChannelId {
        match self {
            LockAsk::Acquire { lock, .. } | LockAsk::Renew { lock, .. } | LockAsk::Release { lock, .. } => {
                &lock.channel
            }
            LockAsk::Get { channel, .. } => channel,
        }
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "channelName")]
    name: Option<&'a RawValue>,
    #[serde(borrow, rename = "channelType")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, rename = "lockName")]
    lock: Option<&'a RawValue>,
    #[serde(borrow)]
    fence: Option<&'a RawValue>,
    #[serde(borrow, rename = "ttlMs")]
    ttl: Option<&'a RawValue>,
    #[serde(borrow, rename = "waitMs")]
    wait: Option<&'a RawValue>,
}

pub(super) fn acquire(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: Fields<'_> = fields("lock:acquire", payload)?;
    let wait = fields.wait.map(|json| number("waitMs", json, 0, MAX_LOCK_WAIT_MS)).transpose()?;
    let (lock, ttl_ms) = (fields.lock()?, fields.ttl_ms()?);
    Ok(request(LockAsk::Acquire { lock, ttl_ms, wait_ms: wait.unwrap_or(0) }))
}

pub(super) fn renew(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: Fields<'_> = fields("lock:renew", payload)?;
    Ok(request(LockAsk::Renew { lock: fields.lock()?, fence: fields.fence()?, ttl_ms: fields.ttl_ms()? }))
}

pub(super) fn release(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: Fields<'_> = fields("lock:release", payload)?;
    Ok(request(LockAsk::Release { lock: fields.lock()?, fence: fields.fence()? }))
}

pub(super) fn get(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: Fields<'_> = fields("lock:get", payload)?;
    let name = fields.lock.map(|json| id("lockName", Some(json))).transpose()?.map(Into::into);
    Ok(request(LockAsk::Get { channel: fields.channel()?, name }))
}

fn request(ask: LockAsk) -> Request {
    Request::Lock(Box::new(ask))
}

impl Fields<'_> {
    fn channel(&self) -> Result<ChannelId, Fault> {
        channel(self.name, self.kind)
    }

    fn lock(&self) -> Result<LockId, Fault> {
        Ok(LockId { channel: self.channel()?, name: id("lockName", self.lock)?.into() })
    }

    fn fence(&self) -> Result<u64, Fault> {
        number("fence", self.fence.ok_or_else(|| Fault::invalid("fence is missing"))?, 0, MAX_SAFE_INTEGER)
    }

    fn ttl_ms(&self) -> Result<u64, Fault> {
        let ttl = self.ttl.map(|json| number("ttlMs", json, MIN_LOCK_TTL_MS, MAX_LOCK_TTL_MS)).transpose()?;
        Ok(ttl.unwrap_or(DEFAULT_LOCK_TTL_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::parse, fault::Code};

    fn asked(event: &str, rest: &str) -> Result<LockAsk, Fault> {
        let text = format!(r#"["lock:{event}",{{"channelName":"c","channelType":"T"{rest}}}]"#);
        match parse(&text)? {
            Request::Lock(ask) => Ok(*ask),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let Ok(LockAsk::Acquire { lock, ttl_ms, wait_ms }) = asked("acquire", r#","lockName":"l""#) else { panic!() };
        assert_eq!((lock.name.as_str(), lock.channel.kind.as_str(), ttl_ms, wait_ms), ("l", "T", 10_000, 0));
        let all = r#","lockName":"l","ttlMs":1000,"waitMs":10000"#;
        assert!(matches!(asked("acquire", all), Ok(LockAsk::Acquire { ttl_ms: 1_000, wait_ms: 10_000, .. })));
        let nulls = r#","lockName":"l","ttlMs":null,"waitMs":null"#;
        assert!(matches!(asked("acquire", nulls), Ok(LockAsk::Acquire { ttl_ms: 10_000, wait_ms: 0, .. })));
        let floats = r#","lockName":"l","ttlMs":5000.0,"waitMs":0.0"#;
        assert!(matches!(asked("acquire", floats), Ok(LockAsk::Acquire { ttl_ms: 5_000, wait_ms: 0, .. })));
        assert!(matches!(asked("get", r#","lockName":null"#), Ok(LockAsk::Get { name: None, .. })));
        assert!(matches!(asked("get", ""), Ok(LockAsk::Get { name: None, .. })));
        assert!(matches!(asked("renew", r#","lockName":"l","fence":5"#), Ok(LockAsk::Renew { fence: 5, .. })));
        assert!(matches!(asked("release", r#","lockName":"l","fence":5"#), Ok(LockAsk::Release { fence: 5, .. })));
    }

    #[test]
    fn bad_payloads_are_refused_by_field() {
        for (event, rest, word) in [
            ("acquire", "", "lockName"),
            ("acquire", r#","lockName":null"#, "lockName"),
            ("acquire", r#","lockName":"l","ttlMs":-1"#, "ttlMs"),
            ("acquire", r#","lockName":"l","ttlMs":999"#, "ttlMs"),
            ("acquire", r#","lockName":"l","ttlMs":300001"#, "ttlMs"),
            ("acquire", r#","lockName":"l","ttlMs":"1000""#, "ttlMs"),
            ("acquire", r#","lockName":"l","waitMs":10001"#, "waitMs"),
            ("acquire", r#","lockName":"l","waitMs":-1"#, "waitMs"),
            ("renew", r#","lockName":"l""#, "fence"),
            ("renew", r#","lockName":"l","fence":"5""#, "fence"),
            ("release", r#","lockName":"l","fence":1.5"#, "fence"),
            ("release", r#","fence":1"#, "lockName"),
            ("get", r#","lockName":7"#, "lockName"),
        ] {
            let fault = asked(event, rest).unwrap_err();
            assert_eq!((fault.code, fault.message.contains(word)), (Code::InvalidPayload, true), "{rest}: {fault}");
        }
    }
}
