// A test with a gateway and nothing else: no Redis answers it, which what it checks before a namespace does not need.
import { test } from 'node:test';

import { Service } from './service.mjs';
import { GATEWAY } from './system.mjs';

export function gatewayAlone(name, env, body, timeout = 60_000) {
  test(name, { timeout }, async (t) => {
    const service = await Service.listening(GATEWAY, { REDIS_URL: 'redis://127.0.0.1:1', ...env });
    try {
      await body(service);
    } catch (error) {
      t.diagnostic(service.child.report());
      throw error;
    } finally {
      await service.kill();
    }
  });
}
