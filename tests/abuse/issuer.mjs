// Who issues the honest users' tokens: a key set over HTTP, which counts how often it is fetched.
import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

const LIFE_S = 3600;
const RIGHTS = [{ room: '**', allow: ['join', 'observe', 'metadata:read', 'metadata:write', 'lock'] }];

export const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

// Settings of a system that trusts it, and what its users and attackers know.
export async function startIssuer() {
  const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const publish = (key, kid, alg) => ({ ...key.export({ format: 'jwk' }), kid, alg, use: 'sig' });
  const keys = [publish(elliptic.publicKey, 'elliptic', 'ES256'), publish(rsa.publicKey, 'rsa', 'RS256')];
  let fetches = 0;
  const server = createServer((request, response) => {
    if (request.url === '/fetches') return response.end(String(fetches));
    fetches += 1;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ keys }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;

  const token = (userId) => {
    const now = Math.floor(Date.now() / 1000);
    const text = `${encode({ alg: 'ES256', kid: 'elliptic' })}.${encode({ sub: userId, iat: now, exp: now + LIFE_S, rooms: RIGHTS })}`;
    const signature = sign('sha256', Buffer.from(text), { key: elliptic.privateKey, dsaEncoding: 'ieee-p1363' });
    return `${text}.${signature.toString('base64url')}`;
  };
  return {
    env: { AUTH: 'jwt', JWT_JWKS_URL: `${url}/keys` },
    auth: (userId) => ({ token: token(userId) }),
    more: { issuer: url },
    close: () => server.close(),
  };
}
