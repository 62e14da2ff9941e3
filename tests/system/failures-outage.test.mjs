// Redis is away for longer than a lease, longer than a TTL, longer than anyone's patience, and comes back with all its data:
// no one is sent a leave, because no one left.
import { Soak } from '../harness/soak.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, sleep } from '../harness/until.mjs';
import { assertAgreement } from '../harness/agreement.mjs';

const OUTAGES_S = [3, 8, 20, 40];

// One after the other, with the same members; a truce of 10 s follows each.
async function goThrough(system, room, { end, begin }) {
  const soak = await Soak.start(system, room);
  for (const [index, seconds] of OUTAGES_S.entries()) {
    await end();
    await sleep(seconds * 1000); // how long it is away is the point
    await begin();
    await soak.patch(index + 1);
    await holds('no leave comes late', () => !soak.anyoneLeft, { ms: 12_000 });
    await soak.assertUnharmed();
    await assertAgreement(system);
  }
}

scenario('Redis killed for 3, 8, 20 and 40 s and started again with its data: no one leaves, no lock is lost', Soak.OPTIONS, async ({ system, room }) => {
  await goThrough(system, room, { end: () => system.redis.kill(), begin: () => system.redis.restart() });
}, { within: 240_000 });

scenario('Redis frozen for 3, 8, 20 and 40 s: no one leaves, no lock is lost', Soak.OPTIONS, async ({ system, room }) => {
  await goThrough(system, room, { end: () => system.redis.pause(), begin: () => system.redis.resume() });
}, { within: 240_000 });
