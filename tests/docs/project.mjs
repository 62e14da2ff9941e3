// The files of the repository, and the pages and sources among them.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

import { ROOT, pathOf, read } from '../harness/repository.mjs';

/** Every file that is tracked, or would be. */
export const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' })
  .split('\n').filter((path) => path && existsSync(pathOf(path)));
const foldersOf = (path) => path.split('/').slice(0, -1).map((_, depth, parts) => parts.slice(0, depth + 1).join('/'));
const folders = new Set(files.flatMap(foldersOf));

export const isFile = (path) => files.includes(path);
export const isFolder = (path) => path === '' || folders.has(path);

/** Every page. */
export const pages = files.filter((path) => path.endsWith('.md'));

/** The Rust of folders without what is only compiled for tests. */
export function rust(...within) {
  return files.filter((path) => path.endsWith('.rs') && within.some((folder) => path.startsWith(folder)) && !/\/tests?[./]/.test(path))
    .map((path) => ({ path, text: read(path).split('#[cfg(test)]\nmod tests {')[0] }));
}
