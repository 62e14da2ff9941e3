// 391 sockets join two rooms of sixty others again every second and read all that they are sent: 0.9 MiB each, 370 MB a second.
import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'answers of joins at the pace of large work';
export const floor = { opened: 100, requests: 200 };

const ROOMS = 2;
const MEMBERS = 60;
const room = (number) => `attacked-storm-${number % ROOMS}`;

export async function attack({ gateways: [gateway], tally, ...time }) {
  const members = await Session.openMany(gateway, tally, ROOMS * MEMBERS);
  await Promise.all(members.map((member, index) => member.join(room(index), `member-${index}`, { text: text(16_000) })));
  const bombers = await Session.openMany(gateway, tally, 391, { careless: true });
  await lanes(bombers.length, time, async (lane) => {
    if (!bombers[lane].isOpen) return false;
    await bombers[lane].fire('presence:join', { roomId: room(lane), userId: `bomber-${lane}` });
    await time.rest(1000);
  });
}
