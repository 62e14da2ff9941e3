// Four members of another room take all locks of the name of an honest room for five minutes; 256 sockets wait for them; then all
// vanish.
import { Session } from '../wire.mjs';

export const bound = 'locks of a name held by one socket';
export const floor = { opened: 60, requests: 100 };

const ROOM = 'honest-2';

export async function attack({ gateways, tally, rest, ended }) {
  const lock = (number) => ({ channelName: ROOM, channelType: 'hoard', lockName: `lock-${number}` });
  const hoarders = await Session.openMany(gateways[0], tally, 4);
  await Promise.all(hoarders.map((hoarder, index) => hoarder.join('attacked-hoard', `hoarder-${index}`)));
  const takeAll = async (hoarder, index) => {
    for (let number = index; number < 256; number += hoarders.length) {
      const { retryAfterMs } = await hoarder.ask('lock:acquire', { ...lock(number), ttlMs: 300_000 });
      if (retryAfterMs) await rest(retryAfterMs);
    }
  };
  await Promise.race([Promise.all(hoarders.map(takeAll)), rest(3000)]);
  const waiters = await Session.openMany(gateways[1], tally, 256);
  await Promise.all(waiters.map((waiter, index) => waiter.join('attacked-hoard', `waiter-${index}`)));
  await Promise.all(waiters.map((waiter, index) => waiter.fire('lock:acquire', { ...lock(index % 16), waitMs: 10_000 })));
  await rest(1000);
  for (const session of [...hoarders, ...waiters]) session.close();
  await ended;
}
