// Four connections try to enter the namespace with tokens whose signatures are wrong, as fast as they are taken: each costs a
// check by public key.
import { randomBytes } from 'node:crypto';

import { encode } from '../issuer.mjs';
import { tokenStorm } from '../token-storm.mjs';

export const bound = 'events per socket and second, which entering counts towards; connections without a namespace are closed';
export const floor = { opened: 1, requests: 1000 };
export const isRefused = true;
export const profile = 'jwt';

const HEADS = [{ alg: 'ES256', kid: 'elliptic' }, { alg: 'RS256', kid: 'rsa' }];
const SIGNATURE_BYTES = { ES256: 64, RS256: 256 };

function forged() {
  const head = HEADS[Math.floor(Math.random() * HEADS.length)];
  const claims = { sub: 'user-0', exp: Math.floor(Date.now() / 1000) + 3600, rooms: [{ room: '**', allow: ['join'] }] };
  return `${encode(head)}.${encode(claims)}.${randomBytes(SIGNATURE_BYTES[head.alg]).toString('base64url')}`;
}

export const attack = (context) => tokenStorm(context, forged);
