// 600 requests whose body comes byte by byte or never: for sessions of long polling, with a length and in chunks.
import { lanes } from '../loops.mjs';
import { Line, countStatuses, openPolling } from '../wire.mjs';

export const bound = 'time of a request body';
export const floor = { opened: 100, requests: 400 };

const CONNECTIONS = 600;

export async function attack({ gateways: [gateway], tally, ...time }) {
  const path = `/socket.io/?EIO=4&transport=polling&sid=${await openPolling(gateway, tally)}`;
  const lines = Array.from({ length: CONNECTIONS }, () => new Line(gateway, tally, { onData: countStatuses(tally) }));
  await lanes(CONNECTIONS, time, async (lane, turn) => {
    if (!lines[lane].isOpen) return false;
    const chunked = lane % 2;
    const length = chunked ? 'Transfer-Encoding: chunked' : 'Content-Length: 60000';
    const head = `POST ${path} HTTP/1.1\r\nHost: rollcall\r\nContent-Type: text/plain\r\n${length}\r\n\r\n`;
    await lines[lane].write(turn === 0 ? head : chunked ? '1\r\n4\r\n' : '4');
    await time.rest(1000);
  });
}
