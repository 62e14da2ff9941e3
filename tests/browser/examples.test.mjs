// The examples for browsers, in a real one: two tabs at two gateways see each other, who types, who leaves, and come back.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { read } from '../harness/repository.mjs';
import { scenario } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';
import { Chromium, WITHOUT_CHROMIUM } from './chromium.mjs';
import { Site } from './site.mjs';

const WITHIN = { within: 10_000 };

for (const name of ['browser', 'react-free-of-build']) {
  const title = `examples/${name}: members, who types, a lost gateway, and who leaves`;
  if (WITHOUT_CHROMIUM) test(title, { skip: WITHOUT_CHROMIUM });
  else scenario(title, { gateways: 2 }, (context) => inBrowser({ ...context, name }));
}

async function inBrowser(context) {
  const site = await Site.start();
  try {
    const browser = await Chromium.start();
    try {
      await twoTabs({ ...context, browser, site });
    } finally {
      await browser.stop();
    }
  } finally {
    site.stop();
  }
}

async function twoTabs({ system, room, browser, site, name }) {
  const open = (gateway, user) => browser.open(site.example(name, system.gateways[gateway].url, room, user));
  const ann = await open(0, 'ann');
  await shows(ann, ['ann']);
  const ben = await open(1, 'ben');
  await shows(ben, ['ann', 'ben']);
  await shows(ann, ['ann', 'ben']);
  await status(ann, /Connected\.$/);

  await ben.locator('input').pressSequentially('hello');
  await shows(ann, ['ann', 'ben is typing…']);
  await shows(ann, ['ann', 'ben']);

  // The gateway of ann goes, and another comes back under its address.
  const { url } = system.gateways[0];
  await system.gateways[0].terminate();
  await shows(ben, ['ben']);
  await status(ann, /reconnecting…$|error$/);
  const [, other] = system.gateways.splice(0, 2);
  await system.addGateway({ PORT: new URL(url).port });
  system.gateways.push(other);
  await shows(ann, ['ann', 'ben']);
  await shows(ben, ['ann', 'ben']);

  await ben.close();
  await shows(ann, ['ann']);
}

const members = (tab) => tab.locator('li').allTextContents();

const shows = (tab, expected) => until(`a tab to show ${expected}`, async () => {
  assert.deepEqual((await members(tab)).sort(), expected);
  return true;
}, WITHIN);

const status = (tab, expected) => until(`the status to be ${expected}`, async () => {
  assert.match(await tab.locator('[role=status]').textContent(), expected);
  return true;
}, WITHIN);

test('the React example asks for the versions that are tested', () => {
  const page = read('examples/react-free-of-build/index.html');
  const asked = [...page.matchAll(/https:\/\/esm\.sh\/([a-z.-]+)@([\d.]+)/g)];
  assert.equal(asked.length, 3);
  for (const [, name, version] of asked) {
    const manifest = new URL(`../node_modules/${name}/package.json`, import.meta.url);
    assert.equal(version, JSON.parse(readFileSync(manifest, 'utf8')).version, name);
  }
});
