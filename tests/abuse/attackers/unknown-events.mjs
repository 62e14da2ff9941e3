// Four sockets send events that do not exist, as fast as they are taken. Each was an error, and a span of its own.
import { lanes } from '../loops.mjs';
import { Session, frame } from '../wire.mjs';

export const bound = 'events per socket and second; spans of what is refused are sampled';
export const floor = { opened: 1, requests: 1000 };
export const isRefused = true;

const TOGETHER = 64;
const batch = Buffer.concat(Array.from({ length: TOGETHER }, (_, index) => frame(`42${index}["no:such:event",{}]`)));

export async function attack({ gateways, tally, ...time }) {
  const sockets = await Session.openMany(gateways[0], tally, 4);
  await lanes(sockets.length, time, async (lane) => {
    if (!sockets[lane].isOpen) return false;
    await sockets[lane].line.write(batch, TOGETHER);
  });
}
