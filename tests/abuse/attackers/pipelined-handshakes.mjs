// Two TCP connections ask for one long-polling session after the other and use none of them. Each costs a gateway some 9 KiB.
import { Line, countStatuses, pollingHandshake } from '../wire.mjs';
import { lanes } from '../loops.mjs';

export const bound = 'handshakes per address and second, sessions without a namespace per address';
export const floor = { opened: 100, requests: 1000 };

const TOGETHER = 64;

export async function attack({ gateways, tally, ...time }) {
  const batch = pollingHandshake().repeat(TOGETHER);
  const lines = [];
  await lanes(2, time, (lane) => {
    if (!lines[lane]?.isOpen) lines[lane] = new Line(gateways[lane], tally, { onData: countStatuses(tally) });
    return lines[lane].write(batch, TOGETHER);
  });
}
