// A strict follower of one room, as one of its members sees it. It keeps the roster from events alone and records everything
// that breaks the protocol. Pure: no sockets, no clocks.
//
// Within one `gen`, unmarked events come with consecutive `seq`. What the gateway sends to repair a gap is marked
// `resync` and ends with a `presence:sync`, which must agree with what the events alone showed. A new `gen`
// (Redis lost its data) begins a settling time, which a `presence:sync` ends too.
const EVENT_FIELDS = {
  type: 'string', roomId: 'string', userId: 'string', connId: 'string', state: 'object',
  ts: 'number', epoch: 'number', seq: 'number', gen: 'number',
};
const LEAVE_REASONS = ['left', 'disconnected', 'expired', 'node_lost', 'forbidden'];
// A member that was never announced (its record had outlived its TTL when we joined) may still be reaped later.
const REASONS_OF_THE_UNSEEN = ['expired', 'node_lost'];

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const TRAIL = 8;

export class Roster {
  members = new Map();
  violations = [];
  settling = false; // a new gen: events are applied as they come
  repairing = false; // marked events have come, their sync has not yet
  #epochs = new Map();
  #connections = new Map(); // user → how many connections it has here
  #trail = []; // what was received recently, for violations

  // `syncSuffices`: a member that reads too slowly is brought up to date by the sync alone.
  constructor(roomId, selfId, { snapshot, seq, gen }, { syncSuffices = false } = {}) {
    this.roomId = roomId;
    this.syncSuffices = syncSuffices;
    this.seq = seq;
    this.gen = gen;
    if (!Number.isSafeInteger(seq) || !Number.isSafeInteger(gen)) this.#violate('the answer lacks seq or gen');
    this.#take(snapshot);
    this.#record(`answer ${seq}`);
    if (!this.members.has(selfId)) this.#violate('the joining client is not in its own snapshot');
  }

  // Waiting for a presence:sync that must follow.
  get unsettled() {
    return this.settling || this.repairing;
  }

  users() {
    return [...new Set([...this.members.values()].map((member) => member.userId))].sort();
  }

  apply(event) {
    this.#record(`${event.type} ${event.seq}${event.resync ? ' resync' : ''}`);
    this.#checkFields(event);
    if (event.resync) this.repairing = true;
    else this.#checkOrder(event);
    const seen = this.#epochs.get(event.connId) >= event.epoch;
    this.#checkEpoch(event.connId, event.epoch, event.type);
    if (!event.resync && !this.settling) this.#checkChange(event, seen);
    if (event.type === 'leave') this.#remove(event.connId);
    else this.#set(event.connId, { userId: event.userId, state: event.state, info: event.info, epoch: event.epoch });
  }

  sync({ roomId, snapshot, seq, gen }) {
    this.#record(`sync ${seq}`);
    if (roomId !== this.roomId) this.#violate(`a sync of another room: ${roomId}`);
    if (gen < this.gen) this.#violate(`a sync of an older gen: ${gen} after ${this.gen}`);
    if (gen === this.gen && !this.settling && seq < this.seq) this.#violate(`a sync went back from ${this.seq} to ${seq}`);
    const fromEvents = new Map(this.members);
    this.#take(snapshot);
    if (!this.syncSuffices) this.#compareWithEvents(fromEvents);
    this.seq = seq;
    this.gen = gen;
    this.settling = false;
    this.repairing = false;
  }

  #checkFields(event) {
    for (const [field, type] of Object.entries(EVENT_FIELDS)) {
      if (typeof event[field] !== type || event[field] === null) this.#violate(`an event without ${field}`, event);
    }
    if (event.roomId !== this.roomId) this.#violate('an event of another room', event);
    if (!['join', 'update', 'leave'].includes(event.type)) this.#violate('an event of no known type', event);
    if (event.type === 'leave' && !LEAVE_REASONS.includes(event.reason)) this.#violate('a leave without reason', event);
  }

  #checkOrder(event) {
    if (event.gen < this.gen) this.#violate(`an event of an older gen than ${this.gen}`, event);
    if (event.gen > this.gen) this.settling = true;
    else if (!this.settling && event.seq !== this.seq + 1) this.#violate(`expected seq ${this.seq + 1}`, event);
    this.seq = event.seq;
    this.gen = event.gen;
  }

  #checkEpoch(connId, epoch, what) {
    const before = this.#epochs.get(connId) ?? 0;
    if (epoch < before) this.#violate(`the epoch of ${connId} went back from ${before} to ${epoch} in a ${what}`);
    this.#epochs.set(connId, Math.max(before, epoch));
  }

  // What a change must look like while nothing was lost. `seen`: whether this member was announced since it joined.
  #checkChange(event, seen) {
    const here = this.members.has(event.connId);
    if (event.type === 'join') {
      if (here) this.#violate('joined twice', event);
      this.#checkUserFlag(event, 'userJoined');
    } else if (here) {
      if (event.type === 'leave') this.#checkUserFlag(event, 'userLeft');
    } else if (seen || !REASONS_OF_THE_UNSEEN.includes(event.reason)) {
      this.#violate(`${event.type} of one who is not here`, event);
    }
  }

  #checkUserFlag(event, flag) {
    const own = this.members.get(event.connId)?.userId === event.userId ? 1 : 0;
    const otherTab = (this.#connections.get(event.userId) ?? 0) > own;
    if (Boolean(event[flag]) === otherTab) this.#violate(`wrong ${flag} (another tab is here: ${otherTab})`, event);
  }

  #take(snapshot) {
    this.members = new Map();
    this.#connections = new Map();
    for (const { connId, userId, state, info, epoch, lastSeenMs } of snapshot) {
      if (this.members.has(connId)) this.#violate(`${connId} is twice in a snapshot`);
      if (!Number.isSafeInteger(lastSeenMs)) this.#violate(`${connId} has no lastSeenMs in a snapshot`);
      this.#checkEpoch(connId, epoch, 'snapshot');
      this.#set(connId, { userId, state, info, epoch });
    }
  }

  #set(connId, member) {
    this.#remove(connId);
    this.members.set(connId, member);
    this.#connections.set(member.userId, (this.#connections.get(member.userId) ?? 0) + 1);
  }

  #remove(connId) {
    const member = this.members.get(connId);
    if (!member) return;
    this.members.delete(connId);
    const left = this.#connections.get(member.userId) - 1;
    if (left) this.#connections.set(member.userId, left);
    else this.#connections.delete(member.userId);
  }

  #compareWithEvents(fromEvents) {
    for (const [connId, member] of this.members) {
      const known = fromEvents.get(connId);
      if (!known) this.#violate(`the sync shows ${connId} (${member.userId}), whose join was never sent`);
      else if (!same(known.state, member.state)) this.#violate(`the sync has another state of ${connId} than the events`);
      else if (!same(known.info, member.info)) this.#violate(`the sync has another info of ${connId} than the events`);
    }
    for (const [connId, { userId }] of fromEvents) {
      if (!this.members.has(connId)) this.#violate(`the sync lacks ${connId} (${userId}), whose leave was never sent`);
    }
  }

  #violate(what, detail) {
    const received = `received ${this.#trail.join(', ')}`;
    this.violations.push(detail ? `${what}: ${JSON.stringify(detail)}; ${received}` : `${what}; ${received}`);
  }

  #record(what) {
    this.#trail.push(what);
    if (this.#trail.length > TRAIL) this.#trail.shift();
  }
}
