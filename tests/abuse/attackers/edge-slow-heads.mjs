// 1,000 connections to the edge never finish the head of a request, and as many finish it and never read the answer.
import { lanes } from '../loops.mjs';
import { Line, get } from '../wire.mjs';

export const bound = 'connections per address at the edge, time of a request head';
export const floor = { opened: 100, requests: 1000 };
export const profile = 'edge';

const EACH = 1000;

export async function attack({ gateways: [edge], tally, ...time }) {
  const lines = Array.from({ length: 2 * EACH }, () => new Line(edge, tally, { reads: false }));
  await lanes(lines.length, time, async (lane, turn) => {
    if (!lines[lane].isOpen) return false;
    const slow = turn === 0 ? 'GET / HTTP/1.1\r\nX-Slow: ' : 'x';
    await lines[lane].write(lane % 2 ? get('/socket.io/?EIO=4&transport=polling') : slow);
    await time.rest(1000);
  });
}
