// An issuer of tokens: HS256, as small as RFC 7515 allows. Everything about a token can be made wrong.
import { createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const EVERYTHING = [{ room: '**', allow: ['join', 'observe', 'metadata:read', 'metadata:write', 'lock'] }];

const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');

export const nowS = () => Math.floor(Date.now() / 1000);

export class Issuer {
  #folder = mkdtempSync(join(tmpdir(), 'rollcall-issuer-'));
  #secret = randomBytes(48).toString('base64url');

  constructor() {
    writeFileSync(this.secretFile, `${this.#secret}\n`, { mode: 0o600 });
  }

  get secretFile() {
    return join(this.#folder, 'secret');
  }

  // What a gateway needs to accept the tokens of this issuer.
  get env() {
    return { AUTH: 'jwt', JWT_SECRET_FILE: this.secretFile };
  }

  // What must appear in no output.
  get secrets() {
    return [this.#secret];
  }

  token(sub, { ttlS = 600, rooms = EVERYTHING, ...claims } = {}) {
    return this.sign({ alg: 'HS256', typ: 'JWT' }, { sub, iat: nowS(), exp: nowS() + ttlS, rooms, ...claims });
  }

  sign(header, claims, secret = this.#secret) {
    const signed = `${encode(header)}.${encode(claims)}`;
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
  }

  close() {
    rmSync(this.#folder, { recursive: true });
  }
}

// A server of a JWK set, which may be down, and an issuer of tokens that its one key has signed.
export class KeyServer {
  isUp = true;
  #key = generateKeyPairSync('ed25519');

  static async start() {
    const keys = new KeyServer();
    keys.server = createServer((_, response) => {
      if (!keys.isUp) return response.writeHead(503).end();
      const key = { ...keys.#key.publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'EdDSA' };
      return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: [key] }));
    });
    keys.server.listen(0, '127.0.0.1');
    await once(keys.server, 'listening');
    keys.url = `http://127.0.0.1:${keys.server.address().port}/keys.json`;
    return keys;
  }

  token(sub, { ttlS = 600, rooms = EVERYTHING } = {}) {
    const claims = { sub, iat: nowS(), exp: nowS() + ttlS, rooms };
    const signed = `${encode({ alg: 'EdDSA', kid: 'one' })}.${encode(claims)}`;
    return `${signed}.${sign(null, Buffer.from(signed), this.#key.privateKey).toString('base64url')}`;
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }
}
