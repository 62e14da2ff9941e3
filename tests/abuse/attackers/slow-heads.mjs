// 1,000 connections: a third sends nothing, a third a head byte by byte, a third a head of 390 KB without an end.
import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Line, countStatuses } from '../wire.mjs';

export const bound = 'time and size of a request head';
export const floor = { opened: 100, requests: 300 };

const CONNECTIONS = 1000;
const begun = 'GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: rollcall\r\n';

export async function attack({ gateways: [gateway], tally, ...time }) {
  const open = () => new Line(gateway, tally, { onData: countStatuses(tally) });
  const lines = Array.from({ length: CONNECTIONS }, open);
  const lifetimes = lines.map((line) => Promise.race([line.closed.then(() => true), time.ended]));
  await lanes(CONNECTIONS, time, async (lane, turn) => {
    if (!lines[lane].isOpen) return false;
    if (lane % 3 === 1) await lines[lane].write(turn === 0 ? begun : 'x');
    if (lane % 3 === 2) await lines[lane].write(turn === 0 ? begun : `X-${turn}: ${text(4000)}\r\n`);
    await time.rest(lane % 3 === 2 ? 80 : 1000);
  });
  const closed = (await Promise.all(lifetimes)).filter(Boolean).length;
  if (closed < CONNECTIONS) tally.broken.push(`${CONNECTIONS - closed} of ${CONNECTIONS} unfinished heads are still waited for`);
}
