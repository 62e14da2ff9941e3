// Four connections enter and leave the namespace as fast as they are taken: a session begins and ends each time.
import { lanes } from '../loops.mjs';
import { Session, frame } from '../wire.mjs';

export const bound = 'events per socket and second, which entering counts towards';
export const floor = { opened: 80, requests: 1000 };
export const isRefused = true;

const TOGETHER = 64;
const batch = Buffer.concat(Array.from({ length: TOGETHER / 2 }, () => [frame('41'), frame('40')]).flat());

export async function attack({ gateways, tally, ...time }) {
  const sockets = await Session.openMany(gateways[0], tally, 4);
  await lanes(4, time, async (lane) => {
    if (!sockets[lane]?.isOpen) sockets[lane] = await Session.open(gateways[0], tally);
    if (!sockets[lane]) return time.rest(100);
    await sockets[lane].line.write(batch, TOGETHER);
  });
}
