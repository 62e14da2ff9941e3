// 511 sockets join one room with states of 16 KiB and change them: 8 MiB, that each of them is sent, and more for each change.
import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'bytes of states of a room, bytes waiting outward, bytes per socket and second';
export const floor = { opened: 100, requests: 200 };

const MEMBERS = 511;

export async function attack({ gateways: [gateway], tally, ...time }) {
  const members = await Session.openMany(gateway, tally, MEMBERS, { deaf: true });
  await lanes(members.length, time, async (lane) => {
    if (!members[lane].isOpen) return false;
    await members[lane].fire('presence:join', { roomId: 'attacked-full', userId: `member-${lane}`, state: { text: text(16_000) } });
    await time.rest(2000);
  });
}
