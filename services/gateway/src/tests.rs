//! Restores, audits and leaves are sent until they are carried out, with a real Redis and a presence-state that rejects the first
//! commands.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rollcall_bus::{Bus, Listener, Reply, Role, redis};
use rollcall_protocol::{
    Code, ConnId, Fault, Partition, RoomId,
    command::{Audit, Command, Leave, Outcome, Restore, Restored},
    envelope::{Envelope, Item},
    event::Reason,
};
use rollcall_service::Tasks;
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::{Redis, until};
use serde_json::value::RawValue;

use crate::{
    pending::Pending,
    reassert::{OwnRoom, Reassert, Source},
};

/// More than fit into two restores.
const MEMBERS: usize = 300;
const REFUSALS: usize = 3;

/// A presence-state that only records commands.
struct States {
    bus: Arc<Bus>,
    /// How many more commands it rejects before it carries any out.
    refusals: AtomicUsize,
    /// Rooms that the next audit finds to differ.
    differing: Mutex<Vec<RoomId>>,
    refused: AtomicUsize,
    done: Mutex<Vec<Command>>,
}

impl Listener for States {
    fn on_request(&self, envelope: &Envelope<'_>) {
        let reply = |item: &Item<'_>| Reply::new(item.ids.clone(), &self.answer(item.body.get())).unwrap();
        let answers: Vec<_> = envelope.items.iter().map(reply).collect();
        let (bus, reply_to) = (Arc::clone(&self.bus), envelope.reply_to.clone());
        tokio::spawn(async move { bus.reply(&reply_to, &answers).await });
    }
}

impl States {
    fn answer(&self, body: &str) -> Outcome {
        let refuses = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::AcqRel, Ordering::Acquire, refuses).is_ok() {
            self.refused.fetch_add(1, Ordering::AcqRel);
            return Outcome::Fault(Fault::new(Code::Unavailable, "not now"));
        }
        let command = serde_json::from_str(body).unwrap();
        let outcome = match &command {
            Command::Restore(restore) => Outcome::Restored { written: restore.members.len() as u64, removed: 0 },
            Command::Audit(_) => {
                Outcome::Audited { differing: std::mem::take(&mut *self.differing.lock().unwrap()), removed: 0 }
            }
            Command::Leave(_) => Outcome::Left,
            other => panic!("{other:?}"),
        };
        self.done.lock().unwrap().push(command);
        outcome
    }

    fn of<T>(&self, pick: impl Fn(&Command) -> Option<&T>, see: impl Fn(&[&T]) -> usize) -> usize {
        see(&self.done.lock().unwrap().iter().filter_map(pick).collect::<Vec<_>>())
    }

    fn audits(&self, see: impl Fn(&[&Audit]) -> usize) -> usize {
        self.of(|command| if let Command::Audit(audit) = command { Some(audit) } else { None }, see)
    }

    fn restores(&self, see: impl Fn(&[&Restore]) -> usize) -> usize {
        self.of(|command| if let Command::Restore(restore) = command { Some(restore) } else { None }, see)
    }

    fn leaves(&self, see: impl Fn(&[&Leave]) -> usize) -> usize {
        self.of(|command| if let Command::Leave(leave) = command { Some(leave) } else { None }, see)
    }
}

/// The gateway's members: all of one room.
struct Members {
    room: RoomId,
    differed: AtomicUsize,
}

impl Members {
    fn own(&self) -> OwnRoom {
        let members = (0..MEMBERS).map(|n| ConnId::from(format!("c{n}"))).collect();
        OwnRoom { room: self.room.clone(), members, is_settled: true }
    }
}

impl Source for Members {
    fn room(&self, room: &RoomId) -> Option<OwnRoom> {
        (*room == self.room).then(|| self.own())
    }

    fn rooms(&self, partition: Partition) -> Vec<OwnRoom> {
        if self.had_rooms(partition) { vec![self.own()] } else { Vec::new() }
    }

    fn had_rooms(&self, partition: Partition) -> bool {
        partition == self.room.partition()
    }

    fn records(&self, _: &RoomId, members: &[ConnId]) -> Vec<Restored> {
        let state = RawValue::from_string("{}".to_owned()).unwrap();
        let record = |conn: &ConnId| Restored {
            conn: conn.clone(),
            user: "ann".into(),
            op: 1,
            epoch: 7,
            info: None,
            state: state.clone(),
        };
        members.iter().map(record).collect()
    }

    fn restored(&self, _: &RoomId, _: &[Restored], _: bool) -> Vec<Leave> {
        Vec::new()
    }

    fn differs(&self, _: &RoomId) {
        self.differed.fetch_add(1, Ordering::AcqRel);
    }
}

struct Nothing;
impl Listener for Nothing {}

struct Site {
    states: Arc<States>,
    pending: Arc<Pending>,
    reassert: Arc<Reassert>,
    members: Arc<Members>,
    _tasks: Tasks,
    _server: Redis,
}

