// 16 connections ask the edge for one long-polling session after the other. What it remembers of each must not push out honest
// users' sessions, whose requests would then go to another gateway.
import { Line, countStatuses, pollingHandshake } from '../wire.mjs';
import { lanes } from '../loops.mjs';

export const bound = 'requests per address at the edge; it needs no memory of sessions, or one that a flood cannot push out';
export const floor = { opened: 4, requests: 1000 };
export const profile = 'edge';

const TOGETHER = 16;

export async function attack({ gateways: [edge], tally, ...time }) {
  const batch = pollingHandshake().repeat(TOGETHER);
  const lines = [];
  await lanes(16, time, async (lane) => {
    if (!lines[lane]?.isOpen) lines[lane] = new Line(edge, tally, { onData: countStatuses(tally) });
    await lines[lane].write(batch, TOGETHER);
  });
}
