// Four members send plain heartbeats, and four others patches of 15 KB, as fast as they are taken.
import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Session, frame } from '../wire.mjs';

export const bound = 'events and bytes per socket and second';
export const floor = { opened: 2, requests: 1000 };

const TOGETHER = 64;
const plain = Buffer.concat(Array.from({ length: TOGETHER }, () => frame('420["presence:heartbeat",{}]')));
const patch = frame(`420["presence:heartbeat",{"patchState":{"text":"${text(15_000)}"}}]`);

export async function attack({ gateways, tally, ...time }) {
  const members = (await Promise.all(gateways.map((gateway) => Session.openMany(gateway, tally, 4)))).flat();
  await Promise.all(members.map((member, index) => member.join('attacked-beats', `member-${index}`)));
  await lanes(members.length, time, async (lane) => {
    if (!members[lane].isOpen) return false;
    await (lane % 2 ? members[lane].line.write(patch) : members[lane].line.write(plain, TOGETHER));
  });
}
