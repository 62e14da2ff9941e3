// Programs of this machine, and a PATH of a test's own: everything that is on this machine's, without some programs, and with stand-ins for others.
import { accessSync, constants, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { temporaryFolder } from './child.mjs';

const HERE = (process.env.PATH ?? '').split(':').filter(Boolean);

function namesIn(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return []; // a PATH may name what is not there
  }
}

// The folder in which this machine has a program.
export const folderOf = (name) => HERE.find((folder) => namesIn(folder).includes(name));

// The path of the first of these programs that can be run, on the PATH or in `more` folders; undefined if there is none.
export function program(names, more = []) {
  return [...HERE, ...more].flatMap((folder) => names.map((name) => join(folder, name))).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

// The text of a stand-in that writes down how it was called, and then runs `body`.
export const calls = (name, body = '') => `#!/bin/bash\nprintf '%s\\n' "${name} $*" >>"$(dirname "$0")/../calls"\n${body}\n`;

// `stand-ins`: texts of scripts by their name. Answers the PATH, and what was written down so far.
export function ownPath({ without = [], only, standIns = {} }) {
  const root = temporaryFolder('path');
  const path = join(root, 'bin');
  mkdirSync(path);
  const taken = new Set([...without, ...Object.keys(standIns)]);
  for (const folder of HERE) {
    for (const name of namesIn(folder)) {
      if (taken.has(name) || (only && !only.includes(name))) continue;
      taken.add(name);
      symlinkSync(join(folder, name), join(path, name));
    }
  }
  for (const [name, text] of Object.entries(standIns)) writeFileSync(join(path, name), text, { mode: 0o755 });
  const called = () => {
    try {
      return readFileSync(join(root, 'calls'), 'utf8').trim().split('\n');
    } catch {
      return []; // nothing was called
    }
  };
  return { root, path, called };
}
