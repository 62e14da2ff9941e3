//! What is done to Redis, for real.

use std::time::{Duration, SystemTime};

use fred::{
    clients::Client,
    cmd,
    interfaces::{ClientLike as _, KeysInterface as _, LuaInterface as _},
    types::Value,
};

use crate::site::Site;

/// Holds by how many microseconds the clock of the scripts is ahead of Redis' own. It outlives every fault, as the directory does.
const CLOCK_KEY: &str = "clock";
/// All other keys: name, time to live and content by turns.
const READ: &str = "
    local keys, all = redis.call('KEYS', '*'), {}
    table.sort(keys)
    for _, key in ipairs(keys) do
      if key ~= 'clock' and not string.find(key, '{directory}', 1, true) then
        for _, part in ipairs({ key, redis.call('PTTL', key), redis.call('DUMP', key) }) do all[#all + 1] = part end
      end
    end
    return all";
/// Loses everything, and then has what was read before.
const RESTORE: &str = "
    local kept = {}
    for _, key in ipairs(redis.call('KEYS', '*')) do
      if key == 'clock' or string.find(key, '{directory}', 1, true) then kept[key] = redis.call('DUMP', key) end
    end
    redis.call('FLUSHALL')
    for key, dump in pairs(kept) do redis.call('RESTORE', key, 0, dump) end
    for i = 1, #ARGV, 3 do redis.call('RESTORE', ARGV[i], math.max(0, tonumber(ARGV[i + 1])), ARGV[i + 2]) end";
/// How long Redis stands still, and when the caller gives up.
const FREEZE: Duration = Duration::from_millis(24);
const PATIENCE: Duration = Duration::from_millis(4);

/// Has the scripts of this process add what the clock was moved by.
pub(crate) fn replace_clock() {
    let text = include_str!("../../src/scripts/clock.lua");
    let moved = text.replace("+ time[2]\n", &format!("+ time[2] + (redis.call('GET', '{CLOCK_KEY}') or 0)\n"));
    assert_ne!(moved, text, "clock.lua reads the time in another way");
    rollcall_presence_state::store::replace_clock(moved.leak());
}

/// The store at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moment(Vec<Value>);

impl Moment {
    pub(crate) async fn read(redis: &Client) -> Self {
        Self(redis.eval(READ, Vec::<String>::new(), Vec::<Value>::new()).await.unwrap())
    }

    /// Brings the store back to it. The moment before there was anything loses everything.
    pub(crate) async fn restore(&self, redis: &Client) {
        let _: Value = redis.eval(RESTORE, Vec::<String>::new(), self.0.clone()).await.unwrap();
    }

    /// Its keys.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.chunks_exact(3).map(|key| key[0].as_string().unwrap()).collect()
    }

    /// Whether the same is stored; times to live run on.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let content = |moment: &Self| -> Vec<(Value, Value)> {
            moment.0.chunks_exact(3).map(|key| (key[0].clone(), key[2].clone())).collect()
        };
        content(self) == content(other)
    }
}

/// Redis was started again: what it has is of another history from now on.
pub(crate) async fn begin_history(redis: &Client) {
    let () = redis.custom(cmd!("DEBUG"), vec!["CHANGE-REPL-ID"]).await.unwrap();
}

pub(crate) async fn set_clock(redis: &Client, ahead_us: i64) {
    let () = redis.set(CLOCK_KEY, ahead_us, None, None, false).await.unwrap();
}

pub(crate) async fn lose(redis: &Client, key: &str) {
    let () = redis.del(key).await.unwrap();
}

/// Redis stands still. Answers when a caller gives up who does not wait for it, by a clock that is `ahead_us` ahead.
pub(crate) async fn freeze(site: &Site, ahead_us: i64) -> u64 {
    let redis = site.redis();
    let (s, us): (i64, i64) = redis.custom(cmd!("TIME"), Vec::<String>::new()).await.unwrap();
    // What presence-state takes for the clock of Redis is wrong by as much as the last answer was slow.
    let wrong_by_ms = site.bus.redis_now_ms() as i64 - (s * 1_000 + us / 1_000);
    let millis = FREEZE.as_millis().to_string();
    let () = redis.custom(cmd!("CLIENT"), vec!["PAUSE", millis.as_str(), "ALL"]).await.unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    ((now + PATIENCE).as_millis() as u64).saturating_add_signed(ahead_us / 1_000 - wrong_by_ms)
}
