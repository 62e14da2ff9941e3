// A certificate for localhost and the authority that vouches for it, as files.
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { temporaryFolder } from './child.mjs';

const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

// {ca, caKey, crt, key, pem}: paths; `pem` has certificate, chain and key in one, readable by everyone.
export function certificates(authority = 'authority') {
  const folder = temporaryFolder('tls');
  chmodSync(folder, 0o755);
  const [ca, caKey, crt, key, request, extensions, pem] = ['ca.crt', 'ca.key', 'crt', 'key', 'csr', 'ext', 'pem'].map((name) => join(folder, name));
  openssl('req', '-x509', ...CURVE, '-days', '2', '-subj', `/CN=${authority}`, '-keyout', caKey, '-out', ca);
  openssl('req', ...CURVE, '-subj', '/CN=localhost', '-keyout', key, '-out', request);
  writeFileSync(extensions, 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n');
  openssl('x509', '-req', '-in', request, '-CA', ca, '-CAkey', caKey, '-CAcreateserial', '-days', '2', '-extfile', extensions, '-out', crt);
  writeFileSync(pem, [crt, ca, key].map((path) => readFileSync(path, 'utf8')).join(''));
  chmodSync(pem, 0o644);
  return { ca, caKey, crt, key, pem };
}
