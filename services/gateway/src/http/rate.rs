//! How many handshakes an address may make.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};
use tokio::time::sleep;

use super::address::Source;

/// The burst is this many seconds of the rate.
const BURST_S: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// How often addresses are forgotten that could use their full burst again.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// The most addresses that are remembered, some 4 MiB. At 100 a second a handshake is remembered for 10 ms, so only a flood from
/// tens of thousands of addresses comes here. All are refused then, until some are forgotten, for at most a second.
const MOST_ADDRESSES: usize = 65_536;

/// A limit of handshakes for each address.
pub(super) struct AddressRate<C: Clock = DefaultClock> {
    limiter: RateLimiter<Source, HashMapStateStore<Source>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl AddressRate {
    /// So many handshakes a second for each address.
    pub(super) fn new(per_s: NonZeroU32) -> Self {
        Self::with_clock(per_s, DefaultClock::default())
    }
}

impl<C: Clock + Clone> AddressRate<C> {
    fn with_clock(per_s: NonZeroU32, clock: C) -> Self {
        let quota = Quota::per_second(per_s).allow_burst(per_s.saturating_mul(BURST_S));
        let limiter = RateLimiter::hashmap_with_clock(quota, clock.clone());
        Self { limiter, clock }
    }

    /// Counts a handshake, or returns how long to wait before the next try.
    pub(super) fn admit(&self, source: Source) -> Result<(), Duration> {
        if self.limiter.len() >= MOST_ADDRESSES {
            return Err(FORGET_EVERY);
        }
        self.limiter.check_key(&source).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets addresses that could use their full burst again, again and again.
    pub(super) async fn keep_forgetting(&self) {
        loop {
            sleep(FORGET_EVERY).await;
            self.forget();
        }
    }

    fn forget(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn source(number: u32) -> Source {
        IpAddr::from(Ipv4Addr::from(number)).into()
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_rate() {
        let clock = FakeRelativeClock::default();
        let rate = AddressRate::with_clock(NonZeroU32::new(100).unwrap(), clock.clone());
        assert!((0..1_000).all(|_| rate.admit(source(1)).is_ok()));
        assert_eq!(rate.admit(source(1)), Err(Duration::from_millis(10)));
        assert!(rate.admit(source(2)).is_ok());
        clock.advance(Duration::from_millis(100));
        assert_eq!((0..20).filter(|_| rate.admit(source(1)).is_ok()).count(), 10);
    }

    #[test]
    fn the_number_of_addresses_is_bounded_and_idle_ones_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let rate = AddressRate::with_clock(NonZeroU32::new(1).unwrap(), clock.clone());
        let admitted = (0..MOST_ADDRESSES as u32 + 10).filter(|number| rate.admit(source(*number)).is_ok()).count();
        assert_eq!((admitted, rate.limiter.len()), (MOST_ADDRESSES, MOST_ADDRESSES));
        clock.advance(Duration::from_secs(20));
        rate.forget();
        assert!(rate.admit(source(u32::MAX)).is_ok());
        assert_eq!(rate.limiter.len(), 1);
    }
}
