// The page of README.md, saved as it stands: two tabs see each other, who is away, and who leaves.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { temporaryFolder } from '../harness/child.mjs';
import { read } from '../harness/repository.mjs';
import { scenario } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';
import { Chromium, WITHOUT_CHROMIUM } from './chromium.mjs';

const ADDRESS = 'http://localhost:3000'; // of the gateway, in README.md
const TITLE = 'the page of README.md: members, who is away, and who leaves';

if (WITHOUT_CHROMIUM) test(TITLE, { skip: WITHOUT_CHROMIUM });
else scenario(TITLE, {}, inBrowser);

async function inBrowser({ system }) {
  const folder = temporaryFolder('readme');
  const [, page] = read('README.md').match(/```html\n([\s\S]*?)```/);
  assert.equal(page.split(ADDRESS).length, 3);
  writeFileSync(join(folder, 'who.html'), page.replaceAll(ADDRESS, system.gateways[0].url));
  const browser = await Chromium.start();
  try {
    const names = ['ann', 'ben'];
    browser.context.on('dialog', (dialog) => dialog.accept(names.shift()));
    await twoTabs(() => browser.open(pathToFileURL(join(folder, 'who.html')).href));
  } finally {
    await browser.stop();
    rmSync(folder, { recursive: true });
  }
}

async function twoTabs(open) {
  const ann = await open();
  await shows(ann, ['ann']);
  const ben = await open();
  await shows(ben, ['ann', 'ben']);
  await shows(ann, ['ann', 'ben']);
  await ben.locator('#away').check();
  await shows(ann, ['ann', 'ben is away']);
  await ben.close();
  await shows(ann, ['ann']);
}

const shows = (tab, expected) => until(`a tab to show ${expected}`, async () => {
  assert.deepEqual((await tab.locator('li').allTextContents()).sort(), expected);
  return true;
}, { within: 10_000 });
