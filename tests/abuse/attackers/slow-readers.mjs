// 60 members of a busy room read nothing: half on WebSockets, half by long polling, whose answers stay where they are.
import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Line, Session, openPolling, post, request } from '../wire.mjs';

export const bound = 'bytes waiting outward for one socket; after 10 s it is closed';
export const floor = { opened: 30, requests: 40 };

const ROOM = 'attacked-slow';

async function pollOnce(gateway, tally) {
  const sid = await openPolling(gateway, tally);
  if (!sid) return;
  const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
  await request(gateway, tally, post(path, '40'));
  await request(gateway, tally, post(path, `420["presence:join",{"roomId":"${ROOM}","userId":"poller"}]`));
  new Line(gateway, tally, { reads: false }).write(`GET ${path} HTTP/1.1\r\nHost: rollcall\r\n\r\n`);
}

export async function attack({ gateways: [gateway], tally, ...time }) {
  const deaf = await Session.openMany(gateway, tally, 30);
  await Promise.all(deaf.map((member, index) => member.join(ROOM, `deaf-${index}`)));
  for (const member of deaf) member.line.socket.pause();
  await Promise.all(Array.from({ length: 30 }, () => pollOnce(gateway, tally)));
  const writers = await Session.openMany(gateway, tally, 8);
  await Promise.all(writers.map((writer, index) => writer.join(ROOM, `writer-${index}`)));
  await lanes(writers.length, time, async (lane, turn) => {
    if (!writers[lane].isOpen) return false;
    const { retryAfterMs } = await writers[lane].ask('presence:heartbeat', { patchState: { turn, text: text(15_000) } });
    if (retryAfterMs) await time.rest(retryAfterMs);
  });
}
