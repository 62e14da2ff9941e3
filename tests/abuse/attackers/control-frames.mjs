// Four sockets that never read send WebSocket pings and Engine.IO pings, as fast as they are taken: each is to be answered.
import { lanes } from '../loops.mjs';
import { Session, frame } from '../wire.mjs';

export const bound = 'bytes waiting outward for one socket; a socket that does not read is not read';
export const floor = { opened: 1, requests: 1000 };

const TOGETHER = 128;
const batch = Buffer.concat(Array.from({ length: TOGETHER / 2 }, () => [frame('p'.repeat(100), { opcode: 9 }), frame('2')]).flat());

export async function attack({ gateways, tally, ...time }) {
  const sockets = [];
  await lanes(4, time, async (lane) => {
    if (!sockets[lane]?.isOpen) sockets[lane] = await Session.open(gateways[0], tally, { deaf: true });
    if (!sockets[lane]) return time.rest(100);
    await sockets[lane].line.write(batch, TOGETHER);
  });
}
