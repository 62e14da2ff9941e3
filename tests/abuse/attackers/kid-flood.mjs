// Four connections try to enter the namespace with tokens whose keys no one knows, another one each time: the key set may be fetched again
// for an unknown key, but not for each.
import { randomBytes } from 'node:crypto';

import { encode } from '../issuer.mjs';
import { lanes } from '../loops.mjs';
import { Session, frame } from '../wire.mjs';

export const bound = 'the key set is fetched again at most every 30 s';
export const profile = 'jwt';

const MOST_FETCHES = 2; // by each gateway

const fetches = async (issuer) => Number(await (await fetch(`${issuer}/fetches`)).text());

function unknown() {
  const claims = { sub: 'user-0', exp: Math.floor(Date.now() / 1000) + 3600 };
  return `${encode({ alg: 'ES256', kid: randomBytes(9).toString('hex') })}.${encode(claims)}.${randomBytes(64).toString('base64url')}`;
}

export async function attack({ gateways, tally, issuer, ...time }) {
  const before = await fetches(issuer);
  const sockets = [];
  await lanes(4, time, async (lane) => {
    if (!sockets[lane]?.isOpen) sockets[lane] = await Session.open(gateways[lane % 2], tally, { namespace: false });
    if (!sockets[lane]) return time.rest(100);
    sockets[lane].listen((packet) => (packet.startsWith('40') ? tally.broken.push('a token of an unknown key was accepted') : tally.refuse(packet.match(/[A-Z_]{6,}/)?.[0] ?? packet)));
    await sockets[lane].line.write(Buffer.concat(Array.from({ length: 16 }, () => frame(`40{"token":"${unknown()}"}`))));
  });
  const more = (await fetches(issuer)) - before;
  if (more > MOST_FETCHES * gateways.length) tally.broken.push(`the key set was fetched ${more} times`);
}
