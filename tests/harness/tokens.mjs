// An issuer of tokens: HS256, as small as RFC 7515 allows. Everything about a token can be made wrong.
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
