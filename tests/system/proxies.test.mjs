// Behind a proxy: whose word is taken for a client's address, and what a balancer learns to keep a session in one place.
import assert from 'node:assert/strict';

import { TRANSPORTS } from '../harness/client.mjs';
import { scenario } from '../harness/scenario.mjs';

const CLAIM = { extraHeaders: { 'X-Forwarded-For': '6.6.6.6, 203.0.113.7' } };

// It learns its connection's id from the answer to its join.
async function addressOf(otlp, client) {
  await client.join('addresses', 'ann');
  const { connId } = client;
  const connects = (span) => span.name === 'socket.connect' && Object.values(span.attributes).includes(connId);
  return otlp.span(`the connect of ${connId}`, connects).then(({ attributes }) => attributes['client.address']);
}

scenario('X-Forwarded-For is trusted from TRUSTED_PROXIES only', { exports: true }, async ({ system, otlp }) => {
  await system.addGateway({ TRUSTED_PROXIES: '127.0.0.0/8' });
  for (const transports of [TRANSPORTS.websocket, TRANSPORTS.polling]) {
    const believed = await system.connect(1, { transports, ...CLAIM });
    assert.equal(await addressOf(otlp, believed), '203.0.113.7');
    const ignored = await system.connect(0, { transports, ...CLAIM });
    assert.equal(await addressOf(otlp, ignored), '127.0.0.1');
  }
});

scenario('the first answer of a long-polling session names it in a header, the later ones do not', {}, async ({ system }) => {
  const [gateway] = system.gateways;
  const path = '/socket.io/?EIO=4&transport=polling';
  const open = await gateway.get(path);
  const { sid } = JSON.parse(open.body.slice(1));
  assert.equal(open.headers.get('x-engine-sid'), sid);
  const reply = await gateway.get(`${path}&sid=${sid}`, { method: 'POST', body: '40' });
  assert.deepEqual([reply.body, reply.headers.get('x-engine-sid')], ['ok', null]);
});
