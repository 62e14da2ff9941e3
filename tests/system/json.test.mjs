// The JSON of a state survives exactly, in answers, events and snapshots, even after patches. Payloads and answers are
// compared as text, since JavaScript itself could hold neither 2^53+1 nor 1e400.
import assert from 'node:assert/strict';

import { TRANSPORTS } from '../harness/client.mjs';
import { sharedSystem } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const test = sharedSystem({ gateways: 2, states: 2 });

const VALUES = {
  'an empty list': '[]',
  'an empty object': '{}',
  null: 'null',
  'false': 'false',
  'an empty text': '""',
  '2^53+1': '9007199254740993',
  'a number beyond any float': '1e400',
  'a number as it was written': '-0.10e+2',
  'many digits': '3.14159265358979323846264338327950288',
  'nested empties': '{"a":[{},[],[[]],{"b":{}}]}',
  'keys out of order': '{"z":1,"a":2,"10":3,"9":4}',
  '__proto__': '{"__proto__":{"admin":true},"constructor":null}',
  unicode: '"日本 🦀 é \u2028 \u00e9"',
  escapes: String.raw`"\u0000\n\"\\\/\ud83e\udd80"`,
};

const stateText = (value, more = '') => `{"first":1,"value":${value}${more},"last":[]}`;
const joinText = (room, user, state) => `{"roomId":"${room}","userId":"${user}","state":${state}}`;

// The text of a member's state, as it stands in a packet of these words.
async function assertHears(client, words, state) {
  const find = () => client.raw.find((text) => words.every((word) => text.includes(word)));
  const packet = await until(`a packet with ${words}`, find);
  assert.ok(packet.includes(`"state":${state}`), `expected ${state} in ${packet}`);
}

for (const transport of ['websocket', 'polling']) {
  const options = { transports: TRANSPORTS[transport], raw: true };
  for (const [name, value] of Object.entries(VALUES)) {
    test(`${name} survives joins, patches and snapshots over ${transport}`, async ({ system, room }) => {
      const ann = await system.connect(0, options);
      const bob = await system.connect(1, options);
      await bob.join(room, 'bob');

      const own = await ann.askRaw('presence:join', joinText(room, 'ann', stateText(value)));
      assert.ok(own.includes(`"state":${stateText(value)}`), own);
      await assertHears(bob, ['presence:event', '"join"', '"ann"'], stateText(value));

      await ann.askRaw('presence:heartbeat', `{"patchState":{"more":${value}}}`);
      const patched = `{"first":1,"value":${value},"last":[],"more":${value}}`;
      await assertHears(bob, ['presence:event', '"update"', '"ann"'], patched);

      const carl = await system.connect(1, options);
      const snapshot = await carl.askRaw('presence:join', joinText(room, 'carl', '{}'));
      assert.ok(snapshot.includes(`"state":${patched}`), snapshot);
    });
  }
}

test('a patch keeps the order of keys, adds new ones at the end and replaces whole values', async ({ system, room }) => {
  const ann = await system.connect(0, { raw: true });
  await ann.askRaw('presence:join', joinText(room, 'ann', '{"z":{"deep":1},"a":1,"m":null}'));
  const patches = [
    ['{"a":2}', '{"z":{"deep":1},"a":2,"m":null}'],
    ['{"z":{"other":[]}}', '{"z":{"other":[]},"a":2,"m":null}'],
    ['{"new":9007199254740993,"a":null}', '{"z":{"other":[]},"a":null,"m":null,"new":9007199254740993}'],
    ['{"__proto__":1}', '{"z":{"other":[]},"a":null,"m":null,"new":9007199254740993,"__proto__":1}'],
  ];
  for (const [patch, expected] of patches) {
    const answer = await ann.askRaw('presence:heartbeat', `{"patchState":${patch}}`);
    assert.ok(answer.includes('"changed":true'), answer);
    await assertHears(ann, ['"update"', `"state":${expected}`], expected);
  }
});

test('a patch that changes nothing says so, whatever the JSON', async ({ system, room }) => {
  const ann = await system.connect(0, { raw: true });
  const state = `{${Object.values(VALUES).map((value, index) => `"k${index}":${value}`).join()}}`;
  await ann.askRaw('presence:join', joinText(room, 'ann', state));
  const same = await ann.askRaw('presence:heartbeat', `{"patchState":${state}}`);
  assert.ok(same.includes('"changed":false'), same);
  const other = await ann.askRaw('presence:heartbeat', '{"patchState":{"k5":9007199254740992}}');
  assert.ok(other.includes('"changed":true'), other);
  assert.equal(ann.count({ type: 'update' }), 1);
});
