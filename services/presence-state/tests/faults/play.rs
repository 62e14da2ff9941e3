//! Plays steps against Redis, the models and two copies, and compares after each; then the faults stop, and all agree.

mod faults;

use rollcall_presence_state::{metadata::catch_up, store::Read};
use rollcall_protocol::{
    Fault,
    command::{Catchup, Outcome},
    event::lock::{Change, LockEvent},
};

use crate::{
    channels::{self, Channels, Verb},
    copy::{self, Copy, Holders, Items},
    events::Events,
    locks,
    members::{self, Members},
    received::Received,
    redis::{self, Moment},
    site::Site,
    step::{Act, CONNS, KINDS, LOCKS, Step},
};

/// The store at one moment, and what should be in it. Members are not part of it: their gateways know them.
#[derive(Clone, Default)]
struct Then {
    stored: Moment,
    channels: Channels,
    holders: Holders,
}

struct Play<'a> {
    site: &'a Site,
    events: Events,
    members: Members,
    now: Then,
    past: Vec<Then>,
    /// The second one is deaf at times.
    copies: [Copy; 2],
    received: Received,
    /// The last fence under which each connection was granted each lock.
    fences: [[u64; LOCKS.len()]; CONNS],
    /// By how much the clock is ahead now, and by how much it ever was.
    ahead_us: i64,
    most_ahead_us: i64,
    /// How far it was ahead when something was lost: it is not set back behind that.
    floor_us: i64,
    /// Channels that lost their items and not their revision: no one notices before they are set again.
    torn: [bool; KINDS.len()],
}

/// Plays it all.
pub(crate) async fn play(site: &Site, steps: &[Step]) {
    Moment::default().restore(site.redis()).await;
    redis::set_clock(site.redis(), 0).await;
    let mut play = Play {
        site,
        events: site.listen().await,
        members: Members::default(),
        now: Then::default(),
        past: Vec::new(),
        copies: Default::default(),
        received: Received::default(),
        fences: [[0; LOCKS.len()]; CONNS],
        ahead_us: 0,
        most_ahead_us: 0,
        floor_us: i64::MIN,
        torn: Default::default(),
    };
    for step in steps {
        play.now.stored = Moment::read(site.redis()).await;
        play.past.push(play.now.clone());
        play.step(step).await;
        play.hear().await;
    }
    play.settle().await;
}

