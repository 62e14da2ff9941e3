// The gateway's page in a real browser: two tabs of it in one room, as a person uses them.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { scenario } from '../harness/scenario.mjs';
import { SHORT_LIVES } from '../harness/system.mjs';
import { Issuer } from '../harness/tokens.mjs';
import { holds, until } from '../harness/until.mjs';
import { Chromium, WITHOUT_CHROMIUM } from './chromium.mjs';

const ENV = { PLAYGROUND: 'on', PLAYGROUND_TRACES: 'http://127.0.0.1:16686' };
const WITHIN_MS = 120_000;

// A test with a browser; `open(tab)` opens the page, and no tab may complain about anything.
function browserTest(name, options, body) {
  if (WITHOUT_CHROMIUM) return test(name, { skip: WITHOUT_CHROMIUM });
  return scenario(name, { ...options, env: { ...ENV, ...options.env } }, async (context) => {
    const browser = await Chromium.start();
    const complaints = [];
    const open = async (hash, gateway = 0) => {
      const { url } = context.system.gateways[gateway];
      return new Page(await openTab(browser, `${url}/${hash}`, complaints));
    };
    try {
      await body({ ...context, browser, open });
      assert.deepEqual(complaints, [], 'errors of scripts, failed requests and breaches of the policy');
    } finally {
      await browser.stop();
    }
  }, { within: WITHIN_MS });
}

async function openTab(browser, url, complaints) {
  const tab = await browser.context.newPage();
  tab.on('console', (line) => { if (['error', 'warning'].includes(line.type())) complaints.push(line.text()); });
  tab.on('pageerror', (error) => complaints.push(error.stack));
  await tab.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (breach) => console.error(`policy: ${breach.violatedDirective}`));
  });
  await tab.goto(url);
  return tab;
}

// What a person sees and does on the page.
class Page {
  constructor(tab) {
    this.tab = tab;
  }

  text(id) {
    return this.tab.locator(`#${id}`).innerText();
  }

  // Waits until an element's text matches.
  shows(id, what, within = 15_000) {
    return until(`#${id} to show ${what}`, async () => {
      const text = await this.text(id);
      if (!what.test(text)) throw new Error(`it shows ${text}`);
      return true;
    }, { within });
  }

  // Playwright watches whether it moves, which in a hidden tab never ends.
  async press(id) {
    await this.enabled(id);
    await this.tab.bringToFront();
    await this.tab.locator(`#${id}`).click();
  }

  enabled(id) {
    return until(`#${id} to be enabled`, () => this.tab.locator(`#${id}`).isEnabled(), { within: 15_000 });
  }

  async join(user) {
    await this.tab.locator('#user').fill(user);
    await this.press('join-button');
    await this.shows('status', new RegExp(`connected by \\w+, in .* as ${user}`));
    return this;
  }
}

const TWO = { gateways: 2, states: 2 };

browserTest('two tabs: members, typing, a counter, a lock, a connection that is cut', TWO, async ({ open, room }) => {
  const ann = await (await open(`#room=${room}`)).join('ann');
  const ben = await (await open(`#room=${room}`, 1)).join('ben');
  for (const page of [ann, ben]) {
    await page.shows('count', /^2 users, 2 connections$/);
    await page.shows('members', /ann[^]*ben/);
  }
  await ann.shows('feed', /join ben · \S+, the first connection of the user seq 2 · gen \d+ trace/);

  await ann.tab.bringToFront();
  await ann.tab.locator('#typing').pressSequentially('hello', { delay: 50 });
  await ben.shows('members', /ann[^]*typing…/);
  await until('the typing to end', async () => !/typing…/.test(await ben.text('members')), { within: 10_000 });

  await Promise.all([ann, ben].map((page) => page.tab.locator('#add-10').evaluate((button) => button.click())));
  await Promise.all([ann, ben].map((page) => page.shows('counter', /^20$/, 30_000)));
  for (const page of [ann, ben]) await page.shows('conflicts', /this tab: 10 counted, \d+ refused/);
  const revisions = await Promise.all([ann, ben].map((page) => page.text('revision')));
  assert.equal(revisions[0], revisions[1]);

  await ann.press('take');
  await ann.shows('holder', /^This tab · \S+ holds it under fence \d+: \d+\.\d s$/);
  await ben.shows('holder', /^ann · /);
  await ben.press('take');
  await ann.shows('line', /ben · /);
  await ann.press('release');
  await ben.shows('holder', /^This tab/);
  await ann.shows('holder', /^ben · /);
  await ann.shows('line', /^$/);

  await ben.press('cut');
  await ann.shows('feed', /leave ben · \S+, the last connection of the user \(disconnected\)/);
  await ann.shows('holder', /^No one holds it\.$/);
  await ben.shows('feed', /disconnected forced close: [^]*/);
  await ben.shows('feed', /connected by \w+, \d+\.\d s after it was lost[^]*disconnected/);
  for (const page of [ann, ben]) await page.shows('count', /^2 users, 2 connections$/);
  await ben.shows('counter', /^20$/);

  await ben.press('leave');
  await ann.shows('count', /^1 user, 1 connection$/);
  await ben.shows('status', /^connected, in no room$/);
});

