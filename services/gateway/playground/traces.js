// Links to the traces of what happened. No message names its trace, so a link is a search: for a connection or a channel, at that
// time. Outside of development most traces of what was fast and successful are not kept, and the search finds nothing.
import { element, settings } from './dom.js';

// The search in Jaeger for spans with these attributes from `fromMs` to `toMs`.
function search(tags, fromMs, toMs) {
  const query = new URLSearchParams({
    service: 'presence-gateway', tags: JSON.stringify(tags), lookback: 'custom', start: fromMs * 1000, end: toMs * 1000, limit: 20,
  });
  return `${settings.traces}/search?${query}`;
}

const ofMessage = {
  'presence:event': ({ connId, ts }) => ({ tags: { 'presence.conn_id': connId }, at: ts }),
  'metadata:event': ({ channelName, timestamp }) => ({ tags: { 'metadata.channel_name': channelName }, at: timestamp }),
  'lock:event': ({ channelName, lockName }) => ({ tags: { 'lock.channel_name': channelName, 'lock.name': lockName }, at: Date.now() }),
};

// How far clocks may be apart, and how long a delivery may take.
const AROUND_MS = 2000;

const link = (href) => element('a', { href, target: '_blank', rel: 'noopener noreferrer', textContent: 'trace' });

// The link from a message of the gateway; undefined if there is nowhere to link to, or it made up for what was missed.
export function traceOfMessage(name, message) {
  if (!settings.traces || message.resync || !ofMessage[name]) return undefined;
  const { tags, at } = ofMessage[name](message);
  return link(search(tags, at - AROUND_MS, at + AROUND_MS));
}

// The link from an answer to this page, which took from `sentMs` on.
export function traceOfAnswer(connId, sentMs) {
  if (!settings.traces || !connId) return undefined;
  return link(search({ 'presence.conn_id': connId }, sentMs - AROUND_MS, Date.now() + AROUND_MS));
}
