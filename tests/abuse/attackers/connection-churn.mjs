// 64 at a time connect, join one room and vanish without a word.
import { lanes } from '../loops.mjs';
import { Session } from '../wire.mjs';

export const bound = 'handshakes per address and second';
export const floor = { opened: 100, requests: 200 };

export async function attack({ gateways, tally, ...time }) {
  await lanes(64, time, async (lane, turn) => {
    const session = await Session.open(gateways[lane % gateways.length], tally);
    if (!session) return time.rest(100);
    await session.join('attacked-vanish', `ghost-${lane}-${turn}`);
    session.close();
  });
}
