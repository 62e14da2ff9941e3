// 600 connections whose other side is gone without a word, as far as they show: they end their half and keep the rest, some
// before their handshake, some after it, some as members. None answers a ping.
import { Line, Session, pollingHandshake } from '../wire.mjs';

export const bound = 'time of a request head, sessions without a namespace, pings';
export const floor = { opened: 100, requests: 70 };

const EACH = 200;

export async function attack({ gateways: [gateway], tally, ended }) {
  for (let count = 0; count < EACH; count += 1) new Line(gateway, tally).socket.end();
  for (let count = 0; count < EACH; count += 1) new Line(gateway, tally).socket.end(pollingHandshake());
  const members = await Session.openMany(gateway, tally, EACH);
  await Promise.all(members.map((member, index) => member.join('attacked-half', `half-${index}`)));
  for (const member of members) {
    member.line.socket.pause();
    member.line.socket.end();
  }
  await ended;
}
