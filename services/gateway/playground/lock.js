// A lock of the room: who holds it, under which fence and for how long, and who waits.
import { ask, askAndReport, self } from './connection.js';
import { CHANNEL_TYPE } from './counter.js';
import { byId, name, redraws, short, show } from './dom.js';
import { patch } from './members.js';

const LOCK = 'pen';
const TTL_MS = 10_000;
const WAIT_MS = 10_000;
const LOOK_AGAIN_MS = 1000;

let holder; // { owner, connId, fence, expiresAt }
let isOpen = false;
let isAsking = false;
let lookedAt = 0;
let lastEnded = 0; // a fence

const lock = () => ({ channelName: self.room, channelType: CHANNEL_TYPE, lockName: LOCK });
const isMine = () => holder !== undefined && holder.connId === self.connId;
const numbers = ({ fence, expiresAt }) => ['', `fence ${fence} · until ${new Date(expiresAt).toTimeString().slice(0, 8)}`];

const draw = redraws(() => {
  const leftS = holder && Math.max(0, holder.expiresAt - Date.now()) / 1000;
  const how = holder && ` · ${short(holder.connId)} holds it under fence ${holder.fence}: ${leftS.toFixed(1)} s`;
  if (isOpen && holder) show('holder', isMine() ? 'This tab' : name(holder.owner), how);
  else show('holder', isOpen ? 'No one holds it.' : '–');
  byId('take').disabled = !isOpen || isAsking || isMine();
  byId('renew').disabled = !isOpen || !isMine();
  byId('release').disabled = !isOpen || !isMine();
});

// Asks who holds it: an event has neither the connection nor the end of its time.
async function look() {
  lookedAt = Date.now();
  const answer = await ask('lock:get', lock());
  // The answer may be older than an event that came meanwhile.
  if (answer.ok && isOpen) holder = answer.locks.find((found) => found.fence > lastEnded);
  draw();
}

export function applyLockEvent({ channelType, lockName, type, fence }) {
  if (channelType !== CHANNEL_TYPE || lockName !== LOCK) return;
  if (type === 'acquired') look();
  else lastEnded = fence;
  if (holder?.fence <= lastEnded) holder = undefined;
  draw();
}

export function open() {
  isOpen = true;
  lastEnded = 0;
  return look();
}

// After a leave or a lost connection, with which the locks of this connection end.
export function close() {
  isOpen = false;
  holder = undefined;
  show('lock-answer');
  draw();
}

async function acquire() {
  isAsking = true;
  draw();
  show('lock-answer', holder ? 'waiting in line…' : '');
  // The service does not list those who wait, so each says it in its state.
  const waits = holder !== undefined;
  if (waits) patch({ waitsSince: Date.now() });
  const answer = await askAndReport('lock:acquire', { ...lock(), ttlMs: TTL_MS, waitMs: WAIT_MS }, numbers);
  if (waits) patch({ waitsSince: 0 });
  isAsking = false;
  show('lock-answer', answer.ok ? `acquired under fence ${answer.fence}` : `${answer.code}: ${answer.error}`);
  await look();
}

async function renew() {
  const answer = await askAndReport('lock:renew', { ...lock(), fence: holder.fence, ttlMs: TTL_MS }, numbers);
  show('lock-answer', answer.ok ? 'renewed for 10 s' : `${answer.code}: ${answer.error}`);
  await look();
}

async function release() {
  const answer = await askAndReport('lock:release', { ...lock(), fence: holder.fence });
  show('lock-answer', answer.ok ? 'released' : `${answer.code}: ${answer.error}`);
  await look();
}

byId('take').addEventListener('click', acquire);
byId('renew').addEventListener('click', renew);
byId('release').addEventListener('click', release);

// The countdown. A renewal is no event: when the time seems to be over, the service knows.
setInterval(() => {
  if (!isOpen || !holder) return;
  if (holder.expiresAt < Date.now() && lookedAt + LOOK_AGAIN_MS < Date.now()) look();
  draw();
}, 100);
