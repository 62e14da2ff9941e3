// Four connections try to enter the namespace with tokens whose signatures are wrong, as fast as they are taken: each costs a check by
// public key.
import { randomBytes } from 'node:crypto';

import { encode } from '../issuer.mjs';
import { lanes } from '../loops.mjs';
import { Session, frame } from '../wire.mjs';

export const bound = 'events per socket and second, which entering counts towards; connections without a namespace are closed';
export const profile = 'jwt';

const KINDS = [{ alg: 'ES256', kid: 'elliptic', bytes: 64 }, { alg: 'RS256', kid: 'rsa', bytes: 256 }];

function forged() {
  const { bytes, ...head } = KINDS[Math.random() < 0.5 ? 0 : 1];
  const claims = { sub: 'user-0', exp: Math.floor(Date.now() / 1000) + 3600, rooms: [{ room: '**', allow: ['join'] }] };
  return `${encode(head)}.${encode(claims)}.${randomBytes(bytes).toString('base64url')}`;
}

export async function attack({ gateways, tally, ...time }) {
  const sockets = [];
  await lanes(4, time, async (lane) => {
    if (!sockets[lane]?.isOpen) sockets[lane] = await Session.open(gateways[lane % 2], tally, { namespace: false });
    if (!sockets[lane]) return time.rest(100);
    sockets[lane].listen((packet) => (packet.startsWith('40') ? tally.broken.push('a forged token was accepted') : tally.refuse(packet.match(/[A-Z_]{6,}/)?.[0] ?? packet)));
    await sockets[lane].line.write(Buffer.concat(Array.from({ length: 16 }, () => frame(`40{"token":"${forged()}"}`))));
  });
}
