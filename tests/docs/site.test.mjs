// The site: links out of docs/ become paths, and two pages get the text of files outside of docs/.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { test } from 'node:test';

import { STAND_INS, rewriteLinks } from '../../scripts/docs-repository.mjs';
import { anchors, links } from '../harness/markdown.mjs';
import { ROOT, read } from '../harness/repository.mjs';
import { isFile, pages } from './project.mjs';

test('a link out of docs/ becomes the path of the file', () => {
  const shown = (text) => rewriteLinks(text, 'docs/operate/redis.md', 'docs/operate/redis.md');
  assert.equal(shown('See [the edge](../../deploy/edge/haproxy.cfg).'), 'See the edge (`deploy/edge/haproxy.cfg`).');
  assert.equal(shown('[`haproxy.cfg`](../../deploy/edge/haproxy.cfg)'), '`haproxy.cfg`');
  assert.equal(shown('[limits](../reference/limits.md#locks), [x](https://example.com/a.md), [here](#now)'),
    '[limits](../reference/limits.md#locks), [x](https://example.com/a.md), [here](#now)');
  assert.equal(shown('[why](../../ARCHITECTURE.md#a-join)'), '[why](../internals/architecture.md#a-join)');
  assert.equal(shown('```\n[a](../../b)\n```\n'), '```\n[a](../../b)\n```\n');
  assert.equal(shown('![a](../img/a.svg)'), '![a](../img/a.svg)');
});

test('the links of a page that stands in for a file begin at the file', () => {
  const shown = (text) => rewriteLinks(text, 'ARCHITECTURE.md', 'docs/internals/architecture.md');
  assert.equal(shown('[data](docs/internals/data.md), [below](#a-join), [README.md](README.md)'),
    '[data](data.md), [below](#a-join), `README.md`');
});

test('a page that stands in for a file links to it', () => {
  for (const [file, page] of STAND_INS) {
    assert.ok(isFile(file), file);
    assert.ok(read(page).includes(`(../../${file})`), page);
  }
});

// What the site shows at a page's address.
function shown(page) {
  const [from] = [...STAND_INS].find(([, at]) => at === page) ?? [page];
  return rewriteLinks(read(from), from, page);
}

test('every link on the site leads to a page of the site and a heading on it, to a file that it serves, or to another host', () => {
  const site = new Map(pages.filter((page) => page.startsWith('docs/')).map((page) => [page, shown(page)]));
  const isRight = (page, target) => {
    if (/^(?:https?|mailto):/.test(target)) return true;
    const [path, anchor] = target.split('#');
    const file = path === '' ? page : posix.join(posix.dirname(page), path);
    if (!site.has(file)) return file.startsWith('docs/') && isFile(file);
    return anchor === undefined || anchors(site.get(file)).has(anchor);
  };
  const wrong = [...site].flatMap(([page, text]) => links(text).map(({ target }) => target).filter((target) => !isRight(page, target))
    .map((target) => `${page}: ${target}`));
  assert.deepEqual(wrong, []);
});

const mdbook = (...options) => spawnSync('mdbook', options, { cwd: ROOT, encoding: 'utf8', timeout: 60_000 });

test('mdBook builds the site', { skip: mdbook('--version').error && 'mdbook is not on the PATH: cargo install --locked mdbook' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-site-'));
  try {
    const { status, stderr } = mdbook('build', '--dest-dir', folder);
    assert.equal(status, 0, stderr);
    assert.doesNotMatch(stderr, /WARN|ERROR/);
    for (const [, page] of read('docs/SUMMARY.md').matchAll(/\]\(([^)]+)\.md\)/g)) {
      const html = readFileSync(join(folder, `${page === 'README' ? 'index' : page}.html`), 'utf8');
      assert.match(html, /<main>(?:(?!<\/main>)[\s\S])*<h1/, page);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
