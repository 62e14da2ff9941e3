// Four sockets that never read ask for one channel of 255 KB, a hundred times a second each: under 0.5 MiB in, gigabytes to be
// sent.
import { lanes } from '../loops.mjs';
import { fillChannel } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'bytes waiting outward for one socket, and in the process';
export const floor = { opened: 1, requests: 200 };
export const allows = { keys: 1, bytes: 1 << 20 };

const CHANNEL = { channelName: 'attacked-never-read', channelType: 'T' };

export async function attack({ gateways: [gateway], tally, ...time }) {
  await fillChannel(await Session.open(gateway, tally), CHANNEL, time);
  await lanes(4, time, deafReader(gateway, tally, time));
}

// Each lane has a socket, and a new one when that was closed.
function deafReader(gateway, tally, { rest }) {
  const sockets = [];
  return async (lane) => {
    if (!sockets[lane]?.isOpen) sockets[lane] = await Session.open(gateway, tally, { deaf: true });
    await sockets[lane]?.fire('metadata:getChannel', CHANNEL);
    await rest(10);
  };
}
