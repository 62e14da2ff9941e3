//! Whatever happens to a room and on the way of its events, in the end every member has the right roster, even by events alone; and
//! on the way no one is sent what does not fit what it was sent before.

use proptest::prelude::*;
use rollcall_protocol::Info;

use super::world::World;

/// Connections of this gateway and of others; two users share the odd and the even ones.
const HERE: [&str; 3] = ["a", "b", "c"];
const ELSEWHERE: [&str; 3] = ["x", "y", "z"];

#[derive(Debug, Clone)]
enum Step {
    Join(usize),
    Update(usize, u8),
    Leave(usize),
    Evict(usize, bool),
    Restore(usize),
    LoseGateway(usize),
    LoseEverything(bool),
    LoseOne(usize),
    RollBack(usize, bool, bool),
    Refuse(usize, u64),
    Freeze(u64),
    MoveClock(i64),
    Notice,
    Answer(usize),
    LoseAnswer(usize),
    Deliver(u8),
    Lose,
    Double,
    Full(usize),
    Space(usize, usize),
    Repair,
    Fetch(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let conn = || 0..HERE.len() + ELSEWHERE.len();
    prop_oneof![
        5 => conn().prop_map(Step::Join),
        5 => (conn(), any::<u8>()).prop_map(|(conn, state)| Step::Update(conn, state)),
        2 => conn().prop_map(Step::Leave),
        2 => (conn(), any::<bool>()).prop_map(|(conn, lost)| Step::Evict(conn, lost)),
        3 => conn().prop_map(Step::Restore),
        1 => (0..ELSEWHERE.len()).prop_map(|conn| Step::LoseGateway(HERE.len() + conn)),
        1 => any::<bool>().prop_map(Step::LoseEverything),
        1 => conn().prop_map(Step::LoseOne),
        2 => (1..6_usize, any::<bool>(), any::<bool>()).prop_map(|(n, lose, again)| Step::RollBack(n, lose, again)),
        1 => (0..HERE.len(), 0..4_000_u64).prop_map(|(conn, ms)| Step::Refuse(conn, ms)),
        1 => (1..4_000_u64).prop_map(Step::Freeze),
        1 => (-60_000..60_000_i64).prop_map(Step::MoveClock),
        2 => Just(Step::Notice),
        6 => (0..3_usize).prop_map(Step::Answer),
        1 => (0..3_usize).prop_map(Step::LoseAnswer),
        8 => (1..5_u8).prop_map(Step::Deliver),
        1 => Just(Step::Lose),
        1 => Just(Step::Double),
        2 => (0..HERE.len()).prop_map(Step::Full),
        2 => (0..HERE.len(), 0..4_usize).prop_map(|(n, space)| Step::Space(n, space)),
        1 => Just(Step::Repair),
        6 => (1..4_u8).prop_map(Step::Fetch),
        1 => (1..5_000_u64).prop_map(Step::Wait),
    ]
}

fn take(world: &mut World, step: &Step) {
    let name = |n: usize| *HERE.iter().chain(&ELSEWHERE).nth(n).unwrap();
    let user = |n: usize| if n.is_multiple_of(2) { "even" } else { "odd" };
    // A session does one thing after the other.
    let is_busy = |world: &World, n: usize| world.answers.iter().any(|answer| answer.conn == name(n));
    match *step {
        Step::Join(n) if !is_busy(world, n) => world.join(name(n), user(n), n < HERE.len()),
        Step::Update(n, state) if !is_busy(world, n) => world.update(name(n), &format!("{{\"n\":{state}}}")),
        Step::Leave(n) if !is_busy(world, n) => world.leave(name(n)),
        Step::Evict(n, lost) if !is_busy(world, n) => world.evict(name(n), if lost { "node_lost" } else { "expired" }),
        Step::Restore(n) if !is_busy(world, n) => world.restore(name(n)),
        Step::LoseGateway(n) => world.lose_gateway(name(n)),
        Step::LoseEverything(is_noticed) => world.lose_everything(is_noticed),
        Step::LoseOne(n) => world.lose_one(name(n)),
        Step::RollBack(n, lose_events, is_restarted) => world.roll_back(n, lose_events, is_restarted),
        Step::Refuse(n, pause_ms) if !is_busy(world, n) => world.refuse(name(n), pause_ms),
        Step::Freeze(ms) => world.freeze(ms),
        Step::MoveClock(by_ms) => world.move_clock(by_ms),
        Step::Notice => world.notice(),
        Step::Answer(n) => world.answer(n),
        Step::LoseAnswer(n) => world.lose_answer(n),
        Step::Deliver(n) => (0..n).for_each(|_| world.deliver()),
        Step::Lose => drop(world.wire.pop_front()),
        Step::Double => world.wire.extend(world.wire.front().cloned()),
        Step::Full(n) => {
            if let Some(client) = world.clients.get(HERE[n]) {
                let full = client.received().full;
                client.received().full = !full;
            }
        }
        Step::Space(n, space) => {
            if let Some(client) = world.clients.get(HERE[n]) {
                client.has_space(Some(space));
            }
        }
        Step::Repair => world.repair(),
        Step::Fetch(n) => (0..n).for_each(|_| world.step()),
        Step::Wait(ms) => world.wait(ms),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn everyone_has_the_right_roster_in_the_end(
        steps in prop::collection::vec(step(), 1..80),
        turns_are_short in any::<bool>(),
    ) {
        let mut world = World::new();
        if turns_are_short {
            world.has_turns_of_one_message();
        }
        steps.iter().for_each(|step| take(&mut world, step));
        world.come_to_rest();
        let truth = world.truth();
        for (conn, client) in &world.clients {
            let received = client.received();
            prop_assert_eq!(&received.complaints, &Vec::<String>::new(), "{} received {:?}", conn, received.log);
            prop_assert_eq!(&received.view, &truth, "{} received {:?}", conn, received.log);
            prop_assert_eq!(&received.view_by_events, &truth, "{} received by events {:?}", conn, received.log);
            let (_, epoch, info, _) = &truth[conn];
            if received.recorded.is_some_and(|(recorded, _)| recorded == *epoch) {
                let recorded = received.recorded_info.as_ref().map_or("null", Info::as_str);
                prop_assert_eq!(recorded, info, "{} received {:?}", conn, received.log);
            }
            prop_assert!(!received.settling && !received.resyncing, "{} waits for the whole: {:?}", conn, received.log);
            let at = world.at();
            prop_assert_eq!((received.at.generation, received.at.seq), (at.generation, at.seq), "{} received {:?}", conn, received.log);
            prop_assert!(world.room.subscribers.get(conn.as_str()).is_some_and(|one| one.shown.is_empty()), "{} received {:?}", conn, received.log);
        }
    }
}
