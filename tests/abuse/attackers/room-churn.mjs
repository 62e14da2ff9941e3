// 16 sockets join and leave 4,000 rooms in a loop: a subscription, a member and two events each time.
import { lanes } from '../loops.mjs';
import { Session } from '../wire.mjs';

export const bound = 'events per socket and second';
export const floor = { opened: 4, requests: 800 };

const ROOMS = 4000;
const SOCKETS = 16;

export async function attack({ gateways, tally, ...time }) {
  const sockets = await Session.openMany(gateways[0], tally, SOCKETS);
  await lanes(SOCKETS, time, async (lane, turn) => {
    const socket = sockets[lane];
    if (!socket?.isOpen) return false;
    const room = `attacked-churn-${(turn * SOCKETS + lane) % ROOMS}`;
    const [{ retryAfterMs }] = await Promise.all([socket.join(room, 'churner'), socket.ask('presence:leave', {})]);
    if (retryAfterMs) await time.rest(retryAfterMs);
  });
}
