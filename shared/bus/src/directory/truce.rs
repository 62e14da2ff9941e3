//! Truces: times at which no one may be evicted, because Redis may be wrong about who is alive. After a fault every lease may
//! have ended although no instance did; a truce gives all instances the time to renew.

use std::time::Duration;

use super::contact::{Contact, Exchange, SILENT_AFTER_MS, Why};

/// How long a lease lasts without being renewed.
pub(crate) const LEASE_MS: u64 = 5_000;

/// How long a truce lasts: one lease, in which every live instance renews, plus 5 s for gateways to restore their records.
pub(crate) const TRUCE_MS: u64 = LEASE_MS + 5_000;

/// An active truce. Until it ends, an instance that seems gone may only be late: gateways renew leases and restore records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truce {
    /// What began it.
    pub why: Why,
    /// The remaining time, if nothing restarts the truce. While Redis does not answer, the full length.
    pub left: Duration,
}

/// Decides when a truce is active, from the exchanges with the directory's server. No I/O and no clock of its own; all times are
/// milliseconds of one monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Truces {
    contact: Contact,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// No exchange yet.
    #[default]
    Unknown,
    On {
        why: Why,
        until_ms: u64,
    },
    Off,
}

impl Truces {
    /// Records an acknowledged exchange. `vanished`: the own lease was missing before its end. `reconnected`: over a new connection.
    /// Returns why a truce begins, if one does; an active truce begins again.
    pub(crate) fn observe(&mut self, exchange: Exchange, vanished: bool, reconnected: bool) -> Option<Why> {
        let now_ms = exchange.answered_ms;
        let why = self.contact.observe(exchange, vanished || reconnected).or(vanished.then_some(Why::History))?;
        self.state = State::On { why, until_ms: now_ms + TRUCE_MS };
        Some(why)
    }

    /// The last moment at which the server was known to have lost nothing, by its clock; during a truce, a moment before it.
    pub(crate) fn calm_ms(&self, now_ms: u64) -> u64 {
        self.contact.calm_ms(now_ms, TRUCE_MS)
    }

    /// The truce that is active now, if any.
    pub(crate) fn at(&self, now_ms: u64) -> Option<Truce> {
        let whole = |why| Some(Truce { why, left: Duration::from_millis(TRUCE_MS) });
        let Some(answered_ms) = self.contact.answered_ms() else { return whole(Why::Start) };
        if now_ms.saturating_sub(answered_ms) >= SILENT_AFTER_MS {
            return whole(Why::Silence);
        }
        match self.state {
            State::On { why, until_ms } if now_ms < until_ms => {
                Some(Truce { why, left: Duration::from_millis(until_ms - now_ms) })
            }
            _ => None,
        }
    }

    /// Whether a truce has ended since the last call; true once for each.
    pub(crate) fn ended(&mut self, now_ms: u64) -> bool {
        let ended = matches!(self.state, State::On { .. }) && self.at(now_ms).is_none();
        if ended {
            self.state = State::Off;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH_MS: u64 = 1_700_000_000_000;

    fn at(now_ms: u64, clock_ms: u64, id: &str) -> Exchange {
        Exchange {
            sent_ms: now_ms,
            answered_ms: now_ms,
            redis_ms: EPOCH_MS + now_ms + clock_ms,
            replication_id: id.to_owned(),
        }
    }

    #[test]
    fn a_truce_begins_with_the_first_exchange_and_lasts_ten_seconds() {
        let mut truces = Truces::default();
        let whole = Duration::from_secs(10);
        assert_eq!(truces.at(5), Some(Truce { why: Why::Start, left: whole }), "before it, nothing is known");
        assert_eq!(truces.observe(at(1_000, 0, "a"), false, false), Some(Why::Start));
        assert_eq!(truces.at(1_400), Some(Truce { why: Why::Start, left: Duration::from_millis(9_600) }));
        for now_ms in (1_500..=10_500).step_by(500) {
            assert_eq!(truces.observe(at(now_ms, 0, "a"), false, false), None);
            assert!(!truces.ended(now_ms));
        }
        assert_eq!(truces.observe(at(11_000, 0, "a"), false, false), None);
        assert_eq!(truces.at(11_000), None);
        assert!(truces.ended(11_000) && !truces.ended(11_000), "said once");
    }

    #[test]
    fn while_redis_is_silent_a_truce_is_on_and_begins_when_it_answers() {
        let mut truces = Truces::default();
        truces.observe(at(0, 0, "a"), false, false);
        for now_ms in (500..=20_000).step_by(500) {
            truces.observe(at(now_ms, 0, "a"), false, false);
        }
        assert_eq!(truces.at(21_499), None);
        let silence = Some(Truce { why: Why::Silence, left: Duration::from_secs(10) });
        assert_eq!(truces.at(21_500), silence);
        assert_eq!(truces.at(90_000), silence);
        assert_eq!(truces.calm_ms(90_000), EPOCH_MS + 20_000, "nothing is known of what it lost since");
        assert_eq!(truces.observe(at(90_000, 0, "a"), false, false), Some(Why::Silence));
        assert_eq!(truces.at(90_000), silence);
    }

    #[derive(Debug, Clone)]
    enum Event {
        /// Time passes, with an exchange at its end.
        Exchange(u64),
        /// Redis starts again, and then an exchange.
        Restart,
        /// Redis' clock is set, and then an exchange.
        Step(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            8 => (1_u64..4_000).prop_map(Event::Exchange),
            1 => Just(Event::Restart),
            1 => (1_001_u64..100_000).prop_map(Event::Step),
        ]
    }

    proptest! {
        /// Compared with a list of everything that happened.
        #[test]
        fn a_truce_is_on_for_ten_seconds_after_each_cause_and_at_no_other_time(
            events in prop::collection::vec(event(), 1..60),
            looks in prop::collection::vec(0_u64..12_000, 1..4),
        ) {
            let mut truces = Truces::default();
            let (mut now_ms, mut clock_ms, mut restarts) = (0, 0, 0_u32);
            truces.observe(at(0, 0, "0"), false, false);
            let mut last_cause_ms = 0;
            for event in events {
                let caused = match event {
                    Event::Exchange(after_ms) => {
                        now_ms += after_ms;
                        after_ms >= SILENT_AFTER_MS
                    }
                    Event::Restart => {
                        restarts += 1;
                        true
                    }
                    Event::Step(by_ms) => {
                        clock_ms += by_ms;
                        true
                    }
                };
                prop_assert_eq!(truces.observe(at(now_ms, clock_ms, &restarts.to_string()), false, false).is_some(), caused);
                if caused {
                    last_cause_ms = now_ms;
                }
                for look in &looks {
                    let look_ms = now_ms + look;
                    let on = look_ms < last_cause_ms + TRUCE_MS || look_ms >= now_ms + SILENT_AFTER_MS;
                    let truce = truces.at(look_ms);
                    prop_assert_eq!(truce.is_some(), on);
                    prop_assert!(truce.is_none_or(|truce| truce.left <= Duration::from_millis(TRUCE_MS)));
                }
            }
        }
    }
}
