// The heartbeat promise: slow heartbeats page someone. Redis stalls in bursts, patching heartbeats are slow
// by it, the rule fires, and messages for Slack and PagerDuty leave through the real Alertmanager.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { GRAFANA_URL, Stack } from '../harness/stack.mjs';
import { System } from '../harness/system.mjs';
import { sleep, until } from '../harness/until.mjs';

const WITHIN = 120_000;

let stack;
let system;

before(async () => {
  stack = await Stack.start();
  system = await System.start({ env: { ...stack.env, DEPLOYMENT_ENVIRONMENT: 'production' } });
});

after(async () => {
  await system?.close();
  await stack?.close();
});

// Patching heartbeats all the time, and of every second 300 ms in which Redis does not answer.
function slowHeartbeats(client) {
  let stopped = false;
  const beat = async () => {
    for (let n = 0; !stopped; n += 1) {
      await client.ask('presence:heartbeat', { patchState: { n } });
      await sleep(20);
    }
  };
  const stall = async () => {
    while (!stopped) {
      await system.redis.command('CLIENT', 'PAUSE', '300', 'ALL');
      await sleep(1000);
    }
  };
  const done = Promise.all([beat(), stall()]);
  done.catch(() => {});
  return async () => {
    stopped = true;
    await done;
  };
}

test('slow heartbeats make the alert fire, and Slack and PagerDuty are notified', async () => {
  const client = await system.connect();
  await client.join('room', 'ann');
  const stop = slowHeartbeats(client);
  try {
    const alert = await until('the alert to fire', async () => {
      const { data } = await stack.prometheus.get('/api/v1/alerts');
      return data.alerts.find(({ state, labels }) => state === 'firing' && labels.alertname === 'HeartbeatsSlow');
    }, { within: WITHIN, every: 500 });
    const name = alert.labels.alertname;
    const message = await until('the message for Slack', () => stack.pager.slack.find(({ attachments }) => attachments?.[0].title.includes(name)),
      { within: WITHIN, every: 300 });
    const [attachment] = message.attachments;
    assert.match(attachment.title, /^FIRING: /);
    assert.equal(attachment.title_link, `${GRAFANA_URL}/public/docs/operate/runbooks/heartbeat-sla.md`);
    assert.ok(attachment.text.startsWith(`*${alert.annotations.summary}*\n`), attachment.text);
    assert.ok(attachment.text.includes(`Runbook: ${alert.annotations.runbook_url}`), attachment.text);
    assert.ok(attachment.text.includes(`Dashboard: ${GRAFANA_URL}/d/rollcall-latency`), attachment.text);
    const page = await until('the page', () => stack.pager.pagerDuty.find(({ payload }) => payload.summary.startsWith(`${name}: `)), { within: WITHIN, every: 300 });
    assert.deepEqual([page.event_action, page.routing_key], ['trigger', 'key-of-a-service']);
    assert.equal(page.payload.custom_details.runbook, alert.annotations.runbook_url);
  } finally {
    await stop();
  }
});
