// The official Socket.IO client for tests: acknowledgements are promises, everything received is kept, and a strict roster
// follows the room. For JSON that JavaScript cannot hold, `askRaw` sends a payload as text.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';

import { Channels } from './channels.mjs';
import { Roster } from './roster.mjs';
import { until, withTimeout } from './until.mjs';

const ANSWER_MS = 14_000; // a lock may be waited for ten seconds
// Acknowledgement numbers of raw packets: far from those that the official client counts up.
const FIRST_RAW_ACK = 1_000_000;

export const TRANSPORTS = {
  websocket: ['websocket'],
  polling: ['polling'],
  upgrade: ['polling', 'websocket'],
};

const matches = (event, wanted) => Object.entries(wanted).every(([key, value]) => event[key] === value);

export class Client {
  events = []; // every presence:event, in order
  syncs = []; // every presence:sync, in order
  locks = []; // every lock:event, in order
  changes = []; // every metadata:event, in order
  channels = new Channels();
  rosters = []; // one for each successful join; the last one is that of now
  disconnects = []; // the reasons
  raw = []; // with the option `raw`: every Socket.IO packet received, as text
  #strays = [];
  #inRoom = false;
  #connId;
  #rawAcks = FIRST_RAW_ACK;
  #unanswered = new Set();

  static async connect(url, options) {
    const client = new Client(url, options);
    await client.connected();
    return client;
  }

