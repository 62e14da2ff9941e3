// The test's own Redis does what the failure tests rely on.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Redis } from './redis.mjs';
import { sleep } from './until.mjs';

test('replies of every kind are read', async () => {
  const redis = await Redis.start();
  try {
    assert.equal(await redis.command('SET', 'text', '日本'), 'OK');
    assert.equal(await redis.command('GET', 'text'), '日本');
    assert.equal(await redis.command('GET', 'none'), null);
    assert.equal(await redis.command('RPUSH', 'list', 'a', 'b'), 2);
    assert.deepEqual(await redis.command('LRANGE', 'list', 0, -1), ['a', 'b']);
    await assert.rejects(redis.command('INCR', 'text'), /not an integer/);
  } finally {
    await redis.kill();
  }
});

test('a durable one comes back with its data after kill -9, and empty if requested', async () => {
  const redis = await Redis.start({ durable: true });
  try {
    await redis.command('SET', 'key', 'value');
    await redis.kill();
    await redis.restart();
    assert.equal(await redis.command('GET', 'key'), 'value');
    await redis.kill();
    await redis.restartEmpty();
    assert.deepEqual(await redis.keys(), []);
  } finally {
    await redis.kill();
  }
});

test('a paused one answers when it is resumed', async () => {
  const redis = await Redis.start();
  try {
    redis.pause();
    const answer = redis.command('PING');
    assert.equal(await Promise.race([answer, sleep(300).then(() => 'silence')]), 'silence');
    redis.resume();
    assert.equal(await answer, 'PONG');
  } finally {
    await redis.kill();
  }
});