impl Site {
    async fn open() -> Self {
        let server = Redis::start();
        let connect = |role, name: &str| {
            Bus::connect(redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap(), role, name.into())
        };
        let (state, gateway) =
            (connect(Role::State, "presence-state-00000001"), connect(Role::Gateway, "presence-gateway-0000000a"));
        let states = Arc::new(States {
            bus: Arc::clone(&state),
            refusals: AtomicUsize::new(REFUSALS),
            differing: Mutex::default(),
            refused: AtomicUsize::new(0),
            done: Mutex::default(),
        });
        state.start(Arc::clone(&states) as Arc<dyn Listener>);
        gateway.start(Arc::new(Nothing));
        until("both receive", async || (state.check_inbox().is_ok() && gateway.check_inbox().is_ok()).then_some(()))
            .await;
        until("the gateway knows presence-state", async || gateway.check_states().ok()).await;
        let pending = Pending::new(Arc::clone(&gateway));
        let reassert = Reassert::new(gateway, Arc::clone(&pending));
        // The minute's audit comes to this partition after half a minute, so it does not disturb the tests.
        let mut rooms = (0..).map(|n| RoomId::from(format!("room {n}")));
        let room = rooms.find(|room| room.partition().index() > Partition::all().len() / 2).unwrap();
        let members = Arc::new(Members { room, differed: AtomicUsize::new(0) });
        let tasks = Tasks::default();
        pending.start(&tasks);
        reassert.start(&members, &tasks);
        Self { states, pending, reassert, members, _tasks: tasks, _server: server }
    }

    fn partition(&self) -> Partition {
        self.members.room.partition()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lost_room_is_restored_until_all_of_it_is_and_then_audited_twice() {
    let site = Site::open().await;
    let recovers_until = Instant::now() + Duration::from_secs(2);
    site.reassert.on_history(&[site.partition()], recovers_until);
    let restored = |restores: &[&Restore]| restores.iter().map(|restore| restore.members.len()).sum();
    until("all are restored", async || (site.states.restores(restored) == MEMBERS).then_some(())).await;
    assert_eq!(site.states.refused.load(Ordering::Acquire), REFUSALS);
    // The last restore names all members; Redis removes every other record of this gateway.
    let named = |restores: &[&Restore]| {
        let last = restores.last().unwrap();
        last.members.len() + last.strays.as_ref().unwrap().stay.len()
    };
    assert_eq!(site.states.restores(named), MEMBERS);

    let counted = |audits: &[&Audit]| {
        let room = (site.members.room.clone(), MEMBERS as u64);
        audits.iter().filter(|audit| audit.rooms == [room.clone()]).count()
    };
    until("the first audit", async || (site.states.audits(counted) > 0).then_some(())).await;
    until("the audit after the recovery", async || (site.states.audits(counted) >= 2).then_some(())).await;
    assert!(Instant::now() >= recovers_until);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restore_that_is_requested_while_one_is_under_way_runs_after_it() {
    let site = Site::open().await;
    site.reassert.restore(&site.members.room);
    site.reassert.restore(&site.members.room);
    let restored = |restores: &[&Restore]| restores.iter().map(|restore| restore.members.len()).sum();
    until("both are done", async || (site.states.restores(restored) == 2 * MEMBERS).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_room_that_an_audit_finds_different_is_restored_and_repaired() {
    let site = Site::open().await;
    let restores = || site.states.restores(|all| all.len());
    site.reassert.on_history(&[site.partition()], Instant::now());
    until("the audits after the restores", async || (site.states.audits(|all| all.len()) >= 2).then_some(())).await;
    let before = restores();
    site.states.refusals.store(REFUSALS, Ordering::Release);
    site.states.differing.lock().unwrap().push(site.members.room.clone());
    site.reassert.on_history(&[site.partition()], Instant::now());
    until("it is restored twice", async || (restores() >= 3 * before).then_some(())).await;
    until("its members are repaired", async || (site.members.differed.load(Ordering::Acquire) == 1).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_leave_is_sent_until_it_is_carried_out_and_again_when_it_may_be_lost() {
    let site = Site::open().await;
    let leave = Leave { room: site.members.room.clone(), conn: "gone".into(), op: 2, reason: Reason::Left };
    site.pending.send(Command::Leave(leave), None, TraceContext::default());
    assert_eq!(site.pending.open(), 1);
    let leaves = || site.states.leaves(|all| all.len());
    until("it is carried out", async || (site.pending.open() == 0).then_some(())).await;
    assert_eq!((leaves(), site.states.refused.load(Ordering::Acquire)), (1, REFUSALS));
    site.states.refusals.store(REFUSALS, Ordering::Release);
    site.pending.on_history(&[site.partition()]);
    until("it is sent again", async || (leaves() == 2).then_some(())).await;
    until("it is kept for the next time", async || (site.pending.open() == 0).then_some(())).await;
    site.pending.on_history(&[site.partition()]);
    until("and again", async || (leaves() == 3).then_some(())).await;
}
