// WebSockets and long-polling sessions that never enter a namespace, as many as are let in.
import { lanes } from '../loops.mjs';
import { Session, openPolling } from '../wire.mjs';

export const bound = 'sessions without a namespace per address, closed after 10 s; handshakes per address and second';
export const floor = { opened: 100, requests: 200 };

const MOST = 4000;

export async function attack({ gateways: [gateway], tally, ...time }) {
  let open = 0;
  await lanes(32, time, async (lane) => {
    if (open > MOST) return false;
    const session = lane % 2 ? await openPolling(gateway, tally) : await Session.open(gateway, tally, { namespace: false });
    if (session) open += 1;
    else await time.rest(100);
  });
}
