// The receiver reads what an exporter writes: here by hand, byte for byte.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OtlpReceiver } from './otlp.mjs';

const length = (size) => (size < 128 ? [size] : [(size & 0x7f) | 0x80, size >> 7]);
const bytes = (number, content) => Buffer.concat([Buffer.from([(number << 3) | 2, ...length(content.length)]), content]);
const message = (number, ...parts) => bytes(number, Buffer.concat(parts));
const string = (number, value) => bytes(number, Buffer.from(value));
const varint = (number, value) => Buffer.from([number << 3, value]);
const attribute = (number, key, value) => message(number, string(1, key), message(2, value));

const TRACE = Buffer.alloc(16, 0xab);
const SPAN = Buffer.alloc(8, 0xcd);
const PARENT = Buffer.alloc(8, 0xef);

const span = message(2,
  bytes(1, TRACE), bytes(2, SPAN), bytes(4, PARENT), string(5, 'presence.join'), varint(6, 5),
  Buffer.from([(7 << 3) | 1, 0, 0x09, 0x3d, 0, 0, 0, 0, 0]), // 4 ms
  attribute(9, 'presence.room_id', string(1, 'room')), attribute(9, 'presence.snapshot_size', varint(3, 7)),
  message(11, string(2, 'exception')), message(13, bytes(1, TRACE), bytes(2, PARENT)), message(15, varint(3, 2)));
const request = message(1, message(1, attribute(1, 'service.name', string(1, 'presence-state'))), message(2, span));

test('a span is read with all that tests look at', async () => {
  const receiver = await OtlpReceiver.start();
  try {
    const url = `${receiver.env.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces`;
    assert.equal((await fetch(url, { method: 'POST', body: request })).status, 200);
    const { resource, ...read } = await receiver.span('presence.join', (one) => one.name === 'presence.join');
    assert.deepEqual(resource, { 'service.name': 'presence-state' });
    assert.deepEqual(read, {
      service: 'presence-state',
      traceId: TRACE.toString('hex'), spanId: SPAN.toString('hex'), parentId: PARENT.toString('hex'),
      name: 'presence.join', kind: 'CONSUMER', startMs: 4, status: 'ERROR', events: ['exception'],
      attributes: { 'presence.room_id': 'room', 'presence.snapshot_size': 7 },
      links: [{ traceId: TRACE.toString('hex'), spanId: PARENT.toString('hex') }],
    });
    assert.ok(receiver.bytes.includes('room'));
  } finally {
    receiver.close();
  }
});

const record = message(2,
  varint(2, 17), string(3, 'ERROR'), message(5, string(1, 'command failed')), attribute(6, 'room', string(1, 'lobby')),
  bytes(9, TRACE), bytes(10, SPAN));
const log = message(1, message(1, attribute(1, 'service.name', string(1, 'presence-state'))), message(2, record));

test('a log line is read with all that tests check, also at the path of Loki', async () => {
  for (const path of ['/v1/logs', '/otlp/v1/logs']) {
    const receiver = await OtlpReceiver.start();
    try {
      assert.equal((await fetch(receiver.url + path, { method: 'POST', body: log })).status, 200);
      assert.deepEqual(await receiver.line('about the command', ({ service }) => service === 'presence-state'), {
        resource: { 'service.name': 'presence-state' }, service: 'presence-state', level: 'ERROR', severity: 17,
        message: 'command failed', attributes: { room: 'lobby' }, traceId: TRACE.toString('hex'), spanId: SPAN.toString('hex'),
      });
    } finally {
      receiver.close();
    }
  }
});
