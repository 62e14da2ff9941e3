// Packets that are none, on both transports: every type with wrong lengths, namespaces, acknowledgement numbers, nesting and
// bytes.
import { randomBytes, randomInt } from 'node:crypto';

import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Session, frame, openPolling, post, request } from '../wire.mjs';

export const bound = 'bad input is refused or closes its connection; events per socket and second; handshakes per address and second';
export const floor = { opened: 100, requests: 700 };
export const isRefused = true;

const PACKETS = [
  () => '', () => '4', () => '9', () => '42', () => '42[', () => '42[]', () => '42{}', () => '42[1]', () => '42[null,{}]',
  () => '42[["a"]]', () => '4299999999999999999999["presence:join",{}]', () => '42-1["presence:join",{}]',
  () => '4200["presence:heartbeat",{}]', () => `40/${text(60_000)},`, () => '40/other,{}', () => '41/other,', () => '43',
  () => '431[]', () => '4399999999999999999999[1]', () => '44{}', () => '451-["a",{"_placeholder":true,"num":9}]',
  () => '45999999-["a"]', () => '45-["a"]', () => '461-1[]', () => '4\0', () => '42["\ud800"]',
  () => `42["presence:join",${'['.repeat(30_000)}`, () => `42["presence:join",${'{"a":'.repeat(9000)}1${'}'.repeat(9000)}]`,
  () => '420["presence:join",{"roomId":1e999}]', () => `420["${text(60_000)}",{}]`, () => '2probe', () => '3', () => '5',
  () => '6', () => '1',
];
const pick = () => PACKETS[randomInt(PACKETS.length)]();

function wrongFrame() {
  const kind = randomInt(4);
  if (kind === 0) return frame(randomBytes(randomInt(200)), { opcode: randomInt(16), fin: randomInt(2) === 0 });
  if (kind === 1) return frame(randomBytes(100), { opcode: 2 });
  if (kind === 2) return randomBytes(50);
  return frame(pick());
}

async function byPolling(gateway, tally) {
  const sid = await openPolling(gateway, tally);
  if (!sid) return false;
  const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
  await request(gateway, tally, post(path, '40'));
  const body = randomInt(4) ? Array.from({ length: 5 }, pick).join('\x1e') : randomBytes(1000).toString('latin1');
  await request(gateway, tally, post(path, body));
  return true;
}

export async function attack({ gateways, tally, ...time }) {
  await lanes(8, time, async (lane) => {
    const gateway = gateways[lane % gateways.length];
    if (lane < 2) return (await byPolling(gateway, tally)) || time.rest(100);
    const socket = await Session.open(gateway, tally);
    if (!socket) return time.rest(100);
    for (let count = 0; count < 8 && socket.isOpen; count += 1) await socket.line.write(frame(pick()));
    await socket.line.write(wrongFrame());
    await time.rest(20);
    socket.close();
  });
}
