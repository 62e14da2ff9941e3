// A client's copies of channels' metadata, kept as docs/reference/metadata.md says: begun by an answer, then changed by events that
// are newer. It notes every event that must not come.
import assert from 'node:assert/strict';

const nameOf = ({ channelName, channelType }) => JSON.stringify([channelName, channelType]);

const bare = (metadata) => new Map(Object.entries(metadata).map(([key, { value, revision }]) => [key, { value, revision }]));

class Channel {
  items = new Map(); // key -> {value, revision}
  majorRevision = 0;

  constructor({ majorRevision, metadata }) {
    this.majorRevision = majorRevision;
    this.items = bare(metadata);
  }

  // Whether the event fits behind what is known.
  apply({ operation, items, majorRevision, resync }) {
    const isNext = majorRevision === this.majorRevision + 1;
    if (majorRevision < this.majorRevision || (majorRevision === this.majorRevision && !resync)) return true; // known
    if (operation === 'set') this.items = new Map();
    for (const { key, value, revision } of items) {
      if (operation === 'remove') this.items.delete(key);
      else this.items.set(key, { value, revision });
    }
    this.majorRevision = majorRevision;
    return isNext || operation === 'set';
  }
}

export class Channels {
  violations = [];
  #channels = new Map();
  #lastHeard = new Map();
  #kept = new Map(); // every event of a channel: one may come before the answer that it follows

  // Takes an answer with the whole channel.
  learn(answer) {
    const known = this.#channels.get(nameOf(answer));
    if (known && answer.majorRevision <= known.majorRevision) return;
    const channel = new Channel(answer);
    this.#channels.set(nameOf(answer), channel);
    for (const event of this.#kept.get(nameOf(answer)) ?? []) {
      if (!channel.apply(event)) this.violations.push(`a change after the answer is missing before ${JSON.stringify(event)}`);
    }
  }

  apply(event) {
    const name = nameOf(event);
    const last = this.#lastHeard.get(name) ?? 0;
    this.#lastHeard.set(name, event.majorRevision);
    this.#kept.set(name, [...(this.#kept.get(name) ?? []), event]);
    if (event.majorRevision < last || (event.majorRevision === last && !event.resync)) {
      this.violations.push(`majorRevision ${event.majorRevision} of ${name} was received after ${last}`);
    }
    const channel = this.#channels.get(name);
    if (channel && !channel.apply(event)) this.violations.push(`a change of ${name} is missing before ${JSON.stringify(event)}`);
  }

  get(channelName, channelType) {
    const channel = this.#channels.get(nameOf({ channelName, channelType }));
    assert.ok(channel, `${channelName} of type ${channelType} was never read`);
    return { majorRevision: channel.majorRevision, items: Object.fromEntries(channel.items) };
  }
}
