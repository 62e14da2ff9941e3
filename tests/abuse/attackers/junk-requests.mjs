// Requests for what does not exist, pipelined on 16 connections: paths, sessions, methods, versions of the protocol.
import { lanes } from '../loops.mjs';
import { Line, countStatuses, get, post } from '../wire.mjs';

export const bound = 'requests are cheap to refuse';
export const floor = { opened: 100, requests: 1000 };
export const isRefused = true;

const PATH = '/socket.io/?EIO=4&transport=';
const requests = [
  get('/'), get('/metrics'), get('/socket.io/'), get('/socket.io/?EIO=3&transport=polling'), get(`${PATH}carrier-pigeon`),
  get(`${PATH}polling&sid=AAAAAAAAAAAAAAAA`), post(`${PATH}polling&sid=AAAAAAAAAAAAAAAA`, '40'), get('/socket.io/%2e%2e/%00'),
  get(`${PATH}polling&sid=AAAAAAAAAAAAAAAA`).replace('GET', 'PURGE'),
];
const batch = requests.join('').repeat(4);

export async function attack({ gateways, tally, ...time }) {
  const lines = [];
  await lanes(16, time, async (lane) => {
    if (!lines[lane]?.isOpen) lines[lane] = new Line(gateways[lane % 2], tally, { onData: countStatuses(tally) });
    await lines[lane].write(batch, 4 * requests.length);
    await time.rest(1);
  });
}
