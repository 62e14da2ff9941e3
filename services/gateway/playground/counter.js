// A counter in the metadata of the room, changed by compare-and-set: a write names the revision that it is based on.
import { ask, self } from './connection.js';
import { byId, show } from './dom.js';
import { report } from './feed.js';

export const CHANNEL_TYPE = 'playground';

const MOST_TRIES = 100;
const BUTTONS = ['add-1', 'add-10'];

let copy = { value: 0, majorRevision: 0 };
let conflicts = 0;
let changes = 0;

const channel = () => ({ channelName: self.room, channelType: CHANNEL_TYPE });
const valueOf = (item) => (typeof item?.value === 'number' ? item.value : 0);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Takes what is newer than the copy. An answer may come after the event that it led to.
function take(value, majorRevision) {
  if (majorRevision <= copy.majorRevision) return;
  copy = { value, majorRevision };
  draw();
}

function draw() {
  show('counter', String(copy.value));
  show('revision', `majorRevision ${copy.majorRevision}`);
}

export function applyChange({ channelType, operation, items, majorRevision }) {
  if (channelType !== CHANNEL_TYPE) return;
  const item = items.find(({ key }) => key === 'counter');
  // A set is the whole channel. Anything else changes what it names, and a removal names the last value.
  const isUnchanged = operation !== 'set' && item === undefined;
  take(isUnchanged ? copy.value : operation === 'remove' ? 0 : valueOf(item), majorRevision);
}

// Reads the channel after a join.
export async function open() {
  copy = { value: 0, majorRevision: 0 };
  const answer = await read();
  BUTTONS.forEach((id) => { byId(id).disabled = !answer.ok; });
  draw();
}

export function close() {
  BUTTONS.forEach((id) => { byId(id).disabled = true; });
  show('counter', '–');
  show('revision');
}

async function read() {
  const answer = await ask('metadata:getChannel', channel());
  if (answer.ok) take(valueOf(answer.metadata.counter), answer.majorRevision);
  else report('fault', 'metadata:getChannel', `→ ${answer.code}: ${answer.error}`);
  return answer;
}

// Adds one; resolves with whether it did.
async function add() {
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    const data = [{ key: 'counter', value: copy.value + 1 }];
    const answer = await ask('metadata:setChannel', { ...channel(), data, options: { majorRevision: copy.majorRevision } });
    if (answer.ok) {
      take(data[0].value, answer.majorRevision);
      changes += 1;
      return true;
    }
    if (answer.code === 'METADATA_CONFLICT') {
      conflicts += 1;
      if (!(await read()).ok) return false;
    } else if (answer.code === 'RATE_LIMITED') {
      await wait(answer.retryAfterMs);
    } else {
      // Whether it was carried out is not known, so it is not repeated.
      report('fault', 'metadata:setChannel', `→ ${answer.code}: ${answer.error}`);
      return false;
    }
  }
  return false;
}

async function addMany(times) {
  for (let n = 0; n < times; n += 1) if (!(await add())) break;
  show('conflicts', `this tab: ${changes} counted, ${conflicts} refused as METADATA_CONFLICT and repeated`);
}

byId('add-1').addEventListener('click', () => addMany(1));
byId('add-10').addEventListener('click', () => addMany(10));
