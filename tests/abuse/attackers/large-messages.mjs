// Four sockets send messages of 60 KB that mean nothing, and four others messages of 64 KiB and a little more, as fast as they
// are taken.
import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Session, frame } from '../wire.mjs';

export const bound = 'bytes per socket and second, the longest message';
export const floor = { opened: 30, requests: 500 };
export const isRefused = true;

const large = frame(`42["presence:join",{"roomId":"${text(60_000)}"}]`);
const tooLarge = frame(`42["presence:join",{"roomId":"${text(66_000)}"}]`);

export async function attack({ gateways, tally, ...time }) {
  const sockets = await Session.openMany(gateways[0], tally, 8);
  await lanes(8, time, async (lane) => {
    if (!sockets[lane]?.isOpen) sockets[lane] = await Session.open(gateways[0], tally);
    await sockets[lane]?.line.write(lane < 4 ? large : tooLarge);
    if (!sockets[lane]?.isOpen) await time.rest(100);
  });
}
