// The examples as a reader runs them: a copy next to the packages that `npm install` would bring, and the code blocks of the guides.
import { cpSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';

import { Child, temporaryFolder } from './child.mjs';
import { pathOf } from './repository.mjs';

export const EXAMPLES = pathOf('examples');
const GUIDES = pathOf('docs/guides');
const PACKAGES = pathOf('tests/node_modules');
// Code that a guide takes from an example. Other languages are commands and settings.
const CODE = /^```(js|html|json)\n(.*?)^```$/gms;

export class NodeExamples {
  #folder = temporaryFolder('examples');

  constructor() {
    cpSync(join(EXAMPLES, 'node'), this.#folder, { recursive: true, filter: (file) => basename(file) !== 'node_modules' });
    symlinkSync(PACKAGES, join(this.#folder, 'node_modules'));
  }

  // Runs a script with nothing from the tests' own environment but the PATH.
  run(script, args = [], env = {}) {
    const options = { cwd: this.#folder, env: { PATH: process.env.PATH, ...env }, stdin: 'pipe' };
    return new Child(`${script} ${args.join(' ')}`, process.execPath, [script, ...args], options);
  }
}

// Every file of the examples, as { name, text }.
export function exampleFiles() {
  const names = readdirSync(EXAMPLES, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((name) => !name.includes('node_modules'));
  return names.map((name) => ({ name: name.slice(EXAMPLES.length + 1), text: readFileSync(name, 'utf8') }));
}

// Every code block of the guides, as { guide, language, code }.
export function guideCode() {
  return readdirSync(GUIDES).filter((guide) => guide.endsWith('.md')).flatMap((guide) => {
    const text = readFileSync(join(GUIDES, guide), 'utf8');
    return [...text.matchAll(CODE)].map(([, language, code]) => ({ guide, language, code }));
  });
}

// Lines without the indentation that all of them share, so that a part of a function can be quoted.
export function dedent(text) {
  const lines = text.trimEnd().split('\n');
  const depths = lines.filter((line) => line.trim()).map((line) => line.search(/\S/));
  const depth = Math.min(...depths);
  return lines.map((line) => line.slice(depth).trimEnd()).join('\n');
}

// Whether these lines stand in the text one after the other, at whatever depth.
export function quotes(text, code) {
  const wanted = dedent(code).split('\n');
  const lines = text.split('\n');
  return lines.some((_, at) => dedent(lines.slice(at, at + wanted.length).join('\n')) === wanted.join('\n'));
}
