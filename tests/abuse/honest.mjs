// Fifty honest users in rooms of five, on both transports and all gateways, and a newcomer each second: the official client, all
// that it can do at a human pace. What they asked, how long the answer or the event took, and what went wrong is kept by window.
import { Client, TRANSPORTS } from '../harness/client.mjs';
import { sleep, until } from '../harness/until.mjs';

const USERS = 50;
const ROOM_OF = 5;
const PACE_MS = 1000;
const ARRIVALS_MS = 1000;

export const roomOf = (user) => `honest-${Math.floor(user / ROOM_OF)}`;
const transportOf = (number) => (number % 2 ? TRANSPORTS.polling : TRANSPORTS.websocket);
// Between half and one and a half of it: people do not act in step.
const about = (ms) => ms * (0.5 + Math.random());

class Window {
  answersMs = [];
  eventsMs = [];
  errors = new Map(); // what went wrong → how often

  fail(what) {
    this.errors.set(what, (this.errors.get(what) ?? 0) + 1);
  }
}

// What a user does, in turn. Most of it changes a state, which four others are sent.
const ACTS = ['patch', 'patch', 'patch', 'metadata', 'patch', 'patch', 'lock', 'patch'];

export class Honest {
  window = new Window();
  users = [];
  #system;
  #auth;
  #over = false;
  #loops = [];
  #asked = new Set(); // {at}: what is not answered yet

  // All of them have joined. `auth(userId)` is what a user connects with.
  static async arrive(system, auth = () => undefined) {
    const honest = new Honest(system, auth);
    honest.users = await Promise.all(Array.from({ length: USERS }, (_, user) => honest.#settle(user)));
    const complete = () => honest.users.every(({ roster }) => roster.members.size === ROOM_OF);
    await until('all honest users to see their rooms', complete, { within: 15_000 });
    honest.#loops = [...honest.users.map((client, user) => honest.#live(client, user)), honest.#receiveNewcomers()];
    return honest;
  }

  constructor(system, auth) {
    this.#system = system;
    this.#auth = auth;
  }

  // Returns the one that ends.
  beginWindow() {
    const ended = this.window;
    this.window = new Window();
    return ended;
  }

  // How long answers have taken in this window so far; what is not answered yet counts with the time that it has waited.
  answersMs() {
    const now = performance.now();
    return [...this.window.answersMs, ...[...this.#asked].map(({ at }) => now - at)];
  }

  async leave() {
    this.#over = true;
    await Promise.allSettled(this.#loops);
    for (const client of this.users) client.close();
  }

  // Every violation of the protocol so far becomes an error of the window; what was received is forgotten.
  check() {
    for (const client of this.users) {
      for (const complaint of client.complaints()) this.window.fail(`received against the protocol: ${complaint}`);
      client.roster.violations.length = client.channels.violations.length = 0;
      for (const list of [client.events, client.changes, client.locks, client.syncs]) list.length = 0;
    }
  }

  #connect(number, userId) {
    const { entrances } = this.#system;
    const url = entrances[Math.floor(number / 2) % entrances.length];
    return Client.connect(url, { transports: transportOf(number), auth: this.#auth(userId) });
  }

  async #settle(user) {
    const client = await this.#connect(user, `user-${user}`);
    client.socket.on('disconnect', (reason) => this.#over || this.window.fail(`disconnected: ${reason}`));
    client.socket.on('presence:event', (event) => {
      if (event.type === 'update' && !event.resync && event.state.at) this.window.eventsMs.push(performance.now() - event.state.at);
    });
    await client.join(roomOf(user), `user-${user}`, { at: 0 });
    await client.metadata('setChannel', roomOf(user), `board-${user}`, [{ key: 'page', value: 0 }]);
    return client;
  }

  async #live(client, user) {
    for (let turn = user; !this.#over && client.socket.connected; turn += 1) {
      await sleep(about(PACE_MS));
      await this.#act(ACTS[turn % ACTS.length], client, user);
    }
  }

  async #act(act, client, user) {
    if (this.#over || !client.socket.connected) return;
    if (act === 'patch') return this.#ask(client, 'presence:heartbeat', { patchState: { at: performance.now() } });
    const channel = { channelName: roomOf(user), channelType: `board-${user}` };
    if (act === 'metadata') {
      return this.#ask(client, 'metadata:updateChannel', { ...channel, data: [{ key: 'page', value: Date.now() }] });
    }
    const lock = { ...channel, lockName: `of user-${user}` };
    const { ok, fence } = await this.#ask(client, 'lock:acquire', lock);
    if (ok) await this.#ask(client, 'lock:release', { ...lock, fence });
  }

  async #ask(client, event, payload) {
    const asked = { at: performance.now() };
    this.#asked.add(asked);
    try {
      const answer = await client.ask(event, payload);
      this.window.answersMs.push(performance.now() - asked.at);
      if (!answer.ok) this.window.fail(`${event}: ${answer.code}`);
      return answer;
    } catch (error) {
      if (!this.#over && client.socket.connected) this.window.fail(`${event}: ${error.message}`);
      return { ok: false };
    } finally {
      this.#asked.delete(asked);
    }
  }

  async #receiveNewcomers() {
    for (let number = 0; !this.#over; number += 1) {
      await sleep(about(ARRIVALS_MS));
      if (!this.#over) await this.#visit(number);
    }
  }

  // Connects, joins a room of others, and goes.
  async #visit(number) {
    const userId = `newcomer-${number}`;
    let client;
    try {
      client = await this.#connect(number, userId);
      await this.#ask(client, 'presence:join', { roomId: roomOf(number % USERS), userId });
      await this.#ask(client, 'presence:leave', {});
    } catch (error) {
      if (!this.#over) this.window.fail(`a newcomer: ${error.message}`);
    } finally {
      client?.close();
    }
  }
}
