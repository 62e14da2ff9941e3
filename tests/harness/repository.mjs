// The files of this repository, by their paths from its root.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root, with a slash at its end. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export const pathOf = (path) => join(ROOT, path);
export const read = (path) => readFileSync(pathOf(path), 'utf8');