impl Play<'_> {
    async fn step(&mut self, step: &Step) {
        match step {
            Step::Act(act, weather) => self.act(act, *weather).await,
            Step::LoseEverything => {
                self.lose().await;
                Moment::default().restore(self.site.redis()).await;
                (self.now.channels, self.now.holders) = Default::default();
            }
            Step::LoseKey(n) => self.lose_key(*n).await,
            Step::RollBack(steps) => {
                self.lose().await;
                self.now = self.past[self.past.len().saturating_sub(steps + 1)].clone();
                self.now.stored.restore(self.site.redis()).await;
                redis::begin_history(self.site.redis()).await;
            }
            Step::MoveClock(ms) => self.move_clock(self.ahead_us + ms * 1_000).await,
            Step::Expire => self.site.store.expire_locks(self.site.caller(), &self.site.room).await.unwrap(),
            Step::Deaf(is_deaf) => self.copies[1].is_deaf = *is_deaf,
            Step::Notice => self.notice().await,
        }
    }

    /// Has presence-state carry it out, and compares the answer.
    async fn carry_out(&mut self, act: &Act, deadline_ms: u64) -> Result<(), Fault> {
        let site = self.site;
        match *act {
            Act::Join { conn } => self.members.join(site, conn, deadline_ms).await,
            Act::Update { conn } => self.members.update(site, conn, deadline_ms).await,
            Act::Leave { conn } => self.members.leave(site, conn, deadline_ms).await,
            Act::Set { conn, kind, key } => self.write(Verb::Set, (conn, kind, key), None, deadline_ms).await,
            Act::Change { conn, kind, key } => self.write(Verb::Change, (conn, kind, key), None, deadline_ms).await,
            Act::Remove { conn, kind, key } => self.write(Verb::Remove, (conn, kind, key), None, deadline_ms).await,
            Act::Guarded { conn, lock } => self.write(Verb::Set, (conn, 0, 0), Some(lock), deadline_ms).await,
            Act::Acquire { conn, lock, waits } => {
                let op = self.members.next_op(conn);
                if let Some(held) = locks::acquire(site, (conn, lock), op, waits, deadline_ms).await? {
                    assert_eq!(held.conn.as_str(), members::name(conn));
                    self.received.grant(LOCKS[lock], held.conn.as_str(), held.fence);
                    self.fences[conn][lock] = held.fence;
                }
                Ok(())
            }
            Act::Release { conn, lock } => {
                let (op, fence) = (self.members.next_op(conn), self.fences[conn][lock]);
                locks::release(site, (conn, lock), op, fence, deadline_ms).await.map(|_| ())
            }
        }
    }

    async fn write(
        &mut self,
        verb: Verb,
        (conn, kind, key): (usize, usize, u8),
        lock: Option<usize>,
        deadline_ms: u64,
    ) -> Result<(), Fault> {
        let op = self.members.next_op(conn);
        let guard = lock.map(|lock| (LOCKS[lock], self.fences[conn][lock]));
        let (written, item) = channels::ask(self.site, verb, (conn, kind, key), op, guard, deadline_ms).await?;
        if let Some((name, fence)) = guard {
            // Asked after the write: neither changes who holds a lock.
            let holds = locks::read(self.site).await.get(name) == Some(&(fence, members::name(conn)));
            if channels::is_refused_by_lock(&written) {
                assert!(!holds, "c{conn} holds {name} under the fence {fence}");
                return Ok(());
            }
            assert!(holds, "c{conn} does not hold {name} under the fence {fence}, and wrote");
        }
        if let Some(record) = channels::take(&mut self.now.channels[kind], verb, written, item) {
            self.torn[kind] &= !matches!(verb, Verb::Set);
            self.show(kind, record.major_revision, &copy::items(&record.items));
        }
        Ok(())
    }

    /// Takes what was published, and has copies fetch what they miss, which may be published again.
    async fn hear(&mut self) {
        loop {
            let texts = self.events.texts().await;
            if texts.is_empty() {
                return;
            }
            self.take(&texts).await;
        }
    }

    async fn take(&mut self, texts: &[String]) {
        for text in texts {
            self.received.hear(text);
            if let Some(event) = LockEvent::read(text) {
                copy::hear_lock(&mut self.now.holders, &event);
                if event.change == Change::Acquired {
                    let conn = (0..CONNS).find(|conn| members::name(*conn) == event.conn).unwrap();
                    self.fences[conn][LOCKS.iter().position(|name| *name == event.name).unwrap()] = event.fence;
                }
            }
            self.copies.iter_mut().for_each(|copy| copy.hear(text));
        }
        self.members.record_epochs(&mut self.received);
        self.fetch(false).await;
        for (n, kind) in (0..self.copies.len()).flat_map(|n| (0..KINDS.len()).map(move |kind| (n, kind))) {
            if let Some((revision, items)) = self.copies[n].channels.get(KINDS[kind]).cloned() {
                self.show(kind, revision, &items);
            }
        }
    }

    /// Somebody was shown a channel. What is torn is made whole by the next change that replaces it.
    fn show(&mut self, kind: usize, revision: u64, items: &Items) {
        if !self.torn[kind] {
            self.received.show(KINDS[kind], revision, items);
        }
    }

    /// Copies fetch what they lack, or `all`: then they may have missed something and not know.
    async fn fetch(&mut self, all: bool) {
        let (site, room) = (self.site, &self.site.room);
        for copy in &mut self.copies {
            if all || copy.lacks_members {
                let whole = site.snapshot().await;
                match site.store.snapshot(&site.span, room, Some(copy.at)).await.unwrap() {
                    Read::Room(snapshot, _) => copy.take_snapshot(&snapshot),
                    Read::Unchanged => assert_eq!(copy.roster, copy::roster(&whole), "it stands where the room does"),
                }
                copy.lacks_members = false;
            }
            if all || copy.lacks_channels {
                let asked = Catchup { room: room.clone(), known: copy.known(), all: false, after: None };
                let Outcome::Catchup { records, locks, after: None } =
                    Box::pin(catch_up(&site.store, site.caller(), &asked)).await.unwrap()
                else {
                    panic!("a catch-up answers records");
                };
                copy.take_channels(&records, &locks);
            }
        }
    }
}

/// What follows.
impl Play<'_> {
    /// The gateways notice that something may be lost.
    async fn notice(&mut self) {
        self.members.recover(self.site).await;
        assert_eq!(copy::roster(&self.site.snapshot().await), self.members.roster());
        self.fetch(true).await;
    }

    async fn settle(&mut self) {
        self.copies[1].is_deaf = false;
        for kind in (0..KINDS.len()).filter(|kind| self.torn[*kind]).collect::<Vec<_>>() {
            self.write(Verb::Set, (0, kind, 0), None, u64::MAX).await.unwrap();
        }
        self.site.store.expire_locks(self.site.caller(), &self.site.room).await.unwrap();
        self.hear().await;
        self.notice().await;
        self.hear().await;
        let (snapshot, held) = (self.site.snapshot().await, locks::read(self.site).await);
        assert_eq!(held, self.now.holders, "the events say who holds what");
        for copy in &self.copies {
            assert_eq!((copy.at, &copy.roster), (snapshot.at, &self.members.roster()));
            assert_eq!(copy.holders, held);
        }
        for (kind, name) in KINDS.iter().enumerate() {
            let record = channels::read(self.site, kind).await;
            assert_eq!(channels::of_record(&record), self.now.channels[kind].clone().unwrap_or_default());
            let stored = (record.major_revision, copy::items(&record.items));
            for copy in &self.copies {
                assert_eq!(copy.channels.get(*name).cloned().unwrap_or_default(), stored, "{name}");
            }
        }
    }
}
