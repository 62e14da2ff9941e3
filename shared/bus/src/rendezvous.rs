//! Rendezvous hashing (Thaler and Ravishankar, 1998): a key goes to the candidate with the highest score for it, so a
//! candidate that joins or leaves moves only its own keys.

use rollcall_protocol::InstanceId;

/// The candidate that serves `key`; the same on every machine and in every build.
pub fn choose<'a>(key: &str, candidates: impl IntoIterator<Item = &'a InstanceId>) -> Option<&'a InstanceId> {
    candidates.into_iter().max_by_key(|candidate| score(key, candidate.as_str()))
}

/// FNV-1a over both names, then the finalizer of `SplitMix64`, since FNV alone mixes the high bits poorly.
fn score(key: &str, candidate: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes().chain([0]).chain(candidate.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(n: u32) -> Vec<InstanceId> {
        (0..n).map(|i| format!("presence-state-{i:08x}").into()).collect()
    }

    #[test]
    fn keys_spread_and_only_those_of_a_removed_candidate_move() {
        let all = instances(4);
        let mut counts = [0; 4];
        for key in 0..4000 {
            let key = format!("room-{key}");
            let chosen = choose(&key, &all).unwrap();
            let at = all.iter().position(|i| i == chosen).unwrap();
            counts[at] += 1;
            let without_first = choose(&key, &all[1..]).unwrap();
            assert!(at == 0 || without_first == chosen);
        }
        assert!(counts.iter().all(|n| (800..1200).contains(n)), "{counts:?}");
        assert_eq!(choose("x", &[]), None);
    }
}
