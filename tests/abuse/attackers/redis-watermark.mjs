// 64 sockets fill a Redis of 64 MB with channels of 60 KB. Honest users may be refused new metadata then, and nothing else.
import { lanes } from '../loops.mjs';
import { LARGE_MESSAGE } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'stored metadata in all: refused when Redis is over 80 % of its maxmemory';
export const floor = { opened: 10, requests: 100 };
export const allows = { keys: 4096, bytes: 64 << 20 };
export const tolerates = ['metadata:updateChannel: OVERLOADED'];
export const profile = 'small';

export async function attack({ gateways, tally, ...time }) {
  const sockets = (await Promise.all(gateways.map((gateway) => Session.openMany(gateway, tally, 32)))).flat();
  await lanes(sockets.length, time, async (lane, turn) => {
    if (!sockets[lane].isOpen) return false;
    const channelName = `attacked-watermark-${lane}-${turn}`;
    const answer = await sockets[lane].ask('metadata:setChannel', { channelName, channelType: 'T', data: LARGE_MESSAGE });
    if (!answer.ok) await time.rest(answer.retryAfterMs ?? 100);
  });
}
