// Payloads of about the largest size that is accepted.

const VALUE_BYTES = 15_900;

export const text = (bytes) => 'x'.repeat(bytes);

// The items of a channel of about so many bytes.
export function channelItems(bytes) {
  const count = Math.max(1, Math.round(bytes / VALUE_BYTES));
  return Array.from({ length: count }, (_, index) => ({ key: `k${index}`, value: text(Math.min(VALUE_BYTES, bytes)) }));
}

// What one message can carry: a channel of 60 KB.
export const LARGE_MESSAGE = channelItems(60_000);

// The writes, each of one message, that make a channel of 255 KB: all its keys first, for only what is there may be updated.
const items = channelItems(255_000);
export const FULL_CHANNEL = [
  ['metadata:setChannel', items.map(({ key }) => ({ key }))],
  ...[0, 4, 8, 12].map((from) => ['metadata:updateChannel', items.slice(from, from + 4)]),
];

// Writes them all, as fast as that is allowed. Resolves with the first refusal that is for good.
export async function fillChannel(session, channel, { rest }) {
  for (const [verb, data] of FULL_CHANNEL) {
    let answer;
    do {
      if (answer) await rest(answer.retryAfterMs);
      answer = await session.ask(verb, { ...channel, data });
    } while (answer.retryAfterMs);
    if (!answer.ok) return answer;
  }
  return { ok: true };
}
