// One socket that joined nothing fills 40 channel types of the name of a room with honest members, 255 KB each. A
// member that misses an event is to be sent all of it.
import { lanes } from '../loops.mjs';
import { fillChannel } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'bytes per socket and second, channel types of a name, writes per channel name and second';
export const floor = { opened: 1, requests: 10 };
export const allows = { keys: 40, bytes: 24 << 20 };

const TYPES = 40;

export async function attack({ gateways: [gateway], tally, ...time }) {
  const socket = await Session.open(gateway, tally);
  await lanes(TYPES, time, async (lane) => {
    await fillChannel(socket, { channelName: 'honest-1', channelType: `poison-${lane}` }, time);
    return false;
  });
}