browserTest('a second tab of the same user is a connection, not a user; texts of users stay texts', {}, async ({ system, open, room }) => {
  const ann = await (await open(`#room=${room}`)).join('ann');
  const href = await ann.tab.locator('#as-same').getAttribute('href');
  const again = await open(href);
  assert.equal(await again.tab.locator('#user').inputValue(), 'ann');
  await again.join('ann');
  await ann.shows('count', /^1 user, 2 connections$/);
  await ann.shows('feed', /join ann · \S+ seq/);

  const markup = '<img src=x onerror=alert(1)>';
  const other = await system.connect();
  await other.join(room, markup, { status: markup, color: 'url(x)', [markup]: markup, typing: 'yes' });
  await ann.shows('members', /<img src=x[^]*<img src=x/);
  assert.equal(await ann.tab.locator('main img').count(), 0);
});

browserTest('a name that is written from right to left changes nothing around it', {}, async ({ system, open, room }) => {
  const name = '\u202Eנועה 12';
  const ann = await (await open(`#room=${room}`)).join('ann');
  const other = await system.connect();
  await other.join(room, name);
  await ann.shows('count', /^2 users/);
  await other.lock('acquire', room, 'pen', { channelType: 'playground', ttlMs: 60_000 });
  await ann.shows('holder', /holds it under fence/);
  await ann.shows('feed', /lock acquired/);
  // Whatever the name has in it is inside of its own element.
  const outside = await ann.tab.evaluate(() => {
    document.querySelectorAll('bdi').forEach((one) => one.remove());
    return ['members', 'holder', 'feed', 'status'].map((id) => document.getElementById(id).textContent).join('\n');
  });
  assert.doesNotMatch(outside, /נועה|\u202E/);
  assert.match(outside, /join {2}· \S+, the first connection[^]*in {2}as , connection/);
});

browserTest('of a large room a part is drawn: this tab, and how many more there are', {}, async ({ open, room }) => {
  const ann = await (await open(`#room=${room}`)).join('ann');
  await ann.shows('count', /^1 user, 1 connection$/);
  const own = (await ann.text('status')).split('connection ')[1];
  await ann.tab.evaluate(async (own) => {
    const members = await import('/playground/members.js');
    const member = (userId, n) => ({ connId: `${userId}-${n}`, userId, state: { waitsSince: 1 } });
    const tabs = Array.from({ length: 4999 }, (_, n) => member('ann', n));
    const others = Array.from({ length: 5000 }, (_, n) => member(`user ${n}`, n));
    members.replaceAll([...tabs, { connId: own, userId: 'ann', state: {} }, ...others]);
  }, own);
  await ann.shows('count', /^5001 users, 10000 connections$/);
  await ann.shows('members', /ann 5000 connections[^]*this tab[^]*and 4980 more[^]*user 0[^]*and 4901 more$/);
  await ann.shows('line', /and 9979 more$/);
  const drawn = await ann.tab.evaluate(() => document.querySelectorAll('li').length);
  assert.ok(drawn < 700, `${drawn} lines`);
});

