// 1,500 sockets each begin a message of fragments, a frame that lacks one byte, or a binary event whose attachment never comes.
import { text } from '../payloads.mjs';
import { Session, frame } from '../wire.mjs';

export const bound = 'memory that a connection may pin: partial messages are closed after 10 s, the largest debtors first';
export const floor = { opened: 100, requests: 200 };

const BEGINNINGS = [
  [frame(text(30_000), { fin: false }), frame(text(30_000), { opcode: 0, fin: false })],
  [frame(text(64_999), { claimed: 65_000 })],
  [frame(`451-["presence:join",{"roomId":"${text(60_000)}","state":{"_placeholder":true,"num":0}}]`)],
  [
    frame(`451-["presence:join",{"roomId":"${text(60_000)}","state":{"_placeholder":true,"num":0}}]`),
    frame(text(64_999), { opcode: 2, claimed: 65_000 }),
  ],
];

export async function attack({ gateways: [gateway], tally, over, ended, rest }) {
  for (let count = 0; count < 24 && !over(); count += 1) {
    const sockets = await Session.openMany(gateway, tally, 64);
    await Promise.all(sockets.map((socket, index) => socket.line.write(Buffer.concat(BEGINNINGS[index % BEGINNINGS.length]))));
    await rest(sockets.length ? 1 : 200);
  }
  await ended;
}
