// The process of one attacker: attacker.mjs NAME SECONDS, with the gateways and a token in its environment. Reports its tally
// over IPC twice a second and ends when its time is over, with everything that it had open.
import { getPriority, setPriority } from 'node:os';
import { parseArgs } from 'node:util';

import { sleep } from '../harness/until.mjs';
import { Tally } from './wire.mjs';

const PATIENCE_MS = 2000;
const REPORT_MS = 500;
// Attackers have machines of their own; here they share one with what they attack.
const LESS_PRIORITY = 10;

const { positionals: [name, seconds] } = parseArgs({ allowPositionals: true });
const { gateways, more } = JSON.parse(process.env.ROLLCALL_ATTACKED);
const { attack } = await import(`./attackers/${name}.mjs`);

setPriority(Math.min(19, getPriority() + LESS_PRIORITY));
const tally = new Tally();
const report = () => process.send(tally);
setInterval(report, REPORT_MS);
process.on('disconnect', () => process.exit());

const lasts = Number(seconds) * 1000;
const end = Date.now() + lasts;
const over = () => Date.now() >= end;
const ended = sleep(lasts);
const rest = (ms) => Promise.race([sleep(ms), ended]);

await Promise.race([attack({ gateways, tally, over, ended, rest, ...more }), sleep(lasts + PATIENCE_MS)]);
await ended;
process.send(tally, () => process.exit());
