// One member of a room of 60 with states of 16 KiB joins it again and again and reads nothing: 60 bytes in, 1 MB to be sent.
import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'bytes waiting outward for one socket, and in the process';
export const floor = { opened: 10, requests: 90 };

const ROOM = 'attacked-bomb';

export async function attack({ gateways: [gateway], tally, ...time }) {
  const members = await Session.openMany(gateway, tally, 60);
  await Promise.all(members.map((member, index) => member.join(ROOM, `member-${index}`, { text: text(16_000) })));
  let bomber;
  await lanes(1, time, async () => {
    if (!bomber?.isOpen) bomber = await Session.open(gateway, tally, { deaf: true });
    await bomber?.fire('presence:join', { roomId: ROOM, userId: 'bomber' });
    await time.rest(5);
  });
}
