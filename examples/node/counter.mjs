// Adds to a counter that many clients may change at the same time, without losing an addition.
// Usage: node counter.mjs [AMOUNT]
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';

const amount = Number(process.argv[2] ?? 1);
if (!Number.isInteger(amount)) throw new Error(`the amount is a whole number, not ${process.argv[2]}`);
const url = process.env.ROLLCALL_URL ?? 'http://127.0.0.1:3000';
const token = process.env.ROLLCALL_TOKEN; // needed if the gateway has AUTH=jwt

const socket = io(url, { auth: { token } });
const channel = { channelName: 'lobby', channelType: 'score' };

async function ask(event, payload) {
  const answer = await socket.emitWithAck(event, payload);
  if (answer.ok || answer.code === 'METADATA_CONFLICT') return answer;
  throw new Error(`${answer.code}: ${answer.error}`);
}

async function add(more) {
  for (;;) {
    const { majorRevision, metadata } = await ask('metadata:getChannel', channel);
    const points = (metadata.points?.value ?? 0) + more;
    const data = [{ key: 'points', value: points }];
    const answer = await ask('metadata:setChannel', { ...channel, data, options: { majorRevision } });
    if (answer.ok) return points;
    await sleep(Math.random() * 20); // someone else was faster: read again
  }
}

socket.on('connect_error', (error) => console.error(error.message));
console.log(`points: ${await add(amount)}`);
socket.close();
