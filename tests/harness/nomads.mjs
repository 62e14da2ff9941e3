// Users who stay, whatever happens to their connection: the official client reconnects by itself, joins again on every
// connect, and patches its state repeatedly. Every failure that they see is recorded.
import assert from 'node:assert/strict';

import { Client, TRANSPORTS } from './client.mjs';
import { sleep, until } from './until.mjs';

const PATIENCE = { reconnection: true, reconnectionDelay: 100, reconnectionDelayMax: 1000, timeout: 5000 };

class Nomad {
  refusals = []; // answers that were not ok, by code
  gaveUp = []; // reasons for which the client no longer tries
  awayMs = []; // from each disconnect until it was joined again
  answered = 0;
  slowestMs = 0;
  joined = false;
  #n = 0;
  #stopped = false;
  #left = null;

  constructor(url, room, user, transports) {
    this.room = room;
    this.user = user;
    this.client = new Client(url, { transports, ...PATIENCE });
    const { socket } = this.client;
    const giveUp = (reason) => socket.active || this.gaveUp.push(String(reason));
    socket.on('connect', () => this.#join());
    socket.on('connect_error', giveUp);
    socket.on('disconnect', (reason) => {
      this.joined = false;
      this.#left ??= Date.now();
      giveUp(reason);
    });
    this.done = this.#patch();
  }

  stop() {
    this.#stopped = true;
    return this.done;
  }

  async #join() {
    while (!this.joined && this.client.socket.connected && !this.#stopped) {
      const answer = await this.#ask('presence:join', { roomId: this.room, userId: this.user, state: { n: this.#n } });
      if (answer?.ok) {
        this.joined = true;
        if (this.#left) this.awayMs.push(Date.now() - this.#left);
        this.#left = null;
      } else await sleep(100);
    }
  }

  async #patch() {
    while (!this.#stopped) {
      if (this.joined) {
        const sentAt = Date.now();
        const answer = await this.#ask('presence:heartbeat', { patchState: { n: (this.#n += 1) } });
        if (answer?.ok) {
          this.answered += 1;
          this.slowestMs = Math.max(this.slowestMs, Date.now() - sentAt);
        }
      }
      await sleep(100);
    }
  }

  // Undefined where the connection broke before the answer: that is no refusal.
  async #ask(event, payload) {
    try {
      const answer = await this.client.ask(event, payload);
      if (!answer.ok) this.refusals.push(answer.code);
      return answer;
    } catch (error) {
      if (this.client.socket.connected) this.refusals.push(error.message);
      return undefined;
    }
  }
}

export class Nomads {
  // Users of `rooms` rooms, half of them by long polling.
  static async settle(url, { count = 24, rooms = 4 } = {}) {
    const nomads = new Nomads();
    nomads.all = Array.from({ length: count }, (_, index) => {
      const transports = index % 2 ? TRANSPORTS.polling : TRANSPORTS.websocket;
      return new Nomad(url, `camp-${index % rooms}`, `nomad-${index}`, transports);
    });
    await nomads.exact();
    return nomads;
  }

  // Every user is in its room and sees exactly its members, each once.
  exact(within = 30_000) {
    return until('every roster to be exact', () => {
      for (const { room, user, client, joined } of this.all) {
        if (!joined || !client.socket.connected) throw new Error(`${user} is away`);
        const belong = this.all.filter((one) => one.room === room).map((one) => `${one.user} ${one.client.connId}`).sort();
        const shown = [...client.roster.members].map(([connId, { userId }]) => `${userId} ${connId}`).sort();
        assert.deepEqual(shown, belong, `what ${user} sees`);
      }
      return true;
    }, { within, every: 100 });
  }

  // Resolves once `count` more patches of every user have succeeded.
  flows(count = 3, within = 15_000) {
    const goals = new Map(this.all.map((nomad) => [nomad, nomad.answered + count]));
    return until('everyone to be answered', () => this.all.every((nomad) => nomad.answered >= goals.get(nomad)), { within });
  }

  get refusals() {
    return this.all.flatMap(({ refusals }) => refusals);
  }

  get disconnects() {
    return this.all.flatMap(({ client }) => client.disconnects);
  }

  get awayMs() {
    return this.all.flatMap(({ awayMs }) => awayMs).sort((a, b) => a - b);
  }

  // Resets the recorded failures and times.
  forget() {
    for (const nomad of this.all) {
      nomad.refusals.length = nomad.awayMs.length = nomad.client.disconnects.length = 0;
      nomad.slowestMs = 0;
    }
  }

  get slowestMs() {
    return Math.max(...this.all.map(({ slowestMs }) => slowestMs));
  }

  assertNoOneGaveUp() {
    assert.deepEqual(this.all.flatMap(({ gaveUp }) => gaveUp), []);
  }

  complaints() {
    return this.all.flatMap(({ client }) => client.complaints());
  }

  async leave() {
    await Promise.all(this.all.map((nomad) => nomad.stop()));
    for (const { client } of this.all) client.close();
  }
}
