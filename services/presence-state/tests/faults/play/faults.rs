//! What Redis does wrong.

use rollcall_protocol::Code;

use super::Play;
use crate::{
    channels, locks,
    redis::{self, Moment},
    step::{Act, KINDS, Weather},
};

impl Play<'_> {
    /// Something is asked of a Redis that may refuse it, or stand still: then nothing happens.
    pub(super) async fn act(&mut self, act: &Act, weather: Weather) {
        let site = self.site;
        if matches!(act, Act::Update { conn } if !self.members.is_member(*conn)) {
            return;
        }
        let deadline_ms = match weather {
            Weather::Fair => u64::MAX,
            Weather::Full => {
                site.fill(true).await;
                u64::MAX
            }
            Weather::Frozen => redis::freeze(site, self.ahead_us).await,
        };
        let done = self.carry_out(act, deadline_ms).await;
        if weather == Weather::Full {
            site.fill(false).await;
        }
        let Err(fault) = done else {
            assert_ne!(weather, Weather::Frozen, "{act:?} was carried out after its caller had given up");
            assert!(weather != Weather::Full || !act.takes_memory(), "{act:?} was carried out in a full memory");
            return;
        };
        let code = match weather {
            Weather::Fair => panic!("{act:?}: {fault}"),
            Weather::Full if act.takes_memory() => Code::Overloaded,
            Weather::Full => panic!("{act:?} frees memory, or takes none: {fault}"),
            Weather::Frozen => Code::Unavailable,
        };
        assert_eq!(fault.code, code, "{act:?}: {fault}");
        let stored = Moment::read(site.redis()).await;
        assert!(stored.is_like(&self.now.stored), "{act:?} was refused and changed something");
        let published = self.events.texts().await;
        assert!(published.is_empty(), "{act:?} was refused and published {published:?}");
    }

    /// Numbers begin from the clock, so that lost ones do not come again. A clock that is set back at the same time would give
    /// them again; no one promises anything of that.
    pub(super) async fn lose(&mut self) {
        self.floor_us = self.most_ahead_us;
        self.move_clock(self.most_ahead_us).await;
    }

    pub(super) async fn move_clock(&mut self, ahead_us: i64) {
        let ahead_us = ahead_us.max(self.floor_us);
        self.received.was_set_back |= ahead_us < self.ahead_us;
        self.ahead_us = ahead_us;
        self.most_ahead_us = self.most_ahead_us.max(ahead_us);
        redis::set_clock(self.site.redis(), ahead_us).await;
    }

    pub(super) async fn lose_key(&mut self, n: usize) {
        let keys = self.now.stored.keys();
        if keys.is_empty() {
            return;
        }
        self.lose().await;
        redis::lose(self.site.redis(), &keys[n % keys.len()]).await;
        for (kind, name) in KINDS.iter().enumerate() {
            let (record, values) = (channels::read(self.site, kind).await, &mut self.now.channels[kind]);
            assert!(record.major_revision > 0 || record.items.is_empty(), "a channel that is not there has {record:?}");
            let left = (record.major_revision > 0).then(|| channels::of_record(&record));
            if left.as_ref() != values.as_ref() {
                *values = left;
                self.torn[kind] = true;
                self.received.forget_contents(name);
            }
        }
        self.now.holders = locks::read(self.site).await;
    }
}
