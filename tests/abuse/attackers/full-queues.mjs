// 200 sockets keep their queues full of writes of 60 KB, each to a channel of its own.
import { lanes } from '../loops.mjs';
import { LARGE_MESSAGE } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'bytes per socket and second; a socket with a full queue is not read';
export const floor = { opened: 50, requests: 100 };
// What 200 sockets may write in that time: a burst of 1 MiB and 512 KiB a second each, always to the same channel of 60 KB.
export const allows = { keys: 200, bytes: 32 << 20 };

export async function attack({ gateways, tally, ...time }) {
  const sockets = (await Promise.all(gateways.map((gateway) => Session.openMany(gateway, tally, 100)))).flat();
  await lanes(sockets.length, time, (lane) => {
    if (!sockets[lane].isOpen) return false;
    const channel = { channelName: `attacked-queue-${lane}`, channelType: 'T' };
    return sockets[lane].fire('metadata:setChannel', { ...channel, data: LARGE_MESSAGE });
  });
}
