// Two versions side by side, as during an upgrade: the later one adds fields to everything that services send each other.
import assert from 'node:assert/strict';

import { Load, populate } from '../harness/load.mjs';
import { scenario } from '../harness/scenario.mjs';

const LATER = { next: true };

scenario('services of a later version take over one by one, and every request is answered', { gateways: 2, states: 2 }, async ({ system, room }) => {
  await system.addGateway(LATER);
  const members = await populate(system, room, 6);
  const load = new Load(members);
  await load.flows();
  // Both versions serve both versions' gateways, then only the later one does, then only the earlier one.
  await system.addState(LATER);
  await system.addReaper(LATER);
  await load.flows(200);
  for (const state of system.states.slice(0, 2)) assert.equal((await state.terminate()).code, 0);
  assert.equal((await system.reapers[0].terminate()).code, 0);
  await load.flows(200);
  await system.addState();
  await load.flows();
  assert.equal((await system.states[2].terminate()).code, 0);
  await load.flows(200);
  await load.stop();
  load.assertNoFailures();
  await load.assertNothingLost();

  const [earlier, , later] = [members[0], members[1], members[2]];
  const { majorRevision } = await later.metadata('setChannel', `${room}-0`, 'T', [{ key: 'k', value: 1 }]);
  assert.equal((await earlier.metadata('getChannel', `${room}-0`, 'T')).majorRevision, majorRevision);
  const { fence } = await earlier.lock('acquire', `${room}-0`, 'turn');
  const waiting = later.lock('acquire', `${room}-0`, 'turn', { waitMs: 5000 });
  assert.equal((await earlier.lock('release', `${room}-0`, 'turn', { fence })).ok, true);
  assert.ok((await waiting).fence > fence);
});
