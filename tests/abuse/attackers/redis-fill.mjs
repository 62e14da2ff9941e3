// One socket that joined nothing fills Redis with channels of 60 KB, a new one each time, 64 at once.
import { lanes } from '../loops.mjs';
import { LARGE_MESSAGE } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'bytes per socket and second';
export const floor = { opened: 1, requests: 10 };
// A burst of 1 MiB and 512 KiB a second, as Redis stores it.
export const allows = { keys: 128, bytes: 16 << 20 };

export async function attack({ gateways: [gateway], tally, ...time }) {
  const socket = await Session.open(gateway, tally);
  await lanes(64, time, async (lane, turn) => {
    if (!socket.isOpen) return false;
    const channelName = `attacked-fill-${lane}-${turn}`;
    const answer = await socket.ask('metadata:setChannel', { channelName, channelType: 'T', data: LARGE_MESSAGE });
    if (answer.retryAfterMs) await time.rest(answer.retryAfterMs);
  });
}
