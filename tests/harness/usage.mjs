// A system in use: everything that it can do, again and again, and everything that can happen to it, once, so that every
// metric has something to say.
import { sleep, until } from './until.mjs';

async function lockDance(one, other, room) {
  const { fence } = await one.lock('acquire', room, 'pen');
  const refused = await other.lock('acquire', room, 'pen');
  const waiting = other.lock('acquire', room, 'pen', { waitMs: 5000 });
  await sleep(50);
  await one.lock('renew', room, 'pen', { fence });
  await one.lock('get', room, 'pen');
  await one.lock('release', room, 'pen', { fence });
  const granted = await waiting;
  if (refused.ok || !granted.ok) throw new Error(`a lock was not handed over: ${JSON.stringify({ refused, granted })}`);
  await other.lock('release', room, 'pen', { fence: granted.fence });
}

// A reader that stops reading must be closed in the end.
async function slowReader(system) {
  const [writer, sleeper] = [await system.connect(0), await system.connect(0, { slow: true })];
  for (const client of [writer, sleeper]) await client.join('slow-reader', 'somebody');
  sleeper.engine.transport.ws.pause(); // it still sends: it is not silent, but deaf
  sleeper.pulse({ everyMs: 500 });
  let isClosed = false;
  system.gateways[0].child.line((line) => line.includes('closing slow client') || undefined).then((closed) => (isClosed = closed), () => {});
  const text = 'x'.repeat(12 * 1024);
  await until('the slow reader to be closed', async () => {
    await writer.ask('presence:heartbeat', { patchState: { text, at: Date.now() } });
    return isClosed;
  }, { within: 60_000, every: 1 });
  for (const client of [writer, sleeper]) client.close();
}

// Redis cuts off its subscribers, and then is silent for longer than anyone waits.
async function troubleWithRedis(system) {
  const client = await system.connect(0, { follow: false });
  await client.join('trouble', 'ann');
  await system.redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await until('the subscription to be back', async () => (await system.gateways[0].get('/readyz')).status === 200);
  system.redis.pause();
  try {
    for (let code; code !== 'UNAVAILABLE'; ) {
      ({ code } = await client.ask('presence:heartbeat', { patchState: { at: Date.now() } }));
    }
  } finally {
    system.redis.resume();
  }
  await Promise.all(system.services.map((service) => service.ready(30_000)));
  client.close();
}

export function everything(system) {
  const idle = [];
  let stopped = false;
  let going = Promise.resolve();

  async function round(n) {
    const room = `usage-${n}`;
    const [ann, ben, gone] = [await system.connect(0), await system.connect(1 % system.gateways.length), await system.connect(0)];
    await ann.join(room, 'ann', { typing: false });
    await ben.join(room, 'ben');
    await gone.join(room, 'gone'); // sends no heartbeat: the reaper takes it out
    for (let beat = 0; beat < 3; beat += 1) {
      await Promise.all([ann.beat(), ben.patch({ n: beat })]);
    }
    const set = await ann.metadata('setChannel', room, 'T', [{ key: 'topic', value: n }]);
    await ann.metadata('updateChannel', room, 'T', [{ key: 'topic', value: -n }], { majorRevision: set.majorRevision });
    await ben.ask('metadata:updateChannel', {
      channelName: room, channelType: 'T', data: [{ key: 'topic', value: 0 }], options: { majorRevision: set.majorRevision },
    });
    await ann.metadata('getChannel', room, 'T');
    await ann.metadata('removeChannel', room, 'T');
    await lockDance(ann, ben, room);
    await ann.ask('presence:join', { roomId: `${room}-other`, userId: 'ann' });
    await ann.ask('presence:join', { userId: 'nobody' });
    await ann.leave();
    ann.close();
    idle.push(gone);
    ben.pulse();
  }

  async function goOn() {
    for (let n = 1; !stopped; n += 1) {
      await round(n);
      await sleep(500);
      while (system.clients.length > 30) system.clients.shift().close();
    }
  }

  return {
    // One round of everything, in trouble too; the rest goes on until stopped.
    async begin() {
      await round(0);
      await slowReader(system);
      await troubleWithRedis(system);
      going = goOn();
      going.catch(() => {});
    },
    async stop() {
      stopped = true;
      await going;
    },
  };
}
