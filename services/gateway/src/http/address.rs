//! Addresses as limits count them, and how many of something each address has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// The bits of an IPv6 address that name a network, which one host owns as a whole.
const NETWORK: u128 = !0 << 64;

/// Who is counted as one: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & NETWORK).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// How many guards each address has. An address without any takes no memory.
#[derive(Debug, Clone, Default)]
pub(super) struct CountByAddress(Arc<Mutex<HashMap<Source, usize>>>);

impl CountByAddress {
    /// Counts one more for an address until the guard is dropped.
    pub(super) fn one_more(&self, source: Source) -> CountedAddress {
        *self.0.lock().entry(source).or_default() += 1;
        CountedAddress { counts: self.clone(), source }
    }

    /// The same, unless the address has `most` already.
    pub(super) fn one_more_up_to(&self, most: usize, source: Source) -> Option<CountedAddress> {
        let mut counts = self.0.lock();
        if counts.get(&source).is_some_and(|count| *count >= most) {
            return None;
        }
        *counts.entry(source).or_default() += 1;
        Some(CountedAddress { counts: self.clone(), source })
    }
}

/// Counts as one in its [`CountByAddress`].
#[derive(Debug)]
pub(super) struct CountedAddress {
    counts: CountByAddress,
    source: Source,
}

impl Drop for CountedAddress {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv6_network_is_one_and_so_is_an_ipv4_address_in_either_form() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("10.0.0.1"), source("::ffff:10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
        assert_ne!(source("::ffff:10.0.0.1"), source("::ffff:10.0.0.2"));
    }

    #[test]
    fn each_address_is_counted_alone_and_forgotten_with_its_last_guard() {
        let (counts, a, b) = (CountByAddress::default(), source("10.0.0.1"), source("10.0.0.2"));
        let first = counts.one_more_up_to(2, a).unwrap();
        let second = counts.one_more(a);
        assert!(counts.one_more_up_to(2, a).is_none() && counts.one_more_up_to(2, b).is_some());
        drop(first);
        assert!(counts.one_more_up_to(2, a).is_some());
        drop(second);
        assert!(counts.0.lock().is_empty());
    }
}
