// The examples for Node.js, run as their README says, and the guides, whose code is that of the examples.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { EXAMPLES, NodeExamples, exampleFiles, guideCode, quotes } from '../harness/examples.mjs';
import { scenario, sharedSystem } from '../harness/scenario.mjs';
import { Issuer } from '../harness/tokens.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const START_MS = 20_000; // Node.js starts slowly on a busy machine
const examples = new NodeExamples();
const withSystem = sharedSystem({ gateways: 2 });

// Gives a test `run(gateway, script, args, env)`. What it started ends with the test.
const withScripts = (body) => async (context) => {
  const { system } = context;
  const children = [];
  const run = (gateway, script, args, env) => {
    children.push(examples.run(script, args.map(String), { ROLLCALL_URL: system.gateways[gateway].url, ...env }));
    return children.at(-1);
  };
  try {
    await body({ ...context, run });
  } catch (error) {
    throw new Error(children.map((child) => child.report()).join('\n'), { cause: error });
  } finally {
    await Promise.all(children.map((child) => child.kill()));
  }
};

const prints = (child, line) => until(`${child.name} to print ${line}`, () => child.lines.includes(line), { within: START_MS });
const matches = (child, pattern) =>
  until(`${child.name} to print ${pattern}`, () => child.lines.find((line) => pattern.test(line)), { within: START_MS });

async function ends(child) {
  const { code } = await withTimeout(`${child.name} to end`, START_MS, child.exited);
  assert.equal(code, 0, child.report());
}

withSystem('who.mjs: two users see each other, who types, and who leaves', withScripts(async ({ run, room }) => {
  const ann = run(0, 'who.mjs', ['ann', room]);
  await prints(ann, `in ${room}: ann`);
  const ben = run(1, 'who.mjs', ['ben', room]);
  await prints(ben, `in ${room}: ann, ben`);
  await prints(ann, `in ${room}: ann, ben`);
  ben.process.stdin.write('hello\n');
  await prints(ann, `in ${room}: ann, ben (typing)`);
  const told = ann.lines.length;
  await until('ben to have stopped typing', () => ann.lines.slice(told).includes(`in ${room}: ann, ben`));
  await ben.kill();
  await until('ben to be gone', () => ann.lines.at(-1) === `in ${room}: ann`);
}));

withSystem('who.mjs: a reconnected client joins again and sees who came meanwhile', withScripts(async ({ run, system, room }) => {
  const gateway = await system.addGateway();
  const number = system.gateways.length - 1;
  const ann = run(number, 'who.mjs', ['ann', room]);
  await prints(ann, `in ${room}: ann`);
  await gateway.terminate();
  const ben = await system.connect(0);
  await ben.join(room, 'ben');
  system.gateways[number] = await system.addGateway({ PORT: new URL(gateway.url).port });
  system.gateways.pop();
  await prints(ann, `in ${room}: ann, ben`);
  await ben.receives({ type: 'join', userId: 'ann' });
}));

withSystem('counter.mjs: of clients that add at the same time none loses an addition', withScripts(async ({ run, system }) => {
  const amounts = [1, 2, 3, 4, 5, 6];
  const children = amounts.map((amount, n) => run(n % 2, 'counter.mjs', [amount]));
  await Promise.all(children.map(ends));
  const reader = await system.connect(0);
  const { metadata } = await reader.metadata('getChannel', 'lobby', 'score');
  assert.equal(metadata.points.value, 21);
  assert.ok(children.some((child) => child.lines.includes('points: 21')), 'the last one printed the sum');
}));

withSystem('turn.mjs: a turn is kept as long as it is renewed, then the next in line has it', withScripts(async ({ run }) => {
  const ann = run(0, 'turn.mjs', ['ann', 'e2e4', 4500]); // longer than the lock's time
  const first = await matches(ann, /^ann has the turn, fence \d+$/);
  const ben = run(1, 'turn.mjs', ['ben', 'e7e5', 1]);
  const second = await matches(ben, /^ben has the turn, fence \d+$/);
  assert.ok(ann.lines.includes('ann played e2e4'), 'ben had to wait for the end of the turn of ann');
  await Promise.all([ends(ann), ends(ben)]);
  assert.ok(ben.lines.includes('ben played e7e5'));
  const fence = (line) => Number(line.split(' ').at(-1));
  assert.ok(fence(second) > fence(first), `${second} after ${first}`);
}));

withSystem('turn.mjs: who was paused for too long is refused the move, and the next has played', withScripts(async ({ run, system }) => {
  const ann = run(0, 'turn.mjs', ['ann', 'd2d4', 500]);
  await matches(ann, /^ann has the turn/);
  ann.pause();
  const ben = run(1, 'turn.mjs', ['ben', 'd7d5', 1]);
  await prints(ben, 'ben played d7d5');
  ann.resume();
  await matches(ann, /^METADATA_LOCK: /);
  await ends(ann);
  const reader = await system.connect(0);
  const { metadata } = await reader.metadata('getChannel', 'chess', 'game');
  assert.deepEqual(metadata.move.value, { userId: 'ben', move: 'd7d5' });
}));

const issuer = new Issuer();
scenario('backend.mjs: tokens for users, and the roster by HTTP', { issuer }, withScripts(async ({ run, system }) => {
  const backend = run(0, 'backend.mjs', [], { JWT_SECRET_FILE: issuer.secretFile, PORT: '0' });
  const url = (await matches(backend, /^listening on /)).split(' ').at(-1);
  const get = async (path, options) => {
    const response = await fetch(url + path, options);
    return { status: response.status, body: await response.json() };
  };
  await until('the backend to be in the room', async () => (await get('/members')).status === 200);
  assert.deepEqual((await get('/members')).body, [], 'it does not list itself');
  assert.equal((await get('/token', { method: 'POST' })).status, 401);
  const { body: { token } } = await get('/token', { method: 'POST', headers: { 'x-demo-user': 'ann' } });
  const ann = await system.connect(0, { auth: { token } });
  const { snapshot } = await ann.join('lobby', 'ann');
  assert.deepEqual(snapshot.find(({ userId }) => userId === 'backend').info, { service: true });
  await until('the backend to list ann', async () => {
    const { body } = await get('/members');
    assert.deepEqual(body, [{ userId: 'ann', name: 'ann' }]);
    return true;
  });
  ann.close();
  await until('the backend to list no one', async () => (await get('/members')).body.length === 0);
}));
process.on('exit', () => issuer.close());

test('every code block of the guides stands in an example', () => {
  const files = exampleFiles();
  const blocks = guideCode();
  assert.ok(blocks.length > 0);
  for (const { guide, code } of blocks) {
    assert.ok(files.some(({ text }) => quotes(text, code)), `docs/guides/${guide} has code that is in no example:\n${code}`);
  }
});

test('the examples ask for the client that the tests use', () => {
  const dependencies = (file) => JSON.parse(readFileSync(file, 'utf8')).dependencies;
  const wanted = dependencies(join(EXAMPLES, 'node/package.json'))['socket.io-client'];
  assert.equal(wanted, dependencies(new URL('../package.json', import.meta.url))['socket.io-client']);
});
