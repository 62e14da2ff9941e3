// As pipelined-handshakes, with another X-Forwarded-For and Forwarded each time, to be taken for somebody else.
import { Line, countStatuses, pollingHandshake } from '../wire.mjs';
import { lanes } from '../loops.mjs';

export const bound = 'addresses are believed of TRUSTED_PROXIES only; handshakes per address and second';
export const floor = { opened: 40, requests: 1000 };

const TOGETHER = 64;

function handshakes(from) {
  const one = (_, index) => {
    const address = `10.${(from >> 8) & 255}.${from & 255}.${index}`;
    return pollingHandshake(`X-Forwarded-For: ${address}\r\nForwarded: for=${address}\r\nX-Real-IP: ${address}\r\n`);
  };
  return Array.from({ length: TOGETHER }, one).join('');
}

export async function attack({ gateways, tally, ...time }) {
  const lines = [];
  await lanes(2, time, (lane, turn) => {
    if (!lines[lane]?.isOpen) lines[lane] = new Line(gateways[lane], tally, { onData: countStatuses(tally) });
    return lines[lane].write(handshakes(2 * turn + lane), TOGETHER);
  });
}
