// Every link of every page leads somewhere, and every page can be found.
import assert from 'node:assert/strict';
import { posix } from 'node:path';
import { test } from 'node:test';

import { anchors, headings, links } from '../harness/markdown.mjs';
import { read } from '../harness/repository.mjs';
import { files, isFile, isFolder, pages } from './project.mjs';

const ELSEWHERE = /^(?:https?:|mailto:)/;
const known = new Map(pages.map((page) => [page, anchors(read(page))]));

function complaint(page, target) {
  const [path, anchor] = target.split('#');
  const file = path === '' ? page : posix.join(posix.dirname(page), decodeURI(path)).replace(/\/$/, '').replace(/^\.$/, '');
  if (path.startsWith('/') || file.startsWith('..')) return 'leads out of the repository';
  if (!isFile(file) && !isFolder(file)) return 'there is no such file';
  if (anchor === undefined || !file.endsWith('.md')) return undefined;
  return known.get(file).has(anchor) ? undefined : `${file} has no such heading`;
}

test('every relative link and its anchor resolve', () => {
  const targets = pages.flatMap((page) => links(read(page)).map((link) => ({ page, ...link })))
    .filter(({ target }) => !ELSEWHERE.test(target));
  assert.ok(targets.length > 200, `only ${targets.length} links were found`);
  const wrong = targets.map(({ page, line, target }) => [complaint(page, target), `${page}:${line}: ${target}`])
    .filter(([why]) => why).map(([why, where]) => `${where}: ${why}`);
  assert.deepEqual(wrong, []);
});

test('anchors are those of GitHub', () => {
  const headings = ['# What we `learnt`: a, b', '## With [a link](x.md)', '```sh\n# no heading\n```', '### Twice', '### Twice', '### ≤ 2 × ms_per_s'];
  const text = `${headings.join('\n\n')}\n`;
  assert.deepEqual([...anchors(text)], ['what-we-learnt-a-b', 'with-a-link', 'twice', 'twice-1', '-2--ms_per_s']);
});

test('every page has one title, which is its first heading', () => {
  const wrong = pages.filter((page) => page !== 'docs/SUMMARY.md').map((page) => [page, headings(read(page)).map(({ level }) => level)])
    .filter(([, levels]) => levels[0] !== 1 || levels.filter((level) => level === 1).length !== 1);
  assert.deepEqual(wrong, []);
});

test('every page that another file names by its path exists', () => {
  const below = '(?:docs|deploy|examples|tests|bench|scripts)/[\\w./-]*\\w';
  const named = new RegExp(`\\b(?:${below}|README|ARCHITECTURE|CONTRIBUTING|CHANGELOG|SECURITY)\\.md\\b`, 'g');
  const isText = (path) => /\.(?:rs|toml|ya?ml|sh|mjs|cfg|conf|acl|txt|tpl|example)$|(?:^|\/)(?:dev|Dockerfile|run)$/.test(path);
  const texts = files.filter((path) => isText(path) && !path.startsWith('tests/docs/'));
  const wrong = texts.flatMap((path) => [...read(path).matchAll(named)].map(([page]) => page)
    .filter((page) => !isFile(page) && !isFile(posix.join(posix.dirname(path), page))).map((page) => `${path}: ${page}`));
  assert.deepEqual([...new Set(wrong)], []);
});

test('every page below docs/ is in SUMMARY.md, once, and the other way round', () => {
  const listed = links(read('docs/SUMMARY.md')).map(({ target }) => `docs/${target}`);
  const there = pages.filter((page) => page.startsWith('docs/') && page !== 'docs/SUMMARY.md');
  assert.deepEqual(there.filter((page) => !listed.includes(page)), [], 'not in SUMMARY.md');
  assert.deepEqual(listed.filter((page) => !there.includes(page)), [], 'in SUMMARY.md, and no page');
  assert.equal(new Set(listed).size, listed.length, 'a page is in SUMMARY.md twice');
});
