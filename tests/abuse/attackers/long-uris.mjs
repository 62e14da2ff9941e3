// 2,000 WebSockets whose URI has 60 KB, which is kept for as long as they live.
import { lanes } from '../loops.mjs';
import { text } from '../payloads.mjs';
import { Session } from '../wire.mjs';

export const bound = 'the longest URI';
export const floor = { opened: 100, requests: 100 };

const MOST = 2000;

export async function attack({ gateways: [gateway], tally, ...time }) {
  let open = 0;
  const query = `&junk=${text(60_000)}`;
  await lanes(16, time, async () => {
    if (open > MOST) return false;
    if (await Session.open(gateway, tally, { query })) open += 1;
    else await time.rest(20);
  });
  if (open > 0) tally.broken.push(`${open} URIs of 60 KB were accepted`);
}
