// Long-polling sessions are upgraded twice at once, probed again and again, and polled and written to in the middle of it.
import { lanes } from '../loops.mjs';
import { Session, get, openPolling, post, request } from '../wire.mjs';

export const bound = 'one upgrade of a session; sessions without a namespace per address; handshakes per address and second';
export const floor = { opened: 100, requests: 100 };

async function upgrade(gateway, tally, sid, packets) {
  const socket = await Session.open(gateway, tally, { namespace: false, query: `&sid=${sid}` });
  for (const packet of packets) await socket?.send(packet);
  return socket;
}

export async function attack({ gateways: [gateway], tally, ...time }) {
  await lanes(16, time, async () => {
    const sid = await openPolling(gateway, tally);
    if (!sid) return time.rest(100);
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    const probes = ['2probe', '2probe', '2probe', '2probe'];
    const sockets = await Promise.all([
      upgrade(gateway, tally, sid, [...probes, '5']),
      upgrade(gateway, tally, sid, ['5', '5', ...probes]),
      request(gateway, tally, post(path, '40')).then(() => undefined),
      request(gateway, tally, get(path)).then(() => undefined),
    ]);
    for (const socket of sockets) socket?.close();
  });
}
