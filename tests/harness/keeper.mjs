// The keeper: a process per test file that outlives it by a moment. It reads on its standard input which processes and folders
// the tests made. When that input ends (the test file is done, has crashed, or was killed) it kills those processes by pid and
// removes those folders.
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';

const pids = new Set();
const folders = new Set();

const orders = {
  guard: (pid) => pids.add(Number(pid)),
  release: (pid) => pids.delete(Number(pid)),
  folder: (path) => folders.add(path),
};

for await (const line of createInterface({ input: process.stdin })) {
  const space = line.indexOf(' ');
  orders[line.slice(0, space)](line.slice(space + 1));
}

for (const pid of pids) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error; // already gone: good
  }
}
for (const path of folders) rmSync(path, { recursive: true, force: true, maxRetries: 3 });
