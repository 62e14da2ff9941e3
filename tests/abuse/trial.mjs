// One trial: honest users and an attacker on one system, measured. What must hold is in expectations.mjs.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { sleep } from '../harness/until.mjs';
import { failuresOf, isReturned, leftovers } from './expectations.mjs';
import { PeakWatch, latencies, resident, stored } from './measure.mjs';
import { processes } from './system.mjs';
import { Tally } from './wire.mjs';

const ATTACK_S = 8;
// What an attack left in queues hurts after its end.
const AFTERMATH_MS = 2000;
const RETURN_MS = 30_000;
const LOOK_MS = 500;
const NOTHING = { keys: 0, bytes: 0 };
const IDLE = { opened: 0, requests: 0 };

// Without an attacker: what honest users notice on this machine anyway.
export async function trial({ system, honest, more }, attacker) {
  const { allows = NOTHING, tolerates = [], isRefused = false, floor } = attacker ?? { floor: IDLE };
  const all = processes(system);
  const before = new Map(all.map((process) => [process, resident(process)]));
  const was = await stored(system.redis);
  const [began, exportedBefore] = [Date.now(), await system.sink.bytes()];
  const peaks = new PeakWatch(all);
  honest.check();
  honest.beginWindow();

  const tally = attacker ? await run(attacker.name, system, more) : await quiet();
  await sleep(AFTERMATH_MS);
  const [answers, events] = [latencies(honest.answersMs()), latencies(honest.window.eventsMs)];
  const left = await untilReturned({ system, all, before, was, allows });
  peaks.stop();
  honest.check();
  const { errors } = honest.beginWindow();
  const exported = (await system.sink.bytes()) - exportedBefore;

  const kept = all.filter((process) => !isReturned(process.name, before.get(process), resident(process), allows));
  return {
    name: attacker?.name ?? '(honest users alone)', tally, left, exported, answers, events,
    errors: [...errors.values()].reduce((sum, times) => sum + times, 0),
    memory: memoryOf(all, before, peaks),
    failures: failuresOf({
      dead: all.map(({ child }) => child).filter(({ exit }) => exit),
      errors: [...errors], tolerates, answers, events, left, isRefused, tally, floor,
      peaks: all.map((process) => ({ name: process.child.name, peak: peaks.of(process), limit: process.limit })),
      kept: kept.map((process) => ({ name: process.child.name, before: before.get(process), now: resident(process) })),
      exportedPerS: (exported * 1000) / (Date.now() - began),
    }),
  };
}

async function quiet() {
  await sleep(ATTACK_S * 1000);
  return new Tally();
}

async function run(name, system, more) {
  const gateways = system.entrances.map((url) => ({ host: '127.0.0.1', port: Number(new URL(url).port) }));
  const child = fork(fileURLToPath(new URL('./attacker.mjs', import.meta.url)), [name, String(ATTACK_S)], {
    env: { ...process.env, ROLLCALL_ATTACKED: JSON.stringify({ gateways, more }) },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let tally = new Tally();
  child.on('message', (latest) => (tally = latest));
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`the attacker ${name} broke by itself (${code})`);
  return tally;
}

// Waits until memory and keys are as they were, so far as that is to be, or the time for it is over, or a process has died.
async function untilReturned({ system, all, before, was, allows }) {
  const deadline = Date.now() + RETURN_MS;
  for (;;) {
    if (all.some(({ child }) => child.exit)) return { keys: 0, bytes: 0, wrong: [] };
    const late = Date.now() > deadline;
    if (late || all.every((process) => isReturned(process.name, before.get(process), resident(process), allows))) {
      const left = leftovers(was, await stored(system.redis), allows);
      if (late || left.wrong.length === 0) return left;
    }
    await sleep(LOOK_MS);
  }
}

// By the name of the service, of the instance that had most.
function memoryOf(all, before, peaks) {
  const memory = {};
  for (const process of all) {
    const own = { before: before.get(process), peak: peaks.of(process), after: resident(process) };
    const known = memory[process.name] ?? own;
    memory[process.name] = Object.fromEntries(Object.keys(own).map((when) => [when, Math.max(known[when], own[when])]));
  }
  return memory;
}
