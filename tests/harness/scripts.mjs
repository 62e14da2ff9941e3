// The names of the Lua scripts by the hashes under which Redis knows them. A script is its file behind the files that its first
// lines say it needs, as services/presence-state/src/store/source.rs puts it together.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';

import { pathOf } from './repository.mjs';

const FOLDERS = ['services/presence-state', 'services/reaper', 'shared/bus'];
const FLAGS = ['', 'allow-oom', 'no-writes'];

function filesOf(folder) {
  const path = pathOf(`${folder}/src/scripts/`);
  return new Map(readdirSync(path).map((file) => [file.replace(/\.lua$/, ''), readFileSync(path + file, 'utf8')]));
}

function addTo(parts, files, name) {
  const needs = files.get(name).match(/^-- needs: (.*)$/m)?.[1].split(', ') ?? [];
  for (const needed of needs) addTo(parts, files, needed);
  if (!parts.includes(name)) parts.push(name);
}

function sourcesOf(files, name) {
  const own = files.get(name);
  if (own.startsWith('#!lua')) return [own];
  const parts = [];
  addTo(parts, files, name);
  const body = parts.map((part) => files.get(part)).join('');
  return FLAGS.map((flags) => `#!lua${flags && ` flags=${flags}`}\n${body}`);
}

// hash → name
export function scriptNames() {
  const names = new Map();
  for (const files of FOLDERS.map(filesOf)) {
    for (const name of files.keys()) {
      for (const source of sourcesOf(files, name)) names.set(createHash('sha1').update(source).digest('hex'), name);
    }
  }
  return names;
}
