// A browser throttles the timers of a tab in the background. The tab stays a member of its room: no one receives a leave.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';
import { Chromium, GRACE_MS, WITHOUT_CHROMIUM } from './chromium.mjs';
import { Site } from './site.mjs';

const NAME = 'a hidden tab with throttled timers is never reported as having left';
const HIDDEN_MS = 240_000;
const MINUTE_MS = 60_000;
// How late a tick may be on a busy machine. The distance to the next one, which is on time, is then that much shorter.
const LATE_MS = 5000;
const WITHIN_MS = HIDDEN_MS + 80_000;
const PING_INTERVAL_MS = 20_000; // the gateway's default

if (WITHOUT_CHROMIUM) test(NAME, { skip: WITHOUT_CHROMIUM });
else scenario(NAME, { gateways: 2 }, withBrowser, { within: WITHIN_MS });

async function withBrowser(context) {
  const site = await Site.start();
  try {
    const browser = await Chromium.start();
    try {
      await hiddenTabStays({ ...context, browser, site });
    } finally {
      await browser.stop();
    }
  } finally {
    site.stop();
  }
}

async function hiddenTabStays({ system, room, t, browser, site }) {
  const watcher = await system.connect(1);
  await watcher.join(room, 'watcher');
  const tab = await browser.open(site.application(system.gateways[0].url, room, 'tab'));
  const { connId } = await watcher.receives({ type: 'join', userId: 'tab' });
  await until('the visible tab to beat every second', () => tab.evaluate(() => record.ticks.length >= 3));

  await browser.hide(tab);
  const received = () => [...watcher.events, ...watcher.syncs, ...watcher.disconnects];
  const before = received().length;
  await holds('nothing is received about the hidden tab', () => {
    assert.equal(received().length, before, `received ${JSON.stringify(received())}`);
    return true;
  }, { ms: HIDDEN_MS, every: 500 });
  const measured = await tab.evaluate(() => ({ ...record, now: now(), state: document.visibilityState }));
  assertThrottled(t, browser, measured);
  assertConnected(measured);

  await browser.show(tab);
  await tab.evaluate(() => ask('presence:heartbeat', { patchState: { back: true } }));
  const update = await watcher.receives({ type: 'update', userId: 'tab' });
  assert.deepEqual([update.connId, update.state], [connId, { back: true }]);
  assert.equal(watcher.count({ connId }), 2, 'its join and its update are all that was received about it');
}

// As the page itself measured it: hidden all the time, and no two ticks within a minute once the grace period is over.
function assertThrottled(t, browser, { ticks, visibility, state, now }) {
  assert.equal(state, 'hidden');
  assert.deepEqual(visibility.map((change) => change.state), ['hidden']);
  const [{ at: hiddenAt }] = visibility;
  const distances = ticks.slice(1).map((at, n) => ({ at, ms: at - ticks[n] })).filter(({ at }) => at > hiddenAt);
  t.diagnostic(`Chromium ${browser.version}: hidden for ${now - hiddenAt} ms; distances of ticks in ms: ${distances.map(({ ms }) => ms).join(' ')}`);
  // The first tick after the grace period comes with the next full minute of Chromium's clock; all others a minute later each.
  const [, ...throttled] = distances.filter(({ at }) => at > hiddenAt + GRACE_MS + LATE_MS);
  assert.ok(throttled.length >= 2, 'too few ticks to judge their distances');
  for (const { ms } of throttled) assert.ok(ms >= MINUTE_MS - LATE_MS, `ticks ${ms} ms apart: the timers are not throttled`);
}

// Its connection and membership were never lost, and it was pinged as any other client.
function assertConnected({ answers, disconnects, pings, received, visibility: [{ at: hiddenAt }] }) {
  assert.deepEqual(disconnects, []);
  const [joined, ...beats] = answers;
  assert.ok(joined.self, 'the first answer is that to its join');
  for (const { ok, rejoined, stale } of beats) assert.deepEqual([ok, rejoined, stale], [true, undefined, undefined]);
  assert.ok(pings.filter((at) => at > hiddenAt).length >= HIDDEN_MS / PING_INTERVAL_MS - 1, 'too few pings');
  assert.deepEqual(received.filter(({ at }) => at > hiddenAt), []);
}
