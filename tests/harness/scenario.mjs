// How a system test is written: a sentence, a system and a body that gets a room of its own. When it fails, the last lines of every
// process are printed. When it passes, no client may have received anything that the protocol forbids.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { OtlpReceiver } from './otlp.mjs';
import { System } from './system.mjs';
import { assertAgreement } from './agreement.mjs';
import { until, withTimeout } from './until.mjs';

const BODY_MS = 60_000;

let rooms = 0;

async function run(t, system, body, within) {
  rooms += 1;
  const room = `room-${rooms}`;
  try {
    await withTimeout(t.name, within, body({ system, room, t }));
    await until('every client to be brought up to date', () => system.clients.every((client) => !client.unsettled));
    await assertAgreement(system);
    assert.deepEqual(system.complaints(), [], 'what clients received breaks the protocol');
  } catch (error) {
    t.diagnostic(system.report());
    throw error;
  } finally {
    system.closeClients();
  }
}

// For many tests of one file that break nothing: they share one system and use rooms of their own.
export function sharedSystem(options) {
  let system;
  before(async () => {
    system = await System.start(options);
  });
  after(() => system?.close());
  return (name, body, { within = BODY_MS } = {}) => test(name, (t) => run(t, system, body, within));
}

// For a test that breaks things: a system of its own; with `exports`, telemetry goes to a receiver, `otlp`. `skip` says why it
// cannot run here.
export function scenario(name, { skip = false, ...options }, body, { within = BODY_MS } = {}) {
  test(name, { skip }, async (t) => {
    const otlp = options.exports && await OtlpReceiver.start();
    try {
      const system = await System.start({ ...options, env: { ...(otlp && otlp.env), ...options.env } });
      try {
        await run(t, system, (context) => body({ ...context, otlp }), within);
      } finally {
        await system.close();
      }
    } finally {
      if (otlp) otlp.close();
    }
  });
}
