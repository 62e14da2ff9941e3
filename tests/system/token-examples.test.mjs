// The programs of docs/reference/auth.md that make tokens, run as they stand: a gateway accepts what each prints.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { temporaryFolder } from '../harness/child.mjs';
import { Client } from '../harness/client.mjs';
import { fenced } from '../harness/markdown.mjs';
import { program } from '../harness/path.mjs';
import { read } from '../harness/repository.mjs';
import { System } from '../harness/system.mjs';

const RUN_MS = 120_000; // Go compiles its standard library first, on a machine without its cache
const PROGRAMS = fenced(read('docs/reference/auth.md').split('\n## Make a token\n')[1]);

const folder = temporaryFolder('token-examples');
const secretFile = join(folder, '.dev/auth/secret');
const keysFile = join(folder, 'keys.pem');
const keys = generateKeyPairSync('ed25519');
mkdirSync(join(folder, '.dev/auth'), { recursive: true });
writeFileSync(secretFile, 'a-secret-of-more-than-32-bytes-for-these-examples\n');
writeFileSync(join(folder, 'private.pem'), keys.privateKey.export({ format: 'pem', type: 'pkcs8' }));
writeFileSync(keysFile, keys.publicKey.export({ format: 'pem', type: 'spki' }));

const WITH_SECRET = { AUTH: 'jwt', JWT_SECRET_FILE: secretFile };
const WITH_KEYS = { AUTH: 'jwt', JWT_KEYS_FILE: keysFile };
const NODE = [process.execPath];
// In the order of the page: its language, the command that runs a file of it, the gateway's settings.
const EXAMPLES = [
  { language: 'js', ending: 'mjs', command: NODE, env: WITH_SECRET },
  { language: 'js', ending: 'mjs', command: NODE, env: WITH_KEYS },
  { language: 'python', ending: 'py', command: ['python3'], env: WITH_SECRET },
  { language: 'go', ending: 'go', command: ['go', 'run'], env: WITH_SECRET },
];

test('every program of the page is run below', () => {
  assert.deepEqual(PROGRAMS.map(({ language }) => language), EXAMPLES.map(({ language }) => language));
});

async function makeToken({ ending, command: [name, ...args] }, text) {
  const file = `make.${ending}`;
  writeFileSync(join(folder, file), text);
  const { stdout } = await promisify(execFile)(name, [...args, file], { cwd: folder, timeout: RUN_MS });
  return stdout.trim();
}

EXAMPLES.forEach((example, n) => {
  const { language, command: [name], env } = example;
  const skip = !program([name]) && name !== process.execPath && `no ${name} on the PATH`;
  const signed = env === WITH_KEYS ? 'a key pair' : 'a secret';
  test(`a token that is made in ${language} with ${signed} lets ann in, and into the rooms that it names`, { skip }, async () => {
    const token = await makeToken(example, PROGRAMS[n].text);
    const system = await System.start({ env });
    try {
      const ann = await Client.connect(system.gateways[0].url, { auth: { token } });
      system.clients.push(ann);
      const joined = await ann.ask('presence:join', { roomId: 'doc:1' });
      assert.deepEqual([joined.ok, joined.snapshot?.map(({ userId }) => userId)], [true, ['ann']]);
      const elsewhere = await ann.ask('metadata:getChannel', { channelName: 'other', channelType: 'page' });
      assert.equal(elsewhere.code, 'FORBIDDEN');
    } finally {
      await system.close();
    }
  });
});
