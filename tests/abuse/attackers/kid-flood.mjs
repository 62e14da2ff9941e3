// Four connections try to enter the namespace with tokens whose keys no one knows, another one each time: the key set may be
// fetched again for an unknown key, but not for each.
import { randomBytes } from 'node:crypto';

import { encode } from '../issuer.mjs';
import { tokenStorm } from '../token-storm.mjs';

export const bound = 'the key set is fetched again at most every 30 s';
export const floor = { opened: 1, requests: 1000 };
export const isRefused = true;
export const profile = 'jwt';

const MOST_FETCHES = 2; // by each gateway

const fetches = async (issuer) => Number(await (await fetch(`${issuer}/fetches`)).text());

function ofUnknownKey() {
  const head = { alg: 'ES256', kid: randomBytes(9).toString('hex') };
  const claims = { sub: 'user-0', exp: Math.floor(Date.now() / 1000) + 3600 };
  return `${encode(head)}.${encode(claims)}.${randomBytes(64).toString('base64url')}`;
}

export async function attack(context) {
  const { gateways, tally, issuer } = context;
  const before = await fetches(issuer);
  await tokenStorm(context, ofUnknownKey);
  const more = (await fetches(issuer)) - before;
  if (more > MOST_FETCHES * gateways.length) tally.broken.push(`the key set was fetched ${more} times`);
}
