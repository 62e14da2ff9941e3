// Four connections try to enter the namespace again and again, each time with another token, which must never let them in.
import { lanes } from './loops.mjs';
import { Session, frame, refusalOf } from './wire.mjs';

const CONNECTIONS = 4;
const TOGETHER = 16;

export async function tokenStorm({ gateways, tally, ...time }, token) {
  const judge = (packet) => {
    if (packet.startsWith('40')) tally.broken.push('a bad token was accepted');
    else tally.refuse(refusalOf(packet));
  };
  const sessions = [];
  await lanes(CONNECTIONS, time, async (lane) => {
    if (!sessions[lane]?.isOpen) {
      sessions[lane] = await Session.open(gateways[lane % gateways.length], tally, { namespace: false });
      if (!sessions[lane]) return time.rest(100);
      sessions[lane].listen(judge);
    }
    const packets = Array.from({ length: TOGETHER }, () => frame(`40${JSON.stringify({ token: token() })}`));
    await sessions[lane].line.write(Buffer.concat(packets), TOGETHER);
  });
}
