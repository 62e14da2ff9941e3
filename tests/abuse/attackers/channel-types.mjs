// 32 sockets make 80,000 channel types of the name of a room with honest members.
import { lanes } from '../loops.mjs';
import { Session } from '../wire.mjs';

export const bound = 'channel types of a name';
export const floor = { opened: 8, requests: 700 };
export const allows = { keys: 64, bytes: 1 << 20 };
// Without tokens anyone may use up the rate of a channel's name (docs/operate/security.md).
export const tolerates = ['metadata:updateChannel: RATE_LIMITED'];

const TYPES = 80_000;
const SOCKETS = 32;

export async function attack({ gateways, tally, ...time }) {
  const sockets = await Session.openMany(gateways[0], tally, SOCKETS);
  await lanes(SOCKETS * 8, time, async (lane, turn) => {
    const number = turn * SOCKETS * 8 + lane;
    const socket = sockets[lane % sockets.length];
    if (number > TYPES || !socket?.isOpen) return false;
    const channelType = `${'t'.repeat(240)}${number}`;
    const { retryAfterMs } = await socket.ask('metadata:setChannel', { channelName: 'honest-0', channelType, data: [] });
    if (retryAfterMs) await time.rest(retryAfterMs);
  });
}