browserTest('the keyboard is enough, and a reload keeps room and name', {}, async ({ open, room }) => {
  const one = await open(`#room=${room}`);
  const { tab } = one;
  assert.equal(await tab.evaluate(() => document.activeElement.id), 'user');
  await tab.keyboard.press('ControlOrMeta+a');
  await tab.keyboard.type('kim');
  await tab.keyboard.press('Enter');
  await one.shows('status', /in .* as kim/);
  assert.equal(await tab.evaluate(() => document.activeElement.id), 'typing');
  await one.enabled('add-1');
  const visited = [];
  for (let n = 0; n < 20 && visited.at(-1) !== 'add-1'; n += 1) {
    await tab.keyboard.press('Tab');
    visited.push(await tab.evaluate(() => document.activeElement.id));
  }
  const outline = await tab.evaluate(() => getComputedStyle(document.activeElement).outlineWidth);
  assert.equal(outline, '3px', 'the focus is visible');
  await tab.keyboard.press('Enter');
  await one.shows('counter', /^1$/);

  await tab.reload();
  assert.deepEqual(await tab.evaluate(() => [document.getElementById('room').value, document.getElementById('user').value]), [room, 'kim']);
});

browserTest('it fits a phone, and is dark where the system is', {}, async ({ open, room }) => {
  const ann = await open(`#room=${room}`);
  await ann.tab.setViewportSize({ width: 360, height: 740 });
  await ann.join('a-name-that-is-rather-long-for-a-narrow-screen');
  await ann.shows('count', /^1 user/);
  const beyond = await ann.tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(beyond, 0, 'nothing is wider than the screen');
  const background = () => ann.tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await ann.tab.emulateMedia({ colorScheme: 'light' });
  const light = await background();
  await ann.tab.emulateMedia({ colorScheme: 'dark' });
  assert.notEqual(await background(), light);
});

browserTest('a line links to a search that finds its trace', { exports: true }, async ({ open, room, otlp }) => {
  const ann = await (await open(`#room=${room}`)).join('ann');
  await (await open(`#room=${room}`)).join('ben');
  await ann.press('add-1');
  await ann.shows('counter', /^1$/);
  await ann.press('take');
  await ann.shows('holder', /^This tab/);
  for (const [kind, event] of [['presence', 'presence:join'], ['metadata', 'metadata:setChannel'], ['lock', 'lock:acquire']]) {
    const href = await ann.tab.locator(`#feed li.${kind} a`).first().getAttribute('href');
    assert.ok(href.startsWith(`${ENV.PLAYGROUND_TRACES}/search?`), href);
    const { service, tags, start, end } = Object.fromEntries(new URL(href).searchParams);
    const span = await otlp.span(`socket ${event}, as ${href} says`, (found) => found.name === `socket ${event}` && found.service === service
      && Object.entries(JSON.parse(tags)).every(([key, value]) => found.attributes[key] === value));
    assert.ok(span.startMs * 1000 >= start && span.startMs * 1000 <= end, `from ${start} to ${end} is not when it was: ${span.startMs}`);
  }
});

browserTest('where clients have to send heartbeats, it does', { env: SHORT_LIVES }, async ({ system, open, room }) => {
  const watcher = await system.connect();
  await watcher.join(room, 'watcher');
  await (await open(`#room=${room}`)).join('ann');
  await watcher.receives({ type: 'join', userId: 'ann' });
  await holds('ann is there for more than two TTLs', async () => {
    await watcher.beat();
    return watcher.events.every(({ type }) => type !== 'leave');
  }, { ms: 7000, every: 500 });
});

const issuer = WITHOUT_CHROMIUM ? undefined : new Issuer();

browserTest('with AUTH=jwt it asks for a token, and says why one is refused', { issuer }, async ({ open, room }) => {
  try {
    const ann = await open(`#room=${room}`);
    assert.equal(await ann.tab.locator('#user').isVisible(), false);
    await ann.tab.locator('#token').fill('not.a.token');
    await ann.press('join-button');
    await ann.shows('problem', /^UNAUTHENTICATED: /);
    await ann.tab.locator('#token').fill(issuer.token('ann', { rooms: [{ room: 'elsewhere', allow: ['join'] }] }));
    await ann.press('join-button');
    await ann.shows('problem', /^FORBIDDEN: /);
    await ann.tab.locator('#token').fill(issuer.token('ann'));
    await ann.press('refresh');
    await ann.shows('feed', /auth:refresh → ok/);
    await ann.press('join-button');
    await ann.shows('members', /^ann/);
    await ann.tab.locator('#token').fill(issuer.token('ann', { rooms: [{ room: 'elsewhere', allow: ['join'] }] }));
    await ann.press('refresh');
    await ann.shows('count', /does not allow this room any more/);
    await ann.shows('status', /in no room/);
  } finally {
    issuer.close();
  }
});
