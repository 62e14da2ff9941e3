// A room of 200 members in which one writes 60 KB as fast as it is answered: 12 MB for the gateway to send each time. Quiet rooms
// next to it go on. How fast is measured by the bench (loud-room); here no time counts.
import assert from 'node:assert/strict';

import { RawMembers, each } from '../harness/raw-members.mjs';
import { scenario } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const LOUD_MEMBERS = 200;
const QUIET_ROOMS = 20;
const PATCHES = 25;
// A state has at most 16 KiB, so the 60 KB are metadata: they take the same way through the relay.
const ITEMS = Array.from({ length: 4 }, (_, n) => ({ key: `k${n}`, value: 'x'.repeat(15_000) }));

scenario('quiet rooms go on next to a loud one', {}, async ({ system, room }) => {
  const crowd = await RawMembers.connect(system.gateways[0], LOUD_MEMBERS, (index) => [`${room}-loud`, `loud-${index}`]);
  const writer = await system.connect(0, { follow: false });
  const quiet = await each(QUIET_ROOMS, async (n) => {
    const pair = await system.connectMany(2);
    for (const [index, member] of pair.entries()) await member.join(`${room}-${n}`, `user-${index}`);
    return pair;
  });

  let [writes, isOver] = [0, false];
  const loud = (async () => {
    for (; !isOver; writes += 1) await writer.metadata('setChannel', `${room}-loud`, 'T', ITEMS);
  })();
  try {
    await until('the loud room to be loud', () => writes >= 10, { within: 20_000 });
    const before = writes;
    await Promise.all(quiet.map(async ([patcher, listener]) => {
      for (let n = 1; n <= PATCHES; n += 1) {
        await patcher.patch({ n });
        await until('the event of a patch', () => listener.roster.members.get(patcher.connId).state.n === n, { every: 5, within: 20_000 });
      }
    }));
    assert.ok(writes > before, 'the loud room said nothing meanwhile');
  } finally {
    isOver = true;
    await loud;
  }
  assert.equal(crowd.open, LOUD_MEMBERS, 'members of the loud room were closed');
  assert.deepEqual(quiet.flat().map(({ syncs }) => syncs.length), quiet.flat().map(() => 0), 'quiet members were resynchronized');
  crowd.close();
}, { within: 90_000 });
