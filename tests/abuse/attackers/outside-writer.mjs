// One socket that joined nothing writes 60 KB to the channel of a room with 200 members, as fast as it is answered.
import { lanes } from '../loops.mjs';
import { LARGE_MESSAGE } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'bytes per socket and second, writes per channel name and second';
export const floor = { opened: 50, requests: 80 };
export const allows = { keys: 1, bytes: 1 << 20 };

const ROOM = 'attacked-fan';

export async function attack({ gateways, tally, ...time }) {
  const members = await Session.openMany(gateways[0], tally, 200);
  await Promise.all(members.map((member, index) => member.join(ROOM, `member-${index}`)));
  const writer = await Session.open(gateways[1], tally);
  await lanes(1, time, () => writer.ask('metadata:setChannel', { channelName: ROOM, channelType: 'T', data: LARGE_MESSAGE }));
}
