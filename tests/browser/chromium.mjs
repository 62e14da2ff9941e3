// A real Chromium with a profile of its own, whose tabs are hidden and shown as a user does it: another tab comes to the front.
import { chromium } from 'playwright-core';

import { Child, temporaryFolder } from '../harness/child.mjs';
import { program } from '../harness/path.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const START_MS = 30_000;
const STOP_MS = 10_000;

// A tab's timers run once a minute after it has been hidden for this time. Chromium's default is 5 minutes.
export const GRACE_MS = 10_000;

const FLAGS = [
  '--headless=new',
  // Root is refused a sandbox, and only the test's own page is opened.
  '--no-sandbox',
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  `--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/${GRACE_MS / 1000}`,
  '--remote-debugging-port=0',
];

const PROGRAM = program(NAMES);

// Why tests that need it are skipped, or false.
export const WITHOUT_CHROMIUM = !PROGRAM && `no Chromium on the PATH (${NAMES.join(', ')})`;

export class Chromium {
  static async start() {
    const profile = temporaryFolder('chromium');
    // Nothing of the user's settings or proxies.
    const env = { PATH: process.env.PATH, HOME: profile };
    const child = new Child('chromium', PROGRAM, [...FLAGS, `--user-data-dir=${profile}`, 'about:blank'], { env });
    try {
      const endpoint = await withTimeout('Chromium to listen', START_MS, child.line((line) => line.match(/DevTools listening on (\S+)/)?.[1]));
      // By default Playwright makes every tab believe that it is visible and has the focus.
      const browser = await chromium.connectOverCDP(endpoint, { noDefaults: true, timeout: START_MS });
      return new Chromium(child, browser);
    } catch (error) {
      await child.kill();
      throw new Error(`Chromium did not start\n${child.report()}`, { cause: error });
    }
  }

  constructor(child, browser) {
    this.child = child;
    this.browser = browser;
    [this.context] = browser.contexts();
  }

  get version() {
    return this.browser.version();
  }

  // A tab in front with that page in it, loaded.
  async open(url) {
    const tab = await this.context.newPage();
    await tab.goto(url);
    await this.show(tab);
    return tab;
  }

  async show(tab) {
    await tab.bringToFront();
    await becomes(tab, 'visible');
  }

  // Puts an empty tab in front of it.
  async hide(tab) {
    const other = await this.context.newPage();
    await other.bringToFront();
    await becomes(tab, 'hidden');
  }

  // Closed in good order if it can be: its processes no longer write into the profile when that is removed.
  async stop() {
    const session = await this.browser.newBrowserCDPSession();
    session.send('Browser.close').catch(() => {}); // the answer may be lost with the connection
    await withTimeout('Chromium to end', STOP_MS, this.child.exited).catch(() => this.child.kill());
  }
}

// Waits until the page itself has been notified.
const becomes = (tab, state) => until(`the tab to be ${state}`, async () => {
  const seen = await tab.evaluate(() => document.visibilityState);
  if (seen !== state) throw new Error(`it is ${seen}`);
  return true;
});
