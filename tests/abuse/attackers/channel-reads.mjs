// 1,200 sockets that joined nothing ask for one channel of 255 KB at the same time, over and over: presence-state holds an answer
// for each.
import { lanes } from '../loops.mjs';
import { fillChannel } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'bytes of answers not yet sent in presence-state, shared reads, bytes waiting outward';
export const floor = { opened: 100, requests: 300 };
export const allows = { keys: 1, bytes: 1 << 20 };

const CHANNEL = { channelName: 'attacked-reads', channelType: 'T' };
const SOCKETS = 1200;

export async function attack({ gateways, tally, ...time }) {
  await fillChannel(await Session.open(gateways[0], tally), CHANNEL, time);
  const readers = await Session.openMany(gateways[0], tally, SOCKETS, { deaf: true });
  await lanes(readers.length, time, async (lane) => {
    if (!readers[lane].isOpen) return false;
    await readers[lane].fire('metadata:getChannel', CHANNEL);
    await time.rest(500);
  });
}