  constructor(url, { transports = TRANSPORTS.websocket, raw = false, follow = true, slow = false, ...options } = {}) {
    this.follow = follow; // if false, nothing that is received is checked
    this.slow = slow; // it will stop reading for a while
    this.socket = io(url, { transports, forceNew: true, reconnection: false, ...options });
    this.socket.on('connect', () => {
      if (raw) this.engine.on('data', (text) => this.raw.push(text));
    });
    this.socket.on('disconnect', (reason) => this.#lose(reason));
    this.socket.on('presence:event', (event) => this.#receiveEvent(event));
    this.socket.on('presence:sync', (sync) => this.#receiveSync(sync));
    this.socket.on('lock:event', (event) => this.locks.push(event));
    this.socket.on('metadata:event', (change) => this.#receiveChange(change));
  }

  // From the answer of its last join.
  get connId() {
    return this.#connId;
  }

  // Whether it is a member of a room, as far as it knows.
  get inRoom() {
    return this.#inRoom;
  }

  get engine() {
    return this.socket.io.engine;
  }

  get roster() {
    return this.rosters.at(-1);
  }

  connected() {
    return withTimeout('the client to connect', ANSWER_MS, new Promise((resolve, reject) => {
      if (this.socket.connected) return resolve();
      this.socket.once('connect', resolve);
      this.socket.once('connect_error', reject);
    }));
  }

  // Resolves with the answer, also a refusal. The roster is made in the acknowledgement itself: the next packet may be an event.
  ask(event, ...args) {
    return this.#await(event, (resolve) => {
      this.socket.emit(event, ...args, (answer) => {
        this.#learn(event, args[0], answer);
        resolve(answer);
      });
    });
  }

  // Like `ask`, with the payload as JSON text, and resolving with the text of the answer.
  askRaw(event, payloadText) {
    const ack = (this.#rawAcks += 1);
    const head = `3${ack}[`;
    return this.#await(event, (resolve) => {
      const listen = (text) => {
        if (!text.startsWith?.(head)) return;
        this.engine.off('data', listen);
        const answerText = text.slice(head.length, -1);
        this.#learn(event, JSON.parse(payloadText), JSON.parse(answerText));
        resolve(answerText);
      };
      this.engine.on('data', listen);
      this.engine.send(`2${ack}[${JSON.stringify(event)},${payloadText}]`);
    });
  }

  join(roomId, userId, state) {
    return this.#askOk('presence:join', { roomId, userId, ...(state && { state }) });
  }

  beat(payload = {}) {
    return this.#askOk('presence:heartbeat', payload);
  }

  patch(patchState) {
    return this.beat({ patchState });
  }

  leave() {
    return this.#askOk('presence:leave');
  }

  // One of setChannel, updateChannel, removeChannel and getChannel, which must succeed.
  metadata(verb, channelName, channelType, data, options) {
    return this.#askOk(`metadata:${verb}`, { channelName, channelType, ...(data && { data }), ...(options && { options }) });
  }

  // One of acquire, renew, release and get; resolves with the answer, also a refusal.
  lock(verb, channelName, lockName, more = {}) {
    return this.ask(`lock:${verb}`, { channelName, channelType: 'T', lockName, ...more });
  }

  // Heartbeats at a steady pace, until stopped (which waits for the last answer) or until the socket closes.
  pulse({ payload = {}, everyMs = 1000 } = {}) {
    const beats = [];
    const timer = setInterval(() => {
      const beat = { at: Date.now() };
      beats.push(beat);
      this.socket.emit('presence:heartbeat', payload, (answer) => {
        beat.answer = answer;
      });
    }, everyMs);
    this.socket.on('disconnect', () => clearInterval(timer));
    const stop = async () => {
      clearInterval(timer);
      await until('every heartbeat to be answered', () => beats.every(({ answer }) => answer));
    };
    return { beats, stop };
  }

  // The first event received with all these fields; waits for it if necessary.
  receives(wanted, within) {
    const find = () => this.events.find((event) => matches(event, wanted));
    return until(`${this.connId} to receive ${JSON.stringify(wanted)}`, find, { within });
  }

  count(wanted) {
    return this.events.filter((event) => matches(event, wanted)).length;
  }

  // Waits until exactly these users are in the room, according to its events.
  async sees(users, within) {
    const expected = JSON.stringify([...new Set(users)].sort());
    const seen = () => JSON.stringify(this.roster.users());
    await until(`${this.connId} to see ${expected}`, () => {
      if (seen() !== expected) throw new Error(`seen: ${seen()}`);
      return true;
    }, { within });
  }

  disconnected(within) {
    return until(`${this.connId} to be disconnected`, () => this.disconnects[0], { within });
  }

  // Waiting for a presence:sync that must follow.
  get unsettled() {
    return this.follow && this.#inRoom && this.roster.unsettled;
  }

  // Everything that this client received against the protocol.
  complaints() {
    return [...this.rosters.flatMap((roster) => roster.violations), ...this.channels.violations, ...this.#strays];
  }

  close() {
    this.socket.disconnect();
  }

  async #askOk(event, ...args) {
    const answer = await this.ask(event, ...args);
    assert.equal(answer.ok, true, `${event} was answered ${JSON.stringify(answer)}`);
    return answer;
  }

  #await(event, send) {
    let fail;
    const answered = new Promise((resolve, reject) => {
      fail = reject;
      if (!this.socket.connected) throw new Error(`no answer to ${event}: not connected`);
      this.#unanswered.add(reject);
      send(resolve);
    });
    return withTimeout(`the answer to ${event}`, ANSWER_MS, answered).finally(() => this.#unanswered.delete(fail));
  }

  #learn(event, payload, answer) {
    if (!answer?.ok) return;
    if (event === 'presence:join') {
      this.#connId = answer.self.connId;
      this.rosters.push(new Roster(payload.roomId, this.connId, answer, { syncSuffices: this.slow }));
      this.#inRoom = true;
    }
    if (event === 'presence:leave') this.#inRoom = false;
    if (event.startsWith('metadata:')) this.channels.learn(answer);
  }

  #lose(reason) {
    this.disconnects.push(reason);
    this.#inRoom = false;
    for (const fail of this.#unanswered) fail(new Error(`disconnected (${reason}) before the answer`));
  }

  #receiveEvent(event) {
    this.events.push(event);
    if (!this.follow) return;
    if (this.#inRoom) this.roster.apply(event);
    else this.#strays.push(`received while in no room: ${JSON.stringify(event)}`);
  }

  #receiveChange(change) {
    this.changes.push(change);
    if (!this.follow) return;
    if (this.#inRoom) this.channels.apply(change);
    else this.#strays.push(`received while in no room: ${JSON.stringify(change)}`);
  }

  #receiveSync(sync) {
    this.syncs.push(sync);
    if (!this.follow) return;
    if (this.#inRoom) this.roster.sync(sync);
    else this.#strays.push(`a sync while in no room: ${JSON.stringify(sync)}`);
  }
}
